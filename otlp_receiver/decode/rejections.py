"""Why single spans are refused, in words that name the place, bounded in length."""

from typing import Final

_MOST_NAMED: Final = 20

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8


class Rejections:
    """The refused spans of one request."""

    __slots__ = ("count", "reasons")

    def __init__(self) -> None:
        self.count = 0
        self.reasons: list[str] = []

    def add(self, place: str, reason: str) -> None:
        """Refuse the span at `place` (`resourceSpans[0].scopeSpans[1].spans[7]`) for `reason`."""
        self.count += 1
        if self.count <= _MOST_NAMED:
            self.reasons.append(f"{place}.{reason}")

    def message(self) -> str:
        """All reasons in one text, the first ones by name; empty when nothing was refused."""
        more = self.count - len(self.reasons)
        return "; ".join([*self.reasons, *([f"and {more} more"] if more else [])])


def id_problem(name: str, value: bytes, expected_bytes: int) -> str:
    """What is wrong with an id, empty when it is usable. An id of zeros says "no id" (OTLP, trace.proto)."""
    if len(value) != expected_bytes:
        return f"{name}: {len(value)} bytes, expected {expected_bytes}"
    return "" if any(value) else f"{name}: all zeros, expected a non-zero id"


def span_problem(trace_id: bytes, span_id: bytes, parent_span_id: bytes) -> str:
    """Why a span can never be stored, empty when it can."""
    problem = id_problem("traceId", trace_id, TRACE_ID_BYTES) or id_problem("spanId", span_id, SPAN_ID_BYTES)
    if problem or not any(parent_span_id):
        return problem
    return id_problem("parentSpanId", parent_span_id, SPAN_ID_BYTES)
