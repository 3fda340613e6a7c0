"""Token counts: inclusive numbers in, disjoint buckets that sum to the total out."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.mapping import map_export, observation
from tests.support.otlp import export, span

_IN, _OUT, _TOTAL = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.total_tokens"
_READ, _WRITE = "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens"
_REASONING = "gen_ai.usage.reasoning.output_tokens"
_ANTHROPIC = {"input": 22, "input_cached_tokens": 2051, "input_cache_creation": 1187, "output": 9, "total": 3269}


@pytest.mark.parametrize(
    ("sent", "buckets"),
    [
        ({}, {}),
        ({_IN: 10, _OUT: 5}, {"input": 10, "output": 5, "total": 15}),
        ({_IN: 10}, {"input": 10, "total": 10}),
        ({_OUT: 5}, {"output": 5, "total": 5}),
        ({_IN: 0, _OUT: 0}, {"input": 0, "output": 0, "total": 0}),
        ({_TOTAL: 15}, {"other": 15, "total": 15}),
        ({_IN: 10, _OUT: 5, _TOTAL: 15}, {"input": 10, "output": 5, "total": 15}),
        ({_IN: 10, _OUT: 5, _TOTAL: 18}, {"input": 10, "output": 5, "other": 3, "total": 18}),
        ({_IN: 10, _OUT: 5, _TOTAL: 12}, {"input": 10, "output": 5, "total": 15}),
        ({_IN: 100, _READ: 60, _OUT: 5}, {"input": 40, "input_cached_tokens": 60, "output": 5, "total": 105}),
        ({_IN: 10, _OUT: 90, _REASONING: 64}, {"input": 10, "output": 26, "output_reasoning_tokens": 64, "total": 100}),
        ({_IN: 10, _OUT: 20, _REASONING: 64}, {"input": 10, "output": 20, "output_reasoning_tokens": 64, "total": 94}),
        ({_READ: 60}, {"input": 0, "input_cached_tokens": 60, "total": 60}),
        ({_IN: 10, _READ: 0, _REASONING: 0}, {"input": 10, "total": 10}),
        (
            {"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 5},
            {"input": 10, "output": 5, "total": 15},
        ),
        ({"gen_ai.usage.prompt_tokens": 11, _IN: 10}, {"input": 10, "total": 10}),
        ({"gen_ai.usage.prompt_tokens": 11, _IN: 0}, {"input": 11, "total": 11}),
        ({_IN: "10", _OUT: "5.0"}, {"input": 10, "output": 5, "total": 15}),
        ({_IN: 10.0}, {"input": 10, "total": 10}),
        ({_IN: "n/a", _OUT: 5}, {"output": 5, "total": 5}),
        ({_IN: -1, _OUT: 5}, {"output": 5, "total": 5}),
        ({_IN: "0x10", _OUT: 5}, {"output": 5, "total": 5}),
        ({_IN: 2**62, _OUT: 5}, {"output": 5, "total": 5}),
    ],
)
def test_buckets(sent: dict[str, Any], buckets: dict[str, int]) -> None:
    """What was sent becomes buckets; parts are taken out of their whole, and counts that are none are left out."""
    assert observation(span(sent))["usage_details"] == buckets


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({_IN: 22, _WRITE: 1187, _READ: 2051}, id="exclusive: AI SDK 4 and 5, Traceloop 0.27"),
        pytest.param({_IN: 3260, _WRITE: 1187, _READ: 2051}, id="inclusive: AI SDK 6 and 7"),
        pytest.param({_IN: 3260, "gen_ai.usage.cache_write.input_tokens": 1187, _READ: 2051}, id="Anthropic's own SDK"),
        pytest.param(
            {_IN: 22, "gen_ai.usage.cache_creation_input_tokens": 1187, "gen_ai.usage.cache_read_input_tokens": 2051},
            id="OpenLLMetry 0.40",
        ),
    ],
)
def test_one_anthropic_call_whoever_reports_it(sent: dict[str, int]) -> None:
    """Input 22, cache write 1187, cache read 2051: the same buckets, sent with the cache in input or without."""
    row = observation(span({**sent, _OUT: 9}))
    assert row["usage_details"] == _ANTHROPIC
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (3260, 9, 3269)


def test_unknown_is_null_and_zero_is_zero() -> None:
    """Counts that were not sent are NULL; a zero that was sent is a zero."""
    row = observation(span({_IN: 0}))
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (0, None, 0)
    row = observation(span())
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (None, None, None)


@pytest.mark.parametrize("sent", [{_IN: "n/a"}, {_IN: -1}, {_IN: 2**62}, {_IN: "0x10"}, {_IN: 1, _TOTAL: 0}])
def test_a_count_that_is_not_shown_stays_in_metadata(sent: dict[str, Any]) -> None:
    """What is no count, or contradicts its own parts, is kept as sent."""
    key, value = list(sent.items())[-1]
    assert observation(span(sent))["metadata"] == {key: str(value)}


_COUNTS = st.one_of(st.none(), st.integers(0, 5000), st.sampled_from(["7", "7.0", "n/a", "0x10", -1, 2**62]))


@settings(deadline=None)
@given(
    st.lists(st.fixed_dictionaries(dict.fromkeys((_IN, _OUT, _TOTAL, _READ, _WRITE, _REASONING), _COUNTS)), max_size=5)
)
def test_buckets_are_disjoint_and_sum_to_the_total(counts: list[dict[str, Any]]) -> None:
    """Whatever was sent, the buckets sum to `total`, the columns agree with them, and neighbours do not matter."""
    spans = [span({key: value for key, value in sent.items() if value is not None}) for sent in counts]
    rows = map_export(export(*spans)).observations
    for row, alone in zip(rows, spans, strict=True):
        buckets = dict(row["usage_details"])
        assert buckets.pop("total", 0) == sum(buckets.values())
        assert row["total_tokens"] == row["usage_details"].get("total")
        assert (row["input_tokens"] or 0) == sum(value for name, value in buckets.items() if name.startswith("input"))
        assert (row["output_tokens"] or 0) == sum(value for name, value in buckets.items() if name.startswith("output"))
        assert observation(alone)["usage_details"] == row["usage_details"]
