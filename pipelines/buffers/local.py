"""The local buffer: a SQLite file on local disk, appended to by the ingest processes, read by the export process.

Positions count rows: an entry's position is the number of rows appended up to and with it, so that how far a cursor
is behind is a subtraction. Space is SQLite's own count of pages in use: right after any crash, and free to ask.
"""

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyarrow as pa
import structlog

from config.models import LocalBufferSettings
from pipelines.batch import Batch, Kind
from pipelines.blocks import split
from pipelines.buffers.base import ENTRY_ROWS, Corrupt, Entry, Statistics
from pipelines.buffers.payload import SCHEMAS, CorruptPayload, Payload, decode, encode
from pipelines.buffers.sqlite_file import (
    PAGE_BYTES,
    checkpoint_after,
    connect,
    connect_writer,
    log_bytes,
    named_errors,
    open_shared,
    room_bytes,
    shorten_log,
    shrink,
    transaction,
)
from pipelines.dead_letters import DeadLetters
from pipelines.errors import BufferFull, Permanent, Retryable

_ENTRY_BYTES: Final = 8 << 20  # bounds what one step of a reader holds in memory
_LOG_BYTES: Final = 64 << 20
_SHRINK_PAGES: Final = 2048  # given back to the file system in one go: some 0.1 s
_TRIM_ENTRIES: Final = 1024
_WRITER: Final = 0
_READER: Final = 1

_INSERT: Final = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"
# Casts: on a damaged page a column may have any type; the checksum then tells.
_SELECT: Final = """
SELECT
    position, CAST(coalesce(schema, 0) AS INTEGER), CAST(coalesce(rows, 0) AS INTEGER),
    CAST(coalesce(received_at_ns, 0) AS INTEGER), CAST(coalesce(size, 0) AS INTEGER),
    CAST(coalesce(data, '') AS BLOB), CAST(coalesce(checksum, 0) AS INTEGER)
FROM entries WHERE position > ? ORDER BY position
"""
_LAST: Final = """
SELECT max(coalesce((SELECT max(position) FROM entries), 0), coalesce((SELECT max(position) FROM cursors), 0))
"""
_OLDEST: Final = "SELECT position - rows FROM entries ORDER BY position LIMIT 1"
_USED_PAGES: Final = """
SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)
"""
_STATISTICS: Final = f"""
SELECT
    max(coalesce((SELECT max(position) FROM entries), 0) - cursors.position, 0),
    (SELECT received_at_ns FROM entries WHERE entries.position > cursors.position ORDER BY entries.position LIMIT 1),
    ({_USED_PAGES})
FROM cursors WHERE name = ?
"""  # noqa: S608 - built of constants
_TRIM: Final = "DELETE FROM entries WHERE position <= (SELECT min(position) FROM cursors)"
_TRIM_SOME: Final = f"""
DELETE FROM entries WHERE position <= (
    SELECT max(position) FROM (
        SELECT position FROM entries WHERE position <= (SELECT min(position) FROM cursors)
        ORDER BY position LIMIT {_TRIM_ENTRIES}
    )
)
"""  # noqa: S608 - built of constants
_log = structlog.get_logger("buffer")


class LocalBuffer:
    """Implements `pipelines.buffers.Buffer` on one SQLite file per buffer.

    File and log together stay below `max_size_mib`, give or take one append. Space of exported rows is used again,
    and given back to the file system once an exporter has caught up.
    """

    def __init__(self, settings: LocalBufferSettings, name: str) -> None:
        self.name = name
        directory = Path(settings.directory)
        self.dead_letters = DeadLetters(directory / "dead-letters")
        self._path = directory / f"{quote(name, safe='')}.sqlite"
        max_bytes = settings.max_size_mib << 20
        self._log_bytes = min(_LOG_BYTES, max_bytes // 4)
        self._capacity_bytes = max_bytes - self._log_bytes
        # Readers never wait for a writer that waits for the lock: each has a connection and a lock of its own.
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._file_lock = -1
        self._schema_ids: dict[Kind, int] = {}
        self._schemas: dict[int, tuple[Kind, pa.Schema]] = {}

    def open(self) -> None:
        """See `Buffer.open`."""
        self._file_lock = open_shared(self._path)
        with named_errors(self._path):
            for connect_one in (connect_writer, connect):  # in the order of _WRITER and _READER
                self._connections.append(connect_one(self._path, self._log_bytes // 4))
        with self._writing() as writer:
            self._schema_ids = {kind: _schema_id(writer, kind) for kind in SCHEMAS}
        self._schemas = {self._schema_ids[kind]: (kind, schema) for kind, schema in SCHEMAS.items()}

    def append(self, batches: Sequence[Batch]) -> None:
        """See `Buffer.append`."""
        payloads = [payload for batch in batches for payload in self._encoded(batch)]
        if not payloads:
            return
        with self._writing() as writer:
            self._require_room(writer, sum(len(payload.data) + PAGE_BYTES for payload in payloads))
            position = _number(writer, _LAST)
            for payload in payloads:
                position += payload.rows
                writer.execute(_INSERT, _values(position, payload))

    def check(self) -> None:
        """See `Buffer.check`."""
        with self._reading() as reader:
            self._require_room(reader, min(_ENTRY_BYTES, self._capacity_bytes // 16))

    def keep_cursors(self, cursors: Collection[str]) -> None:
        """See `Buffer.keep_cursors`."""
        with self._write_lock, named_errors(self._path):
            # Copying the log to the file falls to the export half where it can, not to a request that waits.
            checkpoint_after(self._connection(_WRITER), self._log_bytes // 16)
        with self._writing() as writer:
            known = {name for (name,) in writer.execute("SELECT name FROM cursors")}
            start = writer.execute(_OLDEST).fetchone() or writer.execute(_LAST).fetchone()
            new = [(name, start[0]) for name in cursors if name not in known]
            writer.executemany("INSERT INTO cursors VALUES (?, ?)", new)
            gone = sorted(known.difference(cursors))
            writer.executemany("DELETE FROM cursors WHERE name = ?", [(name,) for name in gone])
        if gone:
            _log.warning(
                "Exporters that are no longer configured no longer hold rows back.", buffer=self.name, exporters=gone
            )
        self._trim_in_steps()

    def read(self, cursor: str, max_rows: int, max_bytes: int, after: int | None = None) -> list[Entry]:
        """See `Buffer.read`."""
        with self._reading() as reader:
            start = _position(reader, cursor) if after is None else after
            # The cursor is closed before anything is decoded: a long read would keep the log from being emptied.
            with closing(reader.execute(_SELECT, (start,))) as rows:
                stored = _take(rows, max_rows, max_bytes)
            self._learn_schemas(reader, {payload.schema for _, payload in stored})
        return [Entry(position, payload.rows, self._decoded(position, payload)) for position, payload in stored]

    def commit(self, cursor: str, position: int) -> None:
        """See `Buffer.commit`."""
        with self._writing() as writer:
            _position(writer, cursor)
            writer.execute("UPDATE cursors SET position = max(position, ?) WHERE name = ?", (position, cursor))
            writer.execute(_TRIM)
            has_caught_up = writer.execute(_OLDEST).fetchone() is None
        if has_caught_up:
            with self._write_lock:
                shrink(self._connection(_WRITER), _SHRINK_PAGES)

    def statistics(self, cursor: str) -> Statistics:
        """See `Buffer.statistics`."""
        with self._reading() as reader:
            row = reader.execute(_STATISTICS, (cursor,)).fetchone()
        if row is None:
            raise _unknown(cursor)
        return Statistics(row[0], row[1], row[2] * PAGE_BYTES, self._capacity_bytes)

    def close(self) -> None:
        """See `Buffer.close`."""
        with self._write_lock, self._read_lock:
            while self._connections:
                self._connections.pop().close()
            if self._file_lock >= 0:
                os.close(self._file_lock)
                self._file_lock = -1

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, named_errors(self._path):
            writer = self._connection(_WRITER)
            # What is in the log takes as much again when it is copied to the file.
            shorten_log(writer, self._path, min(self._log_bytes, max(0, room_bytes(self._path))))
            with transaction(writer):
                yield writer

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock, named_errors(self._path):
            yield self._connection(_READER)

    def _connection(self, index: int) -> sqlite3.Connection:
        if not self._connections:
            raise Retryable(f"buffer {self.name} is closed")
        return self._connections[index]

    def _encoded(self, batch: Batch) -> list[Payload]:
        if not batch.records.schema.equals(SCHEMAS[batch.kind]):
            raise Permanent(f"a batch of {batch.kind} does not have their schema: some processor has changed it")
        schema = self._schema_ids[batch.kind]
        return [encode(piece, schema) for piece in split(batch, ENTRY_ROWS, _ENTRY_BYTES) if piece.rows]

    def _decoded(self, position: int, payload: Payload) -> Batch | Corrupt:
        try:
            return decode(payload, *self._schemas[payload.schema])
        except (CorruptPayload, KeyError) as error:
            reason = f"{payload.rows} rows at position {position} of {self._path} are damaged: {error}"
            return Corrupt(payload.data, reason)

    def _learn_schemas(self, reader: sqlite3.Connection, ids: set[int]) -> None:
        for schema_id in ids - self._schemas.keys():
            for kind, arrow in reader.execute("SELECT kind, arrow FROM schemas WHERE id = ?", (schema_id,)):
                with suppress(pa.ArrowException, OSError):  # damaged: so is every entry that needs it
                    self._schemas[schema_id] = (kind, pa.ipc.read_schema(pa.py_buffer(arrow)))

    def _require_room(self, writer: sqlite3.Connection, size_bytes: int) -> None:
        excess_bytes = max(0, log_bytes(self._path) - self._log_bytes)  # somebody's long read kept it from shrinking
        used_bytes = _number(writer, _USED_PAGES) * PAGE_BYTES + excess_bytes
        if used_bytes + size_bytes > self._capacity_bytes:
            raise BufferFull(
                f"buffer {self.name} is full: {used_bytes} of {self._capacity_bytes} bytes in {self._path} are used, "
                f"{size_bytes} more are needed; wait for the exporters to catch up or raise `max_size_mib`"
            )
        self._require_disk(writer, size_bytes)

    def _require_disk(self, writer: sqlite3.Connection, size_bytes: int) -> None:
        """Room for these rows and for moving them on: a disk that the buffer has filled to the brim would stay full."""
        reusable_bytes = _number(writer, "PRAGMA freelist_count") * PAGE_BYTES
        needed_bytes = log_bytes(self._path) + size_bytes + max(0, size_bytes - reusable_bytes)
        left_bytes = room_bytes(self._path)
        if needed_bytes > left_bytes:
            raise BufferFull(
                f"buffer file {self._path}: the disk is full; free space on it or wait for the exporters to catch up: "
                f"{left_bytes} bytes are left beside a reserve, {needed_bytes} are needed"
            )

    def _trim_in_steps(self) -> None:
        """In many short transactions: a forgotten cursor may have held back gigabytes."""
        deleted = 1
        while deleted:
            with self._writing() as writer:
                deleted = writer.execute(_TRIM_SOME).rowcount


def _values(position: int, payload: Payload) -> tuple[int | bytes, ...]:
    return (
        position,
        payload.schema,
        payload.rows,
        payload.received_at_ns,
        payload.size,
        payload.checksum,
        payload.data,
    )


def _take(
    rows: Iterable[tuple[int, int, int, int, int, bytes, int]], max_rows: int, max_bytes: int
) -> list[tuple[int, Payload]]:
    taken: list[tuple[int, Payload]] = []
    rows_by_schema: Counter[int] = Counter()
    size_bytes = 0
    for position, schema, row_count, received_at_ns, size, data, checksum in rows:
        payload = Payload(schema, row_count, received_at_ns, size, data, checksum)
        rows_by_schema[payload.schema] += payload.rows
        size_bytes += payload.size
        if taken and (rows_by_schema[payload.schema] > max_rows or size_bytes > max_bytes):
            break
        taken.append((position, payload))
    return taken


def _schema_id(writer: sqlite3.Connection, kind: Kind) -> int:
    arrow = SCHEMAS[kind].serialize().to_pybytes()
    writer.execute("INSERT OR IGNORE INTO schemas (kind, arrow) VALUES (?, ?)", (kind, arrow))
    return _number(writer, "SELECT id FROM schemas WHERE kind = ? AND arrow = ?", kind, arrow)


def _position(connection: sqlite3.Connection, cursor: str) -> int:
    row = connection.execute("SELECT position FROM cursors WHERE name = ?", (cursor,)).fetchone()
    if row is None:
        raise _unknown(cursor)
    return int(row[0])


def _number(connection: sqlite3.Connection, sql: str, *values: str | bytes) -> int:
    return int(connection.execute(sql, values).fetchone()[0])


def _unknown(cursor: str) -> KeyError:
    return KeyError(f"there is no cursor {cursor!r}: it must be among `keep_cursors`")
