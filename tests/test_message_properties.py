"""Any value at all: nothing raises, nothing is lost, and large or deep ones do no harm."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlp_receiver.mapping.canonical import WHOLE, are_canonical, is_canonical
from otlp_receiver.mapping.conversations import canonical_tools, conversation, read_conversation
from otlp_receiver.mapping.messages import canonical_messages
from otlp_receiver.mapping.tool_definitions import beside_tools
from tests.support.strategies import message_values

Side = Literal["input", "output"]

_WORDS = st.sampled_from(["alpha", "βeta ☀️", "call_1", "data:,x", "https://x.example/a", "get_weather", ""])
_KINDS = st.sampled_from(
    [
        "text",
        "reasoning",
        "thinking",
        "tool_call",
        "tool_use",
        "tool-call",
        "tool_result",
        "tool-result",
        "function_call",
        "function_call_output",
        "message",
        "image_url",
        "image",
        "file",
        "constructor",
        "human",
        "ai",
        "chat_messages",
        "json",
        "user-prompt",
        "tool-return",
        "unknown kind",
    ]
)
_ROLES = st.sampled_from(
    ["system", "user", "assistant", "tool", "model", "human", "thinking", "unknown", "get_weather"]
)
_KEYS = st.sampled_from(
    [
        "content",
        "parts",
        "contents",
        "blocks",
        "text",
        "message",
        "messages",
        "choices",
        "candidates",
        "generations",
        "input",
        "output",
        "prompt",
        "system",
        "instructions",
        "tools",
        "tool_calls",
        "toolCalls",
        "function",
        "tool_call",
        "arguments",
        "args",
        "name",
        "toolName",
        "id",
        "call_id",
        "item_id",
        "tool_call_id",
        "response",
        "result",
        "reasoning",
        "thought",
        "summary",
        "kwargs",
        "lc",
        "data",
        "value",
        "finish_reason",
        "stop_reason",
        "additional_kwargs",
        "response_metadata",
        "message_content",
        "toolUse",
        "toolResult",
        "functionCall",
        "source",
        "url",
        "image",
        "image_url",
        "index",
        "usage",
        "model",
        "config",
        "origin",
        "extra",
        "sent_id",
        "function_declarations",
        "toolConfig",
        "function_tools",
        "sent_content",
        "_content",
        "refusal",
        "function_call",
    ]
)
_OBJECT_KEYS = {
    "type": _KINDS,
    "role": _ROLES,
    "kind": st.sampled_from(["request", "response", "text"]),
    "event.name": _KINDS,
}


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = st.fixed_dictionaries({}, optional=_OBJECT_KEYS)
    rest = st.dictionaries(_KEYS, values, max_size=4)
    return st.builds(lambda left, right: left | right, named, rest)


_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 300), _WORDS),
    lambda values: st.one_of(st.lists(values, max_size=3), _objects(values)),
    max_leaves=20,
)
_few = st.dictionaries(_KEYS, st.one_of(_WORDS, st.dictionaries(_KEYS, _WORDS, max_size=3)), max_size=3)
_parts = st.one_of(_WORDS, _few, st.builds(lambda kind, rest: rest | {"type": kind}, _KINDS, _few))
_bodies = st.one_of(_WORDS, st.lists(_parts, max_size=3))
_messages = st.builds(
    lambda role, key, body, rest: rest | {"role": role, key: body},
    _ROLES,
    st.sampled_from(["content", "parts", "contents", "blocks"]),
    _bodies,
    _few,
)
_wrapped = st.one_of(
    _messages,
    st.builds(lambda message, rest: rest | {"message": message}, _messages, _few),
    st.builds(lambda kind, body, rest: {"type": kind, "data": rest | {"content": body}}, _KINDS, _bodies, _few),
    st.builds(
        lambda body, rest: {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": rest | {"content": body}},
        _bodies,
        _few,
    ),
    st.builds(lambda kind, rest: rest | {"type": kind}, _KINDS, _few),
    st.builds(
        lambda kind, parts: {"kind": kind, "parts": parts}, st.sampled_from(["request", "response"]), st.lists(_parts)
    ),
)
_lists = st.lists(_wrapped, min_size=1, max_size=3)
_likely = st.one_of(
    _lists,
    _wrapped,
    st.builds(
        lambda key, items, rest: rest | {key: items},
        st.sampled_from(
            ["messages", "contents", "choices", "candidates", "input", "output", "inputs", "prompt", "value"]
        ),
        _lists,
        _few,
    ),
)
_NAMED_ONLY = {"type", "role", "_role", "kind", "part_kind", "block_type", "event.name"}


def _leaf_texts(value: Any) -> set[str]:
    """All texts in a value but the names of kinds and roles, which become those of the one shape."""
    if isinstance(value, dict):
        return {
            text
            for key, item in value.items()
            if key not in _NAMED_ONLY or not isinstance(item, str)
            for text in _leaf_texts(item)
        }
    if isinstance(value, list):
        return {text for item in value for text in _leaf_texts(item)}
    return {value} if isinstance(value, str) else set()


def _numbered(value: Any, numbers: Iterator[int]) -> Any:
    """The value with a number on each text, so that none can be mistaken for another."""
    if isinstance(value, dict):
        return {
            key: item if key in _NAMED_ONLY and isinstance(item, str) else _numbered(item, numbers)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_numbered(item, numbers) for item in value]
    return f"{value} {next(numbers)}" if isinstance(value, str) else value


@settings(deadline=None, max_examples=400)
@given(st.one_of(_values, _likely), st.sampled_from(["input", "output"]), st.booleans())
def test_nothing_is_lost_and_nothing_raises(value: Any, side: Side, numbered: bool) -> None:  # noqa: FBT001 - drawn
    """Of any JSON value, every text is in the messages, the tools or the rest; or the value is left alone."""
    value = _numbered(value, itertools.count()) if numbered else value
    found = read_conversation(value, side)
    if found is None:
        return
    # LangChain names the class of a message, which becomes its role.
    held = json.dumps([found.messages, found.tools, found.rest], ensure_ascii=False)
    missing = {
        text for text in _leaf_texts(value) - {"AIMessage"} if json.dumps(text, ensure_ascii=False)[1:-1] not in held
    }
    assert not missing
    assert all(isinstance(message["role"], str) and isinstance(message["parts"], list) for message in found.messages)


@settings(deadline=None, max_examples=300)
@given(_values)
def test_tools_of_anything(value: Any) -> None:
    """Any JSON value has tools in one shape or none, and no text of theirs is lost."""
    tools = canonical_tools(value)
    held = json.dumps([tools, beside_tools(value)], ensure_ascii=False)
    assert tools is None or all(json.dumps(text, ensure_ascii=False)[1:-1] in held for text in _leaf_texts(value))


@settings(deadline=None)
@given(message_values)
def test_the_one_shape_is_its_own(messages: list[Any]) -> None:
    """Reading messages a second time changes nothing."""
    once = conversation(messages, "input")
    assert once is not None
    assert conversation(json.loads(json.dumps(once)), "input") == once


@settings(deadline=None)
@given(message_values)
def test_the_quick_look(messages: list[Any]) -> None:
    """A text that is taken for the one shape without parsing is what parsing would make of it."""
    for separators in ((",", ":"), (", ", ": ")):
        if is_canonical(json.dumps(messages, separators=separators)):
            assert conversation(messages, "input") == messages == canonical_messages(messages, "user")


_SPELLINGS = st.text(alphabet='ab"\\\né{}]', max_size=6)
_ONE_SHAPE = st.builds(
    lambda role, parts, more: {"role": role, "parts": parts, **more},
    st.sampled_from(["user", "assistant", "system", "tool"]),
    st.lists(
        st.fixed_dictionaries({"type": st.sampled_from(["text", "reasoning", "x"]), "content": _SPELLINGS}), max_size=2
    ),
    st.fixed_dictionaries({}, optional={"finish_reason": _SPELLINGS}),
)


@settings(deadline=None, max_examples=500)
@given(
    st.lists(_ONE_SHAPE, min_size=1, max_size=2),
    st.sampled_from(["", " "]),
    st.integers(0, 300),
    st.sampled_from('"\\ '),
)
def test_the_quick_look_sees_what_the_whole_match_sees(messages: list[Any], space: str, place: int, typo: str) -> None:
    """Counting quotes and looking at the ends says what matching the whole text says, damaged texts included."""
    text = json.dumps(messages, separators=(f",{space}", f":{space}"), ensure_ascii=False)
    texts = pa.array([text, text[:place] + typo + text[place + 1 :], ""], pa.string())
    assert are_canonical(texts).tolist() == pc.match_substring_regex(texts, WHOLE).to_pylist()


_MANY = 50_000


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([{"type": "function_call", "name": "f", "arguments": "{}"}] * _MANY, id="calls"),
        pytest.param([{"type": "reasoning", "summary": []}] * _MANY, id="thoughts"),
        pytest.param(
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f"}] * _MANY,
                "tool_calls": [{"id": "a", "name": "f"}] * _MANY,
            },
            id="calls twice",
        ),
        pytest.param(
            [
                {
                    "message": {
                        "role": "user",
                        "contents": [{"message_content": {"text": str(place)}} for place in range(_MANY)],
                        "content": [str(place) for place in range(_MANY)],
                    }
                }
            ],
            id="contents twice",
        ),
        pytest.param([{"role": "user", "content": [{"type": "tool_result", "content": "a"}] * _MANY}], id="results"),
        pytest.param({"choices": [{"message": {"content": "a"}}] * _MANY}, id="choices"),
        pytest.param("[{'role': 'user', 'content': '" + "\\'" * _MANY + "'}]", id="escapes"),
    ],
)
def test_large_values_take_their_length(value: Any) -> None:
    """Fifty thousand of anything are read: a reader that compares each with each would not come to its end."""
    found = conversation(value, "output")
    assert found is not None


def test_an_unclosed_text_is_given_up_once() -> None:
    """Quotes without end are not searched once more from each of them."""
    assert conversation("[{'role': 'user', 'content': '" + "\\'" * 500_000, "input") is None


def test_deep_values() -> None:
    """Nesting as deep as the JSON parser lets through does no harm."""
    deep: Any = "core"
    for _ in range(900):
        deep = [deep]
    for value in (
        deep,
        {"messages": deep},
        [{"role": "user", "content": deep}],
        {"role": "user", "parts": [{"type": "text", "content": deep}]},
    ):
        conversation(value, "input")
    call = {"id": "a", "name": "f", "arguments": deep}
    assert conversation(
        {"role": "assistant", "content": [call | {"type": "tool_call"}], "tool_calls": [call]}, "output"
    )
