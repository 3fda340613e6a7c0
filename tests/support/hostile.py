"""Senders that mean no good, on raw sockets: they hold next to nothing themselves, however much they send."""

import asyncio
import resource
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from typing import Final

from tests.support.http2 import Http2Call
from tests.support.senders import JSON, PROTOBUF, TRACES

MIB: Final = 2**20
ZEROS: Final = bytes(MIB)
Answer = str
"""An HTTP status, `grpc` and a status code, or `cut off`."""
_LETTERS: Final = b"x" * MIB


def allow_files(count: int) -> None:
    """Raise this process's limit on open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


async def all_at_once(calls: Iterable[Awaitable[Answer]]) -> Counter[Answer]:
    """How often each answer was given."""

    async def answer(call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except (OSError, EOFError):
            return "cut off"

    return Counter(await asyncio.gather(*map(answer, calls)))


# --- HTTP ------------------------------------------------------------------------------------------------------------


def head(length_bytes: int | None, *, json: bool = False, coding: str = "") -> bytes:
    """A request's head; chunked when there is no length."""
    lines = [
        "POST /v1/traces HTTP/1.1",
        "Host: x",
        f"Content-Type: {JSON if json else PROTOBUF}",
        "Transfer-Encoding: chunked" if length_bytes is None else f"Content-Length: {length_bytes}",
        *([f"Content-Encoding: {coding}"] if coding else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def post(port: int, pieces: Iterable[bytes], request_head: bytes) -> Answer:
    """One request; what the service answers before it has read everything counts too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.ensure_future(_send(writer, pieces, request_head))
    try:
        line = await reader.readline()
        return line.split(b" ")[1].decode() if line else "cut off"
    finally:
        sending.cancel()
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, pieces: Iterable[bytes], request_head: bytes) -> None:
    chunked = b"chunked" in request_head
    writer.write(request_head)
    with suppress(OSError):
        for piece in pieces:
            writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n" if chunked else piece)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


@asynccontextmanager
async def held(port: int, count: int, beginning: bytes) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Connections on which the beginning of something has been sent."""
    async with AsyncExitStack() as stack:
        writers = []
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            stack.callback(writer.transport.abort)
            writer.write(beginning)
            writers.append(writer)
        yield writers


async def send_without_reading(port: int, data: bytes, seconds: float) -> int:
    """Send `data` again and again, and never read; returns how many bytes the service has taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    sent_bytes = 0
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                writer.write(data)
                await writer.drain()
                sent_bytes += len(data)
    assert reader is not None  # kept, so that nobody reads
    writer.transport.abort()
    return sent_bytes


# --- gRPC ------------------------------------------------------------------------------------------------------------


async def call(port: int, pieces: Iterable[bytes], size_bytes: int, coding: str = "") -> Answer:
    """One gRPC call on a connection of its own."""
    async with Http2Call.open(port, TRACES, coding) as made:
        await made.send(struct.pack(">?I", bool(coding), size_bytes))
        for piece in pieces:
            if not await made.send(piece):
                break
        return await made.status(end=True)


# --- bodies ----------------------------------------------------------------------------------------------------------


def field(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + varint(len(body)) + body


def varint(value: int) -> bytes:
    """A base-128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


_IDS: Final = field(1, b"t" * 16) + field(2, b"s" * 8)


@cache
def large_span(size_mib: int) -> tuple[bytes, ...]:
    """A request of one span with one attribute, of exactly so many MiB, in pieces."""
    text_bytes = size_mib * MIB - len(_around(size_mib * MIB))
    text_bytes = size_mib * MIB - len(_around(text_bytes))
    return (_around(text_bytes), *[_LETTERS] * (text_bytes // MIB), _LETTERS[: text_bytes % MIB])


def _around(text_bytes: int) -> bytes:
    """The beginning of a request whose last attribute value has so many bytes."""
    start = b""
    for number, before in ((1, b""), (2, field(1, b"prompt")), (9, _IDS), (2, b""), (2, b""), (1, b"")):
        start = before + bytes([number << 3 | 2]) + varint(text_bytes + len(start)) + start
    return start


def dense(part: bytes, size_mib: int) -> tuple[bytes, ...]:
    """`part` again and again."""
    return (part * (MIB // len(part)),) * size_mib


@cache
def bomb(coding: str) -> bytes:
    """1 GiB of zeros in some 1 MiB or less; the streams do not end."""
    if coding == "zstd":
        return _zstd_bomb()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)  # depends on nothing before it
    begin = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" if coding == "gzip" else b"\x78\x9c"
    return begin + block * 1024


def _zstd_bomb() -> bytes:
    """One frame of 8,192 blocks that repeat a byte 128 KiB times (RFC 8878 section 3.1.1.2)."""
    block = struct.pack("<I", 128 * 1024 << 3 | 1 << 1)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * 8192
