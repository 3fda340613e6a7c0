"""How many parts a body has, before it is parsed: a part of two bytes on the wire takes two hundred in memory.

Two looks, the second only when the first cannot say: bytes that may begin a part are counted at the speed of memory,
which is never too few; then the parts themselves, up to the limit. A body with fewer bytes than that many parts could
have needs no look at all.
"""

import re
from functools import cache
from typing import Final

from otlp_receiver.decode import lenient
from otlp_receiver.decode.any_value import MOST_LEVELS
from otlp_receiver.decode.refusals import too_many_parts
from pipelines.ingest import BadRequest

MOST_PARTS: Final = 2**21
"""In one request: messages inside messages, or values in JSON. As many as 64 MiB of spans of everyday shape have."""
_LEAST_PART_BYTES: Final = 2
"""In protobuf: a tag and a length."""

_Parts = dict[int, str | None]
"""By tag: the kind of message that it holds, None for text that may repeat."""
_NO_PART: Final = ""


def require_sparse_protobuf(body: bytes, signal: lenient.Signal = "traces") -> None:
    """Raises BadRequest when an export request has too many parts, or is none."""
    if len(body) <= MOST_PARTS * _LEAST_PART_BYTES:
        return
    if len(body) - len(body.translate(None, _part_tags(signal))) > MOST_PARTS:
        try:
            _walk(body, signal)
        except IndexError:
            raise BadRequest("the body is not protobuf: it ends within a field") from None


def require_sparse_json(body: bytes) -> None:
    """Raises BadRequest when a body has too many values; whether it is JSON is not looked at."""
    if is_dense_json(body, MOST_PARTS):
        raise too_many_parts(MOST_PARTS)


def is_dense_json(text: bytes, most_values: int) -> bool:
    """Whether a JSON text has more values than that; whether it is JSON is not looked at."""
    return len(text) > most_values and _marks(text) > most_values and _marks(_STRING.sub(b"", text)) > most_values


# --- JSON ------------------------------------------------------------------------------------------------------------

_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""To the end when it does not end, so that no byte is looked at twice."""


def _marks(body: bytes) -> int:
    return body.count(b"{") + body.count(b"[") + body.count(b",")


# --- protobuf --------------------------------------------------------------------------------------------------------

_LENGTH_DELIMITED: Final = 2
_FIXED_BYTES: Final = {1: 8, 5: 4}
_CONTINUES: Final = 0x80
_MOST_NUMBER_BYTES: Final = 10


@cache
def _parts(signal: lenient.Signal) -> dict[str, _Parts]:
    """By kind of message, what in it is a part."""
    found: dict[str, _Parts] = {}
    left = [lenient.request_class(signal).DESCRIPTOR]
    while left:
        message = left.pop()
        if message.full_name in found:
            continue
        fields = [field for field in message.fields if field.message_type is not None or field.is_repeated]
        left.extend(field.message_type for field in fields if field.message_type is not None)
        found[message.full_name] = {
            field.number << 3 | _LENGTH_DELIMITED: field.message_type and field.message_type.full_name
            for field in fields
        }
    return found


@cache
def _part_tags(signal: lenient.Signal) -> bytes:
    """First bytes of the tags of all parts, also of tags that are written longer than they need to be."""
    tags = {tag & 0x7F for parts in _parts(signal).values() for tag in parts}
    return bytes(sorted(tags | {tag | _CONTINUES for tag in tags}))


def _walk(body: bytes, signal: lenient.Signal) -> None:
    """Count along the wire format (protobuf.dev, "Encoding"); raises IndexError where the body ends too early."""
    kinds = _parts(signal)
    parts, count, start, end = kinds[lenient.request_class(signal).DESCRIPTOR.full_name], 0, 0, len(body)
    around: list[tuple[int, _Parts]] = []
    while True:
        while start >= end:
            if not around:
                return
            end, parts = around.pop()
        tag, start = _number(body, start)
        if tag & 7 != _LENGTH_DELIMITED:
            start = _after(body, start, tag & 7)
            continue
        size_bytes, start = _number(body, start)
        if start + size_bytes > end:
            raise BadRequest(f"the body is not protobuf: the field at byte {start} is longer than its message")
        kind = parts.get(tag, _NO_PART)
        if kind != _NO_PART:
            count += 1
            if count > MOST_PARTS:
                raise too_many_parts(MOST_PARTS)
        if kind:
            around.append((end, parts))
            end, parts = start + size_bytes, kinds[kind]
            if len(around) > MOST_LEVELS:
                raise BadRequest(f"the body nests messages deeper than {MOST_LEVELS} levels")
        else:
            start += size_bytes


def _after(body: bytes, start: int, wire_type: int) -> int:
    """Where the field after one of fixed size, or of one number, starts."""
    if wire_type == 0:
        return _number(body, start)[1]
    if wire_type not in _FIXED_BYTES:
        raise BadRequest(f"the body is not protobuf: wire type {wire_type} at byte {start}")
    return start + _FIXED_BYTES[wire_type]


def _number(body: bytes, start: int) -> tuple[int, int]:
    """A base-128 number and where it ends."""
    byte = body[start]
    if byte < _CONTINUES:
        return byte, start + 1
    value = byte & 0x7F
    for place in range(1, _MOST_NUMBER_BYTES):
        byte = body[start + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < _CONTINUES:
            return value, start + place + 1
    raise BadRequest(f"the body is not protobuf: no number ends before byte {start + _MOST_NUMBER_BYTES}")
