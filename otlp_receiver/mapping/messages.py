"""Chat messages of any provider's shape → the OTel GenAI message shape.

`[{"role", "parts": [{"type": "text", "content"} | {"type": "tool_call", "id", "name", "arguments"} |
{"type": "tool_call_response", "id", "response"} | {"type": "reasoning", "content"} | media parts ...], "name"?,
"finish_reason"?}]` (GenAI semantic conventions, JSON schemas of gen_ai.input.messages and gen_ai.output.messages).
What is not understood stays in place as it was sent.

So that every dialect gives the same messages for the same conversation: roles have one name each; a message of tool
results has the role `tool` and holds one result; empty texts are no parts.
"""

from typing import Any, Final

from otlp_receiver.mapping.json_text import parse_json, to_json
from otlp_receiver.mapping.parts import given, is_call, is_text, parts_of, same, tool_call, unwrapped

__all__ = [
    "ROLES",
    "Message",
    "canonical_message",
    "canonical_messages",
    "canonical_role",
    "is_message",
    "one_result_each",
    "parse_json",
    "to_json",
    "tool_calls",
]

Message = dict[str, Any]

ROLES: Final = ("system", "user", "assistant", "tool")
# A thought that is a message of its own (OpenLLMetry before 0.50).
_THOUGHT_ROLE: Final = "thinking"
_ROLE_ALIASES: Final = {
    "developer": "system",
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    _THOUGHT_ROLE: "assistant",
    "aimessagechunk": "assistant",
    "function": "tool",
    "ipython": "tool",
}
# Where a message's content stands: OTel, OpenInference, LlamaIndex, nearly all others.
_BODIES: Final = ("parts", "contents", "blocks", "content")
_CALLS: Final = ("tool_calls", "toolCalls")
_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking", "thought")
_FINISH_REASONS: Final = ("finish_reason", "finishReason", "stop_reason", "stopReason")
# Objects beside a message whose finish reason is the message's: LangChain, Haystack.
_ABOUT: Final = ("response_metadata", "generation_info", "meta")
_BESIDE_THE_BODY: Final = frozenset((*_CALLS, *_THOUGHTS, "function_call", "refusal", "additional_kwargs"))
_SAYS_IT_IS_A_MESSAGE: Final = (_BESIDE_THE_BODY - {"additional_kwargs"}) | {*_BODIES, "tool_call_id"}


def canonical_messages(value: Any, role: str) -> list[Message] | None:
    """Messages in one shape, None when the value holds no messages; `role` serves those that name none."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value or not all(_is_sent_message(item) for item in value):
        return None
    return one_result_each([canonical_message(item, role) for item in value])


def _is_sent_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and ("role" in value or ("parts" in value and "type" not in value))
        and isinstance(value.get("role"), str | None)
    )


def is_message(value: Any) -> bool:
    """Whether a value is one message: it names a role, and has what a message has."""
    if not isinstance(value, dict) or not isinstance(value.get("role"), str) or not value["role"]:
        return False
    return not _SAYS_IT_IS_A_MESSAGE.isdisjoint(value) or (canonical_role(value["role"]) in ROLES and len(value) == 1)


def canonical_role(role: str) -> str:
    """The role's one name; an unknown one as it was sent."""
    lower = role.lower()
    return lower if lower in ROLES else _ROLE_ALIASES.get(lower, role)


def canonical_message(message: Message, role: str) -> Message:
    """One message in the one shape; what has no place in it stays beside its parts."""
    rest = given(message) if "parts" in message else _said(message)
    sent_role = rest.pop("role", "")
    if not isinstance(sent_role, str):
        rest["sent_role"], sent_role = sent_role, ""
    role = canonical_role(sent_role) if sent_role else role
    if sent_role == _THOUGHT_ROLE and isinstance(rest.get("content"), str) and "reasoning_content" not in rest:
        rest["reasoning_content"] = rest.pop("content")
    parts = _take_parts(rest, role)
    reason = _take_finish_reason(rest)
    role = "tool" if parts and all(_is_result(part) for part in parts) else role
    return {"role": role, "parts": parts} | rest | reason


def _said(message: Message) -> Message:
    """A message without what says nothing: raw API objects and LangChain's are full of empty lists and objects."""
    return {key: item for key, item in message.items() if item is not None and item not in ([], {})}


def one_result_each(messages: list[Message]) -> list[Message]:
    """A message of several tool results (Anthropic, AI SDK) as one message each, as other APIs send them."""
    return [single for message in messages for single in _one_result_each(message)]


def _one_result_each(message: Message) -> list[Message]:
    if message["role"] != "tool" or len(message["parts"]) < 2 or not all(map(_is_result, message["parts"])):  # noqa: PLR2004 - one is fine
        return [message]
    first, *others = message["parts"]
    return [message | {"parts": [first]}, *({"role": "tool", "parts": [part]} for part in others)]


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "tool_call_response"


def _take_finish_reason(message: Message) -> Message:
    """Why the answer ended, under its one name; also from what LangChain and Haystack say about the answer."""
    if not message:
        return {}
    names = _FINISH_REASONS[:1] if "finish_reason" in message else _FINISH_REASONS
    name = next((name for name in names if isinstance(message.get(name), str)), None)
    if name is not None:
        return {"finish_reason": message.pop(name)}
    about = [message[key] for key in _ABOUT if isinstance(message.get(key), dict) and "finish_reason" not in message]
    reasons = (one.get(name) for one in about for name in _FINISH_REASONS)
    reason = next((reason for reason in reasons if isinstance(reason, str)), None)
    return {} if reason is None else {"finish_reason": reason}


def _take_parts(message: Message, role: str) -> list[Any]:
    """The parts of a message; takes out of it what has its place among them."""
    if _BESIDE_THE_BODY.isdisjoint(message):
        return _take_body(message, role)
    calls_of_kwargs = _take_kwargs_calls(message)
    parts = _take_thoughts(message)
    parts += _take_body(message, role)
    refusal = message.pop("refusal", None)
    if refusal:
        parts.append({"type": "refusal", "content": refusal})
    _add_calls(parts, *(message.pop(key) for key in _CALLS if isinstance(message.get(key), list)), calls_of_kwargs)
    if "function_call" in message:
        parts.append(tool_call({"function": message.pop("function_call")}))
    return parts


def _take_thoughts(message: Message) -> list[Any]:
    texts = [message.pop(name) for name in _THOUGHTS if isinstance(message.get(name), str)]
    return [{"type": "reasoning", "content": text} for text in texts if text]


def _take_body(message: Message, role: str) -> list[Any]:
    """The content as parts, as a tool's result where it is one."""
    name = next((name for name in _BODIES if name in message), None)
    sent = None if name is None else message.pop(name)
    parts = parts_of(sent)
    if any(_is_result(part) for part in parts):
        return parts
    if name in ("contents", "blocks") and "content" in message:
        return _with_content(message, parts, message.pop("content"), role)
    if "tool_call_id" in message or (role == "tool" and parts):
        return [_result(message, sent if name == "content" else parts)]
    return parts


def _with_content(message: Message, parts: list[Any], content: Any, role: str) -> list[Any]:
    """OpenInference: a text beside the contents repeats them, or is a tool's result."""
    if role != "tool" and "tool_call_id" in message:
        return [*parts, _result(message, content)]
    texts = [part.get("content") for part in parts if is_text(part)]
    extra = [] if isinstance(content, str) and content in texts else parts_of(content)
    if role == "tool":
        return [_result(message, parts + extra)]
    return parts + extra


def _result(message: Message, sent: Any) -> Message:
    """A tool's result: the text alone where it is but one."""
    identity = message.pop("tool_call_id", None)
    is_list = isinstance(sent, list)
    response = unwrapped(sent)
    return {"type": "tool_call_response", "id": identity, "response": "" if is_list and not sent else response}


def _add_calls(parts: list[Any], *sources: list[Any]) -> None:
    """Adds the calls that stand beside the content; one that is already among the parts is not doubled."""
    for sent in sources:
        known = {_call_key(part): part for part in parts if is_call(part)}
        for call in map(tool_call, sent):
            first = known.get(_call_key(call))
            if first is None or not _merge(first, call):
                parts.append(call)


def _take_kwargs_calls(message: Message) -> list[Any]:
    """LangChain, LlamaIndex: the provider's own spelling of the calls, in `additional_kwargs`."""
    kwargs = message.get("additional_kwargs")
    if not isinstance(kwargs, dict):
        return []
    left = _said(kwargs)
    calls = left.pop("tool_calls") if isinstance(left.get("tool_calls"), list) else []
    if "tool_call_id" not in message and isinstance(left.get("tool_call_id"), str):
        message["tool_call_id"] = left.pop("tool_call_id")
    message["additional_kwargs"] = left
    if not left:
        del message["additional_kwargs"]
    return calls


def _call_key(call: Message) -> str:
    return f"{call.get('id')} {call.get('name')}"


def _merge(call: Message, again: Message) -> bool:
    """Adds to a call what the same call says elsewhere; False when they differ and are two."""
    if not all(same(call[key], item) for key, item in again.items() if key in call and key != "index"):
        return False
    call.update({key: item for key, item in again.items() if key not in call})
    return True


def tool_calls(messages: list[Message]) -> list[dict[str, str]]:
    """The calls that the messages ask for: id, name and arguments as JSON."""
    return [
        {"id": _text(part.get("id")), "name": _text(part.get("name")), "arguments": _text(part.get("arguments"))}
        for message in messages
        for part in message["parts"]
        if is_call(part)
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value)
