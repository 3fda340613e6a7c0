"""OTLP/HTTP on real sockets: faults behind the reply table of tests/conformance, and what is hardly HTTP."""

import pytest
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

from otlp_receiver.admission import Admission
from pipelines.errors import BufferFull, Permanent, Retryable
from pipelines.ingest import BadRequest
from pipelines.metrics import REFUSED_SPANS
from tests.support.http_client import BODY, JSON, PROTOBUF, head, post, raw, status_in
from tests.support.otlp import export, span, to_json
from tests.support.receivers import MIB, RememberingIntake, http_server, on_uvloop, requests_counted, until


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("error", "row"),
    [
        (BadRequest("spans[3].traceId: 15 bytes"), (400, 3, "spans[3].traceId: 15 bytes", "bad_body")),
        (BufferFull("the buffer is full"), (503, 14, "the buffer is full", "not_stored")),
        (Retryable("the disk is slow"), (503, 14, "the disk is slow", "not_stored")),
        (Permanent("no intake says so"), (503, 14, "the receiver failed", "our_fault")),
        (RuntimeError("secret of ours"), (503, 14, "the receiver failed", "our_fault")),
    ],
)
@on_uvloop
async def test_refusals_by_the_intake(content_type: str, error: Exception, row: tuple[int, int, str, str]) -> None:
    """Each kind of failure has its row: status, Status body in the request's encoding, Retry-After when it helps."""
    status, code, message, outcome = row
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
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: minus\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: secret\x00\r\n\r\n",
        head(None) + b"no hex\r\n",
        head(None) + b"5\r\nhello" + b"no line end",
    ],
)
@on_uvloop
async def test_what_is_no_http(data: bytes) -> None:
    """TLS, HTTP/2, broken headers, broken chunks: 400 with a Status that quotes nothing, and the connection ends."""
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


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 100_000,
        head(0, "X: " + "a" * 100_000),
        head(0, *(f"X-{number}: 1" for number in range(1000))),
    ],
    ids=["path", "header", "many headers"],
)
@on_uvloop
async def test_headers_too_large(data: bytes) -> None:
    """Headers without end are told so with 431, before they have arrived, and the connection ends."""
    async with http_server(RememberingIntake()) as server, raw(server) as client:
        await client.send(data)
        status, headers, body = await client.response()
        await client.until_closed()

    assert (status, status_in(body, headers["content-type"]).code) == (431, 8)


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


@pytest.mark.parametrize("chunk", [b"no hex\r\n", b"5\r\nhelloXX", b"-1\r\n", b"f" * 20 + b"\r\n"])
@on_uvloop
async def test_body_that_stops_being_http(chunk: bytes) -> None:
    """A request that waits for its body is told at once that the rest is broken, and the connection is closed."""
    intake, admission = RememberingIntake(), Admission(MIB)
    async with http_server(intake, admission=admission) as server, raw(server) as client:
        await client.send(head(None))
        await until(lambda: admission.held_bytes > 0)
        await client.send(chunk)
        status, _, body = await client.response()

        assert (status, Status.FromString(body).code) == (400, 3)
        assert await client.reader.read() == b""
    assert not intake.consumed
