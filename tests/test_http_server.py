"""OTLP/HTTP on real sockets: what is taken, and the receiver's life. Paths, encodings, replies: tests/conformance."""

import asyncio
import gzip
import json
import time

import aiohttp
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from config.models import HttpServerSettings
from otlp_receiver.admission import LEAST_LEASE_BYTES, Admission
from otlp_receiver.http_server import HttpServer
from otlp_receiver.service import Service
from pipelines.ingest import Accepted
from pipelines.metrics import ACCEPTED_SPANS, PARTIAL_SUCCESSES, PROJECT_BYTES, REFUSED_SPANS
from tests.support.http_client import BODY, JSON, PROTOBUF, head, post, raw
from tests.support.other_signals import logs_request
from tests.support.otlp import export, span, to_json
from tests.support.receivers import MIB, RememberingIntake, http_server, on_uvloop, requests_counted, until

# --- what is taken ---------------------------------------------------------------------------------------------------


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
        await client.send(
            head(len(BODY), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: ") + BODY
        )
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
async def test_large_logs_request_is_counted() -> None:
    """A body too large to be counted on the event loop is counted in a thread, with the same result."""
    body = logs_request([[20_000]]).SerializeToString()
    async with http_server(RememberingIntake()) as server, post(server, body, "/v1/logs") as response:
        reply = ExportLogsServiceResponse.FromString(await response.read())

    assert reply.partial_success.rejected_log_records == 20_000


# --- life cycle ------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_port_in_use() -> None:
    """A port that another program has is an OSError that names it; a second process of the service may share it."""
    foreign = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    endpoint = f"127.0.0.1:{foreign.sockets[0].getsockname()[1]}"
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
