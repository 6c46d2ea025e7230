"""A DuckDB database that lives for one job: tables, joins and sorts that outgrow their share of memory go to disk."""

from pathlib import Path

import duckdb


def scratch_database(folder: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """An empty database; nobody else needs to read it, so it has no file and no journal of its own.

    Args:
        folder: where it spills, which may take 250 bytes per person box; the caller removes it.
        memory_mb: what DuckDB may hold before it spills.
    """
    database = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,  # a worker process keeps to one core
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": False,  # costs memory; every query that needs an order says so
        },
    )
    database.execute("SET enable_progress_bar = false")
    return database
