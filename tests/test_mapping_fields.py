"""Which attribute fills which column: OTel GenAI, today's spellings and those renamed since, and what is not GenAI."""

import json
from decimal import Decimal
from typing import Any

import pytest

from config.conventions import Convention, Source, load_conventions
from otlp_receiver.mapping.plan import Plan
from tests.support.mapping import map_export, observation
from tests.support.otlp import START_NS, Span, event, export, span

_TEXT_COLUMNS = [
    ("gen_ai.operation.name", "operation"),
    ("gen_ai.provider.name", "provider"),
    ("gen_ai.system", "provider"),
    ("gen_ai.request.model", "request_model"),
    ("gen_ai.response.model", "model"),
    ("gen_ai.response.id", "response_id"),
    ("gen_ai.conversation.id", "session_id"),
    ("session.id", "session_id"),
    ("user.id", "user_id"),
    ("enduser.id", "user_id"),
    ("deployment.environment.name", "environment"),
    ("deployment.environment", "environment"),
    ("gen_ai.tool.name", "tool_name"),
    ("gen_ai.tool.call.id", "tool_call_id"),
    ("gen_ai.agent.name", "agent_name"),
    ("gen_ai.prompt.name", "prompt_name"),
    ("gen_ai.prompt.version", "prompt_version"),
    ("gen_ai.tool.definitions", "tool_definitions"),
    ("gen_ai.tool.call.arguments", "input"),
    ("gen_ai.tool.call.result", "output"),
    ("gen_ai.retrieval.query.text", "input"),
    ("gen_ai.retrieval.documents", "output"),
]


@pytest.mark.parametrize(("key", "column"), _TEXT_COLUMNS)
def test_a_text_attribute_fills_its_column(key: str, column: str) -> None:
    """Each known key is shown by its column, and then not repeated in metadata."""
    row = observation(span({key: "value"}))
    assert row[column] == "value"
    assert row["metadata"] == {}


@pytest.mark.parametrize(
    ("current", "legacy", "column"),
    [
        ("gen_ai.provider.name", "gen_ai.system", "provider"),
        ("gen_ai.input.messages", "gen_ai.prompt", "input"),
        ("gen_ai.output.messages", "gen_ai.completion", "output"),
    ],
)
@pytest.mark.parametrize("legacy_first", [True, False])
def test_current_spelling_beats_legacy(current: str, legacy: str, column: str, *, legacy_first: bool) -> None:
    """Of two spellings the current one wins in whatever order they were sent; the other is kept in metadata."""
    pairs = [(current, "new"), (legacy, "old")]
    row = observation(span(dict(reversed(pairs) if legacy_first else pairs)))
    assert row[column] == "new"
    assert row["metadata"] == {legacy: "old"}


def test_equal_spellings_are_stored_once() -> None:
    """Two spellings of one value need no second copy in metadata; an empty one hides nothing."""
    row = observation(span({"gen_ai.system": "openai", "gen_ai.provider.name": "openai"}))
    assert (row["provider"], row["metadata"]) == ("openai", {})
    row = observation(span({"gen_ai.provider.name": "", "gen_ai.system": "openai"}))
    assert (row["provider"], row["metadata"]) == ("openai", {"gen_ai.provider.name": ""})


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("chat", "GENERATION"),
        ("text_completion", "GENERATION"),
        ("generate_content", "GENERATION"),
        ("embeddings", "EMBEDDING"),
        ("rerank", "RERANKER"),
        ("create_agent", "AGENT"),
        ("invoke_agent", "AGENT"),
        ("invoke_workflow", "CHAIN"),
        ("plan", "CHAIN"),
        ("execute_tool", "TOOL"),
        ("retrieval", "RETRIEVER"),
        ("search_memory", "RETRIEVER"),
        ("update_memory", "TOOL"),
    ],
)
def test_operation_decides_the_type(operation: str, kind: str) -> None:
    """gen_ai.operation.name decides, also beside a model name."""
    row = observation(span({"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-5"}))
    assert (row["type"], row["operation"]) == (kind, operation)


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({}, "SPAN"),
        ({"http.method": "GET"}, "SPAN"),
        ({"gen_ai.request.model": "gpt-5"}, "GENERATION"),
        ({"gen_ai.response.model": "gpt-5"}, "GENERATION"),
        ({"gen_ai.tool.name": "weather"}, "TOOL"),
        ({"gen_ai.tool.call.id": "call_1"}, "TOOL"),
        ({"gen_ai.tool.name": "weather", "gen_ai.request.model": "gpt-5"}, "TOOL"),
        ({"gen_ai.operation.name": "of_tomorrow"}, "SPAN"),
        ({"gen_ai.operation.name": "of_tomorrow", "gen_ai.request.model": "gpt-5"}, "GENERATION"),
    ],
)
def test_type_without_a_known_operation(attributes: dict[str, Any], kind: str) -> None:
    """Without an operation that is known, a tool is a TOOL, a model makes a GENERATION, and the rest is a SPAN."""
    assert observation(span(attributes))["type"] == kind


def test_types_of_neighbours_do_not_mix() -> None:
    """Each span of a batch gets its own type."""
    operations = ["chat", "execute_tool", "", "embeddings", "chat"]
    resources = export(*[span({"gen_ai.operation.name": name}) for name in operations])
    assert [row["type"] for row in map_export(resources).observations] == [
        "GENERATION",
        "TOOL",
        "SPAN",
        "EMBEDDING",
        "GENERATION",
    ]


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}, "weather"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}, "planner"),
        ({"gen_ai.operation.name": "invoke_agent"}, "the span"),
        ({"gen_ai.operation.name": "chat", "gen_ai.agent.name": "planner"}, "the span"),
    ],
)
def test_names(attributes: dict[str, Any], name: str) -> None:
    """Tools are named by their tool, agents by their agent, all else by the span."""
    assert observation(span(attributes, name="the span"))["name"] == name


def test_model_is_the_one_that_answered() -> None:
    """`model` is the answering model, else the requested one; `request_model` is what was asked for."""
    both = observation(span({"gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5-2025-08-07"}))
    assert (both["model"], both["request_model"]) == ("gpt-5-2025-08-07", "gpt-5")
    asked = observation(span({"gen_ai.request.model": "gpt-5"}))
    assert (asked["model"], asked["request_model"]) == ("gpt-5", "gpt-5")


@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (["stop"], ["stop"]),
        (["stop", "length"], ["stop", "length"]),
        ('["tool_calls"]', ["tool_calls"]),
        ("stop", ["stop"]),
        ('"end_turn"', ["end_turn"]),
        ([], []),
        (["stop", None], ["stop"]),
        ([{"a": 1}, 2, True], ['{"a":1}', "2", "true"]),
        ("[cut", ["[cut"]),
    ],
)
def test_finish_reasons(value: Any, reasons: list[str]) -> None:
    """Finish reasons come as array, as its JSON, or as one plain text."""
    assert observation(span({"gen_ai.response.finish_reasons": value}))["finish_reasons"] == reasons


def test_model_parameters() -> None:
    """Request parameters are named by the rest of their key, values as text; the model itself is none of them."""
    row = observation(
        span(
            {
                "gen_ai.request.model": "gpt-5",
                "gen_ai.request.temperature": 0.7,
                "gen_ai.request.max_tokens": 2**40,
                "gen_ai.request.stop_sequences": ["a", "b"],
                "gen_ai.request.of_tomorrow": True,
                "gen_ai.output.type": "json",
                "gen_ai.openai.request.seed": 7,
            }
        )
    )
    assert row["model_parameters"] == {
        "temperature": "0.7",
        "max_tokens": str(2**40),
        "stop_sequences": '["a","b"]',
        "of_tomorrow": "true",
        "output_type": "json",
        "seed": "7",
    }
    assert row["metadata"] == {}


def test_two_spellings_of_a_parameter() -> None:
    """A map has one value a key: the first spelling of a parameter stays, the other goes to metadata."""
    row = observation(span({"openai.request.service_tier": "flex", "gen_ai.openai.request.service_tier": "auto"}))
    assert row["model_parameters"] == {"service_tier": "flex"}
    assert row["metadata"] == {"gen_ai.openai.request.service_tier": "auto"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (True, "true"),
        (2**62 + 1, str(2**62 + 1)),
        (0.1, "0.1"),
        (float("nan"), "NaN"),
        (b"\x00\xff", "AP8="),
        ([1, "a", None], '[1,"a",null]'),
        ({"deep": [{"er": 1}]}, '{"deep":[{"er":1}]}'),
        (None, ""),
        ("", ""),
        ("nul\x00", "nul\x00"),
    ],
)
def test_what_no_column_shows_is_in_metadata(value: Any, text: str) -> None:
    """Attributes of any type under an unknown key are kept as text."""
    assert observation(span({"app.own": value}))["metadata"] == {"app.own": text}


def test_an_index_is_a_place_in_the_order() -> None:
    """The thousand-millionth message is the second one when there are two."""
    first, last = "gen_ai.prompt.0", "gen_ai.prompt.999999999"
    row = observation(
        span({f"{last}.role": "user", f"{last}.content": "b", f"{first}.role": "system", f"{first}.content": "a"})
    )
    assert [message["parts"][0]["content"] for message in json.loads(row["input"])] == ["a", "b"]


def test_convention() -> None:
    """The dialect that was recognised is named, none where there is none."""
    assert observation(span({"gen_ai.anything": 1}))["convention"] == "otel_genai"
    assert observation(span({"app.own": "GET"}))["convention"] == ""


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [(0.25, 250_000_000), ("1.5", 1_500_000_000), (0, 0), (-1, None), ("soon", None), (1e9, None)],
)
def test_time_to_first_token(value: Any, nanoseconds: int | None) -> None:
    """Seconds to the first chunk become a time; what is no such number stays in metadata."""
    row = observation(span({"gen_ai.response.time_to_first_chunk": value}))
    assert row["completion_start_time"] == (None if nanoseconds is None else START_NS + nanoseconds)
    assert ("gen_ai.response.time_to_first_chunk" in row["metadata"]) == (nanoseconds is None)


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        (5e-06, Decimal("0.000005")),
        ("0.1234567890125", Decimal("0.123456789012")),
        (-1, None),
        ("free", None),
    ],
)
def test_cost(value: Any, cost: Decimal | None) -> None:
    """A cost that the span carries is money to the twelfth digit; unknown is empty, never 0."""
    unknown = cost is None
    row = observation(span({"gen_ai.usage.cost": value}))
    assert row["total_cost"] == cost
    assert row["cost_details"] == ({} if unknown else {"total": cost})
    assert ("gen_ai.usage.cost" in row["metadata"]) == unknown


@pytest.mark.parametrize(("tokens", "cost"), [(7, Decimal(0)), (None, None)])
def test_a_cost_of_nothing(tokens: int | None, cost: Decimal | None) -> None:
    """Nothing for some tokens is a price; nothing for no tokens is what failed calls are given, and says nothing."""
    usage = {} if tokens is None else {"gen_ai.usage.input_tokens": tokens}
    assert observation(span({"gen_ai.usage.cost": 0, **usage}))["total_cost"] == cost


def test_attributes_of_the_details_event_count_as_the_spans_own() -> None:
    """gen_ai.client.inference.operation.details fills columns; the span's own attributes stay its own."""
    details = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.request.temperature": 0.5}
    row = observation(
        span({"gen_ai.usage.input_tokens": 3}, events=[event("gen_ai.client.inference.operation.details", details)])
    )
    assert (row["type"], row["request_model"], row["input_tokens"]) == ("GENERATION", "gpt-5", 3)
    assert row["model_parameters"] == {"temperature": "0.5"}
    assert row["events"][0]["attributes"]["gen_ai.request.model"] == "gpt-5"


def test_a_convention_may_take_input_and_output_as_the_user_set_them() -> None:
    """What a convention maps to `input` and `output` beats messages, which then stay in metadata: nothing is hidden."""
    own = Convention(
        name="own",
        title="Own",
        precedence=10,
        fields={"input": (Source(key="own.in"),), "output": (Source(key="own.out"),)},
    )
    messages = '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'
    row = observation(
        span(
            {
                "own.in": "mine",
                "gen_ai.input.messages": messages,
                "gen_ai.system_instructions": "be brief",
                "own.out": "",
                "gen_ai.output.messages": messages,
            }
        ),
        plan=Plan((own, *load_conventions())),
    )
    assert (row["input"], row["output"]) == ("mine", messages)
    assert row["metadata"] == {
        "gen_ai.input.messages": messages,
        "gen_ai.system_instructions": "be brief",
        "own.out": "",
    }


def test_legacy_comes_after_every_dialects_current_spelling() -> None:
    """A legacy key of a dialect that comes first is beaten by the current key of one that comes later."""
    own = Convention(name="own", title="Own", precedence=80, fields={"provider": (Source(key="own.provider"),)})
    sent = {"gen_ai.system": "legacy", "own.provider": "current"}
    plan = Plan((*load_conventions(), own))
    assert observation(span(sent), plan=plan)["provider"] == "current"
    assert observation(span({**sent, "gen_ai.provider.name": "first"}), plan=plan)["provider"] == "first"


def test_a_key_sent_twice_loses_nothing() -> None:
    """A repeated key fills its column with the first value and keeps the second in metadata."""
    row = observation(Span(attributes=[("gen_ai.request.model", "first"), ("gen_ai.request.model", "second")]))
    assert row["request_model"] == "first"
    assert row["metadata"] == {"gen_ai.request.model": "second"}
