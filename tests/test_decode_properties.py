"""Decode under generated requests: both encodings agree with the model, and nothing hostile gets past as a crash."""

import json
import random
from collections.abc import Callable

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from otlp_receiver.decode import decode
from pipelines.ingest import Accepted, BadRequest, Encoding
from tests.support.mutations import misplace, mutated
from tests.support.otlp import Export, export, span, to_json, to_protobuf
from tests.support.span_tables import decoded, plain_export, plain_table, request
from tests.support.strategies import exports, resources

_ENCODE: dict[Encoding, Callable[[Export], bytes]] = {"protobuf": to_protobuf, "json": to_json}
_GOOD = export(span({"good": "neighbour"}))
# Building a request costs more than decoding it; the machine's speed says nothing about the code under test.
_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_calm
@given(exports)
@example([])
def test_protobuf_gives_the_request(body: Export) -> None:
    """Every field of a generated request comes out of its protobuf form as it went in."""
    table, outcome = decoded(to_protobuf(body))
    assert plain_table(table) == plain_export(body)
    assert outcome == Accepted(table.spans.num_rows)


@_calm
@given(exports, st.one_of(st.none(), st.integers(0, 2**32)))
@example([], None)
def test_json_gives_the_request(body: Export, spelling_seed: int | None) -> None:
    """Every field of a generated request comes out of its JSON form as it went in, in whatever permitted spelling."""
    table, outcome = decoded(to_json(body, spelling_seed), "json")
    assert plain_table(table) == plain_export(body)
    assert outcome == Accepted(table.spans.num_rows)


@_calm
@given(exports)
def test_both_encodings_give_equal_tables(body: Export) -> None:
    """Protobuf and JSON of one request give the same Arrow tables, column by column."""
    from_protobuf, _ = decoded(to_protobuf(body))
    from_json, _ = decoded(to_json(body), "json")
    for name in from_protobuf.__slots__:
        assert getattr(from_protobuf, name).to_pylist() == getattr(from_json, name).to_pylist(), name
        assert getattr(from_protobuf, name).schema == getattr(from_json, name).schema, name


@_calm
@given(exports, st.sampled_from(["protobuf", "json"]), st.integers(0, 2**32), st.integers(1, 8))
def test_mutated_bodies_give_an_outcome(exported: Export, encoding: Encoding, seed: int, changes: int) -> None:
    """Whatever bytes arrive, there is an outcome, and the neighbour's spans are all that they were."""
    body = mutated(_ENCODE[encoding](exported), random.Random(seed), changes)
    good = request(to_protobuf(_GOOD))
    table, outcomes = decode([good, request(body, encoding), good])
    rows = [
        row
        for row, index in zip(plain_table(table), table.spans.column("request").to_pylist(), strict=True)
        if index != 1
    ]
    assert rows == plain_export(_GOOD) * 2
    assert outcomes[0] == outcomes[2] == Accepted(1)
    if isinstance(outcomes[1], BadRequest):
        assert str(outcomes[1])
        assert table.spans.num_rows == 2
    else:
        assert table.spans.num_rows == 2 + outcomes[1].spans


@_calm
@given(st.binary(max_size=200), st.sampled_from(["protobuf", "json"]))
def test_noise_gives_an_outcome(body: bytes, encoding: Encoding) -> None:
    """Random bytes are answered, never raised about."""
    table, outcome = decoded(body, encoding)
    assert isinstance(outcome, Accepted | BadRequest)
    assert table.spans.num_rows == (outcome.spans if isinstance(outcome, Accepted) else 0)


@_calm
@given(st.lists(st.tuples(exports, st.sampled_from(["protobuf", "json"])), max_size=4))
def test_many_requests_share_a_table(requests: list[tuple[Export, Encoding]]) -> None:
    """Requests decoded together give the rows that each gives alone, each marked with its request."""
    table, outcomes = decode([request(_ENCODE[encoding](body), encoding) for body, encoding in requests])
    expected = [plain_export(body) for body, _ in requests]
    assert plain_table(table) == [row for rows in expected for row in rows]
    assert table.spans.column("request").to_pylist() == [index for index, rows in enumerate(expected) for _ in rows]
    assert outcomes == [Accepted(len(rows)) for rows in expected]


@_calm
@given(st.lists(resources, min_size=1, max_size=2), st.integers(0, 2**32), st.integers(1, 6))
def test_json_of_any_structure_gives_an_outcome(body: Export, seed: int, changes: int) -> None:
    """Values of the wrong structure, anywhere in a JSON request, are answered, never raised about."""
    chance = random.Random(seed)
    document = json.loads(to_json(body, seed))
    for _ in range(changes):
        misplace(document, chance)
    table, outcome = decoded(json.dumps(document).encode(), "json")
    assert table.spans.num_rows == (outcome.spans if isinstance(outcome, Accepted) else 0)
