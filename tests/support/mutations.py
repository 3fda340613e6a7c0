"""Bytes as a broken or hostile sender would have them."""

import random


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
