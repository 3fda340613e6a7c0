"""Arrow columns as clickhouse-driver sends them: one Python list a column, times as integers.

Integers are what the driver writes as they are; from Python's datetime it would lose the nanoseconds.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pyarrow as pa
from clickhouse_driver.columns import service
from clickhouse_driver.columns.mapcolumn import MapColumn
from clickhouse_driver.columns.util import get_inner_columns, get_inner_spec


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


def _between(children: pa.Array, offsets: Sequence[int]) -> pa.Array:
    """Of all children those that the rows of this slice have."""
    return children.slice(offsets[0], offsets[-1] - offsets[0])


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
