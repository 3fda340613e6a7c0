"""Arrow columns as clickhouse-driver sends them: one Python list a column, times as integers.

Integers are what the driver writes as they are; from Python's datetime it would lose the nanoseconds.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from clickhouse_driver.columns import service
from clickhouse_driver.columns.mapcolumn import MapColumn
from clickhouse_driver.columns.util import get_inner_columns, get_inner_spec

_Counts = npt.NDArray[np.int64]
_MOST_VALUES: Final = 4_000_000
"""At some 100 bytes each. Blocks of everyday spans have a third of it; one of tiny attributes would become 1 GiB."""


@contextmanager
def without_collections() -> Iterator[None]:
    """No garbage collection meanwhile.

    The lists and tuples of a block are in no cycle; looking through them took a quarter of an insert's processor time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def columns(records: pa.RecordBatch) -> list[list[Any]]:
    """The columns in order, as `Client.execute(..., columnar=True)` takes them.

    Maps become dictionaries, so of equal keys the last stays.
    """
    return [_plain(column) for column in records.columns]


def leading_rows(records: pa.RecordBatch) -> int:
    """How many of the rows `columns` takes some 400 MiB for, beside their texts; one at least."""
    if not records.num_rows:
        return 0
    values = np.cumsum(_sums([_values_of_rows(column) for column in records.columns]))
    return max(1, int(np.searchsorted(values, _MOST_VALUES, side="right")))


def _values_of_rows(array: pa.Array) -> _Counts:
    """How many Python objects each row becomes."""
    kind = array.type
    if not len(array):
        return np.zeros(0, np.int64)
    if pa.types.is_struct(kind):
        return _sums([_values_of_rows(field) for field in array.flatten()])
    if not (pa.types.is_map(kind) or pa.types.is_list(kind)):
        return np.ones(len(array), np.int64)
    offsets = array.offsets.to_numpy()
    parts = (array.keys, array.items) if pa.types.is_map(kind) else (array.values,)
    inner = _sums([_values_of_rows(_between(part, offsets)) for part in parts])
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(inner)])
    return _sums([np.ones(len(array), np.int64), np.diff(ends[offsets - offsets[0]])])


def _sums(parts: Sequence[_Counts]) -> _Counts:
    return np.asarray(np.sum(parts, axis=0), np.int64)


def _plain(array: pa.Array) -> list[Any]:
    kind = array.type
    if not len(array):  # such an array may have no offsets at all
        return []
    if pa.types.is_timestamp(kind):
        return _listed(array.cast(pa.int64()))
    if pa.types.is_struct(kind):
        return list(zip(*(_plain(field) for field in array.flatten()), strict=True))
    if pa.types.is_map(kind):
        offsets = array.offsets.to_pylist()
        keys, values = (_plain(_between(part, offsets)) for part in (array.keys, array.items))
        return [dict(zip(keys[start:stop], values[start:stop], strict=True)) for start, stop in _spans(offsets)]
    if pa.types.is_list(kind):
        offsets = array.offsets.to_pylist()
        values = _plain(_between(array.values, offsets))
        return [values[start:stop] for start, stop in _spans(offsets)]
    return _listed(array)


def _listed(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _between(children: pa.Array, offsets: Sequence[int] | npt.NDArray[np.int32]) -> pa.Array:
    """Of all children those that the rows of this slice have."""
    return children.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def _spans(offsets: Sequence[int]) -> list[tuple[int, int]]:
    first = offsets[0]
    return [(start - first, stop - first) for start, stop in pairwise(offsets)]


class _TupleMapColumn(MapColumn):  # type: ignore[misc] # the driver has no types
    """A map to tuples; the driver cannot write it when all maps of a block are empty."""

    def write_items(self, items: Sequence[dict[Any, Any]], buf: Any) -> None:
        if any(items):
            super().write_items(items, buf)
        else:
            self.offset_column.write_items([0] * len(items), buf)


def _create_map_column(spec: str, column_by_spec_getter: Any, column_options: dict[str, Any]) -> MapColumn:
    """As the driver's own, which takes commas within a tuple of parametric types for the one between key and value."""
    key, value = get_inner_columns(get_inner_spec("Map", spec))
    return _TupleMapColumn(column_by_spec_getter(key), column_by_spec_getter(value), **column_options)


# `traces.metadata` is a map to tuples that hold DateTime64(9, 'UTC'): a type that clickhouse-driver 0.2.11 cannot read.
service.create_map_column = _create_map_column
