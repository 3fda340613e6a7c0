"""Both receivers on real sockets in front of an intake that only remembers, on the event loop of production."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

import grpc
import uvloop

from config.models import GrpcServerSettings, HttpServerSettings
from otlp_receiver.admission import Admission
from otlp_receiver.authentication import Authenticate, let_everyone_in
from otlp_receiver.grpc_server import GrpcServer
from otlp_receiver.http_server import HttpServer
from otlp_receiver.quotas import Quotas
from otlp_receiver.service import Service
from pipelines.ingest import Accepted, Request
from pipelines.metrics import REQUESTS

MIB: Final = 1024 * 1024
EXPORT_METHODS: Final = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}

_DEADLINE_SECONDS: Final = 60
_Arguments = ParamSpec("_Arguments")
_Server = TypeVar("_Server", HttpServer, GrpcServer)


def on_uvloop(test: Callable[_Arguments, Coroutine[Any, Any, None]]) -> Callable[_Arguments, None]:
    """Run an async test on uvloop; one that hangs fails."""

    @functools.wraps(test)
    def run(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(test(*arguments, **named), _DEADLINE_SECONDS))

    return run


@dataclass
class RememberingIntake:
    """Answers every request with `answer`, once `gate` is open; `consumed` holds what was answered with success."""

    answer: Accepted | Exception = field(default_factory=lambda: Accepted(1))
    consumed: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def submit(self, request: Request) -> Accepted:
        self.arrived.set()
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        self.consumed.append(request)
        return self.answer


@asynccontextmanager
async def _serving(server: _Server, intake: RememberingIntake) -> AsyncIterator[_Server]:
    await server.start()
    try:
        yield server
    finally:
        intake.gate.set()
        await server.shutdown(5)


@asynccontextmanager
async def http_server(
    intake: RememberingIntake,
    *,
    max_mib: int = 64,
    admission: Admission | None = None,
    authenticate: Authenticate = let_everyone_in,
    quotas: Quotas | None = None,
    **settings: Any,
) -> AsyncIterator[HttpServer]:
    """A started OTLP/HTTP receiver, on a free port unless told another endpoint, shut down at the end."""
    service = Service(
        intake, admission or Admission(256 * MIB), "otlp", "http", authenticate=authenticate, quotas=quotas
    )
    chosen = {"endpoint": "127.0.0.1:0", "max_request_body_size_mib": max_mib, **settings}
    async with _serving(HttpServer(HttpServerSettings.model_validate(chosen), service), intake) as server:
        yield server


@asynccontextmanager
async def grpc_server(
    intake: RememberingIntake,
    *,
    max_mib: int = 64,
    admission: Admission | None = None,
    authenticate: Authenticate = let_everyone_in,
    quotas: Quotas | None = None,
    **settings: Any,
) -> AsyncIterator[GrpcServer]:
    """A started OTLP/gRPC receiver, on a free port unless told another endpoint, shut down at the end."""
    service = Service(
        intake, admission or Admission(256 * MIB), "otlp", "grpc", authenticate=authenticate, quotas=quotas
    )
    chosen = {"endpoint": "127.0.0.1:0", "max_recv_msg_size_mib": max_mib, **settings}
    async with _serving(GrpcServer(GrpcServerSettings.model_validate(chosen), service), intake) as server:
        yield server


@asynccontextmanager
async def grpc_channel(server: GrpcServer) -> AsyncIterator[Any]:
    """A client channel of its own connection."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.endpoints[0], options=options) as channel:
        yield channel


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces; the test's own deadline ends it."""
    while not condition():  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.002)


def requests_counted(transport: str, signal: str, outcome: str) -> float:
    """How many requests ended so, in this process so far."""
    return float(REQUESTS.labels("otlp", transport, signal, outcome)._value.get())
