"""OTLP over gRPC: the three collector services, on raw bytes.

A method handler that streams requests gets control before the message is read, so key and admission come first;
on the wire it is the same as the unary method that clients call.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import grpc
import structlog

from config.models import GrpcServerSettings
from config.values import UNIX
from otlp_receiver import unix_sockets
from otlp_receiver.admission import Lease, SizeLimit
from otlp_receiver.inflate import DECODERS, Decoder, coding_of, unpack
from otlp_receiver.replies import BAD_BODY, Refused, Signal, retry_trailers
from otlp_receiver.service import Service, in_time
from otlp_receiver.sockets import address, bind, naming
from otlp_receiver.tls import Certificates, GrpcCertificates, check_grpc_environment, load, watch
from otlp_receiver.unfinished import STREAM_BYTES, Unfinished

_METHODS: Final[dict[Signal, str]] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_LONGEST_MS: Final = (1 << 31) - 1
_REOPEN_SECONDS: Final = 1.0
_FINISH_SECONDS: Final = 1.0
"""What the calls of a server whose loop has ended get to finish; those that it has not begun with wait as long."""

_log = structlog.get_logger("receiver")


class GrpcServer:
    """Serves OTLP/gRPC; one `start`, one `shutdown`.

    Attributes:
        endpoints: `host:port` of every address it listens on, or `unix:/path`; known once started.
    """

    def __init__(self, settings: GrpcServerSettings, service: Service) -> None:
        self.endpoints: list[str] = []
        self._settings = settings
        self._service = service
        self._limit = SizeLimit("max_recv_msg_size_mib", settings.max_recv_msg_size_mib * 1024 * 1024)
        self._server: Any = None
        self._unfinished: Unfinished | None = None
        self._certificates: Certificates | None = None
        self._ports: list[GrpcCertificates] = []
        self._path = ""
        self._watching: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._loop: asyncio.Task[Any] | None = None
        self._reopening = asyncio.Lock()
        self._stopping = False

    async def start(self) -> None:
        """Listen; raises OSError naming the address or the certificate when that is not possible."""
        tls = self._settings.tls
        if tls is not None:
            check_grpc_environment(tls)
            self._certificates = await asyncio.to_thread(load, tls)
        self._unfinished = Unfinished(self._service.limit_bytes, self._limit.size_bytes)
        self.endpoints = await self._open([self._settings.endpoint])
        self._keeping = asyncio.create_task(self._keep_serving())
        if tls is not None and self._certificates is not None:
            self._watching = asyncio.create_task(watch(tls, self._certificates.contents, self._use))

    async def _open(self, endpoints: Sequence[str]) -> list[str]:
        """Serve at the endpoints; returns the addresses that they are."""
        self._server, self._ports = self._build(), []
        if endpoints[0].startswith(UNIX):
            return [await self._open_path(endpoints[0])]
        return await self._open_addresses(endpoints)

    async def _open_addresses(self, endpoints: Sequence[str]) -> list[str]:
        with ExitStack() as reserved, naming(", ".join(endpoints)):
            # Bound by ourselves first: gRPC does not tell clearly which port it got, nor why it got none.
            sockets = [reserved.enter_context(bound) for each in endpoints for bound in bind(each, shared=True)]
            for bound in sockets:
                self._listen(address(bound))
            await self._run_server()
            return [address(bound) for bound in sockets]

    async def _open_path(self, endpoint: str) -> str:
        path = endpoint.removeprefix(UNIX)
        with naming(endpoint), unix_sockets.placed(path) as place:
            self._listen(UNIX + quote(place))  # gRPC takes it for a URI
            await self._run_server()
        self._path = path
        return endpoint

    async def _keep_serving(self) -> None:
        """Open again when gRPC's server loop has ended, which one call with a method that is no UTF-8 does to it."""
        while not self._stopping:
            assert self._loop is not None
            await asyncio.wait([self._loop])
            async with self._reopening:
                if not self._stopping:
                    await self._reopen()

    async def _reopen(self) -> None:
        _log.warning("gRPC ended its server loop over a malformed call; opening it again.")
        old = self._server
        try:
            await self._open(self.endpoints)
        except OSError as error:
            _log.error("gRPC cannot be opened again; trying once a second.", error=str(error))
            await asyncio.sleep(_REOPEN_SECONDS)
        with suppress(UnicodeDecodeError):  # what its loop ended by
            await old.stop(_FINISH_SECONDS)

    async def _run_server(self) -> None:
        """Start it and remember its loop, which gRPC tells nobody of: the first task that starting makes."""
        loop = asyncio.get_running_loop()
        usual = loop.get_task_factory()

        def remember(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
            loop.set_task_factory(usual)
            self._loop = asyncio.Task(coroutine, loop=loop, **options)
            self._loop.add_done_callback(_retrieve)
            return self._loop

        loop.set_task_factory(remember)
        await self._server.start()

    async def shutdown(self, deadline_seconds: float) -> None:
        """Stop accepting (GOAWAY), finish what is in flight within the deadline, cancel the rest.

        After it returns nothing more is taken in.
        """
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._path:
            unix_sockets.remove(self._path)
            self._path = ""  # somebody else's from now on
        async with self._reopening:  # else what is being opened would stay open
            if self._server is not None:
                await self._server.stop(deadline_seconds)
        if self._keeping is not None:
            await self._keeping

    def _build(self) -> Any:
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", self._limit.size_bytes),
            ("grpc.per_message_decompression", 0),  # it decompresses first and looks at the size afterwards
            ("grpc.http2.bdp_probe", 0),  # see STREAM_BYTES
            *_connection_options(self._settings),
        ]
        logging.getLogger("grpc._cython.cygrpc").addFilter(_quotes_no_metadata)
        server = grpc.aio.server(options=options)
        for signal, method in _METHODS.items():
            handler = grpc.stream_unary_rpc_method_handler(self._handler(signal))
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(method, {"Export": handler})])
        return server

    def _listen(self, at: str) -> None:
        try:
            if self._certificates is None:
                self._server.add_insecure_port(at)
            else:
                port = GrpcCertificates(self._certificates.contents)
                self._server.add_secure_port(at, port.credentials())
                self._ports.append(port)
        except RuntimeError as error:
            raise OSError(str(error)) from None

    async def _use(self, certificates: Certificates) -> None:
        for port in self._ports:
            port.use(certificates.contents)

    def _handler(self, signal: Signal) -> Callable[[Any, Any], Awaitable[bytes]]:
        async def export(_: Any, context: Any) -> bytes:
            try:
                headers = dict(context.invocation_metadata())
                return await self._service.export(signal, "protobuf", partial(self._read, context), headers)
            except Refused as refused:
                await context.abort(refused.situation.grpc, refused.message, retry_trailers(refused))
                raise AssertionError("abort raises") from None

        return export

    async def _read(self, context: Any, lease: Lease) -> bytes:
        """The message, decompressed; see `service.Read`."""
        assert self._unfinished is not None, "start the server first"
        peer = context.peer()  # not known any more once the call has failed
        lease.hold(STREAM_BYTES)
        try:
            message = await in_time(self._unfinished.read(context))
        except asyncio.CancelledError:  # by gRPC, which has told the sender why, but does not tell us
            self._log_unreadable(peer)
            raise
        if not isinstance(message, bytes):
            self._log_unreadable(peer)
            raise Refused(BAD_BODY, "the request has no readable message")
        lease.hold(len(message))
        coding = coding_of(message)
        return await self._unpack(message, DECODERS[coding](), peer, lease) if coding else message

    async def _unpack(self, message: bytes, decoder: Decoder, peer: str, lease: Lease) -> bytes:
        """What gRPC would undo without a limit, were it not told to leave messages as they are."""
        body = bytearray()

        def grow(size_bytes: int) -> None:
            self._limit.check(size_bytes, peer)
            lease.hold(len(message) + size_bytes + min(size_bytes, decoder.window_bytes))

        await unpack(decoder, message, body, grow)
        decoder.finish()
        return bytes(body)

    def _log_unreadable(self, peer: str) -> None:
        _log.warning(
            f"Request has no readable message: larger than {self._limit.setting}, broken, or cut off.",
            peer=peer,
            limit_bytes=self._limit.size_bytes,
        )


def _quotes_no_metadata(record: logging.LogRecord) -> bool:
    """Not what gRPC says of metadata that it cannot decode: all of it, credentials included."""
    return not record.getMessage().startswith("Invalid encoding on")


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Asyncio would log the exception of a task that nobody asks for it, and the method's name with it."""
    if not task.cancelled():
        task.exception()


def _connection_options(settings: GrpcServerSettings) -> list[tuple[str, int]]:
    """Channel arguments; 0 means no limit, which is what gRPC does without an argument."""
    server, policy = settings.keepalive.server_parameters, settings.keepalive.enforcement_policy
    limits = {
        "grpc.max_connection_idle_ms": _milliseconds(server.max_connection_idle),
        "grpc.max_connection_age_ms": _milliseconds(server.max_connection_age),
        "grpc.max_connection_age_grace_ms": _milliseconds(server.max_connection_age_grace),
        "grpc.keepalive_time_ms": _milliseconds(server.time),
        "grpc.keepalive_timeout_ms": _milliseconds(server.timeout),
        "grpc.http2.ping_timeout_ms": _milliseconds(server.timeout),  # would be a minute at least
        "grpc.max_concurrent_streams": settings.max_concurrent_streams,
    }
    return [
        *((name, limit) for name, limit in limits.items() if limit),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(policy.min_time)),
        ("grpc.keepalive_permit_without_calls", int(policy.permit_without_stream)),
    ]


def _milliseconds(seconds: float) -> int:
    return min(math.ceil(seconds * 1000), _LONGEST_MS)
