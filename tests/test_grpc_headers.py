"""OTLP/gRPC headers that are no text: what gRPC for Python does with them must not become the service's fault."""

import asyncio
import struct
from typing import Any, Final

import grpc
import pytest

from otlp_receiver import grpc_server as grpc_server_module
from otlp_receiver.grpc_server import GrpcServer
from otlp_receiver.sockets import bind
from tests.support.http2 import DATA, HEADERS, frame, headers_frame, preface
from tests.support.http_client import BODY
from tests.support.receivers import EXPORT_METHODS, RememberingIntake, grpc_channel, grpc_server, on_uvloop, until

_TRACES: Final = EXPORT_METHODS["traces"]
_HEADERS: Final = headers_frame(_TRACES)
_MESSAGE: Final = frame(DATA, 1, 1, struct.pack(">?I", False, len(BODY)) + BODY)
_FRAME_HEAD_BYTES: Final = 9


async def _call(channel: grpc.aio.Channel) -> None:
    """A call; what meets the server in between may be told to come again, which exporters do."""
    for _ in range(20):
        try:
            await channel.unary_unary(_TRACES)(b"the next call", wait_for_ready=True, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
        else:
            return


async def _send(server: GrpcServer, headers: bytes) -> None:
    """One call with these headers, left open until the next call has been served."""
    host, port = server.endpoints[0].rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(preface() + headers + _MESSAGE)
        await writer.drain()
        async with grpc_channel(server) as channel:
            await _call(channel)
    finally:
        writer.close()


@on_uvloop
async def test_method_that_is_no_text() -> None:
    """One call of a method whose name is not UTF-8 does not end the service for everybody else."""
    intake = RememberingIntake()
    async with grpc_server(intake) as server:
        for _ in range(2):
            await _send(server, _HEADERS.replace(b"/Export", b"/Expor\xff"))

    assert [request.body for request in intake.consumed] == [b"the next call"] * 2


@on_uvloop
async def test_port_taken_while_the_server_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot listen again at once tries until it can, and nobody has to restart it."""
    refusals = [OSError("address in use")]

    def refuse_once(*of: Any, **how: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return bind(*of, **how)

    intake = RememberingIntake()
    async with grpc_server(intake) as server:
        monkeypatch.setattr(grpc_server_module, "bind", refuse_once)
        await _send(server, _HEADERS.replace(b"/Export", b"/Expor\xff"))

    assert not refusals
    assert [request.body for request in intake.consumed] == [b"the next call"]


@on_uvloop
async def test_metadata_that_is_no_text(caplog: pytest.LogCaptureFixture) -> None:
    """Metadata may hold credentials: nothing of it is in the log, however broken it is."""
    name, value = b"authorization", b"Bearer \xffsecret"
    block = _HEADERS[_FRAME_HEAD_BYTES:] + bytes([0, len(name)]) + name + bytes([len(value)]) + value
    intake = RememberingIntake()
    async with grpc_server(intake) as server:
        await _send(server, frame(HEADERS, 4, 1, block))
        await until(lambda: len(intake.consumed) == 2)

    assert "secret" not in caplog.text
