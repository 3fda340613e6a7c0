"""Tables of docs/conventions.md: sources by field, types, and the rest of each dialect."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from config.conventions import FIELD_NAMES, Convention, Entries, Parameters, Source, place
from config.conventions.values import EVERYTHING
from config.conventions_fields import MEANING

_BETWEEN: Final = " · "
_RESOURCE: Final = "resource"


# --- fields ----------------------------------------------------------------------------------------------------------


def field_tables(conventions: Sequence[Convention]) -> Iterator[str]:
    """For each field, per dialect, which keys in which order."""
    yield "## Fields\n"
    yield "Sources from left to right within a dialect; dialects of one place stand side by side.\n"
    for name in [*MEANING, *(name for name in FIELD_NAMES if name not in MEANING)]:
        rows = [*_rows(conventions, name), *_resource_rows(conventions, name)]
        if rows:
            yield f"### `{name}`\n\n{MEANING.get(name, '')}\n"
            yield _table(("place", "dialect", "sources, best first"), rows)


def _rows(conventions: Sequence[Convention], name: str) -> list[tuple[str, ...]]:
    """A row for every (place, dialect); a dialect whose older names come later has several."""
    found: dict[tuple[int, str], list[Source]] = {}
    for convention in conventions:
        for source in convention.fields.get(name, ()):
            found.setdefault((place(convention, source), convention.title), []).append(source)
    return [(str(number), title, sources_text(sources)) for (number, title), sources in sorted(found.items())]


def _resource_rows(conventions: Sequence[Convention], name: str) -> list[tuple[str, ...]]:
    return [
        (_RESOURCE, convention.title, sources_text(sources))
        for convention in conventions
        if (sources := convention.resource_fields.get(name))
    ]


def sources_text(sources: Sequence[Source]) -> str:
    """Sources for a reader; neighbours that differ in the value of their condition only are one."""
    found: dict[str, list[str]] = {}
    for source in sources:
        values = [*source.when.values()] if len(source.when) == 1 else []
        anything = source.model_copy(update={"when": dict.fromkeys(source.when, _VALUES)}) if values else source
        found.setdefault(_source_text(anything), []).extend(values)
    return _BETWEEN.join(text.replace(_VALUES, _conditions(values)) for text, values in found.items())


_VALUES: Final = "\0"


def _conditions(values: Sequence[str]) -> str:
    plain = [value for value in values if _condition(value) == f"is `{value}`"]
    others = [_condition(value) for value in values if value not in plain]
    return " or ".join([*([f"is {_codes(plain)}"] if plain else []), *others])


def _source_text(source: Source) -> str:
    text = f"`{source.indexed}.N.*`" if source.indexed else f"`{source.key}`"
    if source.path and source.path != EVERYTHING:
        text += f" → `{source.path}`"
    conditions = [f"`{key}` {value if value == _VALUES else _condition(value)}" for key, value in source.when.items()]
    notes = [
        *(name for name in ("first", "legacy") if getattr(source, name)),
        *(["own scopes"] if source.scoped else []),
    ]
    if conditions:
        notes.append(f"when {' and '.join(conditions)}")
    return f"{text} *({', '.join(notes)})*" if notes else text


def _condition(value: str) -> str:
    if value == "*":
        return "is there"
    return f"equals `{value[1:]}`" if value.startswith("=") else f"is `{value}`"


# --- types -----------------------------------------------------------------------------------------------------------


def type_table(conventions: Sequence[Convention]) -> Iterator[str]:
    """What decides the type of an observation, in order."""
    yield "## Types\n"
    yield (
        "The first rule that knows the value decides. Where none does: a tool's name or call id makes a TOOL, a model\n"
        "a GENERATION, and all else is a SPAN. `*` is any value; letter case does not matter.\n"
    )
    rows = []
    for convention in sorted(conventions, key=_type_place):
        if convention.span_types:
            rows.append((*_head(convention), "span name *(own scopes)*", _kinds(convention.span_types)))
        rows += [(*_head(convention), f"`{key}`", _kinds(values)) for key, values in convention.types.items()]
    yield _table(("place", "dialect", "by", "type: values"), rows)


def _type_place(convention: Convention) -> int:
    return convention.precedence if convention.type_precedence is None else convention.type_precedence


def _head(convention: Convention) -> tuple[str, str]:
    return str(_type_place(convention)), convention.title


def _kinds(values: Mapping[str, str]) -> str:
    by_kind: dict[str, list[str]] = {}
    for value, kind in values.items():
        by_kind.setdefault(kind, []).append(value)
    return "; ".join(f"{kind}: {_codes(names)}" for kind, names in by_kind.items())


# --- the rest of a dialect -------------------------------------------------------------------------------------------


def dialect(convention: Convention) -> Iterator[str]:
    """What a dialect says beside fields and types."""
    yield f"### {convention.title}\n"
    yield f"`{convention.name}`, precedence {convention.precedence}. {_recognition(convention)}\n"
    lines = [
        *_parameters(convention.parameters),
        *_entries("Metadata", convention.metadata),
        *_entries("Metadata of the trace", convention.trace_metadata),
        *_counting(convention),
        *_events(convention),
        *_notes(convention),
    ]
    if lines:
        yield "\n".join(f"- {line}" for line in lines) + "\n"


def _recognition(convention: Convention) -> str:
    known = convention.recognise
    ways = [f"scope {_codes(known.scopes)}"] if known.scopes else []
    if known.attribute_prefixes:
        ways.append(f"attributes {_codes(f'{prefix}*' for prefix in known.attribute_prefixes)}")
    last = ", when no other dialect is spoken" if known.last else ""
    return f"Known by {' or '.join(ways)}{last}." if ways else "Applies to every span."


def _parameters(parameters: Parameters) -> Iterator[str]:
    pairs = [f"`{key}` → `{name}`" for key, name in parameters.keys.items()]
    pairs += [f"`{key}` → `{name}` *(own scopes)*" for key, name in parameters.own_keys.items()]
    pairs += [f"{sources_text(sources)} → `{name}`" for name, sources in parameters.values.items()]
    pairs += [f"members of {sources_text([source])}" for source in parameters.objects]
    pairs += [f"`{prefix}*` → `*`" for prefix in parameters.prefixes]
    if pairs:
        yield f"Parameters: {_BETWEEN.join(pairs)}"
    renamed = [f"`{member}` → `{name}`" for member, name in parameters.names.items() if name]
    if renamed:
        yield f"Members of these objects that are renamed: {_BETWEEN.join(renamed)}"


def _entries(title: str, entries: Entries) -> Iterator[str]:
    found = [f"`{prefix}*` → `*`" for prefix in entries.prefixes]
    found += [f"members of {sources_text([source])}" for source in entries.objects]
    if found:
        yield f"{title}: {_BETWEEN.join(found)}"


_COUNTING: Final = {
    "input_without_cache": "input tokens leave the cached ones out",
    "total_without_cache": "total tokens leave the cached ones out",
    "output_without_reasoning": "output tokens leave those of reasoning out",
}


def _counting(convention: Convention) -> Iterator[str]:
    for rule, meaning in _COUNTING.items():
        providers = getattr(convention.usage, rule)
        if providers:
            whom = "all providers" if "*" in providers else _codes(providers)
            yield f"Counting: {meaning}, for {whom}; numbers that prove the contrary are believed"


def _events(convention: Convention) -> Iterator[str]:
    if convention.lifted_events:
        yield f"Events whose attributes count as the span's own: {_codes(convention.lifted_events)}"
    for name, event in convention.message_events.items():
        yield f"Event `{name}`: a message of the {event.side}, role {event.role} unless it says another"
    if convention.first_token_events:
        yield f"Events that are the first token: {_codes(convention.first_token_events)}"
    if convention.score_events:
        yield f"Events that are evaluation results, stored in `scores`: {_codes(convention.score_events)}"


def _notes(convention: Convention) -> Iterator[str]:
    if convention.provider_names:
        renamed = (f"`{sent}` → `{name}`" for sent, name in convention.provider_names.items() if sent != name)
        yield f"Providers: {_BETWEEN.join(renamed)}"
    for key, value in convention.ignored.items():
        yield f"`{key}` that is `{value}` says nothing"
    if convention.json_in_texts:
        yield "A message's text that is JSON of messages or parts is those"


# --- Markdown --------------------------------------------------------------------------------------------------------


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)
