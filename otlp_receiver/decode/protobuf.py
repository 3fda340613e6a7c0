"""OTLP/protobuf → columns. The hot loop of the Python decoder: plain, flat, few calls per attribute."""

from typing import Any, Final

from google.protobuf.message import DecodeError

from otlp_receiver.decode import lenient
from otlp_receiver.decode.any_value import (
    MOST_LEVELS,
    TOO_DEEP,
    bytes_text,
    double_plain,
    double_text,
    structured_text,
)
from otlp_receiver.decode.density import require_sparse_protobuf
from otlp_receiver.decode.refusals import not_a_request
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

_TYPES: Final = {
    "bool_value": BOOL,
    "int_value": INT,
    "double_value": DOUBLE,
    "array_value": ARRAY,
    "kvlist_value": KVLIST,
    "bytes_value": BYTES,
}


def append(builder: SpanTableBuilder, request: int, body: bytes) -> Rejections:
    """Append the spans of one request; raises BadRequest when the bytes are no ExportTraceServiceRequest."""
    require_sparse_protobuf(body)
    message = lenient.request_class()()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise not_a_request(error) from None
    rejections = Rejections()
    for index, resource_spans in enumerate(message.resource_spans):
        _append_resource(builder, request, resource_spans, f"resourceSpans[{index}]", rejections)
    return rejections


def _append_resource(
    builder: SpanTableBuilder, request: int, resource_spans: Any, place: str, rejections: Rejections
) -> None:
    resource = resource_spans.resource
    row = len(builder.resources.rows)
    builder.resources.rows.append((resource_spans.schema_url, resource.dropped_attributes_count))
    append_attributes(builder.resource_attributes, resource.attributes)
    for index, scope_spans in enumerate(resource_spans.scope_spans):
        scope = scope_spans.scope
        owner = (request, row, len(builder.scopes.rows))
        builder.scopes.rows.append((scope.name, scope.version, scope_spans.schema_url, scope.dropped_attributes_count))
        append_attributes(builder.scope_attributes, scope.attributes)
        _append_spans(builder, owner, scope_spans.spans, f"{place}.scopeSpans[{index}]", rejections)


def _append_spans(
    builder: SpanTableBuilder, owner: tuple[int, int, int], spans: Any, place: str, rejections: Rejections
) -> None:
    builder.require_room(len(spans))
    for index, span in enumerate(spans):
        trace_id, span_id, parent_span_id = span.trace_id, span.span_id, span.parent_span_id
        problem = span_problem(trace_id, span_id, parent_span_id)
        if problem:
            rejections.add(f"{place}.spans[{index}]", problem)
            continue
        row = len(builder.spans.rows)
        status = span.status
        builder.spans.rows.append(
            (
                *owner,
                trace_id.hex(),
                span_id.hex(),
                parent_span_id.hex() if any(parent_span_id) else "",
                span.trace_state,
                span.flags,
                span.name,
                span.kind,
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                span.dropped_attributes_count,
                span.dropped_events_count,
                span.dropped_links_count,
                status.code,
                status.message,
            )
        )
        append_attributes(builder.span_attributes, span.attributes)
        _append_events(builder, row, span.events)
        _append_links(builder, row, span.links)


def _append_events(builder: SpanTableBuilder, row: int, events: Any) -> None:
    for event in events:
        builder.events.rows.append((row, event.time_unix_nano, event.name, event.dropped_attributes_count))
        append_attributes(builder.event_attributes, event.attributes)


def _append_links(builder: SpanTableBuilder, row: int, links: Any) -> None:
    for link in links:
        ids = (link.trace_id.hex(), link.span_id.hex())
        builder.links.rows.append((row, *ids, link.trace_state, link.flags, link.dropped_attributes_count))
        append_attributes(builder.link_attributes, link.attributes)


def append_attributes(columns: AttributeColumns, attributes: Any) -> None:
    """Append the KeyValues of one more owner."""
    codes, keys, types, values = columns.codes, columns.keys, columns.types, columns.values
    columns.counts.append(len(attributes))
    for attribute in attributes:
        keys.append(codes[attribute.key])
        value = attribute.value
        text = value.string_value
        if text:  # most values are text; an empty string takes the long way
            types.append(STRING)
            values.append(text)
        else:
            kind, text = typed_text(value)
            types.append(kind)
            values.append(text)


def typed_text(value: Any) -> tuple[int, bytes | str]:
    """Kind and text of an AnyValue."""
    kind = _TYPES.get(value.WhichOneof("value"), EMPTY)
    match kind:
        case 3:  # INT
            return INT, str(value.int_value)
        case 4:  # DOUBLE
            return DOUBLE, double_text(value.double_value)
        case 2:  # BOOL
            return BOOL, "true" if value.bool_value else "false"
        case 5 | 6:  # ARRAY, KVLIST
            return kind, structured_text(_plain(value))
        case 7:  # BYTES
            return BYTES, bytes_text(value.bytes_value)
    return (STRING if value.HasField("string_value") else EMPTY), ""


def _plain(value: Any, level: int = 0) -> Any:  # noqa: PLR0911 - one return per kind of AnyValue
    if level >= MOST_LEVELS:
        return TOO_DEEP
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value.decode("utf-8", "replace")
        case "array_value":
            return [_plain(item, level + 1) for item in value.array_value.values]
        case "kvlist_value":
            pairs = value.kvlist_value.values
            return {pair.key.decode("utf-8", "replace"): _plain(pair.value, level + 1) for pair in pairs}
        case "double_value":
            return double_plain(value.double_value)
        case "bytes_value":
            return bytes_text(value.bytes_value)
        case None:
            return None
        case field:
            return getattr(value, field)
