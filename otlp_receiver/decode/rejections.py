"""Why single spans and log records are refused, in words that name the place, bounded in length."""

from typing import Final

_MOST_NAMED: Final = 20

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8


class Rejections:
    """The refused spans or log records of one request.

    Attributes:
        lines: number of log records that are no GenAI events.
    """

    __slots__ = ("_count", "_reasons", "lines")

    def __init__(self) -> None:
        self._count = 0
        self._reasons: list[str] = []
        self.lines = 0

    @property
    def count(self) -> int:
        """How many were refused, for whatever reason."""
        return self._count + self.lines

    def add(self, place: str, reason: str) -> None:
        """Refuse what stands at `place` (`resourceSpans[0].scopeSpans[1].spans[7]`) for `reason`."""
        self._count += 1
        if self._count <= _MOST_NAMED:
            self._reasons.append(f"{place}.{reason}")

    def add_unnamed(self, count: int) -> None:
        """Refuse so many more, without a word on each."""
        self._count += count

    def message(self) -> str:
        """All reasons in one text, the first ones by name; empty when nothing was refused."""
        more = self._count - len(self._reasons)
        others = [f"and {more} more"] if more else []
        return "; ".join([*self._reasons, *others, *([lines_message(self.lines)] if self.lines else [])])


def lines_message(lines: int) -> str:
    """What is said of log records that are no GenAI events."""
    return (
        f"{lines} log records were not stored: this service stores spans and GenAI events; "
        "export other log records to a store for logs"
    )


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
