"""Input and output: chat messages in one shape whatever shape they came in, and whichever way."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from otlp_receiver.mapping.canonical import is_canonical
from otlp_receiver.mapping.messages import canonical_messages
from tests.support.arrow_rows import Row
from tests.support.mapping import observation
from tests.support.otlp import Event, event, span
from tests.support.strategies import message_values

_USER = {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]}
_CALL = {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": {"city": "Paris"}}
_ASKS = {"role": "assistant", "parts": [_CALL], "finish_reason": "tool_calls"}
_RESULT = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "12 °C"}]}
_ANSWER = {"role": "assistant", "parts": [{"type": "text", "content": "Twelve — bring a coat ☀️\n"}]}
_SYSTEM = {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}


def _messages(row: Row, side: str = "input") -> Any:
    return json.loads(row[side])


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(_ASKS, id="OTel"),
        pytest.param({**_ASKS, "name": None}, id="OTel 1.3b0, name null"),
        pytest.param({**_ASKS, "parts": [{**_CALL, "arguments": '{"city":"Paris"}'}]}, id="arguments as JSON text"),
        pytest.param(
            {
                "role": "assistant",
                "content": None,
                "finish_reason": "tool_calls",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
                    }
                ],
            },
            id="OpenAI",
        ),
        pytest.param(
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}}],
                "finish_reason": "tool_calls",
            },
            id="Anthropic",
        ),
        pytest.param(
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "call_1", "name": "weather", "args": {"city": "Paris"}}],
                "finish_reason": "tool_calls",
            },
            id="flat tool call",
        ),
    ],
)
@pytest.mark.parametrize("structured", [True, False])
def test_a_tool_call_in_any_shape(sent: dict[str, Any], *, structured: bool) -> None:
    """One call, as five APIs spell it, as JSON or as a structured value: one message, and one entry in tool_calls."""
    row = observation(span({"gen_ai.output.messages": [sent] if structured else json.dumps([sent])}))
    assert _messages(row, "output") == [_ASKS]
    assert row["tool_calls"] == [{"id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'}]
    assert row["metadata"] == {}


@pytest.mark.parametrize(
    "sent",
    [
        _RESULT,
        {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "result": "12 °C"}]},
        {"role": "tool", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "12 °C"}]},
    ],
)
def test_a_tool_result_in_any_shape(sent: dict[str, Any]) -> None:
    """A tool's answer is one kind of part, under `response`, `result` or `content`."""
    assert _messages(observation(span({"gen_ai.input.messages": json.dumps([_USER, sent])}))) == [_USER, _RESULT]


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        ({"type": "text", "text": "a"}, {"type": "text", "content": "a"}),
        ({"type": "input_text", "text": "a"}, {"type": "text", "content": "a"}),
        ({"type": "output_text", "text": "a"}, {"type": "text", "content": "a"}),
        ("a", {"type": "text", "content": "a"}),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "content": "a", "cache_control": {"type": "ephemeral"}},
        ),
        (
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "reasoning", "content": "hm", "signature": "c2ln"},
        ),
        ({"type": "reasoning", "content": "hm"}, {"type": "reasoning", "content": "hm"}),
        ({"type": "image_url", "image_url": {"url": "x"}}, {"type": "image_url", "image_url": {"url": "x"}}),
        (
            {"type": "blob", "mime_type": "image/png", "content": "aGk="},
            {"type": "blob", "mime_type": "image/png", "content": "aGk="},
        ),
        ({"of": "tomorrow"}, {"of": "tomorrow"}),
    ],
)
def test_parts(sent: Any, part: dict[str, Any]) -> None:
    """Parts of every API are named alike, keep what comes with them, and stay as sent when unknown."""
    row = observation(span({"gen_ai.input.messages": json.dumps([{"role": "user", "content": [sent]}])}))
    assert _messages(row) == [{"role": "user", "parts": [part]}]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"role": "user", "content": "a"}, {"role": "user", "parts": [{"type": "text", "content": "a"}]}),
        (
            {"role": "user", "content": "a", "name": "Ann"},
            {"role": "user", "parts": [{"type": "text", "content": "a"}], "name": "Ann"},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
            {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "a"}]},
        ),
        (
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "assistant", "parts": [{"type": "refusal", "content": "no"}]},
        ),
        (
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "assistant", "parts": [{"type": "tool_call", "id": None, "name": "f", "arguments": {}}]},
        ),
        ({"parts": [{"type": "text", "content": "a"}]}, {"role": "user", "parts": [{"type": "text", "content": "a"}]}),
    ],
)
def test_messages(sent: dict[str, Any], message: dict[str, Any]) -> None:
    """Messages of every API have one shape; what has no place in it stays beside the parts."""
    assert _messages(observation(span({"gen_ai.input.messages": json.dumps([sent])}))) == [message]
    assert _messages(observation(span({"gen_ai.input.messages": json.dumps(sent)}))) == [message]


@pytest.mark.parametrize(
    "text",
    [
        "plain text",
        '[{"role":"user","content":"cut by a len',
        "[1,2]",
        '{"a":1}',
        "null",
    ],
)
def test_what_holds_no_messages_stays_as_sent(text: str) -> None:
    """A value that is no list of messages is shown as it came."""
    row = observation(span({"gen_ai.input.messages": text, "gen_ai.output.messages": text}))
    assert (row["input"], row["output"], row["tool_calls"]) == (text, text, [])


@pytest.mark.parametrize("silent", ["[]", '[{"role":"user","content":null}]'])
def test_messages_that_say_nothing(silent: str) -> None:
    """No message, or one of a role alone, is no input: another source may say more, and it stays in metadata."""
    row = observation(span({"gen_ai.input.messages": silent, "gen_ai.request.model": "m"}))
    assert (row["input"], row["metadata"]) == ("", {"gen_ai.input.messages": silent})


def test_canonical_text_is_not_rewritten() -> None:
    """Messages that already have the shape are stored byte for byte."""
    text = '[{"role": "user", "parts": [{"type": "text", "content": "caf\\u00e9"}]}]'
    assert observation(span({"gen_ai.input.messages": text}))["input"] == text


@settings(deadline=None)
@given(message_values)
def test_the_quick_look_is_right(messages: list[Any]) -> None:
    """A text that is taken for canonical without parsing is what canonicalising would make of it."""
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(messages, separators=separators)
        assume(all(isinstance(part, dict) for message in messages for part in message.get("parts", ())))
        if is_canonical(text):
            assert canonical_messages(messages, "user") == messages


@settings(deadline=None)
@given(message_values)
def test_canonicalising_twice_changes_nothing(messages: list[Any]) -> None:
    """The one shape is its own canonical form."""
    once = canonical_messages(messages, "user")
    assert once is not None
    assert canonical_messages(json.loads(json.dumps(once)), "user") == once


@pytest.mark.parametrize(
    "instructions", ["Be brief.", '[{"type":"text","content":"Be brief."}]', [{"type": "text", "content": "Be brief."}]]
)
def test_system_instructions_come_first(instructions: Any) -> None:
    """System instructions, a text or parts, become the first message; alone they are the only one."""
    row = observation(span({"gen_ai.system_instructions": instructions, "gen_ai.input.messages": json.dumps([_USER])}))
    assert _messages(row) == [_SYSTEM, _USER]
    assert row["metadata"] == {}
    alone = observation(span({"gen_ai.system_instructions": instructions}))
    assert _messages(alone) == [_SYSTEM]


def test_a_system_prompt_beside_instructions() -> None:
    """The same prompt sent twice is shown once; another one is never lost."""
    messages = json.dumps([_SYSTEM, _USER])
    same = observation(span({"gen_ai.system_instructions": "Be brief.", "gen_ai.input.messages": messages}))
    assert (_messages(same), same["metadata"]) == ([_SYSTEM, _USER], {})
    other = observation(span({"gen_ai.system_instructions": "Be kind.", "gen_ai.input.messages": messages}))
    assert (_messages(other), other["metadata"]) == ([_SYSTEM, _USER], {"gen_ai.system_instructions": "Be kind."})


def test_instructions_beside_a_cut_prompt() -> None:
    """When the messages cannot be read, both they and the instructions are kept as sent."""
    row = observation(span({"gen_ai.system_instructions": "Be brief.", "gen_ai.input.messages": '[{"role":"us'}))
    assert (row["input"], row["metadata"]) == ('[{"role":"us', {"gen_ai.system_instructions": "Be brief."})


@pytest.mark.parametrize("key", ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"])
@pytest.mark.parametrize("levels", [200, 400, 2_000])
def test_deeply_nested_messages(key: str, levels: int) -> None:
    """JSON nested deeper than it can be written again is kept as sent."""
    text = '[{"role":"user","content":' + "[" * levels + '"core"' + "]" * levels + "}]"
    row = observation(span({key: text}))
    assert "core" in row["input"] + row["output"] + "".join(row["metadata"].values())


# --- messages that came as span events -------------------------------------------------------------------------------

_CALLS_JSON = json.dumps(
    [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}]
)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [
                event("gen_ai.system.message", {"content": "Be brief."}),
                event("gen_ai.user.message", {"content": "Weather in Paris?"}),
                event("gen_ai.assistant.message", {"tool_calls": _CALLS_JSON, "finish_reason": "tool_calls"}),
                event("gen_ai.tool.message", {"id": "call_1", "content": "12 °C"}),
                event(
                    "gen_ai.choice",
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": json.dumps({"role": "assistant", "content": "Twelve."}),
                    },
                ),
            ],
            id="OTel 1.36",
        ),
        pytest.param(
            [
                event(name, {"gen_ai.provider.name": "azure", "gen_ai.event.content": json.dumps(body)})
                for name, body in [
                    ("gen_ai.system.message", {"role": "system", "content": "Be brief."}),
                    ("gen_ai.user.message", {"role": "user", "content": "Weather in Paris?"}),
                    (
                        "gen_ai.assistant.message",
                        {"role": "assistant", "tool_calls": json.loads(_CALLS_JSON), "finish_reason": "tool_calls"},
                    ),
                    ("gen_ai.tool.message", {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"}),
                    ("gen_ai.choice", {"finish_reason": "stop", "index": 0, "message": {"content": "Twelve."}}),
                ]
            ],
            id="Azure",
        ),
    ],
)
def test_message_events(events: list[Event]) -> None:
    """One event per message, plain or with its body as JSON, gives the two halves in order."""
    row = observation(span(events=events))
    assert _messages(row) == [_SYSTEM, _USER, _ASKS, _RESULT]
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "Twelve."}], "finish_reason": "stop"}
    assert _messages(row, "output") == [answer]
    assert row["tool_calls"] == []
    assert len(row["events"]) == len(events)


def test_a_choice_may_call_a_tool() -> None:
    """Calls in a gen_ai.choice event are found; a plain text message is its content (Strands)."""
    row = observation(
        span(events=[event("gen_ai.choice", {"message": json.dumps({"tool_calls": json.loads(_CALLS_JSON)})})])
    )
    assert row["tool_calls"] == [{"id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'}]
    row = observation(span(events=[event("gen_ai.choice", {"message": "Twelve."})]))
    assert _messages(row, "output") == [{"role": "assistant", "parts": [{"type": "text", "content": "Twelve."}]}]


def test_the_details_event() -> None:
    """gen_ai.client.inference.operation.details, one per side (Strands), with structured messages."""
    name = "gen_ai.client.inference.operation.details"
    row = observation(
        span(
            events=[
                event(
                    name,
                    {
                        "gen_ai.input.messages": [_USER],
                        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
                    },
                ),
                event(name, {"gen_ai.output.messages": [_ANSWER]}),
            ]
        )
    )
    assert _messages(row) == [_SYSTEM, _USER]
    assert _messages(row, "output") == [_ANSWER]


def test_content_events() -> None:
    """gen_ai.content.prompt and .completion (OpenLIT 1.33, Langtrace) carry the legacy attributes."""
    row = observation(
        span(
            events=[
                event(
                    "gen_ai.content.prompt",
                    {"gen_ai.prompt": json.dumps([{"role": "user", "content": "Weather in Paris?"}])},
                ),
                event("gen_ai.content.completion", {"gen_ai.completion": "Twelve."}),
            ]
        )
    )
    assert _messages(row) == [_USER]
    assert row["output"] == "Twelve."


def test_each_half_is_found_on_its_own() -> None:
    """An attribute for one side and events for the other make a whole; attributes beat events on their side."""
    row = observation(
        span(
            {"gen_ai.input.messages": json.dumps([_USER])},
            events=[event("gen_ai.user.message", {"content": "event"}), event("gen_ai.choice", {"message": "out"})],
        )
    )
    assert _messages(row) == [_USER]
    assert _messages(row, "output")[0]["parts"] == [{"type": "text", "content": "out"}]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["gen_ai.user.message", "gen_ai.choice"]), st.text(max_size=5)), max_size=4))
def test_events_make_messages_in_their_order(sent: list[tuple[str, str]]) -> None:
    """Every message event of a side is one message of it, in the order sent."""
    events = [event(name, {"content" if name == "gen_ai.user.message" else "message": text}) for name, text in sent]
    row = observation(span(events=events))
    for side, name in (("input", "gen_ai.user.message"), ("output", "gen_ai.choice")):
        texts = [text for event_name, text in sent if event_name == name]
        found = [part["content"] for message in json.loads(row[side] or "[]") for part in message["parts"]]
        assert found == [text for text in texts if text]
