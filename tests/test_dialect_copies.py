"""What several dialects say of one span is shown once: metadata has what no column says, in whatever spelling."""

import json
from typing import Any

import pytest

from tests.support.arrow_rows import Row
from tests.support.golden import mapped, sources
from tests.support.mapping import observation
from tests.support.otlp import span


def _rows(recording: str) -> list[Row]:
    return mapped(sources()["js/openinference-vercel-3-ai7"][recording])


def _calls(recording: str) -> list[Row]:
    return [row for row in _rows(recording) if row["type"] == "GENERATION"]


def test_copies_in_other_dialects_are_not_repeated() -> None:
    """OpenInference's processor writes the AI SDK's messages, tools and context anew; metadata has what is new."""
    for recording in ("generate-text.proto", "tool-loop.proto", "anthropic-thinking.proto"):
        for row in _calls(recording):
            copies = ("llm.input_messages.", "llm.output_messages.", "llm.tools.", "input.value", "output.value")
            assert not [key for key in row["metadata"] if key.startswith(copies)], recording
            assert not row["metadata"].keys() & {"llm.finish_reason", "gen_ai.system_instructions", "metadata.plan"}
    assert _rows("generate-text.proto")[0]["metadata"]["plan"] == "pro"


@pytest.mark.parametrize(
    ("copy", "is_kept"),
    [
        ({"message.role": "user", "message.content": "Hi"}, False),
        ({"message.role": "user", "message.content": "Hi there"}, True),
        ({"message.role": "assistant", "message.content": "Hi"}, True),
        ({"message.role": "user", "message.content": "Hi", "message.name": "ann"}, True),
        ({"message.role": "user"}, True),
    ],
)
def test_a_copy_that_says_more_is_kept(copy: dict[str, str], is_kept: bool) -> None:  # noqa: FBT001 - a table
    """Another text, role or name, or nothing that could be compared: it stays in metadata as sent."""
    messages = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    sent = {f"llm.input_messages.0.{key}": text for key, text in copy.items()}
    row = observation(span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(messages), **sent}))
    assert json.loads(row["input"]) == messages
    assert row["metadata"] == (sent if is_kept else {})


def test_a_shorter_copy_of_a_conversation_in_another_order_is_kept() -> None:
    """The order of messages says something too."""
    texts = ("one", "two")
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in texts]
    sent = {
        f"llm.input_messages.{place}.message.{key}": text
        for place, content in enumerate(reversed(texts))
        for key, text in (("role", "user"), ("content", content))
    }
    row = observation(span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(messages), **sent}))
    assert row["metadata"] == sent


def test_finish_reasons_and_tools_in_another_spelling_are_not_repeated() -> None:
    """`stop` and `["stop"]` are one reason, and a tool is the same in whichever API's shape; another one is kept."""
    tool = {"name": "f", "parameters": {"type": "object"}}
    sent = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.finish_reasons": ["stop"],
        "ai.response.finishReason": "stop",
        "gen_ai.tool.definitions": json.dumps([{"type": "function"} | tool]),
        "llm.tools.0.tool.json_schema": json.dumps({"type": "function", "function": tool}),
    }
    assert observation(span(sent))["metadata"] == {}
    other = {"ai.response.finishReason": "length", "llm.tools.0.tool.json_schema": json.dumps({"name": "g"})}
    assert observation(span(sent | other))["metadata"] == other


def test_a_copy_of_what_stays_as_sent_is_kept() -> None:
    """A framework's dump on a chain is shown as it came: messages beside it have roles that it spells otherwise."""
    dump = {"messages": [{"type": "human", "data": {"content": "Hi", "type": "human"}}]}
    copy = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "Hi"}
    row = observation(
        span({"langfuse.observation.type": "chain", "langfuse.observation.input": json.dumps(dump), **copy})
    )
    assert (json.loads(row["input"]), row["metadata"]) == (dump, {"langfuse.observation.type": "chain", **copy})


def test_an_entry_that_two_dialects_name_alike_is_not_repeated() -> None:
    """The same name and value once; another value under its whole key."""
    sent = {"ai.settings.context.plan": "pro", "metadata.plan": "pro"}
    assert observation(span(sent))["metadata"] == {"plan": "pro"}
    other = observation(span(sent | {"ai.settings.context.plan": "free"}))["metadata"]
    assert sorted(other.values()) == ["free", "pro"]


def test_the_answer_of_a_run_in_another_order_is_not_repeated() -> None:
    """OpenInference's processor folds an agent's text, calls and last result into one message, the result first."""
    for recording in ("tool-loop.proto", "agent.proto", "anthropic-tool-stream.proto", "app-trace.proto"):
        for row in _rows(recording):
            assert not [key for key in row["metadata"] if key.startswith("llm.output_messages.")], recording


def test_a_folded_answer_with_another_result_is_kept() -> None:
    """What the tool returned differs from what is shown: both are there."""
    parts = [{"type": "text", "content": "Hi"}, {"type": "tool_call_response", "id": "c1", "response": {"a": 1}}]
    folded = {"role": "assistant", "contents.0.message_content.text": "Hi", "tool_call_id": "c1"}
    sent = {f"llm.output_messages.0.message.{key}": text for key, text in folded.items()}
    sent["llm.output_messages.0.message.contents.0.message_content.type"] = "text"
    shown = {"gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts}])}
    for result, is_kept in (('{"a":1}', False), ('{"a":2}', True)):
        copy = sent | {"llm.output_messages.0.message.content": result}
        assert observation(span(shown | copy))["metadata"] == (copy if is_kept else {})


def test_embeddings_are_not_repeated() -> None:
    """The AI SDK's vectors, of one text or of several, are those in OpenInference's list."""
    for recording in ("embed.proto", "embed-many.proto"):
        for row in _rows(recording):
            assert json.loads(row["output"])[0]["embedding"]["vector"], recording
            assert not row["metadata"].keys() & {"ai.embedding", "ai.embeddings"}, recording


@pytest.mark.parametrize(
    ("copy", "is_kept"),
    [
        ({"ai.embedding": "[0.5,1]"}, False),
        ({"ai.embeddings": ["[0.5,1]"]}, False),
        ({"ai.embedding": "[0.5,2]"}, True),
        ({"ai.embeddings": ["[0.5,1]", "[0.5,1]"]}, True),
        ({"ai.embedding": "[]"}, True),
        ({"ai.embedding": "cut off"}, True),
    ],
)
def test_other_vectors_are_kept(copy: dict[str, Any], is_kept: bool) -> None:  # noqa: FBT001 - a table
    """Another number, more vectors, none at all, or no vectors: it stays in metadata as sent."""
    own = {"openinference.span.kind": "EMBEDDING", "embedding.embeddings.0.embedding.vector": [0.5, 1.0]}
    row = observation(span(own | copy))
    assert json.loads(row["output"]) == [{"embedding": {"vector": [0.5, 1.0]}}]
    assert bool(row["metadata"].keys() & copy.keys()) is is_kept
