"""Log records of real SDKs over real sockets into the real store, and what senders are told."""

import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from google.protobuf import json_format
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support.counters import growth, series
from tests.support.log_requests import conversation, record, to_json, to_protobuf
from tests.support.otlp import export, span
from tests.support.otlp import to_protobuf as spans_to_protobuf
from tests.support.senders import JSON, PROTOBUF, grpc_calls, post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_PATH: Final = "/v1/logs"


def _chat(trace_id: str) -> bytes:
    said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    return spans_to_protobuf(export(span(said, trace_id=trace_id, span_id="1112131415161718")))


def _completed(made: Service, trace_id: str) -> dict[str, Any]:
    """The observation of a trace of one, once its output is there."""
    made.wait_for_rows(f"trace_id = '{trace_id}' AND output != ''", 1)
    (row,) = made.sql(f"SELECT * FROM observations WHERE trace_id = '{trace_id}'")
    return row


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_sdk_s_log_exporters(running: Service, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """Events that the real SDK emits inside a span complete it; no exporter reports a problem."""
    traces, logs = TracerProvider(), LoggerProvider()
    if transport == "grpc":
        span_exporter: Any = GrpcSpanExporter(running.url("grpc"), insecure=True)
        log_exporter: Any = GrpcLogExporter(running.url("grpc"), insecure=True)
    else:
        span_exporter = HttpSpanExporter(f"{running.url('http')}/v1/traces")
        log_exporter = HttpLogExporter(f"{running.url('http')}{_PATH}")
    traces.add_span_processor(SimpleSpanProcessor(span_exporter))
    logs.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
    logger = logs.get_logger("tests")
    with (
        caplog.at_level(logging.WARNING),
        traces.get_tracer("tests").start_as_current_span("chat", attributes={"gen_ai.request.model": "m"}) as chat,
    ):
        logger.emit(LogRecord(event_name="gen_ai.user.message", body={"content": "Hi ☀️"}))
        choice: Any = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
        logger.emit(LogRecord(event_name="gen_ai.choice", body=choice, severity_number=SeverityNumber.INFO))
    traces.shutdown()
    logs.shutdown()
    row = _completed(running, f"{chat.get_span_context().trace_id:032x}")

    assert json.loads(row["input"]) == [{"role": "user", "parts": [{"type": "text", "content": "Hi ☀️"}]}]
    assert json.loads(row["output"])[0]["parts"] == [{"type": "text", "content": "Hello"}]
    assert [each.message for each in caplog.records] == []


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("spans_first", [True, False])
def test_in_either_order(running: Service, transport: str, *, spans_first: bool) -> None:
    """Events are a full success, over both transports, before or after their span; twice is as good as once."""
    trace_id = uuid.uuid4().hex
    body = to_protobuf(conversation(trace_id))
    if spans_first:
        assert post(running, _chat(trace_id)).ok
    with growth(running) as counted:
        for _ in range(2):
            if transport == "grpc":
                with grpc_calls(running, "logs") as call:
                    assert call(body) == b""
            else:
                answer = post(running, body, path=_PATH)
                assert (answer.status_code, answer.content) == (200, b"")
    if not spans_first:
        assert post(running, _chat(trace_id)).ok
    row = _completed(running, trace_id)

    assert [part["role"] for part in json.loads(row["input"])] == ["system", "user", "assistant", "tool"]
    labels = {"receiver": "otlp", "transport": transport}
    assert counted[series("otelcol_receiver_accepted_log_records", **labels)] == 10
    assert counted.get(series("otelcol_receiver_refused_log_records", **labels), 0) == 0
    assert counted[series("otelcol_receiver_requests", **labels, signal="logs", outcome="ok")] == 2


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize("events", [0, 5])
def test_application_lines_are_a_partial_success(running: Service, content_type: str, events: int) -> None:
    """Lines are counted and refused in words; the events beside them are stored."""
    trace_id = uuid.uuid4().hex
    sent = [record("", "tool called"), *conversation(trace_id)[:events], record("app.done")]
    body = to_json(sent) if content_type == JSON else to_protobuf(sent)
    with growth(running) as counted:
        answer = post(running, body, path=_PATH, content_type=content_type)
    response = ExportLogsServiceResponse()
    if content_type == JSON:
        json_format.Parse(answer.text, response)
    else:
        response.ParseFromString(answer.content)

    assert answer.status_code == 200
    assert response.partial_success.rejected_log_records == 2
    assert "2 log records were not stored" in response.partial_success.error_message
    labels = {"receiver": "otlp", "transport": "http"}
    assert counted[series("otelcol_receiver_refused_log_records", **labels)] == 2
    assert counted.get(series("otelcol_receiver_accepted_log_records", **labels), 0) == events
    if events:
        running.wait_for_rows(f"trace_id = '{trace_id}'", events, "contents")


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"\xff gen_ai.", PROTOBUF), (b'{"resourceLogs": "gen_ai."}', JSON)]
)
def test_bad_bytes(running: Service, body: bytes, content_type: str) -> None:
    """A body that is no request is the sender's fault: 400, with what was wrong."""
    answer = post(running, body, path=_PATH, content_type=content_type)

    assert answer.status_code == 400
    assert b"resourceLogs" in answer.content or b"ExportLogsServiceRequest" in answer.content


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service of the test's own, not started."""
    with service() as made:
        yield made


def test_kill_between_spans_and_records(fresh: Service) -> None:
    """`kill -9` of the export process between spans and their records, and of all of it after: nothing is missing."""
    fresh.start()
    trace_ids = [uuid.uuid4().hex for _ in range(20)]
    for number, trace_id in enumerate(trace_ids):
        first, then = _chat(trace_id), to_protobuf(conversation(trace_id))
        bodies = [(first, "/v1/traces"), (then, _PATH)]
        for body, path in bodies if number % 2 else reversed(bodies):
            assert post(fresh, body, path=path).ok
            if number in (5, 11):
                wait_until(lambda: fresh.child("export"), 60)
                victim = fresh.child("export")
                assert victim is not None
                victim.kill()
    fresh.process.kill()
    fresh.process.wait()
    fresh.start()
    rows = [_completed(fresh, trace_id) for trace_id in trace_ids]

    assert len({row["input"] for row in rows}) == len({row["output"] for row in rows}) == 1
    assert fresh.value("SELECT count() FROM observations") == len(trace_ids)
    assert fresh.value("SELECT count() FROM contents") == 5 * len(trace_ids)
    traces = fresh.sql("SELECT input, output FROM traces")
    assert {(row["input"], row["output"]) for row in traces} == {(rows[0]["input"], rows[0]["output"])}
    assert fresh.stop() == 0, fresh.log()
