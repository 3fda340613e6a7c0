"""`query`: SQL to the running service."""

import codecs
import sys
from http.client import HTTPException, HTTPResponse
from itertools import islice
from typing import Annotated, Any, Final

import typer

from otlp_receiver.cli.options import ConfigFiles, SqlUrl, sql_url
from otlp_receiver.cli.output import console, fail, one_line, safe_text
from otlp_receiver.cli.sql_client import SqlClient, SqlError

_TABLE_FORMAT: Final = "JSONCompactEachRowWithNamesAndTypes"
_MOST_TABLE_ROWS: Final = 1000
_MOST_CELL_CHARS: Final = 500
_PIECE_BYTES: Final = 64 * 1024


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A query; - reads it from standard input.")],
    *,
    output_format: Annotated[
        str,
        typer.Option("--format", "-f", metavar="FORMAT", help="A ClickHouse format, such as CSVWithNames or Parquet."),
    ] = "",
    url: SqlUrl = "",
    config: ConfigFiles = None,
) -> None:
    """Ask the running service in ClickHouse SQL, read-only.

    Tables: [bold]observations[/], [bold]traces[/], [bold]scores[/], [bold]trace_totals[/].

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
        with SqlClient.at(sql_url(url, config)).ask(text, asked) as answer:
            is_table = not output_format and answer.headers.get("X-ClickHouse-Format") == _TABLE_FORMAT
            (_print_table if is_table else _print_raw)(answer)
    except SqlError as error:
        fail(str(error))
    except (HTTPException, ConnectionResetError, TimeoutError, ValueError) as error:
        fail(f"the answer broke off: {error}")


def _print_raw(answer: HTTPResponse) -> None:
    """The answer as it is; on a terminal without the control characters that stored texts may hold."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    is_terminal = sys.stdout.isatty()
    while piece := answer.read(_PIECE_BYTES):
        if is_terminal:
            sys.stdout.write(safe_text(decode(piece)))
        else:
            sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def _print_table(answer: HTTPResponse) -> None:
    import json

    from rich.table import Table
    from rich.text import Text

    lines = (json.loads(line) for line in answer)
    names: list[str] = next(lines, [])
    types: list[str] = next(lines, [])
    table = Table(header_style="bold")
    for name, kind in zip(names, types, strict=True):
        table.add_column(Text(safe_text(name)), justify="right" if _is_number(kind) else "left", overflow="fold")
    for row in islice(lines, _MOST_TABLE_ROWS):
        table.add_row(*(Text(_cell(value)) for value in row))
    screen = console()
    screen.print(table)
    if next(lines, None) is not None:
        screen.print(f"The first {_MOST_TABLE_ROWS} rows; --format or a pipe gives all.")


def _is_number(kind: str) -> bool:
    return kind.removeprefix("Nullable(").startswith(("UInt", "Int", "Float", "Decimal"))


def _cell(value: Any) -> str:
    import json

    if value is None:
        return "NULL"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _MOST_CELL_CHARS)
