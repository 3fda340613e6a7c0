"""OTLP/JSON log records that are GenAI events → the same columns as from protobuf; others are counted."""

from functools import partial
from typing import Any, Final

from otlp_receiver.decode.json_values import Object, field, text, typed_text
from otlp_receiver.decode.log_records import EVENT_NAME, EventRows, IsEvent, LogRecord
from otlp_receiver.decode.otlp_json import (
    UINT32_MAX,
    Unusable,
    append_attributes,
    append_scopes,
    dropped,
    load,
    objects,
    read_enum,
    read_id,
    uint_or_zero,
)
from otlp_receiver.decode.rejections import Rejections
from otlp_receiver.decode.span_table import AttributeColumns, SpanTableBuilder

_SEVERITIES: Final = {
    f"SEVERITY_NUMBER_{name}{step if step > 1 else ''}": 4 * rank + step
    for rank, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in range(1, 5)
}


def append(is_event: IsEvent, builder: SpanTableBuilder, request: int, body: bytes) -> Rejections:
    """Append the events of one request; raises BadRequest when the body is no ExportLogsServiceRequest in JSON."""
    events = EventRows(is_event, builder)
    for place, resource_logs in objects(load(body), "", "resourceLogs", "resource_logs"):
        _append_resource(events, request, resource_logs, place)
    return events.rejections


def _append_resource(events: EventRows, request: int, resource_logs: Object, place: str) -> None:
    names = ("scopeLogs", "scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs")
    for owner, inner, scope_logs in append_scopes(events.builder, request, resource_logs, place, names):
        for record_place, record in objects(scope_logs, inner, "logRecords", "log_records", "logs"):
            _append_record(events, owner, record, record_place)


def _append_record(events: EventRows, owner: tuple[int, int, int], value: Object, place: str) -> None:
    attributes = [each for _, each in objects(value, place, "attributes")]
    name = text(value, "eventName", "event_name") or _named_by_attribute(attributes)
    if not events.is_event(name):
        events.rejections.lines += 1
        return
    try:
        record = _record(value, name)
    except Unusable as problem:
        events.rejections.add(place, str(problem))
        return
    named = {"attributes": [each for each in attributes if (text(each, "key"), _text_of(each)) != (EVENT_NAME, name)]}
    events.append(owner, record, place, partial(_append_attributes, named, place))


def _append_attributes(owner: Object, place: str, columns: AttributeColumns) -> None:
    append_attributes(columns, owner, place)


def _named_by_attribute(attributes: list[Object]) -> str:
    return next((_text_of(each) for each in attributes if text(each, "key") == EVENT_NAME), "")


def _text_of(attribute: Object) -> str:
    value: Any = attribute.get("value")
    return text(value, "stringValue", "string_value") if isinstance(value, dict) else ""


def _record(value: Object, name: str) -> LogRecord:
    number = read_enum(field(value, "severityNumber", "severity_number"), _SEVERITIES)
    return LogRecord(
        name,
        uint_or_zero(field(value, "timeUnixNano", "time_unix_nano")),
        uint_or_zero(field(value, "observedTimeUnixNano", "observed_time_unix_nano")),
        read_id(value, "traceId", "trace_id"),
        read_id(value, "spanId", "span_id"),
        uint_or_zero(field(value, "flags"), UINT32_MAX),
        dropped(value),
        text(value, "severityText", "severity_text") or (str(number) if number else ""),
        typed_text(value.get("body")),
    )
