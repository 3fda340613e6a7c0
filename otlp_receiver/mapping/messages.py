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
# Of a message, what the canonical shape has its own place for.
_PLACED: Final = frozenset(
    ("role", "parts", "content", "tool_calls", "tool_call_id", "reasoning_content", "function_call", "refusal")
)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, None when it is none (a length limit may have cut it)."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def canonical_messages(value: Any, role: str) -> list[Message] | None:
    """Messages in one shape, None when the value holds no messages; `role` serves those that name none."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value or not all(_is_message(item) for item in value):
        return None
    return [canonical_message(item, role) for item in value]


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and ("role" in value or "parts" in value) and ("type" not in value or "role" in value)


def canonical_message(message: Message, role: str) -> Message:
    """One message in the one shape."""
    own_role = message.get("role")
    role = own_role if isinstance(own_role, str) and own_role else role
    rest = {key: value for key, value in message.items() if key not in _PLACED and value is not None}
    return {"role": role, "parts": _parts(message, role), **rest}


def _parts(message: Message, role: str) -> list[Any]:
    content = message.get("parts") if isinstance(message.get("parts"), list) else message.get("content")
    call_id = message.get("tool_call_id")
    if role == "tool" and call_id is not None:
        return [{"type": "tool_call_response", "id": call_id, "response": content}]
    reasoning = message.get("reasoning_content")
    parts = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    parts.extend(_content_parts(content))
    if message.get("refusal"):
        parts.append({"type": "refusal", "content": message["refusal"]})
    calls = message.get("tool_calls")
    parts.extend(_tool_call(call) for call in (calls if isinstance(calls, list) else ()))
    if message.get("function_call"):
        parts.append(_tool_call({"function": message["function_call"]}))
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
        return {"type": "text", "content": part.get("content", part.get("text"))}
    if kind in _REASONING_TYPES:
        return {"type": "reasoning", "content": part.get("content", part.get(kind, part.get("text")))}
    if kind in ("tool_call", "tool_use"):
        return _tool_call(part)
    if kind in ("tool_call_response", "tool_result"):
        return _tool_response(part)
    return part


def _tool_call(call: Any) -> Any:
    if not isinstance(call, dict):
        return {"type": "tool_call", "arguments": call}
    function = call.get("function")
    source = function if isinstance(function, dict) else call
    arguments = source.get("arguments", source.get("input", source.get("args")))
    return {"type": "tool_call", "id": call.get("id"), "name": source.get("name"), "arguments": _object(arguments)}


def _object(arguments: Any) -> Any:
    """Arguments as an object, also when they came as its JSON."""
    parsed = parse_json(arguments) if isinstance(arguments, str) else None
    return parsed if isinstance(parsed, dict | list) else arguments


def _tool_response(part: Message) -> Message:
    for name in ("response", "result", "content"):
        if name in part:
            return {"type": "tool_call_response", "id": part.get("id", part.get("tool_use_id")), "response": part[name]}
    return part


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
    return value if isinstance(value, str) else orjson.dumps(value).decode()
