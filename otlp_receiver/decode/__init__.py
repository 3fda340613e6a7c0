"""Request bytes → `SpanTable`: an entry a signal, generic OTLP; traces by compiled code where it is there."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from otlp_receiver.decode import density, logs_json, logs_protobuf, native, otlp_json, protobuf, span_table
from otlp_receiver.decode.decoded import Decoded, Ends, join
from otlp_receiver.decode.density import MOST_PARTS
from otlp_receiver.decode.log_records import IsEvent
from otlp_receiver.decode.refusals import too_much_repeated
from otlp_receiver.decode.rejections import Rejections
from otlp_receiver.decode.span_table import MOST_SPANS, SpanTable, SpanTableBuilder
from pipelines.ingest import Accepted, BadRequest, Encoding, Outcome, Request

_Append = Callable[[SpanTableBuilder, int, bytes], Rejections]
_SPANS: Final[dict[Encoding, _Append]] = {"protobuf": protobuf.append, "json": otlp_json.append}
_LOGS: Final[dict[Encoding, Callable[..., Rejections]]] = {"protobuf": logs_protobuf.append, "json": logs_json.append}

# Resource and scope stand once in a request and on every row of it: what a small body grows to must be bounded.
_MOST_REPEATED_BYTES: Final = 128 * 2**20
_NOTHING: Final = Decoded((), SpanTableBuilder().finish(), (), ())


class TooMuchTogether(Exception):
    """Requests that each may be decoded are too much for one table; fewer at a time fit."""


def decode(requests: Sequence[Request], decoder: native.Decoder | None = None) -> tuple[SpanTable, list[Outcome]]:
    """Decode many requests into one table.

    Args:
        requests: ExportTraceServiceRequests.
        decoder: for a comparison; by itself the one that `native.kernel` finds.

    Returns:
        The usable spans of all requests (`spans.request` is the index of the request), and one outcome a request, in
        order: `Accepted` with what was rejected and why, or `BadRequest` for a body that cannot be decoded, which
        leaves nothing of itself in the table. Never raises on the input of one request.

    Raises:
        TooMuchTogether: for several requests that must be decoded in smaller groups.
    """
    compiled = native.kernel(decoder)
    done = native.decode(compiled, requests, _limits()) if compiled else _NOTHING
    if done is None:
        raise TooMuchTogether
    if len(done.numbers) == len(requests):
        return _whole(done)
    theirs = set(done.numbers)
    ours = [number for number in range(len(requests)) if number not in theirs]
    rest = _decode(requests, ours, _SPANS, done)
    return join([done, rest]) if theirs else _whole(rest)


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
    append = {encoding: partial(append, is_event) for encoding, append in _LOGS.items()}
    return _whole(_decode(requests, range(len(requests)), append))


def _whole(decoded: Decoded) -> tuple[SpanTable, list[Outcome]]:
    return decoded.table, list(decoded.outcomes)


def _limits() -> native.Limits:
    return native.Limits(density.MOST_PARTS, span_table.MOST_SPANS, MOST_SPANS, 2 * MOST_PARTS, _MOST_REPEATED_BYTES)


def _decode(
    requests: Sequence[Request],
    numbers: Sequence[int],
    append: Mapping[Encoding, _Append],
    before: Decoded = _NOTHING,
) -> Decoded:
    """Decode those requests in Python; `before` is what others of the same group have become."""
    builder = SpanTableBuilder()
    repeated_bytes, outcomes, ends = before.repeated_bytes, list[Outcome](), list[Ends]()
    for number in numbers:
        outcome, more_bytes = _decode_one(builder, number, requests[number], append[requests[number].encoding])
        outcomes.append(outcome)
        ends.append(builder.ends())
        repeated_bytes += more_bytes
        spans, entries = before.table.spans.num_rows + builder.ends()[0], before.entries + builder.entries()
        if (before.numbers or len(outcomes) > 1) and _is_too_much(spans, entries, repeated_bytes):
            raise TooMuchTogether
    return Decoded(numbers, builder.finish(), outcomes, ends, builder.entries(), repeated_bytes)


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


def _is_too_much(spans: int, entries: int, repeated_bytes: int) -> bool:
    return spans > MOST_SPANS or entries > 2 * MOST_PARTS or repeated_bytes > _MOST_REPEATED_BYTES


def _require_bounded(repeated_bytes: int) -> None:
    if repeated_bytes > _MOST_REPEATED_BYTES:
        raise too_much_repeated(repeated_bytes, _MOST_REPEATED_BYTES)
