"""Numbers and texts as people read them."""

import sys
from pathlib import Path

import pytest

from otlp_receiver.cli.output import cost_text, duration_text, fitted, one_line, program, safe_text


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (-5, "0 µs"),
        (0, "0 µs"),
        (85_900, "85 µs"),
        (999_999, "999 µs"),
        (1_000_000, "1 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.00 s"),
        (4_213_000_000, "4.21 s"),
        (9_996_000_000, "10.0 s"),
        (59_940_000_000, "59.9 s"),
        (59_960_000_000, "1 m 00 s"),
        (185_000_000_000, "3 m 05 s"),
        (3_599_600_000_000, "1 h 00 m"),
        (7_384_000_000_000, "2 h 03 m"),
    ],
)
def test_duration_text(nanoseconds: int, text: str) -> None:
    """Three digits that say something; no unit ever shows 60 or 1000 of itself."""
    assert duration_text(nanoseconds) == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (None, ""),
        ("0", "$0.00"),
        ("0.0000004", "<$0.0001"),
        ("0.001234", "$0.0012"),
        ("12.5", "$12.50"),
        ("1234", "$1,234.00"),
    ],
)
def test_cost_text(dollars: str | None, text: str) -> None:
    """Unknown is empty, never 0; small is not rounded to nothing."""
    assert cost_text(dollars) == text


@pytest.mark.parametrize(
    ("widths", "room", "expected"),
    [
        ([], 80, []),
        ([5, 9], 14, [5, 9]),
        ([5, 90, 40], 65, [5, 30, 30]),
        ([5, 90, 12], 65, [5, 48, 12]),
        ([50, 60], 7, [10, 10]),
        ([3, 60], 7, [3, 10]),
    ],
)
def test_widths_are_shared_fairly(widths: list[int], room: int, expected: list[int]) -> None:
    """What is narrow stays whole, the widest share what is left, none falls below the least."""
    assert fitted(widths, room, 10) == expected


def test_texts_cannot_steer_the_terminal() -> None:
    """Escape sequences that came in with a span are shown, not obeyed; letters of all languages stay."""
    assert safe_text("a\x1b[2Jb\n\té漢🎉") == "a\N{REPLACEMENT CHARACTER}[2Jb\n\té漢🎉"


def test_one_line_is_short() -> None:
    """Line breaks become blanks, what is too long ends in an ellipsis, even when it is mostly blanks."""
    assert one_line("a\n  b\r\nc") == "a b c"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"
    assert one_line("a" + " " * 10_000 + "b", 10) == "a…"


def test_a_printed_line_can_be_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hints name the program as it can be called: by name, by the path it was called with, or as a module."""
    script = tmp_path / "otlp-receiver"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "otlp-receiver"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", [".venv/bin/otlp-receiver", "traces"])
    assert program() == ".venv/bin/otlp-receiver"
    monkeypatch.setattr("sys.argv", ["/somewhere/otlp_receiver/__main__.py"])
    assert program() == f"{sys.executable} -m otlp_receiver"
