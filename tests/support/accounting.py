"""Is an attribute that was sent still there? An independent reading of a stored row, for "nothing is dropped"."""

import ast
import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
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
    "prompt_name", "prompt_version", "name", "level", "status_message",
)  # fmt: skip
_LISTS: Final = ("finish_reasons", "tags")
_MAPS: Final = ("model_parameters", "usage_details", "cost_details")
_NUMBERS: Final = ("input_tokens", "output_tokens", "total_tokens", "total_cost")
# Zero tokens of such a kind make no bucket: what is not there is zero.
_PART_FIELDS: Final = (
    "cache_read_tokens", "cache_creation_tokens", "cache_creation_5m_tokens", "cache_creation_1h_tokens",
    "uncached_input_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens",
)  # fmt: skip


def _keys_of(*fields: str) -> frozenset[str]:
    return frozenset(
        source.key
        for convention in load_conventions()
        for name, sources in convention.fields.items()
        for source in sources
        if name in fields
    )


_PARTS: Final = _keys_of(*_PART_FIELDS)
_ROOT_MARKS: Final = _keys_of("is_root")
_DISPLAY_NAMES: Final = _keys_of("display_name")
_OBJECTS: Final = _keys_of("name_object")
_LEVELS: Final = _keys_of("level")
_ERROR_NUMBER: Final = 17  # OpenTelemetry's severity numbers


def problems(row: Row, span: Span, scope: Scope, resource: Resource) -> list[str]:
    """What a stored row says differently from the span that was sent, and what of the span it does not say."""
    wrong = [
        f"{name} is {row[name]!r}, sent was {expected!r}"
        for name, expected in _expected(span, scope).items()
        if row[name] != expected
    ]
    if row["name"] not in _expected_names(row, span):
        wrong.append(f"name is {row['name']!r}, sent was {span.name!r}")
    for name, sent in (("attributes", span.attributes), ("resource attributes", resource.attributes)):
        kept = row if name == "attributes" else {**row, "metadata": row["resource_attributes"]}
        lost = unaccounted(kept, [(key, *kind_and_text(value)) for key, value in sent])
        wrong.extend(f"{name}: {key} = {text[:200]!r} is nowhere" for key, text in lost)
    return wrong


def _expected_names(row: Row, span: Span) -> set[str]:
    """Tools and agents are named by what they are; others by the span, or by a name that a dialect gives beside it."""
    column = {"TOOL": "tool_name", "AGENT": "agent_name"}.get(row["type"])
    if column and row[column]:
        return {row[column]}
    texts = {key: kind_and_text(value)[1] for key, value in span.attributes}
    objects = {f"{span.name} {re.split('[?#]', text)[0]}" for key, text in texts.items() if key in _OBJECTS}
    return {span.name} | objects | {text for key, text in texts.items() if key in _DISPLAY_NAMES}


def _expected(span: Span, scope: Scope) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id,
        "id": span.span_id,
        "parent_observation_id": span.parent_id,
        "is_root": not span.parent_id or any(key in _ROOT_MARKS and value is True for key, value in span.attributes),
        "start_time": span.start_ns,
        "end_time": span.end_ns,
        "trace_state": span.trace_state,
        "trace_flags": span.flags,
        "span_name": span.name,
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
    entries = [value for name, value in row["metadata"].items() if key == name or key.endswith(f".{name}")]
    if any(_same(value, text) for value in entries) or (key in _ROOT_MARKS and row["is_root"] == (text == "true")):
        return True
    return (
        any(_same(value, text) for value in _shown_texts(row))
        or _is_shown_number(row, key, text)
        or _is_shown_time(row, text)
        or _is_shown_json(row, text)
    )


def _same(stored: str, text: str) -> bool:
    """Equal, or equal as JSON (structured values are written anew)."""
    return stored == text or (text[:1] in ("[", "{") and _parsed(stored) == _parsed(text) != None)  # noqa: E711 - a chain


def _parsed(text: str) -> Any:
    """JSON, or Python's own spelling of a list or dict."""
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError):
            return parse(text)
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
    if key in _LEVELS and row["level"] == ("ERROR" if number >= _ERROR_NUMBER else "WARNING"):
        return True
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
    if first_token is None:
        return False
    return any(abs(first_token - row["start_time"] - number * unit) <= 1 for unit in (10**6, 10**9))


def _is_shown_time(row: Row, text: str) -> bool:
    """The time of the first token, in ISO 8601, which may be quoted."""
    try:
        time = datetime.fromisoformat(text.strip('"'))
    except ValueError:
        return False
    nanoseconds = int(time.timestamp()) * 10**9 + time.microsecond * 1_000
    return bool(row["completion_start_time"] == nanoseconds)


def _is_shown_json(row: Row, text: str) -> bool:
    """All that a JSON text says is said somewhere in the row."""
    parsed = _parsed(text) if text[:1] in _JSON_STARTS else None
    said = set(_leaves(text if parsed is None else parsed))
    return said <= {*_leaves([row[name] for name in (*_TEXTS, *_LISTS, *_MAPS, *_NUMBERS, "metadata")])}


# What a message's own words become in the one shape: names of kinds and roles, not content.
_KIND_WORDS: Final = frozenset(
    ("text", "input_text", "output_text", "reasoning", "thinking", "tool_call", "tool_use", "tool_call_response",
     "tool_result", "function", "tool-call", "tool-result", "json", "error-text", "error-json", "image", "image_url",
     "file", "message", "model", "summary_text", "binary", "function_call", "function_call_output", "Buffer",
     "AIMessage", "developer", "tool", "unknown", "chat_messages", "haystack.tools.tool.Tool")
)  # fmt: skip
_JSON_STARTS: Final = ("[", "{", '"')


def _leaves(value: Any) -> Iterator[str]:
    """Every scalar in a JSON value as text, numbers in one spelling; JSON inside a text is opened as well."""
    if isinstance(value, dict):
        yield from _leaves(_bytes_in(value) if value.get("type") == "Buffer" else list(value.values()))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            says_place = isinstance(item, dict) and item.get("index") == place
            yield from _leaves({key: item[key] for key in item if key != "index"} if says_place else item)
    elif isinstance(value, str):
        yield from _leaves_of_text(value)
    elif value is not None:
        yield from _leaves_of_text(str(value) if isinstance(value, Decimal) else json.dumps(value))


def _leaves_of_text(text: str) -> Iterator[str]:
    inner = _parsed(text) if text[:1] in _JSON_STARTS else None
    number = _decimal(text)
    if inner is not None:
        yield from _leaves(inner)
    elif text.startswith("data:") and ";base64," in text:
        yield from text.removeprefix("data:").split(";base64,", 1)
    elif number is not None and number.is_finite():
        yield str(number.normalize())
    elif text and text not in _KIND_WORDS:
        yield text


def _bytes_in(value: dict[str, Any]) -> str:
    """Node writes bytes as a list of numbers."""
    return base64.b64encode(bytes(value["data"])).decode()
