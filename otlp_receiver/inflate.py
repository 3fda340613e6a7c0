"""HTTP content codings, undone piece by piece, so that a decompression bomb costs one piece of memory.

RFC 9110 section 8.4.1: gzip (RFC 1952, members may follow each other) and deflate (RFC 1950; some senders leave out
the zlib wrapper, which is understood too).
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from pipelines.ingest import BadRequest

PIECE_BYTES: Final = 1024 * 1024
"""Most that one step produces."""
_MAX_MEMBERS: Final = 1000
"""Each gzip member costs some microseconds, even an empty one of 20 bytes; a body made of them would stop the loop."""


class Decoder(Protocol):
    """Undoes one content coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds to the body, in pieces of at most PIECE_BYTES; raises BadRequest on a broken stream."""
        ...

    def finish(self) -> None:
        """To be called when the body has ended; raises BadRequest when the stream has not."""
        ...


class Identity:
    """No coding at all."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """`data` itself."""
        yield data

    def finish(self) -> None:
        """Nothing can be missing."""


class Gzip:
    """gzip, of one or more members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
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
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)


class Deflate:
    """deflate, with the zlib wrapper or without."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decoder`."""
        if self._stream is None:
            self._head += data
            if len(self._head) < _ZLIB_HEADER_BYTES:
                return
            data = self._head
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        yield from _inflate(self._stream, data, "deflate")
        if self._stream.unused_data:
            raise BadRequest("the deflate body goes on after the end of its stream")

    def finish(self) -> None:
        """See `Decoder`."""
        if self._head and not (self._stream and self._stream.eof):
            raise BadRequest("the deflate body ends before its stream does")


DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "": Identity,
    "identity": Identity,
    "gzip": Gzip,
    "x-gzip": Gzip,
    "deflate": Deflate,
}
"""By Content-Encoding, in lower case; empty when there is none."""

_ZLIB_HEADER_BYTES: Final = 2


def _is_zlib(data: bytes) -> bool:
    """Whether `data` starts as RFC 1950 section 2.2 says: method 8, and a multiple of 31."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:_ZLIB_HEADER_BYTES]) % 31 == 0


def _inflate(stream: "zlib._Decompress", data: bytes, coding: str) -> Iterator[bytes]:
    """Everything that `data` yields; a full piece may leave more behind, inside zlib too."""
    piece = b""
    while data or len(piece) == PIECE_BYTES:
        try:
            piece = stream.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise BadRequest(f"the {coding} body is broken: {error}") from None
        if piece:
            yield piece
        data = stream.unconsumed_tail
