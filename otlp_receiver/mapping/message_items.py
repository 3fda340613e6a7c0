"""One item of a list of messages, in the wrapper that its library puts around it → messages in the one shape.

OpenInference messages and OpenAI choices, Gemini candidates, message events, items of the Responses API, parts that
stand alone, answers without a role, and what frameworks dump.
"""

from collections.abc import Callable
from typing import Any, Final

from otlp_receiver.mapping.framework_items import FRAMEWORK_ITEMS
from otlp_receiver.mapping.items import Item
from otlp_receiver.mapping.json_text import parse_json
from otlp_receiver.mapping.messages import Message, canonical_message, is_message
from otlp_receiver.mapping.parts import given, is_call, is_part, is_text, parts_of, same, without_position

_GENERATIONS: Final = ("Generation", "GenerationChunk", "ChatGeneration", "ChatGenerationChunk")
_EVENT_ROLES: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "assistant",
}
# Responses API: calls of the provider's own tools, whose whole item is the part.
_HOSTED_CALLS: Final = (
    "web_search_call",
    "file_search_call",
    "computer_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
    "local_shell_call",
)
# An answer that names no role: Autogen, Mastra, a completion of the time before chat.
# Keys that a message of a kind of its own has beside its role.
_SAYS_IT_IS_ANOTHER: Final = frozenset(("type", "kind", "event.name", "additional_kwargs", "message", "_role", "lc"))
_ANSWER_TEXTS: Final = ("content", "text")
_SAYS_IT_IS_AN_ANSWER: Final = frozenset(
    ("finish_reason", "finishReason", "generation_info", "generationInfo", "tool_calls", "toolCalls", "files")
)


def read_item(value: Any, role: str) -> Item | None:
    """The messages of one item, None when it is none; `role` serves those that name none."""
    if not isinstance(value, dict):
        return None
    if is_message(value) and _SAYS_IT_IS_ANOTHER.isdisjoint(value):
        return _plain(value, role)  # nearly every message: the tests would cost more than the reading
    return next((read(value, role) for applies, read in _ITEMS if applies(value)), None)


# --- wrappers --------------------------------------------------------------------------------------------------------


def _is_wrapped(value: Message) -> bool:
    return isinstance(value.get("message"), dict)


def _wrapped(value: Message, role: str) -> Item | None:
    """`{"message": {...}}`: OpenInference, choices, LangChain generations, Genkit, LlamaIndex."""
    inner = _message_item(value["message"], role)
    if inner is None or len(inner.messages) != 1:
        return None
    message = inner.messages[0]
    beside = _beside(value, message)
    if not isinstance(beside, dict):
        return None
    thinks = all(isinstance(part, dict) and part.get("type") == "reasoning" for part in message["parts"])
    return Item([message | beside], goes_on=bool(message["parts"]) and thinks)


def _message_item(value: Message, role: str) -> Item | None:
    """The message in a wrapper, which may leave out its role."""
    if value.get("role") is None and "type" not in value and not _UNWRAPPABLE.isdisjoint(value):
        return Item([canonical_message(value, role)])
    return None if _is_wrapped(value) else read_item(value, role)


_UNWRAPPABLE: Final = frozenset(("content", "contents", "parts", "tool_calls", "blocks"))


def _beside(value: Message, message: Message) -> Message | None:
    """What a wrapper says of its message, under keys that the message leaves free; None when one hides another."""
    rest = given(without_position(value), "message", *(("type",) if value.get("type") in _GENERATIONS else ()))
    for key in ("finishReason", "stopReason"):
        if "finish_reason" not in rest and isinstance(rest.get(key), str):
            rest["finish_reason"] = rest.pop(key)
    if "text" in rest and rest["text"] in ("", *(part.get("content") for part in message["parts"] if is_text(part))):
        del rest["text"]
    results = _function_results(rest.get("function"))
    if results and not message["parts"]:
        message["parts"], message["role"] = results, "tool"
        del rest["function"]
    rest = {key: item for key, item in rest.items() if item not in ([], {}) and not same(message.get(key), item)}
    return None if rest.keys() & message.keys() else rest


def _function_results(function: Any) -> list[Any]:
    """Autogen under OpenInference: results as JSON texts beside their message."""
    results: list[Any] = [parse_json(item) if isinstance(item, str) else None for item in _list(function)]
    if not all(isinstance(result, dict) and "type" not in result for result in results):
        return []
    return parts_of([result | {"type": "tool_result"} for result in results])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_content_wrapper(value: Message) -> bool:
    content = value.get("content")
    return isinstance(content, dict) and isinstance(content.get("parts"), list)


def _candidate(value: Message, role: str) -> Item | None:
    """Gemini: `{"content": {"role", "parts"}, "finishReason", ...}`."""
    content = given(value["content"])
    rest = given(without_position(value), "content")
    return None if content.keys() & rest.keys() else Item([canonical_message(rest | content, role)])


def _is_roleless(value: Message) -> bool:
    return isinstance(value.get("parts"), list) and not {"role", "type", "kind"} & value.keys()


def _roleless(value: Message, role: str) -> Item:
    """`{"parts": [...]}`."""
    return Item([canonical_message(value, role)])


# --- events ----------------------------------------------------------------------------------------------------------


def _is_event(value: Message) -> bool:
    return isinstance(value.get("event.name"), str) and value["event.name"] in _EVENT_ROLES


def _event(value: Message, role: str) -> Item | None:
    """`{"event.name": "gen_ai.user.message", "content", ...}`: Pydantic AI, Logfire."""
    named = _EVENT_ROLES[value["event.name"]]
    rest = given(without_position(value, "gen_ai.message.index"), "event.name")
    if _is_wrapped(rest):
        return _wrapped(rest, named)
    if named == "tool" and "tool_call_id" not in rest and "id" in rest:
        rest["tool_call_id"] = rest.pop("id")
    return Item([canonical_message(rest, named or role)])


# --- Responses API, parts --------------------------------------------------------------------------------------------


def _is_responses_message(value: Message) -> bool:
    return value.get("type") == "message" and is_message(value)


def _responses_message(value: Message, role: str) -> Item:
    return Item([canonical_message(given(value, "type"), role)], goes_on=True)


def _is_hosted_call(value: Message) -> bool:
    return value.get("type") in _HOSTED_CALLS


def _hosted_call(value: Message, _role: str) -> Item:
    return Item([canonical_message({"parts": [value]}, "assistant")], goes_on=True)


def is_lone_part(value: Message) -> bool:
    """A part without a message, as Anthropic's answers and the Responses API's items are."""
    return not isinstance(value.get("role"), str) and is_part(value)


def _lone_part(value: Message, role: str) -> Item:
    message = canonical_message({"parts": [value]}, role)
    is_answer = any(is_call(part) or part.get("type") == "reasoning" for part in message["parts"])
    return Item([message | {"role": "assistant"} if is_answer else message], goes_on=True)


# --- plain messages and answers --------------------------------------------------------------------------------------


def _plain(value: Message, role: str) -> Item:
    """`{"role", "content"}` and its kin."""
    named = value if value["role"] != "unknown" or role != "assistant" else value | {"role": role}
    return Item([canonical_message(named, role)], goes_on=value["role"] == "thinking")


def _is_answer(value: Message) -> bool:
    has_text = any(isinstance(value.get(name), str | list) for name in _ANSWER_TEXTS)
    return not _SAYS_IT_IS_AN_ANSWER.isdisjoint(value) and (has_text or isinstance(value.get("tool_calls"), list))


def _answer(value: Message, role: str) -> Item | None:
    """An answer without a role: `{"content", "finish_reason"}`, `{"text", "toolCalls"}`, `{"tool_calls"}`."""
    if role != "assistant":
        return None
    rest = given(without_position(value))
    name = next((name for name in _ANSWER_TEXTS if isinstance(rest.get(name), str | list)), None)
    content = None if name is None else rest.pop(name)
    if name is not None and "content" in rest:
        return None
    if isinstance(content, list) and content and "tool_calls" not in rest and all(map(_is_bare_call, content)):
        rest, content = rest | {"tool_calls": content}, None
    return Item([canonical_message(rest | {"content": content}, role)])


def _is_bare_call(value: Any) -> bool:
    """A call that names no kind: `{"id", "name", "arguments"}`, `{"toolCallId", "toolName", "input"}`."""
    if not isinstance(value, dict) or "type" in value:
        return False
    named = isinstance(value.get("toolName"), str) or (isinstance(value.get("name"), str) and "arguments" in value)
    return named or isinstance(value.get("function"), dict)


def _bare_call(value: Message, _role: str) -> Item:
    return Item([canonical_message({"tool_calls": [value]}, "assistant")], goes_on=True)


# Tests whether an item is of a kind, and reads it; the first that applies decides.
_ITEMS: Final[tuple[tuple[Callable[[Message], bool], Callable[[Message, str], Item | None]], ...]] = (
    (_is_responses_message, _responses_message),
    (_is_event, _event),
    *FRAMEWORK_ITEMS,
    (is_message, _plain),
    (_is_wrapped, _wrapped),
    (_is_roleless, _roleless),
    (_is_content_wrapper, _candidate),
    (_is_hosted_call, _hosted_call),
    (is_lone_part, _lone_part),
    (_is_bare_call, _bare_call),
    (_is_answer, _answer),
)
