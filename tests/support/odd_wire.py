"""Requests that follow OTLP's messages and bend the wire format: what no sender of ours would write, and any may."""

import random
from typing import Any, Final

from otlp_receiver.decode import lenient

_REQUEST: Final = lenient.request_class().DESCRIPTOR
_WIRE_TYPES: Final = {1: 1, 3: 0, 5: 0, 6: 1, 7: 5, 8: 0, 13: 0, 14: 0, 11: 2, 12: 2}
"""By type of a field in descriptor.proto."""
_TEXTS: Final = (
    b"",
    b"a",
    b"b",
    b"gen_ai.system",
    "é☀️".encode(),
    b"\xed\xa0\xbd",
    b"\xff\x00",
    b"\xf0\x9f\x98",
    b'"\\\n\x1f',
)
_NUMBERS: Final = (0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_MOST_LEVELS: Final = 12


def odd_request(chance: random.Random, oddness: float) -> bytes:
    """A request whose every choice is odd with this probability; with 0 it is well-formed."""
    return _message(_REQUEST, chance, oddness, 0)


def _message(kind: Any, chance: random.Random, oddness: float, level: int) -> bytes:
    few = 4 if level < _MOST_LEVELS else 1
    chosen = [chance.choice(kind.fields) for _ in range(chance.randrange(few + 1))]
    if kind.name == "Span":
        chosen = [*kind.fields[:2], *chosen, *chosen[:1]]
    pieces = [_odd_field(chance) if chance.random() < oddness else b"" for _ in chosen]
    return b"".join(p + _field(field, chance, oddness, level) for p, field in zip(pieces, chosen, strict=True))


def _field(field: Any, chance: random.Random, oddness: float, level: int) -> bytes:
    wire_type = _WIRE_TYPES[field.type]
    if chance.random() < oddness / 2:
        wire_type = chance.choice((0, 1, 2, 5))
    if wire_type == 2:
        return tag(field.number, 2, chance, oddness) + _sized(_content(field, chance, oddness, level), chance, oddness)
    return tag(field.number, wire_type, chance, oddness) + _value(wire_type, chance, oddness)


def _content(field: Any, chance: random.Random, oddness: float, level: int) -> bytes:
    if field.message_type is not None:
        return b"" if level > 2 * _MOST_LEVELS else _message(field.message_type, chance, oddness, level + 1)
    size = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}.get(field.name)
    if size is None:
        return chance.choice(_TEXTS)
    return chance.choice((b"", bytes(size), bytes(5))) if chance.random() < oddness else chance.randbytes(size)


def _value(wire_type: int, chance: random.Random, oddness: float) -> bytes:
    match wire_type:
        case 0:
            return varint(chance.choice(_NUMBERS), chance.randrange(12) if chance.random() < oddness else 0)
        case 1:
            return chance.choice((chance.randbytes(8), bytes(8), b"\0\0\0\0\0\0\xf0\x7f", b"\0\0\0\0\0\0\xf0\x3f"))
    return chance.randbytes(4)


def _odd_field(chance: random.Random) -> bytes:
    """A field that OTLP has not, a group, or what is no field at all."""
    inner = b"".join(_odd_field(chance) for _ in range(chance.randrange(2)))
    number = chance.choice((0, 1, 2, 9, 19, 1000, 2**28, 2**29 - 1))
    end = chance.choice((number, number, number, 7))
    return chance.choice(
        (
            varint(number << 3 | 3) + inner + varint(end << 3 | 4),
            varint(number << 3 | 2) + b"\x03abc",
            varint(number << 3) + varint(5, chance.randrange(12)),
            varint(2**32 + 8) + b"\x01",
            varint(number << 3 | chance.randrange(8)),
        )
    )


def _sized(content: bytes, chance: random.Random, oddness: float) -> bytes:
    extra = chance.randrange(6) if chance.random() < oddness else 0
    off = chance.choice((1, -1, 2**31, 2**32)) if chance.random() < oddness / 8 else 0
    return varint(max(0, len(content) + off), extra) + content


def tag(number: int, wire_type: int, chance: random.Random, oddness: float = 0) -> bytes:
    """A tag, sometimes longer than it need be."""
    return varint(number << 3 | wire_type, chance.randrange(5) if chance.random() < oddness else 0)


def varint(value: int, extra_bytes: int = 0) -> bytes:
    """A base-128 number, in so many bytes more than it needs."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    for _ in range(extra_bytes):
        result[-1] |= 0x80
        result.append(0)
    return bytes(result)
