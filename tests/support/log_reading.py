"""Recorded GenAI log records, read without the decoder under test: published classes and the standard library."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.support.corpus import Recording
from tests.support.otlp import Value
from tests.support.otlp_reading import json_attributes, json_value, protobuf_attributes, protobuf_value


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event; ids in hex, attributes without the event's name, the body's fields (none when it is no map)."""

    name: str
    trace_id: str
    span_id: str
    time_ns: int
    attributes: dict[str, Value]
    body: dict[str, Value]


def recorded_events(recording: Recording) -> list[RecordedEvent]:
    """The GenAI events of a logs request, in the order sent."""
    read = _from_json if recording.encoding == "json" else _from_protobuf
    return [each for each in read(recording.decompressed()) if each.name.startswith("gen_ai.")]


def recorded_lines(recording: Recording) -> int:
    """Number of log records that are no GenAI events."""
    read = _from_json if recording.encoding == "json" else _from_protobuf
    return sum(not each.name.startswith("gen_ai.") for each in read(recording.decompressed()))


def _from_protobuf(body: bytes) -> Iterator[RecordedEvent]:
    for resource_logs in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for sent in scope_logs.log_records:
                ids = (sent.trace_id.hex(), sent.span_id.hex())
                time_ns = sent.time_unix_nano or sent.observed_time_unix_nano
                attributes = dict(protobuf_attributes(sent.attributes))
                yield _event(sent.event_name, ids, time_ns, attributes, protobuf_value(sent.body))


def _from_json(body: bytes) -> Iterator[RecordedEvent]:
    for resource_logs in json.loads(body)["resourceLogs"]:
        for scope_logs in resource_logs["scopeLogs"]:
            for sent in scope_logs["logRecords"]:
                ids = (sent.get("traceId", ""), sent.get("spanId", ""))
                time_ns = int(sent.get("timeUnixNano") or sent["observedTimeUnixNano"])
                attributes = dict(json_attributes(sent))
                yield _event(sent.get("eventName", ""), ids, time_ns, attributes, json_value(sent.get("body")))


def _event(name: str, ids: tuple[str, str], time_ns: int, attributes: dict[str, Any], body: Value) -> RecordedEvent:
    if isinstance(body, str) and body.startswith("{"):
        body = json.loads(body)
    name = name or attributes.pop("event.name", "")
    return RecordedEvent(name, *ids, time_ns, attributes, body if isinstance(body, dict) else {})
