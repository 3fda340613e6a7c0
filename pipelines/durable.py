"""Directory entries that survive a power cut: a new name is durable only once its directory is fsynced."""

import os
from pathlib import Path


def make_directory(directory: Path, mode: int = 0o777) -> None:
    """Creates `directory` with `mode` (less the umask) and its parents, durably; an existing one stays as it is.

    Raises:
        OSError: it cannot be created.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=mode)
    for path in missing:
        fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Makes the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
