"""What a buffer is: the durable log between the ingest and the export half."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pipelines.batch import Batch
from pipelines.dead_letters import DeadLetterSink

ENTRY_ROWS: Final = 4096
"""Most rows in one entry: bounds what a reader must take beyond what it asked for."""


@dataclass(frozen=True, slots=True)
class Corrupt:
    """What is left of an entry that cannot be read any more.

    Attributes:
        raw: its bytes as they lie on disk.
        reason: what is wrong, and which entry it was.
    """

    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored batch.

    Attributes:
        position: number of rows ever appended up to and with this entry; commit it to move past the entry.
        rows: number of rows.
        content: the rows, or what is left of them.
    """

    position: int
    rows: int
    content: Batch | Corrupt


@dataclass(frozen=True, slots=True)
class Statistics:
    """How far a cursor is behind, and how full the buffer is.

    Attributes:
        rows_behind: rows that the cursor has not passed.
        oldest_received_at_ns: receive time of the oldest of them, Unix nanoseconds; None when there is none.
        used_bytes: disk bytes that hold data now.
        capacity_bytes: at so many used bytes appends are refused.
    """

    rows_behind: int
    oldest_received_at_ns: int | None
    used_bytes: int
    capacity_bytes: int


class Buffer(Protocol):
    """A durable log with a cursor per exporter; safe to use from several threads and processes at once."""

    @property
    def name(self) -> str:
        """The component id, for logs and metrics."""

    @property
    def dead_letters(self) -> DeadLetterSink:
        """Where rows go that no exporter can store."""

    def open(self) -> None:
        """Called once in each process, after it was forked or spawned.

        Raises:
            Permanent: it cannot be used; the message names the place and the cure.
        """

    def append(self, batches: Sequence[Batch]) -> None:
        """Stores all batches or none; on return they survive a power cut.

        Raises:
            BufferFull: the size limit would be passed.
            Retryable: it cannot be written now.
            Permanent: rows are not of the record's schema.
        """

    def check(self) -> None:
        """Returns if `append` would very likely succeed now; may take seconds. Called by one thread.

        Raises:
            Retryable: it would not; the message says why.
            Permanent: it would not, until somebody changes something.
        """

    def keep_cursors(self, cursors: Collection[str]) -> None:
        """Says which cursors there are; others are forgotten, so that they hold nothing back.

        A new cursor starts at the oldest entry still held. Called once by the export half before it reads.
        """

    def read(self, cursor: str, max_rows: int, max_bytes: int, after: int | None = None) -> list[Entry]:
        """The entries after position `after` (default: what the cursor has committed), oldest first.

        Returns as many as fit into `max_rows` rows of each kind and `max_bytes` uncompressed bytes, at least one
        if there is one; does not wait.

        Raises:
            Retryable: it cannot be read now.
        """

    def commit(self, cursor: str, position: int) -> None:
        """Moves the cursor to `position`, never back; entries that every cursor has passed are deleted.

        Raises:
            Retryable: it cannot be written now; the cursor has not moved.
        """

    def statistics(self, cursor: str) -> Statistics:
        """Cheap enough to be asked many times a second.

        Raises:
            Retryable: it cannot be read now.
        """

    def close(self) -> None:
        """May be called twice."""
