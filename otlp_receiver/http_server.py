"""OTLP over HTTP/1.1: binary and JSON on one port, on aiohttp's low-level server (no router, no middleware)."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from aiohttp import hdrs, web

from config.models import HttpServerSettings
from otlp_receiver import langfuse_http
from otlp_receiver.admission import Lease, SizeLimit
from otlp_receiver.cors import Cors
from otlp_receiver.http_connection import Connection
from otlp_receiver.http_listeners import Listeners
from otlp_receiver.http_replies import HEADERS, refusal
from otlp_receiver.inflate import DECODERS, Decoder, unpack
from otlp_receiver.replies import (
    BAD_BODY,
    CONTENT_TYPES,
    DRAINING,
    SENDER_GONE,
    UNKNOWN_PATH,
    UNSUPPORTED,
    WRONG_METHOD,
    Refused,
    Signal,
)
from otlp_receiver.service import Service, in_time
from otlp_receiver.tls import Certificates, load, watch
from pipelines.ingest import Encoding

PATHS: Final[dict[str, Signal]] = {
    "/v1/traces": "traces",
    "/v1/logs": "logs",
    "/v1/metrics": "metrics",
    "/api/public/otel/v1/traces": "traces",  # Langfuse clients
    "/api/public/otel": "traces",  # Langfuse clients that take the base for the whole
    "/otel/v1/traces": "traces",  # LangSmith clients
    "/api/otel/v1/traces": "traces",
}
_ENCODINGS: Final[dict[str, Encoding]] = {content_type: encoding for encoding, content_type in CONTENT_TYPES.items()}
_CANCEL_SECONDS: Final = 0.1
"""What a request that has missed the shutdown deadline gets to end by itself."""

_log = structlog.get_logger("receiver")


class HttpServer:
    """Serves OTLP/HTTP; one `start`, one `shutdown`.

    Attributes:
        endpoints: `host:port` of every address it listens on, or `unix:/path`; known once started.
    """

    def __init__(self, settings: HttpServerSettings, service: Service) -> None:
        self.endpoints: list[str] = []
        self._tls = settings.tls
        self._cors = None if settings.cors is None else Cors(settings.cors)
        self._limit = SizeLimit("max_request_body_size_mib", settings.max_request_body_size_mib * 1024 * 1024)
        self._service = service
        self._connections = web.Server(self._respond)
        connection = partial(Connection, self._connections, settings)
        self._listeners = Listeners(settings.endpoint, connection, settings.read_header_timeout)
        self._watching: asyncio.Task[None] | None = None
        self._in_flight = 0
        self._draining = False
        self._idle = asyncio.Event()

    async def start(self) -> None:
        """Listen; raises OSError naming the address or the certificate when that is not possible."""
        if self._tls is None:
            self.endpoints = await self._listeners.start(None)
            return
        certificates = await asyncio.to_thread(load, self._tls)
        self.endpoints = await self._listeners.start(certificates.context)
        self._watching = asyncio.create_task(watch(self._tls, certificates.contents, self._use))

    async def _use(self, certificates: Certificates) -> None:
        await self._listeners.use(certificates.context)

    async def shutdown(self, deadline_seconds: float) -> None:
        """Stop accepting, answer 503 on open connections, finish what is in flight by the deadline, cancel the rest.

        After it returns nothing more is taken in.
        """
        self._draining = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        self._listeners.close()
        if self._in_flight:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), deadline_seconds)
        self._connections.pre_shutdown()
        await self._connections.shutdown(_CANCEL_SECONDS)

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        response = None if self._cors is None else self._cors.preflight(request)
        if response is None:
            response = await self._reply(request)
            if self._cors is not None:
                self._cors.permit(request, response)
        assert isinstance(request.protocol, Connection)
        if self._draining or request.protocol.is_old():
            response.force_close()
        return response

    async def _reply(self, request: web.BaseRequest) -> web.Response:
        self._in_flight += 1
        encoding = _encoding(request)
        try:
            if (answer := await langfuse_http.answer(self._service, request)) is not None:
                return answer
            body = await self._export(request, encoding)
            return web.Response(body=body, headers=HEADERS[encoding or "json"])
        except Refused as refused:
            return refusal(refused, encoding or "json")
        finally:
            self._in_flight -= 1
            if self._draining and not self._in_flight:
                self._idle.set()

    async def _export(self, request: web.BaseRequest, encoding: Encoding | None) -> bytes:
        try:
            signal, encoding = _signal(request), _required(encoding)
        except Refused as refused:
            self._service.count("unknown", refused.situation.outcome)
            raise
        return await self._service.export(signal, encoding, partial(self._read, request), request.headers)

    async def _read(self, request: web.BaseRequest, lease: Lease) -> bytes:
        """The body, decompressed; see `service.Read`."""
        if self._draining:
            raise Refused(DRAINING, "the receiver is shutting down; try again, on a new connection")
        decoder = _decoder(request)
        announced_bytes = request.content_length or 0
        self._limit.check(announced_bytes, request.remote)
        lease.hold(announced_bytes)
        try:
            if request.content.is_eof():  # all of it came with the headers
                return await self._collect(request, decoder, lease)
            await _say_continue(request)
            return await in_time(self._collect(request, decoder, lease))
        except web.RequestPayloadError as error:
            raise Refused(BAD_BODY, f"the HTTP body is broken: {error}") from None
        except ConnectionError:
            raise Refused(SENDER_GONE, "the sender hung up before its body had arrived") from None

    async def _collect(self, request: web.BaseRequest, decoder: Decoder, lease: Lease) -> bytes:
        body = bytearray()

        def grow(size_bytes: int) -> None:
            self._limit.check(size_bytes, request.remote)
            lease.hold(size_bytes + min(size_bytes, decoder.window_bytes))

        arrived_bytes = 0
        while data := await request.content.readany():
            arrived_bytes += len(data)
            self._limit.check(arrived_bytes, request.remote)  # a compressed stream may be endless and hold nothing
            await unpack(decoder, data, body, grow)
        decoder.finish()
        return bytes(body)


def _signal(request: web.BaseRequest) -> Signal:
    signal = PATHS.get(request.raw_path) or PATHS.get(request.path)
    if signal is None:
        raise Refused(UNKNOWN_PATH, f"no such path; POST spans to one of {', '.join(PATHS)}")
    if request.method != hdrs.METH_POST:
        raise Refused(WRONG_METHOD, f"{request.path} takes POST only")
    return signal


def _encoding(request: web.BaseRequest) -> Encoding | None:
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    return _ENCODINGS.get(content_type) or _ENCODINGS.get(content_type.partition(";")[0].strip().lower())


def _required(encoding: Encoding | None) -> Encoding:
    if encoding is None:
        raise Refused(UNSUPPORTED, f"Content-Type must be one of {', '.join(_ENCODINGS)}")
    return encoding


def _decoder(request: web.BaseRequest) -> Decoder:
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if coding not in DECODERS:
        raise Refused(UNSUPPORTED, f"Content-Encoding must be one of {', '.join(filter(None, DECODERS))}, or absent")
    return DECODERS[coding]()


async def _say_continue(request: web.BaseRequest) -> None:
    """A sender may wait for permission; it has it, now that its bytes are admitted (RFC 9110 section 10.1.1)."""
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        return
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # aiohttp takes any output for a response that has begun
