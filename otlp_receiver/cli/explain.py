"""`explain`: how a recorded request is understood, for a person."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides, load_config
from otlp_receiver.cli.output import console, count_text, fail, fitted, one_line, safe_text, widest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from config.conventions import Convention
    from otlp_receiver.cli.explanation import Explanation, SpanExplanation, TraceExplanation
    from pipelines.ingest import Encoding

_MOST_BYTES: Final = 256 * 2**20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ENCODING_OF_SUFFIX: Final[dict[str, "Encoding"]] = {".json": "json", ".pb": "protobuf", ".binpb": "protobuf"}
_MOST_VALUE_CHARS: Final = 200
_INDENT: Final = 2
_HEADER: Final = ("column", "filled from", "value")
_LOST_HEADER: Final = ("column", "not taken", "value")
_GAP: Final = 2
_LEAST_NAME_CHARS: Final = 8
_LEAST_VALUE_CHARS: Final = 16
_VALUE_SHARE: Final = 3
"""A value has a third of a wide page at least."""
_WIDE_CHARS: Final = 100


def explain(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A recorded request, gzipped or not.", exists=True, dir_okay=False)
    ],
    *,
    encoding: Annotated[
        Literal["auto", "protobuf", "json"], typer.Option(help="auto goes by the name, then by the content.")
    ] = "auto",
    signal: Annotated[
        Literal["auto", "traces", "logs"], typer.Option(help="auto takes log records where there are no spans.")
    ] = "auto",
    config: ConfigFiles = None,
    overrides: Overrides = None,
    pipeline: Annotated[
        str, typer.Option(metavar="ID", help="Whose conventions, when --config has several pipelines.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show how a recorded OTLP request is understood.

    For every span, or log record that is a GenAI event: the convention
    that was recognised and by what, what filled each column and what was
    not taken, how tokens became buckets, what is left to metadata, events
    and links; then the traces, and what would be rejected, and why. With
    --config the conventions of that configuration count. Needs no running
    service.

    For example:

      otlp-receiver explain request.pb
      otlp-receiver explain request.pb --config receiver.yaml
      otlp-receiver explain request.json.gz --json | jq '.spans[].metadata'
    """
    from otlp_receiver.cli.explanation import explain_request
    from pipelines.errors import Permanent

    conventions = _conventions(config, overrides, pipeline)
    body = _read(file)
    known = _encoding(file, body) if encoding == "auto" else encoding
    try:
        found = explain_request(body, known, conventions, None if signal == "auto" else signal)
    except Permanent as error:
        fail(f"{file} is no OTLP trace request in {known}: {error}")
    if as_json:
        _print_json(found)
    else:
        _print(file, known, found)


def _conventions(sources: list[str] | None, overrides: list[str] | None, pipeline_id: str) -> "tuple[Convention, ...]":
    """Those of this build, and those of a pipeline where a configuration is named."""
    from config.conventions import in_order, load_conventions

    built_in = load_conventions()
    if not (sources or overrides or pipeline_id):
        return built_in
    pipelines = load_config(sources, overrides).service.pipelines
    if not pipeline_id and len(pipelines) > 1:
        fail(f"the configuration has several pipelines: say which with --pipeline ({', '.join(pipelines)})")
    pipeline = pipelines.get(pipeline_id or next(iter(pipelines)))
    if pipeline is None:
        fail(f"the configuration has no pipeline {pipeline_id}: it has {', '.join(pipelines)}")
    return in_order([*built_in, *pipeline.conventions])


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


def _print_json(found: "Explanation") -> None:
    document = {
        "signal": found.signal,
        "spans": [asdict(span) for span in found.spans],
        "traces": [asdict(trace) for trace in found.traces],
        "rejected_spans": found.outcome.rejected_spans,
        "rejections": _rejections(found),
    }
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _rejections(found: "Explanation") -> list[str]:
    return found.outcome.message.split("; ") if found.outcome.message else []


def _print(file: Path, encoding: str, found: "Explanation") -> None:
    from rich.text import Text

    screen = console()
    thing = "span" if found.signal == "traces" else "log event"
    count = f"{count_text(len(found.spans))} {thing}{'s' * (len(found.spans) != 1)}"
    rejected = f", {count_text(found.outcome.rejected_spans)} rejected" if found.outcome.rejected_spans else ""
    screen.print(Text(safe_text(f"{file.name}: {encoding}, {count}{rejected}"), "bold"))
    resource: dict[str, str] = {}
    for number, span in enumerate(found.spans, 1):
        _print_title(screen, f"{thing} {number} of {len(found.spans)}", span.span_name)
        screen.print(Text(_place(span, found), "dim"))
        _print_span(screen, span)
        if span.resource != resource:
            resource = span.resource
            _print_pairs(screen, "resource" if number == len(found.spans) else "resource, of the next too", resource)
    for trace in found.traces:
        _print_trace(screen, trace)
    for reason in _rejections(found):
        screen.print(Text(f"rejected: {one_line(reason, 500)}", "red"))


def _print_title(screen: "Console", place: str, name: str) -> None:
    from rich.text import Text

    screen.print()
    screen.rule(Text.assemble((place, "dim"), " ", (one_line(name, 80), "bold cyan")), align="left", style="dim")


def _place(span: "SpanExplanation", found: "Explanation") -> str:
    if found.signal == "traces":
        place_in_trace = f"child of {span.parent_id}" if span.parent_id else "a root"
        return f"trace {span.trace_id}\nspan {span.id}, {place_in_trace}"
    if span.id:
        return f"completes span {span.id} of trace {span.trace_id}"
    return "of no span: an observation of its own"


def _print_span(screen: "Console", span: "SpanExplanation") -> None:
    _print_convention(screen, span)
    _print_filled(screen, [_HEADER, *((one.column, " + ".join(one.sources), one.value) for one in span.filled)])
    if span.lost:
        _print_filled(screen, [_LOST_HEADER, *((one.column, one.source, one.value) for one in span.lost)])
    screen.print()
    for note in span.usage:
        _print_line(screen, "tokens ", note)
    if span.metadata:
        _print_pairs(screen, "left to metadata", span.metadata)
    if span.copies:
        _print_line(screen, "said again in the same words: ", ", ".join(map(one_line, span.copies)))
    for name, attributes in span.events:
        _print_pairs(screen, f"event {one_line(name, 80)}", attributes)
    for link in span.links:
        _print_line(screen, "link to ", one_line(link))


def _print_convention(screen: "Console", span: "SpanExplanation") -> None:
    by = f", by {one_line(span.recognised_by, 80)}" if span.recognised_by else ""
    _print_line(screen, "convention ", f"{span.convention or 'none recognised'}{by}")
    for other in span.also:
        _print_line(screen, "speaks too ", one_line(other))


def _print_line(screen: "Console", label: str, text: str) -> None:
    from rich.text import Text

    screen.print(Text.assemble((label, "dim"), text))


def _print_trace(screen: "Console", trace: "TraceExplanation") -> None:
    _print_title(screen, "trace", trace.id)
    _print_filled(screen, [_HEADER, *((one.column, " + ".join(one.sources), one.value) for one in trace.filled)])


def _print_filled(screen: "Console", rows: Sequence[tuple[str, str, str]]) -> None:
    # With a blank instead of brackets a long name can be broken where a reader would.
    screen.print()
    screen.print(_grid([(row[0].replace("[", " ").rstrip("]"), *row[1:]) for row in rows], screen.width))


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
    least = width // _VALUE_SHARE if width >= _WIDE_CHARS else _LEAST_VALUE_CHARS
    room = width - least - _GAP * len(names)
    widths = [widest("", column) for column in names]
    if sum(widths) > room:
        widths = fitted([widest("", " ".join(column).split()) for column in names], room, _LEAST_NAME_CHARS)
    table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
    for chars in widths:
        table.add_column(width=chars, overflow="fold")
    table.add_column(width=width - sum(widths) - _GAP * len(names), no_wrap=True)
    for row in cells:
        table.add_row(*map(Text, row), style="bold" if row in (_HEADER, _LOST_HEADER) else None)
    return table
