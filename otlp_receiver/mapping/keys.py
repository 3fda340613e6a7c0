"""What attribute keys mean, and what a batch looks up of its distinct keys and scopes: once for each list of them.

The same instrumentation sends the same keys in the same order again and again, so that most batches, the small ones
above all, find everything remembered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NOTHING: Final = -1

# Keys are the sender's to invent: what is remembered of them is bounded, and forgotten all at once.
_MOST_REMEMBERED: Final = 2**18
"""Names, and their characters."""
_LONGEST_LIST: Final = 2**15
"""The same of one list; a longer one is rare, and does not come again."""


@dataclass(frozen=True, slots=True)
class KeyMeaning:
    """What an attribute key means.

    Attributes:
        field: index into `FIELDS`, or NOTHING.
        rank: smaller beats larger for the same field.
        rule: index into `Plan.types.rules`, or NOTHING.
        dialect: index into `Plan.dialects` that the key speaks for, or NOTHING.
        parameter: name in model_parameters, or empty.
        entry: name among the observation's metadata when it is not the key itself, or empty.
        trace_entry: name among the trace's metadata, or empty.
    """

    field: int = NOTHING
    rank: int = 0
    rule: int = NOTHING
    dialect: int = NOTHING
    parameter: str = ""
    entry: str = ""
    trace_entry: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """A place in an attribute's value that means something of its own.

    Attributes:
        meaning: of the value at the place; of an object's members, when `entries` says what they are.
        path: names and positions, empty for the whole value.
        scope_of: index of the convention whose scopes the span must be of, or NOTHING.
        entries: "" for one value, else the property of KeyMeaning that names each member.
        when: attributes of the span and the values that they must have.
        json_texts: whether the value's texts are JSON once more.
        names: of members that are shown under another name, or under none.
        whole: whether what lies at the path shows all of the attribute.
    """

    meaning: KeyMeaning
    path: tuple[str, ...]
    scope_of: int = NOTHING
    entries: str = ""
    when: tuple[tuple[str, str], ...] = ()
    json_texts: bool = False
    names: dict[str, str] = field(default_factory=dict)
    whole: bool = False

    @property
    def is_whole_as_sent(self) -> bool:
        """Whether all of the value counts as it is."""
        return not (self.path or self.entries or self.json_texts)


@dataclass(frozen=True, slots=True)
class KeyArrays:
    """Meanings of a dictionary of keys, one array a property; the dictionaries map code → name."""

    field: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int32]
    rule: npt.NDArray[np.int16]
    dialect: npt.NDArray[np.int16]
    parameters: dict[int, str]
    entries: dict[int, str]
    trace_entries: dict[int, str]


@dataclass(frozen=True, slots=True)
class SpanKeys:
    """A dictionary of keys of span attributes.

    Attributes:
        meanings: by code.
        arrays: the same.
        openings: code → places in the values that mean something.
        families: code → prefix of the numbered attributes that the key is one of.
        quoted: codes of keys whose texts may be JSON strings.
        ignorable: keys whose value may say nothing: (code, index of a convention, pattern of such values).
    """

    meanings: list[KeyMeaning]
    arrays: KeyArrays
    openings: dict[int, list[Opening]]
    families: dict[int, str]
    quoted: list[int]
    ignorable: list[tuple[int, int, str]]


@dataclass(frozen=True, slots=True)
class Scopes:
    """A list of instrumentation scopes.

    Attributes:
        members: conventions that each belongs to, (scope, convention).
        present: conventions that any belongs to.
    """

    members: npt.NDArray[np.bool_]
    present: frozenset[int]


def key_arrays(meanings: Sequence[KeyMeaning]) -> KeyArrays:
    """Meanings as columns, by code."""
    return KeyArrays(
        np.array([meaning.field for meaning in meanings], np.int16),
        np.array([meaning.rank for meaning in meanings], np.int32),
        np.array([meaning.rule for meaning in meanings], np.int16),
        np.array([meaning.dialect for meaning in meanings], np.int16),
        *(
            {code: name for code, meaning in enumerate(meanings) if (name := getattr(meaning, kind))}
            for kind in ("parameter", "entry", "trace_entry")
        ),
    )


def keys_of(attributes: pa.RecordBatch) -> tuple[list[str], npt.NDArray[np.int32]]:
    """An attribute table's dictionary of keys, and the code of each row."""
    column = attributes.column("key")
    return column.dictionary.to_pylist(), column.indices.to_numpy()


Found = TypeVar("Found")


class Remembered(Generic[Found]):
    """What is looked up for lists of names; it is shared and must not be changed."""

    def __init__(self, look_up: Callable[[Sequence[str]], Found]) -> None:
        self._look_up = look_up
        self._known: dict[tuple[str, ...], Found] = {}
        self._size = 0

    def of(self, names: Sequence[str]) -> Found:
        """What `look_up` says of these names."""
        known = tuple(names)
        found = self._known.get(known)
        if found is None:
            found = self._look_up(known)
            self._remember(known, found)
        return found

    def _remember(self, names: tuple[str, ...], found: Found) -> None:
        size = len(names) + sum(map(len, names))
        if size > _LONGEST_LIST:
            return
        if self._size + size > _MOST_REMEMBERED:
            self._known.clear()
            self._size = 0
        self._known[names] = found
        self._size += size
