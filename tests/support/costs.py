"""Model calls in, their cost out, for the tests of the cost processor; and the whole corpus at one price list."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
from prometheus_client import REGISTRY

from config.conventions import load_conventions
from config.prices import CostSettings
from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.plan import Plan
from pipelines.batch import Batch
from pipelines.ingest import Request
from pipelines.processors import Processor, build_processor
from tests.support.arrow_rows import Row
from tests.support.golden import sources
from tests.support.records import START_NS, from_rows

DAY_NS: Final = 86_400 * 10**9
ONE_MILLION: Final = {"input": 1_000_000}
# No two buckets and no two models cost the same, so a token in the wrong place shows. Models by what their names have
# between a provider and a date.
_WEIGHTS: Final = {
    "input": 10,
    "input_cached_tokens": 1,
    "input_cache_creation": 13,
    "input_cache_creation_1h": 17,
    "input_audio_tokens": 31,
    "output": 41,
    "output_reasoning_tokens": 59,
    "output_audio_tokens": 97,
}
_USD: Final = {
    "gpt-4o-mini": "0.0151",
    "gpt-4o": "0.2503",
    "gpt-5-mini": "0.0257",
    "o4-mini": "0.1109",
    "claude-3-5-sonnet": "0.3001",
    "claude-sonnet-4": "0.3011",
    "claude-sonnet-4-5": "0.3023",
    "gemini-2.5-flash": "0.0307",
    "text-embedding-3-small": "0.0021",
    "gemini-embedding-001": "0.0149",
    "my-llama-3": "0.0011",
    "acme-1-001": "0.0013",
}


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


def listed_cost(model: str, usage: dict[str, int]) -> Decimal:
    """What a call of a model costs by the list; its total, and buckets without a price, are not looked at."""
    tokens = sum(_WEIGHTS[bucket] * count for bucket, count in usage.items() if bucket in _WEIGHTS)
    return tokens * Decimal(_USD[model]) / 10**6


def _list_prices() -> Iterator[dict[str, Any]]:
    for model, usd in _USD.items():
        prices = {bucket: f"{weight * Decimal(usd)}" for bucket, weight in _WEIGHTS.items()}
        name = model.replace(".", r"\.")
        yield {"model": rf"(.*[/.])?{name}(-20[0-9-]+)?(-v[0-9:]+)?", "usd_per_million_tokens": prices}


def priced_corpus() -> Batch:
    """The observations of every recorded traces request at list prices.

    A recording's project is its name (`js/vercel-ai-6/tool-loop.proto`). Costs that the instrumentation gave are taken
    off, so that the list has the word.
    """
    plan, price = Plan(load_conventions()), processor(*_list_prices())
    batches = [price(Batch(each.kind, _without_costs(each.records), 1)) for each in _observations(plan)]
    records = pa.Table.from_batches([each.records for each in batches]).combine_chunks()
    return Batch("observations", records.to_batches()[0], 1)


def _observations(plan: Plan) -> Iterator[Batch]:
    for source, scenarios in sources().items():
        requests = [
            Request(each.decompressed(), each.encoding, f"{source}/{name}", 1)
            for name, recordings in scenarios.items()
            for each in recordings
        ]
        table, _ = decode(requests)
        yield from (batch for batch in map_spans(plan, table, requests) if batch.kind == "observations")


def _without_costs(records: pa.RecordBatch) -> pa.RecordBatch:
    for name, nothing in (("cost_details", []), ("total_cost", None)):
        place = records.schema.get_field_index(name)
        field = records.schema.field(place)
        records = records.set_column(place, field, pa.array([nothing] * records.num_rows, field.type))
    return records
