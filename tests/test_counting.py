"""Each model call counts once, whichever spans report it, in whatever order, split and number they arrive."""

import itertools
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from exporters.chdb_store import ChdbExporter
from tests.support.chdb import answer, opened, statement
from tests.support.records import START_NS, from_rows

Row = dict[str, Any]

_DAY_NS: Final = 86_400 * 10**9
_MIDNIGHT_NS: Final = START_NS // _DAY_NS * _DAY_NS
_NOON_NS: Final = _MIDNIGHT_NS + _DAY_NS // 2
_NATIVE: Final = "com.anthropic.sdk.python"
_TABLES: Final = ("observation_rows", "call_rows", "call_parent_rows")
_projects = (f"p{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """One store for the file; every export goes to a project of its own."""
    with opened(tmp_path_factory.mktemp("counting") / "chdb") as exporter:
        yield exporter


def _span(id_: str, parent: str = "", *, tokens: tuple[int, int] | None = None, **fields: Any) -> Row:
    """A model call of trace t, GENERATION of gpt-4o unless told otherwise."""
    known = {} if tokens is None else dict(zip(("input_tokens", "output_tokens"), tokens, strict=True))
    total = {} if tokens is None else {"total_tokens": sum(tokens)}
    common = {"trace_id": "t", "type": "GENERATION", "provider": "openai", "model": "gpt-4o", "start_time": _NOON_NS}
    return {**common, "id": id_, "parent_observation_id": parent, **known, **total, **fields}


_USED: Final = (100, 20)
_COST: Final = Decimal("0.001")
_INNER: Final[Row] = {"start_time": _NOON_NS + 1_000_000}

# Name: the spans of one conversation, its calls and its tokens, in each trace when there are several.
CASES: Final[dict[str, tuple[list[Row], dict[str, tuple[int, int | None]]]]] = {
    "one call": ([_span("1", tokens=_USED)], {"t": (1, 120)}),
    "AI SDK wrapper of two steps": (
        [
            _span("1", type="SPAN", tokens=(200, 40)),
            _span("2", "1", tokens=_USED, response_id="chatcmpl-1"),
            _span("3", "1", tokens=_USED, response_id="chatcmpl-2"),
        ],
        {"t": (2, 240)},
    ),
    "sums on agent and chain": (
        [
            _span("1", type="AGENT", tokens=(200, 40)),
            _span("2", "1", type="CHAIN", tokens=(200, 40)),
            _span("3", "2", tokens=_USED),
            _span("4", "2", tokens=_USED),
        ],
        {"t": (2, 240)},
    ),
    "LangChain around a patched client": (
        [_span("1", tokens=_USED, total_cost=_COST), _span("2", "1", tokens=_USED, total_cost=_COST, **_INNER)],
        {"t": (1, 120)},
    ),
    "the same, other names of one model": (
        [_span("1", tokens=_USED, model="openai/GPT-4o"), _span("2", "1", tokens=_USED, model="gpt-4o-2024-08-06")],
        {"t": (1, 120)},
    ),
    "the same, the wrapper without model": (
        [_span("1", tokens=_USED, model=""), _span("2", "1", tokens=_USED)],
        {"t": (1, 120)},
    ),
    "the same, only the wrapper with response id": (
        [_span("1", tokens=_USED, response_id="chatcmpl-1"), _span("2", "1", tokens=_USED, **_INNER)],
        {"t": (1, 120)},
    ),
    "the same, only the client with response id": (
        [_span("1", tokens=_USED), _span("2", "1", tokens=_USED, response_id="chatcmpl-1", **_INNER)],
        {"t": (1, 120)},
    ),
    "siblings of one response": (
        [
            _span("1", type="CHAIN"),
            _span("2", "1", tokens=_USED, response_id="chatcmpl-1"),
            _span("3", "1", tokens=_USED, response_id="chatcmpl-1", **_INNER),
        ],
        {"t": (1, 120)},
    ),
    "instrumentor around the SDK's own span": (
        [
            _span("1", tokens=_USED, response_id="msg_1"),
            _span("2", "1", tokens=_USED, response_id="msg_1", scope_name=_NATIVE, **_INNER),
        ],
        {"t": (1, 120)},
    ),
    "the same, tokens told differently": (
        [
            _span("1", tokens=(22, 81), response_id="msg_1"),
            _span("2", "1", tokens=(3260, 81), response_id="msg_1", scope_name=_NATIVE, **_INNER),
        ],
        {"t": (1, 103)},
    ),
    "the SDK's own span alone": (
        [_span("1", tokens=_USED, response_id="msg_1", scope_name=_NATIVE)],
        {"t": (1, 120)},
    ),
    "the SDK's own root in another trace": (
        [
            _span("1", tokens=(12, 31), response_id="msg_1"),
            _span("2", tokens=(12, 29), response_id="msg_1", scope_name=_NATIVE, trace_id="u", **_INNER),
        ],
        {"t": (1, 43), "u": (0, None)},
    ),
    "LangChain, instrumentor and the SDK in another trace": (
        [
            _span("1", tokens=_USED),
            _span("2", "1", tokens=_USED, response_id="msg_1"),
            _span("3", tokens=_USED, response_id="msg_1", scope_name=_NATIVE, trace_id="u", **_INNER),
        ],
        {"t": (1, 120), "u": (0, None)},
    ),
    "one response on two sides of midnight": (
        [
            _span("1", tokens=_USED, response_id="msg_1", start_time=_MIDNIGHT_NS - 1),
            _span("2", tokens=_USED, response_id="msg_1", start_time=_MIDNIGHT_NS + 1, scope_name=_NATIVE),
        ],
        {"t": (1, 120)},
    ),
    "parent and child on two sides of midnight": (
        [
            _span("1", tokens=_USED, start_time=_MIDNIGHT_NS - 60 * 10**9),
            _span("2", "1", tokens=_USED, start_time=_MIDNIGHT_NS + 60 * 10**9),
        ],
        {"t": (1, 120)},
    ),
    "LiteLLM's pair: the child has no usage": (
        [_span("1", tokens=_USED, response_id="chatcmpl-1"), _span("2", "1", model="")],
        {"t": (1, 120)},
    ),
    "wrapper without usage": ([_span("1"), _span("2", "1"), _span("3", "2", tokens=_USED)], {"t": (1, 120)}),
    "failed call of two instrumentations": (
        [_span("1", level="ERROR"), _span("2", "1", level="ERROR")],
        {"t": (1, None)},
    ),
    "response without usage beside one with": (
        [_span("1", response_id="msg_1"), _span("2", tokens=_USED, response_id="msg_1", scope_name=_NATIVE)],
        {"t": (1, 120)},
    ),
    "two calls: parent and child of other usage": (
        [_span("1", tokens=_USED), _span("2", "1", tokens=(7, 3))],
        {"t": (2, 130)},
    ),
    "two calls: parent and child of other models": (
        [_span("1", tokens=_USED), _span("2", "1", tokens=_USED, model="claude-sonnet-4-5")],
        {"t": (2, 240)},
    ),
    "two calls: siblings of equal usage": (
        [_span("1", type="AGENT"), _span("2", "1", tokens=_USED), _span("3", "1", tokens=_USED)],
        {"t": (2, 240)},
    ),
    "two calls: ids that say nothing": (
        [_span("1", tokens=_USED, response_id="None"), _span("2", tokens=_USED, response_id="None")],
        {"t": (2, 240)},
    ),
    "two calls under a wrapper that repeats one": (
        [_span("1", tokens=_USED), _span("2", "1", tokens=_USED), _span("3", "1")],
        {"t": (2, 120)},
    ),
    "a span that names itself as parent": ([_span("1", "1", tokens=_USED)], {"t": (1, 120)}),
}


Arrival = Sequence[Sequence[Row]]


def _export(store: ChdbExporter, arrivals: Sequence[Arrival]) -> list[str]:
    """Stores each arrival, block after block, as a project of its own; the n-th blocks of all go in together."""
    projects = list(itertools.islice(_projects, len(arrivals)))
    for number, blocks in enumerate(itertools.zip_longest(*arrivals, fillvalue=())):
        rows = (
            {**row, "project_id": project, "ingested_at": START_NS + number}
            for project, block in zip(projects, blocks, strict=True)
            for row in block
        )
        store.export(from_rows("observations", rows))
    return projects


def _merge(store: ChdbExporter) -> None:
    for table in _TABLES:
        statement(store, f"SYSTEM START MERGES otel.{table}")
        statement(store, f"OPTIMIZE TABLE otel.{table} FINAL")


def _totals(store: ChdbExporter, project: str) -> list[Row]:
    names = "model_call_count, input_tokens, output_tokens, total_tokens, total_cost, observation_count"
    where = f"WHERE project_id = '{project}'"
    return answer(store, f"SELECT trace_id, {names} FROM trace_totals {where} ORDER BY trace_id")


def _usage(store: ChdbExporter, project: str) -> list[Row]:
    query = f"SELECT * EXCEPT project_id FROM model_usage WHERE project_id = '{project}' AND model_call_count > 0"
    return answer(store, f"{query} ORDER BY ALL")


def _arrivals(rows: list[Row]) -> list[Arrival]:
    """Every order, each in one block and split singly, and the first order with all of it sent again."""
    orders = [list(order) for order in itertools.permutations(rows)]
    split = [[[row] for row in order] for order in orders]
    return [*([order] for order in orders), *split, [rows, rows[::-1], *split[0]], [rows + rows]]


Seen = dict[str, list[tuple[list[Row], list[Row]]]]


@pytest.fixture(scope="module", params=["as inserted", "merged"])
def seen(store: ChdbExporter, request: pytest.FixtureRequest) -> Seen:
    """Totals and usage of each case, for each way to arrive; before and after the server has merged all."""
    if request.param == "as inserted":
        for table in _TABLES:
            statement(store, f"SYSTEM STOP MERGES otel.{table}")
    arrivals = {name: _arrivals(rows) for name, (rows, _) in CASES.items()}
    projects = _export(store, [arrival for each in arrivals.values() for arrival in each])
    if request.param == "merged":
        _merge(store)
    totals, usage = _by_project(store, "trace_totals"), _by_project(store, "model_usage")
    both = ((totals[project], usage[project]) for project in projects)
    return {name: list(itertools.islice(both, len(each))) for name, each in arrivals.items()}


def _by_project(store: ChdbExporter, view: str) -> dict[str, list[Row]]:
    rows = answer(store, f"SELECT * FROM {view} ORDER BY project_id")
    return {project: list(group) for project, group in itertools.groupby(rows, key=lambda row: row["project_id"])}


@pytest.mark.parametrize("name", CASES)
def test_each_call_counts_once(seen: Seen, name: str) -> None:
    """Totals of each trace are the true ones in every order, split and redelivery, and after a merge."""
    _, expected = CASES[name]

    for totals, _ in seen[name]:
        assert {row["trace_id"]: (row["model_call_count"], row["total_tokens"]) for row in totals} == expected


@pytest.mark.parametrize("name", CASES)
def test_usage_agrees_with_totals(seen: Seen, name: str) -> None:
    """Summed over models and days, model_usage says what trace_totals says."""
    for totals, usage in seen[name]:
        for column in ("model_call_count", "input_tokens", "output_tokens", "total_tokens", "total_cost"):
            assert sum(row[column] or 0 for row in usage) == sum(row[column] or 0 for row in totals)


def test_cost_of_the_parent_stays_where_the_child_has_none(store: ChdbExporter) -> None:
    """What only the wrapper knows is not lost, and what both know counts once."""
    priced, plain = _span("1", tokens=_USED, total_cost=_COST), _span("2", "1", tokens=_USED)
    cases = [[priced, plain], [priced, {**plain, "total_cost": _COST}], [{**priced, "total_cost": None}, plain]]
    projects = _export(store, [[rows] for rows in cases])

    costs = [_totals(store, project)[0]["total_cost"] for project in projects]

    assert costs == [0.001, 0.001, None]


def test_projects_share_no_response(store: ChdbExporter) -> None:
    """An id that is equal in two projects joins nothing."""
    row = _span("1", tokens=_USED, response_id="chatcmpl-1")
    projects = _export(store, [[[row]], [[row]]])

    assert [_totals(store, project)[0]["model_call_count"] for project in projects] == [1, 1]


def test_totals_of_one_trace_are_those_of_all(store: ChdbExporter) -> None:
    """A condition on the trace finds what the whole list says, however parts lie: no loser shows by itself."""
    rows = [
        row
        for number in range(300)
        for row in (
            _span(f"{number}", tokens=_USED, response_id=f"msg_{number}", trace_id=f"t{number}"),
            _span("n", tokens=_USED, response_id=f"msg_{number}", trace_id=f"u{number}", scope_name=_NATIVE),
        )
    ]
    random.Random(1).shuffle(rows)
    (project,) = _export(store, [[rows[:200], rows[200:]]])
    every = {row["trace_id"]: row for row in _totals(store, project)}

    for trace in ("t7", "u7", "t150", "u150", "t299", "u299"):
        (alone,) = answer(store, f"SELECT * FROM trace_totals WHERE trace_id = '{trace}' AND project_id = '{project}'")
        assert alone["model_call_count"] == every[trace]["model_call_count"] == int(trace.startswith("t"))


_spans = st.builds(
    _span,
    st.sampled_from("abcd"),
    st.sampled_from(["", "a", "b", "c", "x"]),
    tokens=st.sampled_from([None, (1, 2), (3, 4)]),
    trace_id=st.sampled_from("tu"),
    type=st.sampled_from(["GENERATION", "GENERATION", "EMBEDDING", "AGENT"]),
    model=st.sampled_from(["", "gpt-4o", "gpt-4o-2024-08-06", "claude"]),
    response_id=st.sampled_from(["", "", "r1", "r2"]),
    scope_name=st.sampled_from(["a", _NATIVE]),
    start_time=st.sampled_from([_NOON_NS, _NOON_NS + 1, _MIDNIGHT_NS - 1, _MIDNIGHT_NS + 1]),
    total_cost=st.sampled_from([None, _COST]),
)


def test_a_large_trace(store: ChdbExporter) -> None:
    """Thousands of calls below each other, all of other usage, are all counted."""
    rows = [
        _span(f"{number:04}", f"{number // 10:04}" * (number > 0), tokens=(number, 1), response_id=f"r{number}")
        for number in range(8000)
    ]
    (project,) = _export(store, [[rows[4000:], rows[:5000]]])

    (total,) = _totals(store, project)

    assert (total["model_call_count"], total["input_tokens"]) == (8000, sum(range(8000)))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(_spans, max_size=8, unique_by=lambda row: (row["trace_id"], row["id"])),
    seed=st.integers(0, 2**32),
)
def test_order_split_and_copies_do_not_matter(store: ChdbExporter, rows: list[Row], seed: int) -> None:
    """Any spans, cut and shuffled and repeated in any way, give the totals and the usage that one block gives."""
    chance = random.Random(seed)
    shuffled = chance.sample(rows, len(rows)) + chance.choices(rows, k=4 if rows else 0)
    cut = chance.randint(0, len(shuffled))
    pieces = [shuffled[:cut], shuffled[cut:], shuffled[::2]]

    first, second = _export(store, [[rows], pieces])

    assert _totals(store, second) == _totals(store, first)
    assert _usage(store, second) == _usage(store, first)
