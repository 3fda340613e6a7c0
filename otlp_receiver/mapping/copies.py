"""Whether what one dialect says is already shown in the words of another: messages, tools, embeddings."""

from typing import Any, Final

from otlp_receiver.mapping.json_text import parse_json, to_json
from otlp_receiver.mapping.messages import Message
from otlp_receiver.mapping.tool_definitions import canonical_tools

_OF_A_MESSAGE: Final = {"role", "parts"}


def say_no_more(copies: list[Message], shown: list[Message]) -> bool:
    """Whether messages say, in this order, nothing that those shown do not; of a message's parts, in any order."""
    if not all(message["parts"] and message.keys() == _OF_A_MESSAGE for message in copies):
        return False
    said = iter(_said(shown))
    return all(part and (role, part) in said for role, part in _said(copies))


def _said(messages: list[Message]) -> list[tuple[str, str]]:
    """Role and part, a message's parts by kind: OpenInference's processor puts a result before the calls."""
    return [
        (message["role"], to_json(_with_opened_result(part)))
        for message in messages
        for part in sorted(message["parts"], key=_kind)
    ]


def _kind(part: Any) -> str:
    return str(part.get("type")) if isinstance(part, dict) else ""


def _with_opened_result(part: Any) -> Any:
    """A part whose tool result, which is JSON text in one dialect and an object in another, is the object."""
    result = part.get("response") if isinstance(part, dict) else None
    parsed = parse_json(result) if isinstance(result, str) else None
    return part if parsed is None else part | {"response": parsed}


def are_tools(text: str, shown: str) -> bool:
    """Whether a text holds the tools that are shown, in whatever API's shape."""
    tools = canonical_tools(parse_json(text))
    return tools is not None and to_json(tools) == shown != ""


def are_embeddings(text: str, shown: str) -> bool:
    """Whether a text is one vector or a list of them, all shown in OpenInference's list of embeddings."""
    vectors = _vectors(parse_json(text))
    return bool(vectors) and vectors == _embedded(parse_json(shown))


def _vectors(value: Any) -> list[list[Any]]:
    items = value if isinstance(value, list) else []
    vectors = items if items and isinstance(items[0], list) else [items]
    return vectors if all(isinstance(vector, list) and vector for vector in vectors) else []


def _embedded(value: Any) -> list[Any]:
    """`[{"embedding": {"text", "vector"}}]`."""
    items = value if isinstance(value, list) else []
    inner = [item.get("embedding") if isinstance(item, dict) else None for item in items]
    return [one.get("vector") if isinstance(one, dict) else None for one in inner]
