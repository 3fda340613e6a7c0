"""Decode on what real exporters and hostile senders put into requests, one case each."""

import json
import math
from typing import Any

import pytest

from otlp_receiver.decode import decode
from pipelines.ingest import Accepted, BadRequest, Encoding
from tests.support.otlp import START_NS, Span, export, span, to_json, to_protobuf
from tests.support.span_tables import attributes_of, decoded, kind_and_text, plain_export, plain_table, request

_EVERY_KIND: dict[str, Any] = {
    "empty": None,
    "text": "déjà vu ☀️",
    "empty text": "",
    "NUL": "a\x00b",
    "true": True,
    "false": False,
    "zero": 0,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "double": 0.1,
    "whole double": 1.0,
    "negative zero": -0.0,
    "huge double": 1.5e300,
    "smallest double": 5e-324,
    "NaN": math.nan,
    "infinity": math.inf,
    "negative infinity": -math.inf,
    "bytes": b"\x00\xff\xfe",
    "no bytes": b"",
    "array": ["a", None, 1, 2.5, True, b"\x01", math.nan, ["nested"], {"k": "v"}],
    "empty array": [],
    "map": {"text": "a", "none": None, "big": 2**62, "map": {"list": [1, 2]}},
    "empty map": {},
}


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("name", _EVERY_KIND)
def test_every_kind_of_value(name: str, encoding: Encoding) -> None:
    """Each kind of AnyValue keeps its kind and its exact value, in both encodings."""
    value = _EVERY_KIND[name]
    body = (to_protobuf if encoding == "protobuf" else to_json)(export(span({name: value})))
    table, _ = decoded(body, encoding)
    assert attributes_of(table) == [(name, *kind_and_text(value))]


def _json_span(**fields: Any) -> bytes:
    """A JSON request of one span, made from raw JSON fields."""
    whole = {
        "traceId": "0102030405060708090a0b0c0d0e0f10",
        "spanId": "1112131415161718",
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(START_NS),
        **fields,
    }
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [whole]}]}]}).encode()


def _json_attribute(value: Any) -> bytes:
    return _json_span(attributes=[{"key": "k", "value": value}])


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ({"intValue": 1.5e300}, "double", "1.5e+300"),
        ({"intValue": 1152921504606847000}, "int", "1152921504606847000"),
        ({"intValue": 3.0}, "int", "3"),
        ({"intValue": "-9223372036854775808"}, "int", "-9223372036854775808"),
        ({"intValue": "18446744073709551615"}, "string", "18446744073709551615"),
        ({"intValue": "12abc"}, "string", "12abc"),
        ({"intValue": {"low": -1, "high": 0}}, "int", "4294967295"),
        ({"doubleValue": None}, "empty", ""),
        ({"doubleValue": "NaN"}, "double", "NaN"),
        ({"doubleValue": "-Infinity"}, "double", "-Infinity"),
        ({"doubleValue": 7}, "double", "7.0"),
        ({"boolValue": "true"}, "bool", "true"),
        ({"boolValue": 1}, "bool", "true"),
        ({"boolValue": "perhaps"}, "string", "perhaps"),
        ({"string_value": "snake"}, "string", "snake"),
        ({"kvlist_value": {"values": [{"key": "a", "value": {"int_value": "1"}}]}}, "kvlist", '{"a": 1}'),
        ({"arrayValue": {}}, "array", "[]"),
        ({"arrayValue": {"values": [{"stringValue": "a"}, None, {}]}}, "array", '["a", null, null]'),
        ({"bytesValue": "_-8"}, "bytes", "/+8="),
        ({"bytesValue": "not base64!"}, "string", "not base64!"),
        ({"stringValue": 5}, "string", "5"),
        ({"stringValue": {"a": [1]}}, "string", '{"a":[1]}'),
        ({"valueOfTomorrow": 1}, "empty", ""),
        ({}, "empty", ""),
        (None, "empty", ""),
        ("bare", "string", "bare"),
        ([1], "string", "[1]"),
    ],
)
def test_odd_json_values(value: Any, kind: str, text: str) -> None:
    """Values as JavaScript exporters and hand-made clients spell them are read, or kept as text."""
    table, outcome = decoded(_json_attribute(value), "json")
    assert outcome == Accepted(1)
    assert attributes_of(table) == [("k", kind, text)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1795267000123456789", 1795267000123456789),
        (1795267000123456789, 1795267000123456789),
        (1795267000123456800.0, 1795267000123456768),
        ({"low": -1560673600, "high": 417985974}, (417985974 << 32) + (2**32 - 1560673600)),
        ("18446744073709551615", 2**64 - 1),
        (None, 0),
        (0, 0),
    ],
)
def test_timestamps(written: Any, read: int) -> None:
    """Times come as text, as numbers, as rounded numbers (OTel JS to 0.43) and as two signed halves (0.44)."""
    table, _ = decoded(_json_span(startTimeUnixNano=written), "json")
    assert table.spans.column("start_time_unix_nano").to_pylist() == [read]


def test_old_library_spelling() -> None:
    """OTel JS 0.27 still says instrumentationLibrarySpans; its spans are taken like today's."""
    document = json.loads(_json_span(name="old"))
    (resource,) = document["resourceSpans"]
    resource["instrumentationLibrarySpans"] = resource.pop("scopeSpans")
    resource["instrumentationLibrarySpans"][0]["instrumentationLibrary"] = {"name": "lib", "version": "0.27"}
    table, _ = decoded(json.dumps(document).encode(), "json")
    assert table.spans.column("name").to_pylist() == ["old"]
    assert table.scopes.select(["name", "version"]).to_pylist() == [{"name": "lib", "version": "0.27"}]


@pytest.mark.parametrize(
    ("kind", "code", "read"),
    [
        (3, 2, (3, 2)),
        ("SPAN_KIND_SERVER", "STATUS_CODE_ERROR", (2, 2)),
        ("3", "1", (3, 1)),
        ("SPAN_KIND_OF_TOMORROW", "?", (0, 0)),
        (None, None, (0, 0)),
        (99, 2**40, (99, 0)),
    ],
)
def test_enums(kind: Any, code: Any, read: tuple[int, int]) -> None:
    """Enums are read as numbers, as names, and as 0 when they say nothing known."""
    table, outcome = decoded(_json_span(kind=kind, status={"code": code}), "json")
    assert outcome == Accepted(1)
    assert (table.spans.column("kind")[0].as_py(), table.spans.column("status_code")[0].as_py()) == read


def test_nulls_and_unknown_fields() -> None:
    """Null means absent and unknown fields mean nothing, at every level."""
    body = _json_span(
        name=None,
        attributes=[None, {"key": None, "value": None}],
        events=None,
        links=[None],
        status=None,
        added={"x": 1},
    )
    table, outcome = decoded(body, "json")
    assert outcome == Accepted(1)
    assert attributes_of(table) == [("", "empty", "")]
    assert plain_table(table)[0]["links"] == []
    for nothing in (b"{}", b'{"resourceSpans":null}', b'{"resourceSpans":[null,{},{"scopeSpans":[{}]}],"x":[]}'):
        assert decoded(nothing, "json")[1] == Accepted(0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: "),
        (b'{"resourceSpans":', "the body is not JSON: "),
        (b"[]", "the body is not a JSON object"),
        (b'{"resourceSpans":{}}', "resourceSpans: expected an array, got an object"),
        (b'{"resourceSpans":[7]}', "resourceSpans[0]: expected an object, got a number"),
        (b'{"resourceSpans":[{"resource":[]}]}', "resourceSpans[0].resource: expected an object, got an array"),
        (
            b'{"resourceSpans":[{},{"scopeSpans":[{"spans":[{},true]}]}]}',
            "resourceSpans[1].scopeSpans[0].spans[1]: expected an object, got a boolean",
        ),
        (
            _json_span(attributes=["x"]),
            "resourceSpans[0].scopeSpans[0].spans[0].attributes[0]: expected an object, got a string",
        ),
        (
            _json_span(events=[{"attributes": {"a": 1}}]),
            "resourceSpans[0].scopeSpans[0].spans[0].events[0].attributes: expected an array, got an object",
        ),
    ],
)
def test_wrong_structure_is_refused_with_its_place(body: bytes, message: str) -> None:
    """A JSON body that is no export request is refused, and the message says where it goes wrong."""
    table, outcome = decoded(body, "json")
    assert isinstance(outcome, BadRequest)
    assert str(outcome).startswith(message)
    assert table.spans.num_rows == table.span_attributes.num_rows == table.resources.num_rows == 0


_PLACE = "resourceSpans[0].scopeSpans[0].spans[0]."
_ID_PROBLEMS = [
    ({"trace_id": "01" * 15}, "traceId: 15 bytes, expected 16"),
    ({"trace_id": ""}, "traceId: 0 bytes, expected 16"),
    ({"trace_id": "00" * 16}, "traceId: all zeros, expected a non-zero id"),
    ({"span_id": "01" * 9}, "spanId: 9 bytes, expected 8"),
    ({"span_id": "00" * 8}, "spanId: all zeros, expected a non-zero id"),
    ({"parent_id": "01" * 16}, "parentSpanId: 16 bytes, expected 8"),
]


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize(("ids", "reason"), _ID_PROBLEMS)
def test_unusable_ids_cost_one_span(ids: dict[str, str], reason: str, encoding: Encoding) -> None:
    """A span with an unusable id is rejected with its place and the reason; its neighbours are taken."""
    neighbour = span({"k": "v"}, name="neighbour")
    resources = export(Span(name="bad", attributes=[("lost", 1)], **ids), neighbour)  # type: ignore[arg-type]  # str only
    table, outcome = decoded((to_protobuf if encoding == "protobuf" else to_json)(resources), encoding)
    assert outcome == Accepted(1, 1, _PLACE + reason)
    assert plain_table(table) == plain_export(export(neighbour))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("traceId", "AQIDBAUGBwgJCgsMDQ4PEA==", "traceId: not pairs of hexadecimal digits"),
        ("traceId", "01 02030405060708090a0b0c0d0e0f10", "traceId: not pairs of hexadecimal digits"),
        ("spanId", 1234567812345678, None),
        ("parentSpanId", "zz", "parentSpanId: not pairs of hexadecimal digits"),
        ("startTimeUnixNano", "yesterday", "startTimeUnixNano: not an unsigned 64-bit integer"),
        ("startTimeUnixNano", -1, "startTimeUnixNano: not an unsigned 64-bit integer"),
        ("endTimeUnixNano", "18446744073709551616", "endTimeUnixNano: not an unsigned 64-bit integer"),
    ],
)
def test_unreadable_json_fields_cost_one_span(field: str, value: Any, reason: str | None) -> None:
    """Ids and times that cannot be read reject their span and nothing else."""
    _, outcome = decoded(_json_span(**{field: value}), "json")
    assert outcome == (Accepted(0, 1, _PLACE + reason) if reason else Accepted(1))


def test_upper_case_ids_are_ids() -> None:
    """Hex is read in either case and kept in lower case."""
    body = _json_span(traceId="0102030405060708090A0B0C0D0E0F1A", spanId="ABCDEF0123456789", parentSpanId="00" * 8)
    (row,) = plain_table(decoded(body, "json")[0])
    assert (row["trace_id"], row["span_id"]) == ("0102030405060708090a0b0c0d0e0f1a", "abcdef0123456789")
    assert row["parent_span_id"] == ""


def test_many_rejections_make_a_short_message() -> None:
    """Each of ten thousand bad spans is counted, the first twenty are named."""
    body = to_protobuf(export(*[Span(span_id="")] * 10_000))
    _, outcome = decoded(body)
    assert isinstance(outcome, Accepted)
    assert (outcome.spans, outcome.rejected_spans) == (0, 10_000)
    assert outcome.message.startswith(_PLACE + "spanId: 0 bytes, expected 8; ")
    assert outcome.message.endswith("; and 9980 more")
    assert len(outcome.message) < 2_000


def test_invalid_utf8_in_protobuf_is_replaced() -> None:
    """A cut emoji (ED A0 BD, exporters on protobufjs) becomes U+FFFD where it stands; nothing else changes."""
    resources = export(span({"cut QQQ": "end QQQ", "list": ["QQQ"]}, name="QQQ", status_message="QQQ"))
    table, outcome = decoded(to_protobuf(resources).replace(b"QQQ", b"\xed\xa0\xbd"))
    assert outcome == Accepted(1)
    replaced = "\ufffd" * 3
    expected = span({f"cut {replaced}": f"end {replaced}", "list": [replaced]}, name=replaced, status_message=replaced)
    assert plain_table(table) == plain_export(export(expected))


def test_lone_surrogates_in_json_are_replaced() -> None:
    """The escape of half an emoji becomes U+FFFD; a whole pair stays an emoji; what follows is untouched."""
    body = _json_attribute({"stringValue": "SPLIT"}).replace(b"SPLIT", rb"\ud83d|\ude00|\ud83d\ude00|\ud83d")
    table, _ = decoded(body, "json")
    assert attributes_of(table) == [("k", "string", "\ufffd|\ufffd|😀|\ufffd")]


def test_json_that_strict_parsers_refuse() -> None:
    """A byte order mark, bare NaN and bytes that are not UTF-8 are read as what was meant."""
    body = b"\xef\xbb\xbf" + _json_attribute({"doubleValue": "BARE"}).replace(b'"BARE"', b"NaN")
    assert attributes_of(decoded(body, "json")[0]) == [("k", "double", "NaN")]
    body = _json_attribute({"stringValue": "LATIN"}).replace(b"LATIN", b"caf\xe9")
    assert attributes_of(decoded(body, "json")[0]) == [("k", "string", "caf\ufffd")]


def test_every_truncation_of_a_body_gives_an_outcome() -> None:
    """A body cut anywhere is either refused or, cut between two messages, taken as what it says."""
    whole = to_protobuf(export(span({"k": [1, {"a": "b"}]}, name="whole")))
    for length in range(len(whole)):
        table, outcome = decoded(whole[:length])
        assert isinstance(outcome, BadRequest) or table.spans.num_rows == outcome.spans
    text = to_json(export(span({"k": 1})))
    assert all(isinstance(decoded(text[:length], "json")[1], BadRequest) for length in range(len(text)))


def _nested(levels: int) -> Any:
    value: Any = "core"
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_reasonable_nesting_is_kept(encoding: Encoding) -> None:
    """Twenty levels of arrays and maps come through in both encodings."""
    resources = export(span({"deep": _nested(20)}))
    table, _ = decoded((to_protobuf if encoding == "protobuf" else to_json)(resources), encoding)
    assert plain_table(table) == plain_export(resources)


@pytest.mark.parametrize("levels", [99, 101, 300, 1_000, 100_000])
def test_deep_nesting_is_bounded(levels: int) -> None:
    """However deep a JSON value goes, the request is answered, and what is too deep is cut with a remark."""
    body = _json_attribute("DEEP").replace(
        b'"DEEP"', b'{"arrayValue":{"values":[' * levels + b'{"stringValue":"core"}' + b"]}}" * levels
    )
    table, outcome = decoded(body, "json")
    if isinstance(outcome, BadRequest):
        assert levels >= 300
        assert str(outcome).startswith("the body is not JSON")
    else:
        ((_, kind, text),) = attributes_of(table)
        assert kind == "array"
        assert ("core" if levels < 100 else "[nested deeper than 100 levels]") in text


@pytest.mark.parametrize("field", ["name", "traceState"])
def test_deep_nonsense_in_a_text_field(field: str) -> None:
    """Where a text belongs, JSON nested deeper than it can be written again becomes a remark, not an error."""
    body = _json_span(**{field: "DEEP"}).replace(b'"DEEP"', b"[" * 500 + b"]" * 500)
    table, outcome = decoded(body, "json")
    assert outcome == Accepted(1)
    assert "[nested deeper than 100 levels]" in str(plain_table(table)[0])


def test_deep_protobuf_is_answered() -> None:
    """A protobuf value nested beyond the parser's limit is refused; the process lives."""
    inner = b""
    for _ in range(5_000):
        inner = b"\x2a" + _length(inner_list := b"\x0a" + _length(inner) + inner) + inner_list
    attribute = b"\x0a\x01k\x12" + _length(inner) + inner
    resource = b"\x0a" + _length(attribute) + attribute
    spans = b"\x0a" + _length(resource) + resource
    _, outcome = decoded(b"\x0a" + _length(spans) + spans)
    assert isinstance(outcome, BadRequest)


def _length(body: bytes) -> bytes:
    """Length of a protobuf field as a varint."""
    rest, result = len(body), bytearray()
    while rest > 0x7F:
        result.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*result, rest])


def test_a_bad_body_leaves_no_trace() -> None:
    """Between good bodies a bad one is refused, and the table holds the good ones' rows alone."""
    good = export(span({"k": "v"}, name="good"), resource={"service.name": "s"})
    # Wrong only at its end, when most of it has already been read.
    bad = _json_span(
        name="bad",
        attributes=[{"key": "bad", "value": {"stringValue": "bad"}}],
        events=[{"name": "bad", "attributes": [{"key": "bad", "value": {"intValue": 1}}]}],
        links=[{"traceId": "ab" * 16, "attributes": [7]}],
    )
    table, outcomes = decode(
        [request(to_protobuf(good)), request(bad, "json"), request(b"\xff\xff"), request(to_json(good), "json")]
    )
    assert [type(outcome) for outcome in outcomes] == [Accepted, BadRequest, BadRequest, Accepted]
    assert plain_table(table) == plain_export(good) * 2
    assert table.spans.column("request").to_pylist() == [0, 3]
    assert table.events.num_rows == table.event_attributes.num_rows == table.links.num_rows == 0
    assert table.resources.num_rows == table.scopes.num_rows == 2


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("attribute", [{"big": "x" * 200_000}, {"x" * 200_000: ""}])
def test_a_small_body_cannot_grow_without_bound(attribute: dict[str, str], encoding: Encoding) -> None:
    """A large resource on very many spans is refused with its size; fewer spans of it are taken."""
    encode = to_protobuf if encoding == "protobuf" else to_json
    bomb, fine = (encode(export(*[span()] * count, resource=attribute)) for count in (1_500, 10))
    _, outcomes = decode([request(fine, encoding), request(bomb, encoding), request(fine, encoding)])
    assert [type(outcome) for outcome in outcomes] == [Accepted, BadRequest, Accepted]
    assert "stored with every span, would take 300" in str(outcomes[1])


def test_unknown_protobuf_fields_are_ignored() -> None:
    """Fields of tomorrow's OTLP do not disturb today's."""
    resources = export(span({"k": "v"}))
    table, outcome = decoded(to_protobuf(resources) + b"\xf2\x3f\x03abc")
    assert outcome == Accepted(1)
    assert plain_table(table) == plain_export(resources)


def test_no_requests() -> None:
    """Nothing in, an empty table of the right shape out."""
    table, outcomes = decode([])
    assert outcomes == []
    assert table.spans.num_rows == 0
    assert plain_table(table) == []
