"""The numbers to hold, taken from the figures of a run: what is asked for first and then, and what is reached.

`python -m benchmarks.goals` makes the closing section of benchmarks/README.md anew, from the figures on that page.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.measure import Report


class Goal(NamedTuple):
    """One number to hold.

    Attributes:
        what: the number.
        section: of the report.
        figure: the one in it that tells the number.
        spelling: how; `#` stands for the number, in the figure or in what is beside it.
        first: what is asked for first.
        then: what is asked for in the end.
        is_limit: not to be exceeded, where others are to be reached.
    """

    what: str
    section: str
    figure: str
    spelling: str
    first: float
    then: float
    is_limit: bool = False


PAGE: Final = Path(__file__).parent / "README.md"
_TITLE: Final = "## numbers to hold"
_CHAT: Final = "chat, 512 a request, 8 in flight"
_SMALL: Final = "small, 512 a request, 8 in flight"
_ONE: Final = "chat, 1 a request, 256 in flight"
_RSS: Final = "chat: RSS of the ingest process"
_STORED: Final = "agents, eight steps a trace: stored size"
_MIB_IN_MB: Final = 10**6 / 2**20  # asked for in MB

GOALS: Final = (
    Goal("accepted and durable in the local buffer", "ingest", _CHAT, "# spans/s", 15_000, 150_000),
    Goal("socket to queryable", "sockets", f"{_CHAT}: queryable", "# spans/s", 10_000, 40_000),
    Goal("socket to queryable, small spans", "sockets", f"{_SMALL}: queryable", "# spans/s", 10_000, 100_000),
    Goal("of the bare insert", "sockets", f"{_CHAT}: queryable", "(#%)", 25, 80),
    Goal("one span a request, gRPC", "ingest", f"grpc, {_ONE}", "# requests/s", 2_000, 8_000),
    Goal("one span a request, HTTP", "ingest", f"http, {_ONE}", "# requests/s", 4_000, 20_000),
    Goal("reply at half load", "ingest", "reply latency at half load", "p99 # ms", 100, 25, is_limit=True),
    Goal("ingest process, RSS", "sockets", _RSS, "idle # MiB", 120 * _MIB_IN_MB, 90 * _MIB_IN_MB, is_limit=True),
    Goal("the same under load", "sockets", _RSS, ", peak # MiB", 400 * _MIB_IN_MB, 300 * _MIB_IN_MB, is_limit=True),
    Goal("trace by id", "queries", "trace by id", "p95 # ms", 500, 100, is_limit=True),
    Goal("list page", "queries", "list page", "p95 # ms", 500, 100, is_limit=True),
    Goal("cost per model and day", "queries", "cost per model and day", "p95 # ms", 500, 100, is_limit=True),
    Goal("stored, of OTLP received", "storage", _STORED, "1:#", 10, 15),
)


def refreshed(page: str) -> str:
    """The page with its closing section made anew from its figures."""
    return f"{page.partition(_TITLE)[0].rstrip()}\n\n{numbers(figures(page))}"


def figures(page: str) -> Report:
    """What was measured, from a page with or without the closing section."""
    return Report.read(page.partition(_TITLE)[0])


def numbers(report: Report) -> str:
    """The closing section: every number to hold, whether this run has measured it or not."""
    lines = [_TITLE, "", "| what | measured | first | then | reached |", "|---|---|---|---|---|"]
    for goal in GOALS:
        number = measured(goal, report)
        spelled = [_spelled(goal, each) for each in (number, goal.first, goal.then)]
        lines.append(f"| {goal.what} | {' | '.join(spelled)} | {_reached(goal, number)} |")
    return "\n".join([*lines, ""])


def measured(goal: Goal, report: Report) -> float | None:
    """The number that a report has for a goal, if any."""
    pattern = re.escape(goal.spelling).replace(r"\#", r"([\d,.]*\d)")
    for figure in report.sections.get(goal.section, []):
        found = re.search(pattern, f"{figure.value} {figure.baseline}") if figure.what == goal.figure else None
        if found:
            return float(found[1].replace(",", ""))
    return None


def _spelled(goal: Goal, number: float | None) -> str:
    if number is None:
        return "not measured"
    return goal.spelling.replace("#", f"{number:,.1f}".removesuffix(".0")).strip(" ,()")


def _reached(goal: Goal, number: float | None) -> str:
    """Which of the two, and how far the next one is away."""
    if number is None:
        return ""
    for name, asked in (("then", goal.then), ("first", goal.first)):
        if number <= asked if goal.is_limit else number >= asked:
            return name if name == "then" else f"first; {_distance(goal, number, goal.then)} then"
    return f"{_distance(goal, number, goal.first)} first"


def _distance(goal: Goal, number: float, asked: float) -> str:
    return f"{number / asked:.1f} times" if goal.is_limit else f"{number / asked:.0%} of"


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text("utf-8")), "utf-8")
