"""JSON as real exporters spell it, turned into JSON: on the bytes, since Python's text and objects take ten times more.

Bytes that are not UTF-8, and halves of surrogate pairs (a cut emoji), become U+FFFD; NaN and Infinity the strings that
proto3 JSON has for them; a byte order mark goes.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Final

_PIECE_BYTES: Final = 1024 * 1024
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|NaN|-?Infinity', re.DOTALL)
"""A string, to the end when it does not end, so that no byte is looked at twice; or a number unknown to JSON."""
_PAIR: Final = rb"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rb"\\(?:" + _PAIR + rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)


def repair(body: bytes) -> bytes:
    """The body with such spellings replaced; what else may be wrong with it stays."""
    return _TOKEN.sub(_repair_token, b"".join(_utf8(body.removeprefix(codecs.BOM_UTF8))))


def _utf8(body: bytes) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for start in range(0, len(body), _PIECE_BYTES):
        yield decoder.decode(body[start : start + _PIECE_BYTES]).encode()
    yield decoder.decode(b"", final=True).encode()


def _repair_token(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if not text.startswith(b'"'):
        return b'"%s"' % text
    return _ESCAPE.sub(_repair_escape, text) if b"\\u" in text else text


def _repair_escape(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else b"\\ufffd"
