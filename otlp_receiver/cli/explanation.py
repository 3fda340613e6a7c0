"""What the receiver makes of a recorded request: its spans or log records, its traces, and what was rejected."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.conventions import Convention
from otlp_receiver.cli.explained_spans import Explainer, SpanExplanation
from otlp_receiver.cli.explained_traces import TraceExplanation, explain_traces
from otlp_receiver.decode import decode, decode_logs
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.log_events import EventNames
from otlp_receiver.mapping.observations import observations
from otlp_receiver.mapping.plan import Plan
from otlp_receiver.mapping.resolution import resolve
from pipelines.ingest import Accepted, BadRequest, Encoding, Outcome, Request, Stored

__all__ = ["Explanation", "SpanExplanation", "TraceExplanation", "explain_request"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of a request.

    Attributes:
        signal: what it carries.
        spans: its usable spans, or the GenAI events among its log records.
        traces: what its spans say of their traces; none for log records.
        outcome: what was rejected, and why.
    """

    signal: Stored
    spans: tuple[SpanExplanation, ...]
    traces: tuple[TraceExplanation, ...]
    outcome: Accepted


def explain_request(
    body: bytes, encoding: Encoding, conventions: Sequence[Convention], signal: Stored | None = None
) -> Explanation:
    """Explain every usable span or event; raises BadRequest when the body cannot be decoded.

    Args:
        body: of an export request, decompressed.
        encoding: how it is encoded.
        conventions: by precedence.
        signal: what it carries; None to find out.
    """
    known = signal or _signal(body, encoding, conventions)
    table, outcome = _decoded(body, encoding, conventions, known)
    if isinstance(outcome, BadRequest):
        raise outcome
    if not table.spans.num_rows:
        return Explanation(known, (), (), outcome)
    plan = Plan(tuple(conventions))
    resolution = resolve(plan, table)
    records = observations(plan, table, resolution, [Request(body, encoding, "explain", 0, known)])
    explainer = Explainer(plan, table, resolution, records)
    spans = tuple(explainer.explain(span) for span in range(table.spans.num_rows))
    return Explanation(known, spans, explain_traces(records, resolution) if known == "traces" else (), outcome)


def _signal(body: bytes, encoding: Encoding, conventions: Sequence[Convention]) -> Stored:
    """Log records if there are any where no spans are; the two look alike on the wire."""
    spans, outcome = _decoded(body, encoding, conventions, "traces")
    if spans.spans.num_rows:
        return "traces"
    records, other = _decoded(body, encoding, conventions, "logs")
    is_silent = isinstance(outcome, Accepted) and not outcome.rejected_spans
    has_records = isinstance(other, Accepted) and bool(other.rejected_spans)
    return "logs" if records.spans.num_rows or (is_silent and has_records) else "traces"


def _decoded(
    body: bytes, encoding: Encoding, conventions: Sequence[Convention], signal: Stored
) -> tuple[SpanTable, Outcome]:
    requests = [Request(body, encoding, "explain", 0, signal)]
    if signal == "logs":
        table, outcomes = decode_logs(requests, EventNames(conventions).__contains__)
    else:
        table, outcomes = decode(requests)
    return table, outcomes[0]
