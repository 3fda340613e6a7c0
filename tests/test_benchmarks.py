"""The page of figures: its closing section, and that each number to hold is among them."""

import pytest

from benchmarks.goals import GOALS, PAGE, Goal, figures, measured, numbers, refreshed
from benchmarks.measure import Figure, Report


def test_page_is_current() -> None:
    """What the page says of the numbers to hold follows from its figures; `make docs` makes it so."""
    page = PAGE.read_text("utf-8")

    assert refreshed(page) == page


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.what)
def test_every_number_is_measured(goal: Goal) -> None:
    """No number to hold is without a figure on the page."""
    assert measured(goal, figures(PAGE.read_text("utf-8"))) is not None


@pytest.mark.parametrize(
    ("section", "figure", "said"),
    [
        ("ingest", Figure("chat, 512 a request, 8 in flight", "150,000 spans/s, 350 MB/s"), "| then |"),
        ("ingest", Figure("chat, 512 a request, 8 in flight", "30,000 spans/s, 71.2 MB/s"), "| first; 20% of then |"),
        ("ingest", Figure("chat, 512 a request, 8 in flight", "7,500 spans/s, 18 MB/s"), "| 50% of first |"),
        ("ingest", Figure("reply latency at half load", "p50 1 ms, p99 25 ms"), "| then |"),
        ("ingest", Figure("reply latency at half load", "p50 1 ms, p99 50 ms"), "| first; 2.0 times then |"),
        ("ingest", Figure("reply latency at half load", "p50 1 ms, p99 150 ms"), "| 1.5 times first |"),
    ],
)
def test_what_is_reached(section: str, figure: Figure, said: str) -> None:
    """Rates are to be reached and limits not to be exceeded; what is missing is said of the next one."""
    report = Report()
    report.add(section, figure)

    assert [line for line in numbers(report).splitlines() if line.endswith(said)]
    assert numbers(report).count("not measured") == len(GOALS) - 1


def test_page_and_back() -> None:
    """Figures survive being written to a page, with their empty cells."""
    report = Report()
    report.add("map", Figure("a", "1 µs", "", "2 µs"))
    report.add("map", Figure("b", "3 µs"))

    assert Report.read(report.markdown()) == report
