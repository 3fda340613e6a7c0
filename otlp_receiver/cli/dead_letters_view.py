"""Dead letters as people and programs read them; reasons and rows may hold anything, and never steer a terminal."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from otlp_receiver.cli.output import (
    count_text,
    fitted,
    one_line,
    safe_text,
    short_time_text,
    time_text,
    unique_chars,
    widest,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from pipelines.dead_letters import DeadLetter, DeadLetterStore, Summary

_SUFFIX: Final = ".arrow"
_GAP: Final = 2
_FULL_NAME_WIDTH: Final = 160
_FULL_TIME_WIDTH: Final = 110
_LEAST_REASON_CHARS: Final = 20
_ROWS_AT_ONCE: Final = 64  # a row may be megabytes, and takes several times as much as objects


def stem(name: str) -> str:
    """A name without what the names of all files end in."""
    return name.removesuffix(_SUFFIX)


def listed(letter: "Summary", letters: "DeadLetterStore") -> dict[str, Any]:
    """Everything that a list knows of a letter."""
    return {
        "name": letter.name,
        "time_unix_ns": letter.time_ns,
        "kind": letter.kind,
        "rows": letter.rows,
        "origin": letter.origin,
        "reason": letter.reason,
        "replayed": letter.was_replayed,
        "place": letters.place(letter.name),
    }


def table(shown: "Sequence[Summary]", width: int) -> "Table":
    """A letter a line; the reason takes the room that is left, and columns that say nothing are left out."""
    from rich.table import Table
    from rich.text import Text

    cells = _cells(shown, width)
    widths = {name: widest(name, (row[name] for row in cells)) for name in cells[0] if any(row[name] for row in cells)}
    if "reason" in widths:
        room = width - sum(widths.values()) + widths["reason"] - _GAP * (len(widths) - 1)
        (widths["reason"],) = fitted([widths["reason"]], room, _LEAST_REASON_CHARS)
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for name, chars in widths.items():
        made.add_column(name, width=chars, justify="right" if name == "rows" else "left", no_wrap=True)
    for row in cells:
        made.add_row(*(Text(row[name]) for name in widths))
    return made


def _cells(shown: "Sequence[Summary]", width: int) -> list[dict[str, str]]:
    names = [stem(letter.name) for letter in shown]
    chars = None if width >= _FULL_NAME_WIDTH else unique_chars([name[::-1] for name in names])
    time_of = time_text if width >= _FULL_TIME_WIDTH else short_time_text
    return [
        {
            "time": time_of(letter.time_ns),
            "name": one_line(name if chars is None else name[-chars:]),
            "kind": one_line(letter.kind, 20),
            "rows": count_text(letter.rows),
            "origin": one_line(letter.origin, 30),
            "state": "replayed" * letter.was_replayed,
            "reason": one_line(letter.reason, width),
        }
        for letter, name in zip(shown, names, strict=True)
    ]


def text_pieces(summary: "Summary", letter: "DeadLetter", letters: "DeadLetterStore") -> Iterator[str]:
    """The letter for people: what it is, why, and a row a line."""
    facts = {
        "name": summary.name,
        "place": letters.place(summary.name),
        "time": time_text(summary.time_ns),
        "origin": summary.origin,
        "kind": f"{summary.kind}, {_size(letter)}",
        "state": "replayed" if summary.was_replayed else "",
    }
    yield from (f"{name:<8}{one_line(value, 500)}\n" for name, value in facts.items() if value)
    yield f"reason\n{safe_text(letter.reason)}\n"
    for index, record in enumerate(_records(letter)):
        yield "records\n" * (index == 0) + safe_text(json.dumps(record, ensure_ascii=False)) + "\n"


def json_pieces(summary: "Summary", letter: "DeadLetter", letters: "DeadLetterStore") -> Iterator[str]:
    """The letter as one JSON document, in pieces."""
    facts = {**listed(summary, letters), "reason": letter.reason}
    if isinstance(letter.content, bytes):
        facts["bytes"] = len(letter.content)
    yield json.dumps(facts)[:-1] + ', "records": ['
    for index, record in enumerate(_records(letter)):
        yield ("," if index else "") + "\n" + json.dumps(record)
    yield "]}\n"


def _size(letter: "DeadLetter") -> str:
    if isinstance(letter.content, bytes):
        return f"{count_text(len(letter.content))} bytes that cannot be read as rows"
    return f"{count_text(letter.content.rows)} row{'s' * (letter.content.rows != 1)}"


def _records(letter: "DeadLetter") -> Iterator[dict[str, Any]]:
    if isinstance(letter.content, bytes):
        return iter(())
    records = letter.content.records
    starts = range(0, records.num_rows, _ROWS_AT_ONCE)
    return chain.from_iterable(_readable(records.slice(start, _ROWS_AT_ONCE)) for start in starts)


def _readable(records: "pa.RecordBatch") -> list[dict[str, Any]]:
    """The rows as objects; instead of one that has no JSON, why it has none."""
    from pipelines.errors import Permanent
    from pipelines.json_records import json_records

    try:
        return json_records(records)
    except Permanent as error:
        if records.num_rows == 1:
            return [{"error": str(error)}]
        return [row for index in range(records.num_rows) for row in _readable(records.slice(index, 1))]
