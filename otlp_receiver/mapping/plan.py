"""Conventions compiled to what the engine looks up: attribute key → what it means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.conventions import LEGACY_PRECEDENCE, Convention, CountField, ListField, NumberField, Source, TextField

FIELDS: Final[tuple[str, ...]] = tuple(
    name for group in (TextField, CountField, ListField, NumberField) for name in get_args(group)
)
FIELD_INDEX: Final = {name: index for index, name in enumerate(FIELDS)}
COUNT_FIELDS: Final = frozenset(FIELD_INDEX[name] for name in get_args(CountField))
NOTHING: Final = -1

# Keys are the sender's to invent: what is remembered of them is bounded, and forgotten all at once.
_MOST_REMEMBERED: Final = 50_000
_SOURCES_PER_CONVENTION: Final = 1_000


@dataclass(frozen=True, slots=True)
class KeyMeaning:
    """What an attribute key means.

    Attributes:
        field: index into `FIELDS`, or NOTHING.
        rank: smaller beats larger for the same field.
        rule: index into `Plan.type_rules`, or NOTHING.
        dialect: index into `Plan.dialects` that the key speaks for, or NOTHING.
        parameter: name in model_parameters, or empty.
    """

    field: int = NOTHING
    rank: int = 0
    rule: int = NOTHING
    dialect: int = NOTHING
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class KeyArrays:
    """Meanings of a dictionary of keys, one array a property; `parameters` maps code → parameter name."""

    field: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int32]
    rule: npt.NDArray[np.int16]
    dialect: npt.NDArray[np.int16]
    parameters: dict[int, str]


@dataclass(slots=True)
class Plan:
    """All conventions, compiled once."""

    conventions: tuple[Convention, ...]
    dialects: list[str] = field(init=False)
    type_rules: list[dict[str, str]] = field(init=False)
    _exact: dict[str, KeyMeaning] = field(init=False)
    _resource: dict[str, KeyMeaning] = field(init=False)
    _remembered: dict[str, KeyMeaning] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.dialects = [convention.name for convention in self.conventions]
        self.type_rules = []
        self._exact = {}
        self._resource = {}
        for index, convention in enumerate(self.conventions):
            self._compile(index, convention)

    def _compile(self, dialect: int, convention: Convention) -> None:
        rules = {key: len(self.type_rules) + number for number, key in enumerate(convention.types)}
        self.type_rules.extend(dict(values) for values in convention.types.values())
        for name, sources in convention.fields.items():
            for rank, source in _ranked(convention, sources):
                meaning = KeyMeaning(FIELD_INDEX[name], rank, rules.pop(source.key, NOTHING), self._spoken(source.key))
                self._exact.setdefault(source.key, meaning)
        for key, rule in rules.items():
            self._exact.setdefault(key, KeyMeaning(rule=rule, dialect=dialect))
        for key, parameter in convention.parameters.keys.items():
            self._exact.setdefault(key, KeyMeaning(dialect=self._spoken(key), parameter=parameter))
        for name, sources in convention.resource_fields.items():
            for rank, source in _ranked(convention, sources):
                self._resource.setdefault(source.key, KeyMeaning(FIELD_INDEX[name], rank))

    def _spoken(self, key: str) -> int:
        """The dialect whose prefix the key has."""
        for index, convention in enumerate(self.conventions):
            if key.startswith(convention.recognise.attribute_prefixes):
                return index
        return NOTHING

    def _meaning(self, key: str) -> KeyMeaning:
        known = self._exact.get(key) or self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[key] = KeyMeaning(dialect=self._spoken(key), parameter=self._parameter(key))
        return known

    def _parameter(self, key: str) -> str:
        for convention in self.conventions:
            for prefix in convention.parameters.prefixes:
                if key.startswith(prefix):
                    return key.removeprefix(prefix)
        return ""

    def span_keys(self, keys: Sequence[str]) -> KeyArrays:
        """Meanings of the keys of span attributes."""
        return _arrays([self._meaning(key) for key in keys])

    def resource_keys(self, keys: Sequence[str]) -> KeyArrays:
        """Meanings of the keys of resource attributes."""
        return _arrays([self._resource.get(key, KeyMeaning()) for key in keys])

    def named(self, attribute: str) -> frozenset[str]:
        """Union over the conventions of one of their event sections, such as `lifted_events`."""
        return frozenset(name for convention in self.conventions for name in getattr(convention, attribute))


def _ranked(convention: Convention, sources: Sequence[Source]) -> list[tuple[int, Source]]:
    """A legacy spelling comes after every convention's current one."""
    return [
        ((convention.precedence + LEGACY_PRECEDENCE * source.legacy) * _SOURCES_PER_CONVENTION + position, source)
        for position, source in enumerate(sources)
    ]


def _arrays(meanings: Sequence[KeyMeaning]) -> KeyArrays:
    return KeyArrays(
        np.array([meaning.field for meaning in meanings], np.int16),
        np.array([meaning.rank for meaning in meanings], np.int32),
        np.array([meaning.rule for meaning in meanings], np.int16),
        np.array([meaning.dialect for meaning in meanings], np.int16),
        {code: meaning.parameter for code, meaning in enumerate(meanings) if meaning.parameter},
    )


def keys_of(attributes: pa.RecordBatch) -> tuple[list[str], npt.NDArray[np.int32]]:
    """An attribute table's dictionary of keys, and the code of each row."""
    column = attributes.column("key")
    return column.dictionary.to_pylist(), column.indices.to_numpy()
