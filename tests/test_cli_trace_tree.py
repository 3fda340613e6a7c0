"""The tree of a trace: order, and parents that are missing, circular or doubled."""

import random
import re

import pytest

from otlp_receiver.cli.trace_tree import Node, arrange, draw


def _node(span_id: str, parent: str = "", start: int = 0, **changes: object) -> Node:
    fields: dict[str, object] = {
        "id": span_id,
        "parent_id": parent,
        "type": "SPAN",
        "name": span_id,
        "start_unix_ns": start,
        "end_unix_ns": start + 1_500_000,
        "failed": False,
        "status_message": "",
        "model": "",
        "request_model": "",
        "input_tokens": None,
        "output_tokens": None,
        "cached_tokens": 0,
        "cost": None,
    }
    return Node(**(fields | changes))  # type: ignore[arg-type]  # the values above have the fields' types


def _lines(*nodes: Node, width: int = 120) -> list[str]:
    return [line.plain for line in draw(arrange(nodes), width)]


def test_children_stand_below_parents_in_order_of_time() -> None:
    """Siblings are sorted by nanoseconds, whatever the order in which they come."""
    nodes = [_node("root"), _node("b", "root", 2), _node("a", "root", 1), _node("c", "a", 3)]
    expected = ["SPAN root", "├─ SPAN a", "│  └─ SPAN c", "└─ SPAN b"]
    for seed in range(5):
        random.Random(seed).shuffle(nodes)
        assert [line.removesuffix("2 ms").rstrip() for line in _lines(*nodes)[1:]] == expected


def test_an_orphan_is_a_root_and_says_so() -> None:
    """A span whose parent never arrived is shown, marked, with its own children below it."""
    lines = _lines(_node("root"), _node("lost", "gone", 1), _node("child", "lost", 2))
    assert lines[2].startswith("SPAN lost (its parent was not received)")
    assert lines[3].startswith("└─ SPAN child")


@pytest.mark.parametrize(
    "nodes",
    [
        [("a", "a")],
        [("a", "b"), ("b", "a")],
        [("a", "b"), ("b", "c"), ("c", "a"), ("d", "c"), ("root", "")],
        [("a", ""), ("a", "a"), ("a", "")],
        [("a", "b"), ("b", "a"), ("a", "b")],
    ],
)
def test_circles_and_doubles_are_drawn_once_each(nodes: list[tuple[str, str]]) -> None:
    """Whatever spans claim of their parents, each is drawn exactly once, and drawing ends."""
    placed = arrange([_node(name, parent, start) for start, (name, parent) in enumerate(nodes)])
    assert sorted(one.node.start_unix_ns for one in placed) == list(range(len(nodes)))


def test_any_graph_of_parents_is_drawn_once_each() -> None:
    """Random graphs of parents, with missing and repeated ids among them."""
    rng = random.Random(7)
    for _ in range(300):
        count = rng.randrange(1, 12)
        ids = [str(rng.randrange(count)) for _ in range(count)]
        nodes = [_node(one, rng.choice([*ids, "", "missing"]), start) for start, one in enumerate(ids)]
        assert sorted(one.node.start_unix_ns for one in arrange(nodes)) == list(range(count))


def test_depth_neither_recurses_nor_fills_the_line() -> None:
    """A chain of 5,000 spans is drawn, and its lines stay within the width."""
    lines = _lines(_node("n0"), *(_node(f"n{depth}", f"n{depth - 1}", depth) for depth in range(1, 5000)), width=100)
    assert len(lines) == 5001
    assert max(map(len, lines)) <= 100


def test_figures_of_a_model_call() -> None:
    """Tokens in, of them cached, out, cost and model; the model is not said again in the name."""
    call = _node(
        "x",
        type="GENERATION",
        name="chat gpt-5-mini",
        model="gpt-5-mini-2025-08-07",
        request_model="gpt-5-mini",
        input_tokens=3412,
        cached_tokens=2048,
        output_tokens=211,
        cost="0.001234",
        end_unix_ns=4_210_000_000,
    )
    heading, line = _lines(call)
    assert heading.split() == ["observation", "duration", "model", "in", "(cached)", "→", "out", "cost"]
    assert re.split(" {2,}", line) == [
        "GENERATION chat",
        "4.21 s",
        "gpt-5-mini-2025-08-07",
        "3,412 (2,048) → 211",
        "$0.0012",
    ]


def test_an_error_is_told_on_a_line_of_its_own() -> None:
    """The message follows the span, on one line that fits, without what could steer the terminal."""
    lines = _lines(_node("t", failed=True, status_message="boom\n\x1b[31m" + "x" * 500), width=60)
    assert lines[2].startswith("   ✗ boom \N{REPLACEMENT CHARACTER}[31mxxx")
    assert len(lines[2]) == 60


@pytest.mark.parametrize("width", [80, 120])
def test_long_names_and_models_are_cut_not_wrapped(width: int) -> None:
    """No line is wider than the terminal, and the figures stay readable."""
    call = {"input_tokens": 10**5, "cached_tokens": 10**5, "output_tokens": 10**3, "cost": "12.5", "model": "m" * 300}
    lines = _lines(_node("n" * 300), _node("m" * 300, "n" * 300, 1, **call), width=width)
    assert max(map(len, lines)) <= width
    assert lines[-1].endswith("100,000 (100,000) → 1,000  $12.50")
