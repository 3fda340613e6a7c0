"""Input, output and tool calls of every span, from attributes and message events."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from config.conventions import MessageEvent
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Mask, first_text, has_text
from otlp_receiver.mapping.messages import Message, canonical_message, canonical_messages, parse_json, tool_calls
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
    count = resolution.spans
    input_messages, _ = _messages(resolution, "input_messages", "user", resolution.shown_text("system_instructions"))
    output_messages, calls = _messages(resolution, "output_messages", "assistant", None)
    for span, messages in events["output"].items():
        calls.setdefault(span, tool_calls(messages))
    return Content(
        _half(resolution, ("input", "tool_input", "retrieval_input"), input_messages, _texts(events["input"], count)),
        _half(resolution, ("output", "tool_output", "retrieval_output"), output_messages, _texts(events["output"], count)),
        _calls_array(calls, count),
    )


def _half(
    resolution: Resolution, names: tuple[str, str, str], messages: pa.StringArray, events: pa.StringArray
) -> pa.StringArray:
    explicit, tool, retrieval = (resolution.text(name) for name in names)
    result = first_text(explicit, messages, events, tool, retrieval)
    for name, text, before in ((names[0], explicit, ()), (names[1], tool, (explicit, messages, events)),
                               (names[2], retrieval, (explicit, messages, events, tool))):  # fmt: skip
        taken = has_text(text)
        for earlier in before:
            taken &= ~has_text(earlier)
        resolution.show(resolution.rows(name)[taken])
    return result


def _messages(
    resolution: Resolution, name: str, role: str, system: pa.StringArray | None
) -> tuple[pa.StringArray, Calls]:
    """A half's messages in the one shape, and the tool calls in them; what holds no messages stays as sent."""
    texts = resolution.shown_text(name)
    given = has_text(texts) if system is None else has_text(texts) | has_text(system)
    if not given.any():
        return texts, {}
    changed: dict[int, str] = {}
    calls: Calls = {}
    instructions = {} if system is None else _present(system)
    for span, text in _present(texts, given).items():
        if span not in instructions and _is_canonical(text):
            continue
        messages = _with_system(canonical_messages(parse_json(text), role) if text else [], instructions.get(span))
        if messages is not None:
            changed[span] = orjson.dumps(messages).decode()
            calls[span] = tool_calls(messages)
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
        and '"parts":' in text
        and '"tool_' not in text
        and '"thinking"' not in text
        and '_text"' not in text
        and '":null' not in text
        and '": null' not in text
    )


def _with_system(messages: list[Message] | None, instructions: str | None) -> list[Message] | None:
    """System instructions as the first message, unless the messages already begin with a system prompt."""
    if messages is None or instructions is None:
        return messages
    if messages and messages[0]["role"] == "system":
        return messages
    parts = parse_json(instructions)
    content = parts if isinstance(parts, list) else instructions
    return [canonical_message({"role": "system", "content": content}, "system"), *messages]


def _replaced(texts: pa.StringArray, changed: dict[int, str]) -> pa.StringArray:
    if not changed:
        return texts
    values = texts.to_pylist()
    for row, text in changed.items():
        values[row] = text
    return pa.array(values, pa.string())


def _texts(messages: dict[int, list[Message]], count: int) -> pa.StringArray:
    return _replaced(pa.repeat("", count), {span: orjson.dumps(found).decode() for span, found in messages.items()})


def _calls_array(calls: Calls, count: int) -> pa.ListArray:
    if not any(calls.values()):
        return pa.ListArray.from_arrays(pa.array([0] * (count + 1), pa.int32()), pa.array([], TOOL_CALLS.value_type))
    return pa.array([calls.get(span, []) for span in range(count)], TOOL_CALLS)


def _event_messages(plan: Plan, table: SpanTable) -> dict[str, dict[int, list[Message]]]:
    """Messages that came as one span event each, by half and span."""
    found: dict[str, dict[int, list[Message]]] = {"input": {}, "output": {}}
    names = table.events.column("name").dictionary_encode()
    meanings = {
        code: meaning for code, name in enumerate(names.dictionary.to_pylist()) if (meaning := _message_event(plan, name))
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
