"""The cost processor: given cost, else own prices, else public ones, else nothing; exact to the twelfth digit."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.prices import CostSettings, PriceSettings
from config.printing import print_config
from pipelines.batch import Batch
from pipelines.errors import Permanent
from pipelines.processors import build_processor
from pipelines.processors.cost import cost_from
from pipelines.schema import OBSERVATIONS
from tests.support.configs import MINIMAL, loaded, told
from tests.support.costs import DAY_NS, ONE_MILLION, call, cost_of, processor, rows_after, unpriced
from tests.support.records import START_NS, from_rows, observations, scores, traces
from tests.support.strategies import texts

BUCKETS = [
    "input", "input_cached_tokens", "input_cache_creation", "input_cache_creation_5m", "input_cache_creation_1h",
    "input_audio_tokens", "output", "output_reasoning_tokens", "output_audio_tokens", "other",
]  # fmt: skip
PUBLIC = processor()


# --- what has a cost already, or never gets one ----------------------------------------------------------------------


def test_a_given_cost_is_left_alone() -> None:
    """What the span says is what was paid, be it 0 or without buckets, whatever a price list says."""
    free = call("gpt-4o", ONE_MILLION, total_cost=Decimal(0))
    paid = call("gpt-4o", ONE_MILLION, total_cost=Decimal("0.5"), cost_details=[("output", Decimal("0.2"))])

    first, second = rows_after(PUBLIC, free, paid)

    assert (first["total_cost"], first["cost_details"]) == (0, {})
    assert (second["total_cost"], second["cost_details"]) == (Decimal("0.5"), {"output": Decimal("0.2")})


def test_given_buckets_get_their_total() -> None:
    """A cost by bucket alone is a given cost too: its total is its sum, or the one among the buckets."""
    given_cost = {"cost_details": [("input", Decimal("0.1")), ("output", Decimal("0.02"))]}
    with_total = {"cost_details": [("input", Decimal("0.1")), ("total", Decimal("0.3"))]}
    too_much = {"cost_details": [("input", Decimal(999_999)), ("output", Decimal(999_999))]}
    calls = [call("gpt-4o", ONE_MILLION, **given) for given in (given_cost, with_total, too_much)]

    rows = rows_after(PUBLIC, *calls, call("gpt-4o", ONE_MILLION))

    assert [row["total_cost"] for row in rows] == [Decimal("0.12"), Decimal("0.3"), None, Decimal("2.5")]
    assert [row["cost_details"].get("total") for row in rows[:3]] == [Decimal("0.12"), Decimal("0.3"), None]
    assert rows[0]["cost_details"].keys() == {"input", "output", "total"}


@pytest.mark.parametrize("kind", ["SPAN", "AGENT", "CHAIN", "TOOL", "RETRIEVER", ""])
def test_only_model_calls_cost(kind: str) -> None:
    """Agents and wrappers repeat the tokens of the calls below them."""
    assert cost_of("gpt-4o", ONE_MILLION, type=kind) is None


@pytest.mark.parametrize(
    ("model", "usage"), [("", ONE_MILLION), ("gpt-4o", {}), ("gpt-4o", {"other": 7}), ("gpt-4o", {"mine": 7})]
)
def test_without_model_or_usage_there_is_no_cost(model: str, usage: dict[str, int]) -> None:
    """Nothing is made up: what is only in a total may be input or output, and unknown buckets have no price."""
    assert cost_of(model, usage) is None


@pytest.mark.parametrize("batch", [traces(3), scores(3), from_rows("observations", [])])
def test_other_batches_pass_untouched(batch: Batch) -> None:
    """Traces, scores and empty batches come out as they went in."""
    assert PUBLIC(batch) is batch


@pytest.mark.parametrize("part", [slice(0, 20), slice(5, 14), slice(19, 20)])
def test_changes_nothing_but_cost(part: slice) -> None:
    """Whole batches and slices keep their schema, order and every other column; what has a cost keeps it."""
    batch = observations(20)
    piece = Batch("observations", batch.records.slice(part.start, part.stop - part.start), 7)
    emptied = [row | {"cost_details": []} for row in piece.records.to_pylist()]
    done = PUBLIC(from_rows("observations", emptied, 7)).records

    assert done.schema == OBSERVATIONS.arrow_schema
    assert done.drop_columns(["cost_details", "total_cost"]) == piece.records.drop_columns(
        ["cost_details", "total_cost"]
    )
    assert done["total_cost"].null_count == 0
    assert PUBLIC(piece).records["total_cost"].null_count == 0
    assert [row["total_cost"] for row in done.to_pylist() if int(row["id"], 16) % 2] == [Decimal("0.001")] * len(
        [row for row in emptied if int(row["id"], 16) % 2]
    )


# --- unknown is empty and counted ------------------------------------------------------------------------------------


def test_an_unknown_model_is_empty_and_counted() -> None:
    """NULL, never 0, with the model's name in the metric; known models beside it keep their cost."""
    before = unpriced("acme-1")
    calls = [call("acme-1", ONE_MILLION), call("gpt-4o", ONE_MILLION), call("acme-1", ONE_MILLION)]

    rows = rows_after(PUBLIC, *calls)

    assert [row["total_cost"] for row in rows] == [None, Decimal("2.5"), None]
    assert rows[0]["cost_details"] == {}
    assert unpriced("acme-1") - before == 2


def test_the_metric_stays_small() -> None:
    """Whoever makes up models fills a hundred names; the rest, and names that are no names, count as `other`."""
    before = unpriced("other")
    made_up = [call(f"made-up-{number}", ONE_MILLION) for number in range(120)]

    rows_after(processor(), *made_up, call("x" * 10_000, ONE_MILLION))

    assert unpriced("other") - before == 21
    assert (unpriced("made-up-0"), unpriced("made-up-119"), unpriced("x" * 10_000)) == (1, 0, 0)


def test_a_flood_of_models_harms_its_own_project_only() -> None:
    """Names are looked up up to a limit a batch and project, so others in the same batch get their cost."""
    flood = [call(f"made-up-{number}", ONE_MILLION, project_id="bad") for number in range(3000)]
    process = processor()

    *_, late, good = rows_after(
        process, *flood, call("gpt-4o", ONE_MILLION, project_id="bad"), call("gpt-4o", ONE_MILLION)
    )

    assert (late["total_cost"], good["total_cost"]) == (None, Decimal("2.5"))
    (later,) = rows_after(process, call("gpt-4o", ONE_MILLION, project_id="bad"))
    assert later["total_cost"] == Decimal("2.5")


@pytest.mark.parametrize("tokens", [10**12 + 1, 2**53, 2**63, 2**64 - 1])
def test_numbers_that_cannot_be_true_have_no_cost(tokens: int) -> None:
    """A million dollars a call does not fit the record; the neighbours are priced."""
    usage = [("input", tokens), ("output", 1), ("total", tokens)]

    rows = rows_after(PUBLIC, call("gpt-4o", {}, usage_details=usage), call("gpt-4o", ONE_MILLION))

    assert [row["total_cost"] for row in rows] == [None, Decimal("2.5")]


def test_the_largest_cost_is_exact() -> None:
    """Close to the limit no digit is lost."""
    price = {"model": "m", "usd_per_million_tokens": {"input": "999998.123456789012"}}

    assert cost_of("m", ONE_MILLION, price) == Decimal("999998.123456789012")
    assert cost_of("m", {"input": 1_000_002}, price) is None
    assert cost_of("m", {"input": 999_999_999_999}, price) is None


# --- own prices ------------------------------------------------------------------------------------------------------


def own(model: str, usd: str, **more: Any) -> dict[str, Any]:
    """A price for input tokens."""
    return {"model": model, "usd_per_million_tokens": {"input": usd}, **more}


@pytest.mark.parametrize(
    ("expression", "model", "matches"),
    [
        ("acme-1", "acme-1", True),
        ("acme-1", "ACME-1", True),
        ("acme-1", "acme-10", False),
        ("acme-1", "my-acme-1", False),
        ("acme-.*", "acme-large", True),
        ("(?i)^(acme/)?(small|large)$", "Acme/Small", True),
        ("acme|other", "acme-1", False),
        ("acme.1", "acme\n1", False),
    ],
)
def test_an_expression_is_for_the_whole_name(expression: str, model: str, matches: bool) -> None:  # noqa: FBT001 - a table
    """In upper or lower case; an alternative is anchored too."""
    assert cost_of(model, ONE_MILLION, own(expression, "7")) == (Decimal(7) if matches else None)


def test_own_prices_come_before_public_ones() -> None:
    """Also when they are 0; other models keep their public price."""
    assert cost_of("gpt-4o", ONE_MILLION, own("gpt-4o", "0")) == 0
    assert cost_of("gpt-4o-mini", ONE_MILLION, own("gpt-4o", "0")) == Decimal("0.15")


def test_the_projects_own_and_the_latest_price_wins() -> None:
    """A project's before all projects', then the last that came into force, then the first that is listed."""
    day = "2026-09-21"  # of START_NS
    prices = [
        own("m", "1"),
        own("m", "2", valid_from=day),
        own("m", "3", valid_from="2026-09-22"),
        own("m", "4"),
        own("m", "5", project="mine"),
        own("m", "6", provider="Acme"),
    ]

    assert cost_of("m", ONE_MILLION, *prices) == 2
    assert cost_of("m", ONE_MILLION, *prices, start_time=START_NS + DAY_NS) == 3
    assert cost_of("m", ONE_MILLION, *prices, start_time=START_NS - DAY_NS) == 1
    assert cost_of("m", ONE_MILLION, *prices, project_id="mine") == 5
    assert cost_of("m", ONE_MILLION, own("m", "6", provider="Acme")) is None
    assert cost_of("m", ONE_MILLION, own("m", "6", provider="Acme"), provider="acme") == 6
    assert cost_of("m", ONE_MILLION, own("m", "9", valid_from="2030-01-01")) is None
    assert cost_of("gpt-4o", ONE_MILLION, own("gpt-4o", "9", valid_from="2030-01-01")) == Decimal("2.5")


def test_buckets_and_what_stands_in_for_them() -> None:
    """Each bucket at its price; without one, at that of what it is a part of; `other` of a chat is not priced."""
    usage = dict.fromkeys(BUCKETS, 1_000_000)
    plain = {"model": "m", "usd_per_million_tokens": {"input": 1, "input_cache_creation": 3, "output": 10}}
    every = {"model": "m", "usd_per_million_tokens": {name: number for number, name in enumerate(BUCKETS[:-1], 1)}}

    first, second = (rows_after(processor(price), call("m", usage))[0] for price in (plain, every))

    assert [first["cost_details"].get(name) for name in BUCKETS] == [1, 1, 3, 3, 3, 1, 10, 10, 10, None]
    assert [second["cost_details"].get(name) for name in BUCKETS] == [*range(1, 10), None]
    assert (first["total_cost"], first["cost_details"]["total"]) == (42, 42)


def test_an_embedding_is_all_input() -> None:
    """Embedding servers often tell a total only, and there is no output that it could hold."""
    usage = {"other": 1_000_000}

    assert cost_of("text-embedding-3-small", usage, type="EMBEDDING") == Decimal("0.02")
    assert cost_of("text-embedding-3-small", usage, type="GENERATION") is None


def test_tiers_go_by_the_whole_input() -> None:
    """Beyond the limit, cached tokens included, all tokens of the call have the other price."""
    tiers = [
        {"above_input_tokens": 1000, "usd_per_million_tokens": {"output": 30}},
        {"above_input_tokens": 100, "usd_per_million_tokens": {"input": 2}},
    ]
    price = {"model": "m", "usd_per_million_tokens": {"input": 1, "output": 10}, "tiers": tiers}
    usages = [
        {"input": 100, "output": 10},
        {"input": 60, "input_cached_tokens": 41, "output": 10},
        {"input": 1001, "output": 10},
    ]

    rows = rows_after(processor(price), *(call("m", usage) for usage in usages))

    assert [row["total_cost"] * 10**6 for row in rows] == [100 + 100, 2 * 101 + 100, 2 * 1001 + 300]


def test_prices_may_change_while_running() -> None:
    """The next batch has the new prices, although the model was seen before."""
    current = [PriceSettings.model_validate(own("m", "1"))]
    process = cost_from(lambda: current)
    assert rows_after(process, call("m", ONE_MILLION))[0]["total_cost"] == 1

    current = [PriceSettings.model_validate(own("m", "2"))]

    assert rows_after(process, call("m", ONE_MILLION))[0]["total_cost"] == 2


# --- settings --------------------------------------------------------------------------------------------------------


def test_prices_are_read_exactly_and_printed_again(tmp_path: Path) -> None:
    """No binary number comes in between, quotes or not, and the printed configuration reads back."""
    text = MINIMAL + (
        "processors:\n  cost:\n    prices:\n"
        "      - {model: a.*, valid_from: 2026-01-31, usd_per_million_tokens: {input: 0.1, output: '0.123456789012'}}\n"
    )

    config = loaded(tmp_path, text)

    prices = config.processors["cost"].prices[0].usd_per_million_tokens
    assert (prices.input, prices.output) == (Decimal("0.1"), Decimal("0.123456789012"))
    assert loaded(tmp_path, print_config(config)) == config


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ("{usd_per_million_tokens: {input: 1}}", "model: is required"),
        ("{model: a}", "usd_per_million_tokens: is required"),
        ("{model: a, usd_per_million_tokens: {}}", "needs the price of one bucket at least"),
        ("{model: (, usd_per_million_tokens: {input: 1}}", "not a regular expression in RE2's syntax"),
        ("{model: a, usd_per_million_tokens: {input: -1}}", "expected a price such as 2.50"),
        ("{model: a, usd_per_million_tokens: {input: 1e-3}}", "expected a price such as 2.50"),
        ("{model: a, usd_per_million_tokens: {input: .nan}}", "expected a price such as 2.50"),
        ("{model: a, usd_per_million_tokens: {inputs: 1}}", "unknown key (did you mean 'input'?)"),
        ("{model: a, usd_per_million_tokens: {input: 1}, valid_from: 31.1.2026}", "expected a date such as 2026-01-31"),
        ("{model: a, tiers: [{above_input_tokens: 0, usd_per_million_tokens: {}}]}", "must be greater than 0"),
    ],
)
def test_wrong_prices_are_named(tmp_path: Path, price: str, problem: str) -> None:
    """With their place, and what was expected."""
    lines = told(tmp_path, f"{MINIMAL}processors:\n  cost:\n    prices:\n      - {price}\n")

    assert any(problem in line and "processors::cost::prices" in line for line in lines), lines


def test_an_expression_that_grows_too_large_is_named() -> None:
    """Upper case beside lower case is more than was validated: the service does not start, no request fails."""
    settings = CostSettings.model_validate({"prices": [own("k" * 160_000, "1")]})

    with pytest.raises(Permanent, match=r"processors::cost/x::prices\[0\]::model: .*too large"):
        build_processor("cost/x", settings)


# --- on anything -----------------------------------------------------------------------------------------------------

_MODELS = st.one_of(st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "sonar", "m", ""]), texts)
_COUNTS = st.one_of(st.integers(0, 10**6), st.integers(0, 2**64 - 1))
_USAGES = st.lists(st.tuples(st.one_of(st.sampled_from([*BUCKETS, "requests"]), texts), _COUNTS), max_size=5)
_OWN = {"model": "m", "usd_per_million_tokens": {"input": "0.000000000001", "output": "3.333333333333"}}
_BOTH = processor(_OWN)


@given(st.lists(st.tuples(_MODELS, texts, _USAGES, st.integers(-(2**63), 2**63 - 1)), max_size=6))
def test_buckets_sum_to_the_total(calls: list[tuple[str, str, list[tuple[str, int]], int]]) -> None:
    """On any names, numbers and times: no error, and a cost is the exact sum of its buckets."""
    rows = rows_after_any(calls)

    for row in rows:
        buckets = {name: amount for name, amount in row["cost_details"].items() if name != "total"}
        assert (row["total_cost"] is None) == (not buckets)
        assert row["total_cost"] in (None, sum(buckets.values()))
        assert all(amount >= 0 for amount in buckets.values())


def rows_after_any(calls: list[tuple[str, str, list[tuple[str, int]], int]]) -> list[dict[str, Any]]:
    """Repeated buckets are left out: a map has none."""
    given_calls = [
        call(model, {}, provider=provider, usage_details=[*dict(usage).items()], start_time=start)
        for model, provider, usage, start in calls
    ]
    return rows_after(_BOTH, *given_calls)


@given(st.sampled_from(["gpt-4o", "gemini-2.5-pro", "claude-sonnet-4-5", "m"]), st.data())
def test_more_tokens_never_cost_less(model: str, data: st.DataObject) -> None:
    """Whichever bucket grows, tiers included."""
    usage = data.draw(st.dictionaries(st.sampled_from(BUCKETS[:-1]), st.integers(0, 10**6), min_size=1))
    more = usage | {data.draw(st.sampled_from(sorted(usage))): 10**6}

    less_cost, more_cost = (row["total_cost"] for row in rows_after(_BOTH, call(model, usage), call(model, more)))

    assert less_cost is None or less_cost <= more_cost
