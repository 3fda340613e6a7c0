"""Messages as the frameworks dump them → messages in the one shape: LangChain, Pydantic AI, Haystack, Langfuse."""

from collections.abc import Callable
from typing import Any, Final

from otlp_receiver.mapping.items import Item, joined
from otlp_receiver.mapping.messages import ROLES, Message, canonical_message, canonical_role
from otlp_receiver.mapping.parts import given

_LANGCHAIN_ROLES: Final = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
    "chat": "",
    "HumanMessageChunk": "user",
    "AIMessageChunk": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}
_LANGCHAIN_CLASSES: Final = {
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
    "ChatMessage": "",
}
_PYDANTIC_ROLES: Final = {
    "system-prompt": "system",
    "user-prompt": "user",
    "tool-return": "tool",
    "retry-prompt": "user",
}
_PROMPT_KINDS: Final = ("system-prompt", "user-prompt")
_NO_TOOL_ROLES: Final = frozenset((*ROLES, "unknown"))


def _is_langchain_constructor(value: Message) -> bool:
    return value.get("type") == "constructor" and "lc" in value and isinstance(value.get("kwargs"), dict)


def _langchain_constructor(value: Message, role: str) -> Item | None:
    """`{"lc": 1, "type": "constructor", "id": [..., "HumanMessage"], "kwargs": {...}}`."""
    path = value.get("id")
    name = path[-1] if isinstance(path, list) and path and isinstance(path[-1], str) else ""
    known = _LANGCHAIN_CLASSES.get(name.removesuffix("Chunk"))
    return None if known is None else _langchain(value["kwargs"], known, role)


def _langchain_role(value: Message) -> str | None:
    kind = value.get("type")
    return _LANGCHAIN_ROLES.get(kind) if isinstance(kind, str) else None


def _is_langchain_data(value: Message) -> bool:
    return _langchain_role(value) is not None and isinstance(value.get("data"), dict)


def _langchain_data(value: Message, role: str) -> Item | None:
    """`{"type": "human", "data": {...}}`."""
    return _langchain(value["data"], _LANGCHAIN_ROLES[value["type"]], role) if "content" in value["data"] else None


def _is_langchain(value: Message) -> bool:
    return _langchain_role(value) is not None and "content" in value and not isinstance(value.get("role"), str)


def _flat_langchain(value: Message, role: str) -> Item:
    """`{"type": "human", "content": ...}`."""
    return _langchain(value, _LANGCHAIN_ROLES[value["type"]], role)


def _langchain(message: Message, known: str, role: str) -> Item:
    own = message.get("role")
    sent = own if isinstance(own, str) and own else known or role
    rest = {key: item for key, item in message.items() if key not in ("type", "role") or not isinstance(item, str)}
    return Item([canonical_message(rest | {"role": sent}, role)])


def _is_pydantic(value: Message) -> bool:
    return value.get("kind") in ("request", "response") and isinstance(value.get("parts"), list) and "role" not in value


def _pydantic(value: Message, _role: str) -> Item | None:
    """`{"kind": "request", "parts": [{"part_kind": "user-prompt", "content"}, ...]}`: parts of several roles."""
    rest = given(value, "kind", "parts", "instructions")
    role = "user" if value["kind"] == "request" else "assistant"
    messages = [_pydantic_message(part, role) for part in value["parts"]]
    if isinstance(value.get("instructions"), str):
        messages.insert(0, canonical_message({"content": value["instructions"]}, "system"))
    whole = joined([Item([message], goes_on=True) for message in messages])
    if not whole:
        return None
    whole[-1] |= {f"sent_{key}" if key in whole[-1] else key: item for key, item in rest.items()}
    return Item(whole)


def _pydantic_message(part: Any, role: str) -> Message:
    kind = part.get("part_kind") if isinstance(part, dict) else None
    if kind in _PROMPT_KINDS or (kind == "retry-prompt" and not part.get("tool_call_id")):
        return canonical_message(given(part, "part_kind"), _PYDANTIC_ROLES[kind])
    kind = "tool-return" if kind == "retry-prompt" else kind
    return canonical_message({"parts": [part | {"part_kind": kind} if kind else part]}, role)


def _is_named_result(value: Message) -> bool:
    """Langfuse's JavaScript LangChain handler gives the tool's name as the role of its result."""
    named = isinstance(value.get("role"), str) and canonical_role(value["role"]) not in _NO_TOOL_ROLES
    return named and isinstance(value.get("additional_kwargs"), dict) and "content" in value and "parts" not in value


def _named_result(value: Message, _role: str) -> Item:
    """`{"role": "get_weather", "content", "additional_kwargs"}`."""
    part = {"type": "tool_result", "name": value["role"], "content": value["content"]}
    return Item([canonical_message(given(value, "role", "content") | {"parts": [part]}, "tool")])


def _is_haystack(value: Message) -> bool:
    return isinstance(value.get("_role"), str) and "_content" in value


def _haystack(value: Message, role: str) -> Item | None:
    """`{"_role", "_content", "_name", "_meta"}`."""
    renamed = {key.removeprefix("_"): item for key, item in value.items() if key.removeprefix("_") not in value}
    return Item([canonical_message(renamed, role)]) if len(renamed) == len(value) else None


# Tests whether an item is of a kind, and reads it, giving None when it does not understand it.
FRAMEWORK_ITEMS: Final[tuple[tuple[Callable[[Message], bool], Callable[[Message, str], Item | None]], ...]] = (
    (_is_named_result, _named_result),
    (_is_langchain_constructor, _langchain_constructor),
    (_is_langchain_data, _langchain_data),
    (_is_langchain, _flat_langchain),
    (_is_pydantic, _pydantic),
    (_is_haystack, _haystack),
)
