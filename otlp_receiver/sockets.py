"""Listening addresses, TCP and unix, with errors that name them."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from config.values import UNIX
from otlp_receiver import unix_sockets

BACKLOG: Final = 1024
"""Connections that wait to be accepted."""
_NO_SUCH_ADDRESS_HERE: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What binding to ::1 gives on a machine without IPv6, where `localhost` may still resolve to it."""


def bind(endpoint: str, *, shared: bool) -> list[socket.socket]:
    """Sockets on every address of `endpoint`: TCP bound but not yet listening, or one that listens at a path.

    Args:
        endpoint: `host:port`; an empty host is every interface, port 0 any free one (the same on every address). Or
            `unix:/path`, where a socket is replaced that nobody listens on.
        shared: other processes of this user may bind there too, and connections are spread over them (SO_REUSEPORT;
            TCP only). False refuses an address where any process listens, even one that would share it.

    Raises:
        OSError: naming endpoint and reason; nothing stays bound.
    """
    with naming(endpoint), ExitStack() as undo:
        if endpoint.startswith(UNIX):
            return [_listening_at(endpoint.removeprefix(UNIX))]
        sockets = [undo.enter_context(bound) for bound in _bind_all(endpoint, shared=shared)]
        undo.pop_all()
        return sockets


def check(endpoint: str) -> None:
    """Raise the OSError of `bind(endpoint, shared=False)`, if any; leaves nothing behind."""
    if endpoint.startswith(UNIX):
        with naming(endpoint):
            unix_sockets.check(endpoint.removeprefix(UNIX))
    else:
        for bound in bind(endpoint, shared=False):
            bound.close()


@contextmanager
def naming(endpoint: str) -> Iterator[None]:
    """An OSError within becomes one line with endpoint, reason and, where there is one, the cure."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "; stop what listens there, or change the endpoint" if error.errno == errno.EADDRINUSE else ""
        raise OSError(error.errno, f"cannot listen on {endpoint}: {reason}{hint}") from None


def address(bound: socket.socket) -> str:
    """`host:port` of a bound TCP socket; IPv6 hosts in brackets."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"


def _listening_at(path: str) -> socket.socket:
    with unix_sockets.placed(path) as place:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(place)
            bound.listen(BACKLOG)
        except OSError:
            bound.close()
            raise
    return bound


def _bind_all(endpoint: str, *, shared: bool) -> Iterator[socket.socket]:
    port, missing = 0, None
    for family, _, _, _, (host, wanted_port, *scope) in _resolve(endpoint):
        try:
            bound = _bound(family, (host, wanted_port or port, *scope), shared=shared)
        except OSError as error:
            if error.errno not in _NO_SUCH_ADDRESS_HERE:
                raise
            missing = error
        else:
            port = bound.getsockname()[1]
            yield bound
    if not port and missing:
        raise missing


def _resolve(endpoint: str) -> list[Any]:
    host, _, port = endpoint.rpartition(":")
    return socket.getaddrinfo(host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)


def _bound(family: int, at: tuple[Any, ...], *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not kept out by connections that are closing
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the IPv4 address has a socket of its own
        bound.bind(at)
    except OSError:
        bound.close()
        raise
    return bound
