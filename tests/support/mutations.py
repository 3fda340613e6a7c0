"""Bytes and JSON as a broken or hostile sender would have them."""

import copy
import random
from typing import Any, Final


def mutated(body: bytes, chance: random.Random, changes: int) -> bytes:
    """`body` with bytes changed, removed, doubled, or its tail cut off."""
    result = bytearray(body or b"\n")
    for _ in range(changes):
        place = chance.randrange(len(result) or 1)
        match chance.randrange(4):
            case 0:
                result[place : place + 1] = chance.randbytes(1)
            case 1:
                del result[place : place + chance.randrange(1, 9)]
            case 2:
                result[place:place] = result[place : place + chance.randrange(1, 9)]
            case 3:
                del result[place:]
    return bytes(result)


def _deep() -> object:
    """An array in arrays, beyond what any encoder goes into."""
    value: object = None
    for _ in range(300):
        value = [value]
    return value


_ODD_VALUES: Final[list[object]] = [
    None, True, 0, -1, 1.5, 1e300, 2**64, 2**200, "", "text", "12", "1e999", "nan", "٣", [], {}, [[]], [None], {"a": 1},
    {"low": 1, "high": 2}, {"low": "x", "high": None}, {"values": 7}, {"values": [None, 1]}, {"stringValue": {}},
    {"arrayValue": {"values": _deep()}}, {"kvlistValue": {"values": [{"key": _deep(), "value": _deep()}]}}, _deep(),
]  # fmt: skip


def misplace(document: Any, chance: random.Random) -> None:
    """Put an odd value in the place of one of the values of a JSON document."""
    node = document
    while True:
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.9:
            node = inner
        else:
            node[key] = copy.deepcopy(chance.choice(_ODD_VALUES))
            return
