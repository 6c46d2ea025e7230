"""Files that could not be read, remembered so that they are tried again as soon as they change."""

from pathlib import Path


def file_signature(path: Path) -> list[int] | None:
    """[size in bytes, mtime in ns] of what lies at `path`, or None where nothing can be found there."""
    try:
        facts = path.stat()
    except (OSError, ValueError):  # absent or not to be reached; a NUL in the name
        return None
    return [facts.st_size, facts.st_mtime_ns]


def any_changed(root: Path, unread: dict[str, list[int] | None]) -> bool:
    """Whether any file of `unread` (path below `root` → its signature when it could not be read) is another one now."""
    return any(file_signature(root / path) != signature for path, signature in unread.items())
