"""Image quality metrics with and without a reference, and intervals of their means."""
