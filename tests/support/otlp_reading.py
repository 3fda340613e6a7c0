"""Recorded requests → `tests.support.otlp` models; shares nothing with the decoder under test.

Protobuf through the published OTLP classes, JSON through the standard library.
"""

import base64
import json
import re
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.otlp import Attributes, Event, Export, Link, Resource, Scope, Span, Value

# Half an emoji as three bytes: no UTF-8, so the published classes refuse it. Each byte is read as U+FFFD; a stand-in of
# equal length that no text holds takes its place while parsing.
_HALF_EMOJI: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_STAND_IN: Final = "\x1a"


def from_protobuf(body: bytes) -> Export:
    """The spans of an OTLP/protobuf request."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        request.ParseFromString(_HALF_EMOJI.sub(_STAND_IN.encode() * 3, body))
    return [
        Resource(
            attributes=protobuf_attributes(resource_spans.resource.attributes),
            scopes=[_scope(scope_spans) for scope_spans in resource_spans.scope_spans],
        )
        for resource_spans in request.resource_spans
    ]


def _text(value: str) -> str:
    return value.replace(_STAND_IN, "\ufffd")


def _scope(scope_spans: Any) -> Scope:
    scope = scope_spans.scope
    return Scope(
        name=scope.name,
        version=scope.version,
        attributes=protobuf_attributes(scope.attributes),
        spans=[_span(span) for span in scope_spans.spans],
    )


def _span(span: Any) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=_text(span.name),
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        trace_state=span.trace_state,
        flags=span.flags,
        status_code=span.status.code,
        status_message=_text(span.status.message),
        attributes=protobuf_attributes(span.attributes),
        events=[
            Event(name=event.name, time_ns=event.time_unix_nano, attributes=protobuf_attributes(event.attributes))
            for event in span.events
        ],
        links=[
            Link(
                trace_id=link.trace_id.hex(),
                span_id=link.span_id.hex(),
                trace_state=link.trace_state,
                attributes=protobuf_attributes(link.attributes),
            )
            for link in span.links
        ],
        dropped=(span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count),
    )


def protobuf_attributes(attributes: Iterable[Any]) -> Attributes:
    """KeyValues of the published classes, as plain data."""
    return [(_text(attribute.key), protobuf_value(attribute.value)) for attribute in attributes]


def protobuf_value(value: Any) -> Value:
    """An AnyValue of the published classes, as plain data."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "string_value":
            return _text(value.string_value)
        case "array_value":
            return [protobuf_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return dict(protobuf_attributes(value.kvlist_value.values))
        case field:
            return getattr(value, field)


def from_json(body: bytes) -> Export:
    """The spans of an OTLP/JSON request, as the recorded exporters write it."""
    return [
        Resource(
            attributes=json_attributes(resource_spans.get("resource", {})),
            scopes=[
                _json_scope(scope_spans)
                for name in ("scopeSpans", "instrumentationLibrarySpans")
                for scope_spans in resource_spans.get(name, ())
            ],
        )
        for resource_spans in json.loads(body)["resourceSpans"]
    ]


def _json_scope(scope_spans: dict[str, Any]) -> Scope:
    scope = scope_spans.get("scope") or scope_spans.get("instrumentationLibrary") or {}
    return Scope(
        name=scope.get("name", ""),
        version=scope.get("version", ""),
        attributes=json_attributes(scope),
        spans=[_json_span(span) for span in scope_spans.get("spans", ())],
    )


def _json_span(span: dict[str, Any]) -> Span:
    status = span.get("status", {})
    return Span(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId") or "",
        name=_json_text(span["name"]),
        kind=span.get("kind", 0),
        start_ns=_json_time(span["startTimeUnixNano"]),
        end_ns=_json_time(span["endTimeUnixNano"]),
        trace_state=span.get("traceState") or "",
        flags=span.get("flags", 0),
        status_code=status.get("code", 0),
        status_message=_json_text(status.get("message", "")),
        attributes=json_attributes(span),
        events=[
            Event(name=event["name"], time_ns=_json_time(event["timeUnixNano"]), attributes=json_attributes(event))
            for event in span.get("events", ())
        ],
        links=[
            Link(
                trace_id=link["traceId"],
                span_id=link["spanId"],
                trace_state=link.get("traceState") or "",
                attributes=json_attributes(link),
            )
            for link in span.get("links", ())
        ],
        dropped=tuple(span.get(f"dropped{what}Count", 0) for what in ("Attributes", "Events", "Links")),
    )


def _json_time(value: Any) -> int:
    """Text, a number, or two signed halves (OTel JS 0.44)."""
    if isinstance(value, dict):
        high, low = (int(value[half]) % 2**32 for half in ("high", "low"))
        return (high << 32) + low
    return int(value)


def _json_text(value: str) -> str:
    """Half an emoji is read as U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def json_attributes(owner: dict[str, Any]) -> Attributes:
    """Attributes in OTLP/JSON, as plain data."""
    return [(attribute["key"], json_value(attribute.get("value"))) for attribute in owner.get("attributes", ())]


def json_value(value: Any) -> Value:  # noqa: PLR0911 - one return per kind of AnyValue
    """An AnyValue in OTLP/JSON, as plain data."""
    match value:
        case {"stringValue": str(text)}:
            return _json_text(text)
        case {"intValue": int() | float() as number}:  # JavaScript takes every whole number for an int: 1.5e+300 too
            return number
        case {"boolValue": bool(flag)}:
            return flag
        case {"doubleValue": int() | float() as number}:
            return float(number)
        case {"arrayValue": {"values": items}}:
            return [json_value(item) for item in items]
        case {"kvlistValue": {"values": pairs}}:
            return {pair["key"]: json_value(pair.get("value")) for pair in pairs}
        case {"bytesValue": str(text)}:
            return base64.b64decode(text)
        case None | {"doubleValue": None}:  # NaN and infinities, as JavaScript writes them
            return None
    assert value == {}, value
    return None
