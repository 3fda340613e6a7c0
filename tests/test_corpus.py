"""What real instrumentations sent: every recorded request is accepted, and every span of it is in the store, whole.

The recordings are read by `tests.support.otlp_reading`, which shares nothing with the code under test.
"""

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from pipelines.ingest import Accepted
from tests.support.accounting import problems, unaccounted
from tests.support.arrow_rows import Row
from tests.support.corpus import Recording, recordings
from tests.support.log_reading import RecordedEvent, recorded_events, recorded_lines
from tests.support.otlp import Resource, Scope, Span
from tests.support.senders import Call, grpc_calls, post
from tests.support.service import Service
from tests.support.span_tables import decoded, kind_and_text, plain_export, plain_table

_RECORDINGS: Final = recordings()
# LangWatch's path of its own is not served; its clients can be pointed at the standard one.
_PATHS: Final = {"/api/otel/v1/traces": "/v1/traces"}
_RESPONSES: Final = {
    "traces": ExportTraceServiceResponse,
    "logs": ExportLogsServiceResponse,
    "metrics": ExportMetricsServiceResponse,
}
Key = tuple[str, str]


@pytest.fixture(scope="module")
def answers(running: Service) -> dict[str, tuple[int, bytes]]:
    """Every recording sent as it was recorded: status (200 for OK over gRPC) and body of the answer, by file."""
    with ExitStack() as closing:
        calls = {signal: closing.enter_context(grpc_calls(running, signal)) for signal in _RESPONSES}
        with ThreadPoolExecutor(8) as pool:
            return dict(pool.map(partial(_send, running, calls), _RECORDINGS))


def _send(service: Service, calls: dict[str, Call], recording: Recording) -> tuple[str, tuple[int, bytes]]:
    if recording.transport == "grpc":
        return recording.file, (200, calls[recording.signal](recording.body()))
    answer = post(
        service,
        recording.body(),
        path=_PATHS.get(recording.path, recording.path),
        content_type=recording.content_type,
        encoding=recording.content_encoding,
    )
    return recording.file, (answer.status_code, answer.content)


@pytest.fixture(scope="module")
def stored(running: Service, answers: dict[str, tuple[int, bytes]]) -> dict[Key, Row]:
    """Every row of the store that has a recorded trace id."""
    sent = list(_sent_spans())
    assert len(answers) == len(_RECORDINGS)
    trace_ids = {span.trace_id for *_, span in sent}
    distinct = ", ".join(f"'{trace_id}'" for trace_id in sorted(trace_ids))
    condition = f"trace_id IN ({distinct})"
    running.wait_for_rows(condition, len(sent))
    running.wait_for_rows(f"id IN ({distinct})", len(trace_ids), "traces")  # inserted after the observations
    rows = running.sql(f"SELECT * FROM observations WHERE {condition}")
    assert len(rows) == len(sent)
    return {(row["trace_id"], row["id"]): row for row in rows}


def _sent_spans() -> Iterator[tuple[str, Resource, Scope, Span]]:
    for recording in _RECORDINGS:
        if recording.signal == "traces":
            for resource in recording.export():
                for scope in resource.scopes:
                    yield from ((recording.file, resource, scope, span) for span in scope.spans)


def test_the_recordings_are_all_there() -> None:
    """The corpus has not lost anything: requests of all signals, transports and encodings, and ids that are unique."""
    sent = list(_sent_spans())
    assert len(sent) == sum(recording.spans for recording in _RECORDINGS) > 3_000
    assert len({(span.trace_id, span.span_id) for *_, span in sent}) == len(sent)
    kinds = {(each.signal, each.transport, each.content_type, each.content_encoding) for each in _RECORDINGS}
    assert len(kinds) == 12


@pytest.mark.parametrize(
    "recording", [each for each in _RECORDINGS if each.signal == "traces"], ids=lambda each: each.file
)
def test_a_recording_is_decoded_as_it_reads(recording: Recording) -> None:
    """The decoder and the independent reading agree on every field and on the type of every attribute."""
    body = gzip.decompress(recording.body()) if recording.content_encoding else recording.body()
    table, outcome = decoded(body, "json" if recording.content_type == "application/json" else "protobuf")
    assert outcome == Accepted(recording.spans)
    assert _comparable(plain_table(table)) == _comparable(plain_export(recording.export()))


def _comparable(rows: Any) -> Any:
    """Without what the independent reading leaves out."""
    if isinstance(rows, list):
        return [_comparable(row) for row in rows]
    if isinstance(rows, dict):
        inner = "resource" not in rows
        return {
            name: _comparable(value)
            for name, value in rows.items()
            if name != "schema_url" and not (inner and (name.startswith("dropped") or name == "flags"))
        }
    return rows


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_every_request_is_accepted(signal: str, answers: dict[str, tuple[int, bytes]]) -> None:
    """Each recorded request is answered OK; no span of any of them is rejected."""
    refused = []
    for recording in _RECORDINGS:
        status, body = answers[recording.file]
        if recording.signal == signal and (status != 200 or (signal == "traces" and body not in (b"", b"{}"))):
            refused.append((recording.file, status, body[:200]))
    assert refused == []


def test_every_span_is_stored_whole(stored: dict[Key, Row]) -> None:
    """Ids, parent, name, nanoseconds, status, attributes, resource, scope, events and links of every span are there."""
    wrong: list[str] = []
    for file, resource, scope, span in _sent_spans():
        row = stored.get((span.trace_id, span.span_id))
        found = ["not stored"] if row is None else problems(row, span, scope, resource)
        wrong.extend(f"{file} {span.name}: {problem}" for problem in found)
    assert wrong == []


def test_every_trace_has_its_record(running: Service, stored: dict[Key, Row]) -> None:
    """Each recorded trace is one row, from its first start to its last end."""
    spans: dict[str, list[Row]] = {}
    for row in stored.values():
        spans.setdefault(row["trace_id"], []).append(row)
    rows = {row["id"]: row for row in running.sql("SELECT id, timestamp, end_time FROM traces") if row["id"] in spans}
    assert {trace_id: (row["timestamp"], row["end_time"]) for trace_id, row in rows.items()} == {
        trace_id: (min(row["start_time"] for row in each), max(row["end_time"] for row in each))
        for trace_id, each in spans.items()
    }


def test_log_records_that_are_no_events_are_counted(answers: dict[str, tuple[int, bytes]]) -> None:
    """Each logs request is told how many of its records were lines of an application, and nothing else is refused."""
    for recording in _RECORDINGS:
        if recording.signal == "logs":
            response = ExportLogsServiceResponse()
            _, body = answers[recording.file]
            if recording.encoding == "json":
                json_format.Parse(body, response)
            else:
                response.ParseFromString(body)
            assert response.partial_success.rejected_log_records == recorded_lines(recording), recording.file


def test_every_event_is_stored_whole(running: Service, answers: dict[str, tuple[int, bytes]]) -> None:
    """Each GenAI log record of a span is a row of `contents` that says all that was sent."""
    assert answers
    events = [
        (each.file, event)
        for each in _RECORDINGS
        if each.signal == "logs"
        for event in recorded_events(each)
        if event.span_id
    ]
    distinct = ", ".join(f"'{trace_id}'" for trace_id in sorted({event.trace_id for _, event in events}))
    running.wait_for_rows(f"trace_id IN ({distinct})", len(events), "contents")
    rows = running.sql(
        f"SELECT * FROM contents WHERE trace_id IN ({distinct}) ORDER BY timestamp, observed_at, position"
    )
    assert len(rows) == len(events) > 200
    wrong = [f"{file} {event.name}: {lost}" for file, event in events if (lost := _lost(event, rows))]
    assert wrong == []


def _lost(event: RecordedEvent, rows: list[Row]) -> list[tuple[str, str]]:
    """What of an event is in no row of its span and name and time; the least, where there are several."""
    sent = [(key, *kind_and_text(value)) for key, value in (*event.attributes.items(), *event.body.items())]
    own = (event.trace_id, event.span_id, event.name, event.time_ns)
    found = [
        unaccounted(_as_span(row), sent)
        for row in rows
        if (row["trace_id"], row["observation_id"], row["name"], row["timestamp"]) == own
    ]
    return min(found, key=len, default=[("record", event.name)])


def _as_span(row: Row) -> Row:
    """With the columns that the accounting of spans looks into."""
    return {
        **row,
        "metadata": {**row["metadata"], **row["body"]},
        "status_message": row["severity"],
        "start_time": 0,
        "completion_start_time": row["first_token_wait_ns"],
    }
