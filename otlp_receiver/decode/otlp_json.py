"""OTLP/JSON → the same columns as from protobuf.

Read leniently, as the OTLP specification and real exporters demand: camelCase and snake_case keys, enums as numbers or
names, 64-bit integers as strings, numbers, rounded numbers or {"low", "high"} pairs (OTel JS 0.44), lone surrogates,
`instrumentationLibrarySpans` (0.27), null for anything. Unknown fields are ignored.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from otlp_receiver.decode.density import require_sparse_json
from otlp_receiver.decode.json_repair import repair
from otlp_receiver.decode.json_values import Object, field, number, text, typed_text
from otlp_receiver.decode.rejections import Rejections, span_problem
from otlp_receiver.decode.span_table import AttributeColumns, SpanTableBuilder
from pipelines.ingest import BadRequest

_UINT64_MAX: Final = 2**64 - 1
UINT32_MAX: Final = 2**32 - 1
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_KINDS: Final = {
    f"SPAN_KIND_{name}": number
    for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
}
_STATUS_CODES: Final = {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}
_HEX: Final = re.compile("(?:[0-9a-fA-F]{2})*")


class Unusable(ValueError):
    """A field of a span or log record that cannot be read; the text is what `Rejections` says of it."""


def append(builder: SpanTableBuilder, request: int, body: bytes) -> Rejections:
    """Append the spans of one request; raises BadRequest when the body is no ExportTraceServiceRequest in JSON."""
    rejections = Rejections()
    for place, resource_spans in objects(load(body), "", "resourceSpans", "resource_spans"):
        _append_resource(builder, request, resource_spans, place, rejections)
    return rejections


def load(body: bytes) -> Object:
    """The JSON object in a body; raises BadRequest. Lone surrogates and invalid UTF-8 become U+FFFD."""
    require_sparse_json(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _load_leniently(body, error)
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    return value


def _load_leniently(body: bytes, strict_error: Exception) -> Any:
    try:
        return orjson.loads(repair(body))
    except orjson.JSONDecodeError:
        raise BadRequest(f"the body is not JSON: {strict_error}") from None


def object_at(value: Object, place: str, *names: str) -> Object:
    """The object under one of the names, empty when there is none; raises BadRequest naming the place."""
    found = field(value, *names)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest(f"{place}.{names[0]}: expected an object, got {_kind_of(found)}".lstrip("."))
    return found


def objects(value: Object, place: str, *names: str) -> Iterator[tuple[str, Object]]:
    """(place, object) of every entry of the array under one of the names; raises BadRequest naming the place."""
    found = field(value, *names)
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
    builder: SpanTableBuilder, request: int, resource_spans: Object, place: str, rejections: Rejections
) -> None:
    names = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")
    for owner, inner, scope_spans in append_scopes(builder, request, resource_spans, place, names):
        for span_place, span in objects(scope_spans, inner, "spans"):
            _append_span(builder, owner, span, span_place, rejections)


def append_scopes(
    builder: SpanTableBuilder, request: int, resource_entry: Object, place: str, names: tuple[str, ...]
) -> Iterator[tuple[tuple[int, int, int], str, Object]]:
    """Append a resource and each of its scopes, which are then filled: what owns the content, its place, the entry.

    Args:
        builder: takes them.
        request: number of the request.
        resource_entry: an element of `resourceSpans` or its like for another signal.
        place: where that is in the body.
        names: under which the scopes are.
    """
    resource = object_at(resource_entry, place, "resource")
    row = len(builder.resources.rows)
    builder.resources.rows.append((text(resource_entry, "schemaUrl", "schema_url"), dropped(resource)))
    append_attributes(builder.resource_attributes, resource, f"{place}.resource")
    for inner, entry in objects(resource_entry, place, *names):
        scope = object_at(entry, inner, "scope", "instrumentationLibrary", "instrumentation_library")
        owner = (request, row, len(builder.scopes.rows))
        schema_url = text(entry, "schemaUrl", "schema_url")
        builder.scopes.rows.append((text(scope, "name"), text(scope, "version"), schema_url, dropped(scope)))
        append_attributes(builder.scope_attributes, scope, f"{inner}.scope")
        yield owner, inner, entry


def _append_span(
    builder: SpanTableBuilder, owner: tuple[int, int, int], span: Object, place: str, rejections: Rejections
) -> None:
    builder.require_room(1)
    try:
        row = (*owner, *_span_row(span, place))
    except Unusable as problem:
        rejections.add(place, str(problem))
        return
    index = len(builder.spans.rows)
    builder.spans.rows.append(row)
    append_attributes(builder.span_attributes, span, place)
    for event_place, event in objects(span, place, "events"):
        time = uint_or_zero(field(event, "timeUnixNano", "time_unix_nano"))
        builder.events.rows.append((index, time, text(event, "name"), dropped(event)))
        append_attributes(builder.event_attributes, event, event_place)
    for link_place, link in objects(span, place, "links"):
        builder.links.rows.append((index, *_link_row(link)))
        append_attributes(builder.link_attributes, link, link_place)


def _span_row(span: Object, place: str) -> tuple[Any, ...]:
    trace_id = read_id(span, "traceId", "trace_id")
    span_id = read_id(span, "spanId", "span_id")
    parent_span_id = read_id(span, "parentSpanId", "parent_span_id")
    problem = span_problem(trace_id, span_id, parent_span_id)
    if problem:
        raise Unusable(problem)
    status = object_at(span, place, "status")
    return (
        trace_id.hex(),
        span_id.hex(),
        parent_span_id.hex() if any(parent_span_id) else "",
        text(span, "traceState", "trace_state"),
        uint_or_zero(field(span, "flags"), UINT32_MAX),
        text(span, "name"),
        read_enum(field(span, "kind"), _KINDS),
        _time(span, "startTimeUnixNano", "start_time_unix_nano"),
        _time(span, "endTimeUnixNano", "end_time_unix_nano"),
        dropped(span),
        uint_or_zero(field(span, "droppedEventsCount", "dropped_events_count"), UINT32_MAX),
        uint_or_zero(field(span, "droppedLinksCount", "dropped_links_count"), UINT32_MAX),
        read_enum(field(status, "code"), _STATUS_CODES),
        text(status, "message"),
    )


def _link_row(link: Object) -> tuple[Any, ...]:
    return (
        text(link, "traceId", "trace_id").lower(),
        text(link, "spanId", "span_id").lower(),
        text(link, "traceState", "trace_state"),
        uint_or_zero(field(link, "flags"), UINT32_MAX),
        dropped(link),
    )


def read_id(owner: Object, *names: str) -> bytes:
    """A trace or span id, empty when there is none; raises Unusable."""
    digits = text(owner, *names)
    if not _HEX.fullmatch(digits):
        raise Unusable(f"{names[0]}: not pairs of hexadecimal digits")
    return bytes.fromhex(digits)


def read_enum(value: Any, names: dict[str, int]) -> int:
    """An enum's number; a name that is not known reads as 0, the unspecified member."""
    if isinstance(value, str):
        value = names[value] if value in names else number(value)
    return int(value) if isinstance(value, int) and _INT32_MIN <= value <= _INT32_MAX else 0


def dropped(value: Object) -> int:
    """How many attributes its sender's limits cut."""
    return uint_or_zero(field(value, "droppedAttributesCount", "dropped_attributes_count"), UINT32_MAX)


def _time(span: Object, *names: str) -> int:
    found = field(span, *names)
    value = 0 if found is None else number(found)
    if value is None or not 0 <= value <= _UINT64_MAX:
        raise Unusable(f"{names[0]}: not an unsigned 64-bit integer")
    return int(value)


def uint_or_zero(value: Any, largest: int = _UINT64_MAX) -> int:
    """An unsigned integer in whatever spelling, 0 for anything else."""
    read = number(value)
    return int(read) if read is not None and 0 <= read <= largest else 0


def append_attributes(columns: AttributeColumns, owner: Object, place: str) -> None:
    """Append the attributes of one more owner; raises BadRequest naming the place."""
    count = 0
    for _, attribute in objects(owner, place, "attributes"):
        kind, value = typed_text(attribute.get("value"))
        columns.keys.append(columns.codes[text(attribute, "key").encode()])
        columns.types.append(kind)
        columns.values.append(value)
        count += 1
    columns.counts.append(count)
