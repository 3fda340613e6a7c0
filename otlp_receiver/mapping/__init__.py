"""SpanTable → batches of records: all that this project knows of GenAI, driven by `config/conventions`."""

from collections.abc import Sequence

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.observations import observations
from otlp_receiver.mapping.plan import Plan
from otlp_receiver.mapping.resolution import resolve
from otlp_receiver.mapping.scores import score_rows
from otlp_receiver.mapping.traces import said_of_traces, trace_rows
from pipelines.batch import Batch
from pipelines.ingest import Request

__all__ = ["Plan", "map_spans"]


def map_spans(plan: Plan, table: SpanTable, requests: Sequence[Request]) -> list[Batch]:
    """The observations of a table, the partial trace rows that they add up to, and their scores.

    Args:
        plan: the conventions.
        table: decoded spans of all `requests`.
        requests: for project and time of receipt, by `spans.request`.

    Returns:
        No batch at all when the table is empty. Never raises on what attributes hold.
    """
    if not table.spans.num_rows:
        return []
    received_at_ns = min(request.received_at_ns for request in requests)
    resolution = resolve(plan, table)
    rows = observations(plan, table, resolution, requests)
    traces = trace_rows(rows, said_of_traces(resolution))
    batches = [Batch("observations", rows, received_at_ns), Batch("traces", traces, received_at_ns)]
    scores = score_rows(plan, table, rows)
    return batches if scores is None else [*batches, Batch("scores", scores, received_at_ns)]
