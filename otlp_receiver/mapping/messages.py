"""Chat messages of any provider's shape → the OTel GenAI message shape.

`[{"role", "parts": [{"type": "text", "content"} | {"type": "tool_call", "id", "name", "arguments"} |
{"type": "tool_call_response", "id", "response"} | {"type": "reasoning", "content"} | media parts ...], "name"?,
"finish_reason"?}]` (GenAI semantic conventions, JSON schemas of gen_ai.input.messages and gen_ai.output.messages).
What is not understood stays in place as it was sent.
"""

from typing import Any, Final

import orjson

Message = dict[str, Any]

_REASONING_TYPES: Final = ("reasoning", "thinking")
_TEXT_TYPES: Final = ("text", "input_text", "output_text")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, None when it is none (a length limit may have cut it)."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def to_json(value: Any) -> str:
    """JSON of a value, empty when it is nested deeper than the encoder goes (254 levels; the parser takes 1024)."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def canonical_messages(value: Any, role: str) -> list[Message] | None:
    """Messages in one shape, None when the value holds no messages; `role` serves those that name none."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value or not all(_is_message(item) for item in value):
        return None
    return [canonical_message(item, role) for item in value]


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and ("role" in value or ("parts" in value and "type" not in value))
        and isinstance(value.get("role"), str | None)
    )


def canonical_message(message: Message, role: str) -> Message:
    """One message in the one shape; what has no place in it stays beside its parts."""
    rest = _given(message)
    own_role = rest.pop("role", "")
    role = own_role if isinstance(own_role, str) and own_role else role
    return {"role": role, "parts": _take_parts(rest, role), **rest}


def _given(value: Message, *without: str) -> Message:
    return {key: item for key, item in value.items() if item is not None and key not in without}


def _take_parts(message: Message, role: str) -> list[Any]:
    """The parts of a message; takes out of it what has its place among them."""
    content = message.pop("parts" if "parts" in message else "content", None)
    reasoning, refusal = message.pop("reasoning_content", None), message.pop("refusal", None)
    parts: list[Any] = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    if role == "tool" and "tool_call_id" in message:
        parts.append({"type": "tool_call_response", "id": message.pop("tool_call_id"), "response": content})
    else:
        parts.extend(_content_parts(content))
    if refusal:
        parts.append({"type": "refusal", "content": refusal})
    if isinstance(message.get("tool_calls"), list):
        parts.extend(_tool_call(call) for call in message.pop("tool_calls"))
    if "function_call" in message:
        parts.append(_tool_call({"function": message.pop("function_call")}))
    return parts


def _content_parts(content: Any) -> list[Any]:
    if content is None or content == "":
        return []
    if isinstance(content, list):
        return [_part(part) for part in content]
    return [{"type": "text", "content": content}]


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return {"type": "text", "content": part}
    kind = part.get("type")
    if kind in _TEXT_TYPES:
        return _content_part(part, "text", ("content", "text"))
    if kind in _REASONING_TYPES:
        return _content_part(part, "reasoning", ("content", kind, "text"))
    if kind in ("tool_call", "tool_use"):
        return _tool_call(part)
    if kind in ("tool_call_response", "tool_result"):
        return _tool_response(part)
    return part


def _content_part(part: Message, kind: str, names: tuple[str, ...]) -> Message:
    """A part of `kind` whose content is under the first of `names`; a signature and the like stay with it."""
    name = next((name for name in names if name in part), names[0])
    return {"type": kind, "content": part.get(name), **_given(part, "type", name)}


def _tool_call(call: Any) -> Any:
    """A call, also one that has name and arguments in an object of their own (OpenAI)."""
    if not isinstance(call, dict):
        return {"type": "tool_call", "arguments": call}
    rest = _given(call, "type")
    if isinstance(rest.get("function"), dict):
        rest |= rest.pop("function")
    named = next((name for name in ("arguments", "input", "args") if name in rest), "arguments")
    arguments = _object(rest.pop(named, None))
    return {
        "type": "tool_call",
        "id": rest.pop("id", None),
        "name": rest.pop("name", None),
        "arguments": arguments,
    } | rest


def _object(arguments: Any) -> Any:
    """Arguments as an object, also when they came as its JSON."""
    parsed = parse_json(arguments) if isinstance(arguments, str) else None
    return parsed if isinstance(parsed, dict | list) else arguments


def _tool_response(part: Message) -> Message:
    named = next((name for name in ("response", "result", "content") if name in part), None)
    if named is None:
        return part
    identity = "id" if part.get("id") is not None else "tool_use_id"
    rest = _given(part, "type", named, identity)
    return {"type": "tool_call_response", "id": part.get(identity), "response": part[named], **rest}


def tool_calls(messages: list[Message]) -> list[dict[str, str]]:
    """The calls that the messages ask for: id, name and arguments as JSON."""
    return [
        {"id": _text(part.get("id")), "name": _text(part.get("name")), "arguments": _text(part.get("arguments"))}
        for message in messages
        for part in message["parts"]
        if isinstance(part, dict) and part.get("type") == "tool_call"
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value)
