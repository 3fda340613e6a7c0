"""Partial trace rows and scores: promise 3, "order does not matter", above all."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from tests.support.arrow_rows import Row, table_rows
from tests.support.mapping import PLAN, map_bodies, map_export, observation
from tests.support.otlp import START_NS, Span, event, export, span, to_protobuf
from tests.support.span_tables import request
from tests.support.trace_merge import merged, value

_TRACE = "0102030405060708090a0b0c0d0e0f10"


def _trace(*spans: Span) -> Row:
    (row,) = merged(map_export(export(*spans)).traces).values()
    return row


def _at(second: int, number: int = 1, attributes: dict[str, Any] | None = None, **fields: Any) -> Span:
    start = START_NS + second * 10**9
    return span(attributes, span_id=f"{number:016x}", start_ns=start, end_ns=start + 500_000_000, **fields)


_ROOT = _at(5, 1, {"user.id": "of root"}, name="root")
_EARLY_CHILD = _at(1, 2, {"user.id": "of child", "gen_ai.conversation.id": "chat 7"}, name="child", parent_id="aa" * 8)
_LATE_CHILD = _at(9, 3, {"user.id": "of late child"}, name="late", parent_id="aa" * 8)


def test_the_root_beats_the_earliest_span() -> None:
    """Values come from the root where it has them, else from the earliest span that does."""
    trace = _trace(_LATE_CHILD, _EARLY_CHILD, _ROOT)
    assert (value(trace, "name"), value(trace, "user_id"), value(trace, "session_id")) == ("root", "of root", "chat 7")
    assert (trace["timestamp"], trace["end_time"]) == (_EARLY_CHILD.start_ns, _LATE_CHILD.end_ns)


def test_without_a_root_the_earliest_span_speaks() -> None:
    """Parents that never arrive cost nothing: the earliest span names the trace."""
    trace = _trace(_LATE_CHILD, _EARLY_CHILD)
    assert (value(trace, "name"), value(trace, "user_id")) == ("child", "of child")


def test_equal_times_are_decided_by_span_id() -> None:
    """Of two spans of one rank and start the smaller span id wins."""
    first, second = (_at(1, number, {"user.id": f"user {number}"}, parent_id="aa" * 8) for number in (1, 2))
    assert value(_trace(second, first), "user_id") == "user 1"


def test_a_later_root_does_not_overwrite() -> None:
    """A second root, such as a remote-parented service's, leaves the first one's values in place."""
    assert value(_trace(_at(7, 9, {"user.id": "other"}, name="second root"), _ROOT), "name") == "root"


def test_no_value_stays_no_value() -> None:
    """A column that no span fills has rank 255 and is empty."""
    trace = _trace(span(name=""))
    assert (trace["user_id"], value(trace, "name")) == ((255, 0, "", b""), "")


def test_input_and_output_of_a_trace() -> None:
    """Input and output of the root; where it has none, of the earliest span that has one."""
    child = _at(
        1, 2, {"gen_ai.input.messages": "child in", "gen_ai.output.messages": "child out"}, parent_id=_ROOT.span_id
    )
    trace = _trace(child, _ROOT)
    assert (value(trace, "input"), value(trace, "output")) == ("child in", "child out")
    trace = _trace(child, _at(5, 1, {"gen_ai.input.messages": "root in"}))
    assert (value(trace, "input"), value(trace, "output")) == ("root in", "child out")


def test_one_partial_row_a_trace() -> None:
    """A batch makes one row for each trace in it, and projects do not mix."""
    other = "ff" * 16
    bodies = [to_protobuf(export(_ROOT, _EARLY_CHILD, span(trace_id=other)))] * 2
    requests = [request(body, project_id=project) for body, project in zip(bodies, ("a", "b"), strict=True)]
    table, _ = decode(requests)
    (traces,) = (table_rows(batch.records) for batch in map_spans(PLAN, table, requests) if batch.kind == "traces")
    keys = sorted((row["project_id"], row["id"]) for row in traces)
    assert keys == [("a", _TRACE), ("a", other), ("b", _TRACE), ("b", other)]


# --- promise 3 -------------------------------------------------------------------------------------------------------

_FILLING_KEYS = ("user.id", "session.id", "gen_ai.input.messages", "gen_ai.output.messages", "deployment.environment")
_WORDS = st.sampled_from(["", "x", "yy", "é", "zzz"])
_SPANS = st.builds(
    lambda number, second, trace, root, attributes, name: _at(
        second,
        number,
        {key: text for key, text in attributes.items() if text},
        trace_id=trace * 16,
        parent_id="" if root else "aa" * 8,
        name=name,
    ),
    number=st.integers(1, 2**32),
    second=st.integers(0, 3),
    trace=st.sampled_from(["01", "02"]),
    root=st.booleans(),
    attributes=st.fixed_dictionaries(dict.fromkeys(_FILLING_KEYS, _WORDS)),
    name=_WORDS,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_SPANS, min_size=1, max_size=8, unique_by=lambda sent: sent.span_id), st.integers(0, 2**32))
def test_order_split_and_duplication_do_not_matter(spans: list[Span], seed: int) -> None:
    """The same spans in any order, split over requests and sent again, merge to the same traces."""
    chance = random.Random(seed)
    whole = merged(map_export(export(*spans)).traces)
    groups = _scattered(spans, chance)
    together = merged(map_bodies([to_protobuf(export(*group)) for group in groups]).traces)
    one_by_one = merged(row for group in groups for row in map_export(export(*group)).traces)
    assert whole == together == one_by_one


def _scattered(spans: Sequence[Span], chance: random.Random) -> list[list[Span]]:
    """All spans and some of them again, shuffled, in groups."""
    sent = [*spans, *chance.choices(spans, k=chance.randrange(4))]
    chance.shuffle(sent)
    cuts = sorted(chance.choices(range(len(sent) + 1), k=chance.randrange(4)))
    return [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


# --- scores ----------------------------------------------------------------------------------------------------------


def _evaluation(*, time_ns: Any = START_NS + 5, **attributes: Any) -> Any:
    return event(
        "gen_ai.evaluation.result",
        {f"gen_ai.evaluation.{key}": text for key, text in attributes.items()},
        time_ns=time_ns,
    )


def test_an_evaluation_becomes_a_score() -> None:
    """Name, value, label, explanation, time, owner, and everything else in metadata."""
    sent = _evaluation(
        name="helpfulness", **{"score.value": 0.75, "score.label": "good", "explanation": "clear", "judge": "m"}
    )
    (score,) = map_export(export(span(events=[sent]))).scores
    identity = score.pop("id")
    assert score == {
        "project_id": "default",
        "trace_id": _TRACE,
        "observation_id": "1112131415161718",
        "timestamp": START_NS + 5,
        "name": "helpfulness",
        "value": 0.75,
        "label": "good",
        "comment": "clear",
        "metadata": {"gen_ai.evaluation.judge": "m"},
        "ingested_at": START_NS,
    }
    assert len(identity) == 32


@pytest.mark.parametrize(
    ("sent", "value", "metadata"),
    [
        (1, 1.0, {}),
        ("0.5", 0.5, {}),
        ("great", None, {"gen_ai.evaluation.score.value": "great"}),
        (float("nan"), None, {"gen_ai.evaluation.score.value": "NaN"}),
    ],
)
def test_score_values(sent: Any, value: float | None, metadata: dict[str, str]) -> None:
    """A value is a number, or it is kept as sent."""
    (score,) = map_export(export(span(events=[_evaluation(name="n", **{"score.value": sent})]))).scores
    assert (score["value"], score["metadata"]) == (value, metadata)


def test_a_redelivered_score_replaces_itself() -> None:
    """The id of a score depends on what it is, not on when or with what it arrived; two scores have two ids."""
    first, second = _evaluation(name="a", **{"score.value": 1}), _evaluation(name="b", **{"score.value": 1})
    sent = span(events=[first, second])
    again = map_bodies([to_protobuf(export(_ROOT, sent))], received_at_ns=START_NS + 99).scores
    ids = [score["id"] for score in map_export(export(sent)).scores]
    assert [score["id"] for score in again] == ids
    assert len(set(ids)) == 2


def test_scores_of_one_name_at_two_times_are_two() -> None:
    """The same judgement passed twice is two scores."""
    events = [_evaluation(time_ns=START_NS + second, name="a") for second in range(2)]
    assert len({score["id"] for score in map_export(export(span(events=events))).scores}) == 2


def test_a_score_without_a_time() -> None:
    """An evaluation event without a time counts as of its span's start."""
    (score,) = map_export(export(span(events=[_evaluation(time_ns=0, name="n")]))).scores
    assert score["timestamp"] == START_NS


def test_spans_without_evaluations_have_no_scores() -> None:
    """Other events make no scores."""
    assert map_export(export(span(events=[event("exception")]))).scores == []
    assert observation(span(events=[event("exception")]))["events"]
