"""What runs, and in which order: Prefect flows, worker processes and the command line."""
