"""Surprises of the SDKs of observability vendors, and of Haystack, each on the recording that showed it."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.support.arrow_rows import Row
from tests.support.dialects import first, messages, of, rows
from tests.support.golden import sources
from tests.support.mapping import Mapped, map_bodies

_PROVIDER: Final = "The capital of France is Paris."


def _mapped(source: str, scenario: str) -> Mapped:
    return map_bodies([each.decompressed() for each in sources()[f"python/{source}"][scenario]])


# --- Langfuse, Python 4 and 5 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["langfuse-4", "langfuse-5"])
def test_every_kind_of_observation_is_its_type(source: str) -> None:
    """All that the SDK can say; a plain span stays a span, an event an event."""
    found = {row["span_name"].removeprefix("my-"): row["type"] for row in rows(source, "observe-every-type")}

    assert found.pop("root-agent") == "AGENT"
    assert found == {kind: kind.upper() for kind in found}
    assert len(found) == 10


@pytest.mark.parametrize("source", ["langfuse-4", "langfuse-5"])
def test_metadata_is_what_the_application_said(source: str) -> None:
    """Version 5 writes every value as JSON, a text in quotes: both versions give the same metadata."""
    call = first(source, "observe-decorator", name="llm-call")
    (trace,) = _mapped(source, "observe-decorator").traces

    assert {name: json.loads(call["metadata"][name]) for name in ("k", "nested")} == {"k": 1, "nested": {"a": [1, 2]}}
    assert {name: entry["value"] for name, entry in trace["metadata"].items()} == {"plan": "pro", "n": "3"}


@pytest.mark.parametrize("source", ["langfuse-4", "langfuse-5"])
def test_langchains_metadata_names_provider_and_model(source: str) -> None:
    """Without the quotes of version 5."""
    row = first(source, "langchain-chain", type="GENERATION")

    assert (row["provider"], row["request_model"], row["model"]) == ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18")


@pytest.mark.parametrize("source", ["langfuse-4", "langfuse-5"])
def test_user_and_session_in_a_requests_metadata_are_found(source: str) -> None:
    """The OpenAI drop-in leaves them there, outside a trace."""
    row = first(source, "openai-dropin-chat", type="GENERATION")

    assert (row["user_id"], row["session_id"], row["tags"]) == ("user-42", "session-123", ["prod"])


def test_one_calls_two_generations_have_the_same_usage() -> None:
    """LangChain's handler says buckets, the OpenAI drop-in below it the provider's own object."""
    outer, inner = rows("langfuse-5", "langchain-plus-dropin", type="GENERATION")

    for row in (outer, inner):
        usage = {name: count for name, count in row["usage_details"].items() if count}
        assert usage == {"input": 24, "input_cached_tokens": 23, "output": 11, "total": 58}


def test_usage_that_the_application_gave_stands_as_given() -> None:
    """Its buckets and its cost, to the digit."""
    row = first("langfuse-4", "manual-generation", type="GENERATION")

    assert row["usage_details"]["input_cache_creation"] == 3
    assert sum(row["usage_details"].values()) == 2 * row["usage_details"]["total"] == 100
    assert f"{row['total_cost']:.3f}" == "0.003"


def test_the_first_token_is_a_quoted_time() -> None:
    """`completion_start_time` is JSON: an ISO time in quotes."""
    row = first("langfuse-4", "openai-dropin-stream", type="GENERATION")

    expected = datetime(2026, 11, 21, 4, 37, 6, 710957, tzinfo=UTC)
    assert row["completion_start_time"] == int(expected.timestamp()) * 10**9 + expected.microsecond * 1000
    assert row["finish_reasons"] == ["stop"]


def test_a_level_is_the_applications_word() -> None:
    """A warning leaves the span's status unset; an error's message is the application's."""
    careful = first("langfuse-5", "observe-every-type", type="EVENT")
    failed = first("langfuse-5", "error-level", name="bad-gen")

    assert (careful["level"], careful["status_message"], careful["status_code"]) == ("WARNING", "careful", "UNSET")
    assert (failed["level"], failed["status_message"]) == ("ERROR", "rate limited (429)")


def test_a_parent_that_never_comes_leaves_a_root() -> None:
    """A trace id from elsewhere: the trace still has its name, input and output."""
    (trace,) = _mapped("langfuse-5", "custom-trace-id").traces

    assert (trace["name"]["value"], trace["output"]["value"]) == ("with-custom-trace", "ok")


def test_offered_tools_are_no_messages() -> None:
    """LangChain's handler lists them among the messages, with the role tool."""
    row = first("langfuse-5", "langchain-agent", type="GENERATION")

    assert [role for role, _ in messages(row["input"])] == ["system", "user"]
    assert [tool["name"] for tool in json.loads(row["tool_definitions"])] == ["get_weather", "multiply"]


def test_an_embedding_that_litellm_calls_a_generation_is_one() -> None:
    """Its Langfuse callback calls every request so; OpenInference's kind beside it is right."""
    row = first("litellm-langfuse-otel", "embeddings", is_root=True)

    assert (row["type"], row["model"], row["total_tokens"]) == ("EMBEDDING", "text-embedding-3-small", 4)


# --- MLflow ----------------------------------------------------------------------------------------------------------


def test_mlflows_values_lose_their_quotes() -> None:
    """Every value is JSON once more."""
    row = first("mlflow", "chat-simple", type="GENERATION")

    assert (row["provider"], row["request_model"], row["user_id"]) == ("openai", "gpt-4o-mini", "user-42")
    assert row["model_parameters"] == {"temperature": "0.2", "top_p": "0.9", "seed": "42", "max_tokens": "100"}
    assert messages(row["output"]) == [("assistant", [{"type": "text", "content": _PROVIDER}])]


def test_bare_names_are_parameters_in_mlflows_scope_only() -> None:
    """`temperature` and its like are anyone's names; Anthropic's stand only in the request."""
    other = of("my.app", {"temperature": "0.2", "mlflow.spanType": '"CHAT_MODEL"'})
    anthropic = first("mlflow", "anthropic-tool-use", type="GENERATION")

    assert (other["model_parameters"], other["metadata"]["temperature"]) == ({}, "0.2")
    assert anthropic["model_parameters"] == {"max_tokens": "256"}


def test_mlflows_texts_are_texts() -> None:
    """A chain's input and output are JSON strings."""
    row = first("mlflow", "langchain-rag-chain", name="rag")

    assert row["input"] == "How tall is the Eiffel Tower?"


def test_reasoning_that_mlflow_does_not_count_is_in_the_answer() -> None:
    """Its own count leaves it out; without it the output would be 91."""
    row = first("mlflow", "chat-multi-turn", type="GENERATION")

    assert (row["usage_details"]["output"], row["usage_details"]["output_reasoning_tokens"]) == (27, 64)


def test_an_embeddings_usage_is_in_the_answer() -> None:
    """MLflow counts chats only."""
    assert first("mlflow", "embeddings")["usage_details"] == {"input": 13, "total": 13}


def test_the_first_chunk_is_the_first_token() -> None:
    """Each chunk of a stream is an event with a name of its own, numbered."""
    row = first("mlflow", "chat-streaming")

    chunks = [event["time"] for event in row["events"] if event["name"].startswith("mlflow.chunk.item.")]
    assert row["completion_start_time"] == min(chunks)


def test_mlflows_tags_are_metadata_of_the_trace() -> None:
    """They come as keys of the root."""
    (trace,) = _mapped("mlflow", "traced-functions").traces

    assert [*trace["metadata"]] == ["env"]


# --- LangWatch -------------------------------------------------------------------------------------------------------


def test_langwatchs_values_come_out_of_their_wrapper() -> None:
    """`{"type", "value"}`: texts, objects and chats; the wrapper is not kept beside them."""
    asked, retrieved, called = rows("langwatch", "trace-decorators")

    assert (json.loads(asked["input"]), asked["output"]) == ({"q": "How tall is the Eiffel Tower?"}, "330 m")
    assert json.loads(retrieved["output"]) == ["The Eiffel Tower is 330 m tall"]
    assert messages(called["output"]) == [("assistant", [{"type": "text", "content": "330 m"}])]
    assert "langwatch.input" not in asked["metadata"]


def test_langwatchs_root_says_who_used_it() -> None:
    """One JSON attribute of the root, under a name that others use too."""
    row = first("langwatch", "trace-decorators", name="qa")
    other = of("my.app", {"metadata": '{"labels": ["prod"]}'})

    assert (row["user_id"], row["session_id"], row["tags"]) == ("user-42", "session-123", ["prod"])
    assert other["tags"] == []


def test_langwatchs_types_and_cost() -> None:
    """`rag` is a retrieval; the cost is in JSON."""
    found = {row["span_name"]: row["type"] for row in rows("langwatch", "trace-decorators")}
    call = first("langwatch", "trace-decorators", type="GENERATION")

    assert found == {"qa": "SPAN", "retrieve": "RETRIEVER", "llm": "GENERATION"}
    assert f"{call['total_cost']:.3f}" == "0.001"


# --- Haystack, Braintrust --------------------------------------------------------------------------------------------


def test_a_haystack_components_class_is_its_type() -> None:
    """All components' spans have one name, on the application's own tracer."""
    found = [(row["type"], row["name"]) for row in rows("haystack-native", "rag-pipeline")]

    assert found == [
        ("CHAIN", "haystack.pipeline.run"),
        ("EMBEDDING", "embed"),
        ("RETRIEVER", "retriever"),
        ("CHAIN", "prompt"),
        ("GENERATION", "llm"),
    ]


def test_a_haystack_answers_meta_is_its_usage() -> None:
    """Model, finish reason and tokens are in the reply."""
    row = first("haystack-native", "agent", type="GENERATION")

    assert (row["provider"], row["model"], row["finish_reasons"]) == (
        "openai",
        "gpt-4o-mini-2024-07-18",
        ["tool_calls"],
    )
    assert row["usage_details"] == {"input": 49, "input_cached_tokens": 48, "output": 13, "total": 110}
    assert [call["name"] for call in row["tool_calls"]] == ["get_weather"]


def test_a_failure_is_told_by_component_and_pipeline() -> None:
    """Haystack marks both."""
    assert [row["level"] for row in rows("haystack-native", "error-429")] == ["ERROR", "ERROR"]


def test_braintrusts_type_lies_in_json() -> None:
    """So do its metrics and its metadata."""
    task, call = rows("braintrust-otel", "manual-attributes")

    assert (task["type"], task["user_id"], task["session_id"]) == ("SPAN", "user-42", "session-123")
    assert (call["type"], call["usage_details"]) == ("GENERATION", {"input": 10, "output": 5, "total": 15})
    assert of("my.app", {"braintrust.span_attributes": '{"type": "tool", "name": "search"}'})["type"] == "TOOL"


# --- described, not recorded -----------------------------------------------------------------------------------------


def _langsmith(kind: str, **more: Any) -> Row:
    return of("langsmith", {"langsmith.span.kind": kind, "gen_ai.operation.name": "embeddings"} | more)


def test_langsmiths_kind_of_run_is_the_type() -> None:
    """It calls a retriever's operation embeddings."""
    assert (_langsmith("retriever")["type"], _langsmith("chain")["type"]) == ("RETRIEVER", "CHAIN")


def test_langsmiths_tags_are_a_text_with_commas() -> None:
    """`beta, prod` is two tags, whoever sends it so."""
    assert _langsmith("llm", **{"langsmith.span.tags": "beta, prod"})["tags"] == ["beta", "prod"]


def test_langsmiths_cached_tokens_are_in_pythons_spelling() -> None:
    """A dict as Python prints it."""
    row = _langsmith(
        "llm",
        **{"gen_ai.usage.input_tokens": 29, "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 14}"},
    )

    assert row["usage_details"] == {"input": 15, "input_cached_tokens": 14, "total": 29}


def test_langsmiths_metadata_names_the_session() -> None:
    """A thread is a session where no session is named."""
    row = _langsmith("llm", **{"langsmith.metadata.thread_id": "t1", "langsmith.metadata.user_id": "u1"})

    assert (row["session_id"], row["user_id"]) == ("t1", "u1")


def test_agentops_counts_the_cached_tokens_apart() -> None:
    """47 for a prompt of 47, 256 written and 1024 read."""
    row = of(
        "agentops.instrumentation.anthropic",
        {
            "agentops.span.kind": "llm",
            "gen_ai.usage.prompt_tokens": 1100,
            "gen_ai.usage.cache_read_input_tokens": 1024,
        },
    )

    assert row["usage_details"] == {"input": 1100, "input_cached_tokens": 1024, "total": 2124}


def test_laminars_own_keys() -> None:
    """Type, content, user, session and tags."""
    row = of(
        "lmnr.sdk",
        {
            "lmnr.span.type": "TOOL",
            "lmnr.span.input": '{"city": "Paris"}',
            "lmnr.association.properties.user_id": "u1",
            "lmnr.association.properties.session_id": "s1",
            "lmnr.association.properties.tags": ["prod"],
        },
    )

    assert (row["type"], row["input"]) == ("TOOL", '{"city": "Paris"}')
    assert (row["user_id"], row["session_id"], row["tags"]) == ("u1", "s1", ["prod"])


def test_langtraces_user_counts_in_its_own_scopes_only() -> None:
    """`user_id` without a dot is anyone's name."""
    attributes = {"gen_ai.operation.name": "embed", "user_id": "u1"}
    ours, others = of("langtrace.openai", attributes), of("my.app", attributes)

    assert (ours["user_id"], ours["type"], others["user_id"]) == ("u1", "EMBEDDING", "")
