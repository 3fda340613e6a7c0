"""Content codings, undone in bounded pieces."""

import gzip
import os
import random
import struct
import sys
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlp_receiver.inflate import DECODERS, PIECE_BYTES, coding_of
from pipelines.ingest import BadRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EMPTY_FRAME = zstd.compress(b"")
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
WBITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
STRATEGIES = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED]
BODIES = [b"x" * 5000, " ".join(map(str, range(1000))).encode(), random.Random(1).randbytes(1000)]


def inflate(coding: str, data: bytes, packet_bytes: int) -> bytes:
    """What a receiver gets when `data` arrives in packets."""
    decoder = DECODERS[coding]()
    pieces: list[bytes] = []
    for start in range(0, len(data), packet_bytes):
        pieces.extend(decoder.feed(data[start : start + packet_bytes]))
    decoder.finish()
    assert all(len(piece) <= max(PIECE_BYTES, packet_bytes) for piece in pieces)
    return b"".join(pieces)


def raw_deflate(data: bytes) -> bytes:
    """A deflate stream without the zlib wrapper."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@given(members=st.lists(st.binary(max_size=500), max_size=5), packet_bytes=st.integers(1, 200))
def test_gzip_of_any_members(members: list[bytes], packet_bytes: int) -> None:
    """Members one after the other are one body, wherever the packets are cut."""
    data = b"".join(gzip.compress(member) for member in members)

    assert inflate("gzip", data, packet_bytes) == b"".join(members)


def skippable(content: bytes) -> bytes:
    """A zstd frame that carries nothing of the body (RFC 8878 section 3.1.2)."""
    return b"\x5a\x2a\x4d\x18" + struct.pack("<I", len(content)) + content


@given(frames=st.lists(st.tuples(st.binary(max_size=500), st.booleans()), max_size=5), packet_bytes=st.integers(1, 200))
def test_zstd_of_any_frames(frames: list[tuple[bytes, bool]], packet_bytes: int) -> None:
    """Frames one after the other are one body, and skippable ones nothing of it, wherever the packets are cut."""
    data = b"".join(skippable(content) if skip else zstd.compress(content) for content, skip in frames)

    assert inflate("zstd", data, packet_bytes) == b"".join(content for content, skip in frames if not skip)


@given(body=st.binary(max_size=500), packet_bytes=st.integers(1, 200))
def test_deflate_with_and_without_wrapper(body: bytes, packet_bytes: int) -> None:
    """Both readings of "deflate" are understood, wherever the packets are cut."""
    assert inflate("deflate", zlib.compress(body), packet_bytes) == body
    assert inflate("deflate", raw_deflate(body), packet_bytes) == body


@pytest.mark.parametrize(
    "size_bytes", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, PIECE_BYTES + 195, 5 * PIECE_BYTES]
)
def test_around_the_piece_size(size_bytes: int) -> None:
    """Nothing is lost or added where a body just fills its pieces."""
    body = b"x" * size_bytes

    for packet_bytes in (1000, 10_000):
        assert inflate("gzip", gzip.compress(body), packet_bytes) == body
        assert inflate("deflate", zlib.compress(body), packet_bytes) == body
        assert inflate("deflate", raw_deflate(body), packet_bytes) == body
        assert inflate("zstd", zstd.compress(body), packet_bytes) == body


@pytest.mark.parametrize("size_bytes", [PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 5])
@pytest.mark.parametrize("packet_bytes", [1, 1000, 10_000])
def test_what_follows_a_stream_of_several_pieces(size_bytes: int, packet_bytes: int) -> None:
    """What follows is in unused and unconsumed data both, as zlib has it then: it is taken, or refused, once."""
    body = b"x" * size_bytes

    assert inflate("gzip", gzip.compress(body) + gzip.compress(b"y"), packet_bytes) == body + b"y"
    with pytest.raises(BadRequest, match="broken"):
        inflate("gzip", gzip.compress(body) + b"garbage", packet_bytes)
    with pytest.raises(BadRequest, match="goes on"):
        inflate("deflate", zlib.compress(body) + b"garbage", packet_bytes)


def test_zstd_bomb_comes_in_pieces() -> None:
    """What one packet becomes is never more than a piece at a time, however much it is."""
    decoder = DECODERS["zstd"]()
    pieces = decoder.feed(zstd.compress(bytes(256 * PIECE_BYTES)))

    assert [len(next(pieces)) for _ in range(100)] == [PIECE_BYTES] * 100


@pytest.mark.parametrize(("window_log", "is_taken"), [(23, True), (24, False), (27, False)])
def test_zstd_window(window_log: int, is_taken: bool) -> None:  # noqa: FBT001 - a parameter
    """A frame may demand 8 MiB of memory and no more (RFC 9659)."""
    body = os.urandom(PIECE_BYTES) + bytes((1 << window_log) - PIECE_BYTES + 1)
    data = zstd.compress(body, options={zstd.CompressionParameter.window_log: window_log})

    if is_taken:
        assert inflate("zstd", data, 10_000_000) == body
    else:
        with pytest.raises(BadRequest, match="too much memory"):
            inflate("zstd", data, 10_000_000)


def test_padding_after_a_member() -> None:
    """Zeros after a member are padding, in one packet or several, with a member after them or not."""
    data = gzip.compress(b"a") + b"\0" * 700 + gzip.compress(b"b") + b"\0" * 1500

    assert inflate("gzip", data, 100) == b"ab"
    assert inflate("gzip", data, 10_000) == b"ab"


@pytest.mark.parametrize("coding", list(PACK))
def test_no_bytes_are_an_empty_body(coding: str) -> None:
    """An empty body with a coding is an empty request."""
    assert inflate(coding, b"", 10) == b""


@pytest.mark.parametrize(
    ("coding", "data", "message"),
    [
        ("gzip", b"not gzip at all", "broken"),
        ("gzip", gzip.compress(b"x" * 1000)[:-1], "ends before"),
        ("gzip", gzip.compress(b"x")[:5], "ends before"),
        ("gzip", gzip.compress(b"x") + b"garbage", "broken"),
        ("gzip", gzip.compress(b"x")[:-8] + b"\0" * 8, "broken"),
        ("deflate", b"\xff\xff\xff", "broken"),
        ("deflate", zlib.compress(b"x" * 1000)[:-1], "ends before"),
        ("deflate", b"x", "ends before"),
        ("deflate", zlib.compress(b"x") + b"y", "goes on"),
        ("gzip", gzip.compress(b"") * 1001, "more than 1000 members"),
        ("zstd", b"not zstd at all", "broken"),
        ("zstd", zstd.compress(b"x" * 1000)[:-1], "ends before"),
        ("zstd", zstd.compress(b"x")[:3], "ends before"),
        ("zstd", zstd.compress(b"x") + b"garbage", "broken"),
        ("zstd", skippable(b"1234")[:-1], "ends before"),
        ("zstd", EMPTY_FRAME * 1001, "more than 1000 frames"),
        ("zstd", skippable(b"") * 1001, "more than 1000 frames"),
    ],
)
def test_broken_streams(coding: str, data: bytes, message: str) -> None:
    """Each way to be broken is a BadRequest that says which."""
    with pytest.raises(BadRequest, match=message):
        inflate(coding, data, 10_000)


@given(coding=st.sampled_from(list(PACK)), data=st.binary(max_size=300), flip=st.integers(0, 200))
def test_garbage_is_only_ever_a_bad_request(coding: str, data: bytes, flip: int) -> None:
    """Noise, and real streams with one byte changed, end in bytes or BadRequest."""
    stream = bytearray(PACK[coding](data))
    stream[flip % len(stream)] ^= 0x55
    for hostile in (data, bytes(stream)):
        try:
            inflate(coding, hostile, 50)
        except BadRequest:
            continue


def by_zlib(coding: str, data: bytes) -> bytes | None:
    """The body by the standard library, everything in one step; None when it refuses the stream."""
    body = b""
    while data:
        stream = zlib.decompressobj(WBITS[coding] if coding == "gzip" or has_wrapper(data) else -zlib.MAX_WBITS)
        try:
            body += stream.decompress(data)
        except zlib.error:
            return None
        if not stream.eof or (stream.unused_data and coding == "deflate"):
            return None
        data = stream.unused_data.lstrip(b"\0")
    return body


def has_wrapper(data: bytes) -> bool:
    """What RFC 1950 section 2.2 says of the first two bytes."""
    return len(data) > 1 and data[0] % 16 == zlib.DEFLATED and (data[0] * 256 + data[1]) % 31 == 0


@st.composite
def streams(draw: st.DrawFn, coding: str) -> bytes:
    """Of some sender, mostly with something wrong: bytes changed, the tail cut off, or something behind it."""
    compressor = zlib.compressobj(
        draw(st.sampled_from([0, 1, 6, 9])), wbits=WBITS[coding], strategy=draw(st.sampled_from(STRATEGIES))
    )
    stream = bytearray(compressor.compress(draw(st.sampled_from(BODIES) | st.binary(max_size=300))))
    stream += compressor.flush()
    for place, value in draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=3)):
        stream[place % len(stream)] = value
    kept = draw(st.just(len(stream)) | st.integers(0, len(stream)))
    return bytes(stream[:kept]) + draw(st.sampled_from([b"", b"\0\0", b"x", bytes(stream)]))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), packet_bytes=st.integers(1, 3000), piece_bytes=st.sampled_from([1, 7, 100, 4096]))
@pytest.mark.parametrize("coding", list(WBITS))
def test_the_same_as_zlib(coding: str, data: st.DataObject, packet_bytes: int, piece_bytes: int) -> None:
    """Streams are taken and refused as by zlib, to the same bytes, wherever packets and pieces are cut."""
    stream = data.draw(streams(coding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otlp_receiver.inflate.PIECE_BYTES", piece_bytes)
        try:
            body = inflate(coding, stream, packet_bytes)
        except BadRequest:
            body = None

    assert body == by_zlib(coding, stream)


@given(body=st.binary(max_size=500))
def test_coding_of_a_grpc_message(body: bytes) -> None:
    """What gRPC has compressed is told from what it has not: requests begin with field 1, or are empty."""
    assert coding_of(gzip.compress(body)) == "gzip"
    assert coding_of(zlib.compress(body)) == "deflate"
    assert coding_of(body and b"\x0a" + body) == ""
