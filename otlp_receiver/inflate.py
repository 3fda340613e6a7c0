"""Content codings, undone piece by piece, so that a decompression bomb costs one piece of memory.

RFC 9110 section 8.4.1: gzip (RFC 1952, members may follow each other) and deflate (RFC 1950; some senders leave out
the zlib wrapper, which is understood too). RFC 8878: zstd, of frames that may follow each other. The zstd package is
the standard library's own of Python 3.14: of all bindings the one whose steps can be bounded in what they produce.

zlib-ng takes and refuses exactly what zlib does, at two thirds of its cost (decision 0012).
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from zlib_ng import zlib_ng

from pipelines.ingest import BadRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES: Final = 1024 * 1024
"""Most that one step produces."""
_MAX_MEMBERS: Final = 1000
"""Each gzip member costs some microseconds, even an empty one of 20 bytes; a body made of them would stop the loop."""
_MAX_FRAMES: Final = 1000
"""The same of zstd, where a frame may have 9 bytes."""
_WINDOW_BYTES_LOG2: Final = 23
"""8 MiB, which RFC 9659 sets as the most that a sender may demand."""


class Decoder(Protocol):
    """Undoes one content coding.

    Attributes:
        window_bytes: most of the body that it keeps a copy of.
    """

    window_bytes: int

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds to the body, in pieces of at most PIECE_BYTES; raises BadRequest on a broken stream."""
        ...

    def finish(self) -> None:
        """To be called when the body has ended; raises BadRequest when the stream has not."""
        ...


class Identity:
    """No coding at all."""

    window_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """`data` itself."""
        yield data

    def finish(self) -> None:
        """Nothing can be missing."""


class Gzip:
    """gzip, of one or more members."""

    window_bytes = 1 << zlib_ng.MAX_WBITS

    def __init__(self) -> None:
        self._member = zlib_ng.decompressobj(zlib_ng.MAX_WBITS | 16)
        self._members = 1
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder`."""
        self._fed = self._fed or bool(data)
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding after a member, as tape and block writers leave it
                if not data:
                    return
                self._next_member()
            yield from _inflate(self._member, data, "gzip")
            data = self._member.unused_data

    def finish(self) -> None:
        """See `Decoder`."""
        if self._fed and not self._member.eof:
            raise BadRequest("the gzip body ends before its stream does")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise BadRequest(f"the gzip body has more than {_MAX_MEMBERS} members")
        self._member = zlib_ng.decompressobj(zlib_ng.MAX_WBITS | 16)


class Deflate:
    """deflate, with the zlib wrapper or without."""

    window_bytes = 1 << zlib_ng.MAX_WBITS

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib_ng._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder`."""
        if self._stream is None:
            self._head += data
            if len(self._head) < _ZLIB_HEADER_BYTES:
                return
            data = self._head
            self._stream = zlib_ng.decompressobj(zlib_ng.MAX_WBITS if _is_zlib(data) else -zlib_ng.MAX_WBITS)
        yield from _inflate(self._stream, data, "deflate")
        if self._stream.unused_data:
            raise BadRequest("the deflate body goes on after the end of its stream")

    def finish(self) -> None:
        """See `Decoder`."""
        if self._head and not (self._stream and self._stream.eof):
            raise BadRequest("the deflate body ends before its stream does")


class Zstd:
    """zstd, of one or more frames; skippable ones yield nothing."""

    window_bytes = 1 << _WINDOW_BYTES_LOG2

    def __init__(self) -> None:
        self._frames = 0
        self._frame: zstd.ZstdDecompressor | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder`."""
        while data:
            if self._frame is None:
                self._frame = self._next_frame()
            yield from _inflate_frame(self._frame, data)
            if not self._frame.eof:
                return
            data, self._frame = self._frame.unused_data, None

    def finish(self) -> None:
        """See `Decoder`."""
        if self._frame is not None:
            raise BadRequest("the zstd body ends before its frame does")

    def _next_frame(self) -> "zstd.ZstdDecompressor":
        self._frames += 1
        if self._frames > _MAX_FRAMES:
            raise BadRequest(f"the zstd body has more than {_MAX_FRAMES} frames")
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_BYTES_LOG2})


DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "": Identity,
    "identity": Identity,
    "gzip": Gzip,
    "x-gzip": Gzip,
    "deflate": Deflate,
    "zstd": Zstd,
}
"""By Content-Encoding, in lower case; empty when there is none."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZLIB_METHOD: Final = b"\x78"
"""With a window of 32 KiB, which every gRPC implementation takes."""
_ZLIB_HEADER_BYTES: Final = 2
_FED_BYTES: Final = 64 * 1024
"""What zlib-ng does not get rid of in one step it copies, so a step gets little."""


async def unpack(decoder: Decoder, data: bytes, body: bytearray, grow: Callable[[int], None]) -> None:
    """Append to `body` what `data` adds to it, with others' turns in between: a bomb is many pieces of few bytes.

    `grow` is told the size of the body after each piece, and may raise.
    """
    for start in range(0, len(data), _FED_BYTES):
        for piece in decoder.feed(data[start : start + _FED_BYTES] if len(data) > _FED_BYTES else data):
            body += piece
            grow(len(body))
            if start or len(piece) == PIECE_BYTES:
                await asyncio.sleep(0)


def coding_of(message: bytes) -> str:
    """The coding of a gRPC message that may be compressed (gzip or deflate), empty when it is not.

    gRPC's Python layer does not say. But no protobuf begins like gzip (a wire type that does not exist), and no OTLP
    request like deflate (a plain number, where requests have nothing but lists of messages).
    """
    if message.startswith(_GZIP_MAGIC):
        return "gzip"
    return "deflate" if message.startswith(_ZLIB_METHOD) and len(message) > 1 and _is_zlib(message) else ""


def _is_zlib(data: bytes) -> bool:
    """Whether `data` starts as RFC 1950 section 2.2 says: method 8, and a multiple of 31."""
    return data[0] & 0x0F == zlib_ng.DEFLATED and int.from_bytes(data[:_ZLIB_HEADER_BYTES]) % 31 == 0


def _inflate_frame(frame: "zstd.ZstdDecompressor", data: bytes) -> Iterator[bytes]:
    """Everything that `data` yields up to the end of the frame."""
    while not frame.eof and (data or not frame.needs_input):
        try:
            piece = frame.decompress(data, PIECE_BYTES)
        except zstd.ZstdError as error:
            raise BadRequest(f"the zstd body is broken: {error}") from None
        if piece:
            yield piece
        data = b""


def _inflate(stream: "zlib_ng._Decompress", data: bytes, coding: str) -> Iterator[bytes]:
    """Everything that `data` yields; a full piece may leave more behind, inside zlib-ng too."""
    piece = b""
    while data or len(piece) == PIECE_BYTES:
        try:
            piece = stream.decompress(data, PIECE_BYTES)
        except zlib_ng.error as error:  # type: ignore[misc]  # its stub takes the class for an instance
            raise BadRequest(f"the {coding} body is broken: {error}") from None
        if piece:
            yield piece
        data = b"" if stream.eof else stream.unconsumed_tail  # at the end it may be what is in unused_data too
