"""The parts of a message, whichever API spelled them → the parts of the GenAI semantic conventions.

`text`, `reasoning`, `tool_call`, `tool_call_response` and media parts. What comes with a part stays beside it; a part
that is not understood stays as it was sent.
"""

from collections.abc import Callable
from typing import Any, Final

from otlp_receiver.mapping.json_text import parse_json, to_json
from otlp_receiver.mapping.media import MEDIA_KEYS, MEDIA_KINDS, media_part

Part = dict[str, Any]

# Where a part's kind stands: OpenAI and nearly all others, Pydantic AI, LlamaIndex, Pydantic AI's user content.
_KIND_KEYS: Final = ("type", "part_kind", "block_type", "kind")
# The more telling name first: Responses items have an `id` of their own beside `call_id`.
_IDENTITIES: Final = ("call_id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id", "ref", "id")
_NAMES: Final = ("name", "toolName", "tool_name")
_ARGUMENTS: Final = ("arguments", "input", "args", "tool_kwargs", "toolInput")
_RESPONSES: Final = ("response", "result", "output", "content")
_TEXTS: Final = ("content", "text")
_REASONINGS: Final = ("content", "thinking", "reasoning", "text", "summary")
# AI SDK: how a tool's output is typed → whether it is an error.
_TYPED_OUTPUTS: Final = {"text": False, "json": False, "content": False, "error-text": True, "error-json": True}
_TEXT_KEYS: Final = frozenset(("type", "content"))
_CALL_KEYS: Final = frozenset(("type", "id", "name", "arguments"))
_MAX_LEVELS: Final = 8


def parts_of(content: Any, level: int = 0) -> list[Any]:
    """The parts of a message's content: a text, one part, or a list of either; empty texts are none."""
    items = content if isinstance(content, list) else [content]
    parts = [part for item in items if item is not None for part in _canonical(item, level)]
    return [part for part in parts if not _says_nothing(part)]


def is_part(value: Any) -> bool:
    """Whether a value that stands alone, outside of any message, is a text, a thought, a call or a result."""
    if not isinstance(value, dict):
        return False
    said = given(value)
    if _kind(value) in _LONE_KINDS:
        return any(name in said for name in _LONE_KINDS[_kind(value)])
    return not _kind(value) and _key(said) in _LONE_KEYS and said.keys() <= {_key(said), *_LONE_BESIDE}


def is_call(part: Any) -> bool:
    """Whether a part asks for a tool."""
    return isinstance(part, dict) and part.get("type") == "tool_call"


def is_text(part: Any) -> bool:
    """Whether a part is a text."""
    return isinstance(part, dict) and part.get("type") == "text"


def given(value: Part, *without: str) -> Part:
    """What an object says: without nulls and without some keys."""
    return {key: item for key, item in value.items() if item is not None and key not in without}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal; False for values that are nested too deep to compare."""
    try:
        return bool(one == other)
    except RecursionError:
        return False


def without_position(value: Part, key: str = "index") -> Part:
    """An object without its place in the list that it is in anyway."""
    return given(value, key) if isinstance(value.get(key), int) else value


def opened(value: Part, *wrappers: str) -> Part:
    """An object with the objects under some of its keys opened, as far as that loses no key."""
    for wrapper in wrappers:
        inner = value.get(wrapper)
        if isinstance(inner, dict) and not (inner.keys() & (value.keys() - {wrapper})):
            value = given(value, wrapper) | given(inner)
    return value


def _says_nothing(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type") in ("text", "reasoning")
        and not (part.keys() - {"type", "content"})
        and part.get("content") in (None, "")
    )


def _canonical(part: Any, level: int) -> list[Any]:
    if not isinstance(part, dict):
        return [{"type": "text", "content": part}]
    if level > _MAX_LEVELS or _is_canonical(part):
        return [dict(part)]
    kind = _kind(part)
    name = kind or _key(part)
    convert = (_BY_KIND if kind else _BY_KEY).get(name)
    converted = None if convert is None else convert(_without_kind(part) if kind else given(part), name, level)
    return [part] if converted is None else converted


def _is_canonical(part: Part) -> bool:
    """A quick look, for the parts that most messages consist of."""
    keys, kind = part.keys(), part.get("type")
    if keys == _TEXT_KEYS:
        return kind in ("text", "reasoning") and isinstance(part["content"], str)
    return kind == "tool_call" and keys == _CALL_KEYS and isinstance(part["arguments"], dict)


def _kind_key(part: Part) -> str:
    return "type" if "type" in part else next((key for key in _KIND_KEYS if key in part), "type")


def _kind(part: Part) -> str:
    kind = part.get(_kind_key(part))
    return kind if isinstance(kind, str) else ""


def _without_kind(part: Part) -> Part:
    return given(part, _kind_key(part))


def _key(part: Part) -> str:
    return next((key for key in _BY_KEY if part.get(key) is not None), "")


def _take(part: Part, names: tuple[str, ...]) -> Any:
    """The value under the first of the names, taken out of the part."""
    name = next((name for name in names if name in part), None)
    return None if name is None else part.pop(name)


def _take_identity(part: Part) -> Any:
    """The call's id, taken out; an item's own id beside it gets a name of its own."""
    identity = _take(part, _IDENTITIES if "item_id" not in part else _IDENTITIES[::-1])
    if "id" in part:
        part["item_id"] = part.pop("id")
    return identity


def _content_part(kind: str, content: Any, rest: Part) -> Part:
    """A part and what stays beside it; its own keys are free."""
    rest = {f"sent_{key}" if key in ("type", "content") else key: item for key, item in rest.items()}
    return {"type": kind, "content": content} | rest


def _text(part: Part, _kind: str, level: int) -> list[Any]:
    """A text; one whose content is a list of parts (OpenLIT) is those parts. Empty annotations say nothing."""
    content = _take(part, _TEXTS)
    part = {key: item for key, item in part.items() if item not in ([], {})}
    if isinstance(content, list) and not part and content and all(isinstance(item, dict | str) for item in content):
        return parts_of(content, level + 1)
    return [_content_part("text", content, part)]


def _keyed_text(part: Part, _key: str, _level: int) -> list[Any]:
    """Gemini, Genkit, Bedrock: `{"text"}`; Gemini marks a thought."""
    is_thought = part.get("thought") is True
    content = part.pop("text")
    return [
        _content_part("reasoning" if is_thought else "text", content, given(part, "thought") if is_thought else part)
    ]


def _reasoning(part: Part, _kind: str, _level: int) -> list[Any]:
    part = opened(part, "reasoningText", "reasoning_text")
    content = _take(part, _REASONINGS)
    return [_content_part("reasoning", _joined(content), part)]


def _keyed_reasoning(part: Part, key: str, level: int) -> list[Any]:
    """Bedrock: `{"reasoningContent": {"reasoningText": {"text", "signature"}}}`; Genkit: `{"reasoning": "..."}`."""
    return _reasoning(opened(part, key), key, level)


def _joined(content: Any) -> Any:
    """One text of a list of texts (OpenAI Responses: summaries), anything else as it is."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    texts = [item["text"] for item in content if isinstance(item, dict) and isinstance(item.get("text"), str)]
    plain = len(texts) == len(content) and all(item.keys() <= {"type", "text"} for item in content)
    return "\n\n".join(texts) if plain else content


def _refusal(part: Part, _kind: str, _level: int) -> list[Any]:
    return [_content_part("refusal", _take(part, ("content", "refusal")), part)]


def _data(part: Part, _key: str, _level: int) -> list[Any] | None:
    """Genkit: a structured answer, which every other API sends as the JSON text that the model wrote."""
    encoded = to_json(part["data"])
    return [_content_part("text", encoded, given(part, "data"))] if encoded else None


def _media(part: Part, kind: str, _level: int) -> list[Any] | None:
    found = media_part(part, MEDIA_KINDS.get(kind) or MEDIA_KEYS[kind])
    return None if found is None else [found]


def _message_content(part: Part, key: str, level: int) -> list[Any]:
    """OpenInference: `{"message_content": {...}}`, with a `tool_call` beside it where the content is one."""
    content = part.pop(key)
    if isinstance(part.get("tool_call"), dict) and isinstance(content, dict) and not content.keys() - {"type"}:
        return [tool_call(part)]
    parts = _canonical(content, level + 1)
    return parts if not part else [*parts, part]


def tool_call(call: Any) -> Part:
    """A call of any API: id, name and arguments, which are an object wherever they parse as one."""
    if not isinstance(call, dict):
        return {"type": "tool_call", "arguments": call}
    part: Part = _call(given(call, "type"), "", 0)[0]
    return part


def _call(part: Part, kind: str, _level: int) -> list[Any]:
    rest = opened(part, kind, "tool_call", "function")
    rest = dict(rest) if rest is part else rest
    own = {
        "type": "tool_call",
        "id": _take_identity(rest),
        "name": _take(rest, _NAMES),
        "arguments": _object(_take(rest, _ARGUMENTS)),
    }
    return [own | _beside(own, rest)]


def _response(part: Part, kind: str, _level: int) -> list[Any]:
    """A tool's result; the call that Haystack repeats in it (`origin`) is opened, it holds the id."""
    rest = opened(part, kind, "origin")
    rest = dict(rest) if rest is part else rest
    identity, name = _take_identity(rest), _take(rest, _NAMES)
    response, is_error = _response_value(_take(rest, _RESPONSES))
    own = {"type": "tool_call_response", "id": identity, "response": response}
    beside = ({} if name is None else {"name": name}) | ({"is_error": True} if is_error else {})
    return [own | beside | _beside(own | beside, rest)]


def _beside(own: Part, rest: Part) -> Part:
    """What stays beside a part, without hiding its own keys."""
    return {f"sent_{key}" if key in own else key: item for key, item in rest.items()}


def _object(arguments: Any) -> Any:
    """Arguments as an object, also when they came as its JSON."""
    parsed = parse_json(arguments) if isinstance(arguments, str) else None
    return parsed if isinstance(parsed, dict | list) else arguments


def _response_value(value: Any) -> tuple[Any, bool]:
    """What a tool answered, out of the one block or typed value that it may be wrapped in; whether it is an error."""
    if isinstance(value, dict) and value.keys() == {"type", "value"} and isinstance(value["type"], str):
        is_error = _TYPED_OUTPUTS.get(value["type"])
        return (value, False) if is_error is None else (value["value"], is_error)
    return unwrapped(value), False


def unwrapped(value: Any) -> Any:
    """The text or JSON of a list that holds but that: `[{"text"}]`, `[{"json"}]`, `[{"type": "text", "text"}]`."""
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
        return value
    block = value[0]
    is_text = block.get("type") == "text"
    lone = given(block, "type") if is_text else given(block)
    names = _TEXTS if is_text else ("text", "json")
    return next(iter(lone.values())) if len(lone) == 1 and next(iter(lone)) in names else value


# A part without its kind, its kind or the key that tells it, its level → parts; None when it is not understood.
_Convert = Callable[[Part, str, int], list[Any] | None]

_BY_KIND: Final[dict[str, _Convert]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "refusal": _refusal,
    "tool_call": _call,
    "tool-call": _call,
    "tool_use": _call,
    "function_call": _call,
    "custom_tool_call": _call,
    "tool_call_response": _response,
    "tool-result": _response,
    "tool-return": _response,
    "tool_result": _response,
    "function_call_output": _response,
    "custom_tool_call_output": _response,
    **dict.fromkeys(MEDIA_KINDS, _media),
}
# A part without a kind is known by the first of these keys that it has.
_BY_KEY: Final[dict[str, _Convert]] = {
    "message_content": _message_content,
    "text": _keyed_text,
    "toolUse": _call,  # Bedrock
    "toolResult": _response,
    "functionCall": _call,  # Gemini
    "function_call": _call,
    "functionResponse": _response,
    "function_response": _response,
    "toolRequest": _call,  # Genkit
    "toolResponse": _response,
    "tool_call": _call,  # Haystack
    "tool_call_result": _response,
    "reasoningContent": _keyed_reasoning,
    "reasoning": _keyed_reasoning,
    "data": _data,
    **dict.fromkeys(MEDIA_KEYS, _media),
}
# What a part that stands alone must have by its kind.
_LONE_KINDS: Final = {
    kind: names
    for convert, names in (
        (_text, _TEXTS),
        (_reasoning, (*_REASONINGS, "encrypted_content")),
        (_call, _NAMES),
        (_response, _IDENTITIES),
    )
    for kind, converter in _BY_KIND.items()
    if converter is convert
}
_LONE_KEYS: Final = tuple(
    key for key, convert in _BY_KEY.items() if convert in (_keyed_text, _call, _response, _keyed_reasoning)
)
_LONE_BESIDE: Final = ("thought", "thoughtSignature", "thought_signature", "metadata", "citations", "cachePoint")
