"""Values inside OTLP/JSON: fields under several names, numbers in several spellings, AnyValue of every kind."""

import base64
import binascii
import math
from typing import Any, Final

from otlp_receiver.decode.any_value import (
    MOST_LEVELS,
    TOO_DEEP,
    bytes_text,
    double_plain,
    double_text,
    structured_text,
)
from otlp_receiver.decode.span_table import ARRAY, BOOL, BYTES, DOUBLE, EMPTY, INT, KVLIST, STRING

Object = dict[str, Any]

_UINT32_MAX: Final = 2**32 - 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def field(value: Object, *names: str) -> Any:
    """The first name that holds something; null is the same as absent (proto3 JSON)."""
    for name in names:
        found = value.get(name)
        if found is not None:
            return found
    return None


def text(value: Object, *names: str) -> str:
    """A field as text; what is no text is kept as its JSON."""
    found = field(value, *names)
    if isinstance(found, str):
        return found
    return "" if found is None else structured_text(found).decode()


def number(value: Any) -> int | float | None:
    """A JSON number, a number in a string, or a pair of 32-bit halves; None for anything else."""
    if isinstance(value, dict):
        low, high = value.get("low"), value.get("high")
        if isinstance(low, int) and isinstance(high, int):
            return ((high & _UINT32_MAX) << 32) | (low & _UINT32_MAX)
        return None
    if isinstance(value, str):
        return _parse_number(value)
    return value if isinstance(value, int | float) else None


def _parse_number(text: str) -> int | float | None:
    try:
        return int(text) if len(text) <= 20 else float(text)  # noqa: PLR2004 - digits of the largest uint64
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def typed_text(value: Any) -> tuple[int, bytes | str]:
    """Kind and text of an AnyValue, the same as from protobuf."""
    kind, plain = _plain(value)
    if kind in (ARRAY, KVLIST):
        return kind, structured_text(plain)
    if kind == BOOL:
        return kind, "true" if plain else "false"
    if kind == DOUBLE:
        return kind, double_text(plain)
    return kind, "" if plain is None else str(plain)


def _plain(value: Any, level: int = 0) -> tuple[int, Any]:
    """Kind and plain value of an AnyValue; what fits no kind is kept as text, never refused."""
    if level >= MOST_LEVELS:
        return STRING, TOO_DEEP
    if not isinstance(value, dict):
        return (EMPTY, None) if value is None else _read_string(value, level)
    for name, read in _READERS.items():
        found = value.get(name)
        if found is not None:
            return read(found, level)
    return EMPTY, None


def _read_string(found: Any, _level: int) -> tuple[int, Any]:
    return STRING, found if isinstance(found, str) else structured_text(found).decode()


def _read_bool(found: Any, level: int) -> tuple[int, Any]:
    if found in (True, False, "true", "false"):
        return BOOL, found in (True, "true")
    return _read_string(found, level)


def _read_int(found: Any, level: int) -> tuple[int, Any]:
    """JavaScript sends every whole double as an int: 1.5e+300 stays a double, 2**64 keeps its digits as text."""
    value = number(found)
    if value is None:
        return _read_string(found, level)
    if math.isfinite(value) and _INT64_MIN <= value <= _INT64_MAX and value == int(value):
        return INT, int(value)
    return (DOUBLE, value) if isinstance(value, float) else (STRING, str(value))


def _read_double(found: Any, level: int) -> tuple[int, Any]:
    value = number(found)
    return _read_string(found, level) if value is None else (DOUBLE, float(value))


def _read_bytes(found: Any, level: int) -> tuple[int, Any]:
    try:
        raw = base64.b64decode(found.replace("-", "+").replace("_", "/") + "=" * (-len(found) % 4), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        return _read_string(found, level)
    return BYTES, bytes_text(raw)


def _read_array(found: Any, level: int) -> tuple[int, Any]:
    values = found.get("values") if isinstance(found, dict) else found
    if not isinstance(values, list | None):
        return _read_string(found, level)
    return ARRAY, [_inner(item, level) for item in values or ()]


def _read_kvlist(found: Any, level: int) -> tuple[int, Any]:
    pairs = found.get("values") if isinstance(found, dict) else found
    if not isinstance(pairs, list | None) or not all(isinstance(pair, dict) for pair in pairs or ()):
        return _read_string(found, level)
    return KVLIST, {text(pair, "key"): _inner(pair.get("value"), level) for pair in pairs or ()}


def _inner(value: Any, level: int) -> Any:
    kind, plain = _plain(value, level + 1)
    return double_plain(plain) if kind == DOUBLE else plain


_READERS: Final = {
    "stringValue": _read_string,
    "intValue": _read_int,
    "boolValue": _read_bool,
    "doubleValue": _read_double,
    "arrayValue": _read_array,
    "kvlistValue": _read_kvlist,
    "bytesValue": _read_bytes,
    "string_value": _read_string,
    "int_value": _read_int,
    "bool_value": _read_bool,
    "double_value": _read_double,
    "array_value": _read_array,
    "kvlist_value": _read_kvlist,
    "bytes_value": _read_bytes,
}
