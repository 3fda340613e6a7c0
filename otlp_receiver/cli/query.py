"""`query`: SQL to the running service."""

import codecs
import json
import sys
from http.client import HTTPException
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.options import ConfigFiles, ExporterId, Key, SqlUrl
from otlp_receiver.cli.output import console, fail, fitted, one_line, safe_text, widest
from otlp_receiver.cli.sql_client import Answer, SqlError, client_for

if TYPE_CHECKING:
    from rich.table import Table

_TABLE_FORMAT: Final = "JSONCompactEachRowWithNamesAndTypes"
_MOST_TABLE_ROWS: Final = 1000
_MOST_CELL_CHARS: Final = 500
_GAP: Final = 2
_LEAST_HEADING_CHARS: Final = 4
_LEAST_VALUE_CHARS: Final = 10
_PIECE_BYTES: Final = 64 * 1024


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A query; - reads it from standard input.")],
    *,
    output_format: Annotated[
        str,
        typer.Option("--format", "-f", metavar="FORMAT", help="A ClickHouse format, such as CSVWithNames or Parquet."),
    ] = "",
    url: SqlUrl = "",
    key: Key = "",
    exporter: ExporterId = "",
    config: ConfigFiles = None,
) -> None:
    """Ask the running service in ClickHouse SQL, read-only.

    Tables: [bold]observations[/], [bold]traces[/], [bold]scores[/], [bold]trace_totals[/], [bold]model_usage[/].

    On a terminal the answer is a table; in a pipe it is tab-separated with
    a header. --format, or FORMAT in the query, asks for something else.

    For example:

      otlp-receiver query 'DESCRIBE observations'
      otlp-receiver query 'SELECT model, count() FROM observations GROUP BY 1'
      otlp-receiver query -f Parquet 'SELECT * FROM traces' > traces.parquet
      otlp-receiver query - < report.sql
    """
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise typer.BadParameter("the query is empty", param_hint="SQL")
    asked = output_format or (_TABLE_FORMAT if sys.stdout.isatty() else "TSVWithNames")
    try:
        with client_for(url, exporter, config, key).ask(text, asked) as answer:
            is_table = not output_format and answer.format == _TABLE_FORMAT
            (_print_table if is_table else _print_raw)(answer)
    except SqlError as error:
        fail(str(error))
    except (HTTPException, ConnectionResetError, TimeoutError, ValueError) as error:
        fail(f"the answer broke off: {error}")


def _print_raw(answer: Answer) -> None:
    """The answer as it is; on a terminal without the control characters that stored texts may hold."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    is_terminal = sys.stdout.isatty()
    while piece := answer.stream.read(_PIECE_BYTES):
        if is_terminal:
            sys.stdout.write(safe_text(decode(piece)))
        else:
            sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def _print_table(answer: Answer) -> None:
    """Every row on one line, or where there are too many columns every value: long texts are cut, not wrapped."""
    lines = (json.loads(line) for line in answer.stream)
    names = [one_line(name, _MOST_CELL_CHARS) for name in next(lines, [])]
    are_numbers = [_is_number(kind) for kind in next(lines, [])]
    rows = [[_cell(value) for value in row] for row in islice(lines, _MOST_TABLE_ROWS)]
    screen = console()
    widths = _widths(names, rows, screen.width)
    if widths:
        screen.print(_table(names, rows, widths, are_numbers))
    else:
        screen.print(*(_record(number, names, row, screen.width) for number, row in enumerate(rows, 1)), sep="\n")
    if next(lines, None) is not None:
        screen.print(f"The first {_MOST_TABLE_ROWS} rows; --format or a pipe gives all.")


def _widths(names: list[str], rows: list[list[str]], width: int) -> list[int]:
    """Widths of the columns: headings give way first, then the longest values; none when it is too narrow for all."""
    room = width - _GAP * (len(names) - 1)
    headed = [widest(name, (row[index] for row in rows)) for index, name in enumerate(names)]
    if sum(headed) <= room:
        return headed
    values = [max(_LEAST_HEADING_CHARS, widest("", (row[index] for row in rows))) for index in range(len(names))]
    widths = fitted(values, room, _LEAST_VALUE_CHARS)
    return widths if sum(widths) <= room else []


def _table(names: list[str], rows: list[list[str]], widths: list[int], are_numbers: list[bool]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for name, width, is_number in zip(names, widths, are_numbers, strict=True):
        table.add_column(Text(name), width=width, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _record(number: int, names: list[str], row: list[str], width: int) -> "Table":
    from rich.table import Table
    from rich.text import Text

    name_width = widest("", names)
    table = Table(box=None, title=f"row {number}", title_justify="left", show_header=False, title_style="dim")
    table.pad_edge, table.padding = False, (0, _GAP, 0, 0)
    table.add_column(style="bold", no_wrap=True, width=name_width)
    table.add_column(no_wrap=True, width=max(1, width - name_width - _GAP))
    for name, value in zip(names, row, strict=True):
        table.add_row(Text(name), Text(value))
    return table


def _is_number(kind: str) -> bool:
    return kind.removeprefix("Nullable(").startswith(("UInt", "Int", "Float", "Decimal"))


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _MOST_CELL_CHARS)
