"""One conversation costs the same whichever dialect reported it: the whole corpus, one price list, the stored views."""

from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import pytest

from exporters.chdb_store import ChdbExporter
from tests.support.chdb import answer, opened
from tests.support.costs import listed_cost, priced_corpus
from tests.support.golden import sources
from tests.support.truths import CASES, TRUTHS, Case, read_truths

_FILE: Final = read_truths("same_conversations.yaml")
_CONVERSATIONS: Final[list[dict[str, Any]]] = _FILE["conversations"]
_RECORDINGS: Final = [f"{source}/{name}" for source, scenarios in sources().items() for name in scenarios]


class Totals(NamedTuple):
    """What the views count of one recording."""

    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Both halves."""
        return self.input_tokens, self.output_tokens


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """A store with the whole corpus, a project a recording."""
    with opened(tmp_path_factory.mktemp("equal-cost") / "chdb") as exporter:
        exporter.export(priced_corpus())
        yield exporter


@pytest.fixture(scope="module")
def totals(store: ChdbExporter) -> dict[str, Totals]:
    """What `trace_totals` says of every recording, over all of its traces."""
    return _sums(store, "trace_totals")


def _sums(store: ChdbExporter, view: str) -> dict[str, Totals]:
    query = (
        "SELECT project_id, sum(model_call_count) AS calls, sum(input_tokens) AS tokens_in,"
        f" sum(output_tokens) AS tokens_out, toString(sum(total_cost)) AS cost FROM {view} GROUP BY project_id"
    )
    return {row["project_id"]: _totals(row) for row in answer(store, query)}


def _totals(row: dict[str, Any]) -> Totals:
    cost = None if row["cost"] is None else Decimal(row["cost"])
    return Totals(row["calls"], row["tokens_in"], row["tokens_out"], cost)


def _named(*patterns: str) -> list[str]:
    """Recordings by patterns, each of which has some."""
    found = {pattern: [name for name in _RECORDINGS if fnmatchcase(name, pattern)] for pattern in patterns}
    assert all(found.values()), found
    return [name for names in found.values() for name in names]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_conversation_costs_what_the_server_counted(totals: dict[str, Totals], case: Case) -> None:
    """Priced bucket by bucket from the server's own counts, less what the source does not say, each call once."""
    expected = sum(listed_cost(call["model"], usage) for call, usage in zip(case.calls, case.usages(), strict=True))

    assert totals[str(case)].cost == expected * case.times


@pytest.mark.parametrize("conversation", _CONVERSATIONS, ids=lambda each: each["name"])
def test_one_conversation_has_one_cost(totals: dict[str, Totals], conversation: dict[str, Any]) -> None:
    """All recordings of it agree; those that leave parts unsaid have its tokens, and the others really have not."""
    same = {name: totals[name] for name in _named(*conversation["recordings"])}
    (cost,) = {each.cost for each in same.values()}
    (tokens,) = {each.tokens for each in same.values()}
    plain = [totals[name] for name in _named(*conversation.get("without_parts", ()))]
    others = [totals[name] for name in _named(*conversation.get("differs", ()))]

    assert cost
    assert all(each.tokens == tokens and each.cost != cost for each in plain)
    assert all(each.tokens != tokens for each in others)


@pytest.mark.parametrize("recording", _FILE["alone"])
def test_what_one_source_alone_recorded_counts_once(totals: dict[str, Totals], recording: str) -> None:
    """Calls and tokens are those of the calls, and they have a price."""
    calls, tokens_in, tokens_out = _FILE["alone"][recording]

    assert (totals[recording].calls, totals[recording].tokens) == (calls, (tokens_in, tokens_out))
    assert totals[recording].cost


def test_every_source_is_looked_at(totals: dict[str, Totals]) -> None:
    """Each has a truth, a conversation, or totals of its own; what is said to have no tokens has none."""
    with_truth = {f"{language}/{source}" for language in TRUTHS for source in TRUTHS[language]["sources"]}
    shared = {name.rpartition("/")[0] for each in _CONVERSATIONS for name in _named(*each["recordings"])}
    plain = {name.rpartition("/")[0] for each in _CONVERSATIONS for name in _named(*each.get("without_parts", ()))}
    alone = {name.rpartition("/")[0] for name in _FILE["alone"]}
    silent = {*_FILE["silent"]}

    assert with_truth | shared | plain | alone | silent == {*sources()}
    assert not silent & (with_truth | shared | plain | alone)
    assert all(totals[name].tokens == (None, None) for each in silent for name in _named(f"{each}/*"))


def test_every_measured_call_has_a_price(store: ChdbExporter) -> None:
    """The list knows every model of the corpus by its name, whatever spelling it comes in."""
    query = (
        "SELECT DISTINCT model FROM observations WHERE type IN ('GENERATION', 'EMBEDDING', 'RERANKER')"
        " AND total_tokens > 0 AND total_cost IS NULL"
    )

    assert answer(store, query) == []


def test_usage_by_model_says_the_same(store: ChdbExporter, totals: dict[str, Totals]) -> None:
    """The other view, `model_usage`, has the same sums for every recording with model calls."""
    usage = _sums(store, "model_usage")

    assert usage == {name: each for name, each in totals.items() if name in usage}
    assert usage.keys() == {name for name, each in totals.items() if each.calls}


@pytest.mark.parametrize("encoding", ["proto", "json", "grpc"])
def test_langchain_beside_an_instrumented_client_counts_once(totals: dict[str, Totals], encoding: str) -> None:
    """Three chats, each reported by LangChain and by the client as siblings, and one embedding without usage."""
    chats = [
        {"input": 42, "input_cached_tokens": 41, "output": 18},
        {"input": 87, "input_cached_tokens": 87, "output": 27},
        {"input": 77, "input_cached_tokens": 77, "output": 15},
    ]
    cost = sum((listed_cost("gpt-4o-mini", usage) for usage in chats), Decimal())

    assert totals[f"js/openinference/full.{encoding}"] == Totals(4, 411, 60, cost)
