"""Request bytes → `SpanTable`: an entry a signal, generic OTLP; a compiled kernel of the same form may replace it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from otlp_receiver.decode import logs_json, logs_protobuf, otlp_json, protobuf
from otlp_receiver.decode.density import MOST_PARTS
from otlp_receiver.decode.log_records import IsEvent
from otlp_receiver.decode.rejections import Rejections
from otlp_receiver.decode.span_table import MOST_SPANS, SpanTable, SpanTableBuilder
from pipelines.ingest import Accepted, BadRequest, Encoding, Outcome, Request

_Append = Callable[[SpanTableBuilder, int, bytes], Rejections]
_SPANS: Final[dict[Encoding, _Append]] = {"protobuf": protobuf.append, "json": otlp_json.append}
_LOGS: Final[dict[Encoding, Callable[..., Rejections]]] = {"protobuf": logs_protobuf.append, "json": logs_json.append}

# Resource and scope stand once in a request and on every row of it: what a small body grows to must be bounded.
_MOST_REPEATED_BYTES: Final = 128 * 2**20


class TooMuchTogether(Exception):
    """Requests that each may be decoded are too much for one table; fewer at a time fit."""


def decode(requests: Sequence[Request]) -> tuple[SpanTable, list[Outcome]]:
    """Decode many requests into one table.

    Returns:
        The usable spans of all requests (`spans.request` is the index of the request), and one outcome a request, in
        order: `Accepted` with what was rejected and why, or `BadRequest` for a body that cannot be decoded, which
        leaves nothing of itself in the table. Never raises on the input of one request.

    Raises:
        TooMuchTogether: for several requests that must be decoded in smaller groups.
    """
    return _decode(requests, _SPANS)


def decode_logs(requests: Sequence[Request], is_event: IsEvent) -> tuple[SpanTable, list[Outcome]]:
    """Decode the events among the log records of many requests into one table, a span with one event each.

    Args:
        requests: ExportLogsServiceRequests.
        is_event: by event name, which records to take; the others are rejected in the outcome.

    Returns:
        As `decode`; `decode.log_records` says what of a record stands where. Spans without ids are records without.

    Raises:
        TooMuchTogether: as `decode`.
    """
    return _decode(requests, {encoding: partial(append, is_event) for encoding, append in _LOGS.items()})


def _decode(requests: Sequence[Request], append: Mapping[Encoding, _Append]) -> tuple[SpanTable, list[Outcome]]:
    builder = SpanTableBuilder()
    repeated_bytes, outcomes = 0, list[Outcome]()
    for index, request in enumerate(requests):
        outcome, more_bytes = _decode_one(builder, index, request, append[request.encoding])
        outcomes.append(outcome)
        repeated_bytes += more_bytes
        if index and _is_too_much(builder, repeated_bytes):
            raise TooMuchTogether
    return builder.finish(), outcomes


def _decode_one(builder: SpanTableBuilder, index: int, request: Request, append: _Append) -> tuple[Outcome, int]:
    """The outcome, and the bytes that its rows repeat."""
    mark = builder.mark()
    spans_before = len(builder.spans.rows)
    try:
        rejections = append(builder, index, request.body)
        repeated_bytes = builder.repeated_size(spans_before)
        _require_bounded(repeated_bytes)
    except BadRequest as error:
        builder.roll_back(mark)
        return error.with_traceback(None), 0  # its frames hold the parsed body
    spans = len(builder.spans.rows) - spans_before
    return Accepted(spans, rejections.count, rejections.message()), repeated_bytes


def _is_too_much(builder: SpanTableBuilder, repeated_bytes: int) -> bool:
    return (
        len(builder.spans.rows) > MOST_SPANS
        or builder.entries() > 2 * MOST_PARTS
        or repeated_bytes > _MOST_REPEATED_BYTES
    )


def _require_bounded(repeated_bytes: int) -> None:
    if repeated_bytes > _MOST_REPEATED_BYTES:
        raise BadRequest(
            f"resource and scope attributes, stored with every span, would take {repeated_bytes} bytes, "
            f"{_MOST_REPEATED_BYTES} are allowed in one request: send fewer spans at once or shorter attributes"
        )
