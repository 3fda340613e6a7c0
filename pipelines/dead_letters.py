"""Rows that no attempt can store, kept with the reason: one Arrow file each, durable before the cursor moves on."""

import os
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from pipelines.batch import Batch
from pipelines.durable import fsync_directory, make_directory
from pipelines.errors import Retryable
from pipelines.schema import TABLES

_SUFFIX: Final = ".arrow"
_RAW: Final = "raw"
_RAW_SCHEMA: Final = pa.schema([pa.field("bytes", pa.binary())])
_LONGEST_REASON: Final = 16384


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was set aside.

    Attributes:
        content: the rows, or bytes that could not be read as rows.
        reason: why, as the sink said it.
        origin: id of the exporter that could not store it.
        time_ns: when it was set aside, Unix nanoseconds.
    """

    content: Batch | bytes
    reason: str
    origin: str
    time_ns: int


class DeadLetterSink(Protocol):
    """Where dead letters are written to; safe to use from several threads."""

    def write(self, content: Batch | bytes, reason: str, origin: str) -> str:
        """Keeps `content`, which survives a power cut on return, and returns its name.

        Raises:
            Retryable: it cannot be written now.
        """

    def place(self, name: str) -> str:
        """Where the letter of that name is, for people."""


class DeadLetters:
    """A directory of dead letters; nothing in it is ever deleted by the service."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, content: Batch | bytes, reason: str, origin: str) -> str:
        """Keeps `content`, which survives a power cut on return, and returns its name; names sort by time.

        Raises:
            Retryable: it cannot be written; nothing was.
        """
        letter = DeadLetter(content, reason[:_LONGEST_REASON], origin, time.time_ns())
        name = _name(letter)
        temporary = self.directory / f".{name}.part"
        try:
            make_directory(self.directory, mode=0o700)
            _write(temporary, letter)
            temporary.rename(self.directory / name)
            fsync_directory(self.directory)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise Retryable(
                f"dead letters cannot be written to {self.directory}: {error}; free space or make it writable"
            ) from error
        return name

    def place(self, name: str) -> str:
        """See `DeadLetterSink.place`."""
        return str(self.directory / name)

    def names(self) -> list[str]:
        """Names of all dead letters, oldest first."""
        return sorted(path.name for path in self.directory.glob(f"*{_SUFFIX}"))

    def read(self, name: str) -> DeadLetter:
        """The dead letter of that name.

        Raises:
            FileNotFoundError: there is none.
            pa.ArrowInvalid: the file is not a dead letter.
        """
        if Path(name).name != name:
            raise FileNotFoundError(f"{name!r} is not the name of a dead letter")
        with (self.directory / name).open("rb") as file, pa.ipc.open_file(file) as reader:
            return _letter(reader.read_all())


def _name(letter: DeadLetter) -> str:
    seconds, nanoseconds = divmod(letter.time_ns, 10**9)
    time_text = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{nanoseconds:09d}Z"
    return f"{time_text}-{_kind(letter)}-{uuid.uuid4().hex[:8]}{_SUFFIX}"


def _kind(letter: DeadLetter) -> str:
    return letter.content.kind if isinstance(letter.content, Batch) else _RAW


def _records(letter: DeadLetter) -> pa.RecordBatch:
    if isinstance(letter.content, Batch):
        return letter.content.records
    return pa.RecordBatch.from_arrays([pa.array([letter.content], pa.binary())], schema=_RAW_SCHEMA)


def _write(path: Path, letter: DeadLetter) -> None:
    received_at_ns = letter.content.received_at_ns if isinstance(letter.content, Batch) else 0
    metadata = {
        "kind": _kind(letter),
        "reason": letter.reason.encode(errors="replace"),
        "origin": letter.origin,
        "time_ns": str(letter.time_ns),
        "received_at_ns": str(received_at_ns),
    }
    records = _records(letter).replace_schema_metadata(metadata)
    with path.open("xb") as file:
        with pa.ipc.new_file(file, records.schema) as writer:
            writer.write_batch(records)
        file.flush()
        os.fsync(file.fileno())


def _letter(table: pa.Table) -> DeadLetter:
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if "kind" not in metadata:
        raise pa.ArrowInvalid("this Arrow file is not a dead letter: it does not say its kind")
    return DeadLetter(
        content=_content(table, metadata),
        reason=metadata["reason"],
        origin=metadata["origin"],
        time_ns=int(metadata["time_ns"]),
    )


def _content(table: pa.Table, metadata: dict[str, str]) -> Batch | bytes:
    for kind in TABLES:
        if kind == metadata["kind"]:
            records = table.replace_schema_metadata(None).combine_chunks().to_batches()[0]
            return Batch(kind, records, int(metadata["received_at_ns"]))
    value: bytes = table.column("bytes")[0].as_py()
    return value
