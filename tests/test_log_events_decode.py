"""Log records that are GenAI events, decoded: both encodings alike, application lines told apart, nothing raised."""

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.conventions import Convention
from otlp_receiver.decode import decode_logs
from otlp_receiver.mapping.log_events import EventNames
from pipelines.ingest import Accepted, BadRequest, Encoding
from tests.support.corpus import recordings
from tests.support.log_requests import (
    NAMES,
    SPAN_ID,
    TRACE_ID,
    LogRecord,
    conversation,
    decoded,
    logs_request,
    record,
    to_json,
    to_protobuf,
)
from tests.support.mutations import mutated
from tests.support.otlp import START_NS, Value
from tests.support.span_tables import Plain, plain_table
from tests.support.strategies import attributes, ids, texts, values

_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_EVENT_NAMES = st.sampled_from(["gen_ai.user.message", "gen_ai.choice", "gen_ai.client.inference.operation.details"])
_UINT64 = st.integers(0, 2**64 - 1)
_RECORDS = st.builds(
    LogRecord,
    name=st.one_of(_EVENT_NAMES, _EVENT_NAMES, texts),
    time_ns=_UINT64,
    observed_ns=_UINT64,
    trace_id=st.one_of(st.just(""), ids(16)),
    span_id=st.one_of(st.just(""), ids(8)),
    severity=texts,
    severity_number=st.integers(0, 24),
    flags=st.integers(0, 2**32 - 1),
    attributes=attributes,
    body=values(),
    dropped=st.integers(0, 2**32 - 1),
)
_SCOPES = st.lists(st.lists(_RECORDS, max_size=3), max_size=2)


def _event(body: Value, **fields: Any) -> Plain:
    """The one event of a record's span."""
    table, outcome = decoded(to_protobuf([record("gen_ai.user.message", body, {"a": 1}, **fields)]))
    assert outcome == Accepted(1)
    ((event,),) = [row["events"] for row in plain_table(table)]
    return dict(event)


@_calm
@given(_SCOPES, st.one_of(st.none(), st.integers(0, 2**32)))
def test_both_encodings_give_equal_tables(scopes: list[list[LogRecord]], spelling_seed: int | None) -> None:
    """Protobuf and JSON of one request, in whatever spelling, give the same table and the same outcome."""
    from_protobuf, outcome = decoded(to_protobuf(*scopes, resource={"service.name": "s"}))
    from_json, same = decoded(to_json(*scopes, resource={"service.name": "s"}, spelling_seed=spelling_seed), "json")

    assert outcome == same
    for name in from_protobuf.__slots__:
        assert getattr(from_protobuf, name).to_pylist() == getattr(from_json, name).to_pylist(), name


@_calm
@given(_SCOPES)
def test_every_record_is_taken_or_counted(scopes: list[list[LogRecord]]) -> None:
    """Records with the name of a GenAI event are in the table, in order, and all others in the count of refusals."""
    table, outcome = decoded(to_protobuf(*scopes))
    named = [each.name for records in scopes for each in records if each.name in NAMES]

    assert table.spans.column("name").to_pylist() == named
    assert isinstance(outcome, Accepted)
    assert (outcome.spans, outcome.rejected_spans) == (len(named), sum(map(len, scopes)) - len(named))


@_calm
@given(_SCOPES, st.sampled_from(["protobuf", "json"]), st.integers(0, 2**32), st.integers(1, 8))
def test_mutated_bodies_give_an_outcome(
    scopes: list[list[LogRecord]], encoding: Encoding, seed: int, changes: int
) -> None:
    """Whatever bytes arrive, there is an outcome, and the neighbour's records are all that they were."""
    encode = to_json if encoding == "json" else to_protobuf
    good = logs_request(to_protobuf(conversation()))
    bad = logs_request(mutated(encode(*scopes), random.Random(seed), changes), encoding)

    table, outcomes = decode_logs([good, bad, good], NAMES.__contains__)

    assert table.spans.column("request").to_pylist().count(0) == 5
    assert outcomes[0] == outcomes[2] == Accepted(5)
    assert isinstance(outcomes[1], Accepted | BadRequest)


@_calm
@given(st.binary(max_size=200), st.sampled_from(["protobuf", "json"]))
def test_noise_gives_an_outcome(body: bytes, encoding: Encoding) -> None:
    """Random bytes are answered, never raised about."""
    assert isinstance(decoded(body, encoding)[1], Accepted | BadRequest)


def test_a_record_in_the_shape_of_a_span() -> None:
    """Ids, times, severity, flags and attributes of a record stand where the table of `decode.log_records` says."""
    sent = record("gen_ai.choice", {"index": 0}, {"k": "v"}, severity="INFO", flags=3, observed_ns=START_NS + 5)
    (row,) = plain_table(decoded(to_protobuf([sent]))[0])

    assert (row["trace_id"], row["span_id"], row["parent_span_id"]) == (TRACE_ID, SPAN_ID, "")
    assert (row["name"], row["flags"], row["status_message"]) == ("gen_ai.choice", 3, "INFO")
    assert (row["start_time_unix_nano"], row["end_time_unix_nano"]) == (START_NS, START_NS + 5)
    assert row["attributes"] == [("k", "string", "v")]
    (event,) = row["events"]
    assert (event["name"], event["time_unix_nano"]) == ("gen_ai.choice", START_NS)
    assert event["attributes"] == [("k", "string", "v"), ("index", "int", "0")]


@pytest.mark.parametrize("body", [{"content": "hi", "n": 1, "deep": {"a": [1.5, None, True]}}])
def test_a_body_of_json_text_reads_like_a_map(body: dict[str, Any]) -> None:
    """The fields of a map are the event's attributes, and those of text that is a JSON object are the same."""
    assert _event(body)["attributes"] == _event(json.dumps(body))["attributes"]
    assert ("content", "string", "hi") in _event(body)["attributes"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("plain", [("content", "string", "plain")]),
        ("{no json", [("content", "string", "{no json")]),
        (["a"], [("content", "array", '["a"]')]),
        (7, [("content", "int", "7")]),
        ("", []),
        (None, []),
        ({}, []),
    ],
)
def test_a_body_that_is_no_map_is_content(body: Value, fields: list[Any]) -> None:
    """Text and lists are kept as one field; nothing is nothing."""
    assert _event(body)["attributes"] == [("a", "int", "1"), *fields]


def test_the_name_may_be_an_attribute() -> None:
    """`event.name` names a record that has no name of its own (JavaScript, Semantic Kernel), and is then shown so."""
    (row,) = plain_table(decoded(to_protobuf([record("", None, {"event.name": "gen_ai.choice", "k": 1})]))[0])

    assert row["name"] == "gen_ai.choice"
    assert row["attributes"] == [("k", "int", "1")]


def test_one_time_stands_in_for_the_other() -> None:
    """A record without time happened when it was seen (Python's first generation), and the other way round."""
    sent = [record("gen_ai.choice", time_ns=0, observed_ns=7), record("gen_ai.choice", time_ns=8, observed_ns=0)]
    rows = plain_table(decoded(to_protobuf(sent))[0])

    assert [(row["start_time_unix_nano"], row["end_time_unix_nano"]) for row in rows] == [(7, 7), (8, 8)]


@pytest.mark.parametrize("encode", [to_protobuf, to_json])
def test_application_lines_are_refused_politely(encode: Any) -> None:
    """Lines without an event name, or with another, are counted; the message says what becomes of them."""
    lines = [record("", "tool called"), record("app.started"), *conversation()]
    _, outcome = decoded(encode(lines), "json" if encode is to_json else "protobuf")

    assert isinstance(outcome, Accepted)
    assert (outcome.spans, outcome.rejected_spans) == (5, 2)
    assert outcome.message.startswith("2 log records were not stored")


@pytest.mark.parametrize("encode", [to_protobuf, to_json])
def test_bad_ids_are_named(encode: Any) -> None:
    """Ids of a wrong length never fit a span: the record is refused by its place, its neighbour is taken."""
    sent = [record("gen_ai.choice", trace_id="01" * 15), record("gen_ai.choice")]
    _, outcome = decoded(encode(sent), "json" if encode is to_json else "protobuf")

    message = "resourceLogs[0].scopeLogs[0].logRecords[0].traceId: 15 bytes, expected 16"
    assert outcome == Accepted(1, 1, message)


def test_text_that_is_no_utf8() -> None:
    """A cut emoji in a body costs three characters, not the request."""
    body = to_protobuf([record("gen_ai.user.message", {"content": "emoji XXX"})]).replace(b"XXX", b"\xed\xa0\xbd")
    (row,) = plain_table(decoded(body)[0])

    assert row["events"][0]["attributes"] == [("content", "string", "emoji \ufffd\ufffd\ufffd")]


def test_old_json_spellings() -> None:
    """Field names of before 1.0, and severities by name, are read."""
    sent = {
        "timeUnixNano": 5,
        "severityNumber": "SEVERITY_NUMBER_WARN2",
        "attributes": [{"key": "event.name", "value": {"stringValue": "gen_ai.choice"}}],
        "body": {"kvlistValue": {"values": [{"key": "index", "value": {"intValue": 0}}]}},
    }
    request = {"resource_logs": [{"instrumentationLibraryLogs": [{"instrumentationLibrary": {}, "logs": [sent]}]}]}
    (row,) = plain_table(decoded(json.dumps(request).encode(), "json")[0])

    assert (row["name"], row["status_message"], row["start_time_unix_nano"]) == ("gen_ai.choice", "14", 5)
    assert row["events"][0]["attributes"] == [("index", "int", "0")]


@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x05a"])
def test_what_is_no_request(body: bytes) -> None:
    """The message names what was expected."""
    _, outcome = decoded(body)

    assert isinstance(outcome, BadRequest)
    assert "ExportLogsServiceRequest" in str(outcome)


def test_a_request_without_events_need_not_be_decoded() -> None:
    """The names of events are looked for in the bytes: no recording with events is passed over, lines alone are."""
    for recording in recordings():
        if recording.signal == "logs":
            _, outcome = decoded(recording.decompressed(), recording.encoding)
            assert isinstance(outcome, Accepted)
            assert NAMES.may_be_in(recording.decompressed()) >= (outcome.spans > 0), recording.file
    assert not NAMES.may_be_in(to_protobuf([record("", "tool called"), record("app.started")]))
    own = Convention(name="own", title="Own", precedence=30, lifted_events=("my.event",))
    assert EventNames([own]).may_be_in(to_protobuf([record("my.event")]))
