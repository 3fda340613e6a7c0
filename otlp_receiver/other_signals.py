"""Metrics, and log records that are no GenAI events: taken politely, counted, not stored.

Counting walks the message without building it: memory stays constant whatever the body holds, and text that is no
UTF-8 does not matter. Field numbers and names: opentelemetry-proto 1.x, with the names that senders used before 1.0.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from otlp_receiver.decode.density import MOST_PARTS
from otlp_receiver.decode.otlp_json import load
from otlp_receiver.decode.rejections import lines_message
from otlp_receiver.replies import Signal, Taken
from pipelines.ingest import BadRequest, Encoding


class _Level(NamedTuple):
    """One step from a message to those inside it."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]


_PATHS: Final[dict[Signal, tuple[_Level, ...]]] = {
    "traces": (
        _Level((1,), ("resourceSpans", "resource_spans")),
        _Level((2,), ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")),
        _Level((2,), ("spans",)),
    ),
    "logs": (
        _Level((1,), ("resourceLogs", "resource_logs")),
        _Level((2,), ("scopeLogs", "scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs")),
        _Level((2,), ("logRecords", "log_records", "logs")),
    ),
    "metrics": (
        _Level((1,), ("resourceMetrics", "resource_metrics")),
        _Level((2,), ("scopeMetrics", "scope_metrics", "instrumentationLibraryMetrics")),
        _Level((2,), ("metrics",)),
        _Level(
            (5, 7, 9, 10, 11),
            ("gauge", "sum", "histogram", "exponentialHistogram", "exponential_histogram", "summary"),
        ),
        _Level((1,), ("dataPoints", "data_points")),
    ),
}


def count_records(signal: Signal, encoding: Encoding, body: bytes) -> int:
    """Number of spans, log records or metric points in an export request; raises BadRequest when it is none."""
    if encoding == "protobuf":
        return _count_protobuf(body, 0, len(body), _PATHS[signal], iter(range(MOST_PARTS)))
    return _count_json(load(body), _PATHS[signal])


def log_records_taken(records: int) -> Taken:
    """The answer to a logs request without GenAI events."""
    if not records:
        return Taken()
    return Taken(records, lines_message(records))


def metric_points_taken(points: int) -> Taken:
    """The answer to a metrics request: no rejection, since senders report one as an error on every interval."""
    if not points:
        return Taken()
    return Taken(0, f"{points} metric points were not stored: this service stores spans; turn the metrics exporter off")


def _count_json(node: Any, path: tuple[_Level, ...]) -> int:
    if not path:
        return 1
    if not isinstance(node, dict):
        return 0
    return sum(_count_json(child, path[1:]) for name in path[0].names for child in _as_list(node.get(name)))


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS: Final = 64


def _count_protobuf(body: bytes, start: int, end: int, path: tuple[_Level, ...], steps: Iterator[int]) -> int:
    """Of the message between `start` and `end`; `steps` are the fields that may be looked at."""
    if not path:
        return 1
    inner = _submessages(body, start, end, path[0].numbers, steps)
    return sum(_count_protobuf(body, inner_start, inner_end, path[1:], steps) for inner_start, inner_end in inner)


def _submessages(
    body: bytes, start: int, end: int, numbers: Collection[int], steps: Iterator[int]
) -> Iterator[tuple[int, int]]:
    """Where in `body` the submessages of these field numbers lie, between `start` and `end`."""
    while start < end:
        if next(steps, None) is None:
            raise BadRequest(f"the request has more than {MOST_PARTS} fields: send smaller batches")
        tag, start = _varint(body, start)
        size_bytes, start = _size(body, start, tag & 7)
        if start + size_bytes > end:
            raise BadRequest(f"the body is not protobuf: the field at byte {start} is longer than its message")
        if tag & 7 == _LENGTH_DELIMITED and tag >> 3 in numbers:
            yield start, start + size_bytes
        start += size_bytes


def _size(body: bytes, start: int, wire_type: int) -> tuple[int, int]:
    """How many bytes a field's value has, and where it starts."""
    if wire_type == _LENGTH_DELIMITED:
        return _varint(body, start)
    if wire_type == _VARINT:
        return _varint(body, start)[1] - start, start
    if wire_type in (_FIXED32, _FIXED64):
        return 8 if wire_type == _FIXED64 else 4, start
    raise BadRequest(f"the body is not protobuf: wire type {wire_type} at byte {start}")


def _varint(body: bytes, start: int) -> tuple[int, int]:
    """A base-128 number and where it ends."""
    value = 0
    for shift in range(0, _MAX_VARINT_BITS, 7):
        if start >= len(body):
            break
        byte = body[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, start
    raise BadRequest(f"the body is not protobuf: no number ends before byte {start}")
