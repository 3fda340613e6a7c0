"""OTLP/JSON in the compiled decoder against its oracle: the ordinary is taken and equal, the odd is declined."""

import itertools
import json
import os
import random
from importlib.util import find_spec
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otlp_receiver import decode as package
from otlp_receiver.decode import decode, density, span_table
from pipelines.ingest import Accepted
from tests.support.corpus import Recording, recordings
from tests.support.decoders import answer_of, assert_same, assert_taken, is_declined, rows_of
from tests.support.mutations import misplace, mutated
from tests.support.otlp import Export, Resource, Scope, Span, event, export, span, to_json, to_protobuf
from tests.support.span_tables import request
from tests.support.strategies import exports

pytestmark = pytest.mark.skipif(
    find_spec("otlp_receiver_native") is None and "CI" not in os.environ,
    reason="the compiled decoder is not there: `make install` builds it where a Rust toolchain is; CI runs this",
)

_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_SEEDS: Final = st.integers(0, 2**32)
_PLENTY: Final = 200_000
_IDS: Final = '"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"1112131415161718"'


def _in_span(content: str) -> bytes:
    """A request of one span with more fields, as JSON."""
    fields = f"{_IDS},{content}" if content else _IDS
    return f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}'.encode()


def _value(content: str) -> bytes:
    """A request of one span with one attribute whose value is this JSON."""
    return _in_span(f'"attributes":[{{"key":"k","value":{content}}}]')


def _recorded() -> list[Recording]:
    return [each for each in recordings() if each.signal == "traces"]


# --- the same as the oracle ------------------------------------------------------------------------------------------


def test_recorded_requests() -> None:
    """Every JSON request that a real sender made is taken, not declined, and all of them are the same together."""
    bodies = [each.decompressed() for each in _recorded() if each.encoding == "json"]
    for body in bodies:
        assert_taken(body)
    assert_same(*((body, "json") for body in bodies))


def test_recorded_requests_turned_into_json() -> None:
    """Recorded protobuf requests, written as JSON, are taken."""
    for each in _recorded():
        if each.encoding == "protobuf":
            assert_taken(to_json(each.export()))


@_calm
@given(exports)
def test_generated_requests(sent: Export) -> None:
    """Generated requests as the specification spells them are taken."""
    assert_taken(to_json(sent))


@_calm
@given(st.lists(st.tuples(exports, _SEEDS), max_size=3))
def test_every_spelling(sent: list[tuple[Export, int]]) -> None:
    """Generated requests in any spelling that readers have to take, decoded together, give the same rows."""
    requests = [request(to_json(each, seed), "json") for each, seed in sent]
    assert answer_of(requests, "native", rows_of) == answer_of(requests, "python", rows_of)


@_calm
@given(exports, _SEEDS, st.integers(1, 8))
def test_mutated_requests(sent: Export, seed: int, changes: int) -> None:
    """Requests with changed bytes, alone and between two whole ones, are taken or refused alike."""
    whole = to_json(sent)
    body = mutated(whole, random.Random(seed), changes)
    assert_same((body, "json"))
    requests = [request(each, "json") for each in (whole, body, whole)]
    assert answer_of(requests, "native", rows_of) == answer_of(requests, "python", rows_of)


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.nightly)])
def test_mutated_recordings(rounds: int) -> None:
    """The same for recorded requests, two changes each."""
    chance = random.Random(int("CI" in os.environ) or None)
    for each in _recorded()[::3] * rounds:
        body = each.decompressed() if each.encoding == "json" else to_json(each.export())
        assert_same((mutated(body[:20_000], chance, 2), "json"))


@_calm
@given(exports, _SEEDS, st.integers(1, 6))
def test_values_in_wrong_places(sent: Export, seed: int, changes: int) -> None:
    """Values of the wrong structure, anywhere in a request, are taken or refused alike."""
    chance, document = random.Random(seed), json.loads(to_json(sent, seed) if sent else to_json(export(span())))
    for _ in range(changes):
        misplace(document, chance)
    assert_same((json.dumps(document).encode(), "json"))


@_calm
@given(st.one_of(st.binary(max_size=50), st.text(st.sampled_from('{}[]",:\\ut0-1.e \n'), max_size=30).map(str.encode)))
def test_noise(body: bytes) -> None:
    """Random bytes, and random pieces of JSON, are answered alike, also inside a request."""
    assert_same((body, "json"))
    assert_same((_in_span('"unknown":@').replace(b"@", body), "json"))


# --- strings and numbers ---------------------------------------------------------------------------------------------

_PIECES: Final = (
    "a", "é", "😀", "plain text of more than thirty-two bytes", *map("\\{}".format, '"\\/bfnrtux'), "\\u0041",
    "\\u00e9", "\\ud83d", "\\uDE00", "\\u0000", "\\u12", "\x7f", "\n", "\x00", "{", "[,", "\\",
)  # fmt: skip


@_calm
@given(st.lists(st.sampled_from(_PIECES), max_size=8).map("".join), st.sampled_from([b"", b"\xed\xa0\xbd", b"\xff"]))
def test_strings(text: str, bad: bytes) -> None:
    """Strings of any escapes, halves of surrogate pairs and bytes that are not UTF-8, wherever they stand."""
    quoted = f'"{text}@"'
    inside = f'{{"arrayValue":{{"values":[{{"stringValue":{quoted}}}]}}}}'
    pair = f'{{"key":{quoted},"value":{{"stringValue":{quoted}}}}}'
    for body in (
        _in_span(f'"name":{quoted},"attributes":[{pair}],"unknown":{quoted}'),
        _value(inside),
        _value(f'{{"kvlistValue":{{"values":[{pair},{pair}]}}}}'),
        _in_span(f"{quoted}:1"),
    ):
        assert_same((body.replace(b"@", bad), "json"))


_NUMBERS: Final = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-", "1e", "0x1", "true", "null", " 7", "1_0", "+5", "\u0663"]),
)


@_calm
@given(st.one_of(_NUMBERS, _NUMBERS.map('"{}"'.format)))
def test_numbers(number: str) -> None:
    """Numbers of any spelling, bare or as text, wherever a number may stand."""
    for field in ("intValue", "doubleValue", "boolValue"):
        assert_same((_value(f'{{"{field}":{number}}}'), "json"))
        assert_same((_value(f'{{"arrayValue":{{"values":[{{"{field}":{number}}}]}}}}'), "json"))
    for field in ("startTimeUnixNano", "kind", "flags", "droppedLinksCount", "unknown"):
        assert_same((_in_span(f'"{field}":{number}'), "json"))
    assert_same((_in_span(f'"events":[{{"timeUnixNano":{number}}}],"status":{{"code":{number}}}'), "json"))


@_calm
@given(st.text("AQgwZ+/-_= ", max_size=9))
def test_bytes(digits: str) -> None:
    """Base64 of any spelling, padded or not."""
    assert_same((_value(f'{{"bytesValue":"{digits}"}}'), "json"))


# --- rules one by one ------------------------------------------------------------------------------------------------


def test_every_truncation() -> None:
    """A body cut anywhere is refused alike."""
    whole = to_json(export(span({"k": [1, {"a": "b"}], "d": 0.5, "b": b"x"}, name="whole"), resource={"r": True}))
    assert_taken(whole)
    for length in range(len(whole)):
        assert_same((whole[:length], "json"))


@pytest.mark.parametrize(
    "content",
    [
        '"name":"a"',
        '"name":null,"kind":null,"status":null,"events":null,"links":[null],"attributes":[null,{}]',
        '"kind":"SPAN_KIND_CLIENT","status":{"code":"STATUS_CODE_ERROR"},"flags":"257"',
        '"startTimeUnixNano":{"low":1073741824,"high":-5,"unsigned":true},"start":[{"name":"name"}]',
        '"trace_state":"a=b","dropped_events_count":"3","attributes":[{"key":"k","value":{"int_value":7}}]',
        '"parentSpanId":"0000000000000000","links":[{"traceId":"AB","spanId":""}]',
        '"attributes":[{"key":"k","value":{"intValue":1e3}},{"key":"k","value":{"doubleValue":"NaN"}}]',
    ],
    ids=["plain", "null", "enum names", "halves", "snake_case", "no parent", "JavaScript's numbers"],
)
def test_what_senders_send(content: str) -> None:
    """Spellings that senders are known for are taken, not declined."""
    assert_taken(_in_span(content))


@pytest.mark.parametrize(
    "content",
    [
        '"name":"a","name":"b"',
        '"name":"a","name":null',
        '"trace_state":"a","traceState":"b"',
        '"n\\u0061me":"a"',
        '"name":5',
        '"name":{"a":[1.50,"\\u00e9"]}',
        '"kind":"SPAN_KIND_OF_TOMORROW"',
        '"kind":true,"flags":1.5',
        '"startTimeUnixNano":"soon"',
        '"parentSpanId":"xyz"',
        '"status":[]',
        '"events":{}',
        '"attributes":[5]',
        '"attributes":[{"key":"k","value":"bare"}]',
        '"attributes":[{"key":"k","value":{"stringValue":"a","intValue":1}}]',
        '"attributes":[{"key":"k","value":{"arrayValue":[{"intValue":1}]}}]',
        '"attributes":[{"key":"k","value":{"kvlistValue":{"values":[null]}}}]',
        '"attributes":[{"key":"k","value":{"intValue":18446744073709551615}}]',
        '"attributes":[{"key":"k","value":{"bytesValue":"_-8"}}]',
        '"links":[{"traceId":"not hex"}]',
    ],
)  # fmt: skip
def test_what_is_odd(content: str) -> None:
    """Anything odd is declined, and so becomes what the Python decoder makes of it."""
    assert is_declined(_in_span(content))
    assert_same((_in_span(content), "json"))


def test_names_of_old_senders() -> None:
    """The names that scopes had before they were scopes are taken."""
    old = b"instrumentationLibrarySpans", b"instrumentationLibrary"
    body = to_json(export(span({"k": 1}))).replace(b"scopeSpans", old[0]).replace(b'"scope"', b'"%s"' % old[1])
    assert body.count(b"instrumentationLibrary") == len(old)
    assert_taken(body)


@pytest.mark.parametrize("levels", [1, 2, 30, 38, 39, 40, 41, 42, 43, 50, 99, 101, 5_000])
def test_nesting(levels: int) -> None:
    """Arrays and maps are taken to the same depth, within their kind of value and within what is unknown."""
    array = '{"arrayValue":{"values":[' * levels + '{"intValue":1}' + "]}}" * levels
    mapping = '{"kvlistValue":{"values":[{"value":' * levels + "null" + "}]}}" * levels
    for body in (_value(array), _value(mapping), _in_span('"unknown":' + "[" * levels + "]" * levels)):
        assert_same((body, "json"))


def test_refused_spans() -> None:
    """Spans with unusable ids of every sort are counted and named alike, and what they hold is gone."""
    trace_ids, span_ids, parent_ids = ("01" * 16, "01" * 15, "", "00" * 16), ("01" * 8, "01" * 9, "00" * 8), ("", "01")
    ids = list(itertools.product(trace_ids, span_ids, parent_ids))[1:]
    bad = [Span(trace_id=a, span_id=b, parent_id=c, attributes=[(f"lost {a}", 1)]) for a, b, c in ids]
    assert_taken(to_json(export(*bad, span({"kept": 1}), *bad)))
    assert_taken(to_json(export(*bad * 50)).replace(b'"spans": [', b'"spans": [null, '))


@pytest.mark.parametrize(
    ("where", "name", "limit"),
    [
        (density, "MOST_PARTS", 40),
        (span_table, "MOST_SPANS", 3),
        (package, "MOST_SPANS", 7),
        (package, "MOST_PARTS", 30),
        (package, "_MOST_REPEATED_BYTES", 90),
        (package, "_MOST_REPEATED_BYTES", 20),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, where: object, name: str, limit: int) -> None:
    """Each limit, in one request and together, stops both decoders at the same place with the same words."""
    monkeypatch.setattr(where, name, limit)
    resource = {"näme": "välue", "list": ["é"]}
    bodies = [to_json(export(*[span({"k": "v"})] * count, resource=resource)) for count in range(6)]
    for body in bodies:
        assert_same((body, "json"))
    for end in range(1, 6):
        requests = [request(body, "json") for body in bodies[:end]]
        assert answer_of(requests, "native", rows_of) == answer_of(requests, "python", rows_of)


def test_what_is_declined_leaves_nothing() -> None:
    """A body that turns out to be odd at its end, between two others, has its rows once and in its place."""
    bodies = [to_json(export(span({key: key}, events=[event(key)]), resource={key: 1})) for key in ("a", "b", "c")]
    odd = bodies[1].replace(b'"status": {', b'"status": {"code": true, ')
    assert is_declined(odd)
    requests = [request(body, "json") for body in (bodies[0], odd, bodies[2])]
    assert answer_of(requests, "native", rows_of) == answer_of(requests, "python", rows_of)
    table, _ = decode(requests, "native")
    assert table.span_attributes.column("key").to_pylist() == ["a", "b", "c"]


def test_resources_and_scopes_in_any_order() -> None:
    """Fields count whatever order they come in: the spans before their scope, the scopes before their resource."""
    body: Any = json.loads(to_json([Resource(attributes=[("r", 1)], scopes=[Scope(name="s", spans=[span({"k": 1})])])]))
    turned = json.dumps(body, sort_keys=True), json.dumps(_reversed(body))
    for text in turned:
        assert_taken(text.encode())
    first, second = (answer_of([request(text.encode(), "json")], "native") for text in turned)
    assert first == second


def _reversed(value: Any) -> Any:
    """The same JSON with the keys of each object in the opposite order."""
    if isinstance(value, dict):
        return {key: _reversed(inner) for key, inner in reversed(value.items())}
    return [_reversed(inner) for inner in value] if isinstance(value, list) else value


# --- bounded time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        '"attributes":[' + ",".join(['{"key":"k","value":{"arrayValue":{}}}'] * _PLENTY) + "]",
        '"attributes":[' + ",".join(f'{{"key":"{number}"}}' for number in range(_PLENTY)) + "]",
        '"attributes":[{"value":{"kvlistValue":{"values":['
        + ",".join(f'{{"key":"{number}"}}' for number in range(_PLENTY))
        + "]}}}]",
        '"attributes":[{"value":{"kvlistValue":{"values":[' + ",".join(['{"key":"same"}'] * _PLENTY) + "]}}}]",
        ",".join(f'"unknown {number}":0' for number in range(_PLENTY)),
        '"name":"' + "\\u00e9" * _PLENTY + '"',
        '"unknown":1' + "0" * 300 + "." + "0" * _PLENTY,
        '"events":[' + ",".join(["{}"] * _PLENTY) + "]",
    ],
    ids=["attributes", "keys", "keys of a map", "one key of a map", "unknown", "escapes", "digits", "events"],
)
def test_plenty_of_everything(content: str) -> None:
    """What comes 200,000 times in a span takes time that grows with its bytes: with their square it would never end."""
    body = _in_span(content)
    assert not is_declined(body)
    assert decode([request(body, "json")], "native")[1] == [Accepted(1)]


def test_protobuf_beside_json() -> None:
    """A group of both encodings is one table, its rows in the order of the requests."""
    sent = export(span({"k": 1}))
    both = [request(to_protobuf(sent)), request(to_json(sent), "json")] * 2
    assert answer_of(both, "native") == answer_of(both, "python")
