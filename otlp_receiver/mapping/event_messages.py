"""Messages that came as one span event each, and the attributes of events as dictionaries."""

from typing import Any

import numpy as np
import pyarrow as pa

from config.conventions import MessageEvent
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Mask
from otlp_receiver.mapping.messages import Message, canonical_message, parse_json
from otlp_receiver.mapping.plan import Plan


def event_messages(plan: Plan, table: SpanTable) -> dict[str, dict[int, list[Message]]]:
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
