"""What is surprising in the recordings of JavaScript libraries, and what becomes of it."""

import json
from typing import Any

import pytest

from tests.support.arrow_rows import Row
from tests.support.golden import mapped, sources
from tests.support.mapping import map_bodies, map_export, observation
from tests.support.otlp import export, span


def _rows(source: str, recording: str) -> list[Row]:
    return mapped(sources()[f"js/{source}"][recording])


def _only(rows: list[Row], **wanted: Any) -> Row:
    (row,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return row


def _calls(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["type"] == "GENERATION"]


@pytest.mark.parametrize(
    ("source", "recording"),
    [
        ("vercel-ai-5", "anthropic-thinking.proto"),
        ("vercel-ai-6", "anthropic-thinking.proto"),
        ("vercel-ai-7", "anthropic-thinking.proto"),
        ("traceloop-0.27", "anthropic-messages-cache-thinking.proto"),
        ("openinference", "anthropic-messages-cache-thinking.proto"),
        ("anthropic-sdk-native-1.11", "messages-cache-thinking.proto"),
    ],
)
def test_one_anthropic_call_has_one_usage(source: str, recording: str) -> None:
    """22 in one dialect is 3260 in another, both in one trace: the buckets are equal in all of them."""
    truth = {"input": 22, "input_cached_tokens": 2051, "input_cache_creation": 1187, "output": 81, "total": 3341}
    calls = _calls(_rows(source, recording))
    assert calls
    assert all(row["usage_details"] == truth and row["input_tokens"] == 3260 for row in calls)


def test_a_small_cache_is_no_proof_but_the_provider_s_own_number_is() -> None:
    """AI SDK 5 and 6 send the same key with and without cached tokens; Anthropic's own input_tokens tells which."""
    own = {"input_tokens": 5000, "cache_read_input_tokens": 100}
    sent = {
        "ai.operationId": "ai.generateText.doGenerate",
        "gen_ai.system": "anthropic.messages",
        "gen_ai.usage.output_tokens": 7,
        "ai.response.providerMetadata": json.dumps({"anthropic": {"usage": own}}),
    }
    for given in (5000, 5100):
        exported = export(span(sent | {"gen_ai.usage.input_tokens": given}), scope="ai")
        (row,) = map_export(exported).observations
        assert row["usage_details"] == {"input": 5000, "input_cached_tokens": 100, "output": 7, "total": 5107}


def test_the_longer_lived_cache_is_a_bucket_of_its_own() -> None:
    """Of 1187 tokens written, 187 for an hour are priced otherwise; the rest is the usual kind."""
    own = {
        "cache_creation_input_tokens": 1187,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 187},
    }
    sent = {
        "gen_ai.usage.input_tokens": 22,
        "ai.response.providerMetadata": json.dumps({"anthropic": {"usage": {"input_tokens": 22} | own}}),
    }
    (row,) = map_export(export(span(sent), scope="ai")).observations
    assert row["usage_details"] == {
        "input": 22, "input_cache_creation": 1000, "input_cache_creation_1h": 187, "total": 1209
    }  # fmt: skip


def test_ai_sdk_4() -> None:
    """The oldest spellings: prompt and completion tokens, `args`, cached tokens only in the provider's metadata."""
    calls = [{"toolCallType": "function", "toolCallId": "c1", "toolName": "f", "args": '{"a":1}'}]
    cache = {"cacheCreationInputTokens": 1187, "cacheReadInputTokens": 2051}
    sent = {
        "ai.operationId": "ai.streamText.doStream",
        "ai.model.provider": "anthropic.messages",
        "ai.model.id": "claude-3-5-sonnet-latest",
        "ai.prompt.format": "messages",
        "ai.prompt.messages": '[{"role":"user","content":[{"type":"text","text":"hi"}]}]',
        "ai.result.text": "hello",
        "ai.result.toolCalls": json.dumps(calls),
        "ai.finishReason": "tool-calls",
        "ai.usage.promptTokens": 22,
        "ai.usage.completionTokens": 81,
        "ai.settings.maxTokens": 256,
        "ai.response.providerMetadata": json.dumps({"anthropic": cache}),
    }
    (row,) = map_export(export(span(sent), scope="ai")).observations
    assert (row["type"], row["provider"], row["model"]) == ("GENERATION", "anthropic", "claude-3-5-sonnet-latest")
    assert row["usage_details"] == {
        "input": 22, "input_cached_tokens": 2051, "input_cache_creation": 1187, "output": 81, "total": 3341
    }  # fmt: skip
    assert row["tool_calls"] == [{"id": "c1", "name": "f", "arguments": '{"a":1}'}]
    assert [part["type"] for part in json.loads(row["output"])[0]["parts"]] == ["text", "tool_call"]
    assert (row["finish_reasons"], row["model_parameters"]) == (["tool-calls"], {"max_tokens": "256"})


def test_wrappers_and_steps_are_no_calls() -> None:
    """The AI SDK's outer spans repeat their calls' usage: they are chains and agents, each call is one generation."""
    six, seven = _rows("vercel-ai-6", "tool-loop.proto"), _rows("vercel-ai-7-supplemental", "tool-loop.proto")
    assert [row["type"] for row in six] == ["CHAIN", "GENERATION", "TOOL", "TOOL", "GENERATION"]
    assert [row["type"] for row in seven] == ["AGENT", "CHAIN", "GENERATION", "TOOL", "TOOL", "CHAIN", "GENERATION"]
    assert all(row["usage_details"] == {} for row in seven if row["type"] == "CHAIN")


@pytest.mark.parametrize("version", ["5", "6", "7", "7-legacy"])
def test_the_time_to_the_first_token_of_a_stream(version: str) -> None:
    """Milliseconds in `ai.*`, seconds in `gen_ai.*`: within the call in both."""
    (call,) = _calls(_rows(f"vercel-ai-{version}", "stream-text.proto"))
    assert call["start_time"] < call["completion_start_time"] < call["end_time"]


def test_embedded_texts_come_out_of_their_quotes() -> None:
    """The AI SDK writes each text and vector as JSON in an array of strings."""
    call = _only(_rows("vercel-ai-6", "embed-many.proto"), type="EMBEDDING")
    assert json.loads(call["input"]) == [
        "sunny day at the beach", "rainy afternoon in the city", "snowy night in the mountains"
    ]  # fmt: skip
    assert all(isinstance(number, float) for vector in json.loads(call["output"]) for number in vector)


def test_who_used_the_ai_sdk() -> None:
    """User, session, tags and prompt come from telemetry metadata up to 6, from the runtime context in 7."""
    for source in ("vercel-ai-5", "vercel-ai-6", "vercel-ai-7-legacy", "vercel-ai-7-supplemental"):
        root = _rows(source, "generate-text.proto")[0]
        assert (root["user_id"], root["session_id"]) == ("user_8c1f", "sess_2025-11-03_0007")
        assert (root["tags"], root["prompt_name"]) == (["beta", "checkout-flow"], "shop/answer")
        assert (root["metadata"]["plan"], root["agent_name"]) == ("pro", "geo-answer")


def test_a_chain_is_named_by_its_function() -> None:
    """`ai.generateText` alone says nothing to a person; the operation's name has the function in it."""
    assert _rows("vercel-ai-6", "generate-text.proto")[0]["name"] == "ai.generateText geo-answer"
    assert _rows("vercel-ai-6", "generate-text.proto")[0]["span_name"] == "ai.generateText"


def test_parents_that_never_come() -> None:
    """The Langfuse processor drops the HTTP root: what it marks as the application's root is one."""
    rows = _rows("langfuse-5-ai-sdk-7", "app-trace.json")
    ids = {row["id"] for row in rows}
    orphans = [row for row in rows if row["parent_observation_id"] not in ids]
    assert len(orphans) == 4
    assert all(row["is_root"] and row["parent_observation_id"] for row in orphans)


def test_a_trace_over_sixteen_requests_is_that_of_one() -> None:
    """One span per request, children first: the same observations as in one request."""

    def shape(name: str) -> list[tuple[str, str, str]]:
        return sorted((row["type"], row["name"], row["output"][:40]) for row in _rows("vercel-ai-7", name))

    assert shape("app-trace.proto-one-span-per-request") == shape("app-trace.proto")


def test_errors_whatever_the_status() -> None:
    """ERROR with an exception, UNSET with a Langfuse level, ERROR with a type alone: all are level ERROR."""
    for source, recording, said in (
        ("vercel-ai-6", "error-429.proto", "Rate limit reached"),
        ("langfuse-5", "openai-error-429.json", "Rate limit reached"),
        ("genkit-1.42", "llm-error.proto", "RESOURCE_EXHAUSTED"),
        ("mastra-1.71", "llm-error.proto", "maximum context length"),
        ("anthropic-sdk-native-1.11", "error-429.proto", "rate_limit_error"),
    ):
        failed = [row for row in _rows(source, recording) if row["level"] == "ERROR"]
        assert failed, source
        assert all(said in row["status_message"] for row in failed), source


def test_an_aborted_stream_is_no_error() -> None:
    """AI SDK 7 sends the spans of an aborted stream UNSET, without output and usage."""
    (call,) = _calls(_rows("vercel-ai-7", "stream-abort.proto"))
    assert (call["level"], call["output"], call["usage_details"]) == ("DEFAULT", "", {})
    assert call["input"]


def test_langfuse_types_levels_costs_and_prompts() -> None:
    """Each type of the SDK is that type; costs, levels and prompts are taken as given."""
    rows = _rows("langfuse-5", "all-types.json")
    kinds = {row["name"]: row["type"] for row in rows}
    assert {kinds[name] for name in kinds} == {
        "SPAN", "GUARDRAIL", "EMBEDDING", "RETRIEVER", "AGENT", "TOOL", "GENERATION", "CHAIN", "EVALUATOR", "EVENT"
    }  # fmt: skip
    draft = _only(rows, name="draft-answer")
    assert (draft["prompt_name"], draft["prompt_version"], str(draft["total_cost"])) == (
        "shop/answer",
        "4",
        "0.000021600000",
    )
    assert draft["usage_details"]["input"] == 32
    assert {row["level"] for row in rows} == {"DEFAULT", "DEBUG", "WARNING", "ERROR"}


def test_usage_in_the_ai_sdk_s_spelling() -> None:
    """An application that hands the AI SDK's usage to Langfuse means the whole, its parts and the total."""
    inner = _only(_rows("langfuse-5", "propagate.json"), name="inner-gen")
    assert inner["usage_details"] == {"input": 3, "output": 2, "total": 5}
    usage = {
        "inputTokens": 53,
        "outputTokens": 207,
        "cachedInputTokens": 26,
        "reasoningTokens": 192,
        "totalTokens": 260,
    }
    row = observation(span({"langfuse.observation.usage_details": json.dumps(usage)}))
    assert row["usage_details"] == {
        "input": 27, "input_cached_tokens": 26, "output": 15, "output_reasoning_tokens": 192, "total": 260
    }  # fmt: skip
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (53, 207, 260)


def test_the_context_that_langfuse_s_integration_passes_on() -> None:
    """The AI SDK's runtime context is in Langfuse's metadata: tags there are the trace's, unless it names others."""
    assert "tags" not in _rows("langfuse-5-ai-sdk-7", "generate-text.json")[0]["metadata"]
    tags = {"langfuse.observation.metadata.tags": '["a","b"]'}
    (row,) = map_export(export(span(tags), scope="gen_ai")).observations
    assert (row["tags"], row["metadata"]) == (["a", "b"], {})
    (row,) = map_export(export(span(tags | {"langfuse.trace.tags": ["c"]}), scope="gen_ai")).observations
    assert (row["tags"], row["metadata"]) == (["c"], {"tags": '["a","b"]'})
    assert observation(span(tags))["tags"] == []


def test_a_langfuse_span_does_not_hide_another_dialect() -> None:
    """The SDK's helper stamps the type `span` on everything; OpenInference's kind beside it still counts."""
    row = observation(span({"langfuse.observation.type": "span", "openinference.span.kind": "RETRIEVER"}))
    assert row["type"] == "RETRIEVER"


def test_what_langfuse_says_of_the_trace() -> None:
    """Name, input, output and metadata of the trace come from any of its spans and beat the root's own."""
    bodies = [each.decompressed() for each in sources()["js/langfuse-5"]["all-types.proto"]]
    (trace,) = map_bodies(bodies).traces
    assert (json.loads(trace["input"]["value"]), trace["output"]["value"]) == (
        {"query": "What is the capital of France?"}, "Paris"
    )  # fmt: skip


def test_parameters_are_no_tools_and_no_model() -> None:
    """OpenInference puts the whole request into the parameters: what fields show is not among them."""
    first, _ = _rows("openinference", "openai-chat-tools.proto")
    assert not first["model_parameters"].keys() & {"model", "tools"}
    assert [tool["name"] for tool in json.loads(first["tool_definitions"])] == ["get_weather", "get_order"]
    assert first["request_model"] == "gpt-4o-mini"


def test_a_parameter_that_only_the_request_says_is_not_lost() -> None:
    """A model that lost to another one stays in metadata, with all of the object it came in."""
    parameters = json.dumps({"model": "a", "temperature": 0.1})
    row = observation(span({"llm.request.model_name": "b", "llm.invocation_parameters": parameters}))
    assert (row["request_model"], row["model_parameters"]) == ("b", {"temperature": "0.1"})
    assert row["metadata"]["llm.invocation_parameters"] == parameters


def test_a_limit_of_attributes_does_not_cut_the_conversation() -> None:
    """128 attributes hold 30 of 81 messages, one attribute beside them holds all."""
    (call,) = _calls(_rows("openinference", "openai-chat-long.proto"))
    assert call["dropped_attributes_count"] > 0
    assert len(json.loads(call["input"])) == 82


def test_system_prompt_that_stands_among_the_parameters() -> None:
    """Anthropic's system prompt is no message in OpenInference: it comes first all the same."""
    call = _only(_rows("openinference", "anthropic-messages.proto"), convention="openinference")
    assert [message["role"] for message in json.loads(call["input"])] == ["system", "user"]


def test_two_instrumentations_of_one_call_say_the_same_response_id() -> None:
    """LangChain's span and the OpenAI client's span beside it: the answer's id joins them."""
    calls = _calls(_rows("openinference", "full.proto"))
    assert len(calls) == 6
    assert len({row["response_id"] for row in calls}) == 3


def test_messages_in_a_message_s_text() -> None:
    """Traceloop writes the Responses API's items into one text: they are messages, and a user's own JSON is not."""
    _, second = _calls(_rows("traceloop-0.27", "openai-responses-tools.proto"))
    assert [message["role"] for message in json.loads(second["input"])] == ["user", "assistant", "tool"]
    own = [{"role": "user", "parts": [{"type": "text", "content": '[{"role": "user", "content": "x"}]'}]}]
    row = observation(span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(own)}))
    assert json.loads(row["input"]) == own


def test_traceloop_names_what_it_wraps() -> None:
    """The entity's name is the tool's or the agent's only on spans of that kind."""
    rows = _rows("traceloop-0.27", "workflow.proto")
    assert _only(rows, type="TOOL")["tool_name"] == "calculator"
    assert _only(rows, type="AGENT")["agent_name"] == "research_agent"
    assert _only(rows, name="support_chat")["tool_name"] == ""
    assert _only(rows, type="RETRIEVER")["name"] == "pinecone.query"


def test_genkit_says_all_in_two_json_texts() -> None:
    """No `gen_ai.*` at all: model, usage, answer and tools are in the request and the response."""
    call = _calls(_rows("genkit-1.42", "tools.proto"))[0]
    assert (call["request_model"], call["model"]) == ("openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert call["tool_calls"][0]["arguments"] == '{"location":"Paris, France"}'
    assert call["response_id"].startswith("chatcmpl-")
    tool = _only(_rows("genkit-1.42", "tools.proto"), type="TOOL")
    assert (tool["tool_name"], tool["request_model"]) == ("getWeather", "")


def test_mastra_writes_arrays_as_texts() -> None:
    """Finish reasons and tags are lists, the provider has its one name, chunks and steps are no calls."""
    rows = _rows("mastra-1.71", "tools.proto")
    assert len(_calls(rows)) == 2
    assert _calls(rows)[0]["finish_reasons"] == ["tool-calls"]
    assert (rows[0]["tags"], _calls(rows)[0]["provider"]) == (["beta", "checkout-flow"], "openai")
    assert _calls(rows)[0]["completion_start_time"] is not None


def test_http_clients_have_names() -> None:
    """A client's span is called `POST`: its path makes it a name; servers' spans have theirs already."""
    names = [row["name"] for row in _rows("otel-auto-0.82", "rag.proto")]
    assert {"POST /v1/chat/completions", "POST /api/chat", "GET /internal/profile/:id"} <= {*names}
    assert not {"POST", "GET"} & {*names}


def test_a_name_has_no_query_in_it() -> None:
    """What differs from call to call, and may be a key, stays in metadata with the whole URL."""
    url = "https://api.example.com/v1/chat?key=s3cret#top"
    row = observation(span({"http.request.method": "POST", "url.full": url}, name="POST"))
    assert (row["name"], row["metadata"]["url.full"]) == ("POST https://api.example.com/v1/chat", url)


def test_database_queries_are_their_spans_input() -> None:
    """The statement is what a person looks for; the span stays a plain one."""
    query = next(row for row in _rows("otel-auto-0.82", "rag.proto") if row["input"].startswith("SELECT"))
    assert (query["type"], query["convention"]) == ("SPAN", "http_db")


def test_the_dialect_of_a_call_is_not_that_of_its_surroundings() -> None:
    """A chat span has a server's address and an HTTP status too, and is still OTel GenAI."""
    row = observation(span({"gen_ai.operation.name": "chat", "http.response.status_code": 200}))
    assert row["convention"] == "otel_genai"


def test_a_source_may_depend_on_another_attribute() -> None:
    """One attribute is a model's name on model spans only."""
    model = {"genkit:name": "openai/gpt-4o-mini", "genkit:metadata:subtype": "model"}
    assert observation(span(model))["request_model"] == "openai/gpt-4o-mini"
    assert observation(span(model | {"genkit:metadata:subtype": "flow"}))["request_model"] == ""
