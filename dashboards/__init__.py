"""What people look at: the funnel, contact sheets."""
