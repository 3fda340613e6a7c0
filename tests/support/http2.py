"""As much of HTTP/2 (RFC 9113) as one gRPC call on one connection needs, with flow control seen from the sender."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW: Final = 4
"""SETTINGS_INITIAL_WINDOW_SIZE."""
_FRAME_BYTES: Final = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 section 4.1."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def preface() -> bytes:
    """What a client begins with."""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"")


def headers_frame(path: str, coding: str = "", stream: int = 1) -> bytes:
    """Headers of a call, as literals without indexing or Huffman coding (RFC 7541 section 6.2.2)."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x",
              "content-type": "application/grpc", "te": "trailers"}  # fmt: skip
    if coding:
        fields["grpc-encoding"] = coding
    block = b"".join(
        bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields.items()
    )
    return frame(HEADERS, _END_HEADERS, stream, block)


def message_start(size_bytes: int, stream: int = 1, *, end: bool = False) -> bytes:
    """The beginning of a gRPC message of so many bytes, without any of them."""
    return frame(DATA, _END_STREAM if end else 0, stream, struct.pack(">?I", False, size_bytes))


class Http2Call:
    """One call, stream 1 of its connection; sends as much as the server permits and no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._windows = {0: 65_535, 1: 65_535}
        self._initial_window = 65_535
        self._moved = asyncio.Event()
        self._ended = False
        self._answer = "cut off"

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int, path: str, coding: str = "") -> AsyncIterator[Self]:
        """A call whose headers are sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        made = cls(reader, writer)
        writer.write(preface() + headers_frame(path, coding))
        listening = asyncio.ensure_future(made._listen())
        try:
            yield made
        finally:
            listening.cancel()
            writer.transport.abort()

    async def send(self, data: bytes) -> bool:
        """Send message bytes, waiting for room; False when the call has ended."""
        start = 0
        while start < len(data) and not self._ended:
            size = min(_FRAME_BYTES, len(data) - start, *self._windows.values())
            if size <= 0:
                self._moved.clear()
                await self._moved.wait()
                continue
            self._windows = {stream: window - size for stream, window in self._windows.items()}
            self._writer.write(frame(DATA, 0, 1, data[start : start + size]))
            start += size
            await self._writer.drain()
        return not self._ended

    async def status(self, *, end: bool = False) -> str:
        """`grpc` and the status code, once the call has ended; `end` says that the message is complete."""
        if end and not self._ended:
            self._writer.write(frame(DATA, _END_STREAM, 1, b""))
        while not self._ended:
            self._moved.clear()
            await self._moved.wait()
        return self._answer

    async def _listen(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(header[:3]))
                self._note(header[3], header[4], int.from_bytes(header[5:]), payload)
                self._moved.set()
        except (EOFError, OSError):
            self._ended = True
            self._moved.set()

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & _ACK:
            self._note_settings(payload)
        elif kind == PING and not flags & _ACK:
            self._writer.write(frame(PING, _ACK, 0, payload))
        elif kind == HEADERS and b"grpc-status" in payload:
            _, _, value = payload.partition(b"grpc-status")
            self._answer = f"grpc {int(value[1 : 1 + value[0]])}"
            self._ended = True
        elif kind == RST_STREAM:
            self._ended = True

    def _note_settings(self, payload: bytes) -> None:
        for number, value in struct.iter_unpack(">HI", payload):
            if number == _INITIAL_WINDOW:
                self._windows[1] += value - self._initial_window
                self._initial_window = value
        self._writer.write(frame(SETTINGS, _ACK, 0, b""))
