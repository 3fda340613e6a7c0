"""OTLP over gRPC: the three collector services, on raw bytes.

A method handler that streams requests gets control before the message is read, so project and admission come first;
on the wire it is the same as the unary method that clients call.
"""

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import grpc
import structlog

from config.models import GrpcServerSettings
from otlp_receiver.admission import Lease
from otlp_receiver.replies import BAD_BODY, Refused, Signal, encode_refused
from otlp_receiver.service import Service, in_time
from otlp_receiver.sockets import address, bind

_METHODS: Final[dict[Signal, str]] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_MAX_CONNECTION_AGE_SECONDS: Final = 300
"""Clients keep one connection for ever otherwise, and load balancers could never rebalance them."""
_CONNECTION_AGE_GRACE_SECONDS: Final = 60

_log = structlog.get_logger("receiver")


class GrpcServer:
    """Serves OTLP/gRPC; one `start`, one `shutdown`.

    Attributes:
        endpoints: `host:port` of every address it listens on, known once started.
    """

    def __init__(self, settings: GrpcServerSettings, service: Service) -> None:
        self.endpoints: list[str] = []
        self._settings = settings
        self._service = service
        self._max_bytes = settings.max_recv_msg_size_mib * 1024 * 1024
        self._server: Any = None

    async def start(self) -> None:
        """Listen; raises OSError naming the address when that is not possible."""
        reserved = bind(self._settings.endpoint, shared=True)  # for errors and ports that gRPC does not tell clearly
        self._server = self._build()
        try:
            for bound in reserved:
                self._listen(bound)
            await self._server.start()
        finally:
            for bound in reserved:
                bound.close()

    async def shutdown(self, deadline_seconds: float) -> None:
        """Stop accepting (GOAWAY), finish what is in flight within the deadline, cancel the rest.

        After it returns nothing more is taken in.
        """
        if self._server is not None:
            await self._server.stop(deadline_seconds)

    def _build(self) -> Any:
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", self._max_bytes),
                ("grpc.max_connection_age_ms", _MAX_CONNECTION_AGE_SECONDS * 1000),
                ("grpc.max_connection_age_grace_ms", _CONNECTION_AGE_GRACE_SECONDS * 1000),
            ]
        )
        for signal, method in _METHODS.items():
            handler = grpc.stream_unary_rpc_method_handler(self._handler(signal))
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(method, {"Export": handler})])
        return server

    def _listen(self, bound: socket.socket) -> None:
        try:
            self._server.add_insecure_port(address(bound))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._settings.endpoint}: {error}") from None
        self.endpoints.append(address(bound))

    def _handler(self, signal: Signal) -> Callable[[Any, Any], Awaitable[bytes]]:
        async def export(_: Any, context: Any) -> bytes:
            try:
                return await self._service.export(signal, "protobuf", partial(self._read, context))
            except Refused as refused:
                await context.abort(refused.situation.grpc, refused.message, _retry_details(refused))
                raise AssertionError("abort raises") from None

        return export

    async def _read(self, context: Any, lease: Lease) -> bytes:
        peer = context.peer()  # not known any more once the call has failed
        message = await in_time(context.read())
        if not isinstance(message, bytes):
            # gRPC itself has told the sender RESOURCE_EXHAUSTED when it was the size; it does not tell us.
            _log.warning(
                "Request has no readable message: larger than max_recv_msg_size_mib, broken, or cut off.",
                peer=peer,
                limit_bytes=self._max_bytes,
            )
            raise Refused(BAD_BODY, "the request has no readable message")
        lease.hold(len(message))
        return message


def _retry_details(refused: Refused) -> tuple[tuple[str, bytes], ...]:
    """RetryInfo, where gRPC clients look for it."""
    if refused.situation.retry_after_seconds is None:
        return ()
    return (("grpc-status-details-bin", encode_refused(refused, "protobuf")),)
