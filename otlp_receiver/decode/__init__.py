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
    except BadRequest as error:
        builder.roll_back(mark)
        return error
    return Accepted(len(builder.spans.rows) - spans_before, rejections.count, rejections.message())
