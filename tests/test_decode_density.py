"""Bodies that are small on the wire and large when parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_receiver import decode as package
from otlp_receiver.decode import TooMuchTogether, decode, density, span_table
from otlp_receiver.decode.density import require_sparse_json, require_sparse_protobuf
from otlp_receiver.mapping.json_text import parse_json
from pipelines.ingest import Accepted, BadRequest, Encoding, Request
from tests.support.hostile import field
from tests.support.otlp import Export, Span, export, span, to_json, to_protobuf
from tests.support.strategies import exports

IDS = field(1, b"t" * 16) + field(2, b"s" * 8)
ONE = to_protobuf(export(span()))


def one_span(content: bytes) -> bytes:
    """A request of one span with more in it."""
    return field(1, field(2, field(2, IDS + content)))


def request(body: bytes, encoding: Encoding = "protobuf") -> Request:
    """A request of the default project."""
    return Request(body, encoding, "default", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x00" * 101,
        b"\x8a\x00\x00" * 101,
        field(1, b"\x12\x00" * 101),
        field(1, field(2, b"\x12\x00" * 101)),
        one_span(b"\x4a\x00" * 101),
        one_span(b"\x5a\x00" * 101),
        one_span(b"\x6a\x00" * 101),
        one_span(b"\x7a\x00" * 101),
        one_span(field(9, field(2, field(5, b"\x0a\x00" * 101)))),
        one_span(field(9, field(2, field(6, b"\x0a\x00" * 101)))),
        field(1, field(1, field(3, b"\x1a\x00" * 101))),
    ],
    ids=["resources", "long tags", "scopes", "spans", "attributes", "events", "links", "statuses", "array", "map",
         "entity keys"],
)  # fmt: skip
def test_too_many_parts(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Whatever may repeat is counted, and one too many is refused for good, naming the limit."""
    monkeypatch.setattr(density, "MOST_PARTS", 100)

    with pytest.raises(BadRequest, match="more than 100 parts"):
        require_sparse_protobuf(body)


@pytest.mark.parametrize(
    "body",
    [b'{"a":[' + b"{}," * 60 + b"{}]}", b'{"a":[' + b"[]," * 60 + b"[]]}", b"[" + b"1," * 101 + b"1]", b"[" * 101],
)
def test_too_many_values(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """The same for JSON."""
    monkeypatch.setattr(density, "MOST_PARTS", 100)

    with pytest.raises(BadRequest, match="more than 100 parts"):
        require_sparse_json(body)


@pytest.mark.parametrize("text", ["j" * 1000, "\n2*" * 500, '"{[,\\' * 300, "\\" * 999])
def test_text_is_no_part(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Text that looks like parts to the first look is not refused."""
    monkeypatch.setattr(density, "MOST_PARTS", 100)
    sent = export(span({"text": text}))

    require_sparse_protobuf(to_protobuf(sent))
    require_sparse_json(to_json(sent))


def test_strings_without_an_end_take_no_time() -> None:
    """A body of quotes and backslashes is looked at once."""
    require_sparse_json(b'"' + b'\\"' * 4_000_000 + b"," * 100)


@given(sent=exports)
def test_the_count_is_exact(sent: Export) -> None:
    """The walk counts what protobuf's own parser finds."""
    body = to_protobuf(sent)
    parts = _parts_of(ExportTraceServiceRequest.FromString(body))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(density, "_LEAST_PART_BYTES", 0)
        patched.setattr(density, "MOST_PARTS", parts)
        require_sparse_protobuf(body)
        patched.setattr(density, "MOST_PARTS", parts - 1)
        if parts:
            with pytest.raises(BadRequest):
                require_sparse_protobuf(body)


def _parts_of(message: object) -> int:
    """Messages inside a message, at every level."""
    found = 0
    for descriptor, value in message.ListFields():  # type: ignore[attr-defined]  # a protobuf message
        if descriptor.message_type is not None:
            inner = value if descriptor.is_repeated else [value]
            found += sum(1 + _parts_of(each) for each in inner)
    return found


@given(body=st.binary(max_size=300))
def test_noise_is_a_bad_request_or_nothing(body: bytes) -> None:
    """Whatever the bytes, the walk ends, and refuses nothing that protobuf would parse."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(density, "_LEAST_PART_BYTES", 0)
        patched.setattr(density, "MOST_PARTS", 150)
        try:
            require_sparse_protobuf(body)
        except BadRequest:
            assert isinstance(decode([request(body)])[1][0], BadRequest)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_too_many_spans(monkeypatch: pytest.MonkeyPatch, encoding: Encoding) -> None:
    """A request of too many spans is refused for good, and leaves nothing behind; one span less is taken."""
    monkeypatch.setattr(span_table, "MOST_SPANS", 10)
    encode = to_protobuf if encoding == "protobuf" else to_json

    table, outcomes = decode([request(encode(export(*[Span()] * count)), encoding) for count in (11, 10)])
    assert isinstance(outcomes[0], BadRequest)
    assert "more than 10 spans" in str(outcomes[0])
    assert outcomes[1] == Accepted(10)
    assert table.spans.num_rows == 10


@pytest.mark.parametrize(("name", "limit"), [("MOST_SPANS", 3), ("MOST_PARTS", 20), ("_MOST_REPEATED_BYTES", 30)])
def test_too_much_together(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    """Requests that each may be decoded are refused as a group, to be given in smaller ones."""
    monkeypatch.setattr(package, name, limit)
    body = to_protobuf(export(span(), span(), resource={"key": "value"}))

    assert decode([request(body)])[1] == [Accepted(2)]
    with pytest.raises(TooMuchTogether):
        decode([request(body)] * 10)


def test_dense_text_of_an_attribute_is_not_looked_into() -> None:
    """JSON in an attribute has a limit too, above which it stays text; brackets inside its strings do not count."""
    assert parse_json("[" + "{}," * 300_000 + "{}]") is None
    assert parse_json(b"[" + b"1," * 600_000 + b"1]") is None
    assert parse_json("\ud800" * 600_000) is None
    assert parse_json('["' + "{}," * 600_000 + '"]') == ["{}," * 600_000]
