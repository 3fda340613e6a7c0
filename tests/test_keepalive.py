"""How long connections live: idle ones, old ones, ones whose headers trickle in, and gRPC's pings."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from otlp_receiver.grpc_server import GrpcServer
from tests.support.certificates import Authority
from tests.support.http_client import BODY, RawClient, head, raw
from tests.support.receivers import RememberingIntake, grpc_server, http_server, on_uvloop

_REQUEST: Final = head(len(BODY)) + BODY
_SETTINGS, _PING, _GOAWAY = 4, 6, 7
_ACK: Final = 1
_MAX_CONCURRENT_STREAMS: Final = 3
_ENHANCE_YOUR_CALM: Final = 11


async def _trickle(client: RawClient, data: bytes) -> None:
    """Send byte after byte until the server has had enough; fails when it takes them all."""
    try:
        for byte in data * 1000:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.01)
    except ConnectionError:
        return
    pytest.fail("the server has taken it all")


# --- HTTP ------------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_idle_connection() -> None:
    """A connection is closed when nothing comes, before its first request and after one."""
    async with http_server(RememberingIntake(), idle_timeout="100ms") as server:
        async with raw(server) as client:
            await client.until_closed()
        async with raw(server) as client:
            await client.send(_REQUEST)
            assert (await client.response())[0] == 200
            await client.until_closed()


@pytest.mark.parametrize("before", [b"", _REQUEST], ids=["first", "second"])
@on_uvloop
async def test_headers_that_trickle_in(before: bytes) -> None:
    """Headers that never end cost their connection, however busily they come, and without an answer."""
    async with http_server(RememberingIntake(), read_header_timeout="100ms") as server, raw(server) as client:
        await client.send(before)
        if before:
            assert (await client.response())[0] == 200
        await _trickle(client, b"POST /v1/traces HTTP/1.1\r\nX: ")
        await client.until_closed()


@on_uvloop
async def test_headers_behind_a_request() -> None:
    """Headers that stop behind a request under way do not cost that its reply."""
    intake = RememberingIntake()
    intake.gate.clear()
    async with http_server(intake, read_header_timeout="20ms") as server, raw(server) as client:
        await client.send(_REQUEST)
        await intake.arrived.wait()
        await client.send(b"POST /v1")
        await asyncio.sleep(0.1)
        intake.gate.set()
        assert (await client.response())[0] == 200
        await client.until_closed()


@on_uvloop
async def test_bodies_take_their_time() -> None:
    """The limit is for headers: a slow body, and a pause between requests, are taken."""
    intake = RememberingIntake()
    async with http_server(intake, read_header_timeout="20ms") as server, raw(server) as client:
        for _ in range(2):
            await asyncio.sleep(0.05)
            await client.send(head(len(BODY)) + BODY[:10])
            await asyncio.sleep(0.05)
            await client.send(BODY[10:])
            assert (await client.response())[0] == 200

    assert [request.body for request in intake.consumed] == [BODY, BODY]


@on_uvloop
async def test_handshake_that_never_comes(tmp_path: Path) -> None:
    """A connection that says nothing costs no place behind TLS either."""
    tls = Authority(tmp_path).issue("server").settings()
    async with (
        http_server(RememberingIntake(), tls=tls, read_header_timeout="100ms") as server,
        raw(server) as client,
    ):
        await client.until_closed()


@on_uvloop
async def test_old_http_connection() -> None:
    """A connection that is too old ends with its next reply, which says so; the request is taken."""
    intake = RememberingIntake()
    async with http_server(intake, max_connection_age="10ms") as server, raw(server) as client:
        await asyncio.sleep(0.05)
        await client.send(_REQUEST)
        status, headers, _ = await client.response()
        await client.until_closed()

    assert (status, headers["connection"], len(intake.consumed)) == (200, "close", 1)


@on_uvloop
async def test_no_limits() -> None:
    """Zero means no limit, everywhere."""
    limits: dict[str, Any] = {"max_connection_age": "0", "idle_timeout": "0", "read_header_timeout": "0"}
    async with http_server(RememberingIntake(), **limits) as server, raw(server) as client:
        for _ in range(2):
            await client.send(_REQUEST[:5])
            await asyncio.sleep(0.05)
            await client.send(_REQUEST[5:])
            status, headers, _ = await client.response()
            assert (status, headers.get("connection")) == (200, None)


# --- gRPC ------------------------------------------------------------------------------------------------------------


class _Http2:
    """A client that speaks no more of HTTP/2 than frames (RFC 9113)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, kind: int, flags: int, payload: bytes = b"") -> None:
        self._writer.write(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, 0) + payload)

    async def receive(self, kind: int, flags: int = 0) -> bytes:
        """The payload of the next frame of a kind; settings before it are acknowledged."""
        while True:
            found, had, payload = await self.next()
            if (found, had) == (kind, flags):
                return payload

    async def next(self) -> tuple[int, int, bytes]:
        """Kind, flags and payload of the next frame; settings are acknowledged."""
        size, kind, flags, _ = struct.unpack(">IBBI", b"\0" + await self._reader.readexactly(9))
        if kind == _SETTINGS and not flags & _ACK:
            self.send(_SETTINGS, _ACK)
        return kind, flags, await self._reader.readexactly(size)


@asynccontextmanager
async def _http2(server: GrpcServer) -> AsyncIterator[_Http2]:
    host, port = server.endpoints[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    client = _Http2(reader, writer)
    client.send(_SETTINGS, 0)
    try:
        yield client
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("limit", "farewell"), [("max_connection_age", b"max_age"), ("max_connection_idle", b"connection idle")]
)
@on_uvloop
async def test_old_or_idle_grpc_connection(limit: str, farewell: bytes) -> None:
    """A connection that is too old or too idle is told to go, and why."""
    keepalive = {"server_parameters": {limit: "100ms"}}
    async with grpc_server(RememberingIntake(), keepalive=keepalive) as server, _http2(server) as client:
        assert (await client.receive(_GOAWAY))[8:] == farewell


@on_uvloop
async def test_client_that_does_not_answer() -> None:
    """A silent client is pinged, and disconnected when it does not answer in time, which is less than a minute."""
    keepalive = {
        "server_parameters": {"time": "100ms", "timeout": "100ms"},
        "enforcement_policy": {"permit_without_stream": True},
    }
    async with grpc_server(RememberingIntake(), keepalive=keepalive) as server, _http2(server) as client:
        assert len(await client.receive(_PING)) == 8
        assert (await client.receive(_GOAWAY))[8:] == b"ping_timeout"


@on_uvloop
async def test_client_that_pings_too_often() -> None:
    """Pings that come too often are held against their client."""
    async with grpc_server(RememberingIntake()) as server, _http2(server) as client:
        kind, payload = _PING, b""
        while kind != _GOAWAY:
            if kind == _PING:
                client.send(_PING, 0, bytes(8))
            kind, _, payload = await client.next()

    assert payload[4:] == _ENHANCE_YOUR_CALM.to_bytes(4) + b"too_many_pings"


@on_uvloop
async def test_client_that_may_ping() -> None:
    """With a policy that permits them, pings are answered."""
    policy = {"min_time": "0", "permit_without_stream": True}
    async with (
        grpc_server(RememberingIntake(), keepalive={"enforcement_policy": policy}) as server,
        _http2(server) as client,
    ):
        for number in range(20):
            client.send(_PING, 0, bytes([number] * 8))
            assert await client.receive(_PING, _ACK) == bytes([number] * 8)


@on_uvloop
async def test_streams_of_a_connection() -> None:
    """Clients are told how many requests they may have in flight."""
    async with grpc_server(RememberingIntake(), max_concurrent_streams=7) as server, _http2(server) as client:
        settings = await client.receive(_SETTINGS)

    assert struct.pack(">HI", _MAX_CONCURRENT_STREAMS, 7) in [
        settings[at : at + 6] for at in range(0, len(settings), 6)
    ]
