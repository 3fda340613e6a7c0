"""What senders over their quota are told on both transports, and that exporters as released do what they are told."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from otlp_receiver.credentials import Headers
from otlp_receiver.metadata.quotas import Rate, Standing
from otlp_receiver.quotas import Quotas
from pipelines.errors import BufferFull
from pipelines.ingest import Accepted, BadRequest
from tests.conformance.clients import sdk_spans
from tests.support.http_client import BODY, head, post, raw
from tests.support.node import RELEASES, send
from tests.support.otlp import export, span
from tests.support.receivers import (
    EXPORT_METHODS,
    RememberingIntake,
    grpc_channel,
    grpc_server,
    http_server,
    on_uvloop,
    requests_counted,
    until,
)

_SPANS = 1000


class Clock:
    """Stands still until it is turned."""

    seconds = 0.0


async def _by_header(headers: Headers) -> str:
    return str(headers.get("x-api-key", "p"))


def _limited(clock: Clock, **rates: int) -> Quotas:
    """Project `p` at these rates, bursts of a second."""
    made = {unit: Rate(rate, rate, 0.0) for unit, rate in rates.items()}
    quotas = Quotas(lambda: clock.seconds)
    quotas.settle({"p": Standing("p", made.get("spans"), made.get("bytes"), None, 0)}, {}, 1)
    return quotas


@asynccontextmanager
async def _receivers(quotas: Quotas) -> AsyncIterator[tuple[RememberingIntake, Any, Any]]:
    intake = RememberingIntake(Accepted(_SPANS))
    async with (
        http_server(intake, authenticate=_by_header, quotas=quotas) as http,
        grpc_server(intake, authenticate=_by_header, quotas=quotas) as rpc,
    ):
        yield intake, http, rpc


async def _over_http(http: Any, body: bytes = BODY, **headers: str) -> tuple[int, Any, Status]:
    async with post(http, body, **headers) as answer:
        content = await answer.read()
        return answer.status, answer.headers, Status.FromString(content) if answer.status != 200 else Status()


def _retry_seconds(status: Status) -> int:
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    return int(info.retry_delay.seconds)


@on_uvloop
async def test_what_senders_are_told() -> None:
    """429 with Retry-After, RESOURCE_EXHAUSTED with RetryInfo: the time until the project is let in; others are not."""
    clock = Clock()
    before = [requests_counted(transport, "traces", "over_quota") for transport in ("http", "grpc")]
    async with _receivers(_limited(clock, spans=100)) as (intake, http, rpc), grpc_channel(rpc) as channel:
        call = channel.unary_unary(EXPORT_METHODS["traces"])
        assert (await _over_http(http))[0] == 200

        code, headers, status = await _over_http(http)
        assert (code, headers["Retry-After"], _retry_seconds(status)) == (429, "9", 9)
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert "project p: its quota of 100 spans per second" in status.message
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(BODY)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers = dict(refused.value.trailing_metadata())
        assert _retry_seconds(Status.FromString(trailers["grpc-status-details-bin"])) == 9
        assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 9

        assert (await _over_http(http, x_api_key="q"))[0] == 200
        await call(BODY, metadata=(("x-api-key", "q"),))
        clock.seconds = 9.1
        await call(BODY)
    assert [request.project_id for request in intake.consumed] == ["p", "q", "q", "p"]
    after = [requests_counted(transport, "traces", "over_quota") for transport in ("http", "grpc")]
    assert after == [count + 1 for count in before]


@on_uvloop
async def test_no_body_is_read() -> None:
    """Who is over his quota is answered before any of the body that he announces has come."""
    quotas = _limited(Clock(), spans=100)
    quotas.pay("p", spans=1000)
    async with _receivers(quotas) as (intake, http, _), raw(http) as client:
        await client.send(head(60_000_000))
        status, headers, _body = await client.response()
    assert (status, headers["retry-after"]) == (429, "9")
    assert intake.consumed == []


@on_uvloop
async def test_what_is_paid() -> None:
    """Bytes as they are after decompression, whatever comes of them; spans when they are stored; logs are no spans."""
    quotas = _limited(Clock(), spans=10**9, bytes=10**9)
    async with _receivers(quotas) as (intake, http, _):
        await _over_http(http, gzip.compress(BODY), content_encoding="gzip")
        await _over_http(http, BODY)
        stored = quotas.drain()["p"]
        for answer in (BadRequest("no"), BufferFull("full")):
            intake.answer = answer
            await _over_http(http, BODY)
        await _over_http(http, b"", path="/v1/logs")
        refused = quotas.drain()["p"]
    assert (stored.spans, stored.bytes, stored.let_in) == (2 * _SPANS, 2 * len(BODY), 2)
    assert (refused.spans, refused.bytes, refused.let_in) == (0, 2 * len(BODY), 3)


async def _when_refused(clock: Clock, transport: str, before: float) -> None:
    """Turn the clock once the exporter has been told to wait."""
    await until(lambda: requests_counted(transport, "traces", "over_quota") > before)
    clock.seconds += 60.0


@pytest.mark.parametrize("transport", ["grpc", "http"])
@on_uvloop
async def test_the_python_exporter_waits(transport: Literal["grpc", "http"]) -> None:
    """The SDK's exporters send again after the time that they are told, and succeed."""
    clock, before = Clock(), requests_counted(transport, "traces", "over_quota")
    quotas = _limited(clock, spans=1000)
    quotas.pay("p", spans=2500)
    async with _receivers(quotas) as (intake, http, rpc):
        exporter = (
            GrpcExporter(rpc.endpoints[0], insecure=True)
            if transport == "grpc"
            else HttpExporter(f"http://{http.endpoints[0]}/v1/traces")
        )
        turning = asyncio.create_task(_when_refused(clock, transport, before))
        told = await asyncio.to_thread(exporter.export, sdk_spans(export(span())))
        await turning
        exporter.shutdown()
    assert told is SpanExportResult.SUCCESS
    assert len(intake.consumed) == 1


@on_uvloop
async def test_the_javascript_exporter_waits() -> None:
    """The SDK's HTTP exporter sends again after Retry-After, and succeeds."""
    clock, before = Clock(), requests_counted("http", "traces", "over_quota")
    quotas = _limited(clock, spans=1000)
    quotas.pay("p", spans=2500)
    async with _receivers(quotas) as (intake, http, _):
        turning = asyncio.create_task(_when_refused(clock, "http", before))
        url = f"http://{http.endpoints[0]}/v1/traces"
        sent = await asyncio.to_thread(send, RELEASES[0], "proto", url, "none")
        await turning
    assert sent.told == {"code": 0, "error": ""}
    assert len(intake.consumed) == 1
