"""One HTTP connection: aiohttp's, with bounds on its life and with our own answers to what is no HTTP."""

import asyncio
import random
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from config.models import HttpServerSettings
from otlp_receiver.http_replies import refusal
from otlp_receiver.replies import BAD_BODY, HEADERS_TOO_LARGE, OUR_FAULT, Refused

_FOR_EVER_SECONDS: Final = 365 * 86400.0
_SPREAD: Final = 0.1
"""Connections that were opened together shall not be closed together."""
_TOO_MANY_HEADERS: Final = "Too many headers"
"""How aiohttp says it; it has no error of its own for that."""

_log = structlog.get_logger("receiver")


class Connection(web.RequestHandler):
    """A connection with a limit on idleness, age and the time that headers take; never answers 500."""

    def __init__(self, server: web.Server, settings: HttpServerSettings) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own default path for "no access log"
            auto_decompress=False,  # bounded by us
            keepalive_timeout=settings.idle_timeout or _FOR_EVER_SECONDS,
        )
        age_seconds = settings.max_connection_age * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - no secret
        self._last_reply_after = self._loop.time() + (age_seconds or _FOR_EVER_SECONDS)
        self._header_seconds = settings.read_header_timeout
        self._header_limit: asyncio.TimerHandle | None = None
        self._latest_body = EMPTY_PAYLOAD

    def is_old(self) -> bool:
        """Whether the next reply shall be the last."""
        return self._loop.time() > self._last_reply_after

    def data_received(self, data: bytes) -> None:
        """As aiohttp's, watching what it does not: headers that never end, and bodies that stop being HTTP."""
        begun_before, between_requests = self._request_count, self._latest_body.is_eof()
        super().data_received(data)
        if self._request_count != begun_before:
            self._headers_are_complete()
        elif between_requests and data and self._header_limit is None:
            self._limit_headers()
        self._end_broken_body()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The limit must not keep what it would close."""
        self._cancel_limit()
        super().connection_lost(exc)

    def _limit_headers(self) -> None:
        if self._header_seconds:
            self._header_limit = self._loop.call_later(self._header_seconds, self._headers_took_too_long)

    def _headers_are_complete(self) -> None:
        self._cancel_limit()
        if self._messages:
            self._latest_body = self._messages[-1][1]

    def _cancel_limit(self) -> None:
        if self._header_limit is not None:
            self._header_limit.cancel()
            self._header_limit = None

    def _headers_took_too_long(self) -> None:
        """Closed without an answer, which clients take for a fault of the connection and try again."""
        self._header_limit = None
        if self._request_in_progress or self._messages:
            self._limit_headers()  # the reply to an earlier request comes first
            return
        _log.debug("Headers took longer than read_header_timeout.", seconds=self._header_seconds)
        self.force_close()

    def _end_broken_body(self) -> None:
        """A body that stops being HTTP ends its request; aiohttp would queue an error behind it and let it wait."""
        request = self._current_request
        broken = self._messages and isinstance(self._messages[-1][0], _ErrInfo)
        if broken and request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("a chunk is malformed"))
            request.content.feed_eof()
            self.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - may quote the sender's headers, credentials among them
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, or to a bug of ours; the connection is closed after it."""
        if isinstance(exc, LineTooLong) or _TOO_MANY_HEADERS in str(exc):
            response = refusal(Refused(HEADERS_TOO_LARGE, "the request's path or headers are too large"), "json")
        elif status == BAD_BODY.http:
            _log.debug("Connection does not speak HTTP/1.1.", peer=request.remote)
            response = refusal(Refused(BAD_BODY, "not a valid HTTP/1.1 request"), "json")
        else:
            _log.error("Request failed inside the HTTP server.", peer=request.remote, exc_info=exc)
            response = refusal(Refused(OUR_FAULT, "the receiver failed; try again"), "json")
        response.force_close()
        return response
