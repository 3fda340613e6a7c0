"""An export request as plain data, and two encoders that share nothing with the code under test.

Attribute values are Python's own: str, bool, int, float, bytes, list, dict, and None for an AnyValue without a field.
`to_protobuf` goes through the published OTLP classes, `to_json` writes the text of the specification by hand.
"""

import base64
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Value = Any
Attributes = Sequence[tuple[str, Value]]

KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUS_CODES: Final = ("UNSET", "OK", "ERROR")
START_NS: Final = 1_795_267_000_123_456_789


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A span event."""

    name: str = ""
    time_ns: int = START_NS
    attributes: Attributes = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A span link."""

    trace_id: str
    span_id: str
    trace_state: str = ""
    flags: int = 0
    attributes: Attributes = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span; ids in hex."""

    trace_id: str = "0102030405060708090a0b0c0d0e0f10"
    span_id: str = "1112131415161718"
    parent_id: str = ""
    name: str = "span"
    kind: int = 1
    start_ns: int = START_NS
    end_ns: int = START_NS + 1_000_000_001
    trace_state: str = ""
    flags: int = 0
    status_code: int = 0
    status_message: str = ""
    attributes: Attributes = ()
    events: Sequence[Event] = ()
    links: Sequence[Link] = ()
    dropped: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """An instrumentation scope and its spans."""

    name: str = ""
    version: str = ""
    schema_url: str = ""
    attributes: Attributes = ()
    dropped: int = 0
    spans: Sequence[Span] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource and its scopes."""

    schema_url: str = ""
    attributes: Attributes = ()
    dropped: int = 0
    scopes: Sequence[Scope] = ()


Export = Sequence[Resource]
"""One export request."""


def export(*spans: Span, resource: Mapping[str, Value] | None = None, scope: str = "tests") -> Export:
    """A request of one resource and one scope."""
    return [Resource(attributes=tuple((resource or {}).items()), scopes=[Scope(name=scope, version="1", spans=spans)])]


def span(attributes: Mapping[str, Value] | None = None, **fields: Any) -> Span:
    """A span from a dictionary of attributes."""
    return Span(attributes=tuple((attributes or {}).items()), **fields)


def event(name: str, attributes: Mapping[str, Value] | None = None, **fields: Any) -> Event:
    """An event from a dictionary of attributes."""
    return Event(name=name, attributes=tuple((attributes or {}).items()), **fields)


# --- protobuf --------------------------------------------------------------------------------------------------------


def to_protobuf(resources: Export) -> bytes:
    """The request as OTLP/protobuf."""
    request = ExportTraceServiceRequest()
    for resource in resources:
        target = request.resource_spans.add(schema_url=resource.schema_url)
        target.resource.dropped_attributes_count = resource.dropped
        target.resource.attributes.extend(_key_values(resource.attributes))
        for scope in resource.scopes:
            _add_scope(target, scope)
    return request.SerializeToString()


def _add_scope(resource_spans: Any, scope: Scope) -> None:
    target = resource_spans.scope_spans.add(schema_url=scope.schema_url)
    target.scope.name, target.scope.version = scope.name, scope.version
    target.scope.dropped_attributes_count = scope.dropped
    target.scope.attributes.extend(_key_values(scope.attributes))
    for span in scope.spans:
        _add_span(target.spans.add(), span)


def _add_span(target: Any, span: Span) -> None:
    target.trace_id, target.span_id = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
    target.parent_span_id = bytes.fromhex(span.parent_id)
    target.name, target.kind, target.trace_state, target.flags = span.name, span.kind, span.trace_state, span.flags
    target.start_time_unix_nano, target.end_time_unix_nano = span.start_ns, span.end_ns
    target.dropped_attributes_count, target.dropped_events_count, target.dropped_links_count = span.dropped
    target.status.code, target.status.message = span.status_code, span.status_message
    target.attributes.extend(_key_values(span.attributes))
    for event in span.events:
        added = target.events.add(name=event.name, time_unix_nano=event.time_ns, dropped_attributes_count=event.dropped)
        added.attributes.extend(_key_values(event.attributes))
    for link in span.links:
        added = target.links.add(trace_state=link.trace_state, flags=link.flags, dropped_attributes_count=link.dropped)
        added.trace_id, added.span_id = bytes.fromhex(link.trace_id), bytes.fromhex(link.span_id)
        added.attributes.extend(_key_values(link.attributes))


def _key_values(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes]


def any_value(value: Value) -> AnyValue:
    """A Python value as an OTLP AnyValue."""
    result = AnyValue()
    match value:
        case None:
            pass
        case bool():
            result.bool_value = value
        case str():
            result.string_value = value
        case int():
            result.int_value = value
        case float():
            result.double_value = value
        case bytes():
            result.bytes_value = value
        case dict():
            result.kvlist_value.SetInParent()
            result.kvlist_value.values.extend(_key_values(tuple(value.items())))
        case _:
            result.array_value.SetInParent()
            result.array_value.values.extend(any_value(item) for item in value)
    return result


# --- OTLP/JSON -------------------------------------------------------------------------------------------------------


def to_json(resources: Export, spelling_seed: int | None = None) -> bytes:
    """The request as OTLP/JSON: as the specification has it, or with a seed in any of the spellings that it allows."""
    return json.dumps(_JsonWriter(spelling_seed).request(resources), ensure_ascii=False).encode()


class _JsonWriter:
    """Writes camelCase, integers as strings, enums as numbers; with a seed also what readers have to take."""

    def __init__(self, seed: int | None) -> None:
        self._random = None if seed is None else random.Random(seed)

    def _maybe(self) -> bool:
        return self._random is not None and self._random.random() < 0.5

    def _object(self, **fields: Any) -> dict[str, Any]:
        """Keys are given in snake_case; defaults may stay away or be null, and unknown fields may stand between."""
        result: dict[str, Any] = {}
        for name, value in fields.items():
            if (value in ("", 0, []) or (value == "0" and name.endswith("_nano"))) and self._maybe():
                if self._maybe():
                    result[self._key(name)] = None
                continue
            result[self._key(name)] = value
        if self._maybe():
            result["fieldOfTomorrow"] = {"any": ["thing", None]}
        return result

    def _key(self, name: str) -> str:
        head, *rest = name.split("_")
        return name if self._maybe() else head + "".join(part.capitalize() for part in rest)

    def _int64(self, value: int) -> int | str:
        return value if self._maybe() else str(value)

    def _enum(self, prefix: str, names: tuple[str, ...], value: int) -> int | str:
        return f"{prefix}_{names[value]}" if value < len(names) and self._maybe() else value

    def _id(self, value: str) -> str:
        return value.upper() if self._maybe() else value

    def request(self, resources: Export) -> dict[str, Any]:
        return self._object(resource_spans=[self._resource(resource) for resource in resources])

    def _resource(self, resource: Resource) -> dict[str, Any]:
        inner = self._object(
            attributes=self._attributes(resource.attributes), dropped_attributes_count=resource.dropped
        )
        scopes = [self._scope(scope) for scope in resource.scopes]
        return self._object(resource=inner, scope_spans=scopes, schema_url=resource.schema_url)

    def _scope(self, scope: Scope) -> dict[str, Any]:
        inner = self._object(
            name=scope.name,
            version=scope.version,
            attributes=self._attributes(scope.attributes),
            dropped_attributes_count=scope.dropped,
        )
        return self._object(scope=inner, spans=[self._span(span) for span in scope.spans], schema_url=scope.schema_url)

    def _span(self, span: Span) -> dict[str, Any]:
        code = self._enum("STATUS_CODE", STATUS_CODES, span.status_code)
        return self._object(
            trace_id=self._id(span.trace_id),
            span_id=self._id(span.span_id),
            parent_span_id=self._id(span.parent_id),
            trace_state=span.trace_state,
            flags=span.flags,
            name=span.name,
            kind=self._enum("SPAN_KIND", KINDS, span.kind),
            start_time_unix_nano=self._int64(span.start_ns),
            end_time_unix_nano=self._int64(span.end_ns),
            attributes=self._attributes(span.attributes),
            dropped_attributes_count=span.dropped[0],
            events=[self._event(event) for event in span.events],
            dropped_events_count=span.dropped[1],
            links=[self._link(link) for link in span.links],
            dropped_links_count=span.dropped[2],
            status=self._object(code=code, message=span.status_message),
        )

    def _event(self, event: Event) -> dict[str, Any]:
        return self._object(
            time_unix_nano=self._int64(event.time_ns),
            name=event.name,
            attributes=self._attributes(event.attributes),
            dropped_attributes_count=event.dropped,
        )

    def _link(self, link: Link) -> dict[str, Any]:
        return self._object(
            trace_id=self._id(link.trace_id),
            span_id=self._id(link.span_id),
            trace_state=link.trace_state,
            flags=link.flags,
            attributes=self._attributes(link.attributes),
            dropped_attributes_count=link.dropped,
        )

    def _attributes(self, attributes: Iterable[tuple[str, Value]]) -> list[dict[str, Any]]:
        return [{"key": key, "value": self._value(value)} for key, value in attributes]

    def _value(self, value: Value) -> dict[str, Any]:  # noqa: PLR0911 - one return per kind of AnyValue
        match value:
            case None:
                return {}
            case bool():
                return {self._key("bool_value"): value}
            case str():
                return {self._key("string_value"): value}
            case int():
                return {self._key("int_value"): self._int64(value)}
            case float():
                return {self._key("double_value"): value if math.isfinite(value) else double_name(value)}
            case bytes():
                return {self._key("bytes_value"): base64.b64encode(value).decode()}
            case dict():
                return {self._key("kvlist_value"): {"values": self._attributes(value.items())}}
        return {self._key("array_value"): {"values": [self._value(item) for item in value]}}


def double_name(value: float) -> str:
    """A non-finite double as proto3 JSON spells it."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
