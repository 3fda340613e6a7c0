"""Which attribute fills which field of which span: every field on its own, over all dialects present.

Vectorised: the meaning of each distinct key is looked up once, then numpy picks the best candidate of every
(span, field). An empty text is no candidate, so one dialect's empty half never hides another's.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Indices, Mask, first_text, has_text, take_text
from otlp_receiver.mapping.plan import COUNT_FIELDS, FIELD_INDEX, FIELDS, NOTHING, KeyArrays, Plan, keys_of

_NO_WINNER: Final = np.iinfo(np.int64).max
_RANK_SHIFT: Final = 32
_ROW_MASK: Final = (1 << _RANK_SHIFT) - 1
_ZERO_PENALTY: Final = 1 << 24


@dataclass(slots=True)
class Candidates:
    """Attributes that can fill fields: span attributes, then those of lifted events.

    Attributes:
        owner: span of each.
        code: index into `names` of each.
        values: text of each.
        names: the keys.
        keys: their meanings.
        span_rows: how many are span attributes; the rest are shown in `events` whatever becomes of them.
    """

    owner: npt.NDArray[Any]
    code: npt.NDArray[Any]
    values: pa.StringArray
    names: list[str]
    keys: KeyArrays
    span_rows: int


def candidates(plan: Plan, table: SpanTable) -> Candidates:
    """The span attributes of a table, with those of lifted events behind them."""
    attributes = table.span_attributes
    names, code = keys_of(attributes)
    owner, values = attributes.column("owner").to_numpy(), attributes.column("value")
    lifted = _lifted(plan, table)
    if lifted is not None:
        more_names, more_code = keys_of(lifted)
        owner = np.concatenate([owner, table.events.column("span").to_numpy()[lifted.column("owner").to_numpy()]])
        code = np.concatenate([code, more_code + len(names)])
        values = pa.concat_arrays([values, lifted.column("value")])
        names = names + more_names
    return Candidates(owner, code, values, names, plan.span_keys(names), attributes.num_rows)


def _lifted(plan: Plan, table: SpanTable) -> pa.RecordBatch | None:
    names = table.events.column("name")
    if not len(names):
        return None
    lifted = pc.is_in(names, pa.array(sorted(plan.named("lifted_events")), pa.string())).to_numpy(zero_copy_only=False)
    if not lifted.any():
        return None
    owners = table.event_attributes.column("owner").to_numpy()
    return table.event_attributes.filter(pa.array(lifted[owners]))


def _winners(
    owner: npt.NDArray[Any], code: npt.NDArray[Any], values: pa.StringArray, keys: KeyArrays, count: int
) -> Indices:
    """Row of the best candidate of every (owner, field), -1 for none; ties go to the one sent first."""
    fields = keys.field[code]
    rows = np.flatnonzero((fields >= 0) & has_text(values))
    rank = keys.rank[code[rows]].astype(np.int64)
    rank += _ZERO_PENALTY * _is_zero_count(fields[rows], values, rows)
    best = np.full(count * len(FIELDS), _NO_WINNER, np.int64)
    np.minimum.at(best, owner[rows].astype(np.int64) * len(FIELDS) + fields[rows], (rank << _RANK_SHIFT) | rows)
    return np.where(best == _NO_WINNER, NOTHING, best & _ROW_MASK).reshape(count, len(FIELDS))


def _is_zero_count(fields: npt.NDArray[Any], values: pa.StringArray, rows: Indices) -> Mask:
    """Of a zero and a value for the same count, the value wins (two spellings, one of them never filled in)."""
    zero = np.isin(fields, list(COUNT_FIELDS))
    counts = np.flatnonzero(zero)
    zero[counts] = pc.equal(values.take(pa.array(rows[counts])), "0").to_numpy(zero_copy_only=False)
    return zero


@dataclass(slots=True)
class Resolution:
    """What fills the fields of every span of a table.

    Attributes:
        candidates: the attributes.
        winners: row of `candidates` per (span, field), -1 for none.
        shown: rows that some column shows; the rest goes to metadata.
    """

    candidates: Candidates
    winners: Indices
    resource_winners: Indices
    resource_values: pa.StringArray
    resource_of_span: npt.NDArray[Any]
    shown: Mask
    _filled: frozenset[int] = field(init=False)
    _no_text: pa.StringArray = field(init=False)

    def __post_init__(self) -> None:
        # Most fields are in no span of a batch: they share one empty column.
        filled = (self.winners >= 0).any(axis=0) | (self.resource_winners >= 0).any(axis=0)
        self._filled = frozenset(np.flatnonzero(filled).tolist())
        self._no_text = pa.repeat("", self.spans)

    @property
    def spans(self) -> int:
        """Number of spans."""
        return len(self.winners)

    def rows(self, name: str) -> Indices:
        """Winning row of every span for a field."""
        return self.winners[:, FIELD_INDEX[name]]

    def show(self, rows: Indices) -> None:
        """Say that a column shows these rows."""
        self.shown[rows[rows >= 0]] = True

    def text(self, name: str) -> pa.StringArray:
        """A field's text per span, empty for none; the span's own attribute beats the resource's. Not yet shown."""
        if FIELD_INDEX[name] not in self._filled:
            return self._no_text
        own = take_text(self.candidates.values, self.rows(name))
        inherited = self.resource_winners[:, FIELD_INDEX[name]]
        if not (inherited >= 0).any():
            return own
        return first_text(own, take_text(self.resource_values, inherited[self.resource_of_span]))

    def shown_text(self, name: str) -> pa.StringArray:
        """A field's text per span, for a column that shows it as it is."""
        if FIELD_INDEX[name] in self._filled:
            self.show(self.rows(name))
        return self.text(name)

    def show_copies(self) -> None:
        """A candidate that lost to an equal text is shown by the winner's column."""
        source = self.candidates
        rows = np.flatnonzero((source.keys.field[source.code] >= 0) & ~self.shown)
        winners = self.winners[source.owner[rows], source.keys.field[source.code[rows]]]
        lost = self.shown[winners] & (winners >= 0)
        rows, winners = rows[lost], winners[lost]
        equal = pc.equal(source.values.take(pa.array(rows)), source.values.take(pa.array(winners)))
        self.shown[rows[equal.to_numpy(zero_copy_only=False)]] = True


def resolve(plan: Plan, table: SpanTable) -> Resolution:
    """Resolve every field of every span."""
    found = candidates(plan, table)
    resource_names, resource_code = keys_of(table.resource_attributes)
    resource_values = table.resource_attributes.column("value")
    return Resolution(
        found,
        _winners(found.owner, found.code, found.values, found.keys, table.spans.num_rows),
        _winners(
            table.resource_attributes.column("owner").to_numpy(),
            resource_code,
            resource_values,
            plan.resource_keys(resource_names),
            table.resources.num_rows,
        ),
        resource_values,
        table.spans.column("resource").to_numpy(),
        np.zeros(len(found.owner), bool),
    )
