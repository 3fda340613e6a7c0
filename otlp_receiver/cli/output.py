"""What people read: errors, numbers and texts, the same in all commands."""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

_NS_PER_SECOND: Final = 10**9
_PLAIN_WIDTH: Final = 120
_SHORT_NAME_CHARS: Final = 8
_LEAST_DOLLARS: Final = 0.0001
_LINE_BREAKS_AND_TABS: Final = frozenset("\n\t")


def fail(message: str, exit_code: int = 1) -> NoReturn:
    """End the command with one clear line on standard error."""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(safe_text(message), err=True)
    raise typer.Exit(exit_code)


def program() -> str:
    """How to call this program again, so that a line which is printed can be copied: it may not be on the PATH."""
    if shutil.which("otlp-receiver"):
        return "otlp-receiver"
    called = Path(sys.argv[0])
    return str(called) if called.name == "otlp-receiver" else f"{sys.executable} -m otlp_receiver"


def console() -> "Console":
    """A console on standard output that shows text as it is: no markup, no emoji names, no guessed highlights.

    A file or a pipe gets a fixed width, so that what is written does not depend on the window it was started from.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    return Console(markup=False, emoji=False, highlight=False, width=width)


def safe_text(text: str) -> str:
    """The text without control characters that could steer a terminal; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _LINE_BREAKS_AND_TABS else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def one_line(text: str, most_chars: int = 200) -> str:
    """The start of a text on one line, safe to print."""
    short = text[: most_chars * 2]  # a text may be megabytes long
    line = safe_text(" ".join(short.split()))
    return line if len(line) <= most_chars and len(short) == len(text) else line[: most_chars - 1] + "…"


def unique_chars(names: Sequence[str]) -> int:
    """How many first characters tell these names apart, at least eight: many names begin with the same time."""
    known = set(names)
    longest = max(map(len, known), default=0)
    lengths = range(_SHORT_NAME_CHARS, longest)
    return next((chars for chars in lengths if len({one[:chars] for one in known}) == len(known)), longest)


def widest(heading: str, cells: Iterable[str]) -> int:
    """Terminal columns that the heading and the cells below it need."""
    from rich.cells import cell_len

    return max([cell_len(heading), *map(cell_len, cells)])


def fitted(widths: Sequence[int], room: int, least: int) -> list[int]:
    """Widths that add up to at most `room` where that is possible: the widest shrink first, none below `least`."""
    ordered = sorted(widths)
    for index, width in enumerate(ordered):
        share = (room - sum(ordered[:index])) // (len(ordered) - index)
        if width > share:
            return [min(each, max(share, least)) for each in widths]
    return list(widths)


def duration_text(nanoseconds: int) -> str:
    """Such as `85 µs`, `312 ms`, `4.21 s`, `3 m 05 s`; at most 8 characters below a hundred hours."""
    seconds = nanoseconds / _NS_PER_SECOND
    if seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return f"{max(nanoseconds, 0) // 1000} µs"
    if seconds < 0.9995:  # noqa: PLR2004 - what rounds to less than 1000 ms
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:  # noqa: PLR2004 - what rounds to less than a minute
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"  # noqa: PLR2004 - three digits
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} m"  # noqa: PLR2004 - an hour


def count_text(count: int) -> str:
    """A whole number with thousands separated."""
    return f"{count:,}"


def tokens_text(count: int | str | None) -> str:
    """A number of tokens, empty when unknown; ClickHouse may write 64-bit integers as text."""
    return "" if count is None else count_text(int(count))


def cost_text(dollars: str | None) -> str:
    """US dollars, empty when unknown; what is less than can be shown is not shown as nothing."""
    if not dollars:
        return ""
    amount = float(dollars)
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if amount >= _LEAST_DOLLARS else f"<${_LEAST_DOLLARS}"


def time_text(unix_ns: int) -> str:
    """Local date and time, to the second."""
    return f"{_local(unix_ns):%Y-%m-%d %H:%M:%S}"


def short_time_text(unix_ns: int) -> str:
    """Local time for today, the date for other years, between them as much of both as fits in eleven characters."""
    then, now = _local(unix_ns), _local(time.time_ns())
    if then.date() == now.date():
        return f"{then:%H:%M:%S}"
    return f"{then:%m-%d %H:%M}" if then.year == now.year else f"{then:%Y-%m-%d}"


def _local(unix_ns: int) -> "datetime":
    from datetime import UTC, datetime

    return datetime.fromtimestamp(unix_ns // _NS_PER_SECOND, UTC).astimezone()
