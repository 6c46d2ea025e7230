"""A DuckDB database that lives for one job: joins and sorts that must not grow the memory spill onto the disk."""

from pathlib import Path

import duckdb


def scratch_database(folder: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """An empty database in `folder`, which the caller removes.

    Args:
        folder: an existing folder with room for a copy of the data.
        memory_mb: what DuckDB may hold before it spills into `folder`.
    """
    database = duckdb.connect(
        folder / "scratch.duckdb",
        config={
            "threads": 1,  # a worker process keeps to one core
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": False,  # costs memory; every query that needs an order says so
        },
    )
    database.execute("SET enable_progress_bar = false")
    database.execute("PRAGMA force_compression='uncompressed'")  # written once, read twice: not worth a core
    return database
