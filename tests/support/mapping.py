"""Spans in, plain rows of records out, for the tests of the mapping."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.conventions import load_conventions
from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.plan import Plan
from tests.support.arrow_rows import Row, table_rows
from tests.support.otlp import START_NS, Export, Span, Value, export, to_protobuf
from tests.support.span_tables import request

PLAN = Plan(load_conventions())


@dataclass(frozen=True, slots=True)
class Mapped:
    """What requests were mapped to; times as Unix nanoseconds, maps as dictionaries."""

    observations: list[Row]
    traces: list[Row]
    scores: list[Row]


def map_bodies(bodies: Sequence[bytes], plan: Plan = PLAN, received_at_ns: int = START_NS) -> Mapped:
    """Rows of protobuf requests, decoded and mapped together."""
    requests = [request(body, received_at_ns=received_at_ns) for body in bodies]
    table, _ = decode(requests)
    by_kind = {batch.kind: table_rows(batch.records) for batch in map_spans(plan, table, requests)}
    return Mapped(by_kind.get("observations", []), by_kind.get("traces", []), by_kind.get("scores", []))


def map_export(resources: Export, plan: Plan = PLAN) -> Mapped:
    """Rows of one request."""
    return map_bodies([to_protobuf(resources)], plan)


def observation(span: Span, resource: dict[str, Value] | None = None, plan: Plan = PLAN) -> Row:
    """The one observation of a request of one span."""
    (row,) = map_export(export(span, resource=resource), plan).observations
    return row
