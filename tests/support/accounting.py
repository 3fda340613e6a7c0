"""Is an attribute that was sent still there? An independent reading of a stored row, for "nothing is dropped"."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from config.conventions import load_conventions
from tests.support.arrow_rows import Row
from tests.support.otlp import KINDS, STATUS_CODES, Attributes, Resource, Scope, Span
from tests.support.span_tables import kind_and_text

# Columns that hold what was sent under other names; their values are searched, whatever the key.
_TEXTS: Final = (
    "user_id", "session_id", "environment", "release", "version", "trace_name", "provider", "operation", "model",
    "request_model", "response_id", "input", "output", "tool_definitions", "tool_name", "tool_call_id", "agent_name",
    "prompt_name", "prompt_version",
)  # fmt: skip
_LISTS: Final = ("finish_reasons", "tags")
_MAPS: Final = ("model_parameters", "usage_details", "cost_details")
_NUMBERS: Final = ("input_tokens", "output_tokens", "total_tokens", "total_cost")
# Zero tokens of such a kind make no bucket: what is not there is zero.
_PARTS: Final = frozenset(
    source.key
    for convention in load_conventions()
    for name, sources in convention.fields.items()
    for source in sources
    if name
    in ("cache_read_tokens", "cache_creation_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens")
)
_MESSAGES: Final = ("input", "output")


def problems(row: Row, span: Span, scope: Scope, resource: Resource) -> list[str]:
    """What a stored row says differently from the span that was sent, and what of the span it does not say."""
    wrong = [
        f"{name} is {row[name]!r}, sent was {expected!r}"
        for name, expected in _expected(span, scope).items()
        if row[name] != expected
    ]
    if row["name"] != _expected_name(row, span):
        wrong.append(f"name is {row['name']!r}, sent was {span.name!r}")
    for name, sent in (("attributes", span.attributes), ("resource attributes", resource.attributes)):
        kept = row if name == "attributes" else {**row, "metadata": row["resource_attributes"]}
        lost = unaccounted(kept, [(key, *kind_and_text(value)) for key, value in sent])
        wrong.extend(f"{name}: {key} = {text[:200]!r} is nowhere" for key, text in lost)
    return wrong


def _expected_name(row: Row, span: Span) -> str:
    """Tools and agents are named by what they are."""
    column = {"TOOL": "tool_name", "AGENT": "agent_name"}.get(row["type"])
    own: str = row[column] if column else ""
    return own or span.name


def _expected(span: Span, scope: Scope) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id,
        "id": span.span_id,
        "parent_observation_id": span.parent_id,
        "is_root": not span.parent_id,
        "start_time": span.start_ns,
        "end_time": span.end_ns,
        "trace_state": span.trace_state,
        "trace_flags": span.flags,
        "span_kind": KINDS[span.kind],
        "status_code": STATUS_CODES[span.status_code],
        "scope_name": scope.name,
        "scope_version": scope.version,
        "scope_attributes": _texts(scope.attributes),
        "dropped_attributes_count": span.dropped[0],
        "dropped_events_count": span.dropped[1],
        "dropped_links_count": span.dropped[2],
        "events": [
            {"time": event.time_ns, "name": event.name, "attributes": _texts(event.attributes)} for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id,
                "span_id": link.span_id,
                "trace_state": link.trace_state,
                "attributes": _texts(link.attributes),
            }
            for link in span.links
        ],
    }


def _texts(attributes: Attributes) -> dict[str, str]:
    return {key: _compact(*kind_and_text(value)) for key, value in attributes}


def _compact(kind: str, text: str) -> str:
    """Structured values are stored without spaces."""
    if kind not in ("array", "kvlist"):
        return text
    return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


def unaccounted(row: Row, attributes: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Of (key, kind, text) attributes, those whose value is neither in metadata nor in any other column."""
    return [(key, text) for key, _, text in attributes if text and not _is_kept(row, key, text)]


def _is_kept(row: Row, key: str, text: str) -> bool:
    if key in row["metadata"] and _same(row["metadata"][key], text):
        return True
    return (
        any(_same(value, text) for value in _shown_texts(row))
        or _is_shown_number(row, key, text)
        or _is_shown_json(row, text)
    )


def _same(stored: str, text: str) -> bool:
    """Equal, or equal as JSON (structured values are written anew)."""
    return stored == text or (text[:1] in ("[", "{") and _parsed(stored) == _parsed(text) != None)  # noqa: E711 - a chain


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _shown_texts(row: Row) -> Iterator[str]:
    yield from (row[name] for name in _TEXTS)
    for name in _LISTS:
        yield from row[name]
    for name in _MAPS:
        yield from (str(value) for value in row[name].values())


def _decimal(text: Any) -> Decimal | None:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return None


def _is_shown_number(row: Row, key: str, text: str) -> bool:
    number = _decimal(text)
    if number is None or not number.is_finite():
        return False
    if number == 0 and key in _PARTS:
        return True
    shown = [row[name] for name in _NUMBERS if row[name] is not None]
    shown += [value for name in ("usage_details", "cost_details") for value in row[name].values()]
    if any(
        value == number or abs(value - number) <= Decimal("1e-12")
        for value in map(_decimal, shown)
        if value is not None
    ):
        return True
    first_token = row["completion_start_time"]
    return first_token is not None and first_token - row["start_time"] == int(number * 10**9)


def _is_shown_json(row: Row, text: str) -> bool:
    """All that a JSON text says is said by the lists, or by the messages in input and output."""
    said = set(_leaves(_parsed(text) if text[:1] in ("[", "{") else text))
    listed = set(_leaves([row[name] for name in _LISTS]))
    messages = {leaf for name in _MESSAGES for leaf in _leaves(_parsed(row[name]))}
    return said <= listed or said <= messages or said <= _leaves_set(row["tool_definitions"])


def _leaves_set(text: str) -> set[str]:
    return set(_leaves(_parsed(text)))


# What a message's own words become in the one shape: names of kinds, not content.
_KIND_WORDS: Final = frozenset(
    ("text", "input_text", "output_text", "reasoning", "thinking", "tool_call", "tool_use", "tool_call_response",
     "tool_result", "function")
)  # fmt: skip


def _leaves(value: Any) -> Iterator[str]:
    """Every scalar in a JSON value as text; JSON inside a text is opened as well."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        inner = _parsed(value) if value[:1] in ("[", "{") else None
        if inner is not None:
            yield from _leaves(inner)
        elif value and value not in _KIND_WORDS:
            yield value
    elif value is not None:
        yield json.dumps(value)
