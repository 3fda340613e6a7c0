"""OTLP/protobuf log records that are GenAI events → columns; others are counted."""

from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError

from otlp_receiver.decode import lenient
from otlp_receiver.decode.density import require_sparse_protobuf
from otlp_receiver.decode.log_records import EVENT_NAME, EventRows, IsEvent, LogRecord
from otlp_receiver.decode.protobuf import append_attributes, typed_text
from otlp_receiver.decode.rejections import Rejections
from otlp_receiver.decode.span_table import STRING, SpanTableBuilder
from pipelines.ingest import BadRequest

_EVENT_NAME: Final = EVENT_NAME.encode()


def append(is_event: IsEvent, builder: SpanTableBuilder, request: int, body: bytes) -> Rejections:
    """Append the events of one request; raises BadRequest when the bytes are no ExportLogsServiceRequest."""
    require_sparse_protobuf(body, "logs")
    message = lenient.request_class("logs")()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise BadRequest(f"the body is not an ExportLogsServiceRequest in protobuf: {error}") from None
    events = EventRows(is_event, builder)
    for index, resource_logs in enumerate(message.resource_logs):
        _append_resource(events, request, resource_logs, f"resourceLogs[{index}]")
    return events.rejections


def _append_resource(events: EventRows, request: int, resource_logs: Any, place: str) -> None:
    resource = resource_logs.resource
    builder = events.builder
    row = len(builder.resources.rows)
    builder.resources.rows.append((resource_logs.schema_url, resource.dropped_attributes_count))
    append_attributes(builder.resource_attributes, resource.attributes)
    for index, scope_logs in enumerate(resource_logs.scope_logs):
        scope = scope_logs.scope
        owner = (request, row, len(builder.scopes.rows))
        builder.scopes.rows.append((scope.name, scope.version, scope_logs.schema_url, scope.dropped_attributes_count))
        append_attributes(builder.scope_attributes, scope.attributes)
        builder.require_room(len(scope_logs.log_records))
        for number, record in enumerate(scope_logs.log_records):
            _append_record(events, owner, record, f"{place}.scopeLogs[{index}].logRecords[{number}]")


def _append_record(events: EventRows, owner: tuple[int, int, int], message: Any, place: str) -> None:
    name = message.event_name or _named_by_attribute(message)
    text = name.decode("utf-8", "replace")
    if not events.is_event(text):
        events.rejections.lines += 1
        return
    attributes = [each for each in message.attributes if each.key != _EVENT_NAME or each.value.string_value != name]
    events.append(owner, _record(message, text), place, partial(append_attributes, attributes=attributes))


def _named_by_attribute(message: Any) -> bytes:
    return next((each.value.string_value for each in message.attributes if each.key == _EVENT_NAME), b"")


def _record(message: Any, name: str) -> LogRecord:
    number = message.severity_number
    return LogRecord(
        name,
        message.time_unix_nano,
        message.observed_time_unix_nano,
        message.trace_id,
        message.span_id,
        message.flags,
        message.dropped_attributes_count,
        message.severity_text or (str(number) if number else ""),
        _body(message.body),
    )


def _body(value: Any) -> tuple[int, bytes | str]:
    return (STRING, value.string_value) if value.string_value else typed_text(value)
