"""Hypothesis strategies for export requests, and for GenAI spans among them."""

import json
from collections.abc import Iterable
from typing import Any, Final

from hypothesis import strategies as st

from tests.support.otlp import Attributes, Event, Export, Link, Resource, Scope, Span, Value

_UINT64: Final = st.integers(0, 2**64 - 1)
_UINT32: Final = st.integers(0, 2**32 - 1)
_TIMES: Final = st.one_of(st.integers(1_795_267_000_000_000_000, 1_795_268_000_000_000_000), _UINT64)

texts: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""Any Unicode text; NUL is part of it, lone surrogates are not (protobuf has no way to say them)."""


def ids(size_bytes: int) -> st.SearchStrategy[str]:
    """Usable ids in hex."""
    return st.binary(min_size=size_bytes, max_size=size_bytes).filter(any).map(bytes.hex)


def values(leaves: int = 8) -> st.SearchStrategy[Value]:
    """Every kind of AnyValue, nested."""
    scalars = st.one_of(
        st.none(), texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=12)
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
        max_leaves=leaves,
    )


attributes: Final[st.SearchStrategy[Attributes]] = st.lists(
    st.tuples(st.one_of(texts, st.sampled_from(["gen_ai.input.messages", "gen_ai.usage.input_tokens"])), values()),
    max_size=4,
)
_EVENTS: Final = st.builds(Event, name=texts, time_ns=_TIMES, attributes=attributes, dropped=_UINT32)
_LINKS: Final = st.builds(
    Link,
    trace_id=ids(16),
    span_id=ids(8),
    trace_state=texts,
    flags=_UINT32,
    attributes=attributes,
    dropped=_UINT32,
)


def spans(span_attributes: st.SearchStrategy[Any] = attributes) -> st.SearchStrategy[Span]:
    """Any usable span."""
    return st.builds(
        Span,
        trace_id=ids(16),
        span_id=ids(8),
        parent_id=st.one_of(st.just(""), ids(8)),
        name=texts,
        kind=st.integers(0, 5),
        start_ns=_TIMES,
        end_ns=_TIMES,
        trace_state=texts,
        flags=_UINT32,
        status_code=st.integers(0, 2),
        status_message=texts,
        attributes=span_attributes,
        events=st.lists(_EVENTS, max_size=2),
        links=st.lists(_LINKS, max_size=2),
        dropped=st.tuples(_UINT32, _UINT32, _UINT32),
    )


_SCOPES: Final = st.builds(
    Scope,
    name=texts,
    version=texts,
    schema_url=texts,
    attributes=attributes,
    dropped=_UINT32,
    spans=st.lists(spans(), max_size=3),
)
resources: Final = st.builds(
    Resource,
    schema_url=texts,
    attributes=attributes,
    dropped=_UINT32,
    scopes=st.lists(_SCOPES, max_size=2),
)
exports: Final[st.SearchStrategy[Export]] = st.lists(resources, max_size=2)
"""Whole requests, empty ones included."""


# --- GenAI -----------------------------------------------------------------------------------------------------------

_WORDS: Final = st.text('abc é☀️"\\{}[]\n', max_size=8)
_ARGUMENTS: Final = st.dictionaries(st.sampled_from(["city", "unit"]), st.one_of(_WORDS, st.integers(0, 9)), max_size=2)
_CALL_IDS: Final = st.sampled_from(["call_1", "call_2"])
_PARTS: Final = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["text", "reasoning"]), "content": _WORDS}),
    st.fixed_dictionaries({"type": st.sampled_from(["text", "input_text", "output_text"]), "text": _WORDS}),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": _WORDS, "signature": _WORDS}),
    st.fixed_dictionaries(
        {"type": st.just("tool_call"), "id": _CALL_IDS, "name": _WORDS, "arguments": st.one_of(_ARGUMENTS, _WORDS)}
    ),
    st.fixed_dictionaries({"type": st.just("tool_use"), "id": _CALL_IDS, "name": _WORDS, "input": _ARGUMENTS}),
    st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": _CALL_IDS, "content": _WORDS, "is_error": st.booleans()}
    ),
    st.fixed_dictionaries({"type": st.just("tool_call_response"), "id": _CALL_IDS, "response": _ARGUMENTS}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": _WORDS})}),
    st.fixed_dictionaries({"type": st.just("text"), "text": _WORDS, "cache_control": st.just({"type": "ephemeral"})}),
    _WORDS,
)
_CALLS: Final = st.fixed_dictionaries(
    {
        "id": _CALL_IDS,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": _WORDS, "arguments": _ARGUMENTS.map(json.dumps)}),
    }
)
_ROLES: Final = st.sampled_from(["system", "user", "assistant", "tool"])
_CONTENT: Final = st.one_of(st.none(), _WORDS, st.lists(_PARTS, max_size=3))
message_values: Final = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": _ROLES, "content": _CONTENT}),
        st.fixed_dictionaries({"role": _ROLES, "parts": st.lists(_PARTS, max_size=3)}, optional={"name": _WORDS}),
        st.fixed_dictionaries(
            {"role": st.just("assistant"), "content": _CONTENT, "tool_calls": st.lists(_CALLS, max_size=2)}
        ),
        st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": _CALL_IDS, "content": _CONTENT}),
        st.fixed_dictionaries({"role": st.just("assistant"), "content": _WORDS, "reasoning_content": _WORDS}),
        st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none(), "refusal": _WORDS}),
    ),
    min_size=1,
    max_size=3,
)
"""Chat messages in the shapes of OpenAI, Anthropic and the OTel GenAI conventions, mixed."""
_ODD_TEXTS: Final = st.sampled_from(
    ["0", "12", "12.0", " 7 ", "-1", "1e400", "NaN", "0x10", "1_000", "[", '["stop"]', '"stop"', "[1,{}]", "{}", "null",
     "9223372036854775808", "0.1234567890123456789", "[" * 500 + "]" * 500]
)  # fmt: skip


def genai_attributes(keys: Iterable[str]) -> st.SearchStrategy[Attributes]:
    """Attributes under the keys that conventions know, and under unknown ones, with values likely and unlikely."""
    messages = st.one_of(message_values, message_values.map(json.dumps))
    value = st.one_of(texts, _ODD_TEXTS, st.integers(-5, 10_000), st.floats(0, 10), messages, values(4))
    known = sorted(keys)
    intricate = [key for key in known if "messages" in key or "instructions" in key or ".usage." in key]
    key = st.sampled_from([*known, *intricate * 2, "gen_ai.request.top_p", "app.own", ""])
    return st.lists(st.tuples(key, value), min_size=1, max_size=12)
