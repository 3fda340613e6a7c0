"""Model calls in, their cost out, for the tests of the cost processor."""

from decimal import Decimal
from typing import Any, Final

from prometheus_client import REGISTRY

from config.prices import CostSettings
from pipelines.processors import Processor, build_processor
from tests.support.arrow_rows import Row
from tests.support.records import START_NS, from_rows

DAY_NS: Final = 86_400 * 10**9
ONE_MILLION: Final = {"input": 1_000_000}


def processor(*prices: dict[str, Any]) -> Processor:
    """A cost processor with these own prices, as they stand in a configuration."""
    return build_processor("cost", CostSettings.model_validate({"prices": prices}))


def call(model: str, usage: dict[str, int], **fields: Any) -> dict[str, Any]:
    """A model call; `usage` needs no total."""
    return {
        "project_id": "default",
        "type": "GENERATION",
        "model": model,
        "usage_details": [*usage.items(), ("total", sum(usage.values()))],
        "start_time": START_NS,
    } | fields


def rows_after(process: Processor, *calls: dict[str, Any]) -> list[Row]:
    """The observations after the processor, maps as dictionaries."""
    done = process(from_rows("observations", calls))
    done.records.validate(full=True)
    return [row | {"cost_details": dict(row["cost_details"])} for row in done.records.to_pylist()]


def cost_of(model: str, usage: dict[str, int], *prices: dict[str, Any], **fields: Any) -> Decimal | None:
    """What one call costs."""
    (row,) = rows_after(processor(*prices), call(model, usage, **fields))
    total: Decimal | None = row["total_cost"]
    return total


def unpriced(model: str) -> float:
    """Calls of a model counted as without a price so far."""
    return REGISTRY.get_sample_value("otelcol_processor_cost_unpriced_spans_total", {"model": model}) or 0
