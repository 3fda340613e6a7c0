"""Input, output, tool calls and tool definitions of every span, from attributes and message events."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Mask, chosen, empty_lists, empty_texts, has_text
from otlp_receiver.mapping.canonical import are_canonical, is_canonical
from otlp_receiver.mapping.conversations import (
    Conversation,
    Side,
    canonical_tools,
    conversation,
    read_conversation,
    with_opened_texts,
)
from otlp_receiver.mapping.copies import are_embeddings, are_tools, say_no_more
from otlp_receiver.mapping.event_messages import event_messages
from otlp_receiver.mapping.messages import Message, canonical_message, parse_json, to_json, tool_calls
from otlp_receiver.mapping.plan import Plan
from otlp_receiver.mapping.resolution import Resolution
from otlp_receiver.mapping.types import Types
from pipelines.schema import TOOL_CALLS

_ROLES: Final = {"input": "user", "output": "assistant"}

Calls = dict[int, list[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Content:
    """The two halves, the calls found in the output by span, the tools that were offered."""

    input: pa.StringArray
    output: pa.StringArray
    tool_calls: pa.ListArray
    tool_definitions: pa.StringArray


@dataclass(slots=True)
class _Half:
    """One half while it is put together.

    Attributes:
        side: which.
        texts: as sent, by span.
        json_in_texts: spans of dialects that write messages into a message's text.
        messages: by span, where they are not as sent.
        encoded: their JSON.
        tools: offered in the same request, by span.
        beside: JSON of what else the request or answer said, by span; it stays in metadata.
        of_run: spans whose messages are its part of a whole run's.
    """

    side: Side
    texts: pa.StringArray
    json_in_texts: Mask
    messages: dict[int, list[Message]] = field(default_factory=dict)
    encoded: dict[int, str] = field(default_factory=dict)
    tools: dict[int, list[Any]] = field(default_factory=dict)
    beside: dict[int, str] = field(default_factory=dict)
    of_run: set[int] = field(default_factory=set)

    def keep(self, span: int, messages: list[Message]) -> bool:
        """Take messages for a span, unless they are nested too deep to be written."""
        encoded = to_json(messages)
        if encoded:
            self.messages[span], self.encoded[span] = messages, encoded
        return bool(encoded)

    def has_all_of(self, span: int, text: str) -> bool:
        """Whether a text is of messages that say nothing that the half does not."""
        copies = conversation(parse_json(text), self.side)
        if not copies:
            return False
        sent = self.texts[span].as_py()
        return say_no_more(copies, self.messages.get(span) or (parse_json(sent) if is_canonical(sent) else []))


def content(plan: Plan, table: SpanTable, resolution: Resolution, types: Types) -> Content:
    """Each half on its own: what the user set, else messages, else message events, else a tool's or a search's own."""
    events = event_messages(plan, table)
    asked = _half(plan, resolution, "input", types, events["input"])
    _add_instructions(resolution, asked)
    answered = _half(plan, resolution, "output", types, events["output"])
    for half in (asked, answered):
        resolution.show_copies(f"{half.side}_messages", half.has_all_of)
    _show_embeddings(resolution, answered, types.are("EMBEDDING"))
    resolution.show(resolution.rows("run_messages")[sorted(asked.of_run & answered.of_run)])
    calls = {span: tool_calls(messages) for span, messages in answered.messages.items()}
    return Content(
        _text_array(asked),
        _text_array(answered),
        _calls_array(calls, resolution.spans),
        _tool_definitions(resolution, asked.tools),
    )


def _half(plan: Plan, resolution: Resolution, side: Side, types: Types, events: dict[int, list[Message]]) -> _Half:
    """A half of every span; of the attributes it could come from, those that it shows are marked as shown."""
    half = _Half(side, empty_texts(resolution.spans), _have_json_in_texts(plan, resolution))
    free = np.ones(resolution.spans, bool)
    calls, tools, searches = types.are("GENERATION"), types.are("TOOL"), types.are("RETRIEVER")
    free &= ~_take(resolution, half, side, free, messages=calls)
    free &= ~_take(resolution, half, f"tool_{side}", free & tools)
    free &= ~_take(resolution, half, f"retrieval_{side}", free & searches)
    free &= ~_take(resolution, half, f"{side}_messages", free, messages=free, wrap=calls)
    free &= ~_take_run(resolution, half, free)
    free &= ~_take_tool_event(half, events, free & tools)
    free &= ~_take_messages(half, events, free)
    free &= ~_take_messages(half, _assembled(resolution, side, free), free)
    free &= ~_take(resolution, half, f"tool_{side}", free)
    free &= ~_take(resolution, half, f"retrieval_{side}", free)
    _take(resolution, half, f"{side}_value", free, messages=calls, wrap=calls)
    return half


def _have_json_in_texts(plan: Plan, resolution: Resolution) -> Mask:
    found = resolution.candidates
    conventions = [index for index in found.present if plan.conventions[index].json_in_texts]
    return np.asarray(found.members[:, conventions].any(axis=1))


def _take(
    resolution: Resolution,
    half: _Half,
    name: str,
    wanted: Mask,
    *,
    messages: Mask | None = None,
    wrap: Mask | None = None,
) -> Mask:
    """Take a field for the wanted spans that have it, and say which.

    Args:
        resolution: where from.
        half: where to.
        name: field.
        wanted: spans still without a text.
        messages: spans whose text is brought into the one shape when it holds messages.
        wrap: those of them whose plain text is one message.
    """
    if not resolution.is_filled(name):
        return np.zeros(resolution.spans, bool)
    texts = resolution.text(name)
    taken = wanted & has_text(texts)
    if not wanted.all():
        resolution.show(resolution.rows(name)[~wanted & _are_equal(texts, half.texts)])
    if not taken.any():
        return taken
    if messages is not None:
        rows = np.flatnonzero(taken & messages & (half.json_in_texts | ~are_canonical(texts)))
        for span, text in zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
            taken[span] = _open(half, span, text, wrap=wrap is not None and bool(wrap[span]))
    resolution.show(resolution.rows(name)[taken])
    resolution.say_beside(name, half.beside)
    half.beside = {}
    half.texts = chosen(taken, texts, half.texts)
    return taken


def _are_equal(texts: pa.StringArray, others: pa.StringArray) -> Mask:
    """Which texts another attribute has said already, word for word."""
    equal: Mask = pc.equal(texts, others).to_numpy(zero_copy_only=False)
    return has_text(texts) & equal


def _open(half: _Half, span: int, text: str, *, wrap: bool) -> bool:
    """Bring a text into the one shape, where it holds messages; what does not stays as sent.

    False for what says nothing, such as an empty list or a role alone (OpenInference around LangGraph): another source
    may.
    """
    parsed = parse_json(text) if text[:1] in ("{", "[", '"') else None
    found = read_conversation(text if parsed is None else parsed, half.side)
    if found is None and wrap and not isinstance(parsed, dict | list):
        found = Conversation([canonical_message({"content": parsed or text}, _ROLES[half.side])])
    if found is None:
        return parsed not in ([], {})
    messages = with_opened_texts(found.messages, half.side) if half.json_in_texts[span] else found.messages
    if not any(message["parts"] for message in messages):
        return False
    if half.keep(span, messages):
        half.beside |= {span: to_json(found.rest)} if found.rest else {}
        half.tools |= {span: found.tools} if found.tools else {}
    return True


def _take_messages(half: _Half, messages: dict[int, list[Message]], wanted: Mask) -> Mask:
    taken = np.zeros(len(wanted), bool)
    for span, found in messages.items():
        taken[span] = wanted[span] and half.keep(span, found)
    return taken


def _take_run(resolution: Resolution, half: _Half, wanted: Mask) -> Mask:
    """All messages of an agent's run: its last answer is the output, what led to it the input."""
    taken = np.zeros(resolution.spans, bool)
    if not resolution.is_filled("run_messages"):
        return taken
    texts = resolution.text("run_messages")
    for span in np.flatnonzero(wanted & has_text(texts)).tolist():
        found = conversation(parse_json(texts[span].as_py()), "input") or []
        answer = found[-1:] if len(found) > 1 and found[-1]["role"] == "assistant" else []
        part = answer if half.side == "output" else found[: len(found) - len(answer)]
        taken[span] = bool(part) and half.keep(span, part)
        if taken[span] or (found and not answer):
            half.of_run.add(span)
    return taken


def _take_tool_event(half: _Half, messages: dict[int, list[Message]], wanted: Mask) -> Mask:
    """A tool's call and result that came as one message each: their content alone, as attributes would say it."""
    found = {span: content for span, events in messages.items() if wanted[span] and (content := _only_content(events))}
    taken = np.zeros(len(wanted), bool)
    taken[list(found)] = True
    half.encoded |= found
    return taken


def _only_content(messages: list[Message]) -> str:
    parts = [part for message in messages for part in message["parts"]]
    if len(parts) != 1 or not isinstance(parts[0], dict):
        return ""
    only = parts[0].get("response", parts[0].get("content", ""))
    return only if isinstance(only, str) else to_json(only)


def _assembled(resolution: Resolution, side: Side, wanted: Mask) -> dict[int, list[Message]]:
    """One message from fields that each hold a piece of it."""
    names = ("input_text",) if side == "input" else ("output_reasoning", "output_text", "output_tool_calls")
    pieces: dict[int, dict[str, Any]] = {}
    for name in filter(resolution.is_filled, names):
        texts = resolution.text(name)
        rows = np.flatnonzero(wanted & has_text(texts))
        for span, text in zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
            piece = parse_json(text) if name == "output_tool_calls" else text
            if isinstance(piece, str if name != "output_tool_calls" else list):
                pieces.setdefault(span, {})[_PIECES[name]] = piece
                resolution.show(resolution.rows(name)[span : span + 1])
    return {span: [canonical_message(message, _ROLES[side])] for span, message in pieces.items()}


_PIECES: Final = {
    "input_text": "content",
    "output_text": "content",
    "output_reasoning": "reasoning_content",
    "output_tool_calls": "tool_calls",
}


def _add_instructions(resolution: Resolution, half: _Half) -> None:
    """System instructions as the first message, where the input is messages or nothing.

    Beside another system prompt, or an input of another kind, they stay in metadata.
    """
    texts = resolution.text("system_instructions")
    for span in np.flatnonzero(has_text(texts)).tolist():
        messages, text = half.messages.get(span), half.texts[span].as_py()
        if messages is None:
            messages = conversation(parse_json(text), "input") if text else []
        combined = None if messages is None else _with_instructions(messages, texts[span].as_py())
        if combined is not None and half.keep(span, combined):
            resolution.show(resolution.rows("system_instructions")[span : span + 1])


def _with_instructions(messages: list[Message], instructions: str) -> list[Message] | None:
    parts = parse_json(instructions)
    content = parts if isinstance(parts, list) else instructions
    system = canonical_message({"role": "system", "content": content}, "system")
    if messages and messages[0].get("role") == "system":
        return messages if messages[0]["parts"] == system["parts"] else None
    return [system, *messages]


def _text_array(half: _Half) -> pa.StringArray:
    if not half.encoded:
        return half.texts
    values = half.texts.to_pylist()
    for span, text in half.encoded.items():
        values[span] = text
    return pa.array(values, pa.string())


def _calls_array(calls: Calls, count: int) -> pa.ListArray:
    if not any(calls.values()):
        return empty_lists(TOOL_CALLS, count)
    return pa.array([calls.get(span, []) for span in range(count)], TOOL_CALLS)


def _show_embeddings(resolution: Resolution, half: _Half, embeds: Mask) -> None:
    """The vectors that another dialect sent in a list of their own."""
    if embeds.any():
        resolution.show_copies(
            "output_value", lambda span, text: bool(embeds[span]) and are_embeddings(text, half.texts[span].as_py())
        )


def _tool_definitions(resolution: Resolution, requested: dict[int, list[Any]]) -> pa.StringArray:
    """What an attribute says, in one shape where it is understood; else what the request in the input offered."""
    texts = resolution.shown_text("tool_definitions")
    if not requested and not resolution.is_filled("tool_definitions"):
        return texts
    changed = {span: to_json(tools) for span, tools in requested.items()}
    for span in np.flatnonzero(has_text(texts)).tolist():
        text = texts[span].as_py()
        tools = canonical_tools(parse_json(text))
        changed[span] = text if tools is None else to_json(tools)
    resolution.show_copies("tool_definitions", lambda span, text: are_tools(text, changed.get(span, "")))
    if not changed:
        return texts
    return pa.array([changed.get(span, "") for span in range(resolution.spans)], pa.string())
