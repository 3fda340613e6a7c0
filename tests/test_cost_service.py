"""Cost as a user sees it: through the running service into SQL, and in the metrics."""

from decimal import Decimal

from tests.support.counters import growth, series
from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.senders import post
from tests.support.service import Service

_TRACE = "c057" * 8


def _chat(number: int, model: str) -> Span:
    return span(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": 3260,
            "gen_ai.usage.cache_read.input_tokens": 2051,
            "gen_ai.usage.cache_creation.input_tokens": 1187,
            "gen_ai.usage.output_tokens": 100,
        },
        trace_id=_TRACE,
        span_id=f"{number:016x}",
    )


def test_calls_are_stored_with_their_cost(running: Service) -> None:
    """By bucket and in sum, exact; a model without a price has none and is counted by its name."""
    calls = to_protobuf(export(_chat(1, "claude-sonnet-4-5"), _chat(2, "acme-unheard-of")))
    with growth(running) as grown:
        assert post(running, calls).ok
    running.wait_for_rows(f"trace_id = '{_TRACE}'", 2)

    known, unknown = running.sql(
        f"SELECT total_cost, cost_details FROM observations WHERE trace_id = '{_TRACE}' ORDER BY id"
    )

    assert known["cost_details"] == {
        "input": Decimal("0.000066"),
        "input_cached_tokens": Decimal("0.0006153"),
        "input_cache_creation": Decimal("0.00445125"),
        "output": Decimal("0.0015"),
        "total": Decimal("0.00663255"),
    }
    assert known["total_cost"] == Decimal("0.00663255")
    assert (unknown["total_cost"], unknown["cost_details"]) == (None, {})
    assert grown[series("otelcol_processor_cost_unpriced_spans", model="acme-unheard-of")] == 1
