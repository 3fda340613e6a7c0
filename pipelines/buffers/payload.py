"""Rows as bytes on disk: one Arrow IPC message without its schema, compressed as a whole, with a checksum.

Arrow's own compression works buffer by buffer: a row of some sixty columns has two hundred of them, and one frame
over all of them is half as large and forty times as fast for small batches. zstd at level 1 takes 3 µs a span more than
lz4 and stores little more than half of the bytes, each of which is written twice (log, then file): decision 0012.
"""

import zlib
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipelines.batch import Batch, Kind
from pipelines.schema import TABLES

SCHEMAS: Final = {kind: table.arrow_schema for kind, table in TABLES.items()}
"""Today's schemas, made once: making one takes as long as compressing a row."""

_CODEC: Final = pa.Codec("zstd", 1)


@dataclass(frozen=True, slots=True)
class Payload:
    """A batch on disk.

    Attributes:
        schema: id under which the buffer keeps the Arrow schema that it was written with.
        rows: number of rows.
        received_at_ns: as in `Batch`.
        size: bytes after decompression.
        data: compressed bytes.
        checksum: CRC-32 of all the above.
    """

    schema: int
    rows: int
    received_at_ns: int
    size: int
    data: bytes
    checksum: int


class CorruptPayload(Exception):
    """The bytes are not what was written."""


def encode(batch: Batch, schema: int) -> Payload:
    """`batch` as it is stored; decode it with the same schema."""
    message = batch.records.serialize()
    data = _CODEC.compress(message, asbytes=True)
    checksum = _checksum(schema, batch.rows, batch.received_at_ns, message.size, data)
    return Payload(schema, batch.rows, batch.received_at_ns, message.size, data, checksum)


def decode(payload: Payload, kind: Kind, schema: pa.Schema) -> Batch:
    """The batch that was encoded, in today's schema of its kind.

    Raises:
        CorruptPayload: checksum or contents are wrong.
    """
    expected = _checksum(payload.schema, payload.rows, payload.received_at_ns, payload.size, payload.data)
    if payload.checksum != expected:
        raise CorruptPayload(f"its checksum is {expected:08x}, written was {payload.checksum:08x}")
    try:
        message = _CODEC.decompress(payload.data, payload.size)
        records = in_current_schema(pa.ipc.read_record_batch(message, schema), SCHEMAS[kind])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptPayload(str(error)) from error
    return Batch(kind, records, payload.received_at_ns)


def in_current_schema(records: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows that another version wrote, column by column: those that it did not know are null."""
    if records.schema.equals(schema):
        return records
    known = set(records.schema.names)
    columns = [
        records.column(field.name).cast(field.type) if field.name in known else pa.nulls(records.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _checksum(schema: int, rows: int, received_at_ns: int, size: int, data: bytes) -> int:
    head = b"%d %d %d %d" % (schema, rows, received_at_ns, size)
    return zlib.crc32(data, zlib.crc32(head))
