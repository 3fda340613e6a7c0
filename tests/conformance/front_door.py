"""Both receivers in front of the real decode, map and intake, and a buffer that does as a test says."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import uvloop

from config.conventions import load_conventions
from config.models import GrpcServerSettings, HttpServerSettings
from otlp_receiver.admission import Admission
from otlp_receiver.app import transform
from otlp_receiver.grpc_server import GrpcServer
from otlp_receiver.http_server import HttpServer
from otlp_receiver.service import Service, Transport
from pipelines.batch import Batch
from pipelines.ingest import Intake
from tests.support.arrow_rows import Row, table_rows
from tests.support.receivers import MIB

Servers = dict[Transport, GrpcServer | HttpServer]
_SECONDS: Final = 60


@dataclass
class ToldBuffer:
    """Remembers what is appended; `fault` says what goes wrong instead, `open` lets an append go on.

    Attributes:
        attempts: how often something was to be appended.
        observations: rows that were.
    """

    fault: Exception | None = None
    open: threading.Event = field(default_factory=threading.Event)
    attempts: int = 0
    observations: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open.set()

    def append(self, batches: Sequence[Batch]) -> None:
        self.attempts += 1
        self.open.wait()
        if self.fault is not None:
            raise self.fault
        self.observations += [
            row for each in batches if each.kind == "observations" for row in table_rows(each.records)
        ]

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault


@dataclass(frozen=True)
class FrontDoor:
    """A started server.

    Attributes:
        endpoints: `host:port` by transport.
        buffer: what it fills.
        admission: the bytes that it may hold.
    """

    endpoints: dict[Transport, str]
    buffer: ToldBuffer
    admission: Admission


@contextmanager
def front_door(*, max_mib: int) -> Iterator[FrontDoor]:
    """Runs in a thread, so that clients may block; ended at the end."""
    buffer, admission = ToldBuffer(), Admission(256 * MIB)
    intake = Intake(transform(load_conventions()), [], buffer)
    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, name="front door", daemon=True).start()
    intake.start()
    servers: Servers = {}
    try:
        asyncio.run_coroutine_threadsafe(_start(servers, intake, admission, max_mib), loop).result(_SECONDS)
        yield FrontDoor({name: server.endpoints[0] for name, server in servers.items()}, buffer, admission)
    finally:
        buffer.open.set()
        asyncio.run_coroutine_threadsafe(_stop(servers), loop).result(_SECONDS)
        intake.shutdown()
        loop.call_soon_threadsafe(loop.stop)


async def _start(servers: Servers, intake: Intake, admission: Admission, max_mib: int) -> None:
    grpc = GrpcServerSettings(endpoint="127.0.0.1:0", max_recv_msg_size_mib=max_mib)
    http = HttpServerSettings(endpoint="127.0.0.1:0", max_request_body_size_mib=max_mib)
    servers["grpc"] = GrpcServer(grpc, Service(intake, admission, "otlp", "grpc"))
    servers["http"] = HttpServer(http, Service(intake, admission, "otlp", "http"))
    for server in servers.values():
        await server.start()


async def _stop(servers: Servers) -> None:
    for server in servers.values():
        await server.shutdown(5)
