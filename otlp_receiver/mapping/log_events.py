"""GenAI log records → rows of `contents`, which complete the observation of their span; without a span, observations.

The records come in the shape of spans with one event each (`decode.log_records`), so all of the mapping is that of
spans. What makes a record known again, however often and with whatever neighbours it comes, is made here.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.conventions import Convention
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.arrow_arrays import Mask, has_text, text_map
from otlp_receiver.mapping.messages import parse_json
from otlp_receiver.mapping.plan import Plan
from pipelines.batch import Batch
from pipelines.ingest import Request
from pipelines.schema import CONTENTS

_SCHEMA: Final = CONTENTS.arrow_schema
_NAMESPACE: Final = "gen_ai."
_ID_DIGITS: Final = 32
_SPAN_ID_DIGITS: Final = 16
_RENAMED: Final = {
    "observation_id": "id",
    "timestamp": "start_time",
    "observed_at": "end_time",
    "name": "span_name",
    "severity": "status_message",
}


class EventNames:
    """Which log records are GenAI events: those that a convention names, and all others of the semantic conventions."""

    def __init__(self, conventions: Iterable[Convention]) -> None:
        sections = ((each.lifted_events, each.message_events, each.score_events) for each in conventions)
        self._names = frozenset(name for section in sections for names in section for name in names)
        self._words = (_NAMESPACE.encode(), *(name.encode() for name in self._names if not name.startswith(_NAMESPACE)))

    def __contains__(self, name: str) -> bool:
        """Whether a record of this event name is a GenAI event."""
        return name.startswith(_NAMESPACE) or name in self._names

    def may_be_in(self, body: bytes) -> bool:
        """False when no record of a request can be one: then nothing of it needs to be decoded."""
        return any(word in body for word in self._words)


@dataclass(frozen=True, slots=True)
class _Identities:
    """What is known of each record beside its mapping.

    Attributes:
        ids: the same for copies of a record, different for different ones.
        positions: place among the records of its scope, from 1.
        bodies: row of `event_attributes` where the fields of its body begin, and how many there are.
    """

    ids: list[str]
    positions: list[int]
    bodies: list[tuple[int, int]]


def map_log_events(plan: Plan, table: SpanTable, requests: Sequence[Request]) -> list[Batch]:
    """The contents of a table of log records, their scores, and observations of those that belong to no span.

    Args:
        plan: the conventions.
        table: decoded log records of all `requests`.
        requests: for project and time of receipt, by `spans.request`.

    Returns:
        No batch at all when the table is empty. Never raises on what attributes hold.
    """
    if not table.spans.num_rows:
        return []
    identities = _identities(table)
    has_span = has_text(table.spans.column("span_id"))
    mapped = {batch.kind: batch for batch in map_spans(plan, _with_ids(table, identities, has_span), requests)}
    rows, received_at_ns = mapped["observations"].records, mapped["observations"].received_at_ns
    is_score = np.isin(rows.column("span_name").to_numpy(zero_copy_only=False), sorted(plan.named("score_events")))
    batches = [mapped["scores"]] if "scores" in mapped else []
    alone = rows.filter(pa.array(~has_span))
    if alone.num_rows:
        traces = mapped["traces"].records
        of_alone = pc.is_in(traces.column("id"), alone.column("trace_id"))  # a trace has one of them, or none
        batches += [
            Batch("observations", alone, received_at_ns),
            Batch("traces", traces.filter(of_alone), received_at_ns),
        ]
    completing = has_span & ~is_score
    if completing.any():
        contents = _contents(plan, table, rows, identities).filter(pa.array(completing))
        batches.append(Batch("contents", contents, received_at_ns))
    return batches


def _identities(table: SpanTable) -> _Identities:
    """Identity by content: two records of a scope that say the same at the same time are two, and stay the same two.

    Clocks of milliseconds make equal messages of one conversation equal records, side by side in their scope. Copies
    of a record are never side by side: who sends again sends a request again, whose scopes a Collector keeps apart.
    """
    scopes = table.spans.column("scope").to_pylist()
    own, events = _slices(table.span_attributes, len(scopes)), _slices(table.event_attributes, len(scopes))
    heads = table.spans.select(_HEAD).to_pylist()
    texts = table.event_attributes.select(["key", "type", "value"]).to_pylist()
    seen: Counter[tuple[int, bytes]] = Counter()
    places: Counter[int] = Counter()
    found = _Identities([], [], [])
    for scope, head, (_, own_count), (start, count) in zip(scopes, heads, own, events, strict=True):
        content = hashlib.blake2b(repr((head, texts[start : start + count])).encode(), digest_size=16)
        key = (scope, content.digest())
        seen[key] += 1
        places[scope] += 1
        content.update(b"%d" % seen[key])
        found.ids.append(content.hexdigest())
        found.positions.append(places[scope])
        found.bodies.append((start + own_count, count - own_count))
    return found


_HEAD: Final = ["trace_id", "span_id", "name", "start_time_unix_nano", "end_time_unix_nano", "status_message"]


def _slices(attributes: pa.RecordBatch, owners: int) -> list[tuple[int, int]]:
    """(start, count) of the attributes of each owner."""
    counts = np.bincount(attributes.column("owner").to_numpy(), minlength=owners).tolist()
    starts = np.concatenate(([0], np.cumsum(counts)))[:-1].tolist()
    return list(zip(starts, counts, strict=True))


def _with_ids(table: SpanTable, identities: _Identities, has_span: Mask) -> SpanTable:
    """Records without a span are spans of their own: their ids come from what makes them known again."""
    if has_span.all():
        return table
    spans, keep = table.spans, pa.array(has_span)
    own = pa.array(identities.ids, pa.string())
    for name, digits in (("trace_id", _ID_DIGITS), ("span_id", _SPAN_ID_DIGITS)):
        column = pc.if_else(keep, spans.column(name), pc.utf8_slice_codeunits(own, 0, digits))
        spans = spans.set_column(spans.schema.get_field_index(name), spans.schema.field(name), column)
    return replace(table, spans=spans)


def _contents(plan: Plan, table: SpanTable, rows: pa.RecordBatch, identities: _Identities) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {
        "id": pa.array(identities.ids, pa.string()),
        "position": pa.array(identities.positions, pa.uint32()),
        "is_message": pa.array(_are_messages(plan, rows)),
        "first_token_wait_ns": _waits(rows),
        "body": _bodies(table, identities),
    }
    for name in _SCHEMA.names:
        if name not in columns:
            columns[name] = rows.column(_RENAMED.get(name, name))
    return pa.RecordBatch.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


def _are_messages(plan: Plan, rows: pa.RecordBatch) -> Mask:
    """Message events whose halves hold messages; what an attribute of such a record says may be something else."""
    named = np.isin(rows.column("span_name").to_numpy(zero_copy_only=False), sorted(plan.named("message_events")))
    for row in np.flatnonzero(named).tolist():
        halves = [rows.column(name)[row].as_py() for name in ("input", "output")]
        named[row] = all(not half or isinstance(parse_json(half), list) for half in halves)
    return np.asarray(named)


def _waits(rows: pa.RecordBatch) -> pa.UInt64Array:
    """How long the first token took, told by a record that does not know when its span began."""
    firsts, starts = (rows.column(name).cast(pa.int64()) for name in ("completion_start_time", "start_time"))
    return pc.subtract(firsts, starts).cast(pa.uint64(), safe=False)


def _bodies(table: SpanTable, identities: _Identities) -> pa.MapArray:
    owners = np.repeat(np.arange(len(identities.bodies)), [count for _, count in identities.bodies])
    chosen = [row for start, count in identities.bodies for row in range(start, start + count)]
    kept: Any = table.event_attributes.take(pa.array(chosen, pa.int64()))
    return text_map(owners, kept.column("key").cast(pa.string()), kept.column("value"), len(identities.bodies))
