"""Cutting batches and joining them: bounded pieces into the buffer, large blocks out of it."""

from collections.abc import Iterable
from itertools import groupby
from typing import Final

import pyarrow as pa

from pipelines.batch import Batch, Kind

_ORDER: Final[tuple[Kind, ...]] = ("observations", "traces", "scores", "contents")


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """Rows `start` up to `stop`, sharing memory with `batch`."""
    return Batch(batch.kind, batch.records.slice(start, stop - start), batch.received_at_ns)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The first and the second half of at least two rows."""
    middle = batch.rows // 2
    return cut(batch, 0, middle), cut(batch, middle, batch.rows)


def split(batch: Batch, max_rows: int, max_bytes: int) -> list[Batch]:
    """Pieces of at most `max_rows` rows and `max_bytes` bytes, in order; one row alone may be larger."""
    if batch.rows > 1 and (batch.rows > max_rows or batch.size_bytes > max_bytes):
        return [piece for half in halves(batch) for piece in split(half, max_rows, max_bytes)]
    return [batch]


def join(batches: Iterable[Batch]) -> list[Batch]:
    """One batch per kind that occurs, rows in the order given; observations come first."""
    by_kind = sorted(batches, key=lambda batch: _ORDER.index(batch.kind))
    return [_joined(kind, list(group)) for kind, group in groupby(by_kind, key=lambda batch: batch.kind)]


def _joined(kind: Kind, batches: list[Batch]) -> Batch:
    records = pa.concat_batches([batch.records for batch in batches])
    return Batch(kind, records, min(batch.received_at_ns for batch in batches))
