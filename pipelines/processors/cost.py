"""Fills in what model calls cost: the cost that the span carries, else own prices, else public ones, else nothing.

Unknown stays empty, it never becomes 0: a model that nobody has a price for is counted by its name.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.prices import CostSettings
from pipelines.batch import Batch
from pipelines.metrics import UNPRICED_SPANS
from pipelines.processors.cost_rates import UNKNOWN, Flags, Integers, Rates, charge
from pipelines.processors.public_prices import LONGEST_NAME
from pipelines.processors.tariffs import Called, OwnPrices, Tariffs, check_prices
from pipelines.schema import MONEY, MONEY_MAP

_TYPES: Final = pa.array(["GENERATION", "EMBEDDING", "RERANKER"])
_NO_TEXT: Final = pa.scalar("")
_NAMES: Final = ("project_id", "provider", "model")  # as in Called
_DECIDING: Final = [*_NAMES, "start_time"]
_TOTAL: Final = "total"
_MOST_MONEY: Final = Decimal(10**6)
_SLOT: Final = timedelta(minutes=30)  # public prices change with the day, or with the half hour of a night rate
_SLOT_NS: Final = 1800 * 10**9
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_LABELS: Final = 100
_LONGEST_LABEL: Final = 128
_ANY_OTHER: Final = "other"


def cost(settings: CostSettings) -> Callable[[Batch], Batch]:
    """A processor that fills `cost_details` and `total_cost` of model calls.

    Raises:
        Permanent: the expression of a price becomes too large.
    """
    check_prices(settings.prices)
    return cost_from(lambda: settings.prices)


def cost_from(own: OwnPrices) -> Callable[[Batch], Batch]:
    """The same with own prices that may change while it runs; `check_prices` has passed for them."""
    return partial(_with_cost, Tariffs(own), UnpricedModels())


class UnpricedModels:
    """Counts spans by the names of models without a price, of which anyone may send any number."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def count(self, model: str, spans: int) -> None:
        """Count under the model's name, or under `other` when it is too long or there are too many already."""
        if len(model) <= _LONGEST_LABEL and len(self._names) < _MOST_LABELS:
            self._names.add(model)
        UNPRICED_SPANS.labels(model if model in self._names else _ANY_OTHER).inc(spans)


def _with_cost(tariffs: Tariffs, unpriced: UnpricedModels, batch: Batch) -> Batch:
    if batch.kind != "observations":
        return batch
    records = _with_totals(batch.records)
    rows = np.flatnonzero(_awaits_cost(records))
    if len(rows):
        records = _with_charges(records, rows, tariffs, unpriced)
    return batch if records is batch.records else Batch(batch.kind, records, batch.received_at_ns)


def _awaits_cost(records: pa.RecordBatch) -> Flags:
    """Model calls that say which model and how much, but not what it cost."""
    calls = _flags(pc.is_in(records["type"], value_set=_TYPES)) & _flags(pc.not_equal(records["model"], _NO_TEXT))
    lacks = _flags(pc.is_null(records["total_cost"])) & ~_has_entries(records["cost_details"])
    return calls & lacks & _has_entries(records["usage_details"])


def _has_entries(maps: pa.MapArray) -> Flags:
    ends = maps.offsets.to_numpy()
    has: Flags = ends[1:] > ends[:-1]
    return has


def _flags(array: pa.BooleanArray) -> Flags:
    known = pc.fill_null(array, fill_value=False) if array.null_count else array
    flags: Flags = known.to_numpy(zero_copy_only=False)
    return flags


def _with_totals(records: pa.RecordBatch) -> pa.RecordBatch:
    """A cost that was given by bucket only gets its total."""
    rows = np.flatnonzero(_flags(pc.is_null(records["total_cost"])) & _has_entries(records["cost_details"]))
    if not len(rows):
        return records
    summed = [_summed(details) for details in records["cost_details"].take(pa.array(rows)).to_pylist()]
    totals = pa.array([total for _, total in summed], MONEY)
    return _replaced(records, rows, pa.array([details for details, _ in summed], MONEY_MAP), totals)


def _summed(details: Sequence[tuple[str, Decimal | None]]) -> tuple[list[tuple[str, Decimal]], Decimal | None]:
    given = {bucket: amount for bucket, amount in details if amount is not None}
    total = given.get(_TOTAL, sum(given.values(), Decimal(0)))
    if not given or abs(total) >= _MOST_MONEY:
        return [*given.items()], None
    return [*(given | {_TOTAL: total}).items()], total


def _with_charges(
    records: pa.RecordBatch, rows: Integers, tariffs: Tariffs, unpriced: UnpricedModels
) -> pa.RecordBatch:
    calls = records.select([*_DECIDING, "type", "usage_details"]).take(pa.array(rows))
    first, group = _groups(calls)
    chosen = _chosen(calls.select(_DECIDING).take(pa.array(first)), tariffs, unpriced, np.bincount(group))
    index = {each: position for position, each in enumerate(dict.fromkeys(filter(None, chosen)))}
    if not index:
        return records
    rates = np.array([index[each] if each else UNKNOWN for each in chosen], np.int64)[group]
    details, totals = charge(calls["usage_details"], [*index], rates, _flags(pc.equal(calls["type"], "GENERATION")))
    return _replaced(records, rows, details, totals)


def _groups(calls: pa.RecordBatch) -> tuple[Integers, Integers]:
    """Calls that have the same prices: the first call of each group, and for each call the index of its group."""
    slots = pa.array(_slots(calls))
    group = np.zeros(calls.num_rows, np.int64)
    for column in (*(calls[name] for name in _NAMES), slots):
        code = pc.dictionary_encode(column, null_encoding="encode").indices.to_numpy()
        if code.any():  # most batches are of one project, one provider and one half hour
            group = np.unique(group * calls.num_rows + code, return_inverse=True)[1]
    return np.unique(group, return_index=True, return_inverse=True)[1:]


def _slots(calls: pa.RecordBatch) -> Integers:
    starts: Integers = pc.fill_null(calls["start_time"].cast(pa.int64()), 0).to_numpy()
    return starts // _SLOT_NS


def _chosen(calls: pa.RecordBatch, tariffs: Tariffs, unpriced: UnpricedModels, spans: Integers) -> list[Rates | None]:
    """The rates of one call of each group, which stands for so many spans; None is counted."""
    texts = [pc.fill_null(pc.utf8_slice_codeunits(calls[name], 0, LONGEST_NAME + 1), "") for name in _NAMES]
    called = [Called(*each) for each in zip(*(text.to_pylist() for text in texts), strict=True)]
    periods = tariffs.periods(called)
    chosen: list[Rates | None] = []
    for call, slot, count in zip(called, _slots(calls).tolist(), spans.tolist(), strict=True):
        moment = _EPOCH + slot * _SLOT
        chosen.append(next((rates for is_active, rates in periods[call] if is_active(moment)), None))
        if chosen[-1] is None:
            unpriced.count(call.model, count)
    return chosen


def _replaced(records: pa.RecordBatch, rows: Integers, details: pa.MapArray, totals: pa.Array) -> pa.RecordBatch:
    """The records with the cost of these rows exchanged."""
    source = np.arange(records.num_rows)
    source[rows] = records.num_rows + np.arange(len(rows))
    for name, new in (("cost_details", details), ("total_cost", totals)):
        index = records.schema.get_field_index(name)
        column = pa.concat_arrays([records.column(index), new]).take(pa.array(source))
        records = records.set_column(index, records.schema.field(index), column)
    return records
