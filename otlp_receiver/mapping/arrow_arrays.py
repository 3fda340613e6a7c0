"""Arrow arrays from flat rows, without a Python object per value."""

from functools import cache, lru_cache
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
    ends = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(owners, minlength=count), out=ends[1:])
    return pa.array(ends)


def text_map(owners: npt.NDArray[Any], keys: pa.Array, values: pa.Array, count: int) -> pa.MapArray:
    """A map per owner, from rows sorted by owner."""
    return pa.MapArray.from_arrays(offsets(owners, count), keys, values, type=TEXT_MAP)


def attribute_map(attributes: pa.RecordBatch, count: int, keep: Mask | None = None) -> pa.MapArray:
    """A text map per owner from an attribute table, or from the rows of it to keep."""
    if not attributes.num_rows:
        return empty_lists(TEXT_MAP, count)
    owners, keys, values = attributes.column("owner").to_numpy(), attributes.column("key"), attributes.column("value")
    codes = keys.indices
    if keep is not None:
        rows = np.flatnonzero(keep)
        owners, codes, values = owners[rows], pa.array(codes.to_numpy()[rows]), values.take(pa.array(rows))
    return text_map(owners, keys.dictionary.take(codes), values, count)


def empty_lists(kind: pa.DataType, count: int) -> pa.Array:
    """Empty lists or maps."""
    return pa.Array.from_buffers(kind, count, [None, _zeros(count + 1)], children=[_no_items(kind)])


@cache
def _no_items(kind: pa.DataType) -> pa.Array:
    return pa.array([[]], kind).values


def empty_texts(count: int) -> pa.StringArray:
    """Empty texts."""
    return pa.StringArray.from_buffers(count, _zeros(count + 1), _NO_BYTES)


_NO_BYTES: Final = pa.py_buffer(b"")


def _zeros(count: int) -> pa.Buffer:
    return pa.py_buffer(bytes(4 * count))


def take_text(values: pa.StringArray, rows: Indices) -> pa.StringArray:
    """The texts at `rows`; empty where a row is negative."""
    taken = values.take(pa.array(rows, mask=rows < 0))
    if not taken.null_count:
        return taken
    # A null takes up no bytes, so without the mask it is an empty text; to fill the nulls would copy all texts again.
    _, ends, data = taken.buffers()
    return pa.StringArray.from_buffers(len(taken), ends, data or _NO_BYTES)


def time_array(nanoseconds: pa.UInt64Array) -> pa.TimestampArray:
    """Times of unsigned nanoseconds; what lies beyond the year 2262 is held at its last moment."""
    return signed_time_array(np.minimum(nanoseconds.to_numpy(), _INT64_MAX).astype(np.int64))


def signed_time_array(nanoseconds: npt.NDArray[np.int64]) -> pa.TimestampArray:
    """Times of nanoseconds that fit."""
    return pa.array(nanoseconds).view(TIME)


def chosen(condition: Mask, yes: pa.Array, no: pa.Array) -> pa.Array:
    """Row by row, `yes` where the condition holds."""
    if not condition.any():
        return no
    return yes if condition.all() else pc.if_else(pa.array(condition), yes, no)


def text_ends(values: pa.StringArray) -> npt.NDArray[np.int32]:
    """Where in their data the texts begin and end: text i lies between numbers i and i + 1."""
    if not len(values):
        return np.zeros(1, np.int32)  # an array without texts may be without this buffer
    return np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]


def text_bytes(values: pa.StringArray) -> npt.NDArray[np.uint8]:
    """The data that `text_ends` tells the places in."""
    return np.frombuffer(values.buffers()[2] or b"", np.uint8)


def fixed_texts(values: pa.StringArray, width: int) -> npt.NDArray[np.bytes_]:
    """Texts that all have so many bytes, such as ids."""
    return np.frombuffer(values.buffers()[2], f"S{width}", len(values), int(text_ends(values)[0]))


def has_text(values: pa.StringArray) -> Mask:
    """Which texts are not empty."""
    ends = text_ends(values)
    found: Mask = ends[1:] > ends[:-1]
    return found


def has_items(lists: pa.ListArray | pa.MapArray) -> Mask:
    """Which lists or maps are not empty."""
    ends = lists.offsets.to_numpy()
    found: Mask = ends[1:] > ends[:-1]
    return found


def is_text(values: pa.StringArray, text: str) -> Mask:
    """Which texts are this one."""
    found: Mask = pc.equal(values, _scalar(text)).to_numpy(zero_copy_only=False)
    return found


@lru_cache(maxsize=256)
def _scalar(text: str) -> pa.StringScalar:
    return pa.scalar(text)


def first_text(*candidates: pa.StringArray) -> pa.StringArray:
    """Row by row, the first candidate that is not empty."""
    result = candidates[0]
    for candidate in candidates[1:]:
        result = chosen(has_text(result), result, candidate)
    return result
