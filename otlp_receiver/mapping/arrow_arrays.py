"""Arrow arrays from flat rows, without a Python object per value."""

from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.schema import TEXT_MAP, TIME

_INT64_MAX: Final = np.uint64(2**63 - 1)

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


def offsets(owners: npt.NDArray[Any], count: int) -> pa.Int32Array:
    """List offsets of rows sorted by owner."""
    ends = np.cumsum(np.bincount(owners, minlength=count)) if count else np.zeros(0, np.int64)
    return pa.array(np.concatenate(([0], ends)).astype(np.int32))


def text_map(owners: npt.NDArray[Any], keys: pa.Array, values: pa.Array, count: int) -> pa.MapArray:
    """A map per owner, from rows sorted by owner."""
    return pa.MapArray.from_arrays(offsets(owners, count), keys, values).cast(TEXT_MAP)


def attribute_map(attributes: pa.RecordBatch, count: int, keep: Mask | None = None) -> pa.MapArray:
    """A text map per owner from an attribute table, or from the rows of it to keep."""
    if not attributes.num_rows:
        return empty_lists(TEXT_MAP, count)
    if keep is not None:
        attributes = attributes.filter(pa.array(keep))
    owners = attributes.column("owner").to_numpy()
    return text_map(owners, attributes.column("key").cast(pa.string()), attributes.column("value"), count)


def empty_lists(kind: pa.DataType, count: int) -> pa.Array:
    """Empty lists or maps."""
    return _one_empty_list(kind).take(pa.array(np.zeros(count, np.int32)))


@cache
def _one_empty_list(kind: pa.DataType) -> pa.Array:
    return pa.array([[]], kind)


def take_text(values: pa.StringArray, rows: Indices) -> pa.StringArray:
    """The texts at `rows`; empty where a row is negative."""
    if not (rows >= 0).any():
        return pa.repeat("", len(rows))
    return pc.fill_null(values.take(pa.array(rows, mask=rows < 0)), "")


def time_array(nanoseconds: pa.UInt64Array) -> pa.TimestampArray:
    """Times of unsigned nanoseconds; what lies beyond the year 2262 is held at its last moment."""
    bounded = np.minimum(nanoseconds.to_numpy(), _INT64_MAX).astype(np.int64)
    return pa.array(bounded).cast(TIME)


def chosen(condition: Mask, yes: pa.Array, no: pa.Array) -> pa.Array:
    """Row by row, `yes` where the condition holds."""
    if not condition.any():
        return no
    return yes if condition.all() else pc.if_else(pa.array(condition), yes, no)


def has_text(values: pa.StringArray) -> Mask:
    """Which texts are not empty."""
    return np.asarray(pc.binary_length(values).to_numpy() > 0)


def first_text(*candidates: pa.StringArray) -> pa.StringArray:
    """Row by row, the first candidate that is not empty."""
    result = candidates[0]
    for candidate in candidates[1:]:
        result = chosen(has_text(result), result, candidate)
    return result
