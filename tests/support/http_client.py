"""Clients that share nothing with the server: aiohttp's, and raw bytes."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp
from google.protobuf import json_format
from google.rpc.status_pb2 import Status

from otlp_receiver.http_server import HttpServer
from tests.support.otlp import export, span, to_protobuf

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
BODY: Final = to_protobuf(export(span(), span()))


@asynccontextmanager
async def post(server: HttpServer, body: Any, path: str = "/v1/traces", **headers: str) -> AsyncIterator[Any]:
    """The response to a POST by aiohttp's client; header names with underscores for dashes."""
    named = {"Content-Type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
    data = io.BytesIO(body) if isinstance(body, bytes) else body  # aiohttp warns of large bytes
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(f"http://{server.endpoints[0]}{path}", data=data, headers=named) as response,
    ):
        yield response


class RawClient:
    """A connection on which a test writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Raises ConnectionError when the server has closed the connection; uvloop has a RuntimeError for that."""
        if self.writer.is_closing():
            raise ConnectionResetError("the server has closed the connection")
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split(" ")[1]), headers, body

    async def until_closed(self) -> None:
        """Wait until the server has closed the connection."""
        with suppress(ConnectionError):  # what the server has not read breaks the connection
            assert await self.reader.read() == b""


@asynccontextmanager
async def raw(server: HttpServer) -> AsyncIterator[RawClient]:
    """A raw connection, closed at the end."""
    host, port = server.endpoints[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


def head(length_bytes: int | None, *lines: str, path: str = "/v1/traces") -> bytes:
    """A request's head; chunked when there is no length."""
    framing = "Transfer-Encoding: chunked" if length_bytes is None else f"Content-Length: {length_bytes}"
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {PROTOBUF}", framing, *lines, "", ""]
    ).encode()


def status_in(body: bytes, content_type: str) -> Status:
    """The google.rpc.Status of an error body."""
    return Status.FromString(body) if content_type == PROTOBUF else json_format.Parse(body, Status())
