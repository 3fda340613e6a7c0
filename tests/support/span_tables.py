"""A `SpanTable` and an `Export` brought into one plain form, to be compared with `==`."""

import base64
import json
import math
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from otlp_receiver.decode import decode
from otlp_receiver.decode.span_table import SpanTable
from pipelines.ingest import Encoding, Outcome, Request
from tests.support.otlp import START_NS, Attributes, Export, Resource, Scope, Span, Value, double_name

Plain = dict[str, Any]
_TYPES: Final = ("empty", "string", "bool", "int", "double", "array", "kvlist", "bytes")


def request(
    body: bytes, encoding: Encoding = "protobuf", project_id: str = "default", received_at_ns: int = START_NS
) -> Request:
    """A request as the servers hand it over."""
    return Request(body, encoding, project_id, received_at_ns)


def decoded(body: bytes, encoding: Encoding = "protobuf") -> tuple[SpanTable, Outcome]:
    """One body's table and outcome."""
    table, (outcome,) = decode([request(body, encoding)])
    return table, outcome


# --- from the table --------------------------------------------------------------------------------------------------


def plain_table(table: SpanTable) -> list[Plain]:
    """Every span of a table with all that belongs to it, in order."""
    resources = _with_attributes(table.resources, table.resource_attributes)
    scopes = _with_attributes(table.scopes, table.scope_attributes)
    events = _with_attributes(table.events, table.event_attributes)
    links = _with_attributes(table.links, table.link_attributes)
    spans = _with_attributes(table.spans, table.span_attributes)
    for index, row in enumerate(spans):
        row["resource"], row["scope"] = resources[row["resource"]], scopes[row["scope"]]
        row["events"] = [_without(event, "span") for event in events if event["span"] == index]
        row["links"] = [_without(link, "span") for link in links if link["span"] == index]
    return [_without(row, "request") for row in spans]


def _with_attributes(things: pa.RecordBatch, attributes: pa.RecordBatch) -> list[Plain]:
    rows: list[Plain] = things.to_pylist()
    for row in rows:
        row["attributes"] = []
    for attribute in attributes.to_pylist():
        kind = _TYPES[attribute["type"]]
        text = attribute["value"]
        value = _ordered(json.loads(text)) if kind in ("array", "kvlist") else text
        rows[attribute["owner"]]["attributes"].append((attribute["key"], kind, value))
    return rows


def _without(row: Plain, name: str) -> Plain:
    return {key: value for key, value in row.items() if key != name}


def _ordered(value: Any) -> str:
    """JSON in one spelling; unlike `==` it tells 1 from 1.0 from true."""
    return json.dumps(value, sort_keys=True)


# --- from the model --------------------------------------------------------------------------------------------------


def plain_export(resources: Export) -> list[Plain]:
    """What `plain_table` shall give for a request."""
    return [
        {**_plain_span(span), "resource": _plain_resource(resource), "scope": _plain_scope(scope)}
        for resource in resources
        for scope in resource.scopes
        for span in scope.spans
    ]


def _plain_resource(resource: Resource) -> Plain:
    return {
        "schema_url": resource.schema_url,
        "dropped_attributes_count": resource.dropped,
        "attributes": _plain_attributes(resource.attributes),
    }


def _plain_scope(scope: Scope) -> Plain:
    return {
        "name": scope.name,
        "version": scope.version,
        "schema_url": scope.schema_url,
        "dropped_attributes_count": scope.dropped,
        "attributes": _plain_attributes(scope.attributes),
    }


def _plain_span(span: Span) -> Plain:
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "trace_state": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "start_time_unix_nano": span.start_ns,
        "end_time_unix_nano": span.end_ns,
        "dropped_attributes_count": span.dropped[0],
        "dropped_events_count": span.dropped[1],
        "dropped_links_count": span.dropped[2],
        "status_code": span.status_code,
        "status_message": span.status_message,
        "attributes": _plain_attributes(span.attributes),
        "events": [
            {
                "time_unix_nano": event.time_ns,
                "name": event.name,
                "dropped_attributes_count": event.dropped,
                "attributes": _plain_attributes(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id,
                "span_id": link.span_id,
                "trace_state": link.trace_state,
                "flags": link.flags,
                "dropped_attributes_count": link.dropped,
                "attributes": _plain_attributes(link.attributes),
            }
            for link in span.links
        ],
    }


def _plain_attributes(attributes: Attributes) -> list[tuple[str, str, str]]:
    return [(key, *kind_and_text(value)) for key, value in attributes]


def kind_and_text(value: Value) -> tuple[str, str]:  # noqa: PLR0911 - one return per kind of AnyValue
    """Kind of an attribute value, and the text that stands for it; of arrays and maps the JSON with sorted keys."""
    match value:
        case None:
            return "empty", ""
        case bool():
            return "bool", "true" if value else "false"
        case str():
            return "string", value
        case int():
            return "int", str(value)
        case float():
            return "double", repr(value) if math.isfinite(value) else double_name(value)
        case bytes():
            return "bytes", base64.b64encode(value).decode()
        case dict():
            return "kvlist", _ordered(json_value(value))
    return "array", _ordered(json_value(value))


def json_value(value: Value) -> Any:
    """The JSON that stands for an attribute value inside an array or a map."""
    match value:
        case float() if not math.isfinite(value):
            return double_name(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {key: json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [json_value(item) for item in value]
    return value


def attributes_of(table: SpanTable, span: int = 0) -> Sequence[tuple[str, str, str]]:
    """(key, kind, text) of one span's attributes, in order."""
    return list(plain_table(table)[span]["attributes"])
