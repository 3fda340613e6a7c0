"""Content types, compression, and what real exporters write: all of it arrives as what was meant."""

import gzip
import json
import struct
import sys
import zlib
from typing import Any, Final

import grpc
import pytest

from tests.conformance.clients import TYPES, over_grpc, over_http
from tests.conformance.front_door import FrontDoor
from tests.support.arrow_rows import Row
from tests.support.otlp import START_NS, export, span, to_protobuf

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_BODY: Final = to_protobuf(export(span({"text": "x" * 100})))
_TRACE_ID, _SPAN_ID = "0102030405060708090a0b0c0d0e0f10", "1112131415161718"


@pytest.mark.parametrize("content_type", ["{}", "{}; charset=utf-8", "{};v=1", "{} ; Charset=UTF-8"])
@pytest.mark.parametrize("is_upper", [False, True])
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_content_types(door: FrontDoor, encoding: str, is_upper: bool, content_type: str) -> None:  # noqa: FBT001
    """Letter case and parameters do not matter; the reply has the plain type of the request."""
    plain = TYPES["json" if encoding == "json" else "protobuf"]
    sent = content_type.format(plain.upper() if is_upper else plain)
    answer = over_http(door, b"{}" if encoding == "json" else b"", Content_Type=sent)
    assert (answer.code, answer.content_type) == (200, plain)


_DEFLATE: Final = zlib.compressobj(wbits=-zlib.MAX_WBITS)
_CODINGS: Final = [
    ("identity", _BODY),
    ("gzip", gzip.compress(_BODY)),
    ("GZip", gzip.compress(_BODY)),
    ("x-gzip", gzip.compress(_BODY)),
    ("gzip", gzip.compress(_BODY[:7]) + gzip.compress(_BODY[7:])),
    ("deflate", zlib.compress(_BODY)),
    ("deflate", _DEFLATE.compress(_BODY) + _DEFLATE.flush()),
    ("zstd", zstd.compress(_BODY)),
    ("zstd", zstd.compress(_BODY[:7]) + zstd.compress(_BODY[7:])),
]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("coding", "body"), _CODINGS)
def test_content_codings(door: FrontDoor, coding: str, body: bytes, is_chunked: bool) -> None:  # noqa: FBT001
    """Every coding is undone, several members and frames too, with a length or in chunks."""
    stored = len(door.buffer.observations)
    pieces = iter([body[:5], body[5:]])
    answer = over_http(door, pieces if is_chunked else body, Content_Type=TYPES["protobuf"], Content_Encoding=coding)
    assert (answer.code, answer.content) == (200, b"")
    assert len(door.buffer.observations) == stored + 1


_BROKEN: Final = [
    ("gzip", b"no gzip"),
    ("gzip", gzip.compress(_BODY)[:-3]),
    ("gzip", gzip.compress(_BODY) + b"tail"),
    ("deflate", zlib.compress(_BODY)[:-3]),
    ("deflate", zlib.compress(_BODY) + b"tail"),
    ("zstd", b"no zstd at all"),
    ("zstd", zstd.compress(_BODY)[:-3]),
]


@pytest.mark.parametrize(("coding", "body"), _BROKEN)
def test_broken_compression(door: FrontDoor, coding: str, body: bytes) -> None:
    """A stream that cannot be decompressed is the sender's fault: 400, and nothing of it is taken."""
    stored = len(door.buffer.observations)
    answer = over_http(door, body, Content_Type=TYPES["protobuf"], Content_Encoding=coding)
    assert (answer.code, answer.status.code) == (400, grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert coding in answer.status.message
    assert len(door.buffer.observations) == stored


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_grpc_compression(door: FrontDoor, compression: grpc.Compression) -> None:
    """Every compression that gRPC has arrives decompressed."""
    stored = len(door.buffer.observations)
    assert over_grpc(door, _BODY, compression=compression).code is grpc.StatusCode.OK
    assert len(door.buffer.observations) == stored + 1


def _json_span(**fields: Any) -> dict[str, Any]:
    return {
        "traceId": _TRACE_ID,
        "spanId": _SPAN_ID,
        "name": "n",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    } | fields


def _json_request(**fields: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [_json_span(**fields)]}]}]}


def _attribute(value: Any) -> dict[str, Any]:
    return _json_request(attributes=[{"key": "key", "value": value}])


_HIGH, _LOW = divmod(START_NS, 2**32)
_NESTED: Final = {
    "kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{"intValue": "1"}, {}]}}}]}
}
_JSON: Final[list[tuple[str, Any, Row]]] = [
    ("ids in upper case", _json_request(traceId=_TRACE_ID.upper()), {"trace_id": _TRACE_ID}),
    ("times as strings", _json_request(startTimeUnixNano=str(START_NS)), {"start_time": START_NS}),
    ("times as numbers", _json_request(startTimeUnixNano=START_NS), {"start_time": START_NS}),
    ("rounded times", _json_request(startTimeUnixNano=1795267000123456800), {"start_time": 1795267000123456800}),
    ("times with an exponent", _json_request(startTimeUnixNano=1.5e18), {"start_time": 15 * 10**17}),
    (
        "times as signed halves (JS 0.44)",
        _json_request(startTimeUnixNano={"low": struct.unpack("i", struct.pack("I", _LOW))[0], "high": _HIGH}),
        {"start_time": START_NS},
    ),
    ("enums as numbers", _json_request(kind=3, status={"code": 2}), {"span_kind": "CLIENT", "status_code": "ERROR"}),
    (
        "enums as names",
        _json_request(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR"}),
        {"span_kind": "CLIENT", "status_code": "ERROR"},
    ),
    (
        "snake_case",
        {"resource_spans": [{"scope_spans": [{"spans": [{"trace_id": _TRACE_ID, "span_id": _SPAN_ID, "name": "n"}]}]}]},
        {"trace_id": _TRACE_ID, "id": _SPAN_ID},
    ),
    (
        "names of old (JS 0.27)",
        {
            "resourceSpans": [
                {
                    "instrumentationLibrarySpans": [
                        {"instrumentationLibrary": {"name": "lib", "version": "1"}, "spans": [_json_span()]}
                    ]
                }
            ]
        },
        {"scope_name": "lib", "scope_version": "1"},
    ),
    (
        "unknown fields",
        _json_request(tomorrow=[{}], events=[{"name": "e", "tomorrow": 1}], status={"tomorrow": None}),
        {"name": "n"},
    ),
    ("null for anything", _json_request(parentSpanId=None, attributes=None, status=None, kind=None), {"is_root": True}),
    (
        "int64 as a string",
        _attribute({"intValue": "-9223372036854775808"}),
        {"metadata": {"key": "-9223372036854775808"}},
    ),
    ("int64 as a number", _attribute({"intValue": 2**63 - 1}), {"metadata": {"key": "9223372036854775807"}}),
    ("a double as an int", _attribute({"intValue": 1.5e300}), {"metadata": {"key": "1.5e+300"}}),
    ("null for NaN", _attribute({"doubleValue": None}), {"metadata": {"key": ""}}),
    ("NaN", _attribute({"doubleValue": "NaN"}), {"metadata": {"key": "NaN"}}),
    ("-Infinity", _attribute({"doubleValue": "-Infinity"}), {"metadata": {"key": "-Infinity"}}),
    ("an empty value", _attribute({}), {"metadata": {"key": ""}}),
    ("bytes in base64", _attribute({"bytesValue": "AH//"}), {"metadata": {"key": "AH//"}}),
    ("nested values", _attribute(_NESTED), {"metadata": {"key": '{"a":[1,null]}'}}),
    ("NUL", _json_request(name="a\0b"), {"name": "a\0b"}),
    ("half an emoji", _json_request(name="a\ud83d"), {"name": "a\ufffd"}),
]


@pytest.mark.parametrize(("sent", "expected"), [each[1:] for each in _JSON], ids=[each[0] for each in _JSON])
def test_json_as_exporters_write_it(door: FrontDoor, sent: Any, expected: Row) -> None:
    """Lenient reading: each spelling is a full success and means what its writer meant."""
    answer = over_http(door, json.dumps(sent).encode(), Content_Type=TYPES["json"])
    assert (answer.code, answer.content) == (200, b"{}")
    _assert_last_row(door, expected)


def _assert_last_row(door: FrontDoor, expected: Row) -> None:
    row = door.buffer.observations[-1]
    assert {name: row[name] for name in expected} == expected


_WRONG_JSON: Final = [
    (b"[]", "the body is not a JSON object"),
    (b'{"resourceSpans":7}', "resourceSpans: expected an array, got a number"),
    (b'{"resourceSpans":[{"scopeSpans":"x"}]}', "resourceSpans[0].scopeSpans: expected an array, got a string"),
    (b'{"resourceSpans":[{},7]}', "resourceSpans[1]: expected an object, got a number"),
]


@pytest.mark.parametrize(("body", "message"), _WRONG_JSON)
def test_json_that_says_nothing(door: FrontDoor, body: bytes, message: str) -> None:
    """What is no request at all is refused, with the place that is wrong."""
    answer = over_http(door, body, Content_Type=TYPES["json"])
    assert (answer.code, answer.status.message) == (400, message)


@pytest.mark.parametrize("is_grpc", [False, True])
@pytest.mark.parametrize(
    ("cut", "shown"), [(b"\xed\xa0\xbd", "\ufffd" * 3), (b"\xff\xfe\xfd", "\ufffd" * 3), (b"\x00\x01\x02", "\0\1\2")]
)
def test_protobuf_text_that_is_no_utf8(door: FrontDoor, cut: bytes, shown: str, is_grpc: bool) -> None:  # noqa: FBT001
    """Text that a strict parser refuses (a cut emoji of JS exporters up to 0.203) costs nothing but itself."""
    body = to_protobuf(export(span(name="name: xyz"))).replace(b"xyz", cut)
    if is_grpc:
        assert over_grpc(door, body).content == b""
    else:
        assert over_http(door, body, Content_Type=TYPES["protobuf"]).content == b""
    _assert_last_row(door, {"name": f"name: {shown}"})
