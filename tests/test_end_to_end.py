"""The real SDK over real sockets into the real store, and what senders and readers see of the running service."""

import gzip
import json
import uuid
from collections.abc import Iterator
from typing import Any, Final

import grpc
import pytest
import requests
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.accounting import problems
from tests.support.arrow_rows import Row
from tests.support.counters import growth, series
from tests.support.otlp import Export, Span, event, export, span, to_json, to_protobuf
from tests.support.otlp_reading import from_protobuf
from tests.support.senders import JSON, PROTOBUF, grpc_calls, post
from tests.support.service import Service

_QUESTION: Final = [{"role": "user", "parts": [{"type": "text", "content": "Weather in Paris? ☀️"}]}]
_ANSWER: Final = [{"role": "assistant", "parts": [{"type": "text", "content": "Twelve degrees.\n"}]}]
_EVERY_KIND: Final[dict[str, Any]] = {
    "app.text": 'Zürich ☀️ "quoted"\n',
    "app.empty": "",
    "app.flag": True,
    "app.whole": -(2**63),
    "app.real": 0.1,
    "app.nan": float("nan"),
    "app.bytes": b"\x00\x7f\xff",
    "app.texts": ["a", "", "ü"],
    "app.numbers": [1, 2, 2**40],
    "app.reals": [0.5, float("-inf")],
    "app.flags": [True, False],
    "app.nothing": [],
}


def _agent_run() -> tuple[ReadableSpan, ...]:
    """An agent that asks a model, runs a tool that fails, and links to an earlier run; ended spans in their order."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "weather bot", "deployment.environment.name": "test"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("tests.agent", "1.2.3")
    with tracer.start_as_current_span("before") as before:
        pass
    with tracer.start_as_current_span(
        "invoke_agent weather",
        attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather", "session.id": "s-1"},
        links=[trace.Link(before.get_span_context(), {"why": "earlier"})],
    ):
        with tracer.start_as_current_span("chat gpt-5", kind=trace.SpanKind.CLIENT) as chat:
            chat.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.request.model": "gpt-5",
                    "gen_ai.request.temperature": 0.5,
                    "gen_ai.usage.input_tokens": 11,
                    "gen_ai.usage.output_tokens": 4,
                    "gen_ai.response.finish_reasons": ["stop"],
                    "gen_ai.input.messages": json.dumps(_QUESTION),
                    "gen_ai.output.messages": json.dumps(_ANSWER),
                    **_EVERY_KIND,
                }
            )
            chat.add_event("first token", {"n": 1})
        with tracer.start_as_current_span("lookup", record_exception=False) as tool:
            tool.set_attributes({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup_city"})
            tool.record_exception(ValueError("no such city"))
            tool.set_status(trace.Status(trace.StatusCode.ERROR))
    provider.shutdown()
    return memory.get_finished_spans()


class _JsonExporter(SpanExporter):
    """OTLP/JSON, which Python exporters do in a preview only, that needs an SDK of another version."""

    def __init__(self, service: Service, *, is_compressed: bool) -> None:
        self._service = service
        self._is_compressed = is_compressed

    def export(self, spans: Any) -> Any:
        body = to_json(from_protobuf(encode_spans(spans).SerializeToString()))
        encoding = "gzip" if self._is_compressed else ""
        answer = post(self._service, gzip.compress(body) if encoding else body, content_type=JSON, encoding=encoding)
        return SpanExportResult.SUCCESS if (answer.status_code, answer.content) == (200, b"{}") else answer


def _exporter(service: Service, encoding: str, compression: str) -> SpanExporter:
    match encoding:
        case "gRPC":
            return GrpcExporter(service.url("grpc"), insecure=True, compression=_GRPC_COMPRESSIONS[compression])
        case "protobuf":
            return HttpExporter(f"{service.url('http')}/v1/traces", compression=Compression(compression))
    return _JsonExporter(service, is_compressed=compression == "gzip")


_GRPC_COMPRESSIONS: Final = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
_EXPORTERS: Final = [
    *(("gRPC", compression) for compression in _GRPC_COMPRESSIONS),
    *(("protobuf", compression.value) for compression in Compression),
    ("JSON", "none"),
    ("JSON", "gzip"),
]


@pytest.mark.parametrize(("encoding", "compression"), _EXPORTERS)
def test_what_the_sdk_sends_is_what_the_store_holds(running: Service, encoding: str, compression: str) -> None:
    """Spans of the real SDK, over each exporter: success is reported and counted, every field is in the store."""
    spans = _agent_run()
    exporter = _exporter(running, encoding, compression)
    with growth(running) as counted:
        assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    labels = {"receiver": "otlp", "transport": "grpc" if encoding == "gRPC" else "http"}
    assert counted[series("otelcol_receiver_accepted_spans", **labels)] == len(spans)
    assert counted[series("otelcol_receiver_requests", **labels, signal="traces", outcome="ok")] == 1
    sent = from_protobuf(encode_spans(spans).SerializeToString())
    rows = _stored(running, *(each.trace_id for resource in sent for scope in resource.scopes for each in scope.spans))
    _assert_whole(rows, sent)
    by_type = {row["type"]: row for row in rows}
    assert sorted(by_type) == ["AGENT", "GENERATION", "SPAN", "TOOL"]
    chat = by_type["GENERATION"]
    assert (json.loads(chat["input"]), json.loads(chat["output"])) == (_QUESTION, _ANSWER)
    assert chat["usage_details"] == {"input": 11, "output": 4, "total": 15}
    assert (chat["service_name"], chat["environment"]) == ("weather bot", "test")
    tool = by_type["TOOL"]
    assert (tool["name"], tool["level"], tool["status_message"]) == ("lookup_city", "ERROR", "no such city")
    agent = by_type["AGENT"]
    (record,) = running.sql(f"SELECT * FROM traces WHERE id = '{agent['trace_id']}'")
    assert (record["name"], record["session_id"]) == ("weather", "s-1")
    assert json.loads(record["input"]) == _QUESTION
    assert (record["timestamp"], record["end_time"]) == (agent["start_time"], agent["end_time"])


def _stored(service: Service, *trace_ids: str) -> list[Row]:
    """All rows of traces, once there is one for each, and their records."""
    distinct = ", ".join(f"'{trace_id}'" for trace_id in sorted(set(trace_ids)))
    condition = f"trace_id IN ({distinct})"
    service.wait_for_rows(condition, len(trace_ids))
    service.wait_for_rows(f"id IN ({distinct})", len(set(trace_ids)), "traces")  # inserted after the observations
    return service.sql(f"SELECT * FROM observations WHERE {condition} ORDER BY start_time, id")


def _assert_whole(rows: list[Row], sent: Export) -> None:
    by_id = {(row["trace_id"], row["id"]): row for row in rows}
    spans = [(each, scope, resource) for resource in sent for scope in resource.scopes for each in scope.spans]
    assert len(rows) == len(by_id) == len(spans)
    for each, scope, resource in spans:
        assert problems(by_id[each.trace_id, each.span_id], each, scope, resource) == []


def _fresh(**fields: Any) -> Span:
    """A span of a trace of its own."""
    return span(trace_id=uuid.uuid4().hex, **fields)


@pytest.mark.parametrize("path", ["/v1/traces", "/api/public/otel/v1/traces", "/api/public/otel", "/otel/v1/traces"])
@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_every_path_and_encoding(running: Service, path: str, encoding: str, content_type: str) -> None:
    """All served paths take protobuf and JSON, plain and compressed, and answer full success with an empty message."""
    sent = export(_fresh(attributes={"app.path": path}), resource={"service.name": "paths"})
    body = to_json(sent) if content_type == JSON else to_protobuf(sent)
    answer = post(
        running,
        gzip.compress(body) if encoding else body,
        path=path,
        content_type=content_type,
        encoding=encoding,
    )
    assert (answer.status_code, answer.content) == (200, b"{}" if content_type == JSON else b"")
    assert answer.headers["Content-Type"] == content_type
    trace_id = sent[0].scopes[0].spans[0].trace_id
    _assert_whole(_stored(running, trace_id), sent)


@pytest.fixture
def log_errors(running: Service) -> Iterator[None]:
    """Fails a test after which the service's log has more errors than before."""
    before = _errors(running)
    yield
    assert _errors(running) == before


def _errors(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.log_lines() if line.get("level") in ("error", "critical")]


@pytest.mark.usefixtures("log_errors")
@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "message"),
    [
        (b"\xff\xff\xff", PROTOBUF, "", "the body is not an ExportTraceServiceRequest in protobuf"),
        (to_protobuf(export(span()))[:-3], PROTOBUF, "", "the body is not an ExportTraceServiceRequest in protobuf"),
        (b'{"resourceSpans":[', JSON, "", "the body is not JSON"),
        (b'{"resourceSpans":[{"scopeSpans":7}]}', JSON, "", "resourceSpans[0].scopeSpans: expected an array"),
        (b"no gzip", PROTOBUF, "gzip", "gzip"),
        (gzip.compress(to_protobuf(export(span())))[:-9], PROTOBUF, "gzip", "gzip"),
    ],
)
def test_a_corrupt_body_is_refused_in_one_clear_line(
    running: Service, body: bytes, content_type: str, encoding: str, message: str
) -> None:
    """400 with what is wrong, in the sender's encoding; the service's log shows no error."""
    answer = post(running, body, content_type=content_type, encoding=encoding)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, content_type)
    status = Status.FromString(answer.content) if content_type == PROTOBUF else json_format.Parse(answer.text, Status())
    assert message in status.message
    assert "\n" not in status.message


@pytest.mark.usefixtures("log_errors")
def test_a_corrupt_body_over_grpc(running: Service) -> None:
    """INVALID_ARGUMENT: clients drop it."""
    with grpc_calls(running) as call, pytest.raises(grpc.RpcError) as raised:
        call(b"\xff\xff\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "the body is not an ExportTraceServiceRequest" in raised.value.details()


@pytest.mark.parametrize("transport", ["gRPC", "HTTP"])
def test_one_bad_span_never_costs_its_neighbours(running: Service, transport: str) -> None:
    """A span with a short id is rejected by name, the other one of the request is stored."""
    good = _fresh(name="neighbour")
    body = to_protobuf(export(Span(trace_id="01" * 15, span_id="02" * 8), good))
    if transport == "gRPC":
        with grpc_calls(running) as call:
            answer = call(body)
    else:
        answer = post(running, body).content
    partial = ExportTraceServiceResponse.FromString(answer).partial_success
    assert partial.rejected_spans == 1
    assert partial.error_message == "resourceSpans[0].scopeSpans[0].spans[0].traceId: 15 bytes, expected 16"
    assert [row["name"] for row in _stored(running, good.trace_id)] == ["neighbour"]


@pytest.mark.usefixtures("log_errors")
def test_hostile_spans_are_stored(running: Service) -> None:
    """NUL, cut emojis, extreme numbers and times, and JSON nested deeper than it can be written: stored, queryable."""
    deep = '[{"role":"user","content":' + "[" * 500 + "]" * 500 + "}]"
    sent = _fresh(
        name="nul \x00 \x1b[31m",
        start_ns=0,
        end_ns=2**63 - 1,
        attributes={
            "key \x00": "value \x00",
            "gen_ai.input.messages": deep,
            "gen_ai.usage.input_tokens": 2**63 - 1,
            "nan": float("nan"),
            "": {"": [None, {}]},
            "bytes": bytes(range(256)),
        },
    )
    answer = post(running, to_protobuf(export(sent)).replace(b"[31m", b"\xed\xa0\xbdm"))
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = _stored(running, sent.trace_id)
    assert row["name"] == "nul \x00 \x1b\ufffd\ufffd\ufffdm"
    assert (row["start_time"], row["end_time"]) == (0, 2**63 - 1)
    assert row["input"] == deep
    assert row["metadata"]["key \x00"] == "value \x00"
    assert row["metadata"]["gen_ai.usage.input_tokens"] == str(2**63 - 1)


def test_an_empty_request_is_a_full_success(running: Service) -> None:
    """Nothing in, an empty answer out."""
    assert (post(running, b"").status_code, post(running, b"").content) == (200, b"")
    assert post(running, b"{}", content_type=JSON).content == b"{}"


def test_a_span_sent_again_replaces_itself(running: Service) -> None:
    """Redelivery, in one request or in many: a plain SELECT shows one row."""
    sent = _fresh(name="again")
    last = _fresh(name="after")
    for _ in range(3):
        assert post(running, to_protobuf(export(sent, sent))).ok
    assert post(running, to_protobuf(export(last))).ok
    _stored(running, last.trace_id)  # what was sent before it is stored too
    assert running.value(f"SELECT count() FROM observations WHERE trace_id = '{sent.trace_id}'") == 1
    assert running.value(f"SELECT count() FROM traces WHERE id = '{sent.trace_id}'") == 1


def test_an_evaluation_is_a_score(running: Service) -> None:
    """A gen_ai.evaluation.result event is a row of `scores`, once, however often it is sent."""
    result = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.25}
    sent = _fresh(events=[event("gen_ai.evaluation.result", result)])
    for _ in range(2):
        assert post(running, to_protobuf(export(sent))).ok
    running.wait_for_rows(f"trace_id = '{sent.trace_id}'", 1, "scores")
    last = _fresh()
    assert post(running, to_protobuf(export(last))).ok
    _stored(running, last.trace_id)
    (score,) = running.sql(f"SELECT name, value, observation_id FROM scores WHERE trace_id = '{sent.trace_id}'")
    assert score == {"name": "relevance", "value": 0.25, "observation_id": sent.span_id}


def test_a_trace_that_arrives_in_pieces(running: Service) -> None:
    """Children first, the root last and in a request of its own, some twice: the root's values win."""
    trace_id = uuid.uuid4().hex
    child = span(
        {"user.id": "of child"}, trace_id=trace_id, span_id="02" * 8, parent_id="01" * 8, start_ns=10, name="c"
    )
    root = span({"user.id": "of root"}, trace_id=trace_id, span_id="01" * 8, start_ns=20, end_ns=30, name="root")
    for piece in ([child], [child], [root], [child]):
        assert post(running, to_protobuf(export(*piece))).ok
    _stored(running, trace_id, trace_id)
    (record,) = running.sql(f"SELECT name, user_id, timestamp FROM traces WHERE id = '{trace_id}'")
    assert record == {"name": "root", "user_id": "of root", "timestamp": 10}


def test_health_and_metrics_tell_the_truth(running: Service) -> None:
    """Ready is 200 and live is 200; the counters of accepted and sent spans count what was sent."""
    assert requests.get(running.url("health") + "/live", timeout=10).ok
    assert running.is_ready()
    sent = [_fresh() for _ in range(7)]
    with growth(running) as counted:
        assert post(running, to_protobuf(export(*sent))).ok
        _stored(running, *(each.trace_id for each in sent))
    assert counted[series("otelcol_receiver_accepted_spans", receiver="otlp", transport="http")] == 7
    assert counted[series("otelcol_exporter_sent_spans", exporter="chdb")] >= 7
