"""What a request says of its traces, for `explain`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from otlp_receiver.cli.explained_spans import Filled
from otlp_receiver.mapping.resolution import Resolution
from otlp_receiver.mapping.traces import (
    EXPLICIT_RANK,
    FALLBACK_RANK,
    OTHER_RANK,
    ROOT_RANK,
    said_of_traces,
    trace_rows,
)
from pipelines.schema import NO_VALUE_RANK, RANKED, TRACES

_WHY: Final = {
    EXPLICIT_RANK: "said of the trace by span {}",
    ROOT_RANK: "its root, span {}",
    OTHER_RANK: "span {}, the earliest that says it",
    FALLBACK_RANK: "span {}, for want of better",
}


@dataclass(frozen=True, slots=True)
class TraceExplanation:
    """What became of one trace, as far as this request tells; spans in other requests may change it.

    Attributes:
        id: 32 hex digits.
        filled: columns of `traces` that have a value, and the span that it is from.
    """

    id: str
    filled: tuple[Filled, ...]


def explain_traces(records: pa.RecordBatch, resolution: Resolution) -> tuple[TraceExplanation, ...]:
    """By the traces' order in the request."""
    rows = trace_rows(records, said_of_traces(resolution)).to_pylist()
    order = {trace: place for place, trace in enumerate(dict.fromkeys(records.column("trace_id").to_pylist()))}
    explained = (TraceExplanation(row["id"], tuple(_filled(row))) for row in rows)
    return tuple(sorted(explained, key=lambda trace: order[trace.id]))


def _filled(row: dict[str, Any]) -> Iterator[Filled]:
    for column in TRACES.columns:
        value = row[column.name]
        if column.arrow == RANKED and value["rank"] != NO_VALUE_RANK:
            yield _ranked(column.name, value)
        elif column.name == "tags" and value:
            yield Filled("tags", ("all of its spans",), ", ".join(value))
        elif column.name == "metadata":
            yield from (_ranked(f"metadata[{key}]", entry) for key, entry in value)


def _ranked(column: str, value: dict[str, Any]) -> Filled:
    return Filled(column, (_WHY[value["rank"]].format(value["span"]),), value["value"])
