"""Conventions compiled to what the engine looks up: attribute key → what it means."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.conventions import FIELD_NAMES, LEGACY_PRECEDENCE, PLACE, Convention, CountField, Source, place
from otlp_receiver.mapping.type_rules import TypeRules, compile_type_rules, matches

FIELDS: Final = FIELD_NAMES
FIELD_INDEX: Final = {name: index for index, name in enumerate(FIELDS)}
COUNT_FIELDS: Final = frozenset(FIELD_INDEX[name] for name in get_args(CountField))
NOTHING: Final = -1

# Keys are the sender's to invent: what is remembered of them is bounded, and forgotten all at once.
_MOST_REMEMBERED: Final = 50_000
_SOURCES_PER_CONVENTION: Final = 1_000
LEGACY_RANK: Final = LEGACY_PRECEDENCE * _SOURCES_PER_CONVENTION


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


@dataclass(slots=True)
class Plan:
    """All conventions, compiled once.

    Attributes:
        conventions: by precedence.
        dialects: their names, those that only count alone behind the others.
        types: what decides the type of an observation.
        openings: attribute key → places in its value.
        provider_names: provider as sent, in lower case → its name.
        quoted: prefixes of keys whose texts may be JSON strings.
        families: prefix of numbered attributes, without its last dot → what the list of them means.
    """

    conventions: tuple[Convention, ...]
    dialects: list[str] = field(init=False)
    types: TypeRules = field(init=False)
    openings: dict[str, list[Opening]] = field(init=False, default_factory=dict)
    families: dict[str, Opening] = field(init=False, default_factory=dict)
    provider_names: dict[str, str] = field(init=False)
    quoted: tuple[str, ...] = field(init=False)
    _exact: dict[str, KeyMeaning] = field(init=False, default_factory=dict)
    _resource: dict[str, KeyMeaning] = field(init=False, default_factory=dict)
    _remembered: dict[str, KeyMeaning] = field(init=False, default_factory=dict)
    _scopes: dict[str, tuple[int, ...]] = field(init=False, default_factory=dict)
    _ignored: dict[str, list[tuple[int, str]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        recognised = sorted(self.conventions, key=lambda convention: convention.recognise.last)
        self.dialects = [convention.name for convention in recognised]
        self.provider_names = {
            sent: name for convention in reversed(self.conventions) for sent, name in convention.provider_names.items()
        }
        entries = [each for convention in self.conventions for each in (convention.metadata, convention.trace_metadata)]
        self.quoted = tuple(prefix for each in entries if each.json_texts for prefix in each.prefixes)
        self.types = compile_type_rules(self.conventions)
        for index, convention in enumerate(self.conventions):
            self._compile_fields(index, convention)
            self._compile_entries(index, convention)
            for key, pattern in convention.ignored.items():
                self._ignored.setdefault(key, []).append((index, pattern))
        for key, rule in self.types.rule_of_key.items():
            attribute, _, path = key.partition(PLACE)
            if path:
                opening = Opening(KeyMeaning(rule=rule), tuple(path.split(".")))
                self.openings.setdefault(attribute, []).append(opening)
            else:
                self._exact.setdefault(key, self._free_meaning(key))

    def _compile_fields(self, index: int, convention: Convention) -> None:
        for name, sources in convention.fields.items():
            for rank, source in _ranked(convention, sources):
                self._add(index, source, KeyMeaning(FIELD_INDEX[name], rank))
        for name, sources in convention.resource_fields.items():
            for rank, source in _ranked(convention, sources):
                self._resource.setdefault(source.key, KeyMeaning(FIELD_INDEX[name], rank))
        for key, parameter in convention.parameters.keys.items():
            self._exact.setdefault(key, self._free_meaning(key, parameter))
        for parameter, sources in convention.parameters.values.items():
            for source in sources:
                self._add(index, source, KeyMeaning(parameter=parameter))
        for key, parameter in convention.parameters.own_keys.items():
            opening = Opening(KeyMeaning(parameter=parameter), (), index, json_texts=True)
            self.openings.setdefault(key, []).append(opening)

    def _add(self, index: int, source: Source, meaning: KeyMeaning) -> None:
        scope_of = index if source.scoped else NOTHING
        if source.indexed:
            self.families.setdefault(source.indexed, Opening(meaning, (), scope_of))
        elif source.path or source.scoped or source.when or source.json_texts:
            path = tuple(part for part in source.path.split(".") if part)
            when = tuple(source.when.items())
            opening = Opening(meaning, path, scope_of, "", when, source.json_texts, whole=source.whole)
            self.openings.setdefault(source.key, []).append(opening)
        else:
            free = self._free_meaning(source.key)
            self._exact.setdefault(source.key, KeyMeaning(meaning.field, meaning.rank, free.rule, free.dialect))

    def _compile_entries(self, index: int, convention: Convention) -> None:
        for kind, section in (
            ("parameter", convention.parameters),
            ("entry", convention.metadata),
            ("trace_entry", convention.trace_metadata),
        ):
            names = convention.parameters.names if kind == "parameter" else {}
            for source in section.objects:
                path = tuple(part for part in source.path.split(".") if part)
                scope_of = index if source.scoped else NOTHING
                opening = Opening(KeyMeaning(), path, scope_of, kind, tuple(source.when.items()), names=names)
                self.openings.setdefault(source.key, []).append(opening)

    def _free_meaning(self, key: str, parameter: str = "") -> KeyMeaning:
        """What a key means whose field nobody names."""
        return KeyMeaning(
            rule=self.types.rule_of_key.get(key, NOTHING),
            dialect=self._spoken(key),
            parameter=parameter or self._rest(key, "parameters"),
            entry=self._rest(key, "metadata"),
            trace_entry=self._rest(key, "trace_metadata"),
        )

    def _spoken(self, key: str) -> int:
        """The dialect whose prefix the key has."""
        for convention in self.conventions:
            if key.startswith(convention.recognise.attribute_prefixes):
                return self.dialects.index(convention.name)
        return NOTHING

    def _rest(self, key: str, section: str) -> str:
        """What of a key follows a prefix of one of the sections of entries."""
        for convention in self.conventions:
            for prefix in getattr(convention, section).prefixes:
                if key.startswith(prefix):
                    return key.removeprefix(prefix)
        return ""

    def _meaning(self, key: str) -> KeyMeaning:
        known = self._exact.get(key) or self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            known = self._remembered[key] = self._free_meaning(key)
        return known

    def span_keys(self, keys: Sequence[str]) -> list[KeyMeaning]:
        """Meanings of the keys of span attributes."""
        return [self._meaning(key) for key in keys]

    def resource_keys(self, keys: Sequence[str]) -> list[KeyMeaning]:
        """Meanings of the keys of resource attributes."""
        return [self._resource.get(key, KeyMeaning()) for key in keys]

    def scope_conventions(self, scope: str) -> tuple[int, ...]:
        """Indices of the conventions that an instrumentation scope belongs to, by precedence."""
        known = self._scopes.get(scope)
        if known is None:
            if len(self._scopes) >= _MOST_REMEMBERED:
                self._scopes.clear()
            known = self._scopes[scope] = tuple(self._owners(scope))
        return known

    def _owners(self, scope: str) -> Iterator[int]:
        for index, convention in enumerate(self.conventions):
            if any(matches(pattern, scope) for pattern in convention.recognise.scopes):
                yield index

    def ignored(self, key: str) -> list[tuple[int, str]]:
        """For whom a key's value may say nothing: (index of a convention, pattern of such values)."""
        return self._ignored.get(key, [])

    def named(self, attribute: str) -> frozenset[str]:
        """Union over the conventions of one of their event sections, such as `lifted_events`."""
        return frozenset(name for convention in self.conventions for name in getattr(convention, attribute))


def _ranked(convention: Convention, sources: Sequence[Source]) -> list[tuple[int, Source]]:
    """A legacy spelling comes after every convention's current one."""
    return [
        (place(convention, source) * _SOURCES_PER_CONVENTION + position, source)
        for position, source in enumerate(sources)
    ]


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
