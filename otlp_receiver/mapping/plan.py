"""Conventions compiled to what the engine looks up: attribute key → what it means."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from config.conventions import FIELD_NAMES, LEGACY_PRECEDENCE, PLACE, Convention, CountField, Source, place
from otlp_receiver.mapping.keys import NOTHING, KeyArrays, KeyMeaning, Opening, Remembered, Scopes, SpanKeys, key_arrays
from otlp_receiver.mapping.type_rules import TypeRules, compile_type_rules, matches

FIELDS: Final = FIELD_NAMES
FIELD_INDEX: Final = {name: index for index, name in enumerate(FIELDS)}
COUNT_FIELDS: Final = frozenset(FIELD_INDEX[name] for name in get_args(CountField))

# Keys are the sender's to invent: what is remembered of them is bounded, and forgotten all at once.
_MOST_REMEMBERED: Final = 50_000
_SOURCES_PER_CONVENTION: Final = 1_000
MOST_LEVELS: Final = 16
"""Segments of a numbered attribute's key that are looked at, and steps of a path."""
LEGACY_RANK: Final = LEGACY_PRECEDENCE * _SOURCES_PER_CONVENTION


@dataclass(slots=True)
class Plan:
    """All conventions, compiled once.

    Attributes:
        conventions: by precedence.
        dialects: their names, those that only count alone behind the others.
        dialect_names: the same as an array, with an empty one behind them.
        dialect_of_convention: index into `dialects` of each convention.
        types: what decides the type of an observation.
        openings: attribute key → places in its value.
        provider_names: provider as sent, in lower case → its name.
        quoted: prefixes of keys whose texts may be JSON strings.
        families: prefix of numbered attributes, without its last dot → what the list of them means.
    """

    conventions: tuple[Convention, ...]
    dialects: list[str] = field(init=False)
    dialect_names: pa.StringArray = field(init=False)
    dialect_of_convention: npt.NDArray[np.int16] = field(init=False)
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
    _span_keys: Remembered[SpanKeys] = field(init=False)
    _resource_keys: Remembered[KeyArrays] = field(init=False)
    _scope_lists: Remembered[Scopes] = field(init=False)

    def __post_init__(self) -> None:
        self._span_keys, self._resource_keys = Remembered(self._look_up), Remembered(self._look_up_of_resource)
        self._scope_lists = Remembered(self._look_up_scopes)
        recognised = sorted(self.conventions, key=lambda convention: convention.recognise.last)
        self.dialects = [convention.name for convention in recognised]
        self.dialect_names = pa.array([*self.dialects, ""])
        places = [self.dialects.index(convention.name) for convention in self.conventions]
        self.dialect_of_convention = np.array(places, np.int16)
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

    def span_keys(self, keys: Sequence[str]) -> SpanKeys:
        """What is known of the keys of span attributes."""
        return self._span_keys.of(keys)

    def _look_up(self, keys: Sequence[str]) -> SpanKeys:
        meanings = [self._meaning(key) for key in keys]
        return SpanKeys(
            meanings,
            key_arrays(meanings),
            openings={code: self.openings[key] for code, key in enumerate(keys) if key in self.openings},
            families={code: family for code, key in enumerate(keys) if (family := self._family(key))},
            quoted=[code for code, key in enumerate(keys) if key.startswith(self.quoted)],
            ignorable=self.ignorable(keys),
        )

    def ignorable(self, keys: Sequence[str], first_code: int = 0) -> list[tuple[int, int, str]]:
        """As in `SpanKeys`, for keys whose codes begin at a number."""
        return [(code, *each) for code, key in enumerate(keys, first_code) for each in self._ignored.get(key, ())]

    def _family(self, key: str) -> str:
        """The family that a numbered key belongs to, empty for none: the longest prefix that a number follows."""
        segments = key.split(".")
        for end in range(min(len(segments), MOST_LEVELS) - 1, 0, -1):
            if segments[end].isdecimal() and (prefix := ".".join(segments[:end])) in self.families:
                return prefix
        return ""

    def resource_keys(self, keys: Sequence[str]) -> KeyArrays:
        """Meanings of the keys of resource attributes."""
        return self._resource_keys.of(keys)

    def _look_up_of_resource(self, keys: Sequence[str]) -> KeyArrays:
        return key_arrays([self._resource.get(key, KeyMeaning()) for key in keys])

    def scopes(self, names: Sequence[str]) -> Scopes:
        """What is known of instrumentation scopes, each by its name."""
        return self._scope_lists.of(names)

    def _look_up_scopes(self, names: Sequence[str]) -> Scopes:
        owners = [self.scope_conventions(name) for name in names]
        members = np.zeros((len(names), len(self.conventions)), bool)
        for scope, conventions in enumerate(owners):
            members[scope, list(conventions)] = True
        return Scopes(members, frozenset().union(*owners))

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

    def named(self, attribute: str) -> frozenset[str]:
        """Union over the conventions of one of their event sections, such as `lifted_events`."""
        return frozenset(name for convention in self.conventions for name in getattr(convention, attribute))


def _ranked(convention: Convention, sources: Sequence[Source]) -> list[tuple[int, Source]]:
    """A legacy spelling comes after every convention's current one."""
    return [
        (place(convention, source) * _SOURCES_PER_CONVENTION + position, source)
        for position, source in enumerate(sources)
    ]
