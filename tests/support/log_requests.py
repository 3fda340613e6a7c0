"""Log records as plain data, and two encoders that share nothing with the code under test.

Attribute values and bodies are Python's own, as in `tests.support.otlp`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from config.conventions import load_conventions
from otlp_receiver.decode import decode_logs
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.log_events import EventNames
from pipelines.ingest import Encoding, Outcome, Request
from tests.support.otlp import START_NS, Attributes, Value, _JsonWriter, any_value

NAMES: Final = EventNames(load_conventions())
TRACE_ID: Final = "0102030405060708090a0b0c0d0e0f10"
SPAN_ID: Final = "1112131415161718"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A log record; ids in hex."""

    name: str = ""
    time_ns: int = START_NS
    observed_ns: int = START_NS
    trace_id: str = TRACE_ID
    span_id: str = SPAN_ID
    severity: str = ""
    severity_number: int = 0
    flags: int = 0
    attributes: Attributes = ()
    body: Value = None
    dropped: int = 0


def record(name: str, body: Value = None, attributes: Mapping[str, Value] | None = None, **fields: Any) -> LogRecord:
    """A record from a dictionary of attributes."""
    return LogRecord(name=name, body=body, attributes=tuple((attributes or {}).items()), **fields)


def conversation(trace_id: str = TRACE_ID, span_id: str = SPAN_ID, start_ns: int = START_NS) -> list[LogRecord]:
    """A call with a tool, one event per message, as the contrib instrumentations send it."""
    call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    said = [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Weather in Paris?"}),
        ("gen_ai.assistant.message", {"tool_calls": [call]}),
        ("gen_ai.tool.message", {"id": "call-1", "content": "18 degrees"}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "Mild.", "tool_calls": [call]}}),
    ]
    return [
        record(
            name,
            body,
            {"gen_ai.system": "openai", "app.number": number},
            trace_id=trace_id,
            span_id=span_id,
            time_ns=start_ns + number,
            observed_ns=start_ns + number,
        )
        for number, (name, body) in enumerate(said)
    ]


def to_protobuf(*scopes: Sequence[LogRecord], resource: Mapping[str, Value] | None = None) -> bytes:
    """One request as OTLP/protobuf; each scope's records stand side by side."""
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.extend(_key_values(tuple((resource or {}).items())))
    for records in scopes:
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name, scope_logs.scope.version = "tests", "1"
        for each in records:
            _add(scope_logs.log_records.add(), each)
    return request.SerializeToString()


def _key_values(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes]


def _add(target: Any, each: LogRecord) -> None:
    target.event_name = each.name
    target.time_unix_nano, target.observed_time_unix_nano = each.time_ns, each.observed_ns
    target.trace_id, target.span_id = bytes.fromhex(each.trace_id), bytes.fromhex(each.span_id)
    target.severity_text, target.severity_number, target.flags = each.severity, each.severity_number, each.flags
    target.dropped_attributes_count = each.dropped
    target.attributes.extend(_key_values(each.attributes))
    body: AnyValue = any_value(each.body)
    if each.body is not None:
        target.body.CopyFrom(body)


def to_json(
    *scopes: Sequence[LogRecord], resource: Mapping[str, Value] | None = None, spelling_seed: int | None = None
) -> bytes:
    """The same as OTLP/JSON; with a seed in any of the spellings that readers have to take."""
    writer = _Writer(spelling_seed)
    return json.dumps(writer.logs(scopes, tuple((resource or {}).items())), ensure_ascii=False).encode()


class _Writer(_JsonWriter):
    def logs(self, scopes: Sequence[Sequence[LogRecord]], resource: Attributes) -> dict[str, Any]:
        scope_logs = [
            self._object(
                scope=self._object(name="tests", version="1"), log_records=[self._record(each) for each in records]
            )
            for records in scopes
        ]
        inner = self._object(attributes=self._attributes(resource))
        return self._object(resource_logs=[self._object(resource=inner, scope_logs=scope_logs)])

    def _record(self, each: LogRecord) -> dict[str, Any]:
        return self._object(
            time_unix_nano=self._int64(each.time_ns),
            observed_time_unix_nano=self._int64(each.observed_ns),
            event_name=each.name,
            trace_id=self._id(each.trace_id),
            span_id=self._id(each.span_id),
            severity_text=each.severity,
            severity_number=each.severity_number,
            flags=each.flags,
            dropped_attributes_count=each.dropped,
            attributes=self._attributes(each.attributes),
            body=self._value(each.body),
        )


def decoded(body: bytes, encoding: Encoding = "protobuf") -> tuple[SpanTable, Outcome]:
    """One body's table and outcome."""
    table, (outcome,) = decode_logs([logs_request(body, encoding)], NAMES.__contains__)
    return table, outcome


def logs_request(
    body: bytes, encoding: Encoding = "protobuf", project_id: str = "default", received_at_ns: int = START_NS
) -> Request:
    """A request as the servers hand it over."""
    return Request(body, encoding, project_id, received_at_ns, "logs")
