"""Surprises of LiteLLM, Pydantic AI and Logfire, each on the recording that showed it."""

import json
from typing import Any

from tests.support.dialects import first, messages, of, rows

# --- LiteLLM ---------------------------------------------------------------------------------------------------------


def test_litellms_raw_request_is_no_second_call() -> None:
    """The child span that repeats the provider's answer has its messages, and neither type nor tokens of a call."""
    call, raw = rows("litellm-otel", "anthropic-thinking")

    assert (call["type"], raw["type"], raw["usage_details"]) == ("GENERATION", "SPAN", {})
    assert [part["type"] for _, parts in messages(raw["output"]) for part in parts] == ["reasoning", "text"]


def test_litellms_cached_tokens_are_read_from_pythons_spelling() -> None:
    """Only `metadata.usage_object`, a dict as Python prints it, says how many of the tokens were cached."""
    assert first("litellm-otel", "anthropic-thinking", type="GENERATION")["usage_details"] == {
        "input": 23,
        "input_cached_tokens": 1024,
        "input_cache_creation": 256,
        "output": 83,
        "output_reasoning_tokens": 18,
        "total": 1404,
    }


def test_the_proxys_name_for_a_group_of_models_is_no_model() -> None:
    """A response model that is the group's name gives way to the model that was asked for."""
    row = first("litellm-proxy", "claude-via-chat", type="GENERATION")

    assert row["model"] == "claude-sonnet-4-5-20250929"
    assert row["metadata"]["gen_ai.response.model"] == "claude"


def test_litellms_tool_calls_beside_an_empty_message_are_the_answer() -> None:
    """The answer's message has no parts; the calls are numbered attributes."""
    row = first("litellm-otel", "tool-calling", type="GENERATION")

    assert [json.loads(call["arguments"])["location"] for call in row["tool_calls"]] == ["Paris", "Tokyo"]
    assert [role for role, _ in messages(row["output"])] == ["assistant"]


def test_the_proxys_caller_is_user_session_and_tags() -> None:
    """They lie in a dict as Python prints it; the given cost is taken as it is."""
    row = first("litellm-proxy", "chat-simple", type="GENERATION")

    assert (row["user_id"], row["session_id"], row["tags"]) == ("user-42", "session-123", ["prod"])
    assert f"{row['total_cost']:.7f}" == "0.0000111"


# --- Pydantic AI, Logfire --------------------------------------------------------------------------------------------


def test_every_version_of_pydantic_ai_says_the_same() -> None:
    """Versions 2 to 6 of its span format give the same messages, tool calls, tokens and tool results."""
    seen = [
        [(row["type"], row["usage_details"], _without_ids(row["input"]), _without_ids(row["output"])) for row in found]
        for found in (rows("pydantic-ai-2", f"v{version}-agent-tools") for version in (2, 4, 5, 6))
    ]

    assert [kind for kind, *_ in seen[0]] == ["AGENT", "GENERATION", "TOOL", "TOOL", "GENERATION"]
    assert all(each == seen[0] for each in seen)


def _without_ids(text: str) -> Any:
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    if isinstance(parsed, list):
        for part in (part for message in parsed for part in message["parts"]):
            part.pop("id", None)
    return parsed


def test_a_runs_last_answer_is_its_output() -> None:
    """All messages of a run lie in one attribute; the answer, with what the model thought, is no input."""
    agent, call = rows("pydantic-ai-2", "v5-anthropic-thinking", convention="pydantic_ai")

    assert (agent["type"], agent["input"], agent["output"]) == ("AGENT", call["input"], call["output"])
    assert "pydantic_ai.all_messages" not in agent["metadata"]
    assert first("pydantic-ai-2", "v5-structured-output")["output"] == '{"city":"Paris","population":2102650}'


def test_a_runs_sum_of_tokens_is_not_counted_again() -> None:
    """Pydantic AI's aggregated usage stays in the agent's metadata, so that only its calls have tokens."""
    agent, *others = rows("pydantic-ai-2", "v5-agent-tools")

    assert (agent["type"], agent["usage_details"]) == ("AGENT", {})
    assert agent["metadata"]["gen_ai.aggregated_usage.input_tokens"] == "397"
    assert sum(row["input_tokens"] or 0 for row in others) == 397


def test_the_applications_session_beats_one_that_was_made_up() -> None:
    """Metadata and baggage that the application set come before the conversation id that a run gets by itself."""
    assert first("pydantic-ai-2", "v5-agent-tools", type="AGENT")["session_id"] == "session-123"
    by_client = first("logfire", "pydantic-agent", convention="logfire")
    assert by_client["session_id"] == "session-123"
    assert by_client["metadata"]["gen_ai.conversation.id"] != "session-123"


def test_what_scrubbing_leaves_is_no_session() -> None:
    """Logfire replaced the session by a note; the conversation serves instead, and the note stays in metadata."""
    row = first("logfire", "pydantic-agent", type="AGENT")

    assert row["session_id"].startswith("01a1fc68-")
    assert row["metadata"]["session_id"] == "[Scrubbed due to 'session']"


def test_a_template_is_no_name() -> None:
    """Logfire's spans are shown by their message; logs are events, with their level."""
    root, log, call, failure = rows("logfire", "spans-and-logs")

    assert [row["name"] for row in (root, log)] == ["handle What is the capital of France?", "retrieved 2 docs"]
    assert (log["type"], log["level"]) == ("EVENT", "DEFAULT")
    assert (failure["type"], failure["level"], failure["status_message"]) == ("EVENT", "ERROR", "ValueError: boom")
    assert (call["type"], call["tags"]) == ("GENERATION", ["LLM"])


def test_a_streamed_answer_that_came_as_a_log_is_a_generation() -> None:
    """Logfire's span of a streamed call ends without an answer; a log of no length has it, with the tokens."""
    call, log = rows("logfire", "chat-streaming")

    assert (call["type"], call["usage_details"]) == ("GENERATION", {})
    assert (log["type"], log["usage_details"]["total"]) == ("GENERATION", 51)


def test_a_pending_copy_is_no_call() -> None:
    """Logfire sends a span once more when it starts, with all that makes it a model call."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "logfire.span_type": "pending_span",
    }
    copy = of("logfire.openai", attributes | {"logfire.pending_parent_id": "0000000000000000"})

    assert (copy["type"], of("logfire.openai", attributes)["type"]) == ("SPAN", "GENERATION")
