"""The conversation in the input or output of a model call, in whatever container it came.

A list of messages, one message, a provider's whole request or answer, a framework's dump of either.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from otlp_receiver.mapping.items import joined
from otlp_receiver.mapping.json_text import parse_json, parse_literal
from otlp_receiver.mapping.message_items import read_item
from otlp_receiver.mapping.messages import Message, canonical_message, is_message, one_result_each
from otlp_receiver.mapping.parts import given, parts_of, same
from otlp_receiver.mapping.tool_definitions import beside_tools, canonical_tools

__all__ = [
    "Conversation",
    "Side",
    "canonical_tools",
    "conversation",
    "read_conversation",
    "request_tools",
    "with_opened_texts",
]

Side = Literal["input", "output"]

_ROLES: Final[dict[Side, str]] = {"input": "user", "output": "assistant"}
_SYSTEM: Final = ("system", "instructions", "systemInstruction", "system_instruction", "system_prompt")
_TOOLS: Final = ("tools", "functions", "toolConfig", "tool_config")
# Objects of a request that may hold its tools and system instructions: Gemini, LlamaIndex.
_CONFIGS: Final = ("config", "kwargs")
# What an answer says of itself and not of its message: Anthropic, Gemini, Autogen, LlamaIndex, Mastra.
_OF_THE_ANSWER: Final = frozenset(
    ("id", "model", "usage", "object", "created", "container", "diagnostics", "stop_details", "stop_sequence", "cached",
     "model_version", "modelVersion", "usage_metadata", "usageMetadata", "avg_logprobs", "raw", "custom", "request",
     "warnings", "system_fingerprint", "service_tier", "metrics", "trace", "invocation_id", "author", "actions",
     "timestamp", "node_info")
)  # fmt: skip
_SAYS_IT_IS_AN_ANSWER: Final = frozenset(("usage", "usage_metadata", "usageMetadata", "raw"))
_EMBEDS: Final = frozenset(("dimensions", "encoding_format"))
_TEXT_TYPES: Final = ("text", "input_text", "output_text")
# LangWatch: what a value is said to be → whether it is a text.
_VALUE_TYPES: Final = {"chat_messages": False, "json": False, "text": True}
_LITERAL_STARTS: Final = ("[{'", "{'")
_MAX_LEVELS: Final = 4


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a value holds, in three parts that together are all of it.

    Attributes:
        messages: in the one shape, system instructions first.
        tools: definitions of the tools that the model may call, in one shape.
        rest: what stood beside them: parameters and model of a request, id and usage of an answer.
    """

    messages: list[Message]
    tools: list[Any] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)


def conversation(value: Any, side: Side) -> list[Message] | None:
    """The messages of a value, None when it holds none and is to be kept as sent.

    A plain text is none: whether it is a message only the caller knows. What stood beside the messages only
    `read_conversation` tells.
    """
    found = read_conversation(value, side)
    return None if found is None else found.messages


def request_tools(value: Any) -> list[Any] | None:
    """The tools of a request, in one shape; None when it offers none."""
    found = read_conversation(value, "input")
    return None if found is None else found.tools or None


def read_conversation(value: Any, side: Side) -> Conversation | None:
    """Messages, tools and the rest of a value in one go, None when it holds no messages.

    Args:
        value: as parsed from JSON; a text is read only where it is Python's spelling of a list or dict (LiteLLM).
        side: which events of a list of both count, and who speaks where nobody is named.
    """
    is_literal = isinstance(value, str) and value.startswith(_LITERAL_STARTS)
    found = _read(parse_literal(value) if is_literal else value, side, 0)
    if found is None or not found.messages:
        return None
    return Conversation(one_result_each(found.messages), found.tools, found.rest)


def with_opened_texts(messages: list[Message], side: Side) -> list[Message]:
    """The messages, where a text that is JSON of messages or parts is those.

    Only for dialects that send them so (Traceloop's JavaScript instrumentations of the Responses API and of LangChain):
    anyone else's text stays a text.
    """
    return [opened for message in messages for opened in _opened_text(message, side)]


def _opened_text(message: Message, side: Side) -> list[Message]:
    texts = [part.get("content") for part in message["parts"] if isinstance(part, dict) and part.get("type") == "text"]
    text = texts[0] if len(texts) == len(message["parts"]) == 1 else None
    items = parse_json(text) if isinstance(text, str) and text.startswith("[{") else None
    if not isinstance(items, list):
        return [message]
    if all(isinstance(item, dict) and item.get("type") in _TEXT_TYPES for item in items):
        return [message | {"parts": parts_of(items)}]
    found = read_conversation(items, side)
    return [message] if found is None else found.messages


def _read(value: Any, side: Side, level: int) -> Conversation | None:
    if level > _MAX_LEVELS:
        return None
    if isinstance(value, list):
        return _listed(value, side, level)
    return _of_object(value, side, level) if isinstance(value, dict) else None


def _listed(values: list[Any], side: Side, level: int) -> Conversation | None:
    """A list of messages; LangChain puts them in a list of lists, one per prompt."""
    if values and all(isinstance(value, list) for value in values):
        return _read([item for value in values for item in value], side, level + 1)
    tools, values = _without_tools(values)
    items = [read_item(value, _ROLES[side]) for value in _of_side(values, side)]
    read = [item for item in items if item is not None]
    return Conversation(joined(read), tools) if len(read) == len(items) else None


def _of_side(values: list[Any], side: Side) -> list[Any]:
    """Of message events, which hold the prompt and the answer in one list, those of one side."""
    if not all(isinstance(value, dict) and isinstance(value.get("event.name"), str) for value in values):
        return values
    return [value for value in values if (value["event.name"] == "gen_ai.choice") == (side == "output")]


def _without_tools(values: list[Any]) -> tuple[list[Any], list[Any]]:
    """Langfuse's LangChain handler sends the definitions of tools as messages of the role `tool`."""
    definitions = [value["content"] for value in values if _is_definition(value)]
    if not definitions:
        return [], values
    return canonical_tools(definitions) or [], [value for value in values if not _is_definition(value)]


def _is_definition(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"role", "content"} or value["role"] != "tool":
        return False
    content = value["content"]
    return isinstance(content, dict) and content.get("type") == "function" and isinstance(content.get("function"), dict)


def _of_object(value: dict[str, Any], side: Side, level: int) -> Conversation | None:
    """One message, else the container that its first telling key makes it, else an item of some library."""
    if not is_message(value):
        for key, types, read in _CONTAINERS:
            if isinstance(value.get(key), types):
                return read(value, key, side, level)
    return _single(value, side)


def _single(value: dict[str, Any], side: Side) -> Conversation | None:
    about = _OF_THE_ANSWER if not _SAYS_IT_IS_AN_ANSWER.isdisjoint(value) or value.get("type") == "message" else ()
    item = read_item({key: one for key, one in value.items() if key not in about}, _ROLES[side])
    rest = given({key: one for key, one in value.items() if key in about})
    return None if item is None else Conversation(item.messages, [], rest)


def _inside(value: dict[str, Any], key: str, side: Side, level: int) -> Conversation | None:
    """The container's messages are those under the key; all else stays beside them."""
    found = _read(value[key], side, level + 1)
    if found is None:
        return None
    rest = given(value, key)
    return None if rest.keys() & found.rest.keys() else Conversation(found.messages, found.tools, rest | found.rest)


def _request(value: dict[str, Any], key: str, side: Side, level: int) -> Conversation | None:
    """A provider's whole request: system instructions, messages, tools, parameters."""
    found = _inside(value, key, side, level)
    if found is None:
        return None
    rest = dict(found.rest)
    system = _take_system(rest) if side == "input" else None
    tools = found.tools + _take_tools(rest)
    configs = {name: given(rest[name]) for name in _CONFIGS if isinstance(rest.get(name), dict)}
    return Conversation(_after(system, found.messages), tools, given(rest | configs))


def _after(system: Message | None, messages: list[Message]) -> list[Message]:
    repeats = system is not None and bool(messages) and same(messages[0]["parts"], system["parts"])
    return messages if system is None or repeats else [system, *messages]


def _take_system(rest: dict[str, Any]) -> Message | None:
    for holder in (rest, *_configs(rest)):
        name = next(
            (name for name in _SYSTEM if isinstance(holder.get(name), str | list | dict) and holder[name]), None
        )
        if name is not None:
            return _system_message(holder.pop(name))
    return None


def _system_message(sent: Any) -> Message:
    """Of a text, of parts, or of a content object (Gemini: `{"parts": [...]}`)."""
    is_content = isinstance(sent, dict) and ("parts" in sent or "content" in sent)
    return canonical_message((sent if is_content else {"content": sent}) | {"role": "system"}, "system")


def _take_tools(rest: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for holder in (rest, *_configs(rest)):
        for name in (name for name in _TOOLS if name in holder):
            tools = canonical_tools(holder[name])
            if tools is not None:
                found += tools
                holder[name] = beside_tools(holder[name])
    return found


def _configs(rest: dict[str, Any]) -> list[dict[str, Any]]:
    """The configuration objects of a request, copied into it so that something can be taken out of them."""
    for name in _CONFIGS:
        if isinstance(rest.get(name), dict):
            rest[name] = dict(rest[name])
    return [rest[name] for name in _CONFIGS if isinstance(rest.get(name), dict)]


def _prompt(value: dict[str, Any], key: str, side: Side, level: int) -> Conversation | None:
    """AI SDK: `{"system", "prompt"}`; Responses API: `{"instructions", "input"}`, told from an embedding's."""
    is_other = key == "input" and ("model" not in value or not _EMBEDS.isdisjoint(value))
    if is_other or side == "output":
        return None
    return _request(value | {key: [{"role": "user", "content": value[key]}]}, key, side, level)


def _typed(value: dict[str, Any], key: str, side: Side, level: int) -> Conversation | None:
    """LangWatch: `{"type": "chat_messages", "value": [...]}`, or `{"type": "text", "value": "..."}`."""
    kind, held = value.get("type"), value[key]
    if not isinstance(kind, str) or _VALUE_TYPES.get(kind) is not isinstance(held, str):
        return None
    opened = [{"role": _ROLES[side], "content": held}] if isinstance(held, str) else held
    return _inside(given(value, "type") | {key: opened}, key, side, level)


def _one(value: dict[str, Any], key: str, side: Side, _level: int) -> Conversation | None:
    """One message in a wrapper that says other things too: Genkit, LlamaIndex, Bedrock, ADK."""
    finish = {name: value[name] for name in ("finish_reason", "finishReason", "stopReason") if name in value}
    item = read_item({"message": value[key]} | finish, _ROLES[side])
    return None if item is None else Conversation(item.messages, [], given(value, key, *finish))


def _bedrock_output(value: dict[str, Any], key: str, side: Side, level: int) -> Conversation | None:
    """Bedrock: `{"output": {"message": {...}}, "stopReason", "usage"}`."""
    inner = value[key]
    if not isinstance(inner.get("message"), dict) or inner.keys() & (value.keys() - {key}):
        return _inside(value, key, side, level)
    return _one(given(value, key) | inner, "message", side, level)


def _chat_prompt(value: dict[str, Any], key: str, side: Side, level: int) -> Conversation | None:
    """LangChain: a prompt value's constructor holds messages; any other one is a message."""
    if value.get("type") == "constructor" and isinstance(value[key].get("messages"), list):
        return _inside(value, key, side, level)
    return _single(value, side)


_Read = Callable[[dict[str, Any], str, Side, int], Conversation | None]

# A key, what stands under it, how the object is read then; the first that applies decides.
_CONTAINERS: Final[tuple[tuple[str, type | tuple[type, ...], _Read], ...]] = (
    ("messages", list, _request),  # OpenAI, Anthropic, Bedrock, AI SDK, Genkit, LangChain, Haystack
    ("contents", list, _request),  # Gemini, ADK
    ("choices", list, _inside),  # OpenAI
    ("candidates", list, _inside),  # Gemini
    ("generations", list, _inside),  # LangChain
    ("replies", list, _inside),  # Haystack
    ("message", dict, _one),  # Genkit, LlamaIndex
    ("new_message", dict, _one),  # ADK
    ("output", dict, _bedrock_output),
    ("output", list, _request),  # OpenAI Responses
    ("input", list, _request),
    ("input", str, _prompt),
    ("prompt", str, _prompt),  # AI SDK
    ("prompt", list, _inside),  # Haystack
    ("value", (list, dict, str), _typed),  # LangWatch
    ("inputs", (list, dict), _inside),  # Traceloop around LangChain
    ("outputs", (list, dict), _inside),
    ("kwargs", dict, _chat_prompt),
)
