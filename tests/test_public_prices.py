"""Public prices: real names of real models at their true prices, and the arithmetic checked against the package's."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider, TimeOfDateConstraint, Usage
from hypothesis import given
from hypothesis import strategies as st

from pipelines.processors.cost_rates import Rates, charge
from pipelines.processors.public_prices import _periods, find_model, public_prices
from pipelines.schema import COUNT_MAP
from tests.support.costs import ONE_MILLION, call, cost_of, processor, rows_after, unpriced
from tests.support.records import START_NS
from tests.support.strategies import texts

NOON_NS = START_NS // (86_400 * 10**9) * 86_400 * 10**9 + 12 * 3600 * 10**9

# Provider and model as instrumentations send them; US dollars per million tokens of input and of output, from the
# price pages of OpenAI, Anthropic, AWS, Google, Groq, xAI and Cohere.
NAMES = [
    ("openai", "gpt-4o", "2.5", "10"),
    ("OpenAI", "GPT-4o", "2.5", "10"),
    ("openai", "gpt-4o-2024-08-06", "2.5", "10"),
    ("openai.chat", "gpt-4o-mini-2024-07-18", "0.15", "0.6"),
    ("Langchain", "gpt-4o-mini", "0.15", "0.6"),
    ("langgraph", "gpt-4o-mini", "0.15", "0.6"),
    ("microsoft.agent_framework", "gpt-4o-mini", "0.15", "0.6"),
    ("autogen", "gpt-4o-mini", "0.15", "0.6"),
    ("crewai", "gpt-4o-mini", "0.15", "0.6"),
    ("structured_llm", "gpt-4o-mini", "0.15", "0.6"),
    ("anthropic", "gpt-4o-mini", "0.15", "0.6"),  # an odd provider
    ("", "gpt-4o-mini", "0.15", "0.6"),
    ("x" * 10_000, "gpt-4o-mini", "0.15", "0.6"),
    ("", "openai/gpt-4o", "2.5", "10"),
    ("", "openai:gpt-4o", "2.5", "10"),
    ("", "openrouter/openai/gpt-4o", "2.5", "10"),
    ("openrouter", "openai/gpt-4o", "2.5", "10"),
    ("az.ai.inference", "gpt-4o-mini", "0.15", "0.6"),
    ("azure.ai.openai", "gpt-4o", "2.5", "10"),
    ("", "azure/gpt-4o", "2.5", "10"),
    ("azure", "azure/eu/gpt-4o", "2.5", "10"),
    ("azure", "gpt-35-turbo", "0.5", "1.5"),
    ("openai", "o3-mini-2025-01-31", "1.1", "4.4"),
    ("openai", "ft:gpt-4o-mini-2024-07-18:org::id", "0.3", "1.2"),
    ("Langchain", "FT:gpt-4o-mini-2024-07-18:org:name:id", "0.3", "1.2"),
    ("anthropic", "claude-sonnet-4-5", "3", "15"),
    ("Anthropic", "claude-sonnet-4-5-20250929", "3", "15"),
    ("", "anthropic/claude-sonnet-4-5", "3", "15"),
    ("", "anthropic:claude-3-5-haiku-20241022", "0.8", "4"),
    ("openai", "anthropic/claude-3.5-sonnet", "3", "15"),  # OpenAI's client, pointed at a gateway
    ("", "openrouter/anthropic/claude-3.5-sonnet", "3", "15"),
    ("vertex_ai", "claude-sonnet-4-5@20250929", "3", "15"),
    ("", "vertex_ai/claude-sonnet-4@20250514", "3", "15"),
    ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"),
    ("strands-agents", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"),
    ("anthropic", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"),
    ("", "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"),
    ("", "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3", "16.5"),
    ("aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3", "15"),
    ("aws.bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0", "3", "15"),
    (
        "aws.bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "3.3",
        "16.5",
    ),
    ("", "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", "0.25", "1.25"),
    ("bedrock", "amazon.nova-lite-v1:0", "0.06", "0.24"),
    ("", "us.amazon.nova-lite-v1:0", "0.06", "0.24"),
    ("gcp.gemini", "gemini-2.5-flash", "0.3", "2.5"),
    ("google", "models/gemini-2.5-flash", "0.3", "2.5"),
    ("gcp.vertex.agent", "publishers/google/models/gemini-2.5-pro", "1.25", "10"),
    ("", "projects/p/locations/us/publishers/google/models/gemini-2.5-pro", "1.25", "10"),
    ("", "gemini/gemini-2.0-flash-001", "0.1", "0.4"),
    ("", "google-gla:gemini-2.0-flash", "0.1", "0.4"),
    ("groq", "llama-3.3-70b-versatile", "0.59", "0.79"),
    ("", "groq/llama-3.3-70b-versatile", "0.59", "0.79"),
    ("xai.chat", "grok-3-mini", "0.3", "0.5"),
    ("x_ai", "grok-4", "3", "15"),
    ("cohere", "command-r-plus-08-2024", "2.5", "10"),
    ("crewai", "text-embedding-3-small", "0.02", None),
]


@pytest.mark.parametrize(("provider", "model", "usd_in", "usd_out"), NAMES, ids=lambda value: str(value)[:50])
def test_names_as_they_are_sent(provider: str, model: str, usd_in: str, usd_out: str | None) -> None:
    """With prefixes, versions, regions and dates, in any case, whatever framework calls itself the provider."""
    usage = {"input": 100_000, "output": 10_000}

    (row,) = rows_after(processor(), call(model, usage, provider=provider))

    assert row["cost_details"]["input"] == Decimal(usd_in) / 10
    assert row["cost_details"].get("output") == (Decimal(usd_out) / 100 if usd_out else None)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("ollama", "deepseek-r1:8b"),
        ("", "ollama/llama3.2"),
        ("", "ollama_chat/gpt-4o"),
        ("", "hosted_vllm/gpt-4o"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"),
        ("azure", "my-deployment"),
        ("openai", "ft:no-such-model:org::id"),
        ("openai", "gpt"),
        ("", "claude"),
        ("", "meta-llama/llama-3.3-70b-instruct"),  # many sell it, each at its own price
        ("openai", "a/" * 120 + "gpt-4o"),
        ("openai", "gpt-4o" + " " * 1000),
        ("openai", "/"),
        ("openai", "@"),
        ("openai", " "),
    ],
)
def test_what_nobody_can_price_is_unknown(provider: str, model: str) -> None:
    """Own machines, opaque names, and open models of an unknown seller: rather no cost than a wrong one."""
    before = unpriced(model) if len(model) <= 128 else unpriced("other")

    assert cost_of(model, ONE_MILLION, provider=provider) is None
    assert (unpriced(model) if len(model) <= 128 else unpriced("other")) == before + 1


@pytest.mark.parametrize("model", ["openrouter/deepseek/deepseek-r1:free", "omni-moderation-latest"])
def test_free_is_zero(model: str) -> None:
    """A price of 0 is a price: the cost is 0, not unknown."""
    before = unpriced(model)

    assert cost_of(model, ONE_MILLION) == 0
    assert unpriced(model) == before


def test_caches_have_their_own_prices() -> None:
    """Anthropic: reading 0.1 times, writing 1.25 times, writing for an hour 2 times the price of input."""
    usage = {
        "input": 22,
        "input_cached_tokens": 2051,
        "input_cache_creation": 1187,
        "input_cache_creation_5m": 10,
        "input_cache_creation_1h": 10,
        "output": 5,
        "output_reasoning_tokens": 7,
    }

    (row,) = rows_after(processor(), call("claude-sonnet-4-5", usage, provider="anthropic"))

    prices = ["3", "0.3", "3.75", "3.75", "6", "15", "15"]
    expected = [Decimal(price) * tokens / 10**6 for price, tokens in zip(prices, usage.values(), strict=True)]
    assert [row["cost_details"][name] for name in usage] == expected
    assert row["total_cost"] == sum(expected)


def test_long_inputs_have_their_own_prices() -> None:
    """Gemini 2.5 Pro: beyond 200,000 input tokens, cached ones included, all tokens cost more."""
    usages = [{"input": 200_000, "output": 1000}, {"input": 200_000, "input_cached_tokens": 1, "output": 1000}]

    rows = rows_after(processor(), *(call("gemini-2.5-pro", usage) for usage in usages))

    assert [row["cost_details"]["input"] for row in rows] == [Decimal("0.25"), Decimal("0.5")]
    assert [row["cost_details"]["output"] for row in rows] == [Decimal("0.01"), Decimal("0.015")]


def test_a_fee_per_call_is_part_of_the_cost() -> None:
    """Perplexity charges for the search as well; a bucket of that name that a span sends is no second call."""
    (row,) = rows_after(processor(), call("sonar-pro", {"input": 1000, "requests": 5}, provider="perplexity"))

    assert row["cost_details"] == {
        "input": Decimal("0.003"),
        "requests": Decimal("0.014"),
        "total": Decimal("0.017"),
    }


def test_the_price_of_the_day_and_hour() -> None:
    """DeepSeek's chat model cost half at night (UTC 16:30 to 00:30); each call has the price of its own time."""
    hours = {12: "0.27", 16: "0.27", 17: "0.135", 0: "0.135", 1: "0.27"}
    calls = [call("deepseek-chat", ONE_MILLION, start_time=NOON_NS + (hour - 12) * 3600 * 10**9) for hour in hours]

    assert [row["total_cost"] for row in rows_after(processor(), *calls)] == [Decimal(usd) for usd in hours.values()]


def entries() -> Iterator[tuple[Provider, ModelInfo]]:
    """All that the package brings."""
    return ((provider, model) for provider in get_snapshot().providers for model in provider.models)


def test_prices_change_at_full_or_half_hours_only() -> None:
    """Calls are looked at by the half hour; a price that changed within one would be wrong for a while."""
    constraints = [
        each.constraint
        for _, model in entries()
        for each in (model.prices if isinstance(model.prices, list) else [])
        if isinstance(each.constraint, TimeOfDateConstraint)
    ]
    times = [time for each in constraints for time in (each.start_time, each.end_time)]

    assert times
    assert [time for time in times if time.minute % 30 or time.second] == []


# --- the package as the judge ----------------------------------------------------------------------------------------

_KEYS = {
    "input_cached_tokens": "cache_read_tokens",
    "input_cache_creation": "cache_write_tokens",
    "output_reasoning_tokens": "output_reasoning_tokens",
}
_PRICED = [(p, m) for p, m in entries() if any(rates for _, rates in _periods(m))]
_COUNTS = st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 2_000_000))


@given(
    entry=st.sampled_from(_PRICED),
    usage=st.fixed_dictionaries(dict.fromkeys(("input", *_KEYS, "output"), _COUNTS)),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants bounds without
)
def test_the_package_says_the_same(entry: tuple[Provider, ModelInfo], usage: dict[str, int], moment: datetime) -> None:
    """For every model it knows, at any time: our total is its total, up to the rounding of each bucket."""
    provider, model = entry
    moment -= timedelta(minutes=moment.minute % 30, seconds=moment.second, microseconds=moment.microsecond)
    rates = next(rates for is_active, rates in _periods(model) if is_active(moment))
    theirs = model.calc_price(_their_usage(usage), provider, genai_request_timestamp=moment).total_price

    ours = _charged(usage, rates) if rates else Decimal(0)

    assert abs(ours - theirs) <= Decimal("1e-12") * len(usage)


def _their_usage(usage: dict[str, int]) -> Usage:
    """Inclusive, as the package wants it."""
    parts: dict[str, Any] = {theirs: usage[ours] for ours, theirs in _KEYS.items()}
    read_and_written = usage["input_cached_tokens"] + usage["input_cache_creation"]
    return Usage(
        input_tokens=usage["input"] + read_and_written,
        output_tokens=usage["output"] + usage["output_reasoning_tokens"],
        **parts,
    )


def _charged(usage: dict[str, int], rates: Rates) -> Decimal:
    maps = pa.array([[*usage.items()]], COUNT_MAP)
    total = charge(maps, [rates], np.zeros(1, np.int64), np.ones(1, bool))[1][0].as_py()
    return Decimal(total or 0)


@given(st.text(), st.one_of(st.text(), texts, st.sampled_from(NAMES).map(lambda each: each[1])))
def test_any_names_will_do(provider: str, model: str) -> None:
    """Never an error; and a model that is known stays known, whoever calls itself its provider."""
    assert (find_model(provider, model) is None) == (not public_prices(provider, model))
    assert find_model(provider, "gpt-4o-mini") is not None


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices come with the package; no connection is made for a model, known or not."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("no connection must be made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert cost_of("gpt-4o", ONE_MILLION) == Decimal("2.5")
    assert cost_of("never-heard-of", ONE_MILLION) is None
    assert not get_snapshot().from_auto_update
