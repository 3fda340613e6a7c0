"""Inputs and outputs of model calls in every shape that was recorded: one shape comes out of all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from otlp_receiver.mapping.canonical import is_canonical
from otlp_receiver.mapping.conversations import (
    Conversation,
    conversation,
    read_conversation,
    request_tools,
    with_opened_texts,
)
from otlp_receiver.mapping.json_text import parse_json, parse_literal
from tests.support.corpus import Recording, recordings
from tests.support.otlp import Export

Side = Literal["input", "output"]

# Values as instrumentations sent them, shortened, and the messages that each holds.
_ROWS: Final = json.loads((Path(__file__).parent / "data" / "message_shapes.json").read_text("utf-8"))

_QUESTION = "What is the weather in Paris?"
_SYSTEM = {"role": "system", "parts": [{"type": "text", "content": "Use tools."}]}
_USER = {"role": "user", "parts": [{"type": "text", "content": _QUESTION}]}
_PART = {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": {"location": "Paris"}}
_CALL = {"role": "assistant", "parts": [_PART]}
_RESULT = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "18.5 °C"}]}
_ANSWER = {"role": "assistant", "parts": [{"type": "text", "content": "It is 18.5 °C ☀️"}]}
_WHOLE = [_SYSTEM, _USER, _CALL, _RESULT]
_OPENAI_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"location": "Paris"}'},
}
_SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}}
_TOOL = {"type": "function", "name": "get_weather", "description": "Now.", "parameters": _SCHEMA}


@pytest.mark.parametrize(
    ("side", "value", "messages"),
    [pytest.param(row["side"], row["value"], row["messages"], id=row["shape"]) for row in _ROWS],
)
def test_every_shape_becomes_the_one_shape(side: Side, value: Any, messages: list[dict[str, Any]]) -> None:
    """A shape that an instrumentation really sends gives the same messages as every other."""
    assert conversation(value, side) == messages


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("What is the weather?", id="plain text"),
        pytest.param('[{"role": "user", "content": "hi"}]', id="JSON in a text"),
        pytest.param("{'city': 'Paris'}", id="Python's spelling of something else"),
        pytest.param([], id="empty"),
        pytest.param({"messages": []}, id="no messages"),
        pytest.param(["a", "b"], id="texts"),
        pytest.param({"role": "terse assistant", "question": "Capital?"}, id="a prompt's variables"),
        pytest.param({"input": ["a"], "model": "text-embedding-3-small", "dimensions": 8}, id="embedding"),
        pytest.param({"input": "a", "model": "text-embedding-3-small", "encoding_format": "float"}, id="one embedding"),
        pytest.param([{"type": "Document", "page_content": "a", "metadata": {}}], id="documents"),
        pytest.param([{"id": "1", "text": "a", "score": 0.5}], id="search hits"),
        pytest.param({"args": [], "kwargs": {}}, id="a function's arguments"),
        pytest.param([{"role": "user", "content": "hi"}, {"of": "another kind"}], id="one item not understood"),
        pytest.param({"messages": ["ChatMessage(role=<MessageRole.USER: 'user'>)"]}, id="objects printed"),
        pytest.param([[[[[[[{"role": "user", "content": "hi"}]]]]]]], id="too many lists"),
        pytest.param({"location": "Paris", "unit": "celsius"}, id="a tool's arguments"),
    ],
)
@pytest.mark.parametrize("side", ["input", "output"])
def test_what_holds_no_messages_is_left_alone(value: Any, side: Side) -> None:
    """A value that is no conversation, or holds one thing that is not understood, gives none."""
    assert conversation(value, side) is None


def test_a_text_that_is_json_stays_a_text() -> None:
    """What a user wrote is never opened, also when it looks like messages; only a dialect that sends so is."""
    text = json.dumps([{"role": "user", "content": "hi"}])
    sent = conversation([{"role": "user", "content": text}], "input")
    assert sent == [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    assert with_opened_texts(sent, "input") == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    blocks = [{"role": "system", "parts": [{"type": "text", "content": '[{"type":"text","text":"Use tools."}]'}]}]
    assert with_opened_texts(blocks, "input") == [_SYSTEM]
    assert with_opened_texts(_WHOLE, "input") == _WHOLE


def test_events_in_one_list() -> None:
    """Logfire: prompt and answer in one list of events, each half takes its own."""
    events = [
        {"event.name": "gen_ai.system.message", "role": "system", "content": "Use tools.", "gen_ai.message.index": 0},
        {"event.name": "gen_ai.user.message", "content": _QUESTION},
        {"event.name": "gen_ai.assistant.message", "tool_calls": [_OPENAI_CALL]},
        {"event.name": "gen_ai.tool.message", "id": "call_1", "content": "18.5 °C"},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "It is 18.5 °C ☀️"}},
    ]
    assert conversation(events, "input") == _WHOLE
    assert conversation(events, "output") == [_ANSWER]


def test_what_stands_beside_the_messages() -> None:
    """Tools come in one shape, everything else as sent: nothing of a request or answer is lost."""
    tool = {"name": "get_weather", "description": "Now.", "input_schema": _SCHEMA}
    request = {
        "model": "claude",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": _QUESTION}],
        "tools": [tool],
    }
    assert read_conversation(request, "input") == Conversation([_USER], [_TOOL], {"model": "claude", "max_tokens": 9})
    assert request_tools(request) == [_TOOL]
    answer = {
        "role": "assistant",
        "type": "message",
        "content": "It is 18.5 °C ☀️",
        "id": "msg_1",
        "usage": {"input_tokens": 3},
    }
    rest = {"id": "msg_1", "usage": {"input_tokens": 3}}
    assert read_conversation(answer, "output") == Conversation([_ANSWER], [], rest)
    assert request_tools([{"role": "user", "content": "hi"}]) is None


def test_tools_within_a_configuration() -> None:
    """Gemini's tools are taken out of its configuration, the rest of which stays."""
    request = {
        "contents": [{"role": "user", "parts": [{"text": _QUESTION}]}],
        "config": {
            "temperature": 0,
            "tools": [
                {"function_declarations": [{"name": "get_weather", "description": "Now.", "parameters": _SCHEMA}]}
            ],
        },
    }
    assert read_conversation(request, "input") == Conversation([_USER], [_TOOL], {"config": {"temperature": 0}})


def test_tools_beside_their_choice() -> None:
    """Bedrock: the tools are taken out of their configuration, the choice among them stays."""
    spec = {"name": "get_weather", "description": "Now.", "inputSchema": {"json": _SCHEMA}}
    request = {
        "messages": [{"role": "user", "content": [{"text": _QUESTION}]}],
        "toolConfig": {"tools": [{"toolSpec": spec}], "toolChoice": {"auto": {}}},
    }
    rest: dict[str, Any] = {"toolConfig": {"toolChoice": {"auto": {}}}}
    assert read_conversation(request, "input") == Conversation([_USER], [_TOOL], rest)


def test_tools_sent_as_messages() -> None:
    """Langfuse's Python LangChain handler sends definitions as messages of the role tool: they are tools."""
    function = {"name": "get_weather", "description": "Now.", "parameters": _SCHEMA}
    sent = [
        {"role": "user", "content": _QUESTION},
        {"role": "tool", "content": {"type": "function", "function": function}},
    ]
    assert read_conversation(sent, "input") == Conversation([_USER], [_TOOL])


def test_system_instructions_are_not_doubled() -> None:
    """A system prompt that stands beside the messages and among them is one message."""
    request = {"instructions": "Use tools.", "model": "m", "input": [{"role": "developer", "content": "Use tools."}]}
    assert conversation(request, "input") == [_SYSTEM]


def test_the_quick_look_sees_most_chats() -> None:
    """Messages of texts alone pass, in both spellings that JSON writers use; all else gets the second look."""
    chat = [_SYSTEM, _USER, _ANSWER | {"finish_reason": "stop"}]
    assert is_canonical(json.dumps(chat))
    assert is_canonical(json.dumps(chat, separators=(",", ":"), ensure_ascii=False))
    for other in (
        _CALL,
        _RESULT,
        {"role": "model", "parts": []},
        _USER | {"name": None},
        _USER | {"parts": [{"text": "a"}]},
    ):
        assert not is_canonical(json.dumps([other]))
    assert not is_canonical(json.dumps(chat)[:-1])


# Attributes that hold a model call's messages and nothing else, whoever sends them.
_MESSAGE_KEYS: Final[dict[str, Side]] = {
    "gen_ai.input.messages": "input",
    "gen_ai.output.messages": "output",
    "pydantic_ai.all_messages": "output",
    "ai.prompt": "input",
    "ai.prompt.messages": "input",
    "ai.response.toolCalls": "output",
    "llm.openai.messages": "input",
    "llm.openai.choices": "output",
    "llm.anthropic.messages": "input",
    "llm.anthropic.content": "output",
    "llm.gemini.contents": "input",
    "llm.gemini.candidates": "output",
    "llm.None.output": "output",
    "mastra.model_generation.input": "input",
    "mastra.model_generation.output": "output",
}


def _recorded_values() -> Iterator[tuple[str, str, Any]]:
    """File, key and value of each such attribute; a value that is no list or object (a cut text) is left out."""
    for recording in recordings():
        spans = [span for resource in _export(recording) for scope in resource.scopes for span in scope.spans]
        for key, value in (
            attribute for span in spans for attribute in span.attributes if attribute[0] in _MESSAGE_KEYS
        ):
            parsed = (parse_json(value) or parse_literal(value)) if isinstance(value, str) else value
            if isinstance(parsed, dict | list) and parsed:
                yield recording.file, key, parsed


def _export(recording: Recording) -> Export:
    return recording.export() if recording.signal == "traces" else []


def test_every_recorded_value_is_opened() -> None:
    """Whatever a real instrumentation put where messages belong is understood as messages."""
    values = list(_recorded_values())
    assert {key for _, key, _ in values} == set(_MESSAGE_KEYS)
    assert not [(file, key) for file, key, value in values if conversation(value, _MESSAGE_KEYS[key]) is None]


def test_recorded_texts_are_read_as_sent() -> None:
    """The quick look and the reading agree on every recorded value."""
    passed = [value for _, _, value in _recorded_values() if is_canonical(json.dumps(value))]
    assert passed
    assert not [value for value in passed if conversation(value, "input") != value]


_INPUT_KEYS: Final = (
    "gen_ai.input.messages",
    "input.value",
    "langfuse.observation.input",
    "llm.openai.messages",
    "mlflow.spanInputs",
)


def _said(messages: list[dict[str, Any]]) -> str:
    """Who said what: roles, texts, calls and results, without the ids that differ from run to run."""
    told = [
        [
            message["role"],
            *(
                [part.get(key) for key in ("type", "content", "name", "arguments", "response")]
                for part in message["parts"]
            ),
        ]
        for message in messages
    ]
    return json.dumps(told, ensure_ascii=False, sort_keys=True)


def test_one_conversation_reads_the_same_from_every_source() -> None:
    """The recorded tool call over OpenAI's API: thirteen sources, five attributes, asked in two stages."""
    told: dict[str, set[str]] = {}
    for recording in (one for one in recordings() if one.file.split("/")[2] == "tool-calling"):
        spans = [span for resource in _export(recording) for scope in resource.scopes for span in scope.spans]
        for key, value in (attribute for span in spans for attribute in span.attributes if attribute[0] in _INPUT_KEYS):
            messages = conversation(parse_json(value) or value, "input") if isinstance(value, str) else None
            if messages is not None:
                without_system = [message for message in messages if message["role"] != "system"]
                told.setdefault(_said(without_system), set()).add(f"{recording.file.split('/')[1]} {key}")
    assert len(told) == 2, told
    assert all(len(sources) >= 13 for sources in told.values()), told
