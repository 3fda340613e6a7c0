"""A GenAI log record in the shape of a span, so that whatever maps spans maps it too.

    log record               in the SpanTable
    ----------------------   ----------------------------------------------------------------------------------------
    event name               name of the span, and of its one event
    time, observed time      start and end of the span; either stands in for the other; the event has the first
    attributes               of the span, and of the event
    fields of the body       of the event, behind the attributes; a body that is no map is its field `content`
    trace id, span id        the same; both empty when the record does not have both
    severity                 status message

Log data model: https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from otlp_receiver.decode.any_value import double_text, structured_text
from otlp_receiver.decode.density import require_sparse_json
from otlp_receiver.decode.rejections import SPAN_ID_BYTES, TRACE_ID_BYTES, Rejections, id_problem
from otlp_receiver.decode.span_table import (
    ARRAY,
    BOOL,
    DOUBLE,
    EMPTY,
    INT,
    KVLIST,
    STRING,
    AttributeColumns,
    SpanTableBuilder,
)

EVENT_NAME: Final = "event.name"
"""The attribute that held the name of an event before log records had a field for it."""

IsEvent = Callable[[str], bool]
"""Whether a log record of this event name is to be stored."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What a log record says beside its attributes."""

    name: str
    time: int
    observed_time: int
    trace_id: bytes
    span_id: bytes
    flags: int
    dropped: int
    severity: bytes | str
    body: tuple[int, bytes | str]
    """Kind and text."""

    def problem(self) -> str:
        """Why its ids cannot be used, empty when they can; a record need not have any."""
        ids = (("traceId", self.trace_id, TRACE_ID_BYTES), ("spanId", self.span_id, SPAN_ID_BYTES))
        return next((found for name, value, size in ids if any(value) and (found := id_problem(name, value, size))), "")


@dataclass(frozen=True, slots=True)
class EventRows:
    """Where the events of one request go.

    Attributes:
        is_event: which records they are.
        builder: the table.
        rejections: the other records, and those that cannot be used.
    """

    is_event: IsEvent
    builder: SpanTableBuilder
    rejections: Rejections = field(default_factory=Rejections)

    def append(
        self,
        owner: tuple[int, int, int],
        record: LogRecord,
        place: str,
        append_attributes: Callable[[AttributeColumns], None],
    ) -> None:
        """Append a record as a span with one event, or reject it.

        Args:
            owner: rows of request, resource and scope.
            record: the record.
            place: what to call it when it is rejected.
            append_attributes: appends the record's attributes as those of one owner.
        """
        problem = record.problem()
        if problem:
            self.rejections.add(place, problem)
        else:
            self.builder.require_room(1)
            _append_span(self.builder, owner, record, append_attributes)


def _append_span(
    builder: SpanTableBuilder,
    owner: tuple[int, int, int],
    record: LogRecord,
    append_attributes: Callable[[AttributeColumns], None],
) -> None:
    row = len(builder.spans.rows)
    has_ids = any(record.trace_id) and any(record.span_id)
    ids = (record.trace_id.hex(), record.span_id.hex()) if has_ids else ("", "")
    time, observed_time = record.time or record.observed_time, record.observed_time or record.time
    counts = (record.dropped, 0, 0)
    builder.spans.rows.append(
        (*owner, *ids, "", "", record.flags, record.name, 0, time, observed_time, *counts, 0, record.severity)
    )
    append_attributes(builder.span_attributes)
    builder.events.rows.append((row, time, record.name, record.dropped))
    append_attributes(builder.event_attributes)
    count = builder.event_attributes.counts[-1]
    if count:  # the same objects: what a record says is not held twice
        builder.event_attributes.values[-count:] = builder.span_attributes.values[-count:]
    for key, kind, text in _fields(*record.body):
        _append_one(builder.event_attributes, key, kind, text)


def _append_one(columns: AttributeColumns, key: str, kind: int, text: bytes | str) -> None:
    """One more attribute of the last owner."""
    columns.keys.append(columns.codes[key.encode()])
    columns.types.append(kind)
    columns.values.append(text)
    columns.counts[-1] += 1


def _fields(kind: int, text: bytes | str) -> list[tuple[str, int, bytes | str]]:
    """The fields of a body: of a map, or of text that is a JSON object (Semantic Kernel)."""
    start = text[:1]
    if kind == KVLIST or (kind == STRING and start in (b"{", "{")):
        require_sparse_json(text if isinstance(text, bytes) else text.encode())
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict):
            return [(key, *_kind_and_text(value)) for key, value in body.items()]
    return [("content", kind, text)] if text else []


def _kind_and_text(value: Any) -> tuple[int, bytes | str]:
    match value:
        case None:
            return EMPTY, ""
        case str():
            return STRING, value
        case bool():
            return BOOL, "true" if value else "false"
        case int():
            return INT, str(value)
        case float():
            return DOUBLE, double_text(value)
    return (ARRAY if isinstance(value, list) else KVLIST), structured_text(value)
