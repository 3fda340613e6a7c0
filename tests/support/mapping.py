"""Spans in, plain rows of records out, for the tests of the mapping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from config.conventions import load_conventions
from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.plan import Plan
from pipelines.batch import Batch
from tests.support.otlp import START_NS, Export, Span, Value, export, to_protobuf
from tests.support.span_tables import request

Row = dict[str, Any]
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
    by_kind = {batch.kind: rows(batch) for batch in map_spans(plan, table, requests)}
    return Mapped(by_kind.get("observations", []), by_kind.get("traces", []), by_kind.get("scores", []))


def map_export(resources: Export, plan: Plan = PLAN) -> Mapped:
    """Rows of one request."""
    return map_bodies([to_protobuf(resources)], plan)


def observation(span: Span, resource: dict[str, Value] | None = None, plan: Plan = PLAN) -> Row:
    """The one observation of a request of one span."""
    (row,) = map_export(export(span, resource=resource), plan).observations
    return row


def rows(batch: Batch) -> list[Row]:
    """A batch's rows as dictionaries."""
    columns = [_plain_column(column) for column in batch.records.columns]
    names = batch.records.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain_column(column: pa.Array) -> list[Any]:
    kind = _without_times(column.type)
    values: list[Any] = column.cast(kind).to_pylist()
    if pa.types.is_map(kind):
        return [dict(value) for value in values]
    if pa.types.is_list(kind):
        return [[_plain_item(item) for item in value] for value in values]
    return values


def _plain_item(item: Any) -> Any:
    """Of an event or a link, the attributes as a dictionary."""
    if isinstance(item, dict) and "attributes" in item:
        return {**item, "attributes": dict(item["attributes"])}
    return item


def _without_times(kind: pa.DataType) -> pa.DataType:
    """The type with 64-bit integers for times, which Python's datetime would round."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _without_times(field.type)) for field in kind])
    return kind
