"""The fixed cost of a group: what mapping does whatever the size, and what it remembers from one group to the next."""

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.arrow_arrays import has_text, take_text, text_ends
from otlp_receiver.mapping.keys import KeyMeaning, Remembered, key_arrays
from otlp_receiver.mapping.plan import FIELDS
from otlp_receiver.mapping.winners import winners
from tests.support.mapping import PLAN, map_export, observation
from tests.support.otlp import Value, export, span, to_protobuf
from tests.support.span_tables import request

_MOST_CALLS: Final = 2_400
_CHAT: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2025-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.request.temperature": 0.7,
    "gen_ai.conversation.id": "session-1",
    "user.id": "user-1",
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hello"}]}]',
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"Hi"}]}]',
}


def test_one_span_costs_a_bounded_number_of_calls() -> None:
    """A group of one model call takes 1,800 calls of functions, not one for each of seventy fields and more."""
    requests = [request(to_protobuf(export(span(attributes=_CHAT))))]
    table, _ = decode(requests)
    calls = 0

    def count(_frame: FrameType, kind: str, _of: Any) -> None:
        nonlocal calls
        calls += kind in ("call", "c_call")

    map_spans(PLAN, table, requests)
    known = sys.getprofile()
    sys.setprofile(count)
    try:
        map_spans(PLAN, table, requests)
    finally:
        sys.setprofile(known)
    assert 0 < calls < _MOST_CALLS


def test_a_group_finds_its_keys_remembered() -> None:
    """The same names are looked up once, others for themselves."""
    asked: list[Sequence[str]] = []

    def look_up(names: Sequence[str]) -> int:
        asked.append(names)
        return len(names)

    remembered = Remembered(look_up)
    assert [remembered.of(names) for names in (["a", "b"], ["a", "b"], ["b"])] == [2, 2, 1]
    assert asked == [("a", "b"), ("b",)]


@pytest.mark.parametrize("names", [[""] * 40_000, ["a" * 40_000]])
def test_a_long_list_of_names_is_not_remembered(names: list[str]) -> None:
    """Senders invent names: neither many nor long ones stay in memory."""
    asked: list[int] = []

    def look_up(names: Sequence[str]) -> str:
        asked.append(len(names))
        return "found"

    remembered = Remembered(look_up)
    for _ in range(2):
        assert remembered.of(names) == "found"
    assert len(asked) == 2


def test_what_is_remembered_of_names_is_bounded() -> None:
    """A flood of different lists pushes the first one out."""
    asked: list[str] = []

    def look_up(names: Sequence[str]) -> str:
        asked.append(names[0])
        return names[0]

    remembered = Remembered(look_up)
    for number in range(10):
        remembered.of([f"{number}", "a" * 30_000])
    remembered.of(["0", "a" * 30_000])
    assert asked.count("0") == 2


@pytest.mark.parametrize("present", [[], [0], [3, 5], range(len(FIELDS))])
def test_winners_know_the_fields_that_nobody_has(present: Sequence[int]) -> None:
    """None, some or all fields filled: each is found in its row, the others say -1."""
    keys = key_arrays([KeyMeaning(field=field) for field in present])
    code = np.arange(len(present), dtype=np.int32)
    values = pa.array(["x"] * len(present), pa.string())
    found = winners(np.zeros(len(present), np.int32), code, values, keys, 2)
    rows = {field: row for row, field in enumerate(present)}
    assert found[0, :].tolist() == [rows.get(field, -1) for field in range(len(FIELDS))]
    assert not (found[1, :] >= 0).any()
    assert found.fields.keys() == rows.keys()


@pytest.mark.parametrize("rows", [[], [-1], [2, -1, 0, 1], [-1, -1]])
def test_missing_texts_are_empty(rows: list[int]) -> None:
    """A row below zero takes an empty text, also from a slice, and no null is left."""
    texts = ["ä", "", "long enough"]
    values = pa.array(["before", *texts, "behind"]).slice(1, 3)
    taken = take_text(values, np.array(rows, np.int64))
    taken.validate(full=True)
    assert taken.to_pylist() == [texts[row] if row >= 0 else "" for row in rows]
    assert not taken.null_count
    assert has_text(taken).tolist() == [bool(text) for text in taken.to_pylist()]
    assert text_ends(taken)[-1] - text_ends(taken)[0] == sum(len(text.encode()) for text in taken.to_pylist())


def test_an_odd_count_costs_its_neighbours_nothing() -> None:
    """Counts are read together, and one that is none neither spoils nor changes the others."""
    odd: dict[str, Value] = {**_CHAT, "gen_ai.usage.input_tokens": "0x10", "gen_ai.usage.output_tokens": "1e2"}
    rows = map_export(export(span(attributes=_CHAT), span(attributes=odd))).observations
    assert [row["input_tokens"] for row in rows] == [100, None]
    assert [row["output_tokens"] for row in rows] == [20, 100]
    assert rows[1]["metadata"]["gen_ai.usage.input_tokens"] == "0x10"


def test_columns_of_a_group_are_independent() -> None:
    """Fields share what was taken for all of them, yet each has its own texts, with gaps where spans lack them."""
    first, second = map_export(
        export(span(attributes={"user.id": "ann"}), span(attributes={"session.id": "s", "gen_ai.tool.name": "t"}))
    ).observations
    assert (first["user_id"], first["session_id"], first["tool_name"]) == ("ann", "", "")
    assert (second["user_id"], second["session_id"], second["tool_name"]) == ("", "s", "t")
    assert observation(span())["user_id"] == ""
