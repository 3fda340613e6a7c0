"""OTLP/gRPC as raw HTTP/2 frames: what no gRPC library would send."""

import asyncio
import gzip
import struct
import zlib
from typing import Final

import grpc
import pytest

from otlp_receiver import service
from otlp_receiver.admission import Admission
from otlp_receiver.grpc_server import GrpcServer
from tests.support.otlp import export, span, to_protobuf
from tests.support.receivers import (
    EXPORT_METHODS,
    MIB,
    RememberingIntake,
    grpc_channel,
    grpc_server,
    on_uvloop,
)

BODY: Final = to_protobuf(export(span(), span()))
TRACES: Final = EXPORT_METHODS["traces"]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 section 4.1."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers_frame(**more: str) -> bytes:
    """Headers of an export call, as literals without indexing or Huffman coding (RFC 7541 section 6.2.2)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": TRACES,
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
    } | {name.replace("_", "-"): value for name, value in more.items()}
    block = b"".join(
        bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields.items()
    )
    return frame(1, 4, 1, block)


def message_frame(body: bytes, *, compressed: bool) -> bytes:
    """One gRPC message that ends its stream."""
    return frame(0, 1, 1, struct.pack(">?I", compressed, len(body)) + body)


async def raw_status(server: GrpcServer, data: bytes) -> int:
    """The grpc-status of the one call whose frames are `data`."""
    host, port = server.endpoints[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + data)
    received = b""
    try:
        while b"grpc-status" not in received or received.endswith(b"grpc-status"):
            chunk = await reader.read(65536)
            assert chunk, f"connection closed after {received!r}"
            received += chunk
    finally:
        writer.close()
    _, _, value = received.partition(b"grpc-status")
    return int(value[1 : 1 + value[0]])


@on_uvloop
async def test_raw_client_is_right() -> None:
    """The raw client of the next tests speaks the protocol: a call of its is taken."""
    intake = RememberingIntake()
    async with grpc_server(intake) as server:
        assert await raw_status(server, headers_frame() + message_frame(BODY, compressed=False)) == 0

    assert [request.body for request in intake.consumed] == [BODY]


@on_uvloop
async def test_unknown_compression() -> None:
    """A compression that gRPC does not know is refused for good by gRPC itself; the next call is not harmed."""
    intake = RememberingIntake()
    call = headers_frame(grpc_encoding="zstd") + message_frame(b"not compressed at all", compressed=True)
    async with grpc_server(intake) as server, grpc_channel(server) as channel:
        assert await raw_status(server, call) == grpc.StatusCode.INTERNAL.value[0]
        assert await channel.unary_unary(TRACES)(BODY) == b""

    assert len(intake.consumed) == 1


@pytest.mark.parametrize(
    ("encoding", "message"), [("gzip", gzip.compress(BODY)[:-9]), ("deflate", zlib.compress(BODY)[:-5] + b"xxxxx")]
)
@on_uvloop
async def test_broken_compression(encoding: str, message: bytes) -> None:
    """A broken stream is the sender's fault, and refused for good."""
    intake = RememberingIntake()
    call = headers_frame(grpc_encoding=encoding) + message_frame(message, compressed=True)
    async with grpc_server(intake) as server:
        assert await raw_status(server, call) == grpc.StatusCode.INVALID_ARGUMENT.value[0]

    assert not intake.consumed


@on_uvloop
async def test_no_message_at_all() -> None:
    """A call that ends before its message is refused for good."""
    intake = RememberingIntake()
    async with grpc_server(intake) as server:
        status = await raw_status(server, headers_frame() + frame(0, 1, 1, b""))

    assert status == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert not intake.consumed


@on_uvloop
async def test_slow_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that does not arrive in time gives its place back; the sender may try again."""
    monkeypatch.setattr(service, "_BODY_TIMEOUT_SECONDS", 0.05)
    intake, admission = RememberingIntake(), Admission(MIB)
    async with grpc_server(intake, admission=admission) as server:
        half = frame(0, 0, 1, struct.pack(">?I", False, 1000) + b"only this")
        assert await raw_status(server, headers_frame() + half) == grpc.StatusCode.UNAVAILABLE.value[0]

    assert not intake.consumed
    assert admission.held_bytes == 0


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0" * 1000])
@on_uvloop
async def test_what_is_no_http2(data: bytes) -> None:
    """Other protocols are cut off, and harm nobody."""
    async with grpc_server(RememberingIntake()) as server, grpc_channel(server) as channel:
        host, port = server.endpoints[0].rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        writer.write_eof()
        await reader.read()
        writer.close()
        assert await channel.unary_unary(TRACES)(BODY) == b""
