"""Request bytes → `SpanTable`. One entry, generic OTLP, to be replaced by a compiled kernel of the same signature."""

from collections.abc import Callable, Sequence
from typing import Final

from otlp_receiver.decode import otlp_json, protobuf
from otlp_receiver.decode.rejections import Rejections
from otlp_receiver.decode.span_table import SpanTable, SpanTableBuilder
from pipelines.ingest import Accepted, BadRequest, Encoding, Outcome, Request

_APPEND: Final[dict[Encoding, Callable[[SpanTableBuilder, int, bytes], Rejections]]] = {
    "protobuf": protobuf.append,
    "json": otlp_json.append,
}

# Resource and scope stand once in a request and on every row of it: what a small body grows to must be bounded.
_MOST_REPEATED_BYTES: Final = 256 * 2**20


def decode(requests: Sequence[Request]) -> tuple[SpanTable, list[Outcome]]:
    """Decode many requests into one table.

    Returns:
        The usable spans of all requests (`spans.request` is the index of the request), and one outcome a request, in
        order: `Accepted` with what was rejected and why, or `BadRequest` for a body that cannot be decoded, which
        leaves nothing of itself in the table. Never raises on input.
    """
    builder = SpanTableBuilder()
    outcomes = [_decode_one(builder, index, request) for index, request in enumerate(requests)]
    return builder.finish(), outcomes


def _decode_one(builder: SpanTableBuilder, index: int, request: Request) -> Outcome:
    mark = builder.mark()
    spans_before = len(builder.spans.rows)
    try:
        rejections = _APPEND[request.encoding](builder, index, request.body)
        _require_bounded(builder.repeated_size(spans_before))
    except BadRequest as error:
        builder.roll_back(mark)
        return error
    return Accepted(len(builder.spans.rows) - spans_before, rejections.count, rejections.message())


def _require_bounded(repeated_bytes: int) -> None:
    if repeated_bytes > _MOST_REPEATED_BYTES:
        raise BadRequest(
            f"resource and scope attributes, stored with every span, would take {repeated_bytes} bytes, "
            f"{_MOST_REPEATED_BYTES} are allowed in one request: send fewer spans at once or shorter attributes"
        )
