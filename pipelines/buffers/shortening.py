"""A stand-in for a row that no message can hold: what is long in it is cut, what identifies it stays."""

from collections.abc import Callable
from typing import Final

import orjson
import pyarrow as pa

from pipelines.batch import Batch
from pipelines.errors import Permanent

_NOTE: Final = "… [shortened: {length} bytes, the whole row is a dead letter]"
_LEAST_BYTES: Final = 64


def shortened(row: Batch, max_bytes: int, measure: Callable[[Batch], int]) -> Batch:
    """`row`, one row, with its longest values cut until `measure` says at most `max_bytes`.

    Texts keep their beginning, those of JSON become a JSON string; lists and maps become empty.

    Raises:
        Permanent: it cannot be made small enough.
    """
    allowance_bytes = max_bytes // 2
    while allowance_bytes >= _LEAST_BYTES:
        smaller = _cut(row, allowance_bytes)
        if measure(smaller) <= max_bytes:
            return smaller
        allowance_bytes //= 2
    raise Permanent(f"a row of {row.kind} is larger than {max_bytes} bytes however it is shortened")


def _cut(row: Batch, allowance_bytes: int) -> Batch:
    columns = [_cut_column(column, allowance_bytes) for column in row.records.columns]
    records = pa.RecordBatch.from_arrays(columns, schema=row.records.schema)
    return Batch(row.kind, records, row.received_at_ns)


def _cut_column(column: pa.Array, allowance_bytes: int) -> pa.Array:
    if column.nbytes <= allowance_bytes:
        return column
    if pa.types.is_string(column.type):
        return pa.array([_cut_text(column[0].as_py(), allowance_bytes)], column.type)
    if pa.types.is_struct(column.type):
        fields = [_cut_column(field, allowance_bytes) for field in column.flatten()]
        return pa.StructArray.from_arrays(fields, fields=list(column.type))
    return pa.array([[]], column.type)  # lists and maps; nothing else grows


def _cut_text(text: str, allowance_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= allowance_bytes:
        return text
    kept = encoded[: allowance_bytes // 2].decode(errors="ignore") + _NOTE.format(length=len(encoded))
    return orjson.dumps(kept).decode() if text[:1] in ("[", "{") else kept
