"""`explain`: how a recorded request is understood, for a person."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from otlp_receiver.cli.options import AsJson
from otlp_receiver.cli.output import console, count_text, fail, fitted, one_line, safe_text, widest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from otlp_receiver.cli.explanation import SpanExplanation
    from pipelines.ingest import Accepted, Encoding

_MOST_BYTES: Final = 256 * 2**20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ENCODING_OF_SUFFIX: Final[dict[str, "Encoding"]] = {".json": "json", ".pb": "protobuf", ".binpb": "protobuf"}
_MOST_VALUE_CHARS: Final = 200
_INDENT: Final = 2
_HEADER: Final = ("column", "filled from", "value")
_GAP: Final = 2
_LEAST_NAME_CHARS: Final = 8
_LEAST_VALUE_CHARS: Final = 16


def explain(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A recorded request, gzipped or not.", exists=True, dir_okay=False)
    ],
    *,
    encoding: Annotated[
        Literal["auto", "protobuf", "json"], typer.Option(help="auto goes by the name, then by the content.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Show how a recorded OTLP trace request is understood.

    For every span: the convention that was recognised, the attribute that
    filled each column, what is left to metadata, events and links; then
    the spans that would be rejected, and why. Needs no running service.

    For example:

      otlp-receiver explain request.pb
      otlp-receiver explain request.json.gz --json | jq '.spans[].metadata'
    """
    from otlp_receiver.cli.explanation import explain_request
    from pipelines.errors import Permanent

    body = _read(file)
    known = _encoding(file, body) if encoding == "auto" else encoding
    try:
        spans, outcome = explain_request(body, known)
    except Permanent as error:
        fail(f"{file} is no OTLP trace request in {known}: {error}")
    if as_json:
        _print_json(spans, outcome)
    else:
        _print(file, known, spans, outcome)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            is_gzip = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            stream.seek(0)
            body = (gzip.GzipFile(fileobj=stream) if is_gzip else stream).read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        fail(f"{file} cannot be read: {error}")
    if len(body) > _MOST_BYTES:
        fail(f"{file} holds more than {_MOST_BYTES // 2**20} MiB")
    return body


def _encoding(file: Path, body: bytes) -> "Encoding":
    """By name; else JSON when it begins and ends like an object, as protobuf hardly does."""
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    named = _ENCODING_OF_SUFFIX.get(suffixes[-1] if suffixes else "")
    looks_like_json = body[:100].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and body[-100:].rstrip().endswith(b"}")
    return named or ("json" if looks_like_json else "protobuf")


def _print_json(spans: "list[SpanExplanation]", outcome: "Accepted") -> None:
    document = {
        "spans": [asdict(span) for span in spans],
        "rejected_spans": outcome.rejected_spans,
        "rejections": outcome.message.split("; ") if outcome.message else [],
    }
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print(file: Path, encoding: str, spans: "list[SpanExplanation]", outcome: "Accepted") -> None:
    from rich.text import Text

    screen = console()
    count = f"{count_text(len(spans))} span{'s' * (len(spans) != 1)}"
    rejected = f", {count_text(outcome.rejected_spans)} rejected" if outcome.rejected_spans else ""
    screen.print(Text(safe_text(f"{file.name}: {encoding}, {count}{rejected}"), "bold"))
    resource: dict[str, str] = {}
    for number, span in enumerate(spans, 1):
        _print_span(screen, span, f"span {number} of {len(spans)}")
        if span.resource != resource:
            resource = span.resource
            _print_pairs(screen, "resource" if number == len(spans) else "resource, of the next spans too", resource)
    for reason in outcome.message.split("; ") if outcome.message else ():
        screen.print(Text(f"rejected: {one_line(reason, 500)}", "red"))


def _print_span(screen: "Console", span: "SpanExplanation", place: str) -> None:
    from rich.text import Text

    title = Text.assemble((place, "dim"), " ", (one_line(span.span_name, 80), "bold cyan"))
    screen.print()
    screen.rule(title, align="left", style="dim")
    place_in_trace = f"child of {span.parent_id}" if span.parent_id else "a root"
    screen.print(Text(f"trace {span.trace_id}\nspan {span.id}, {place_in_trace}", "dim"))
    screen.print(Text.assemble(("convention ", "dim"), span.convention or "none recognised"))
    _print_filled(screen, span)
    if span.metadata:
        _print_pairs(screen, "left to metadata", span.metadata)
    if span.copies:
        screen.print(Text.assemble(("said again in the same words: ", "dim"), ", ".join(map(one_line, span.copies))))
    for name, attributes in span.events:
        _print_pairs(screen, f"event {one_line(name, 80)}", attributes)
    for link in span.links:
        screen.print(Text.assemble(("link to ", "dim"), one_line(link)))


def _print_filled(screen: "Console", span: "SpanExplanation") -> None:
    # With a blank instead of brackets a long name can be broken where a reader would.
    rows = [
        (filled.column.replace("[", " ").rstrip("]"), " + ".join(filled.sources), filled.value)
        for filled in span.filled
    ]
    screen.print()
    screen.print(_grid([_HEADER, *rows], screen.width))
    screen.print()


def _print_pairs(screen: "Console", title: str, pairs: dict[str, str]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    screen.print(Text(title, "bold"))
    if pairs:
        screen.print(Padding(_grid(list(pairs.items()), screen.width - _INDENT), (0, 0, 0, _INDENT)))


def _grid(rows: Sequence[tuple[str, ...]], width: int) -> "Table":
    """Names in full, on several lines if need be; each value on one, cut where the line ends."""
    from rich.table import Table
    from rich.text import Text

    cells = [tuple(one_line(cell, _MOST_VALUE_CHARS) for cell in row) for row in rows]
    *names, _ = zip(*cells, strict=True)
    room = width - _LEAST_VALUE_CHARS - _GAP * len(names)
    widths = [widest("", column) for column in names]
    if sum(widths) > room:
        widths = fitted([widest("", " ".join(column).split()) for column in names], room, _LEAST_NAME_CHARS)
    table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
    for chars in widths:
        table.add_column(width=chars, overflow="fold")
    table.add_column(width=width - sum(widths) - _GAP * len(names), no_wrap=True)
    for row in cells:
        table.add_row(*map(Text, row), style="bold" if row == _HEADER else None)
    return table
