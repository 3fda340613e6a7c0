"""Observations completed by log records, on real chDB: the same in whatever order, split and number they come."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.conventions import load_conventions
from exporters import completion
from exporters.chdb_store import DATABASE, ChdbExporter
from otlp_receiver.app import transform
from pipelines.batch import Batch
from pipelines.ingest import Request, Stored
from tests.support.arrow_rows import Row, table_rows
from tests.support.chdb import arrow, opened, statement, value
from tests.support.log_requests import LogRecord, conversation, record, to_protobuf
from tests.support.mapping import map_export
from tests.support.otlp import START_NS, Span, event, export, span
from tests.support.otlp import to_protobuf as spans_to_protobuf

_TRANSFORM: Final = transform(load_conventions())
_NUMBERS: Final = count(1)
_DETAILS: Final = "gen_ai.client.inference.operation.details"
_COMPLETED: Final = ("input", "output", "tool_calls", "tool_definitions")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """One store for the file; tests tell their rows from others' by project."""
    with opened(tmp_path_factory.mktemp("completion") / "chdb") as exporter:
        yield exporter


def _project() -> str:
    """A project that no other test has."""
    return f"project {next(_NUMBERS)}"


def _spans(*spans: Span) -> bytes:
    return spans_to_protobuf(export(*spans))


def _chat(**attributes: Any) -> Span:
    """A model call whose content comes as log records."""
    said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **attributes}
    return span(said, trace_id="0102030405060708090a0b0c0d0e0f10", span_id="1112131415161718")


def _batches(project: str, body: bytes, *, received_at_ns: int = START_NS) -> list[Batch]:
    """The batches of one request; its signal is told by what it is made of."""
    signal: Stored = "logs" if body in _LOGS else "traces"
    batches, _ = _TRANSFORM([Request(body, "protobuf", project, received_at_ns, signal)])
    return batches


_LOGS: Final[set[bytes]] = set()


def _logs(*records: LogRecord) -> bytes:
    body = to_protobuf(records)
    _LOGS.add(body)
    return body


def _store(store: ChdbExporter, project: str, *bodies: bytes, **times: int) -> None:
    """Stores requests, each as a block of its own."""
    for body in bodies:
        for batch in _batches(project, body, **times):
            store.export(batch)


def _row(store: ChdbExporter, project: str) -> Row:
    (row,) = table_rows(arrow(store, f"SELECT * FROM observations WHERE project_id = '{project}'"))
    return row


def _trace(store: ChdbExporter, project: str) -> Row:
    (row,) = table_rows(arrow(store, f"SELECT * FROM traces WHERE project_id = '{project}'"))
    return row


def _expected(conversation_of: Sequence[LogRecord]) -> Row:
    """What the whole conversation makes of the call: the row when all comes in one request each."""
    events = [
        event(each.name, {**dict(each.attributes), **each.body}, time_ns=each.time_ns) for each in conversation_of
    ]
    (row,) = map_export(export(replace(_chat(), events=events))).observations
    return row


def test_one_request_each(store: ChdbExporter) -> None:
    """Messages in the order of their events, calls, and what else the records say, for observation and trace."""
    project = _project()
    _store(store, project, _spans(_chat()), _logs(*conversation()))
    row, trace = _row(store, project), _trace(store, project)
    expected = _expected(conversation())

    assert [part["role"] for part in json.loads(row["input"])] == ["system", "user", "assistant", "tool"]
    assert {name: row[name] for name in _COMPLETED} == {name: expected[name] for name in _COMPLETED}
    assert row["metadata"]["app.number"] == "0"
    assert (row["type"], row["model"], row["name"]) == ("GENERATION", "m", "span")
    assert (trace["input"], trace["output"]) == (row["input"], row["output"])


@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_order_split_and_number(store: ChdbExporter, data: st.DataObject) -> None:
    """However the records are split over requests, mixed with the span, repeated and ordered: one final record."""
    project = _project()
    records = conversation()
    numbers = st.lists(st.integers(0, len(records) - 1), min_size=1, max_size=len(records), unique=True)
    pieces = data.draw(st.lists(numbers, max_size=4))
    requests = [_logs(*(records[number] for number in sorted(piece))) for piece in pieces]
    requests += [_logs(each) for number, each in enumerate(records) if not any(number in piece for piece in pieces)]
    requests += [_spans(_chat())] * data.draw(st.integers(1, 2))
    _store(store, project, *data.draw(st.permutations(requests)))
    row, trace = _row(store, project), _trace(store, project)
    expected = _expected(records)

    assert {name: row[name] for name in _COMPLETED} == {name: expected[name] for name in _COMPLETED}
    assert row["metadata"] == {"app.number": "0"}
    assert (trace["input"], trace["output"]) == (expected["input"], expected["output"])


def test_what_the_span_says_stays(store: ChdbExporter) -> None:
    """Each half on its own: an input on the span beats the records', an output that it lacks is theirs."""
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "own"}]}])
    project = _project()
    _store(store, project, _logs(*conversation()), _spans(_chat(**{"gen_ai.input.messages": asked, "app.number": 9})))
    row, trace = _row(store, project), _trace(store, project)

    assert (row["input"], trace["input"]) == (asked, asked)
    assert json.loads(row["output"])[0]["parts"][0]["content"] == "Mild."
    assert row["metadata"]["app.number"] == "9"


def test_a_later_copy_of_the_span_is_completed_too(store: ChdbExporter) -> None:
    """A span that its client sends again later replaces the completed row, and is completed in its turn."""
    project = _project()
    _store(store, project, _spans(_chat()), _logs(*conversation()))
    before = _row(store, project)
    _store(store, project, _spans(_chat(late=1)), received_at_ns=START_NS + 10**9)
    row = _row(store, project)

    assert row["metadata"] == {**before["metadata"], "late": "1"}
    assert (row["input"], row["output"]) == (before["input"], before["output"])
    assert row["ingested_at"] > START_NS + 10**9


def test_what_was_stored_before_a_kill_is_completed_after(store: ChdbExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the insert and the completion: the buffer delivers the block again, which completes it."""
    project = _project()
    with monkeypatch.context() as dying:
        dying.setattr(ChdbExporter, "_complete", lambda *_: None)
        _store(store, project, _spans(_chat()), _logs(*conversation()))
    assert _row(store, project)["input"] == ""
    _store(store, project, _logs(*conversation()))

    assert json.loads(_row(store, project)["input"])[1]["parts"][0]["content"] == "Weather in Paris?"


def test_a_kill_between_the_two_statements(store: ChdbExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when the observation is completed and its trace is not yet: the next delivery completes the trace."""
    project = _project()
    with monkeypatch.context() as dying:
        dying.setattr(completion, "complete_traces", lambda *_: "SELECT 1")
        _store(store, project, _spans(_chat()), _logs(*conversation()))
    assert _trace(store, project)["input"] == ""
    _store(store, project, _spans(_chat()))

    assert _trace(store, project)["input"] == _row(store, project)["input"] != ""


def test_nothing_new_writes_nothing(store: ChdbExporter) -> None:
    """Deliveries that say nothing new leave the completed row alone."""
    project = _project()
    _store(store, project, _spans(_chat()), _logs(*conversation()))
    before = _row(store, project)
    _store(store, project, _logs(*conversation()), _spans(_chat()), _logs(*conversation()[:2]))

    assert _row(store, project) == before


def test_merging_changes_nothing(store: ChdbExporter) -> None:
    """When the engine has dropped the rows that were replaced, the next record still completes the span's own."""
    project = _project()
    _store(store, project, _spans(_chat()), _logs(*conversation()[1:]))
    for table in ("observation_rows", "content_rows", "trace_rows"):
        statement(store, f"OPTIMIZE TABLE {DATABASE}.{table} FINAL")
    _store(store, project, _logs(*conversation()[:1]))

    assert _row(store, project)["input"] == _expected(conversation())["input"]
    assert _trace(store, project)["input"] == _row(store, project)["input"]


def test_records_wait_for_their_span(store: ChdbExporter) -> None:
    """Records of a span that has not come are to be read in `contents`, each once, and show nowhere else."""
    project = _project()
    for _ in range(2):
        _store(store, project, _logs(*conversation()))

    assert value(store, f"SELECT count() FROM contents WHERE project_id = '{project}'") == 5
    assert value(store, f"SELECT count() FROM observations WHERE project_id = '{project}'") == 0
    assert value(store, f"SELECT count() FROM traces WHERE project_id = '{project}'") == 0


def test_a_plain_span_becomes_what_the_record_says(store: ChdbExporter) -> None:
    """A span that says nothing of a model takes type, model, usage and first token from the record of its call."""
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.response.time_to_first_chunk": 0.5,
        "user.id": "u-1",
    }
    project = _project()
    _store(store, project, _logs(record(_DETAILS, None, said)), _spans(span()))
    row = _row(store, project)

    assert (row["type"], row["model"], row["user_id"]) == ("GENERATION", "m-1", "u-1")
    assert (row["usage_details"], row["input_tokens"]) == ({"input": 7, "total": 7}, 7)
    assert row["completion_start_time"] == row["start_time"] + 500_000_000
    assert _trace(store, project)["user_id"] == "u-1"
    (usage,) = table_rows(arrow(store, f"SELECT * FROM model_usage WHERE project_id = '{project}'"))
    assert (usage["model"], usage["input_tokens"]) == ("m-1", 7)


def test_what_calls_are_counted_by_stays(store: ChdbExporter) -> None:
    """A model call keeps its own model and usage, also none: counts must not depend on what comes when."""
    project = _project()
    said = {"gen_ai.request.model": "other", "gen_ai.usage.input_tokens": 7}
    _store(store, project, _spans(_chat()), _logs(record(_DETAILS, None, said)))
    row = _row(store, project)

    assert (row["model"], row["usage_details"]) == ("m", {})
    (content,) = table_rows(arrow(store, f"SELECT * FROM contents WHERE project_id = '{project}'"))
    assert (content["model"], content["input_tokens"]) == ("other", 7)


def test_other_projects_are_not_touched(store: ChdbExporter) -> None:
    """Records complete spans of their own project only, whatever the project is called."""
    project, other = f"{_project()} 'quoted\\'", _project()
    _store(store, other, _spans(_chat()))
    for batch in [*_batches(project, _spans(_chat())), *_batches(project, _logs(*conversation()))]:
        store.export(batch)

    assert _row(store, other)["input"] == ""
    quoted = project.replace("\\", "\\\\").replace("'", "\\'")
    assert value(store, f"SELECT input != '' FROM observations WHERE project_id = '{quoted}'")


def test_too_much_is_left_alone(store: ChdbExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a span with more content than may be merged at once the records stay in `contents`; its neighbours do well."""
    monkeypatch.setattr(completion, "MOST_BYTES", 10_000)
    project = _project()
    neighbour = replace(_chat(), span_id="99" * 8)
    much = record("gen_ai.user.message", {"content": "x" * 20_000})
    _store(store, project, _spans(_chat(), neighbour), _logs(much, *conversation(span_id="99" * 8)))

    rows = table_rows(arrow(store, f"SELECT id, input FROM observations WHERE project_id = '{project}'"))
    assert {row["id"]: bool(row["input"]) for row in rows} == {_chat().span_id: False, "99" * 8: True}
    assert value(store, f"SELECT max(length(input)) FROM contents WHERE project_id = '{project}'") > 20_000


def test_a_record_of_a_thousand_attributes(store: ChdbExporter) -> None:
    """More entries than one observation takes stay in `contents`; the messages are merged."""
    project = _project()
    said = {f"key {number}": number for number in range(2_000)}
    _store(store, project, _spans(_chat()), _logs(record("gen_ai.user.message", {"content": "Hi"}, said)))
    row = _row(store, project)

    assert json.loads(row["input"])[0]["parts"][0]["content"] == "Hi"
    assert row["metadata"] == {}
    assert value(store, f"SELECT length(metadata) FROM contents WHERE project_id = '{project}'") == 2_000


def test_a_store_that_was_opened_again_knows_its_contents(store: ChdbExporter) -> None:
    """Records that were stored before a restart complete the span that comes after it."""
    project = _project()
    _store(store, project, _logs(*conversation()))
    store.close()
    store.open()
    _store(store, project, _spans(_chat()))

    assert _row(store, project)["output"] != ""


def test_found_by_what_records_say(store: ChdbExporter) -> None:
    """Conditions see the completed row only: a user of a record finds the span, and no user finds nothing any more."""
    project = _project()
    said = {"user.id": "of the record", "session.id": "s-1"}
    _store(store, project, _spans(_chat()), _logs(record(_DETAILS, None, said)))
    of_project = f"SELECT count() FROM observations WHERE project_id = '{project}'"

    assert value(store, f"{of_project} AND user_id = 'of the record' AND session_id = 's-1'") == 1
    assert value(store, f"{of_project} AND user_id = ''") == 0
    assert value(store, f"{of_project} AND session_id = ''") == 0
    assert value(store, f"SELECT session_id FROM traces WHERE project_id = '{project}'") == "s-1"


@given(st.lists(st.integers(0, 2 * completion.MOST_BYTES), max_size=20))
def test_portions_are_bounded(sizes: list[int]) -> None:
    """Each span that may be merged is in one portion, none is empty, and none has more bytes than a statement may."""
    wanted = [(("p", "t", str(number)), size_bytes) for number, size_bytes in enumerate(sizes)]
    found = list(completion.by_size(wanted))
    size_of = dict(wanted)

    assert [key for portion in found for key in portion] == [k for k, size in wanted if size <= completion.MOST_BYTES]
    assert all(portion and sum(map(size_of.__getitem__, portion)) <= completion.MOST_BYTES for portion in found)
