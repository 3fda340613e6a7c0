"""Batches as Kafka messages, and back.

A message says in its headers what it is, so `encoding` may be changed while old messages are still there:

| header | is |
|---|---|
| kind | which table the rows belong to |
| encoding | `arrow`: an Arrow IPC stream with its schema; `json`: one row as an object of `pipelines.json_records` |
| rows | number of rows |
| received_at_ns | as in `Batch` |

Messages carry their schema, so that another version of us, or another program, can read them; Kafka compresses many
messages together, which makes up for it.
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

OVERHEAD_BYTES: Final = 4096
"""Room for key, headers and what Kafka adds to a message; also for what does not compress."""

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
        size_bytes: of the messages' values.
        content: the rows, or what is left of them.
    """

    rows: int
    next_offset: int
    size_bytes: int
    content: Batch | Corrupt


def encode(batch: Batch, encoding: Encoding, max_message_bytes: int) -> tuple[list[Message], list[Batch]]:
    """The messages of a batch, and those of its rows that are too large for one and were shortened.

    Raises:
        Permanent: the batch does not have its table's schema, or a text is not UTF-8.
    """
    if not batch.records.schema.equals(SCHEMAS[batch.kind]):
        raise Permanent(f"a batch of {batch.kind} does not have their schema: some processor has changed it")
    max_bytes = max_message_bytes - OVERHEAD_BYTES
    oversize: list[Batch] = []
    pieces = [piece for piece in split(batch, ENTRY_ROWS, max_bytes) if piece.rows]
    write = _json_messages if encoding == "json" else _arrow_messages
    return [message for piece in pieces for message in write(piece, max_bytes, oversize)], oversize


def _arrow_messages(batch: Batch, max_bytes: int, oversize: list[Batch]) -> Iterator[Message]:
    value = _stream(batch)
    if len(value) <= max_bytes:
        yield Message(value, None, _headers(batch, "arrow"))
    elif batch.rows > 1:
        for half in halves(batch):
            yield from _arrow_messages(half, max_bytes, oversize)
    else:
        oversize.append(batch)
        smaller = shortened(batch, max_bytes, lambda short: len(_stream(short)))
        yield Message(_stream(smaller), None, _headers(smaller, "arrow"))


def _json_messages(batch: Batch, max_bytes: int, oversize: list[Batch]) -> Iterator[Message]:
    headers = [("rows", b"1"), *(each for each in _headers(batch, "json") if each[0] != "rows")]
    for index, record in enumerate(json_records(batch.records)):
        value = orjson.dumps(record)
        if len(value) > max_bytes:
            row = Batch(batch.kind, batch.records.slice(index, 1), batch.received_at_ns)
            oversize.append(row)
            value = _json(shortened(row, max_bytes, lambda short: len(_json(short))))
        yield Message(value, _trace_id(record), headers)


def _stream(batch: Batch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.records.schema) as writer:
        writer.write_batch(batch.records)
    return bytes(sink.getvalue().to_pybytes())


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
        return [_content(records, _batch(records, encoding, kind))]
    except _UNREADABLE as error:
        if len(records) > 1:
            return [content for record in records for content in _decode_some([record], encoding, kind, place)]
        reason = f"the message at offset {records[0].offset} of {place} cannot be read: {error!r}"
        return [_content(records, Corrupt(records[0].value or b"", reason))]


def _content(records: list[Any], content: Batch | Corrupt) -> Content:
    rows = content.rows if isinstance(content, Batch) else 1
    return Content(rows, records[-1].offset + 1, sum(len(record.value or b"") for record in records), content)


def _batch(records: list[Any], encoding: str, kind: str) -> Batch:
    received_at_ns = min(int(dict(record.headers)["received_at_ns"]) for record in records)
    known = _kind(kind)
    if encoding == "json":
        rows = [orjson.loads(record.value) for record in records]
        return Batch(known, from_json_records(rows, SCHEMAS[known]), received_at_ns)
    if encoding != "arrow":
        raise ValueError(f"its encoding is {encoding!r}, known are arrow and json")
    with pa.ipc.open_stream(records[0].value) as reader:
        table = reader.read_all().combine_chunks()
    (batch,) = table.to_batches()
    batch.validate(full=True)
    return Batch(known, in_current_schema(batch, SCHEMAS[known]), received_at_ns)


def _kind(name: str) -> Kind:
    for kind in SCHEMAS:
        if kind == name:
            return kind
    raise ValueError(f"its kind is {name!r}, known are {', '.join(SCHEMAS)}")
