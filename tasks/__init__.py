"""The steps of the pipeline, one per file, as plain functions that need neither a server nor Prefect."""
