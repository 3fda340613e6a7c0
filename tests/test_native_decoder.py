"""The compiled decoder against its oracle, the Python decoder: equal buffers, equal outcomes, equal words."""

import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otlp_receiver import decode as package
from otlp_receiver.decode import decode, density, native, span_table
from otlp_receiver.lean import resident_bytes
from pipelines.ingest import Accepted, Encoding
from tests.support.corpus import recordings
from tests.support.decoders import answer_of, assert_same, rows_of
from tests.support.hostile import field
from tests.support.mutations import mutated
from tests.support.odd_wire import odd_request
from tests.support.otlp import Export, Span, export, span, to_json, to_protobuf
from tests.support.span_tables import request
from tests.support.strategies import exports

pytestmark = pytest.mark.skipif(
    find_spec("otlp_receiver_native") is None and "CI" not in os.environ,
    reason="the compiled decoder is not there: `make install` builds it where a Rust toolchain is; CI runs this",
)

_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_SEEDS: Final = st.integers(0, 2**32)
_PIECES: Final = (
    b"a",
    b"\xc3\xa9",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\x80",
    b"\xed\xa0",
    b"\xf4\x90",
    b"\xc0",
    b'"',
    b"\0",
)
_BROKEN_TEXTS: Final = st.lists(st.sampled_from(_PIECES), max_size=6).map(b"".join)
_IDS: Final = field(1, b"t" * 16) + field(2, b"s" * 8)
_PLENTY: Final = 200_000
_DEADLINE_SECONDS: Final = 60.0


def _in_span(content: bytes) -> bytes:
    """A request of one span with more in it."""
    return field(1, field(2, field(2, _IDS + content)))


def _value(content: bytes) -> bytes:
    """A request of one span with one attribute whose AnyValue is this."""
    return _in_span(field(9, field(1, b"key") + field(2, content)))


def _recorded() -> list[bytes]:
    return [each.decompressed() for each in recordings() if each.signal == "traces" and each.encoding == "protobuf"]


# --- the same as the oracle ------------------------------------------------------------------------------------------


def test_recorded_requests() -> None:
    """Every recorded request gives the same alone, and all of them the same together."""
    bodies = _recorded()
    for body in bodies:
        assert_same(body)
    assert_same(*bodies)


@_calm
@given(st.lists(exports, max_size=3))
def test_generated_requests(sent: list[Export]) -> None:
    """Generated requests, decoded together, give the same."""
    assert_same(*map(to_protobuf, sent))


@_calm
@given(exports, _SEEDS, st.integers(1, 8))
def test_mutated_requests(sent: Export, seed: int, changes: int) -> None:
    """Requests with changed bytes, between two whole ones, are taken or refused alike."""
    whole = to_protobuf(sent)
    assert_same(whole, mutated(whole, random.Random(seed), changes), whole)


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.nightly)])
def test_mutated_recordings(rounds: int) -> None:
    """The same for recorded requests, two changes each."""
    chance = random.Random(int("CI" in os.environ) or None)
    for body in _recorded()[::3] * rounds:
        assert_same(mutated(body[:20_000], chance, 2))


@settings(_calm, max_examples=500)
@given(_SEEDS, st.sampled_from([0, 0.002, 0.01, 0.05, 0.3]))
def test_odd_wire_format(seed: int, oddness: float) -> None:
    """Groups, long numbers, wrong wire types, fields twice, ids of every length: taken or refused alike."""
    assert_same(odd_request(random.Random(seed), oddness))


@_calm
@given(st.binary(max_size=200))
def test_noise(body: bytes) -> None:
    """Random bytes are answered alike."""
    assert_same(body)


@_calm
@given(st.lists(st.one_of(st.floats(), st.integers(10**14, 10**17).map(lambda eighths: eighths / 8)), max_size=50))
def test_doubles(doubles: list[float]) -> None:
    """Doubles are spelled alike, as attributes and inside JSON."""
    named = {str(index): each for index, each in enumerate(doubles)}
    assert_same(to_protobuf(export(span({"list": doubles, **named}))))


@_calm
@given(st.lists(_BROKEN_TEXTS, max_size=20))
def test_text_that_is_not_utf8(texts: list[bytes]) -> None:
    """Broken characters are replaced alike in keys, values, names, and keys and values inside JSON."""
    pairs = [field(1, text) + field(2, field(1, text)) for text in texts]
    attributes = b"".join(field(9, pair) for pair in pairs)
    inside = field(9, field(2, field(6, b"".join(field(1, pair) for pair in pairs))))
    assert_same(_in_span(attributes + inside + b"".join(field(5, text) for text in texts)))


@_calm
@given(st.lists(st.tuples(exports, st.sampled_from(["protobuf", "json"]), _SEEDS), max_size=5))
def test_both_encodings_together(sent: list[tuple[Export, Encoding, int]]) -> None:
    """Protobuf and JSON together, some of it decoded in Python, give the rows and the outcomes of one decoder."""
    bodies = [(to_protobuf(each) if encoding == "protobuf" else to_json(each), encoding) for each, encoding, _ in sent]
    whole = [mutated(body, random.Random(seed), seed % 2) for (body, _), (_, _, seed) in zip(bodies, sent, strict=True)]
    requests = [request(body, encoding) for body, (_, encoding) in zip(whole, bodies, strict=True)]
    assert answer_of(requests, "native", rows_of) == answer_of(requests, "python", rows_of)


# --- rules one by one ------------------------------------------------------------------------------------------------


def test_every_truncation() -> None:
    """A body cut anywhere is refused, or taken as what it says, alike."""
    whole = to_protobuf(export(span({"k": [1, {"a": "b"}], "d": 0.5, "b": b"x"}, name="whole"), resource={"r": True}))
    for length in range(len(whole)):
        assert_same(whole[:length])


@pytest.mark.parametrize(
    "body",
    [
        field(1, field(1, field(1, b"\x0a\x01a")) + field(3, b"url") + field(1, field(1, b"\x0a\x01b")) + b"\x12\0"),
        _in_span(field(15, b"\x18\x02") + field(15, field(2, b"late"))),
        _in_span(field(9, field(2, field(1, b"first")) + field(2, b"\x18\x07"))),
        _value(field(5, field(1, b"\x18\x01")) + field(5, field(1, b"\x18\x02"))),
        _value(field(5, field(1, b"\x18\x01")) + b"\x18\x05" + field(5, field(1, b"\x18\x02"))),
        _value(field(6, field(1, b"\x0a\x01a") + field(1, b"\x0a\x01b") + field(1, b"\x0a\x01a\x12\x02\x18\x03"))),
        _value(field(5, b"\x0a\x05") + b"\x18\x05"),
        _value(b"\x40\x07"),
        _value(field(5, field(1, b"\x40\xff\xff\xff\xff\x0f"))),
    ],
    ids=[
        "resource",
        "status",
        "value",
        "array",
        "array, number, array",
        "map",
        "bad, replaced",
        "index",
        "index inside",
    ],
)
def test_pieces_of_messages(body: bytes) -> None:
    """What is sent in pieces is merged, and the last of several values counts, as protobuf has it."""
    assert_same(body)


@pytest.mark.parametrize("levels", [*range(30, 36), *range(44, 52), 98, 99, 100, 101, 5_000])
def test_nesting(levels: int) -> None:
    """Arrays, maps and groups are taken to the same depth."""
    array = group = mapping = b""
    for _ in range(levels):
        array = field(5, field(1, array))
        mapping = field(6, field(1, field(2, mapping)))
    group = b"\x1b" * levels + b"\x1c" * levels
    for body in (_value(array), _value(mapping), group, _value(group), _in_span(field(9, field(2, array)) + group)):
        assert_same(body)


def test_refused_spans() -> None:
    """Ten thousand spans with unusable ids of every sort are counted and named alike, and what they hold is gone."""
    trace_ids, span_ids, parent_ids = ("01" * 16, "01" * 15, "", "00" * 16), ("01" * 8, "01" * 9, "00" * 8), ("", "01")
    ids = list(itertools.product(trace_ids, span_ids, parent_ids))[1:]
    bad = [Span(trace_id=a, span_id=b, parent_id=c, attributes=[(f"lost {a}", 1)]) for a, b, c in ids]
    assert_same(to_protobuf(export(*bad, span({"kept": 1}), *bad)), to_protobuf(export(*bad * 500)))


def test_a_refused_span_must_be_well_formed() -> None:
    """What is wrong inside a span that is refused for its ids still refuses the request."""
    assert_same(field(1, field(2, field(2, field(9, b"\x0a\x05")))))
    assert_same(field(1, field(2, field(2, field(9, b"\x0a\x00")))))


@pytest.mark.parametrize(
    ("where", "name", "limit"),
    [
        (density, "MOST_PARTS", 5),
        (span_table, "MOST_SPANS", 3),
        (package, "MOST_SPANS", 7),
        (package, "MOST_PARTS", 30),
        (package, "_MOST_REPEATED_BYTES", 90),
        (package, "_MOST_REPEATED_BYTES", 10),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, where: object, name: str, limit: int) -> None:
    """Each limit, in one request and together, stops both decoders at the same place with the same words."""
    monkeypatch.setattr(where, name, limit)
    bodies = [to_protobuf(export(*[span({"k": "v"})] * count, resource={"name": "value"})) for count in range(6)]
    for body in bodies:
        assert_same(body)
        assert_same(body, body[:-1], body)
    for end in range(1, 6):
        assert_same(*bodies[:end])
        mixed = [request(to_json(export(span())), "json"), *map(request, bodies[:end])]
        assert answer_of(mixed, "native", rows_of) == answer_of(mixed, "python", rows_of)


@_calm
@given(_SEEDS, st.sampled_from([0, 0.01, 0.1]))
def test_counted_bodies(seed: int, oddness: float) -> None:
    """Bodies whose parts are counted one by one are refused at the same part, or for the same fault."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(density, "MOST_PARTS", 8)
        assert_same(odd_request(random.Random(seed), oddness))


def test_malformed_comes_before_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of too many spans that is no message either is refused as none."""
    monkeypatch.setattr(span_table, "MOST_SPANS", 3)
    body = to_protobuf(export(*[span()] * 4))
    assert_same(body)
    assert_same(body + b"\x0a\x05")
    assert "protobuf" in answer_of([request(body + b"\x0a\x05")], "native")[1][0][1]


def test_what_is_refused_leaves_no_keys() -> None:
    """Keys of a refused request are not in the dictionary of the table."""
    good, bad = to_protobuf(export(span({"good": 1}))), to_protobuf(export(span({"bad": 1}))) + b"\x0a"
    table, _ = decode([request(good), request(bad), request(good)], "native")
    assert table.span_attributes.column("key").dictionary.to_pylist() == ["good"]
    assert_same(good, bad, good)


# --- bounded time and memory, and the GIL ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        field(9, b"\x12\x00" * _PLENTY),
        field(9, field(2, b"\x2a\x00\x32\x00" * (_PLENTY // 2))),
        field(9, field(2, field(6, b"".join(field(1, field(1, b"%d" % number)) for number in range(_PLENTY))))),
        field(9, field(2, field(6, field(1, field(1, b"same") + b"\x12\x02\x2a\x00") * _PLENTY))),
        b"".join(field(9, field(1, b"%d" % number)) for number in range(_PLENTY)),
        (b"\x1b" * 90 + b"\x1c" * 90) * (_PLENTY // 90),
        field(15, b"\x18\x01") * _PLENTY,
        b"\x5a\x00" * _PLENTY,
    ],
    ids=["pieces", "values replaced", "keys of a map", "one key of a map", "keys", "groups", "statuses", "events"],
)
def test_plenty_of_everything(content: bytes) -> None:
    """What comes 200,000 times in a span takes time that grows with its bytes: with their square it would never end."""
    assert decode([request(_in_span(content))], "native")[1] == [Accepted(1)]


def test_memory_is_given_back() -> None:
    """Two hundred tables of 5 MB leave less than thirty of them behind."""
    body = to_protobuf(export(span({"text": "x" * 1_000}))) * 5_000
    decode([request(body)], "native")
    before = resident_bytes()
    for _ in range(200):
        decode([request(body)], "native")
    assert resident_bytes() - before < 30 * len(body)


def test_other_threads_run_meanwhile() -> None:
    """Two threads are inside the compiled decoder while a third runs Python: it holds no GIL there.

    No thread is made to give the GIL up here: one that is seen between its two notes gave it up by itself, in the one
    call between them.
    """
    compiled = native.kernel("native")
    bodies = [(0, False, to_protobuf(export(span({"text": "x" * 100}))) * 20_000)]
    limits = native.Limits(density.MOST_PARTS, span_table.MOST_SPANS, 2**40, 2**40, 2**40)

    def work(notes: list[str]) -> None:
        notes.append("in")
        compiled.decode_traces(bodies, limits, True)
        notes.append("out")

    interval_seconds, deadline = sys.getswitchinterval(), time.monotonic() + _DEADLINE_SECONDS
    sys.setswitchinterval(1_000)
    try:
        while not _both_inside(work):
            assert time.monotonic() < deadline, "no two threads were ever inside the decoder at once"
    finally:
        sys.setswitchinterval(interval_seconds)


def _both_inside(work: Callable[[list[str]], None]) -> bool:
    notes: tuple[list[str], list[str]] = ([], [])
    threads = [threading.Thread(target=work, args=(each,)) for each in notes]
    for thread in threads:
        thread.start()
    both_inside = notes == (["in"], ["in"])
    for thread in threads:
        thread.join()
    return both_inside


def test_buffers_are_read_only() -> None:
    """What the decoder hands over cannot be written to, and outlives everything but its last reader."""
    compiled = native.kernel("native")
    limits = native.Limits(2**20, 2**20, 2**20, 2**20, 2**20)
    tables, *_ = compiled.decode_traces([(0, False, to_protobuf(export(span())))], limits, True)
    view = memoryview(tables[0][1][-1])
    del tables
    assert view.readonly
    assert bytes(view) == b""
