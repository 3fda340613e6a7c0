"""Costs that came with the spans; what they would cost by a price list is a processor's business."""

from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.mapping.arrow_arrays import empty_lists, has_text
from otlp_receiver.mapping.messages import parse_json
from otlp_receiver.mapping.numbers import given_numbers, parse_number
from otlp_receiver.mapping.resolution import Resolution
from pipelines.schema import MONEY, MONEY_MAP

_CENT_FRACTION: Final = Decimal(1).scaleb(-12)
_MOST_MONEY: Final = Decimal(10**6)
_BUCKETS: Final = {"input_cost": "input", "output_cost": "output", "total_cost": "total"}

Costs = dict[str, Decimal]


def cost_columns(resolution: Resolution, total_tokens: pa.UInt64Array) -> dict[str, pa.Array]:
    """cost_details and total_cost, from a cost that the span carries; unknown is empty, never 0.

    A cost of nothing for no tokens is what failed calls are given: nobody knows what they cost.
    """
    if not any(resolution.is_filled(name) for name in (*_BUCKETS, "cost_details")):
        return {
            "cost_details": empty_lists(MONEY_MAP, resolution.spans),
            "total_cost": pa.nulls(resolution.spans, MONEY),
        }
    costs: list[Costs] = [{} for _ in range(resolution.spans)]
    for name, bucket in _BUCKETS.items():
        for span, cost in enumerate(given_numbers(resolution, name, _money)):
            if cost is not None:
                costs[span][bucket] = cost
    _add_details(resolution, costs)
    _forget_nothings(resolution, costs, total_tokens)
    totals = [_total(found) for found in costs]
    details = [
        list((found | ({} if total is None else {"total": total})).items())
        for found, total in zip(costs, totals, strict=True)
    ]
    return {"cost_details": pa.array(details, MONEY_MAP), "total_cost": pa.array(totals, MONEY)}


def _forget_nothings(resolution: Resolution, costs: list[Costs], total_tokens: pa.UInt64Array) -> None:
    measured = pc.greater(pc.fill_null(total_tokens, 0), 0).to_pylist()
    for span, found in enumerate(costs):
        if found and not measured[span] and not any(found.values()):
            found.clear()
            rows = np.array([resolution.rows(name)[span] for name in (*_BUCKETS, "cost_details")])
            resolution.shown[rows[rows >= 0]] = False


def _add_details(resolution: Resolution, costs: list[Costs]) -> None:
    """Buckets that the application itself gave stand as they are."""
    texts = resolution.text("cost_details")
    for span in np.flatnonzero(has_text(texts)).tolist():
        parsed = parse_json(texts[span].as_py())
        given = _given(parsed) if isinstance(parsed, dict) else {}
        if given:
            costs[span] = given
            resolution.show(resolution.rows("cost_details")[span : span + 1])


def _given(details: dict[str, Any]) -> Costs:
    numbers = {name: parse_number(str(value)) for name, value in details.items() if not isinstance(value, bool)}
    found = {
        name: money for name, number in numbers.items() if number is not None and (money := _money(number)) is not None
    }
    return found if len(found) == len(details) else {}


def _total(costs: Costs) -> Decimal | None:
    if not costs:
        return None
    total = costs.get("total", sum(costs.values(), Decimal(0)))
    return total if total < _MOST_MONEY else None


def _money(number: Decimal) -> Decimal | None:
    return number.quantize(_CENT_FRACTION) if 0 <= number < _MOST_MONEY else None
