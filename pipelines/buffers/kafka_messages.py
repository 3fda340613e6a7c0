"""Batches as Kafka messages, and back.

A message says in its headers what it is, so `encoding` may be changed while old messages are still there:

| header | is |
|---|---|
| kind | which table the rows belong to |
| encoding | `arrow`: an Arrow IPC stream with its schema; `json`: one row as an object of `pipelines.json_records` |
| rows | number of rows |
| received_at_ns | as in `Batch` |
| compression | of an Arrow message, as one frame: `gzip`, `lz4`, `zstd`; absent = none |
| size_bytes | of a compressed message before that |

Messages carry their schema, so that another version of us, or another program, can read them. JSON messages are left
to Kafka's compression of many together; Arrow ones hold many rows and are compressed here: half the processor time of
the client's own way, and brokers need not look inside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

import orjson
import pyarrow as pa

from pipelines.batch import Batch, Kind
from pipelines.blocks import halves, split
from pipelines.buffers.base import ENTRY_ROWS, Corrupt
from pipelines.buffers.payload import SCHEMAS, in_current_schema
from pipelines.buffers.shortening import shortened
from pipelines.errors import Permanent
from pipelines.json_records import from_json_records, json_records

Encoding = Literal["arrow", "json"]
Compression = Literal["none", "gzip", "lz4", "zstd"]

OVERHEAD_BYTES: Final = 4096
"""Room for key, headers and what Kafka adds to a message; also for what does not compress."""

_MOST_MESSAGE_BYTES: Final = 64 << 20
_CODECS: Final = {"gzip": pa.Codec("gzip", 1), "lz4": pa.Codec("lz4"), "zstd": pa.Codec("zstd", 1)}
_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, TypeError, AttributeError, KeyError)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to Kafka.

    Attributes:
        value: the rows.
        key: decides about the partition; None leaves it to the client.
        headers: as in the table above.
    """

    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Content:
    """What was read from consecutive messages of one partition.

    Attributes:
        rows: number of rows.
        next_offset: commit it to move past the messages.
        size_bytes: of the messages' values, decompressed.
        content: the rows, or what is left of them.
    """

    rows: int
    next_offset: int
    size_bytes: int
    content: Batch | Corrupt


def encode(
    batch: Batch, encoding: Encoding, max_message_bytes: int, compression: Compression = "none"
) -> tuple[list[Message], list[Batch]]:
    """The messages of a batch, and those of its rows that are too large for one and were shortened.

    Arrow messages are compressed; those of JSON Kafka compresses.

    Raises:
        Permanent: the batch does not have its table's schema, or a text is not UTF-8.
    """
    if not batch.records.schema.equals(SCHEMAS[batch.kind]):
        raise Permanent(f"a batch of {batch.kind} does not have their schema: some processor has changed it")
    max_bytes = max_message_bytes - OVERHEAD_BYTES
    oversize: list[Batch] = []
    pieces = [piece for piece in split(batch, ENTRY_ROWS, max_bytes) if piece.rows]
    if encoding == "json":
        return [message for piece in pieces for message in _json_messages(piece, max_bytes, oversize)], oversize
    streams = [each for piece in pieces for each in _arrow_streams(piece, max_bytes, oversize)]
    return [_arrow_message(part, stream, compression) for part, stream in streams], oversize


def _arrow_streams(batch: Batch, max_bytes: int, oversize: list[Batch]) -> Iterator[tuple[Batch, pa.Buffer]]:
    stream = _stream(batch)
    if stream.size <= max_bytes:
        yield batch, stream
    elif batch.rows > 1:
        for half in halves(batch):
            yield from _arrow_streams(half, max_bytes, oversize)
    else:
        oversize.append(batch)
        smaller = shortened(batch, max_bytes, lambda short: _stream(short).size)
        yield smaller, _stream(smaller)


def _arrow_message(batch: Batch, stream: pa.Buffer, compression: Compression) -> Message:
    headers = _headers(batch, "arrow")
    if compression != "none":
        value = _CODECS[compression].compress(stream, asbytes=True)
        if len(value) < stream.size:
            about = [("compression", compression.encode()), ("size_bytes", b"%d" % stream.size)]
            return Message(value, None, headers + about)
    return Message(stream.to_pybytes(), None, headers)


def _json_messages(batch: Batch, max_bytes: int, oversize: list[Batch]) -> Iterator[Message]:
    headers = [("rows", b"1"), *(each for each in _headers(batch, "json") if each[0] != "rows")]
    for index, record in enumerate(json_records(batch.records)):
        value = orjson.dumps(record)
        if len(value) > max_bytes:
            row = Batch(batch.kind, batch.records.slice(index, 1), batch.received_at_ns)
            oversize.append(row)
            value = _json(shortened(row, max_bytes, lambda short: len(_json(short))))
        yield Message(value, _trace_id(record), headers)


def _stream(batch: Batch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.records.schema) as writer:
        writer.write_batch(batch.records)
    return sink.getvalue()


def _json(row: Batch) -> bytes:
    return orjson.dumps(json_records(row.records)[0])


def _trace_id(record: dict[str, Any]) -> bytes | None:
    trace_id = record.get("trace_id", record["id"])
    return trace_id.encode() if trace_id else None


def _headers(batch: Batch, encoding: Encoding) -> list[tuple[str, bytes]]:
    values = {
        "kind": batch.kind,
        "encoding": encoding,
        "rows": str(batch.rows),
        "received_at_ns": str(batch.received_at_ns),
    }
    return [(name, value.encode()) for name, value in values.items()]


# --- reading ---


def decode(records: Sequence[Any], place: str) -> list[Content]:
    """What consecutive messages of one partition hold; JSON rows of one kind come together as one batch."""
    return [
        content
        for (encoding, kind), group in groupby(records, key=_sort)
        for content in _decode_alike(list(group), encoding, kind, place)
    ]


def _sort(record: Any) -> tuple[str, str]:
    headers = dict(record.headers)
    encoding, kind = (headers.get(name, b"").decode("utf-8", "replace") for name in ("encoding", "kind"))
    return encoding, kind


def _decode_alike(records: list[Any], encoding: str, kind: str, place: str) -> list[Content]:
    size = ENTRY_ROWS if encoding == "json" else 1
    return [
        content
        for start in range(0, len(records), size)
        for content in _decode_some(records[start : start + size], encoding, kind, place)
    ]


def _decode_some(records: list[Any], encoding: str, kind: str, place: str) -> list[Content]:
    """One content; if it cannot be read, one for each message, so that a bad one costs no other."""
    try:
        return [_content(records, _batch(records, encoding, kind), sum(map(_size_bytes, records)))]
    except _UNREADABLE as error:
        if len(records) > 1:
            return [content for record in records for content in _decode_some([record], encoding, kind, place)]
        reason = f"the message at offset {records[0].offset} of {place} cannot be read: {error!r}"
        raw = records[0].value or b""
        return [_content(records, Corrupt(raw, reason), len(raw))]


def _content(records: list[Any], content: Batch | Corrupt, size_bytes: int) -> Content:
    rows = content.rows if isinstance(content, Batch) else 1
    return Content(rows, records[-1].offset + 1, size_bytes, content)


def _size_bytes(record: Any) -> int:
    return int(dict(record.headers).get("size_bytes", len(record.value)))


def _batch(records: list[Any], encoding: str, kind: str) -> Batch:
    received_at_ns = min(int(dict(record.headers)["received_at_ns"]) for record in records)
    known = _kind(kind)
    if encoding == "json":
        rows = [orjson.loads(record.value) for record in records]
        return Batch(known, from_json_records(rows, SCHEMAS[known]), received_at_ns)
    if encoding != "arrow":
        raise ValueError(f"its encoding is {encoding!r}, known are arrow and json")
    with pa.ipc.open_stream(_decompressed(records[0])) as reader:
        batch = reader.read_next_batch()
    batch.validate(full=True)
    return Batch(known, in_current_schema(batch, SCHEMAS[known]), received_at_ns)


def _decompressed(record: Any) -> Any:
    headers = dict(record.headers)
    compression = headers.get("compression", b"none").decode()
    if compression == "none":
        return record.value
    size_bytes = int(headers["size_bytes"])
    if size_bytes > _MOST_MESSAGE_BYTES:
        raise ValueError(f"its size_bytes is {size_bytes}, possible are {_MOST_MESSAGE_BYTES}")
    return _CODECS[compression].decompress(record.value, size_bytes)


def _kind(name: str) -> Kind:
    for kind in SCHEMAS:
        if kind == name:
            return kind
    raise ValueError(f"its kind is {name!r}, known are {', '.join(SCHEMAS)}")
