"""Surprises of frameworks that send OpenTelemetry GenAI, each on the recording that showed it."""

import json
from typing import Final

import pytest

from tests.support.dialects import first, messages, of, rows
from tests.support.mapping import map_export
from tests.support.otlp import export, span

_MODEL_CALLS: Final = ("GENERATION", "EMBEDDING")
_MILLISECOND_NS: Final = 10**6


# --- Strands, Microsoft, Google --------------------------------------------------------------------------------------


def test_a_tools_events_are_its_call_and_result() -> None:
    """Strands sends them as messages of a conversation that a tool does not have."""
    row = first("strands-agents", "agent-tool", type="TOOL")

    assert (row["name"], row["input"], row["output"]) == (
        "get_weather",
        '{"location":"Paris"}',
        '{"temperature": 18.5}',
    )


def test_two_spellings_of_one_count_are_one() -> None:
    """Strands sends each count under two names."""
    row = first("strands-agents", "agent-simple", type="GENERATION")

    assert row["usage_details"] == {"input": 24, "input_cached_tokens": 24, "output": 11, "total": 59}


def test_bedrocks_input_leaves_the_cached_tokens_out() -> None:
    """Strands passes it on, with a total that proves nothing; OpenAI's through the same SDK has them inside."""
    row = first("strands-agents", "agent-bedrock", type="GENERATION")

    assert row["usage_details"] == {
        "input": 48,
        "input_cached_tokens": 16,
        "input_cache_creation": 8,
        "output": 36,
        "total": 108,
    }


def test_a_framework_is_no_provider() -> None:
    """Strands names itself where the provider belongs."""
    row = first("strands-agents", "agent-simple", type="GENERATION")

    assert (row["provider"], row["metadata"]["gen_ai.system"]) == ("", "strands-agents")


def test_time_to_first_token_in_the_dialects_own_unit() -> None:
    """One key means milliseconds in Strands and seconds in OpenLIT."""
    waits = [
        (row["completion_start_time"] - row["start_time"]) / _MILLISECOND_NS
        for row in (
            first("strands-agents", "agent-simple", type="GENERATION"),
            first("openlit", "openai-chat-streaming", type="GENERATION"),
            first("otel-genai-openai", "chat-streaming"),
        )
    ]

    assert waits[0] == 974
    assert all(1 < wait < 200 for wait in waits[1:])


def test_a_previous_answer_is_no_session() -> None:
    """Microsoft's framework gives the last response's id for a conversation."""
    found = rows("ms-agent-framework", "multi-turn-session")

    assert {row["session_id"] for row in found} == {""}
    assert any(row["metadata"].get("gen_ai.conversation.id", "").startswith("resp_") for row in found)


def test_an_agents_sum_is_not_a_call() -> None:
    """Agents of Microsoft, Strands and OpenLIT carry the sum of their calls, and are not counted as calls."""
    for source, scenario in (
        ("ms-agent-framework", "agent-tool"),
        ("strands-agents", "agent-tool"),
        ("openlit", "langchain-agent-react"),
    ):
        found = [row for row in rows(source, scenario) if row["input_tokens"]]
        assert {row["type"] for row in found} > {"GENERATION"}
        assert len([row for row in found if row["type"] in _MODEL_CALLS]) == 2


def test_messages_without_parts_are_messages() -> None:
    """Semantic Kernel's agents send `role` and `content` under the key whose messages have parts."""
    row = first("semantic-kernel", "agent", type="AGENT")

    assert messages(row["input"]) == [("user", [{"type": "text", "content": "What is the weather in Paris?"}])]
    assert row["name"] == "WeatherAgent"


def test_a_message_event_whose_body_is_json() -> None:
    """Azure's events have the message as JSON in one attribute; tool calls and finish reason are in it."""
    asks, tells = rows("azure-ai-inference", "tool-calling", type="GENERATION")

    assert asks["tool_calls"] == [
        {"id": "call_22ce3dc0079b4c0abc6f9186", "name": "get_weather", "arguments": '{"location":"Paris"}'}
    ]
    assert [role for role, _ in messages(tells["input"])] == ["user", "assistant", "tool"]
    assert asks["provider"] == "azure.ai.inference"


def test_the_first_google_adk() -> None:
    """Version 1 sends Gemini's own request and answer as JSON, and `{}` for both on its tools."""
    request = {"model": "gemini-2.5-flash", "contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    answer = {
        "content": {"role": "model", "parts": [{"text": "Hello"}]},
        "usage_metadata": {
            "prompt_token_count": 20,
            "cached_content_token_count": 8,
            "candidates_token_count": 5,
            "thoughts_token_count": 7,
            "total_token_count": 32,
        },
    }
    call = of(
        "gcp.vertex.agent",
        {
            "gcp.vertex.agent.llm_request": json.dumps(request),
            "gcp.vertex.agent.llm_response": json.dumps(answer),
            "gcp.vertex.agent.session_id": "s-1",
        },
        "call_llm",
    )
    tool = of(
        "gcp.vertex.agent",
        {
            "gcp.vertex.agent.llm_request": "{}",
            "gcp.vertex.agent.llm_response": "{}",
            "gcp.vertex.agent.tool_call_args": '{"city":"Paris"}',
        },
        "execute_tool weather",
    )

    assert (call["type"], call["model"], call["session_id"]) == ("GENERATION", "gemini-2.5-flash", "s-1")
    assert messages(call["output"]) == [("assistant", [{"type": "text", "content": "Hello"}])]
    assert call["usage_details"] == {
        "input": 12,
        "input_cached_tokens": 8,
        "output": 5,
        "output_reasoning_tokens": 7,
        "total": 32,
    }
    assert (tool["type"], tool["input"], tool["output"]) == ("TOOL", '{"city":"Paris"}', "")


# --- OpenLLMetry, OpenLIT, MCP, LiveKit ------------------------------------------------------------------------------


def test_a_langchain_tools_arguments_are_its_own() -> None:
    """OpenLLMetry wraps them in all that LangChain's callback got."""
    row = first("openllmetry-langchain", "agent-react", type="TOOL")

    assert (row["input"], json.loads(row["output"])["temperature"]) == ('{"location":"Paris","unit":"celsius"}', 18.5)


def test_a_search_is_a_retrieval_whatever_its_operation_is_called() -> None:
    """`vector_db_retrieve` (OpenLLMetry's LangChain), a task named after a retriever (its LlamaIndex)."""
    langchain = first("openllmetry-langchain", "rag-chain", type="RETRIEVER")

    assert langchain["input"] == "How tall is the Eiffel Tower?"
    assert len(json.loads(langchain["output"])) == 2
    assert len(rows("openllmetry-llamaindex", "rag-query-engine", type="RETRIEVER")) == 2


def test_association_properties_are_identity_and_metadata() -> None:
    """Traceloop's workflow hands user, session and its own properties to every span below it."""
    found = rows("traceloop-sdk", "workflow-nested")

    assert {(row["user_id"], row["session_id"], row["metadata"]["plan"]) for row in found} == {
        ("user-42", "session-123", "pro")
    }
    assert [row["type"] for row in found] == ["CHAIN", "SPAN", "AGENT", "TOOL", "GENERATION"]


def test_a_thread_is_a_session_only_where_the_application_names_none() -> None:
    """LangGraph's root knows but its thread; the session that is set on the spans below it is the trace's."""
    graph, named = "opentelemetry.instrumentation.langchain", "traceloop.association.properties.session_id"
    root = span({"gen_ai.conversation.id": "thread-7"})
    child = span({named: "session-1"}, parent_id=root.span_id, span_id="aa" * 8)

    assert map_export(export(root, child, scope=graph)).traces[0]["session_id"]["value"] == "session-1"
    assert map_export(export(root, scope=graph)).traces[0]["session_id"]["value"] == "thread-7"


def test_the_numbered_messages_of_a_manual_call() -> None:
    """Traceloop's `track_llm_call` still sends `gen_ai.prompt.N` and the cached tokens' old name."""
    row = first("traceloop-sdk", "prompt-managed", type="GENERATION")

    assert messages(row["input"]) == [("user", [{"type": "text", "content": "Tell me a joke"}])]
    assert row["usage_details"] == {"input": 8, "input_cached_tokens": 2, "output": 5, "total": 15}


def test_a_plain_text_for_messages_is_kept() -> None:
    """OpenLIT's decorator puts a function's result under the key of an answer's messages."""
    row = first("openlit", "traced-function", span_name="qa")

    assert (row["type"], row["output"]) == ("SPAN", "The capital of France is Paris.")


def test_tool_arguments_in_pythons_spelling_are_an_object() -> None:
    """OpenLIT prints LangChain's arguments as Python does."""
    assert first("openlit", "langchain-agent-react", type="TOOL")["input"] == '{"location":"Paris","unit":"celsius"}'


def test_a_failed_call_without_attributes_is_a_call() -> None:
    """OpenLIT's Anthropic span that failed says nothing but its name."""
    row = first("openlit", "error-anthropic-429", convention="openlit")

    assert (row["type"], row["level"]) == ("GENERATION", "ERROR")


def test_an_error_without_a_message_is_told_by_its_type() -> None:
    """The Anthropic SDK's own span fails with an empty status message."""
    row = first("otel-genai-anthropic", "error-429", convention="anthropic_sdk")

    assert (row["level"], row["status_message"]) == ("ERROR", "rate_limit_error")


def test_an_mcp_call_is_a_tool_and_a_connection_no_session() -> None:
    """Client, transport and server each have a span of the call; the connection's id stays in metadata."""
    found = rows("fastmcp-native", "call-tool", type="TOOL")

    assert [row["name"] for row in found] == ["get_weather", "MCP send tools/call get_weather", "get_weather"]
    assert {row["session_id"] for row in found} == {""}
    assert first("openllmetry-mcp", "call-tool", type="TOOL")["input"] == '{"location":"Paris"}'


@pytest.mark.parametrize("marked", ["", "pii."], ids=["before", "since content is marked"])
def test_livekits_turns_and_tools(marked: str) -> None:
    """Types by the names of its spans, content by its own keys."""
    turn = of("livekit-agents", {f"lk.{marked}user_input": "Hi", f"lk.{marked}response.text": "Hello"}, "agent_turn")
    tool = of(
        "livekit-agents",
        {
            "lk.function_tool.name": "weather",
            f"lk.{marked}function_tool.arguments": '{"city":"Paris"}',
            f"lk.{marked}function_tool.output": "18.5",
        },
        "function_tool",
    )

    assert (turn["type"], turn["input"]) == ("AGENT", "Hi")
    assert messages(turn["output"]) == [("assistant", [{"type": "text", "content": "Hello"}])]
    assert (tool["type"], tool["name"], tool["input"], tool["output"]) == (
        "TOOL",
        "weather",
        '{"city":"Paris"}',
        "18.5",
    )
