"""Rows that no attempt can store, kept with the reason: one Arrow file each, durable before the cursor moves on."""

import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from pipelines.batch import Batch
from pipelines.durable import fsync_directory, make_directory
from pipelines.errors import Permanent, Retryable
from pipelines.schema import TABLES

RAW: Final = "raw"
"""Kind of a letter that holds bytes which could not be read as rows."""
DAMAGED: Final = "damaged"
"""Kind of a letter that cannot be read itself."""

_SUFFIX: Final = ".arrow"
_REPLAYED: Final = "replayed"
_RAW_SCHEMA: Final = pa.schema([pa.field("bytes", pa.binary())])
_LONGEST_REASON: Final = 16384
_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, KeyError, IndexError)


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


@dataclass(frozen=True, slots=True)
class Summary:
    """A dead letter without its content.

    Attributes:
        name: what it is called where it is kept.
        kind: of its rows, as in `Batch`; else `RAW` or `DAMAGED`.
        rows: number of rows, 0 when there are none.
        reason: as in `DeadLetter`; of a damaged one, what is wrong with it.
        origin: as in `DeadLetter`.
        time_ns: as in `DeadLetter`.
        was_replayed: whether its rows went back into the buffer.
    """

    name: str
    kind: str
    rows: int
    reason: str
    origin: str
    time_ns: int
    was_replayed: bool

    @property
    def has_rows(self) -> bool:
        """Whether there is something to replay."""
        return self.kind in TABLES


class DeadLetterSink(Protocol):
    """Where dead letters are written to; safe to use from several threads."""

    def write(self, content: Batch | bytes, reason: str, origin: str) -> str:
        """Keeps `content`, which survives a power cut on return, and returns its name.

        Raises:
            Retryable: it cannot be written now.
        """

    def place(self, name: str) -> str:
        """Where the letter of that name is, for people."""


class DeadLetterStore(Protocol):
    """Dead letters as people work with them, while the service runs or not.

    All methods raise Retryable where it fails now, and Permanent where it will not work like this.
    """

    @property
    def where(self) -> str:
        """Where the letters are, for people."""

    def summaries(self) -> Iterable[Summary]:
        """All letters, newest first."""

    def read_all(self, names: Collection[str]) -> Iterator[tuple[str, DeadLetter]]:
        """The letters of these names, in any order, one at a time in memory; Permanent for one that is not there.

        Of a damaged one the content is its bytes, and the reason says so.
        """

    def mark_replayed(self, name: str) -> None:
        """Its rows are in the buffer again; durable on return. A letter that is gone meanwhile is no error."""

    def delete(self, name: str) -> None:
        """It is shown no more; as `mark_replayed`."""

    def place(self, name: str) -> str:
        """Where the letter of that name is, for people."""

    def close(self) -> None:
        """May be called twice."""


class DeadLetters:
    """A directory of dead letters; nothing in it is ever deleted by the service.

    Implements `DeadLetterSink` and `DeadLetterStore`. What was replayed lies in the folder `replayed`.
    """

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
        return str(self._path(name))

    def names(self) -> list[str]:
        """Names of all dead letters that were not replayed, oldest first."""
        return sorted(path.name for path in self.directory.glob(f"*{_SUFFIX}"))

    def read(self, name: str) -> DeadLetter:
        """The dead letter of that name, replayed or not.

        Raises:
            FileNotFoundError: there is none.
            pa.ArrowInvalid: the file is not a dead letter.
        """
        with self._path(name).open("rb") as file, pa.ipc.open_file(file) as reader:
            return _letter(reader.read_all())

    # --- for people; see `DeadLetterStore` ---

    @property
    def where(self) -> str:
        """See `DeadLetterStore.where`."""
        return str(self.directory.absolute())

    def summaries(self) -> Iterator[Summary]:
        """See `DeadLetterStore.summaries`; each file is opened when its turn comes, and its rows are not read."""
        self._require_readable()
        paths = [*self.directory.glob(f"*{_SUFFIX}"), *(self.directory / _REPLAYED).glob(f"*{_SUFFIX}")]
        for path in sorted(paths, key=lambda path: path.name, reverse=True):
            with suppress(FileNotFoundError):  # somebody has replayed or deleted it meanwhile
                yield _summary(path)

    def read_all(self, names: Collection[str]) -> Iterator[tuple[str, DeadLetter]]:
        """See `DeadLetterStore.read_all`."""
        for name in names:
            try:
                yield name, self._read_any(name)
            except OSError as error:
                raise Permanent(f"dead letter {self.directory / name} cannot be read: {error}") from error

    def mark_replayed(self, name: str) -> None:
        """See `DeadLetterStore.mark_replayed`."""
        kept = self.directory / _REPLAYED
        with self._changing(name):
            self._make_owned(kept)
            self._path(name).rename(kept / name)
            fsync_directory(kept)

    def delete(self, name: str) -> None:
        """See `DeadLetterStore.delete`."""
        with self._changing(name):
            path = self._path(name)
            path.unlink()
            fsync_directory(path.parent)

    def close(self) -> None:
        """See `DeadLetterStore.close`; there is nothing to do."""

    def _read_any(self, name: str) -> DeadLetter:
        try:
            return self.read(name)
        except OSError:
            raise
        except _UNREADABLE as error:
            path = self._path(name)
            return DeadLetter(path.read_bytes(), f"it cannot be read any more: {error}", "", path.stat().st_mtime_ns)

    def _make_owned(self, directory: Path) -> None:
        """By root too it is made for the user of the service."""
        make_directory(directory, mode=0o700)
        if os.geteuid() == 0:
            owner = self.directory.stat()
            os.chown(directory, owner.st_uid, owner.st_gid)

    def _path(self, name: str) -> Path:
        if Path(name).name != name:
            raise FileNotFoundError(f"{name!r} is not the name of a dead letter")
        replayed = self.directory / _REPLAYED / name
        return replayed if replayed.exists() else self.directory / name

    def _require_readable(self) -> None:
        """A directory that may not be read looks empty to `glob`."""
        if self.directory.exists() and not os.access(self.directory, os.R_OK | os.X_OK):
            raise Permanent(f"dead letters in {self.directory} cannot be read; run this as the user of the service")

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        try:
            with suppress(FileNotFoundError):
                yield
            fsync_directory(self.directory)
        except OSError as error:
            raise Retryable(
                f"dead letter {self.directory / name} cannot be changed: {error}; "
                "make it writable, or run this as the user of the service"
            ) from error


def _name(letter: DeadLetter) -> str:
    seconds, nanoseconds = divmod(letter.time_ns, 10**9)
    time_text = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{nanoseconds:09d}Z"
    return f"{time_text}-{_kind(letter)}-{uuid.uuid4().hex[:8]}{_SUFFIX}"


def _kind(letter: DeadLetter) -> str:
    return letter.content.kind if isinstance(letter.content, Batch) else RAW


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


def _summary(path: Path) -> Summary:
    was_replayed = path.parent.name == _REPLAYED
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            metadata = _metadata(reader.schema)
            kind = metadata["kind"]
            rows = reader.get_batch(0).num_rows if kind in TABLES else 0
        time_ns = int(metadata["time_ns"])
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        return Summary(path.name, DAMAGED, 0, str(error), "", path.stat().st_mtime_ns, was_replayed)
    return Summary(path.name, kind, rows, metadata["reason"], metadata["origin"], time_ns, was_replayed)


def _metadata(schema: pa.Schema) -> dict[str, str]:
    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    if not metadata.keys() >= {"kind", "reason", "origin", "time_ns", "received_at_ns"}:
        raise pa.ArrowInvalid("this Arrow file is not a dead letter: it does not say its kind and reason")
    return metadata


def _letter(table: pa.Table) -> DeadLetter:
    metadata = _metadata(table.schema)
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
