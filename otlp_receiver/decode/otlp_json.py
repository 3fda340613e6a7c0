"""OTLP/JSON → the same columns as from protobuf.

Read leniently, as the OTLP specification and real exporters demand: camelCase and snake_case keys, enums as numbers or
names, 64-bit integers as strings, numbers, rounded numbers or {"low", "high"} pairs (OTel JS 0.44), lone surrogates,
`instrumentationLibrarySpans` (0.27), null for anything. Unknown fields are ignored.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from otlp_receiver.decode.any_value import (
    MOST_LEVELS,
    TOO_DEEP,
    bytes_text,
    double_plain,
    double_text,
    structured_text,
)
from otlp_receiver.decode.rejections import Rejections, span_problem
from otlp_receiver.decode.span_table import (
    ARRAY,
    BOOL,
    BYTES,
    DOUBLE,
    EMPTY,
    INT,
    KVLIST,
    STRING,
    AttributeColumns,
    SpanTableBuilder,
)
from pipelines.ingest import BadRequest

_UINT64_MAX: Final = 2**64 - 1
_UINT32_MAX: Final = 2**32 - 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_KINDS: Final = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS_CODES: Final = {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}
_HEX: Final = re.compile("(?:[0-9a-fA-F]{2})*")
_Object = dict[str, Any]


class _Unusable(ValueError):
    """A field of a span that cannot be read; the text is what `Rejections` says of it."""


def append(builder: SpanTableBuilder, request: int, body: bytes) -> Rejections:
    """Append the spans of one request; raises BadRequest when the body is no ExportTraceServiceRequest in JSON."""
    rejections = Rejections()
    for place, resource_spans in _objects(load(body), "", "resourceSpans", "resource_spans"):
        _append_resource(builder, request, resource_spans, place, rejections)
    return rejections


def load(body: bytes) -> _Object:
    """The JSON object in a body; raises BadRequest. Lone surrogates and invalid UTF-8 become U+FFFD."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _load_leniently(body, error)
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    return value


def _load_leniently(body: bytes, strict_error: Exception) -> Any:
    """The standard library takes lone surrogates and NaN, which orjson refuses."""
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"), parse_constant=str)
        return orjson.loads(_replace_surrogates(value))
    except (ValueError, RecursionError):
        raise BadRequest(f"the body is not JSON: {strict_error}") from None


def _replace_surrogates(value: Any) -> bytes:
    # UTF-16 joins what is a pair and shows what is not; U+FFFD takes the place of what UTF-8 cannot express.
    return json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _field(value: _Object, *names: str) -> Any:
    """The first name that holds something; null is the same as absent (proto3 JSON)."""
    for name in names:
        found = value.get(name)
        if found is not None:
            return found
    return None


def _object(value: _Object, place: str, *names: str) -> _Object:
    found = _field(value, *names)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest(f"{place}.{names[0]}: expected an object, got {_kind_of(found)}".lstrip("."))
    return found


def _objects(value: _Object, place: str, *names: str) -> Iterator[tuple[str, _Object]]:
    found = _field(value, *names)
    path = f"{place}.{names[0]}".lstrip(".")
    if not isinstance(found, list | None):
        raise BadRequest(f"{path}: expected an array, got {_kind_of(found)}")
    for index, item in enumerate(found or ()):
        if item is None:
            continue
        if not isinstance(item, dict):
            raise BadRequest(f"{path}[{index}]: expected an object, got {_kind_of(item)}")
        yield f"{path}[{index}]", item


def _kind_of(value: Any) -> str:
    return {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")


def _append_resource(
    builder: SpanTableBuilder, request: int, resource_spans: _Object, place: str, rejections: Rejections
) -> None:
    resource = _object(resource_spans, place, "resource")
    row = len(builder.resources.rows)
    builder.resources.rows.append((_text(resource_spans, "schemaUrl", "schema_url"), _dropped(resource)))
    _append_attributes(builder.resource_attributes, resource, f"{place}.resource")
    names = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")
    for inner, scope_spans in _objects(resource_spans, place, *names):
        scope = _object(scope_spans, inner, "scope", "instrumentationLibrary", "instrumentation_library")
        owner = (request, row, len(builder.scopes.rows))
        schema_url = _text(scope_spans, "schemaUrl", "schema_url")
        builder.scopes.rows.append((_text(scope, "name"), _text(scope, "version"), schema_url, _dropped(scope)))
        _append_attributes(builder.scope_attributes, scope, f"{inner}.scope")
        for span_place, span in _objects(scope_spans, inner, "spans"):
            _append_span(builder, owner, span, span_place, rejections)


def _append_span(
    builder: SpanTableBuilder, owner: tuple[int, int, int], span: _Object, place: str, rejections: Rejections
) -> None:
    try:
        row = (*owner, *_span_row(span, place))
    except _Unusable as problem:
        rejections.add(place, str(problem))
        return
    index = len(builder.spans.rows)
    builder.spans.rows.append(row)
    _append_attributes(builder.span_attributes, span, place)
    for event_place, event in _objects(span, place, "events"):
        time = _uint_or_zero(_field(event, "timeUnixNano", "time_unix_nano"))
        builder.events.rows.append((index, time, _text(event, "name"), _dropped(event)))
        _append_attributes(builder.event_attributes, event, event_place)
    for link_place, link in _objects(span, place, "links"):
        builder.links.rows.append((index, *_link_row(link)))
        _append_attributes(builder.link_attributes, link, link_place)


def _span_row(span: _Object, place: str) -> tuple[Any, ...]:
    trace_id = _id(span, "traceId", "trace_id")
    span_id = _id(span, "spanId", "span_id")
    parent_span_id = _id(span, "parentSpanId", "parent_span_id")
    problem = span_problem(trace_id, span_id, parent_span_id)
    if problem:
        raise _Unusable(problem)
    status = _object(span, place, "status")
    return (
        trace_id.hex(),
        span_id.hex(),
        parent_span_id.hex() if any(parent_span_id) else "",
        _text(span, "traceState", "trace_state"),
        _uint_or_zero(_field(span, "flags"), _UINT32_MAX),
        _text(span, "name"),
        _enum(_field(span, "kind"), _KINDS),
        _time(span, "startTimeUnixNano", "start_time_unix_nano"),
        _time(span, "endTimeUnixNano", "end_time_unix_nano"),
        _dropped(span),
        _uint_or_zero(_field(span, "droppedEventsCount", "dropped_events_count"), _UINT32_MAX),
        _uint_or_zero(_field(span, "droppedLinksCount", "dropped_links_count"), _UINT32_MAX),
        _enum(_field(status, "code"), _STATUS_CODES),
        _text(status, "message"),
    )


def _link_row(link: _Object) -> tuple[Any, ...]:
    return (
        _text(link, "traceId", "trace_id").lower(),
        _text(link, "spanId", "span_id").lower(),
        _text(link, "traceState", "trace_state"),
        _uint_or_zero(_field(link, "flags"), _UINT32_MAX),
        _dropped(link),
    )


def _text(value: _Object, *names: str) -> str:
    found = _field(value, *names)
    if isinstance(found, str):
        return found
    return "" if found is None else structured_text(found).decode()


def _id(span: _Object, *names: str) -> bytes:
    text = _text(span, *names)
    if not _HEX.fullmatch(text):
        raise _Unusable(f"{names[0]}: not pairs of hexadecimal digits")
    return bytes.fromhex(text)


def _enum(value: Any, names: dict[str, int]) -> int:
    """An enum's number; a name that is not known reads as 0, the unspecified member."""
    if isinstance(value, str):
        value = names[value] if value in names else _number(value)
    return int(value) if isinstance(value, int) and _INT32_MIN <= value <= _INT32_MAX else 0


def _dropped(value: _Object) -> int:
    return _uint_or_zero(_field(value, "droppedAttributesCount", "dropped_attributes_count"), _UINT32_MAX)


def _time(span: _Object, *names: str) -> int:
    found = _field(span, *names)
    number = 0 if found is None else _number(found)
    if number is None or not 0 <= number <= _UINT64_MAX:
        raise _Unusable(f"{names[0]}: not an unsigned 64-bit integer")
    return int(number)


def _uint_or_zero(value: Any, largest: int = _UINT64_MAX) -> int:
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= largest else 0


def _number(value: Any) -> int | float | None:
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


def _append_attributes(columns: AttributeColumns, owner: _Object, place: str) -> None:
    count = 0
    for _, attribute in _objects(owner, place, "attributes"):
        kind, text = _typed_text(attribute.get("value"))
        columns.keys.append(columns.codes[_text(attribute, "key").encode()])
        columns.types.append(kind)
        columns.values.append(text)
        count += 1
    columns.counts.append(count)


def _typed_text(value: Any) -> tuple[int, bytes | str]:
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
    number = _number(found)
    if number is None:
        return _read_string(found, level)
    if math.isfinite(number) and _INT64_MIN <= number <= _INT64_MAX and number == int(number):
        return INT, int(number)
    return (DOUBLE, number) if isinstance(number, float) else (STRING, str(number))


def _read_double(found: Any, level: int) -> tuple[int, Any]:
    number = _number(found)
    return _read_string(found, level) if number is None else (DOUBLE, float(number))


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
    return KVLIST, {_text(pair, "key"): _inner(pair.get("value"), level) for pair in pairs or ()}


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
