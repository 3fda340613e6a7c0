"""Surprises of OpenInference's Python instrumentations, each on the recording that showed it."""

import json
import math
from typing import Any, Final

import pytest

from tests.support.arrow_rows import Row
from tests.support.dialects import first, messages, of, rows
from tests.support.golden import mapped, sources

_BY_OPENAI: Final = (
    "arize-phoenix-otel", "haystack-native", "langfuse-4", "langfuse-5", "litellm-langfuse-otel", "mlflow",
    "openinference-crewai", "openinference-langchain", "openinference-llama-index", "openinference-openai",
    "openinference-pydantic-ai",
)  # fmt: skip
_FEWEST_CACHED: Final = 25
_MILLISECOND_NS: Final = 10**6


# --- what the model server counted -----------------------------------------------------------------------------------


def _calls(source: str) -> list[Row]:
    found = [row for scenario in sources()[f"python/{source}"].values() for row in mapped(scenario)]
    return [row for row in found if row["type"] == "GENERATION" and row["model"].startswith("gpt-")]


def _true_output(row: Row) -> int:
    """The recordings' server counts a quarter of the answer's characters, and three."""
    return math.ceil(len(_answer(row)) / 4) + 3


def _answer(row: Row) -> str:
    """The answer's text, empty for an answer of anything else."""
    parts = [part for message in _found_messages(row["output"]) for part in message["parts"]]
    texts = [part["content"] for part in parts if part["type"] == "text"]
    return texts[0] if len(texts) == 1 and not any(part["type"] == "tool_call" for part in parts) else ""


def _found_messages(text: str) -> list[Any]:
    parsed = json.loads(text) if text.startswith("[") else []
    return [message for message in parsed if isinstance(message, dict) and "parts" in message]


@pytest.mark.parametrize("source", _BY_OPENAI)
def test_usage_is_the_servers_arithmetic(source: str) -> None:
    """In every dialect: half of a prompt of 25 tokens and more was cached, answers count by their length."""
    counted = [
        (row, row["usage_details"]) for row in _calls(source) if row["level"] != "ERROR" and row["usage_details"]
    ]
    sent_by_server = [(row, usage) for row, usage in counted if _answer(row) not in ("", "Paris", "Paris.")]

    assert [(usage["output"], row["name"]) for row, usage in sent_by_server] == [
        (_true_output(row), row["name"]) for row, _ in sent_by_server
    ]
    assert sent_by_server
    for _, usage in sent_by_server:
        prompt, cached = usage["input"] + usage.get("input_cached_tokens", 0), usage.get("input_cached_tokens", 0)
        assert cached == (prompt // 2 if prompt >= _FEWEST_CACHED else 0)


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_call_that_stands_in_two_places_is_one_call() -> None:
    """The Anthropic instrumentation lists a tool call among the contents and among the tool calls."""
    row = first("openinference-anthropic", "tool-use", type="GENERATION")

    assert [call["name"] for call in row["tool_calls"]] == ["get_weather"]
    ((_, parts),) = messages(row["output"])
    assert [part["type"] for part in parts] == ["text", "tool_call"]


def test_a_tools_results_beside_their_message_are_its_parts() -> None:
    """AutoGen's instrumentation puts them under a malformed family of keys."""
    row = rows("openinference-autogen", "assistant-tool", type="GENERATION")[2]

    role, parts = messages(row["input"])[-1]
    assert (role, parts[0]["type"], parts[0]["id"]) == ("tool", "tool_call_response", "call_3f23fa4a207648f09f2aa16e")


def test_a_message_of_a_role_alone_does_not_hide_the_input() -> None:
    """Around an agent of LangGraph the flattened message has no content; the value has."""
    row = first("openinference-langchain", "agent-react", type="AGENT")

    assert json.loads(row["input"]) == {"messages": [{"role": "user", "content": "What is the weather in Paris?"}]}


def test_a_chains_input_is_all_of_its_state() -> None:
    """LangChain's instrumentation lists only the first message of a graph's state."""
    router = rows("openinference-langchain", "langgraph-multi-agent", name="router")[1]

    assert [message["data"]["content"] for message in json.loads(router["input"])["messages"]][::2] == [
        "What is the weather in Paris?",
        "Tell me a joke",
    ]


def test_a_completions_prompt_is_its_message() -> None:
    """LlamaIndex sends the prompt of a completion as a list of its own."""
    row = first("openinference-llama-index", "structured", name="StructuredLLM.complete")

    assert messages(row["input"]) == [("user", [{"type": "text", "content": "Describe Paris"}])]


def test_instructions_among_the_parameters_are_the_system_message() -> None:
    """LiteLLM's Langfuse callback leaves the instructions of the Responses API out of the input."""
    row = first("litellm-langfuse-otel", "responses-api", type="GENERATION")

    assert [role for role, _ in messages(row["input"])] == ["system", "user"]
    assert "instructions" not in row["model_parameters"]


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["agent-tool", "multi-agent-workflow"])
def test_a_request_put_together_is_no_model_call(scenario: str) -> None:
    """LlamaIndex's preparation of a request is said to be a model call; the calls are the two streams after it."""
    calls = rows("openinference-llama-index", scenario, type="GENERATION")

    assert [row["name"] for row in calls] == ["OpenAI.astream_chat"] * 2
    assert len(rows("openinference-llama-index", scenario, name="OpenAI._prepare_chat_with_tools", type="SPAN")) == 2


def test_a_processors_empty_kind_speaks_no_dialect() -> None:
    """OpenInference's processor sets a span kind without a value on the application's own spans."""
    request = mapped(sources()["js/openinference-vercel-3-ai7"]["app-trace.proto"])[0]

    assert (request["name"], request["convention"], request["type"]) == ("POST /api/chat", "http_db", "SPAN")


# --- identity --------------------------------------------------------------------------------------------------------


def test_the_same_answer_is_joined_by_its_id() -> None:
    """The Anthropic SDK's own span of a stream is a root of another trace; the answer's id is in both."""
    outer, own = rows("openinference-anthropic", "messages-stream-helper")

    assert outer["trace_id"] != own["trace_id"]
    assert outer["response_id"] == own["response_id"] != ""


def test_langchains_answers_have_their_id_too() -> None:
    """LangChain over the Anthropic SDK: two traces of one call."""
    outer, own = rows("openinference-langchain", "anthropic-chat")

    assert outer["response_id"] == own["response_id"] != ""


def test_langchains_own_run_is_no_answers_id() -> None:
    """A stream keeps only the id that LangChain made up."""
    row = first("openinference-langchain", "streaming-chain", type="GENERATION")

    assert row["response_id"] == ""
    assert "lc_run-" in row["metadata"]["output.value"]


def test_user_in_a_runs_metadata_is_the_user() -> None:
    """Of a LangChain run's metadata the instrumentation lifts the session only."""
    row = first("openinference-langchain", "session-metadata", type="GENERATION")

    assert (row["user_id"], row["session_id"]) == ("user-42", "session-123")
    assert row["metadata"]["plan"] == "pro"


def test_the_user_of_a_request_is_the_user() -> None:
    """OpenAI's `user` is among the parameters."""
    assert first("openinference-openai", "chat-simple", type="GENERATION")["user_id"] == "user-42"


def test_an_agents_node_in_the_graph_is_its_name() -> None:
    """CrewAI and AutoGen name the span after a method."""
    agents = rows("openinference-crewai", "crew-sequential", type="AGENT")

    assert [row["name"] for row in agents] == ["Weather specialist", "Writer"]
    assert agents[0]["span_name"] == "Weather specialist.weather_task._execute_core"


def test_a_tools_result_and_call_are_taken_out_of_langchains_message() -> None:
    """The span's output is LangChain's dump of a message; what the tool said is its content."""
    row = first("openinference-langchain", "agent-react", type="TOOL")

    assert json.loads(row["output"]) == {"temperature": 18.5, "unit": "celsius", "condition": "sunny"}
    assert row["tool_call_id"] == "call_5300c5e809ff4311bcc92efe"
    assert json.loads(row["metadata"]["output.value"])["data"]["status"] == "success"


def test_providers_have_their_semantic_names() -> None:
    """Bedrock is called aws."""
    row = first("openinference-bedrock", "converse-simple", type="GENERATION")

    assert (row["provider"], row["metadata"]["llm.provider"]) == ("aws.bedrock", "aws")


# --- numbers and times -----------------------------------------------------------------------------------------------


def test_bedrocks_total_leaves_out_the_cached_tokens() -> None:
    """The prompt counts them, the total does not: the prompt is right."""
    row = first("openinference-bedrock", "converse-simple", type="GENERATION")

    assert row["usage_details"] == {
        "input": 48,
        "input_cached_tokens": 16,
        "input_cache_creation": 8,
        "output": 12,
        "total": 84,
    }
    assert row["metadata"]["llm.token_count.total"] == "60"


def test_the_first_token_is_an_events_time() -> None:
    """An event marks it; spans without streaming have none."""
    streamed = first("openinference-openai", "chat-streaming", type="GENERATION")
    plain = first("openinference-openai", "chat-simple", type="GENERATION")

    wait_ms = (streamed["completion_start_time"] - streamed["start_time"]) / _MILLISECOND_NS
    assert 0 < wait_ms < (streamed["end_time"] - streamed["start_time"]) / _MILLISECOND_NS
    assert plain["completion_start_time"] is None


def test_a_stream_without_usage_has_none() -> None:
    """Nobody counts tokens that the server did not."""
    row = first("openinference-openai", "chat-streaming-no-usage", type="GENERATION")

    assert (row["usage_details"], row["total_tokens"], row["total_cost"]) == ({}, None, None)


def test_retries_in_one_trace_are_each_an_error() -> None:
    """CrewAI tries three times."""
    failed = rows("openinference-crewai", "error-429", type="GENERATION", level="ERROR")

    assert len(failed) == 3
    assert {row["status_message"][:14] for row in failed} == {"RateLimitError"}


def test_an_agent_that_sums_its_calls_usage_stays_an_agent() -> None:
    """Smolagents repeats a call's usage on three levels: only the model call is a call."""
    agent = of(
        "openinference.instrumentation.smolagents",
        {"openinference.span.kind": "AGENT", "llm.model_name": "gpt-4o-mini", "llm.token_count.prompt": 7},
    )

    assert (agent["type"], agent["usage_details"]) == ("AGENT", {"input": 7, "total": 7})
