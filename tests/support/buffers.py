"""Local buffers in a test's directory, and what they hold."""

import sqlite3
from pathlib import Path

from config.models import LocalBufferSettings
from pipelines.batch import Batch
from pipelines.buffers import Buffer, Entry, LocalBuffer

ALL = (1 << 40, 1 << 50)
"""More rows and bytes than there are."""


def local_buffer(directory: Path, *cursors: str, max_size_mib: int = 64) -> LocalBuffer:
    """An open buffer with these cursors."""
    buffer = LocalBuffer(LocalBufferSettings(directory=str(directory), max_size_mib=max_size_mib), "local")
    buffer.open()
    if cursors:
        buffer.keep_cursors(cursors)
    return buffer


def file_of(directory: Path) -> Path:
    """Where `local_buffer` keeps its rows."""
    return directory / "local.sqlite"


def batches(entries: list[Entry]) -> list[Batch]:
    """The rows of entries that are all sound."""
    assert all(isinstance(entry.content, Batch) for entry in entries)
    return [entry.content for entry in entries if isinstance(entry.content, Batch)]


def moved(buffer: Buffer, cursor: str) -> list[Batch]:
    """What the buffer holds for a cursor, which moves past it."""
    entries = buffer.read(cursor, *ALL)
    if entries:
        buffer.commit(cursor, entries[-1].position)
    return batches(entries)


def sql(directory: Path, statement: str, *values: object) -> None:
    """Changes the file behind the buffer's back."""
    connection = sqlite3.connect(file_of(directory))
    with connection:
        connection.execute(statement, values)
    connection.close()
