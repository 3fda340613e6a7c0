"""OTLP/HTTP on real sockets, with clients that share nothing with the server: raw bytes, aiohttp, the OTel SDK."""

import asyncio
import gzip
import io
import json
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from structlog.testing import capture_logs

from config.models import HttpServerSettings
from otlp_receiver import service
from otlp_receiver.admission import LEAST_LEASE_BYTES, Admission
from otlp_receiver.http_server import HttpServer
from otlp_receiver.service import Service
from pipelines.errors import BufferFull, Permanent, Retryable
from pipelines.ingest import Accepted, BadRequest
from pipelines.metrics import ACCEPTED_SPANS, PARTIAL_SUCCESSES, PROJECT_BYTES, REFUSED_SPANS
from tests.support.otlp import export, span, to_json, to_protobuf
from tests.support.receivers import MIB, RememberingIntake, http_server, on_uvloop, requests_counted, until
from tests.test_other_signals import logs_request, metrics_request

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
BODY: Final = to_protobuf(export(span(), span()))


@asynccontextmanager
async def post(server: HttpServer, body: Any, path: str = "/v1/traces", **headers: str) -> AsyncIterator[Any]:
    """The response to a POST by aiohttp's client; header names with underscores for dashes."""
    named = {"Content-Type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
    data = io.BytesIO(body) if isinstance(body, bytes) else body  # aiohttp warns of large bytes
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(f"http://{server.endpoints[0]}{path}", data=data, headers=named) as response,
    ):
        yield response


class RawClient:
    """A connection on which a test writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split(" ")[1]), headers, body


@asynccontextmanager
async def raw(server: HttpServer) -> AsyncIterator[RawClient]:
    """A raw connection, closed at the end."""
    host, port = server.endpoints[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


def head(length_bytes: int | None, *lines: str, path: str = "/v1/traces") -> bytes:
    """A request's head; chunked when there is no length."""
    framing = "Transfer-Encoding: chunked" if length_bytes is None else f"Content-Length: {length_bytes}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {PROTOBUF}", framing, *lines, "", ""]).encode()


def status_in(body: bytes, content_type: str) -> Status:
    """The google.rpc.Status of an error body."""
    return Status.FromString(body) if content_type == PROTOBUF else json_format.Parse(body, Status())


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/traces",
        "/v1/traces?tenant=1",
        "/api/public/otel/v1/traces",
        "/api/public/otel",
        "/otel/v1/traces",
        "/api/otel/v1/traces",
    ],
)
@on_uvloop
async def test_paths_of_traces(path: str) -> None:
    """Every path that some client uses for traces takes them; a query does not matter."""
    intake = RememberingIntake()
    async with http_server(intake) as server, post(server, BODY, path) as response:
        assert (response.status, await response.read()) == (200, b"")

    assert [request.body for request in intake.consumed] == [BODY]


@on_uvloop
async def test_request_as_the_intake_sees_it() -> None:
    """Body, encoding, project and time of receipt are right in both encodings, and the reply has the request's type."""
    intake = RememberingIntake()
    text = to_json(export(span()))
    started_ns = time.time_ns()
    async with http_server(intake) as server:
        async with post(server, BODY) as response:
            assert (await response.read(), response.content_type) == (b"", PROTOBUF)
        async with post(server, text, Content_Type=JSON) as response:
            assert (await response.read(), response.content_type) == (b"{}", JSON)

    binary, json_request = intake.consumed
    assert (binary.body, binary.encoding, binary.project_id) == (BODY, "protobuf", "default")
    assert (json_request.body, json_request.encoding, json_request.project_id) == (text, "json", "default")
    assert started_ns <= binary.received_at_ns <= json_request.received_at_ns <= time.time_ns()


@pytest.mark.parametrize(
    "content_type",
    [PROTOBUF, "APPLICATION/X-PROTOBUF", "application/x-protobuf; charset=utf-8", "application/x-protobuf;v=1", JSON],
)
@on_uvloop
async def test_content_type_spellings(content_type: str) -> None:
    """Case and parameters of the content type do not matter."""
    async with http_server(RememberingIntake()) as server, post(server, BODY, Content_Type=content_type) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("identity", BODY),
        ("", BODY),
        ("gzip", gzip.compress(BODY)),
        ("GZip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:7]) + gzip.compress(BODY[7:])),
        ("deflate", zlib.compress(BODY)),
    ],
)
@on_uvloop
async def test_content_encodings(coding: str, body: bytes) -> None:
    """Compressed bodies arrive decompressed, whether they come with a length or in chunks."""
    intake = RememberingIntake()

    async def chunks() -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    async with http_server(intake) as server:
        for sent in (body, chunks()):
            async with post(server, sent, Content_Encoding=coding) as response:
                assert response.status == 200

    assert [request.body for request in intake.consumed] == [BODY, BODY]


@on_uvloop
async def test_large_body() -> None:
    """A body just within the limit arrives whole."""
    intake = RememberingIntake()
    body = bytes(range(256)) * (4 * MIB // 256)
    async with http_server(intake, max_mib=4) as server:
        async with post(server, body) as response:
            assert response.status == 200
        async with post(server, gzip.compress(body, 1), Content_Encoding="gzip") as response:
            assert response.status == 200

    assert [request.body for request in intake.consumed] == [body, body]


@on_uvloop
async def test_expect_continue() -> None:
    """A sender that waits for permission gets it before its body, and no permission when it will be refused."""
    intake = RememberingIntake()
    async with http_server(intake, max_mib=1) as server:
        async with raw(server) as client:
            await client.send(head(len(BODY), "Expect: 100-continue"))
            assert (await client.response())[0] == 100
            await client.send(BODY)
            assert (await client.response())[0] == 200
        async with raw(server) as client:
            await client.send(head(2 * MIB, "Expect: 100-continue"))
            assert (await client.response())[0] == 413

    assert [request.body for request in intake.consumed] == [BODY]


@on_uvloop
async def test_pipelined_requests() -> None:
    """Requests sent without waiting for replies are answered one by one."""
    intake = RememberingIntake()
    async with http_server(intake) as server, raw(server) as client:
        await client.send((head(len(BODY)) + BODY) * 20)
        statuses = [(await client.response())[0] for _ in range(20)]

    assert statuses == [200] * 20
    assert len(intake.consumed) == 20


@on_uvloop
async def test_http_upgrade_is_not_taken_up() -> None:
    """A client that offers HTTP/2 (curl --http2) is answered in HTTP/1.1, its body taken."""
    intake = RememberingIntake()
    async with http_server(intake) as server, raw(server) as client:
        await client.send(head(len(BODY), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: ") + BODY)
        assert (await client.response())[0] == 200

    assert [request.body for request in intake.consumed] == [BODY]


@on_uvloop
async def test_partial_success() -> None:
    """Rejected spans are told in the request's encoding, with status 200, and counted."""
    intake = RememberingIntake(answer=Accepted(1, 2, "spans[0].traceId: 15 bytes"))
    partial = PARTIAL_SUCCESSES.labels("otlp", "http")._value.get()
    refused = REFUSED_SPANS.labels("otlp", "http")._value.get()
    async with http_server(intake) as server:
        async with post(server, BODY) as response:
            binary = ExportTraceServiceResponse.FromString(await response.read())
        async with post(server, b"{}", Content_Type=JSON) as response:
            text = json.loads(await response.read())

    assert (binary.partial_success.rejected_spans, response.status) == (2, 200)
    assert text == {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "spans[0].traceId: 15 bytes"}}
    assert PARTIAL_SUCCESSES.labels("otlp", "http")._value.get() == partial + 2
    assert REFUSED_SPANS.labels("otlp", "http")._value.get() == refused + 4


@on_uvloop
async def test_counters_of_success() -> None:
    """Spans, requests and bytes are counted by transport and project."""
    spans, size = ACCEPTED_SPANS.labels("otlp", "http")._value, PROJECT_BYTES.labels("default")._value
    before = spans.get(), size.get(), requests_counted("http", "traces", "ok")
    async with http_server(RememberingIntake(answer=Accepted(2))) as server, post(server, BODY) as response:
        assert response.status == 200

    after = spans.get(), size.get(), requests_counted("http", "traces", "ok")
    assert [new - old for new, old in zip(after, before, strict=True)] == [2, len(BODY), 1]


@on_uvloop
async def test_logs_and_metrics() -> None:
    """Log records are rejected by number, metric points warned about, empty requests plainly accepted."""
    logs, metrics = logs_request([[2, 1]]).SerializeToString(), metrics_request(2).SerializeToString()
    async with http_server(RememberingIntake()) as server:
        async with post(server, logs, "/v1/logs") as response:
            log_reply = ExportLogsServiceResponse.FromString(await response.read())
        async with post(server, metrics, "/v1/metrics") as response:
            metric_reply = ExportMetricsServiceResponse.FromString(await response.read())
        async with post(server, b"", "/v1/logs") as response:
            assert (response.status, await response.read()) == (200, b"")
        async with post(server, b"{}", "/v1/metrics", Content_Type=JSON) as response:
            assert (response.status, await response.read()) == (200, b"{}")
        async with post(server, b"garbage", "/v1/logs") as response:
            assert response.status == 400

    assert log_reply.partial_success.rejected_log_records == 3
    assert metric_reply.partial_success.rejected_data_points == 0
    assert "10 metric points" in metric_reply.partial_success.error_message


@on_uvloop
async def test_large_logs_request_is_counted() -> None:
    """A body too large to be counted on the event loop is counted in a thread, with the same result."""
    body = logs_request([[20_000]]).SerializeToString()
    async with http_server(RememberingIntake()) as server, post(server, body, "/v1/logs") as response:
        reply = ExportLogsServiceResponse.FromString(await response.read())

    assert reply.partial_success.rejected_log_records == 20_000


@pytest.mark.parametrize("compression", list(Compression))
@on_uvloop
async def test_real_sdk(compression: Compression) -> None:
    """Spans of the OpenTelemetry SDK arrive, with every compression that it offers."""
    intake = RememberingIntake()

    def trace(endpoint: str) -> None:
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"http://{endpoint}/v1/traces", compression=compression)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        for index in range(10):
            provider.get_tracer("tests").start_span(f"span {index}").end()
        assert provider.force_flush()
        provider.shutdown()

    async with http_server(intake) as server:
        await asyncio.to_thread(trace, server.endpoints[0])

    spans = ExportTraceServiceRequest.FromString(intake.consumed[0].body).resource_spans[0].scope_spans[0].spans
    assert [each.name for each in spans] == [f"span {index}" for index in range(10)]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("error", "status", "code", "message", "outcome"),
    [
        (BadRequest("spans[3].traceId: 15 bytes"), 400, 3, "spans[3].traceId: 15 bytes", "bad_body"),
        (BufferFull("the buffer is full"), 503, 14, "the buffer is full", "not_stored"),
        (Retryable("the disk is slow"), 503, 14, "the disk is slow", "not_stored"),
        (Permanent("no intake says so"), 503, 14, "the receiver failed", "our_fault"),
        (RuntimeError("secret of ours"), 503, 14, "the receiver failed", "our_fault"),
    ],
)
@on_uvloop
async def test_refusals_by_the_intake(
    content_type: str, error: Exception, status: int, code: int, message: str, outcome: str
) -> None:
    """Each kind of failure has its row: status, Status body in the request's encoding, Retry-After when it helps."""
    counted = requests_counted("http", "traces", outcome)
    with capture_logs() as logs:
        async with (
            http_server(RememberingIntake(answer=error)) as server,
            post(server, b"", Content_Type=content_type) as response,
        ):
            answer = status_in(await response.read(), content_type)

    assert (response.status, response.content_type, answer.code) == (status, content_type, code)
    assert answer.message.startswith(message)
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
    assert len(answer.details) == (status == 503)
    assert requests_counted("http", "traces", outcome) == counted + 1
    assert [log["exc_info"] for log in logs] == ([error] if outcome == "our_fault" else [])


@on_uvloop
async def test_spans_that_were_not_stored_are_counted() -> None:
    """A full buffer shows in refused_spans, whether the intake has looked at the body or not."""
    counter = REFUSED_SPANS.labels("otlp", "http")._value
    before = counter.get()
    async with http_server(RememberingIntake(answer=BufferFull("full"))) as server:
        for body, content_type in ((BODY, PROTOBUF), (to_json(export(span())), JSON), (b"garbage", PROTOBUF)):
            async with post(server, body, Content_Type=content_type) as response:
                assert response.status == 503

    assert counter.get() - before == 2 + 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code", "answer_type"),
    [
        ("POST", "/", {"Content-Type": PROTOBUF}, 404, 12, PROTOBUF),
        ("POST", "/v1/profiles", {"Content-Type": JSON}, 404, 12, JSON),
        ("GET", "/favicon.ico", {}, 404, 12, JSON),
        ("GET", "/v1/traces", {}, 405, 12, JSON),
        ("PUT", "/v1/logs", {"Content-Type": PROTOBUF}, 405, 12, PROTOBUF),
        ("POST", "/v1/traces", {"Content-Type": "text/plain"}, 415, 3, JSON),
        ("POST", "/v1/traces", {"Content-Type": ""}, 415, 3, JSON),
        ("POST", "/v1/traces", {"Content-Type": PROTOBUF, "Content-Encoding": "br"}, 415, 3, PROTOBUF),
        ("POST", "/v1/traces", {"Content-Type": JSON, "Content-Encoding": "gzip, gzip"}, 415, 3, JSON),
    ],
)
@on_uvloop
async def test_wrong_addresses_and_types(
    method: str, path: str, headers: dict[str, str], status: int, code: int, answer_type: str
) -> None:
    """404, 405 and 415 are google.rpc.Status too, in JSON where the request has no known type."""
    intake = RememberingIntake()
    async with (
        http_server(intake) as server,
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{server.endpoints[0]}{path}", data=b"x", headers=headers) as response,
    ):
        answer = status_in(await response.read(), answer_type)

    assert (response.status, response.content_type, answer.code) == (status, answer_type, code)
    assert answer.message
    assert response.headers.get("Allow") == ("POST" if status == 405 else None)
    assert not intake.consumed


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(BODY)[:-3]),
        ("gzip", gzip.compress(BODY) + b"tail"),
        ("deflate", zlib.compress(BODY)[:-3]),
    ],
)
@on_uvloop
async def test_broken_compression(coding: str, body: bytes) -> None:
    """A stream that cannot be decompressed is the sender's fault."""
    intake = RememberingIntake()
    async with http_server(intake) as server, post(server, body, Content_Encoding=coding) as response:
        answer = Status.FromString(await response.read())

    assert (response.status, answer.code) == (400, 3)
    assert coding in answer.message
    assert not intake.consumed


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: minus\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: secret\x00\r\n\r\n",
        b"GET " + b"a" * 100_000,
        head(None) + b"no hex\r\n",
        head(None) + b"5\r\nhello" + b"no line end",
    ],
)
@on_uvloop
async def test_what_is_no_http(data: bytes) -> None:
    """TLS, HTTP/2, endless lines and broken chunks get 400 with a Status, quoting nothing, and the connection is closed."""
    intake = RememberingIntake()
    with capture_logs() as logs:
        async with http_server(intake) as server:
            async with raw(server) as client:
                await client.send(data)
                status, headers, body = await client.response()
                assert await client.reader.read() == b""
            async with post(server, BODY) as response:
                assert response.status == 200

    assert (status, status_in(body, headers["content-type"]).code) == (400, 3)
    assert "secret" not in repr(logs) + body.decode("latin-1")
    assert len(intake.consumed) == 1


@on_uvloop
async def test_fault_in_the_http_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug outside the service is 503 too, never 500, with the traceback in the log."""
    async with http_server(RememberingIntake()) as server:
        monkeypatch.setattr(server, "_export", None)
        with capture_logs() as logs:
            async with post(server, BODY, Authorization="Bearer secret") as response:
                answer = status_in(await response.read(), response.content_type)

    assert (response.status, answer.code, response.headers["Retry-After"]) == (503, 14, "1")
    assert isinstance(logs[0]["exc_info"], TypeError)
    assert "secret" not in repr(logs)


# --- sizes -----------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_too_large_by_its_length() -> None:
    """An announced size above the limit is refused before a byte of the body is sent; peer, size and limit are logged."""
    with capture_logs() as logs:
        async with http_server(RememberingIntake(), max_mib=1) as server, raw(server) as client:
            await client.send(head(MIB + 1))
            status, _, body = await client.response()

    assert (status, Status.FromString(body).code) == (413, 8)
    assert not Status.FromString(body).details
    assert logs[0]["peer"] == "127.0.0.1"
    assert (logs[0]["size_bytes"], logs[0]["limit_bytes"]) == (MIB + 1, MIB)


@on_uvloop
async def test_too_large_without_a_length() -> None:
    """A chunked body is refused as soon as it has passed the limit, however much more would come."""
    async with http_server(RememberingIntake(), max_mib=1) as server, raw(server) as client:
        await client.send(head(None))
        for _ in range(17):
            await client.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        status, _, body = await client.response()

    assert (status, Status.FromString(body).code) == (413, 8)


def one_member_bomb() -> bytes:
    """128 MiB of zeros in one gzip member of 128 KiB."""
    return gzip.compress(bytes(128 * MIB))


def many_member_bomb() -> bytes:
    """1 GiB of zeros in 64 gzip members, 1 MiB in all."""
    return gzip.compress(bytes(16 * MIB)) * 64


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [("gzip", one_member_bomb()), ("gzip", many_member_bomb()), ("deflate", zlib.compress(bytes(128 * MIB)))],
    ids=["gzip", "gzip members", "deflate"],
)
@on_uvloop
async def test_decompression_bomb(coding: str, bomb: bytes) -> None:
    """A bomb costs little more memory than the limit, and no other request waits for its end."""
    intake = RememberingIntake()
    async with http_server(intake, max_mib=4) as server:
        tracemalloc.start()
        async with post(server, bomb, Content_Encoding=coding) as response:
            answer = Status.FromString(await response.read())
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        async with post(server, BODY) as other:
            assert other.status == 200

    assert (response.status, answer.code) == (413, 8)
    assert peak_bytes < 16 * MIB
    assert len(intake.consumed) == 1


# --- admission, slow and vanishing senders -----------------------------------------------------------------------------


@on_uvloop
async def test_memory_full() -> None:
    """Without room a request is refused at once, before its body, and taken when there is room again."""
    intake = RememberingIntake()
    admission = Admission(2 * MIB)
    intake.gate.clear()
    async with http_server(intake, admission=admission) as server:
        first = asyncio.create_task(post(server, bytes(MIB)).__aenter__())
        await intake.arrived.wait()
        async with raw(server) as client:
            await client.send(head(MIB + LEAST_LEASE_BYTES))
            status, headers, body = await client.response()
        assert (status, headers["retry-after"], Status.FromString(body).code) == (503, "1", 14)

        intake.gate.set()
        assert (await first).status == 200
        async with post(server, bytes(MIB + LEAST_LEASE_BYTES)) as again:
            assert again.status == 200

    assert admission.held_bytes == 0
    assert len(intake.consumed) == 2


@on_uvloop
async def test_memory_full_while_a_body_arrives() -> None:
    """Bodies without a length, and what comes out of compressed ones, are admitted as they arrive."""
    admission = Admission(2 * MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield bytes(65536)

    async with http_server(RememberingIntake(), admission=admission) as server:
        with admission.lease() as other:
            other.hold(MIB)
            async with post(server, gzip.compress(bytes(MIB + 1)), Content_Encoding="gzip") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
            async with post(server, chunks()) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
        async with post(server, gzip.compress(bytes(MIB + 1)), Content_Encoding="gzip") as response:
            assert response.status == 200

    assert admission.held_bytes == 0


@on_uvloop
async def test_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time gives its place back; the sender may try again."""
    monkeypatch.setattr(service, "_BODY_TIMEOUT_SECONDS", 0.05)
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    async with http_server(intake, admission=admission) as server, raw(server) as client:
        await client.send(head(1000) + b"only this")
        status, headers, body = await client.response()

        assert (status, headers["retry-after"], Status.FromString(body).code) == (503, "1", 14)
        assert admission.held_bytes == 0
    assert not intake.consumed


@on_uvloop
async def test_sender_hangs_up_before_the_end() -> None:
    """Half a body is never taken in, and its place is given back."""
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    counted = requests_counted("http", "traces", "sender_gone")
    async with http_server(intake, admission=admission) as server:
        async with raw(server) as client:
            await client.send(head(1000) + BODY)
            await until(lambda: admission.held_bytes > 0)
        await until(lambda: admission.held_bytes == 0)
        await until(lambda: requests_counted("http", "traces", "sender_gone") == counted + 1)

    assert not intake.consumed


@on_uvloop
async def test_sender_hangs_up_before_the_reply() -> None:
    """What the intake has begun ends as if the sender were there, and the bytes stay counted until then."""
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    intake.gate.clear()
    async with http_server(intake, admission=admission) as server:
        async with raw(server) as client:
            await client.send(head(len(BODY)) + BODY)
            await intake.arrived.wait()
        assert admission.held_bytes > 0
        intake.gate.set()
        await until(lambda: admission.held_bytes == 0)

    assert len(intake.consumed) == 1


# --- life cycle ------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_port_in_use() -> None:
    """A port that another program has is an OSError that names it; a second process of the service may share it."""
    foreign = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    endpoint = "127.0.0.1:{}".format(foreign.sockets[0].getsockname()[1])
    service_of_none = Service(RememberingIntake(), Admission(MIB), "otlp", "http")
    with pytest.raises(OSError, match=f"cannot listen on {endpoint}"):
        await HttpServer(HttpServerSettings(endpoint=endpoint), service_of_none).start()
    foreign.close()
    await foreign.wait_closed()

    async with http_server(RememberingIntake()) as server:
        twin = HttpServer(HttpServerSettings(endpoint=server.endpoints[0]), service_of_none)
        await twin.start()
        assert twin.endpoints == server.endpoints
        await twin.shutdown(1)


@on_uvloop
async def test_shutdown_finishes_what_is_in_flight() -> None:
    """In-flight requests are answered, new ones on open connections get 503, new connections and idle ones end."""
    intake, admission = RememberingIntake(), Admission(MIB)
    intake.gate.clear()
    async with http_server(intake, admission=admission) as server:
        async with raw(server) as busy, raw(server) as idle, raw(server) as late:
            await busy.send(head(len(BODY)) + BODY)
            await intake.arrived.wait()
            await late.send(head(len(BODY)))
            await until(lambda: admission.held_bytes == 2 * LEAST_LEASE_BYTES)
            ending = asyncio.create_task(server.shutdown(30))
            await until(lambda: server._draining)

            await idle.send(head(len(BODY)) + BODY)
            status, headers, body = await idle.response()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert Status.FromString(body).code == 14

            await late.send(BODY)
            intake.gate.set()
            for client in (busy, late):
                status, headers, _ = await client.response()
                assert (status, headers["connection"]) == (200, "close")
                assert await client.reader.read() == b""
            await ending
        with pytest.raises(ConnectionError):
            async with raw(server):
                pass

    assert len(intake.consumed) == 2


@on_uvloop
async def test_shutdown_has_a_deadline() -> None:
    """What cannot end in time is cut off without a reply, and is not taken in afterwards."""
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    intake.gate.clear()
    async with http_server(intake, admission=admission) as server, raw(server) as client:
        await client.send(head(len(BODY)) + BODY)
        await intake.arrived.wait()
        await server.shutdown(0.01)
        intake.gate.set()

        assert await client.reader.read() == b""
        assert not intake.consumed
        await until(lambda: admission.held_bytes == 0)


@on_uvloop
async def test_shutdown_under_traffic() -> None:
    """Every request answered OK was taken in, and nothing is taken in once shutdown has returned."""
    intake = RememberingIntake()
    acknowledged: list[bytes] = []

    async def send_until_refused(server: HttpServer, sender: int) -> None:
        async with aiohttp.ClientSession() as session:
            for number in range(1_000_000):
                body = b"%d.%d" % (sender, number)
                try:
                    async with session.post(
                        f"http://{server.endpoints[0]}/v1/traces", data=body, headers={"Content-Type": PROTOBUF}
                    ) as response:
                        if response.status != 200:
                            assert response.status == 503
                            return
                        acknowledged.append(body)
                except aiohttp.ClientError:
                    return

    async with http_server(intake) as server:
        senders = [asyncio.create_task(send_until_refused(server, sender)) for sender in range(16)]
        await until(lambda: len(intake.consumed) > 500)
        await server.shutdown(10)
        consumed = {request.body for request in intake.consumed}
        await asyncio.gather(*senders)

    assert set(acknowledged) <= consumed
    assert len(intake.consumed) == len(consumed)
