"""Which attribute fills which field of which span: every field on its own, over all dialects present.

Vectorised: the meaning of each distinct key is looked up once, then numpy picks the best candidate of every
(span, field). An empty text is no candidate, so one dialect's empty half never hides another's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Indices, Mask, empty_texts, first_text, has_text, take_text
from otlp_receiver.mapping.derived import Rows, derive
from otlp_receiver.mapping.json_text import parse_json
from otlp_receiver.mapping.keys import NOTHING, KeyArrays, key_arrays, keys_of
from otlp_receiver.mapping.plan import FIELD_INDEX, Plan
from otlp_receiver.mapping.type_rules import matches
from otlp_receiver.mapping.winners import Winners, winners


@dataclass(slots=True)
class Candidates:
    """What can fill fields: span attributes, then those of lifted events, then what was derived from both.

    Attributes:
        owner: span of each.
        code: index into `names` of each.
        values: text of each.
        has_value: whether it is not empty.
        names: the keys.
        keys: their meanings.
        span_rows: how many are span attributes; those of events are shown in `events` whatever becomes of them.
        attribute_rows: how many are attributes of spans or events; the rest is derived from them.
        made: rows of derived candidates, once for each attribute that they show whole.
        of: those attributes.
        parts: rows of derived candidates that show an attribute only together with others.
        wholes: those attributes.
        members: conventions that the scope of each span belongs to, (span, convention).
        present: conventions that the scope of any span belongs to.
        opened: whether any value is not as sent, because it was a JSON string.
        ignorable: as in `SpanKeys`.
        ignored: rows that fill no field and decide no type.
    """

    owner: npt.NDArray[Any]
    code: npt.NDArray[Any]
    values: pa.StringArray
    has_value: Mask
    names: list[str]
    keys: KeyArrays
    span_rows: int
    attribute_rows: int
    made: Indices
    of: Indices
    parts: Indices
    wholes: Indices
    members: Mask
    present: frozenset[int]
    opened: bool
    ignorable: list[tuple[int, int, str]]
    ignored: Indices = field(default_factory=lambda: np.zeros(0, np.int64))


def candidates(plan: Plan, table: SpanTable) -> Candidates:
    """All candidates of a table."""
    rows = _attribute_rows(plan, table)
    opened = _open_quoted(rows)
    names, keys, ignorable = rows.names, rows.keys.arrays, rows.keys.ignorable
    owner, code, values = rows.owner, rows.code, rows.values
    made = of = parts = wholes = np.zeros(0, np.int64)
    derived = derive(plan, rows)
    if derived is not None and derived.owner:
        made, of = np.asarray(derived.made, np.int64) + len(owner), np.asarray(derived.of, np.int64)
        parts, wholes = np.asarray(derived.parts, np.int64) + len(owner), np.asarray(derived.wholes, np.int64)
        owner = np.concatenate([owner, np.asarray(derived.owner, owner.dtype)])
        code = np.concatenate([code, np.asarray(derived.code, code.dtype) + len(names)])
        values = pa.concat_arrays([values, pa.array(derived.values, pa.string())])
        ignorable = ignorable + plan.ignorable(derived.names, len(names))
        names, keys = names + derived.names, key_arrays(rows.keys.meanings + derived.meanings)
    own, all_own = table.span_attributes.num_rows, len(rows.owner)
    has_value = has_text(values)
    return Candidates(
        owner, code, values, has_value, names, keys, own, all_own, made, of, parts, wholes, rows.members, rows.present,
        opened, ignorable,
    )  # fmt: skip


def _open_quoted(rows: Rows) -> bool:
    """Take texts out of the JSON strings that their dialect makes of them; whether there were any."""
    if not rows.keys.quoted:
        return False
    starts = pc.starts_with(rows.values, '"').to_numpy(zero_copy_only=False)
    at = np.flatnonzero(np.isin(rows.code, rows.keys.quoted) & starts)
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
    members, present = _members(plan, table)
    cut = table.spans.column("dropped_attributes_count").to_numpy()
    return Rows(owner, code, values, kinds, names, plan.span_keys(names), members, present, cut)


def _members(plan: Plan, table: SpanTable) -> tuple[Mask, frozenset[int]]:
    """Conventions of each span, and of any."""
    names = table.scopes.column("name").to_pylist()
    place = {name: place for place, name in enumerate(dict.fromkeys(names))}
    scopes = plan.scopes([*place])
    place_of_scope = np.array([place[name] for name in names], np.int64)
    return scopes.members[place_of_scope[table.spans.column("scope").to_numpy()]], scopes.present


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
    for code, convention, pattern in found.ignorable:
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


@dataclass(slots=True)
class Resolution:
    """What fills the fields of every span of a table.

    Attributes:
        candidates: the attributes.
        winners: rows of `candidates` by span and field.
        resource_winners: rows of the resources' attributes by resource and field.
        resource_values: of those attributes.
        resource_of_span: row of each span's resource.
        shown: rows that some column shows; the rest goes to metadata.
        beside: row → what of a shown attribute no column shows; it goes to metadata under the attribute's key.
    """

    candidates: Candidates
    winners: Winners
    resource_winners: Winners
    resource_values: pa.StringArray
    resource_of_span: npt.NDArray[Any]
    shown: Mask
    beside: dict[int, str] = field(init=False, default_factory=dict)
    _texts: pa.StringArray = field(init=False)
    """Of all places of the winners, one column behind the other: to take them all costs as much as to take one."""
    _no_text: pa.StringArray = field(init=False)

    def __post_init__(self) -> None:
        self._texts = take_text(self.candidates.values, self.winners.rows.ravel())
        self._no_text = empty_texts(self.spans)

    @property
    def spans(self) -> int:
        """Number of spans."""
        return len(self.resource_of_span)

    def is_filled(self, name: str) -> bool:
        """Whether any span has the field."""
        index = FIELD_INDEX[name]
        return index in self.winners.fields or index in self.resource_winners.fields

    def rows(self, name: str) -> Indices:
        """Winning row of every span for a field."""
        rows: Indices = self.winners[:, FIELD_INDEX[name]]
        return rows

    def show(self, rows: Indices) -> None:
        """Say that a column shows these rows."""
        self.shown[rows[rows >= 0]] = True

    def text(self, name: str) -> pa.StringArray:
        """A field's text per span, empty for none; the span's own attribute beats the resource's. Not yet shown."""
        index = FIELD_INDEX[name]
        place = self.winners.fields.get(index)
        own = self._no_text if place is None else self._texts.slice(place * self.spans, self.spans)
        if index not in self.resource_winners.fields:
            return own
        inherited = self.resource_winners[self.resource_of_span, index]
        return first_text(own, take_text(self.resource_values, inherited))

    def shown_texts(self, *names: str) -> dict[str, pa.StringArray]:
        """Fields' texts per span, for columns that show them as they are."""
        self.show(self.winners[:, [FIELD_INDEX[name] for name in names]])
        return {name: self.text(name) for name in names}

    def shown_text(self, name: str) -> pa.StringArray:
        """The same for one field."""
        return self.shown_texts(name)[name]

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
        if len(source.wholes):
            self.shown[np.setdiff1d(source.wholes, source.wholes[~self.shown[source.parts]])] = True

    def _show_equal(self) -> None:
        """A candidate that lost to an equal text is shown by the winner's column."""
        source = self.candidates
        rows = np.flatnonzero((source.keys.field[source.code] >= 0) & ~self.shown)
        winners = self.winners[source.owner[rows], source.keys.field[source.code[rows]]]
        lost = self.shown[winners] & (winners >= 0)
        if not lost.any():
            return
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
        winners(found.owner, found.code, found.values, found.keys, table.spans.num_rows, ignored=found.ignored),
        winners(
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
