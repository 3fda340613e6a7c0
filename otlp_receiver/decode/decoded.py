"""What a decoder hands back for some of the requests, and two of these brought together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from otlp_receiver.decode.span_table import ATTRIBUTES, SpanTable
from pipelines.ingest import Outcome

Ends = tuple[int, int, int, int, int]
"""Rows of spans, events, links, resources and scopes after a request, in this order."""

_THINGS: Final = ("spans", "events", "links", "resources", "scopes")
_REFERENCES: Final = {"resource": "resources", "scope": "scopes", "span": "spans"}
"""Columns that hold row numbers, and of which table."""

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some requests in one table.

    Attributes:
        numbers: which requests, ascending.
        table: their spans.
        outcomes: one a request.
        ends: one a request.
        entries: a measure of the memory that the table takes.
        repeated_bytes: length of the resource and scope attributes that its rows will carry.
    """

    numbers: Sequence[int]
    table: SpanTable
    outcomes: Sequence[Outcome]
    ends: Sequence[Ends]
    entries: int = 0
    repeated_bytes: int = 0


def join(parts: Sequence[Decoded]) -> tuple[SpanTable, list[Outcome]]:
    """One table and all outcomes, requests in order, as if one decoder had decoded them all."""
    sequence = np.argsort(np.concatenate([part.numbers for part in parts]), kind="stable")
    outcomes = [outcome for part in parts for outcome in part.outcomes]
    orders = {thing: _order(parts, place, sequence) for place, thing in enumerate(_THINGS)}
    places = {thing: _places(order) for thing, order in orders.items()}
    joined: dict[str, pa.RecordBatch] = {}
    for thing, order in orders.items():
        joined[thing] = _joined(parts, thing, places).take(pa.array(order))
        joined[_attributes(thing)] = _joined_attributes(parts, thing, places)
    return SpanTable(**joined), [outcomes[number] for number in sequence]


def _attributes(thing: str) -> str:
    return f"{thing.removesuffix('s')}_attributes"


def _order(parts: Sequence[Decoded], place: int, sequence: npt.NDArray[np.intp]) -> _Rows:
    """Rows of one thing, numbered through all parts, in the order that they shall have."""
    starts, ends, base = list[int](), list[int](), 0
    for part in parts:
        part_ends = [base + request[place] for request in part.ends]
        starts += [base, *part_ends[:-1]]
        ends += part_ends
        base = part_ends[-1]
    return np.concatenate([np.arange(starts[number], ends[number]) for number in sequence])


def _places(order: _Rows) -> _Rows:
    """Where each row goes."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def _joined(parts: Sequence[Decoded], thing: str, places: dict[str, _Rows]) -> pa.RecordBatch:
    """The rows of all parts, one part after the other, with the row numbers that they hold brought up to date."""
    batches = [getattr(part.table, thing) for part in parts]
    columns = []
    for field in batches[0].schema:
        column = pa.concat_arrays([batch.column(field.name) for batch in batches])
        referred = _REFERENCES.get(field.name)
        columns.append(_moved(parts, batches, field.name, referred, places) if referred else column)
    return pa.RecordBatch.from_arrays(columns, schema=batches[0].schema)


def _moved(
    parts: Sequence[Decoded], batches: Sequence[pa.RecordBatch], column: str, thing: str, places: dict[str, _Rows]
) -> pa.Array:
    """A column of row numbers of `thing`."""
    sizes = [0, *(getattr(part.table, thing).num_rows for part in parts[:-1])]
    pairs = zip(batches, np.cumsum(sizes), strict=True)
    rows = np.concatenate([batch.column(column).to_numpy() + base for batch, base in pairs])
    return pa.array(places[thing][rows], pa.int32())


def _joined_attributes(parts: Sequence[Decoded], thing: str, places: dict[str, _Rows]) -> pa.RecordBatch:
    batches = [getattr(part.table, _attributes(thing)) for part in parts]
    owners = _moved(parts, batches, "owner", thing, places)
    others = [
        pa.concat_arrays([batch.column(name) for batch in batches]) for name in ATTRIBUTES.names if name != "owner"
    ]
    order = np.argsort(owners.to_numpy(), kind="stable")
    return pa.RecordBatch.from_arrays([owners, *others], schema=ATTRIBUTES).take(pa.array(order))
