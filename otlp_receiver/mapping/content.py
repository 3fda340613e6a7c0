"""Input, output and tool calls of every span, from attributes and message events."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from config.conventions import MessageEvent
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Mask, empty_lists, first_text, has_text
from otlp_receiver.mapping.messages import (
    Message,
    canonical_message,
    canonical_messages,
    parse_json,
    to_json,
    tool_calls,
)
from otlp_receiver.mapping.plan import Plan
from otlp_receiver.mapping.resolution import Resolution
from pipelines.schema import TOOL_CALLS

_CANONICAL_STARTS: Final = ('[{"role":"', '[{"role": "')

Calls = dict[int, list[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Content:
    """The two halves, and the calls found in the output by span."""

    input: pa.StringArray
    output: pa.StringArray
    tool_calls: pa.ListArray


def content(plan: Plan, table: SpanTable, resolution: Resolution) -> Content:
    """Each half on its own: what the user set, else messages, else message events, else a tool's or a search's own."""
    events = _event_messages(plan, table)
    input_messages, _ = _messages(resolution, "input_messages", "user", _instructions(resolution))
    output_messages, calls = _messages(resolution, "output_messages", "assistant", {})
    for span, messages in events["output"].items():
        calls.setdefault(span, tool_calls(messages))
    return Content(
        _half(resolution, "input", input_messages, events["input"]),
        _half(resolution, "output", output_messages, events["output"]),
        _calls_array(calls, resolution.spans),
    )


def _half(
    resolution: Resolution, side: str, messages: pa.StringArray, events: dict[int, list[Message]]
) -> pa.StringArray:
    """A half's text per span; of the attributes it could come from, those that it shows are marked as shown."""
    candidates = [
        (side, resolution.text(side)),
        (f"{side}_messages", messages),
        (None, _texts(events, resolution.spans)),
        (f"tool_{side}", resolution.text(f"tool_{side}")),
        (f"retrieval_{side}", resolution.text(f"retrieval_{side}")),
    ]
    free = np.ones(resolution.spans, bool)
    for name, text in candidates:
        if name is not None:
            resolution.show(resolution.rows(name)[free & has_text(text)])
        free &= ~has_text(text)
    return first_text(*(text for _, text in candidates))


def _instructions(resolution: Resolution) -> dict[int, str]:
    """System instructions by span, where the input will be messages."""
    texts = resolution.text("system_instructions")
    return _present(texts, has_text(texts) & ~has_text(resolution.text("input")))


def _messages(
    resolution: Resolution, name: str, role: str, instructions: dict[int, str]
) -> tuple[pa.StringArray, Calls]:
    """A half's messages in the one shape, and the tool calls in them; what holds no messages stays as sent."""
    texts = resolution.text(name)
    changed: dict[int, str] = {}
    calls: Calls = {}
    for span, text in (dict.fromkeys(instructions, "") | _present(texts)).items():
        if span not in instructions and _is_canonical(text):
            continue
        messages = canonical_messages(parse_json(text), role) if text else []
        if messages is not None and (encoded := to_json(messages)):
            changed[span] = encoded
            calls[span] = tool_calls(messages)
            _add_instructions(resolution, changed, span, messages, instructions.get(span))
    return _replaced(texts, changed), calls


def _present(texts: pa.StringArray, mask: Mask | None = None) -> dict[int, str]:
    rows = np.flatnonzero(has_text(texts) if mask is None else mask)
    return dict(zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True))


def _is_canonical(text: str) -> bool:
    """Whether a text needs no second look: it starts in the one shape, and nothing in it ever has another spelling.

    Plain `in` tests, spelled out: they run for every message of every span, and cost a tenth of parsing it.
    """
    return (
        text.startswith(_CANONICAL_STARTS)
        and text.count('"parts":') == text.count('"role":')
        and '"tool_' not in text
        and '"thinking"' not in text
        and '_text"' not in text
        and '"text":' not in text
        and '"reasoning_content"' not in text
        and '"refusal"' not in text
        and '"function_call"' not in text
        and '":null' not in text
        and '": null' not in text
    )


def _add_instructions(
    resolution: Resolution, changed: dict[int, str], span: int, messages: list[Message], instructions: str | None
) -> None:
    """System instructions as the first message; beside another system prompt they stay in metadata."""
    if instructions is None:
        return
    parts = parse_json(instructions)
    content = parts if isinstance(parts, list) else instructions
    system = canonical_message({"role": "system", "content": content}, "system")
    begins_with_system = bool(messages) and messages[0]["role"] == "system"
    if begins_with_system and messages[0]["parts"] != system["parts"]:
        return
    encoded = to_json(messages if begins_with_system else [system, *messages])
    changed[span] = encoded or changed[span]
    if encoded:
        resolution.show(resolution.rows("system_instructions")[span : span + 1])


def _replaced(texts: pa.StringArray, changed: dict[int, str]) -> pa.StringArray:
    if not changed:
        return texts
    values = texts.to_pylist()
    for row, text in changed.items():
        values[row] = text
    return pa.array(values, pa.string())


def _texts(messages: dict[int, list[Message]], count: int) -> pa.StringArray:
    return _replaced(pa.repeat("", count), {span: to_json(found) for span, found in messages.items()})


def _calls_array(calls: Calls, count: int) -> pa.ListArray:
    if not any(calls.values()):
        return empty_lists(TOOL_CALLS, count)
    return pa.array([calls.get(span, []) for span in range(count)], TOOL_CALLS)


def _event_messages(plan: Plan, table: SpanTable) -> dict[str, dict[int, list[Message]]]:
    """Messages that came as one span event each, by half and span."""
    found: dict[str, dict[int, list[Message]]] = {"input": {}, "output": {}}
    if not table.events.num_rows:
        return found
    names = table.events.column("name").dictionary_encode()
    meanings = {
        code: meaning
        for code, name in enumerate(names.dictionary.to_pylist())
        if (meaning := _message_event(plan, name))
    }
    if not meanings:
        return found
    spans = table.events.column("span").to_numpy()
    attributes = event_attributes(table, np.isin(names.indices.to_numpy(), list(meanings)))
    for row, values in attributes.items():
        meaning = meanings[names.indices[row].as_py()]
        found[meaning.side].setdefault(int(spans[row]), []).append(_event_message(values, meaning.role))
    return found


def _message_event(plan: Plan, name: str) -> MessageEvent | None:
    return next((known for convention in plan.conventions if (known := convention.message_events.get(name))), None)


def event_attributes(table: SpanTable, wanted: Mask) -> dict[int, dict[str, str]]:
    """Attributes of the wanted events as dictionaries, by row of `events`; events without attributes included."""
    attributes = table.event_attributes
    rows: dict[int, dict[str, str]] = {row: {} for row in np.flatnonzero(wanted).tolist()}
    owners = attributes.column("owner").to_numpy()
    kept = attributes.filter(pa.array(wanted[owners]))
    keys, values = kept.column("key").cast(pa.string()).to_pylist(), kept.column("value").to_pylist()
    for owner, key, value in zip(kept.column("owner").to_pylist(), keys, values, strict=True):
        rows[owner][key] = value
    return rows


def _event_message(values: dict[str, str], role: str) -> Message:
    """The body is the attributes themselves, or a JSON object in one of them (Azure: gen_ai.event.content)."""
    body: dict[str, Any] = {key: _parsed(value) for key, value in values.items()}
    inner = body.get("gen_ai.event.content")
    body = inner if isinstance(inner, dict) else body
    message = body.get("message")
    if isinstance(message, dict):
        reason = body.get("finish_reason")
        body = {**message, **({} if reason is None else {"finish_reason": reason})}
    elif message is not None:
        body = {**body, "content": message}
    if role == "tool" and "tool_call_id" not in body and "id" in body:
        body = {**body, "tool_call_id": body["id"]}
    known = ("role", "content", "parts", "tool_calls", "tool_call_id", "finish_reason", "name", "reasoning_content")
    return canonical_message({key: body[key] for key in known if key in body}, role)


def _parsed(value: str) -> Any:
    parsed = parse_json(value) if value.startswith(("{", "[")) else None
    return value if parsed is None else parsed
