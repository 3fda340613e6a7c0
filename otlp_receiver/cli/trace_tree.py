"""Observations of a trace as lines of a tree, whatever their parents claim: missing, circular, or themselves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from otlp_receiver.cli.output import cost_text, count_text, duration_text, one_line

if TYPE_CHECKING:
    from rich.text import Text

_DEEPEST_DRAWN: Final = 16
_GUIDE_CHARS: Final = 3
_LEAST_LABEL_CHARS: Final = 20
_LEAST_MODEL_CHARS: Final = 12
_GAP: Final = "  "
_HEADINGS: Final = ("duration", "model", "in (cached) → out", "cost")
_MODEL: Final = 1
_STYLES: Final = {
    "GENERATION": "magenta",
    "EMBEDDING": "magenta",
    "RERANKER": "magenta",
    "TOOL": "yellow",
    "AGENT": "cyan",
    "CHAIN": "cyan",
    "RETRIEVER": "blue",
    "EVALUATOR": "green",
    "GUARDRAIL": "green",
}


@dataclass(frozen=True, slots=True)
class Node:
    """What the tree shows of an observation; times in Unix nanoseconds, None for an unknown count or cost."""

    id: str
    parent_id: str
    type: str
    name: str
    start_unix_ns: int
    end_unix_ns: int
    failed: bool
    status_message: str
    model: str
    request_model: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int
    cost: str | None


@dataclass(frozen=True, slots=True)
class Placed:
    """A node and where it stands: `guides` is drawn before it, `below` before further lines about it."""

    node: Node
    guides: str
    below: str
    is_orphan: bool


def node(row: dict[str, Any]) -> Node:
    """A node from a row whose columns are the fields of `Node`, with `level` for `failed`."""
    return Node(
        id=row["id"],
        parent_id=row["parent_id"],
        type=row["type"],
        name=row["name"],
        start_unix_ns=int(row["start_unix_ns"]),
        end_unix_ns=int(row["end_unix_ns"]),
        failed=row["level"] == "ERROR",
        status_message=row["status_message"],
        model=row["model"],
        request_model=row["request_model"],
        input_tokens=_count(row["input_tokens"]),
        output_tokens=_count(row["output_tokens"]),
        cached_tokens=int(row["cached_tokens"]),
        cost=row["cost"],
    )


def _count(value: int | str | None) -> int | None:
    """ClickHouse may write 64-bit integers as text."""
    return None if value is None else int(value)


def arrange(nodes: Iterable[Node]) -> list[Placed]:
    """Every node once, in drawing order: parents before children, siblings by start time.

    A node whose parent never arrived stands as a root; so does the earliest of a circle.
    """
    ordered = sorted(nodes, key=lambda one: (one.start_unix_ns, one.id))
    known = {one.id for one in ordered}
    children: dict[str, list[Node]] = {}
    for one in ordered:
        children.setdefault(one.parent_id, []).append(one)
    roots = [one for one in ordered if one.parent_id not in known]
    drawn: set[int] = set()
    placed: list[Placed] = []
    for root in (*roots, *ordered):  # what no root leads to hangs in a circle
        is_orphan = root.parent_id not in known and root.parent_id != ""
        placed += _descend(root, children, drawn, is_orphan=is_orphan)
    return placed


def _descend(root: Node, children: dict[str, list[Node]], drawn: set[int], *, is_orphan: bool) -> Iterator[Placed]:
    """A root and what hangs from it, each node once. A loop, not recursion: how deep it goes is the sender's choice."""
    waiting = [(root, "", "", 0)]
    while waiting:
        one, guides, below, depth = waiting.pop()
        if id(one) in drawn:
            continue
        drawn.add(id(one))
        under = [child for child in children.pop(one.id, ()) if id(child) not in drawn]
        yield Placed(one, guides, below + ("│  " if under else "   "), is_orphan=is_orphan and one is root)
        indent = below if depth < _DEEPEST_DRAWN else below[:-_GUIDE_CHARS]
        for number, child in enumerate(reversed(under)):
            elbow, pass_by = ("└─ ", "   ") if number == 0 else ("├─ ", "│  ")
            waiting.append((child, indent + elbow, indent + pass_by, depth + 1))


def draw(placed: Sequence[Placed], width: int) -> "Iterator[Text]":
    """Lines of at most `width` characters where that is possible: the tree left, figures in columns right."""
    from rich.text import Text

    figures = [_figures(one.node) for one in placed]
    labels = [_label(one) for one in placed]
    widths = _widths(figures)
    label_width = _make_room(max((label.cell_len for label in labels), default=0), widths, width)
    heading = Text("observation")
    yield _line(heading, _HEADINGS, label_width, widths, "bold")
    for one, label, row in zip(placed, labels, figures, strict=True):
        yield _line(label, row, label_width, widths)
        if one.node.failed:
            yield _error_line(one, width)


def _label(one: Placed) -> "Text":
    from rich.text import Text

    label = Text.assemble((one.guides, "dim"), (one.node.type, _STYLES.get(one.node.type, "")), " ")
    label.append(_short_name(one.node), "red" if one.node.failed else "")
    if one.is_orphan:
        label.append(" (its parent was not received)", "dim")
    return label


def _short_name(one: Node) -> str:
    """The name without the model that the conventions put behind it: it has a column of its own."""
    name = one_line(one.name, 100) or "-"
    return name.removesuffix(f" {one.request_model}") if one.request_model else name


def _figures(one: Node) -> tuple[str, ...]:
    duration = duration_text(one.end_unix_ns - one.start_unix_ns)
    return duration, one_line(one.model, 60), _tokens(one), cost_text(one.cost)


def _tokens(one: Node) -> str:
    if one.input_tokens is None and one.output_tokens is None:
        return ""
    cached = f" ({count_text(one.cached_tokens)})" if one.cached_tokens else ""
    sent = "?" if one.input_tokens is None else count_text(one.input_tokens)
    return sent + cached + ("" if one.output_tokens is None else f" → {count_text(one.output_tokens)}")


def _widths(figures: Sequence[Sequence[str]]) -> list[int]:
    """Width of every column of figures; 0 for one that has nothing to show."""
    widest = [max((len(cell) for cell in column), default=0) for column in zip(*figures, strict=True)]
    return [max(width, len(heading)) if width else 0 for width, heading in zip(widest, _HEADINGS, strict=False)]


def _make_room(label_width: int, widths: list[int], width: int) -> int:
    """Shorten the models, then the labels, until all fits; returns the labels' width."""
    excess = label_width + sum(each + len(_GAP) for each in widths if each) - width
    if widths and excess > 0:
        given = max(0, min(excess, widths[_MODEL] - _LEAST_MODEL_CHARS))
        widths[_MODEL] -= given
        excess -= given
    return max(label_width - max(excess, 0), min(label_width, _LEAST_LABEL_CHARS))


def _line(label: "Text", figures: Sequence[str], label_width: int, widths: Sequence[int], style: str = "") -> "Text":
    from rich.text import Text

    label.truncate(label_width, overflow="ellipsis", pad=True)
    line = Text(style=style)
    line.append_text(label)
    for column, (cell, width) in enumerate(zip(figures, widths, strict=True)):
        if width:
            shown = Text(cell)
            shown.truncate(width, overflow="ellipsis")
            shown.align("left" if column == _MODEL else "right", width)
            line.append(_GAP).append_text(shown)
    line.rstrip()
    return line


def _error_line(one: Placed, width: int) -> "Text":
    from rich.text import Text

    line = Text.assemble((one.below, "dim"), ("✗ " + (one_line(one.node.status_message, 500) or "failed"), "red"))
    line.truncate(width, overflow="ellipsis")
    return line
