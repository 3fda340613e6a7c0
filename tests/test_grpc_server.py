"""OTLP/gRPC on real sockets, with clients that share nothing with the server: grpcio and the OTel SDK."""

import asyncio
import socket
import time
from typing import Any, Final

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from structlog.testing import capture_logs

from config.models import GrpcServerSettings
from otlp_receiver.admission import Admission
from otlp_receiver.grpc_server import GrpcServer
from otlp_receiver.service import Service
from pipelines.errors import BufferFull, Retryable
from pipelines.ingest import Accepted, BadRequest
from tests.support.other_signals import logs_request, metrics_request
from tests.support.otlp import export, span, to_protobuf
from tests.support.receivers import (
    EXPORT_METHODS,
    MIB,
    RememberingIntake,
    grpc_channel,
    grpc_server,
    on_uvloop,
    requests_counted,
    until,
)

BODY: Final = to_protobuf(export(span(), span()))
TRACES: Final = EXPORT_METHODS["traces"]

STUBS: Final[list[Any]] = [TraceServiceStub, LogsServiceStub, MetricsServiceStub]  # without annotations
RETRIED_AFTER_SHUTDOWN: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""What gRPC answers calls that it has not begun with; clients retry both (OTLP specification, "Failures")."""


def retry_seconds(error: grpc.RpcError) -> float | None:
    """The wait that RetryInfo asks for, None without RetryInfo."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    own_trailer = dict(error.trailing_metadata() or ()).get("google.rpc.retryinfo-bin")
    assert (details is None) == (own_trailer is None)
    if details is None:
        return None
    status, retry_info = Status.FromString(details), RetryInfo()
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert status.details[0].Unpack(retry_info)
    return float(retry_info.retry_delay.ToTimedelta().total_seconds())


async def refusal(channel: Any, body: bytes, method: str = TRACES, **options: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(method)(body, **options)
    return caught.value


# --- what is taken ---------------------------------------------------------------------------------------------------


@on_uvloop
async def test_request_as_the_intake_sees_it() -> None:
    """The intake gets the bytes that were sent; the reply has no bytes at all, so partial success is unset."""
    intake = RememberingIntake()
    started_ns = time.time_ns()
    async with grpc_server(intake) as server, grpc_channel(server) as channel:
        assert await channel.unary_unary(TRACES)(BODY) == b""
        assert await channel.unary_unary(TRACES)(b"") == b""

    first, empty = intake.consumed
    assert (first.body, first.encoding, first.project_id, empty.body) == (BODY, "protobuf", "default", b"")
    assert started_ns <= first.received_at_ns <= time.time_ns()


@on_uvloop
async def test_generated_stubs() -> None:
    """The published service stubs of all three signals work."""
    intake = RememberingIntake(answer=Accepted(1, 2, "spans[0].traceId: 15 bytes"))
    async with grpc_server(intake) as server, grpc_channel(server) as channel:
        trace_stub, log_stub, metric_stub = (stub(channel) for stub in STUBS)
        traces = await trace_stub.Export(ExportTraceServiceRequest.FromString(BODY))
        logs = await log_stub.Export(logs_request([[2, 1]]))
        metrics = await metric_stub.Export(metrics_request(2))
        no_logs = await log_stub.Export(logs_request([]))

    assert traces.partial_success.rejected_spans == 2
    assert traces.partial_success.error_message == "spans[0].traceId: 15 bytes"
    assert logs.partial_success.rejected_log_records == 3
    assert metrics.partial_success.rejected_data_points == 0
    assert "10 metric points" in metrics.partial_success.error_message
    assert no_logs == ExportLogsServiceResponse()


@pytest.mark.parametrize("compression", list(grpc.Compression))
@on_uvloop
async def test_compression(compression: grpc.Compression) -> None:
    """Every compression that gRPC has arrives decompressed, up to the size limit."""
    intake = RememberingIntake()
    body = bytes(range(256)) * (4 * MIB // 256)
    async with grpc_server(intake, max_mib=4) as server, grpc_channel(server) as channel:
        await channel.unary_unary(TRACES)(body, compression=compression)

    assert [request.body for request in intake.consumed] == [body]


@on_uvloop
async def test_many_at_once() -> None:
    """A thousand requests at once on one connection are all answered."""
    intake = RememberingIntake()
    async with grpc_server(intake) as server, grpc_channel(server) as channel:
        call = channel.unary_unary(TRACES)
        await asyncio.gather(*(call(b"%d" % number) for number in range(1000)))

    assert {request.body for request in intake.consumed} == {b"%d" % number for number in range(1000)}


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message", "retry", "outcome"),
    [
        (BadRequest("spans[3].traceId: 15 bytes"), "INVALID_ARGUMENT", "spans[3].traceId: 15 bytes", None, "bad_body"),
        (BufferFull("the buffer is full"), "UNAVAILABLE", "the buffer is full", 1, "not_stored"),
        (Retryable("Platte läuft über: 100 %"), "UNAVAILABLE", "Platte läuft über: 100 %", 1, "not_stored"),
        (RuntimeError("secret of ours"), "UNAVAILABLE", "the receiver failed", 1, "our_fault"),
        (BadRequest("é" * 100_000), "INVALID_ARGUMENT", "é" * 512, None, "bad_body"),
    ],
    ids=["bad request", "buffer full", "not ascii", "our fault", "endless message"],
)
@on_uvloop
async def test_refusals_by_the_intake(
    error: Exception, code: str, message: str, retry: float | None, outcome: str
) -> None:
    """Each kind of failure has its row: code, message, RetryInfo when it helps, and never INTERNAL."""
    counted = requests_counted("grpc", "traces", outcome)
    with capture_logs() as logs:
        async with grpc_server(RememberingIntake(answer=error)) as server, grpc_channel(server) as channel:
            caught = await refusal(channel, b"", metadata=[("authorization", "Bearer secret")])

    assert caught.code() is grpc.StatusCode[code]
    assert caught.details().startswith(message)
    assert retry_seconds(caught) == retry
    assert requests_counted("grpc", "traces", outcome) == counted + 1
    assert [log["exc_info"] for log in logs] == ([error] if outcome == "our_fault" else [])
    assert "Bearer" not in repr(logs)


@pytest.mark.parametrize(
    ("body", "compression"),
    [
        (bytes(MIB + 1), grpc.Compression.NoCompression),
        (bytes(128 * MIB), grpc.Compression.Gzip),
        (bytes(128 * MIB), grpc.Compression.Deflate),
    ],
    ids=["plain", "gzip bomb", "deflate bomb"],
)
@on_uvloop
async def test_too_large(body: bytes, compression: grpc.Compression) -> None:
    """A message above the limit, counted after decompression, is refused for good; peer and limit are logged."""
    intake, admission = RememberingIntake(), Admission(64 * MIB)
    with capture_logs() as logs:
        async with (
            grpc_server(intake, max_mib=1, admission=admission) as server,
            grpc_channel(server) as channel,
        ):
            caught = await refusal(channel, body, compression=compression)
            await until(lambda: bool(logs))
            assert await channel.unary_unary(TRACES)(BODY) == b""

    assert caught.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_seconds(caught) is None
    assert (logs[0]["peer"].startswith("ipv4:127.0.0.1:"), logs[0]["limit_bytes"]) == (True, MIB)
    assert [request.body for request in intake.consumed] == [BODY]
    assert admission.held_bytes == 0


@on_uvloop
async def test_metadata_too_large() -> None:
    """Metadata beyond gRPC's bound is refused for good, and the next call is taken."""
    intake = RememberingIntake()
    async with grpc_server(intake) as server, grpc_channel(server) as channel:
        caught = await refusal(channel, BODY, metadata=[("x", "a" * 100_000)])
        assert (caught.code(), retry_seconds(caught)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
        await channel.unary_unary(TRACES)(BODY)

    assert len(intake.consumed) == 1


# --- admission and vanishing senders ---------------------------------------------------------------------------------


@on_uvloop
async def test_memory_full() -> None:
    """Without room a request is refused at once, with RetryInfo, and taken when there is room again."""
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    intake.gate.clear()
    async with grpc_server(intake, admission=admission) as server, grpc_channel(server) as channel:
        call = channel.unary_unary(TRACES)
        first = asyncio.ensure_future(call(bytes(MIB)))
        await intake.arrived.wait()
        caught = await refusal(channel, bytes(MIB + 1))
        assert (caught.code(), retry_seconds(caught)) == (grpc.StatusCode.UNAVAILABLE, 1)

        intake.gate.set()
        await first
        await call(bytes(MIB + 1))

    assert admission.held_bytes == 0
    assert len(intake.consumed) == 2


@on_uvloop
async def test_memory_is_shared_by_both_transports() -> None:
    """What one transport holds, the other cannot have."""
    admission = Admission(MIB)
    async with grpc_server(RememberingIntake(), admission=admission) as server, grpc_channel(server) as channel:
        with admission.lease() as elsewhere:
            elsewhere.hold(MIB)
            assert (await refusal(channel, b"")).code() is grpc.StatusCode.UNAVAILABLE
        assert await channel.unary_unary(TRACES)(b"") == b""


@on_uvloop
async def test_sender_cancels() -> None:
    """A cancelled call ends in the intake too, and gives its bytes back."""
    intake, admission = RememberingIntake(), Admission(MIB)
    intake.gate.clear()
    counted = requests_counted("grpc", "traces", "cancelled")
    async with grpc_server(intake, admission=admission) as server, grpc_channel(server) as channel:
        call = channel.unary_unary(TRACES)(BODY)
        await intake.arrived.wait()
        call.cancel()
        await until(lambda: admission.held_bytes == 0)
        intake.gate.set()

    assert not intake.consumed
    assert requests_counted("grpc", "traces", "cancelled") == counted + 1


# --- life cycle ------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_port_in_use() -> None:
    """A port that another program has is an OSError that names it; a second process of the service may share it."""
    service_of_none = Service(RememberingIntake(), Admission(MIB), "otlp", "grpc")
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        endpoint = f"127.0.0.1:{foreign.getsockname()[1]}"
        refused = GrpcServer(GrpcServerSettings(endpoint=endpoint), service_of_none)
        with pytest.raises(OSError, match=f"cannot listen on {endpoint}"):
            await refused.start()
        await refused.shutdown(1)

    async with grpc_server(RememberingIntake()) as server:
        twin = GrpcServer(GrpcServerSettings(endpoint=server.endpoints[0]), service_of_none)
        await twin.start()
        assert twin.endpoints == server.endpoints
        await twin.shutdown(1)


@on_uvloop
async def test_shutdown_finishes_what_is_in_flight() -> None:
    """In-flight requests are answered, new ones and new connections are told to go elsewhere."""
    intake = RememberingIntake()
    intake.gate.clear()
    async with grpc_server(intake) as server, grpc_channel(server) as busy, grpc_channel(server) as late:
        first = asyncio.ensure_future(busy.unary_unary(TRACES)(BODY))
        await intake.arrived.wait()
        ending = asyncio.create_task(server.shutdown(30))
        while True:  # until the server has begun to refuse
            try:
                await late.unary_unary(TRACES)(b"new", timeout=0.05)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    break
        intake.gate.set()
        assert await first == b""
        await ending

    assert BODY in [request.body for request in intake.consumed]


@on_uvloop
async def test_shutdown_has_a_deadline() -> None:
    """What cannot end in time is cancelled, and is not taken in afterwards."""
    intake, admission = RememberingIntake(), Admission(MIB)
    intake.gate.clear()
    async with grpc_server(intake, admission=admission) as server, grpc_channel(server) as channel:
        call = asyncio.ensure_future(channel.unary_unary(TRACES)(BODY))
        await intake.arrived.wait()
        await server.shutdown(0.01)
        intake.gate.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call

    assert not intake.consumed
    assert admission.held_bytes == 0


@on_uvloop
async def test_shutdown_under_traffic() -> None:
    """Every request answered OK was taken in, and nothing is taken in once shutdown has returned."""
    intake = RememberingIntake()
    acknowledged: list[bytes] = []

    async def send_until_refused(server: GrpcServer, sender: int) -> None:
        async with grpc_channel(server) as channel:
            call = channel.unary_unary(TRACES)
            for number in range(1_000_000):
                body = b"%d.%d" % (sender, number)
                try:
                    await call(body)
                except grpc.aio.AioRpcError as error:
                    assert error.code() in RETRIED_AFTER_SHUTDOWN  # noqa: PT017 - the call may also succeed
                    return
                acknowledged.append(body)

    async with grpc_server(intake) as server:
        senders = [asyncio.create_task(send_until_refused(server, sender)) for sender in range(8)]
        await until(lambda: len(intake.consumed) > 300)
        await server.shutdown(10)
        consumed = {request.body for request in intake.consumed}
        await asyncio.gather(*senders)

    assert set(acknowledged) <= consumed
    assert len(intake.consumed) == len(consumed)
