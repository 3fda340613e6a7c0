"""Text of the AnyValue kinds, the same from protobuf and JSON."""

import base64
import math
from typing import Any, Final

import orjson

MOST_LEVELS: Final = 100
TOO_DEEP: Final = f"[nested deeper than {MOST_LEVELS} levels]"


def double_text(value: float) -> str:
    """Shortest text that gives the same double; non-finite ones as proto3 JSON spells them."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def double_plain(value: float) -> float | str:
    """A double inside JSON, which has no words for the non-finite ones."""
    return value if math.isfinite(value) else double_text(value)


def bytes_text(value: bytes) -> str:
    """Base64, as in proto3 JSON."""
    return base64.b64encode(value).decode("ascii")


def structured_text(plain: Any) -> bytes:
    """JSON of an array or a map; of what is nested deeper than the encoder goes, a remark in its place."""
    try:
        return orjson.dumps(plain)
    except orjson.JSONEncodeError:
        return orjson.dumps(TOO_DEEP)
