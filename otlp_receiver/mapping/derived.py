"""Candidates that no attribute is by itself: places in JSON values, numbered attributes put together, scoped names.

They are found once per batch and then compete for fields like attributes do (`resolution`). Only attributes whose key
a convention names are looked into, so a batch without such dialects pays for one look-up a distinct key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from config.conventions import ANY_VALUE, PLACE, SAME_AS
from otlp_receiver.decode.span_table import STRING
from otlp_receiver.mapping.arrow_arrays import Indices, Mask
from otlp_receiver.mapping.json_text import LITERAL_STARTS, parse_json, parse_literal, to_json
from otlp_receiver.mapping.keys import NOTHING, KeyMeaning, Opening, SpanKeys
from otlp_receiver.mapping.plan import FIELD_INDEX, MOST_LEVELS, Plan

_MOST_ENTRIES: Final = 1_000
"""Members of one JSON object that become entries of their own; an object with more stays whole."""
_MOST_DIGITS: Final = 9


@dataclass(slots=True)
class Rows:
    """Attributes as `resolution.Candidates` lists them."""

    owner: npt.NDArray[Any]
    code: npt.NDArray[Any]
    values: pa.StringArray
    kinds: npt.NDArray[Any]
    names: list[str]
    keys: SpanKeys
    """What is known of the names."""
    members: Mask
    """Conventions that the scope of each span belongs to, (span, convention)."""
    present: frozenset[int]
    """Conventions that the scope of any span belongs to."""
    cut: npt.NDArray[Any]
    """How many attributes each span has lost to a limit of its SDK."""


@dataclass(slots=True)
class Derived:
    """Derived candidates, and which attributes they were made of.

    Attributes:
        owner: span of each.
        code: index into `names` and `meanings`.
        values: text of each.
        names: attribute key, with the place in it where that is not all of it.
        meanings: of the names.
        made: index of a derived candidate, once for each attribute that it shows whole.
        of: those attributes' rows.
        parts: index of a derived candidate that shows an attribute together with others, beside `wholes`.
        wholes: those attributes' rows.
    """

    owner: list[int] = field(default_factory=list)
    code: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    meanings: list[KeyMeaning] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    of: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    wholes: list[int] = field(default_factory=list)
    _codes: dict[tuple[str, KeyMeaning], int] = field(default_factory=dict)

    def add(self, owner: int, name: str, meaning: KeyMeaning, value: str, sources: Sequence[int]) -> None:
        """One more candidate; `sources` are the rows that it shows whole."""
        self.made.extend([len(self.owner)] * len(sources))
        self.of.extend(sources)
        self.owner.append(owner)
        self.code.append(self._code(name, meaning))
        self.values.append(value)

    def add_as_sent(self, rows: Rows, same_key: Indices, meaning: KeyMeaning) -> None:
        """Attributes of one key that are candidates for another field as they are."""
        if len(same_key):
            code = self._code(rows.names[rows.code[same_key[0]]], meaning)
            self.made.extend(range(len(self.owner), len(self.owner) + len(same_key)))
            self.of.extend(same_key.tolist())
            self.owner.extend(rows.owner[same_key].tolist())
            self.code.extend([code] * len(same_key))
            self.values.extend(rows.values.take(pa.array(same_key)).to_pylist())

    def _code(self, name: str, meaning: KeyMeaning) -> int:
        code = self._codes.setdefault((name, meaning), len(self.names))
        if code == len(self.names):
            self.names.append(name)
            self.meanings.append(meaning)
        return code

    def link(self, row: int) -> None:
        """Say that the last candidate shows an attribute together with others."""
        self.parts.append(len(self.owner) - 1)
        self.wholes.append(row)


def derive(plan: Plan, rows: Rows) -> Derived | None:
    """What the plan's openings and families find, None when there is nothing to look into."""
    opened, families = _openings(rows), rows.keys.families
    if not opened and not families:
        return None
    found = Derived()
    conditions = _conditions(rows, [opening for openings in opened.values() for opening in openings])
    for code, openings in opened.items():
        spans = [(opening, conditions.spans(opening)) for opening in openings]
        of_key = np.flatnonzero(rows.code == code)
        for opening, mask in spans:
            if opening.is_whole_as_sent:
                found.add_as_sent(rows, of_key[mask[rows.owner[of_key]]], opening.meaning)
        inner = [(opening, mask) for opening, mask in spans if not opening.is_whole_as_sent]
        wanted = np.logical_or.reduce([np.zeros(len(rows.members), bool), *(mask for _, mask in inner)])
        for row in of_key[wanted[rows.owner[of_key]]].tolist():
            _open(found, rows, row, [opening for opening, mask in inner if mask[rows.owner[row]]])
    _gather(found, plan, rows, families, conditions)
    return found


def _openings(rows: Rows) -> dict[int, list[Opening]]:
    """Of the openings of the keys, those that may count: most belong to the scopes of one convention."""
    scopes = {NOTHING, *rows.present}
    live = {
        code: [opening for opening in openings if opening.scope_of in scopes]
        for code, openings in rows.keys.openings.items()
    }
    return {code: openings for code, openings in live.items() if openings}


@dataclass(frozen=True, slots=True)
class _Conditions:
    """On which spans an opening counts.

    Attributes:
        members: conventions that the scope of each span belongs to, (span, convention).
        holders: key and value of an attribute → which spans have it.
    """

    members: Mask
    holders: dict[tuple[str, str], Mask]

    def spans(self, opening: Opening) -> Mask:
        """On which spans an opening counts."""
        found = np.ones(len(self.members), bool)
        if opening.scope_of != NOTHING:
            found &= self.members[:, opening.scope_of]
        for wanted in opening.when:
            found &= self.holders[wanted]
        return found


def _conditions(rows: Rows, openings: Sequence[Opening]) -> _Conditions:
    wanted = {each for opening in openings for each in opening.when}
    return _Conditions(rows.members, {each: _holders(rows, *each) for each in wanted})


def _holders(rows: Rows, key: str, value: str) -> Mask:
    """Spans that have an attribute of this value."""
    holds = np.zeros(len(rows.members), bool)
    other = value.removeprefix(SAME_AS)
    if key not in rows.names or (other != value and other not in rows.names):
        return holds
    of_key = _rows_of(rows, key)
    texts = rows.values.take(pa.array(of_key))
    if other != value:
        others = _rows_of(rows, other)
        there = dict(zip(rows.owner[others].tolist(), rows.values.take(pa.array(others)).to_pylist(), strict=True))
        said = pa.array([there.get(owner, "") for owner in rows.owner[of_key].tolist()], pa.string())
        equal = pc.and_(pc.equal(texts, said), pc.not_equal(texts, ""))
    else:
        equal = pc.not_equal(texts, "") if value == ANY_VALUE else pc.equal(texts, value)
    holds[rows.owner[of_key[equal.to_numpy(zero_copy_only=False)]]] = True
    return holds


def _rows_of(rows: Rows, key: str) -> Indices:
    return np.flatnonzero(np.isin(rows.code, [code for code, name in enumerate(rows.names) if name == key]))


def _open(found: Derived, rows: Rows, row: int, openings: Sequence[Opening]) -> None:
    """Everything that one attribute's value holds."""
    owner, name, text = int(rows.owner[row]), rows.names[rows.code[row]], rows.values[row].as_py()
    parsed: Any = None
    fields = {opening.path[0] for opening in openings if len(opening.path) == 1 and not opening.entries}
    for opening in openings:
        if opening.json_texts and not opening.path and not opening.entries:
            found.add(owner, name, opening.meaning, _opened(text), [row])
            continue
        parsed = _loads(text) if parsed is None else parsed
        value = _at(parsed, opening.path)
        if opening.entries:
            _add_entries(found, (owner, name), opening, _without_fields(value, opening, fields), row)
        elif (inner := _as_text(value)) != "":
            place = f"{name}{PLACE}{'.'.join(opening.path)}"
            found.add(owner, place, opening.meaning, inner, [row] if opening.whole else [])
            if any(each.names.get(opening.path[0]) == "" for each in openings):
                found.link(row)


def _without_fields(value: Any, opening: Opening, fields: set[str]) -> Any:
    """An object without the members that are no parameters and that a field takes."""
    if not isinstance(value, dict) or not opening.names:
        return value
    return {key: member for key, member in value.items() if key not in fields or opening.names.get(key) != ""}


def _opened(text: str) -> str:
    """A text, or a list of texts, out of the JSON that each of them is; as sent where one is none."""
    if text.startswith(LITERAL_STARTS):
        literal = parse_literal(text)
        return text if literal is None else to_json(literal)
    value = parse_json(text)
    if isinstance(value, list):
        items = [parse_json(item) if isinstance(item, str) else None for item in value]
        return text if None in items else to_json(items)
    return value if isinstance(value, str) else text


def _loads(text: str) -> Any:
    """A JSON value, or Python's spelling of one; one that is JSON inside a JSON string is taken out of it."""
    value = parse_literal(text) if text.startswith(LITERAL_STARTS) else parse_json(text)
    inner = parse_json(value) if isinstance(value, str) and value[:1] in ("{", "[") else None
    return value if inner is None else inner


def _at(value: Any, path: Sequence[str]) -> Any:
    """What lies at a path, None for nothing; texts that are JSON themselves are gone into."""
    for step in path[:MOST_LEVELS]:
        if isinstance(value, str):
            value = _loads(value)
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and len(step) <= _MOST_DIGITS:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def _as_text(value: Any) -> str:
    if value is None or value in ({}, []):
        return ""
    return value if isinstance(value, str) else to_json(value)


def _add_entries(found: Derived, place: tuple[int, str], opening: Opening, value: Any, row: int) -> None:
    """The members of an object at (owner, attribute in a row); all together they show it whole."""
    owner, name = place
    if not isinstance(value, dict) or len(value) > _MOST_ENTRIES:
        return
    for key, member in value.items():
        if key and member not in (None, ""):
            shown: Any = opening.names.get(key) or key
            entry = replace(KeyMeaning(), **{opening.entries: shown})
            text = member if isinstance(member, str) else to_json(member)
            found.add(owner, f"{name}{PLACE}{key}", entry, text, [])
            if not opening.path:
                found.link(row)


def _gather(found: Derived, plan: Plan, rows: Rows, families: Mapping[int, str], conditions: _Conditions) -> None:
    """One list per (span, family), from all of its attributes."""
    if not families:
        return
    numbered = np.flatnonzero(np.isin(rows.code, list(families)))
    texts = rows.values.take(pa.array(numbered)).to_pylist()
    counts = {family: conditions.spans(plan.families[family]) for family in {*families.values()}}
    lists: dict[tuple[int, str], dict[int, str]] = {}
    for row, text in zip(numbered.tolist(), texts, strict=True):
        family = families[rows.code[row]]
        if counts[family][rows.owner[row]]:
            lists.setdefault((int(rows.owner[row]), family), {})[row] = text
    for (owner, family), sources in lists.items():
        start = family.count(".") + 1
        leaves = (
            (rows.names[rows.code[row]].split(".")[start:], _value(rows, row, text)) for row, text in sources.items()
        )
        if listed := to_json(_tree(leaves)):
            found.add(owner, f"{family}.N", _listed_meaning(plan, rows, owner, family), listed, list(sources))


def _listed_meaning(plan: Plan, rows: Rows, owner: int, family: str) -> KeyMeaning:
    """What a list means; one that a limit may have cut comes behind what holds all in one attribute (OpenInference)."""
    meaning = plan.families[family].meaning
    if not rows.cut[owner]:
        return meaning
    return replace(meaning, field=_LAST_RESORTS.get(meaning.field, meaning.field))


_LAST_RESORTS: Final = {FIELD_INDEX[f"{side}_messages"]: FIELD_INDEX[f"{side}_value"] for side in ("input", "output")}


def _value(rows: Rows, row: int, text: str) -> Any:
    parsed = None if rows.kinds[row] == STRING else parse_json(text)
    return text if parsed is None else parsed


def _tree(leaves: Iterable[tuple[list[str], Any]]) -> Any:
    """Nested objects, of which those with numbers for keys are lists: in their order, without the gaps.

    While it grows, every value lies under an empty key of its own, so that `a` and `a.b` can both have one.
    """
    root: dict[str, Any] = {}
    for path, value in leaves:
        node = root
        for step in path[:MOST_LEVELS]:
            node = node.setdefault(step or " ", {})
        node[""] = value
    return _lists(root)


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if list(node) == [""]:
        return node[""]
    members = {key: _lists(value) for key, value in node.items()}
    if members and all(key.isdecimal() for key in members):
        return [members[key] for key in sorted(members, key=_number)]
    return members


def _number(key: str) -> tuple[int, str]:
    return len(key.lstrip("0")), key.lstrip("0")
