"""Content codings, undone in bounded pieces."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp_receiver.inflate import DECODERS, PIECE_BYTES
from pipelines.ingest import BadRequest


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


def test_padding_after_a_member() -> None:
    """Zeros after a member are padding, in one packet or several, with a member after them or not."""
    data = gzip.compress(b"a") + b"\0" * 700 + gzip.compress(b"b") + b"\0" * 1500

    assert inflate("gzip", data, 100) == b"ab"
    assert inflate("gzip", data, 10_000) == b"ab"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
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
    ],
)
def test_broken_streams(coding: str, data: bytes, message: str) -> None:
    """Each way to be broken is a BadRequest that says which."""
    with pytest.raises(BadRequest, match=message):
        inflate(coding, data, 10_000)


@given(coding=st.sampled_from(["gzip", "deflate"]), data=st.binary(max_size=300), flip=st.integers(0, 200))
def test_garbage_is_only_ever_a_bad_request(coding: str, data: bytes, flip: int) -> None:
    """Noise, and real streams with one byte changed, end in bytes or BadRequest."""
    stream = bytearray(gzip.compress(data) if coding == "gzip" else zlib.compress(data))
    stream[flip % len(stream)] ^= 0x55
    for hostile in (data, bytes(stream)):
        try:
            inflate(coding, hostile, 50)
        except BadRequest:
            continue
