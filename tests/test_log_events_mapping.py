"""GenAI log records mapped: what makes a record known again, and what becomes of everything that it says."""

import json

from exporters.json_lines import json_lines
from otlp_receiver.decode import decode_logs
from otlp_receiver.mapping.log_events import map_log_events
from pipelines.schema import TABLES
from tests.support.arrow_rows import Row, table_rows
from tests.support.log_requests import NAMES, LogRecord, conversation, logs_request, record, to_json, to_protobuf
from tests.support.mapping import PLAN
from tests.support.otlp import START_NS

_DETAILS = "gen_ai.client.inference.operation.details"


def _mapped(*bodies: bytes) -> dict[str, list[Row]]:
    """Rows by kind, of requests that came together."""
    requests = [logs_request(body, "json" if body.startswith(b"{") else "protobuf") for body in bodies]
    table, _ = decode_logs(requests, NAMES.__contains__)
    batches = map_log_events(PLAN, table, requests)
    assert all(batch.records.schema == TABLES[batch.kind].arrow_schema for batch in batches)
    return {batch.kind: table_rows(batch.records) for batch in batches}


def _contents(*records: LogRecord) -> list[Row]:
    return _mapped(to_protobuf(records))["contents"]


def test_one_row_a_record() -> None:
    """Each message is a row of its span, in order, with the message in its half and the call beside it."""
    rows = _contents(*conversation())

    assert [row["name"].removeprefix("gen_ai.") for row in rows] == [
        "system.message",
        "user.message",
        "assistant.message",
        "tool.message",
        "choice",
    ]
    assert [row["position"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(row["is_message"] for row in rows)
    assert [bool(row["input"]) for row in rows] == [True] * 4 + [False]
    assert [call["name"] for call in rows[-1]["tool_calls"]] == ["weather"]
    assert {row["provider"] for row in rows} == {"openai"}


def test_a_record_that_tells_the_whole_call() -> None:
    """The one event of today: structured messages in attributes, nothing in the body."""
    asked = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    said = {"gen_ai.input.messages": asked, "gen_ai.response.time_to_first_chunk": 0.25, "user.id": "u", "x": [1]}
    (row,) = _contents(record(_DETAILS, attributes=said))

    assert not row["is_message"]
    assert row["input"] == '[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]'
    assert (row["user_id"], row["first_token_wait_ns"]) == ("u", 250_000_000)
    assert row["metadata"] == {"x": "[1]"}
    assert row["body"] == {}


def test_nothing_of_a_record_is_lost() -> None:
    """Fields of the body and attributes that no column shows are in `body` and `metadata`, severity and scope too."""
    sent = record("gen_ai.user.message", {"content": "Hi", "mood": {"a": 1}}, {"app.key": "v"}, severity_number=9)
    (row,) = _mapped(to_protobuf([sent], resource={"team": "blue"}))["contents"]

    assert row["body"] == {"content": "Hi", "mood": '{"a":1}'}
    assert row["metadata"] == {"app.key": "v"}
    assert (row["severity"], row["scope_name"], row["resource_attributes"]) == ("9", "tests", {"team": "blue"})


def test_an_unknown_event_of_the_conventions_is_kept() -> None:
    """An event that is newer than this code completes nothing, and is there."""
    (row,) = _contents(record("gen_ai.something.new", {"a": 1}, {"b": 2}))

    assert (row["name"], row["body"], row["metadata"]) == ("gen_ai.something.new", {"a": "1"}, {"b": "2"})


def test_copies_are_the_same_record() -> None:
    """A request sent again, alone, with neighbours, in JSON, or twice in one request, has the same ids."""
    once = [row["id"] for row in _contents(*conversation())]
    again = _mapped(to_protobuf(conversation(), conversation()), to_json(conversation()))["contents"]
    alone = _contents(conversation()[3])

    assert len(set(once)) == 5
    assert [row["id"] for row in again] == once * 3
    assert [row["id"] for row in alone] == once[3:4]


def test_equal_messages_of_one_millisecond_are_two() -> None:
    """Side by side in one scope two equal records are two messages, and stay the same two when they come again."""
    yes = record("gen_ai.user.message", {"content": "yes"})
    ids = [row["id"] for row in _contents(yes, yes)]

    assert len(set(ids)) == 2
    assert [row["id"] for row in _mapped(to_protobuf([yes, yes], [yes, yes]))["contents"]] == ids * 2


def test_a_record_without_span_is_an_observation() -> None:
    """Without ids of its own it gets some, the same for every copy; type, content and trace record are as of a span."""
    said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.output.messages": "done"}
    sent = record(_DETAILS, None, said, trace_id="", span_id="")
    kinds = _mapped(to_protobuf([sent, *conversation()]))
    (row,) = kinds["observations"]
    (trace,) = kinds["traces"]

    assert (row["type"], row["model"], row["name"]) == ("GENERATION", "m", _DETAILS)
    assert (row["start_time"], len(row["trace_id"]), len(row["id"])) == (START_NS, 32, 16)
    assert trace["id"] == row["trace_id"]
    assert "done" in trace["output"]["value"]
    assert len(kinds["contents"]) == 5
    assert _mapped(to_json([sent]))["observations"][0]["id"] == row["id"]


def test_an_evaluation_is_a_score() -> None:
    """An evaluation result about a span is a score of it, and completes nothing."""
    said = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.5}
    kinds = _mapped(to_protobuf([record("gen_ai.evaluation.result", None, said)]))

    assert list(kinds) == ["scores"]
    assert (kinds["scores"][0]["name"], kinds["scores"][0]["value"]) == ("relevance", 0.5)


def test_no_records_no_batches() -> None:
    """Lines alone leave nothing behind."""
    assert _mapped(to_protobuf([record("", "line")])) == {}


def test_odd_content_is_no_message() -> None:
    """A message event whose input is no list of messages is taken as a whole, so that no text is cut in merging."""
    (row,) = _contents(record("gen_ai.user.message", None, {"gen_ai.input.messages": "[draft"}))

    assert "[draft" in row["input"]
    assert row["is_message"] == row["input"].endswith("]")


def test_contents_as_json_lines() -> None:
    """Exporters that write lines get the records as they are: one line each, with its kind."""
    request = logs_request(to_protobuf(conversation()))
    table, _ = decode_logs([request], NAMES.__contains__)
    (batch,) = map_log_events(PLAN, table, [request])
    lines = [json.loads(line) for line in json_lines(batch)]

    assert [line["kind"] for line in lines] == ["contents"] * 5
    assert lines[1]["body"] == {"content": "Weather in Paris?"}
    assert lines[1]["timestamp"].startswith("2026-11-21T")
