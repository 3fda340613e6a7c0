"""Where HTTP connections are accepted: one endpoint, whose certificates may change while it listens."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from config.values import UNIX
from otlp_receiver import unix_sockets
from otlp_receiver.sockets import BACKLOG, address, bind

_HANDSHAKE_SECONDS: Final = 60.0


class Listeners:
    """Accepts connections on every address of an endpoint.

    Args:
        endpoint: see `sockets.bind`.
        connection: makes the protocol of a new connection.
        handshake_seconds: what a TLS handshake may take; 0 = a minute.
    """

    def __init__(self, endpoint: str, connection: Callable[[], asyncio.BaseProtocol], handshake_seconds: float) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._handshake_seconds = handshake_seconds or _HANDSHAKE_SECONDS
        self._sockets: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []

    async def start(self, context: ssl.SSLContext | None) -> list[str]:
        """Listen, with TLS when there is a context; returns the addresses. Raises OSError naming the endpoint."""
        self._sockets = bind(self._endpoint, shared=True)
        await self.use(context)
        return [self._endpoint] if self._is_unix else [address(bound) for bound in self._sockets]

    async def use(self, context: ssl.SSLContext | None) -> None:
        """Let new connections use this context.

        asyncio's listeners keep their context, so they are replaced; on the same sockets, so no connection is lost. A
        context that is changed in place would still trust former authorities and resume former sessions.
        """
        former = list(self._listeners)
        for bound in self._sockets:
            self._listeners.append(await self._listen(bound.dup(), context))
        for listener in former:
            listener.close()
            self._listeners.remove(listener)

    async def _listen(self, bound: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        limit = self._handshake_seconds if context else None
        if self._is_unix:
            return await loop.create_unix_server(
                self._connection, sock=bound, ssl=context, ssl_handshake_timeout=limit, backlog=BACKLOG
            )
        return await loop.create_server(
            self._connection, sock=bound, ssl=context, ssl_handshake_timeout=limit, backlog=BACKLOG
        )

    @property
    def _is_unix(self) -> bool:
        return self._endpoint.startswith(UNIX)

    def close(self) -> None:
        """Stop accepting; connections go on."""
        if self._is_unix and self._sockets:
            unix_sockets.remove(self._endpoint.removeprefix(UNIX))
        for listener in self._listeners:
            listener.close()
        for bound in self._sockets:
            bound.close()
        self._listeners, self._sockets = [], []
