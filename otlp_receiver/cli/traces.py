"""`traces`: the latest ones, as a table."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.options import AsJson, ConfigFiles, ExporterId, Key, ProjectId, Since, SqlUrl, since_seconds
from otlp_receiver.cli.output import (
    console,
    cost_text,
    count_text,
    duration_text,
    fail,
    fitted,
    one_line,
    program,
    short_time_text,
    time_text,
    tokens_text,
    unique_chars,
    widest,
)
from otlp_receiver.cli.sql_client import SqlClient, SqlError, client_for

if TYPE_CHECKING:
    from rich.table import Table

_HOUR_SECONDS: Final = 3600
# Days of data are read only as far back as it takes: most often the answer lies in the last minutes.
_WINDOWS_SECONDS: Final = (300, _HOUR_SECONDS, 24 * _HOUR_SECONDS, 30 * 24 * _HOUR_SECONDS)
_EVER_NS: Final = 0
_FULL_ID_WIDTH: Final = 140
_FULL_TIME_WIDTH: Final = 110
_GAP: Final = 2
_LEAST_TEXT_CHARS: Final = 10
_NUMBERS: Final = frozenset({"spans", "tokens", "cost", "duration", "err"})
_RED: Final = frozenset({"name", "err"})
_CAN_SHRINK: Final = frozenset({"session", "user", "name", "project"})
_CAN_BE_MISSED: Final = ("session", "user", "project")
_TRACE_ID_CHARS: Final = 32

_LATEST: Final = """
SELECT project_id, trace_id
FROM observations
WHERE start_time >= fromUnixTimestamp64Nano({since_ns:Int64})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY project_id, trace_id
ORDER BY min(start_time) DESC, trace_id
LIMIT {limit:UInt32}
"""
_SUMMARIES: Final = """
SELECT
    one.project_id AS project_id, one.id AS id, toUnixTimestamp64Nano(one.timestamp) AS start_unix_ns,
    toUnixTimestamp64Nano(one.end_time) - toUnixTimestamp64Nano(one.timestamp) AS duration_ns,
    one.name AS name, one.user_id AS user_id, one.session_id AS session_id, one.environment AS environment,
    one.release AS release, one.version AS version, one.tags AS tags,
    total.observation_count AS observations, total.model_call_count AS model_calls, total.error_count AS errors,
    total.input_tokens AS input_tokens, total.output_tokens AS output_tokens, total.total_tokens AS total_tokens,
    toString(total.total_cost) AS total_cost
FROM (SELECT * FROM traces WHERE id IN {ids:Array(String)}) AS one
INNER JOIN (SELECT * FROM trace_totals WHERE trace_id IN {ids:Array(String)}) AS total
    ON total.project_id = one.project_id AND total.trace_id = one.id
ORDER BY start_unix_ns DESC, id
"""


def traces(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 20,
    since: Since = "",
    project: ProjectId = "",
    as_json: AsJson = False,
    url: SqlUrl = "",
    key: Key = "",
    exporter: ExporterId = "",
    config: ConfigFiles = None,
) -> None:
    """List the latest traces.

    Look at one with its id, or the start of it: [bold]otlp-receiver trace ID[/].

    For example:

      otlp-receiver traces
      otlp-receiver traces --since 1h --limit 100 --project default
      otlp-receiver traces --json | jq -r 'select(.errors > 0).id'
    """
    window_seconds = since_seconds(since) if since else None
    try:
        rows = latest(client_for(url, exporter, config, key), limit, project, window_seconds)
    except SqlError as error:
        fail(str(error))
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
    elif rows:
        _print(rows)
    else:
        typer.echo(_nothing(since, project), err=True)


def latest(client: SqlClient, limit: int, project: str, window_seconds: float | None) -> list[dict[str, Any]]:
    """Summaries of the latest traces, newest first; raises SqlError.

    First their ids, from the narrow columns of a window that widens until there are enough; then all else, for these
    ids alone.
    """
    now_ns = time.time_ns()
    windows = _WINDOWS_SECONDS if window_seconds is None else (window_seconds,)
    starts_ns = [now_ns - int(seconds * 10**9) for seconds in windows] + [_EVER_NS] * (window_seconds is None)
    found: list[dict[str, Any]] = []
    for since_ns in starts_ns:
        found = client.rows(_LATEST, since_ns=max(since_ns, _EVER_NS), project=project, limit=limit)
        if len(found) >= limit:
            break
    wanted = {(row["project_id"], row["trace_id"]) for row in found}
    rows = client.rows(_SUMMARIES, ids=sorted({trace_id for _, trace_id in wanted})) if wanted else []
    return [row for row in rows if (row["project_id"], row["id"]) in wanted]


def _nothing(since: str, project: str) -> str:
    where = f" in project {project!r}" * bool(project) + f" in the last {since}" * bool(since)
    return f"No traces{where or ' yet'}. Send one with: {program()} send-sample"


def _print(rows: list[dict[str, Any]]) -> None:
    screen = console()
    screen.print(_table(rows, screen.width))


def _table(rows: list[dict[str, Any]], width: int) -> "Table":
    from rich.table import Table
    from rich.text import Text

    id_chars = _TRACE_ID_CHARS if width >= _FULL_ID_WIDTH else unique_chars([row["id"] for row in rows])
    cells = [_cells(row, id_chars, is_wide=width >= _FULL_TIME_WIDTH) for row in rows]
    columns = _columns(cells, width)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for name, chars in columns.items():
        table.add_column(name, width=chars, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    for row in cells:
        table.add_row(*(Text(row[name], "red" if row["err"] and name in _RED else "") for name in columns))
    return table


def _columns(cells: list[dict[str, str]], width: int) -> dict[str, int]:
    """Columns that have something to say, and their widths: texts shrink, then those that can be missed go."""
    natural = {name: widest(name, (row[name] for row in cells)) for name in cells[0] if any(row[name] for row in cells)}
    if len({row["project"] for row in cells}) == 1:
        del natural["project"]
    for missed in ("", *_CAN_BE_MISSED):
        natural.pop(missed, None)
        texts = [name for name in natural if name in _CAN_SHRINK]
        fixed = sum(chars for name, chars in natural.items() if name not in _CAN_SHRINK)
        room = width - fixed - _GAP * (len(natural) - 1)
        widths = fitted([natural[name] for name in texts], room, _LEAST_TEXT_CHARS)
        if sum(widths) <= room:
            break
    return natural | dict(zip(texts, widths, strict=True))


def _cells(row: dict[str, Any], id_chars: int, *, is_wide: bool) -> dict[str, str]:
    time_of = time_text if is_wide else short_time_text
    return {
        "time": time_of(int(row["start_unix_ns"])),
        "id": row["id"][:id_chars],
        "project": one_line(row["project_id"], 40),
        "name": one_line(row["name"], 60) or "-",
        "user": one_line(row["user_id"], 40),
        "session": one_line(row["session_id"], 40),
        "spans": count_text(int(row["observations"])),
        "tokens": tokens_text(row["total_tokens"]),
        "cost": cost_text(row["total_cost"]),
        "duration": duration_text(int(row["duration_ns"])),
        "err": count_text(int(row["errors"])) if int(row["errors"]) else "",
    }
