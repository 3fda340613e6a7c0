"""Which attribute fills which field of which span: every field on its own, over all dialects present.

Vectorised: the meaning of each distinct key is looked up once, then numpy picks the best candidate of every
(span, field). An empty text is no candidate, so one dialect's empty half never hides another's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Indices, Mask, first_text, has_text, take_text
from otlp_receiver.mapping.derived import Rows, derive
from otlp_receiver.mapping.json_text import parse_json
from otlp_receiver.mapping.plan import (
    COUNT_FIELDS,
    FIELD_INDEX,
    FIELDS,
    NOTHING,
    KeyArrays,
    Plan,
    key_arrays,
    keys_of,
)
from otlp_receiver.mapping.type_rules import matches

_NO_WINNER: Final = np.iinfo(np.int64).max
_RANK_SHIFT: Final = 32
_ROW_MASK: Final = (1 << _RANK_SHIFT) - 1
_ZERO_PENALTY: Final = 1 << 24


@dataclass(slots=True)
class Candidates:
    """What can fill fields: span attributes, then those of lifted events, then what was derived from both.

    Attributes:
        owner: span of each.
        code: index into `names` of each.
        values: text of each.
        names: the keys.
        keys: their meanings.
        span_rows: how many are span attributes; those of events are shown in `events` whatever becomes of them.
        attribute_rows: how many are attributes of spans or events; the rest is derived from them.
        made: rows of derived candidates, once for each attribute that they show whole.
        of: those attributes.
        parts: rows of derived candidates that show an attribute only together with others.
        wholes: those attributes.
        members: conventions that the scope of each span belongs to, (span, convention).
        opened: whether any value is not as sent, because it was a JSON string.
        ignored: rows that fill no field and decide no type.
    """

    owner: npt.NDArray[Any]
    code: npt.NDArray[Any]
    values: pa.StringArray
    names: list[str]
    keys: KeyArrays
    span_rows: int
    attribute_rows: int
    made: Indices
    of: Indices
    parts: Indices
    wholes: Indices
    members: Mask
    opened: bool
    ignored: Indices = field(default_factory=lambda: np.zeros(0, np.int64))


def candidates(plan: Plan, table: SpanTable) -> Candidates:
    """All candidates of a table."""
    rows = _attribute_rows(plan, table)
    opened = _open_quoted(plan, rows)
    members = _members(plan, rows)
    names, meanings = rows.names, plan.span_keys(rows.names)
    owner, code, values = rows.owner, rows.code, rows.values
    made = of = parts = wholes = np.zeros(0, np.int64)
    derived = derive(plan, rows)
    if derived is not None and derived.owner:
        made, of = np.asarray(derived.made, np.int64) + len(owner), np.asarray(derived.of, np.int64)
        parts, wholes = np.asarray(derived.parts, np.int64) + len(owner), np.asarray(derived.wholes, np.int64)
        owner = np.concatenate([owner, np.asarray(derived.owner, owner.dtype)])
        code = np.concatenate([code, np.asarray(derived.code, code.dtype) + len(names)])
        values = pa.concat_arrays([values, pa.array(derived.values, pa.string())])
        names, meanings = names + derived.names, meanings + derived.meanings
    own, all_own = table.span_attributes.num_rows, len(rows.owner)
    keys = key_arrays(meanings)
    return Candidates(owner, code, values, names, keys, own, all_own, made, of, parts, wholes, members, opened)


def _open_quoted(plan: Plan, rows: Rows) -> bool:
    """Take texts out of the JSON strings that their dialect makes of them; whether there were any."""
    quoted = [code for code, name in enumerate(rows.names) if name.startswith(plan.quoted)]
    if not quoted:
        return False
    starts = pc.starts_with(rows.values, '"').to_numpy(zero_copy_only=False)
    at = np.flatnonzero(np.isin(rows.code, quoted) & starts)
    texts = rows.values.take(pa.array(at)).to_pylist()
    inner = [value if isinstance(value := parse_json(text), str) else text for text in texts]
    marked = np.zeros(len(rows.values), bool)
    marked[at] = True
    rows.values = pc.replace_with_mask(rows.values, pa.array(marked), pa.array(inner, pa.string()))
    return bool(len(at))


def _attribute_rows(plan: Plan, table: SpanTable) -> Rows:
    attributes = table.span_attributes
    names, code = keys_of(attributes)
    owner, values = attributes.column("owner").to_numpy(), attributes.column("value")
    kinds = attributes.column("type").to_numpy()
    lifted = _lifted(plan, table)
    if lifted is not None:
        more_names, more_code = keys_of(lifted)
        owner = np.concatenate([owner, table.events.column("span").to_numpy()[lifted.column("owner").to_numpy()]])
        code = np.concatenate([code, more_code + len(names)])
        values = pa.concat_arrays([values, lifted.column("value")])
        kinds = np.concatenate([kinds, lifted.column("type").to_numpy()])
        names = names + more_names
    scopes = table.scopes.column("name").to_pylist()
    cut = np.flatnonzero(table.spans.column("dropped_attributes_count").to_numpy())
    scope = table.spans.column("scope").to_numpy()
    return Rows(owner, code, values, kinds, names, scope, scopes, frozenset(cut.tolist()))


def _members(plan: Plan, rows: Rows) -> Mask:
    of_scope = np.zeros((len(rows.scope_names), len(plan.conventions)), bool)
    for scope, name in enumerate(rows.scope_names):
        of_scope[scope, list(plan.scope_conventions(name))] = True
    members: Mask = of_scope[rows.scope]
    return members


def _lifted(plan: Plan, table: SpanTable) -> pa.RecordBatch | None:
    names = table.events.column("name")
    if not len(names):
        return None
    lifted = pc.is_in(names, pa.array(sorted(plan.named("lifted_events")), pa.string())).to_numpy(zero_copy_only=False)
    if not lifted.any():
        return None
    owners = table.event_attributes.column("owner").to_numpy()
    return table.event_attributes.filter(pa.array(lifted[owners]))


def _ignored(plan: Plan, found: Candidates) -> Indices:
    """Rows whose value says nothing on their span."""
    rows = [np.zeros(0, np.int64)]
    for code, name in enumerate(found.names):
        for convention, pattern in plan.ignored(name):
            speakers = _speakers(plan, found, convention)
            if speakers.any():
                mine = np.flatnonzero((found.code == code) & speakers[found.owner])
                texts = found.values.take(pa.array(mine)).to_pylist()
                rows.append(mine[np.array([matches(pattern, text) for text in texts], bool)])
    return np.concatenate(rows)


def _speakers(plan: Plan, found: Candidates, convention: int) -> Mask:
    """Spans of a convention's scopes, or with one of its attributes."""
    speaks: Mask = found.members[:, convention].copy()
    dialect = plan.dialects.index(plan.conventions[convention].name)
    if (found.keys.dialect == dialect).any():
        speaks[found.owner[found.keys.dialect[found.code] == dialect]] = True
    return speaks


def _winners(
    owner: npt.NDArray[Any],
    code: npt.NDArray[Any],
    values: pa.StringArray,
    keys: KeyArrays,
    count: int,
    *,
    ignored: Indices | None = None,
) -> Indices:
    """Row of the best candidate of every (owner, field), -1 for none; ties go to the one sent first."""
    fields = keys.field[code]
    if ignored is not None:
        fields[ignored] = NOTHING
    rows = np.flatnonzero((fields >= 0) & has_text(values))
    rank = keys.rank[code[rows]].astype(np.int64)
    rank += _ZERO_PENALTY * _is_zero_count(fields[rows], values, rows)
    best = np.full(count * len(FIELDS), _NO_WINNER, np.int64)
    np.minimum.at(best, owner[rows].astype(np.int64) * len(FIELDS) + fields[rows], (rank << _RANK_SHIFT) | rows)
    none = best == _NO_WINNER
    best &= _ROW_MASK  # in place: a place for every field of every span is megabytes
    best[none] = NOTHING
    return best.reshape(count, len(FIELDS))


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
        beside: row → what of a shown attribute no column shows; it goes to metadata under the attribute's key.
    """

    candidates: Candidates
    winners: Indices
    resource_winners: Indices
    resource_values: pa.StringArray
    resource_of_span: npt.NDArray[Any]
    shown: Mask
    beside: dict[int, str] = field(init=False, default_factory=dict)
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

    def is_filled(self, name: str) -> bool:
        """Whether any span has the field."""
        return FIELD_INDEX[name] in self._filled

    def rows(self, name: str) -> Indices:
        """Winning row of every span for a field."""
        return self.winners[:, FIELD_INDEX[name]]

    def show(self, rows: Indices) -> None:
        """Say that a column shows these rows."""
        self.shown[rows[rows >= 0]] = True

    def text(self, name: str) -> pa.StringArray:
        """A field's text per span, empty for none; the span's own attribute beats the resource's. Not yet shown."""
        if not self.is_filled(name):
            return self._no_text
        own = take_text(self.candidates.values, self.rows(name))
        inherited = self.resource_winners[:, FIELD_INDEX[name]]
        if not (inherited >= 0).any():
            return own
        return first_text(own, take_text(self.resource_values, inherited[self.resource_of_span]))

    def shown_text(self, name: str) -> pa.StringArray:
        """A field's text per span, for a column that shows it as it is."""
        if self.is_filled(name):
            self.show(self.rows(name))
        return self.text(name)

    def show_copies(self, name: str, says_no_more: Callable[[int, str], bool]) -> None:
        """Say that a column shows what was sent for a field, lost, and says the same in other words.

        Args:
            name: field.
            says_no_more: whether a text says nothing that the span's column does not, by (span, text).
        """
        found = self.candidates
        codes = np.flatnonzero(found.keys.field == FIELD_INDEX[name])
        winners = self.rows(name)
        if len(codes) < 2 and self.shown[winners[winners >= 0]].all():  # noqa: PLR2004 - one key alone has no rival
            return
        rows = np.flatnonzero(np.isin(found.code, codes) & ~self.shown)
        texts = found.values.take(pa.array(rows)).to_pylist()
        for row, span, text in zip(rows.tolist(), found.owner[rows].tolist(), texts, strict=True):
            self.shown[row] = bool(text) and says_no_more(span, text)

    def say_beside(self, name: str, texts: dict[int, str]) -> None:
        """Keep what stood in the winning attributes of a field beside what the column shows; by span."""
        rows = self.rows(name)
        of = dict(zip(self.candidates.made.tolist(), self.candidates.of.tolist(), strict=True)) if texts else {}
        for span, text in texts.items():
            row = int(rows[span])
            attribute = row if row < self.candidates.attribute_rows else of.get(row, NOTHING)
            if 0 <= attribute < self.candidates.span_rows:
                self.beside[attribute] = text

    def finish_shown(self) -> None:
        """To be called when every column is made: what shows a derived candidate shows the attributes behind it."""
        self._show_equal()
        source = self.candidates
        self.shown[source.of[self.shown[source.made]]] = True
        self.shown[np.setdiff1d(source.wholes, source.wholes[~self.shown[source.parts]])] = True

    def _show_equal(self) -> None:
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
    found.ignored = _ignored(plan, found)
    resource_names, resource_code = keys_of(table.resource_attributes)
    resource_values = table.resource_attributes.column("value")
    return Resolution(
        found,
        _winners(found.owner, found.code, found.values, found.keys, table.spans.num_rows, ignored=found.ignored),
        _winners(
            table.resource_attributes.column("owner").to_numpy(),
            resource_code,
            resource_values,
            key_arrays(plan.resource_keys(resource_names)),
            table.resources.num_rows,
        ),
        resource_values,
        table.spans.column("resource").to_numpy(),
        np.zeros(len(found.owner), bool),
    )
