"""`trace`: one trace as a tree."""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.options import AsJson, ConfigFiles, ProjectId, SqlUrl, sql_url
from otlp_receiver.cli.output import (
    console,
    cost_text,
    count_text,
    duration_text,
    fail,
    one_line,
    time_text,
    tokens_text,
)
from otlp_receiver.cli.sql_client import SqlClient, SqlError

if TYPE_CHECKING:
    from rich.text import Text

_TRACE_ID_CHARS: Final = 32
_MOST_NAMED: Final = 10
_MOST_SHOWN: Final = 2000

_ONE_TRACE: Final = "project_id = {project:String} AND trace_id = {id:String}"
_FIND: Final = """
SELECT DISTINCT project_id, trace_id
FROM observations
WHERE startsWith(trace_id, {id:String}) AND ({project:String} = '' OR project_id = {project:String})
LIMIT 11
"""
_TRACE: Final = """
SELECT *, toUnixTimestamp64Nano(timestamp) AS start_unix_ns
FROM traces
WHERE project_id = {project:String} AND id = {id:String}
"""
_TOTALS: Final = f"""
SELECT *, toString(total_cost) AS total_cost_text
FROM trace_totals
WHERE {_ONE_TRACE}
"""
_NODES: Final = f"""
SELECT
    id, parent_observation_id AS parent_id, type, name, level, status_message, model, request_model, input_tokens, output_tokens,
    toUnixTimestamp64Nano(start_time) AS start_unix_ns, toUnixTimestamp64Nano(end_time) AS end_unix_ns,
    usage_details['input_cached_tokens'] AS cached_tokens, toString(total_cost) AS cost
FROM observations
WHERE {_ONE_TRACE}
ORDER BY start_time, id
LIMIT {_MOST_SHOWN}
"""
_OBSERVATIONS: Final = f"SELECT * FROM observations WHERE {_ONE_TRACE} ORDER BY start_time, id"
_SCORES: Final = f"SELECT * FROM scores WHERE {_ONE_TRACE} ORDER BY timestamp, id"


def trace(
    trace_id: Annotated[
        str, typer.Argument(metavar="ID", help="Trace id, or as much of its start as makes it unique.")
    ],
    project: ProjectId = "",
    as_json: AsJson = False,
    url: SqlUrl = "",
    config: ConfigFiles = None,
) -> None:
    """Show a trace as a tree: what called what, how long it took, which model, how many tokens, what it cost.

    Examples:

      otlp-receiver trace 4bf92f3577b34da6a3ce929d0e0e4736

      otlp-receiver trace 4bf92f35

      otlp-receiver trace 4bf92f35 --json | jq '.observations[] | {name, input, output}'
    """
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", trace_id):
        raise typer.BadParameter(f"expected up to 32 hexadecimal digits, got {trace_id!r}", param_hint="ID")
    try:
        client = SqlClient.at(sql_url(url, config))
        key = _find(client, trace_id.lower(), project)
        (_print_json if as_json else _print_tree)(client, key)
    except SqlError as error:
        fail(str(error))


def _find(client: SqlClient, prefix: str, project: str) -> dict[str, str]:
    """The one trace that is meant, as parameters of the queries about it."""
    found = client.rows(_FIND, id=prefix, project=project)
    if not found:
        begins = "" if len(prefix) == _TRACE_ID_CHARS else " starts with"
        fail(f"no trace{begins} {prefix}{f' in project {project!r}' * bool(project)}; see: otlp-receiver traces")
    if len(found) > 1:
        names = [f"\n  {row['trace_id']}  project {row['project_id']}" for row in found[:_MOST_NAMED]]
        more = "\n  ..." * (len(found) > _MOST_NAMED)
        fail(f"several traces match {prefix}; give more of the id, or --project:{''.join(sorted(names))}{more}")
    return {"project": found[0]["project_id"], "id": found[0]["trace_id"]}


def _print_json(client: SqlClient, key: dict[str, str]) -> None:
    """Everything that is stored of the trace."""
    document = {
        "trace": (
            client.rows(_TRACE.replace(", toUnixTimestamp64Nano(timestamp) AS start_unix_ns", ""), **key) or [None]
        )[0],
        "totals": client.rows(_TOTALS, **key)[0],
        "observations": client.rows(_OBSERVATIONS, **key),
        "scores": client.rows(_SCORES, **key),
    }
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_tree(client: SqlClient, key: dict[str, str]) -> None:
    from otlp_receiver.cli.trace_tree import arrange, draw, node

    nodes = [node(row) for row in client.rows(_NODES, **key)]
    screen = console()
    totals = client.rows(_TOTALS, **key)[0]
    for line in _header(key, client.rows(_TRACE, **key), totals, client.rows(_SCORES, **key)):
        screen.print(line)
    screen.print()
    for line in draw(arrange(nodes), screen.width):
        screen.print(line, no_wrap=True, overflow="ellipsis", crop=False)
    hidden = int(totals["observation_count"]) - len(nodes)
    if hidden > 0:
        screen.print(f"... and {count_text(hidden)} more observations; --json has all.")


def _header(
    key: dict[str, str], found: list[dict[str, Any]], totals: dict[str, Any], scores: list[dict[str, Any]]
) -> "list[Text]":
    from rich.text import Text

    one = found[0] if found else {}
    lines = [
        Text.assemble((one_line(one.get("name", "")) or "-", "bold"), "  ", (key["id"], "dim")),
        Text(" · ".join(_facts(one, totals))),
    ]
    errors = int(totals["error_count"])
    if errors:
        lines[1].append(f" · {errors} error{'s' * (errors > 1)}", "red")
    context = [f"{name} {one_line(text, 60)}" for name, text in _context(key, one) if text]
    lines.append(Text(" · ".join(context), "dim"))
    return lines + [Text(f"score {_score(row)}", "dim") for row in scores[:_MOST_NAMED]]


def _facts(one: dict[str, Any], totals: dict[str, Any]) -> list[str]:
    facts = [time_text(int(one["start_unix_ns"]))] if one else []
    facts.append(duration_text(round(float(totals["latency_seconds"]) * 10**9)))
    count = int(totals["observation_count"])
    facts.append(f"{count_text(count)} observation{'s' * (count != 1)}")
    if totals["total_tokens"] is not None:
        facts.append(f"{tokens_text(totals['input_tokens'] or 0)} → {tokens_text(totals['output_tokens'] or 0)} tokens")
    cost = cost_text(totals["total_cost_text"])
    return [*facts, cost] if cost else facts


def _context(key: dict[str, str], one: dict[str, Any]) -> list[tuple[str, str]]:
    names = ("user", "session", "environment", "release", "version")
    columns = ("user_id", "session_id", "environment", "release", "version")
    context = [(name, one.get(column, "")) for name, column in zip(names, columns, strict=True)]
    return [("project", key["project"]), *context, ("tags", ", ".join(one.get("tags", ())))]


def _score(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f" {row['value']:g}"
    label = f" ({one_line(row['label'], 40)})" if row["label"] else ""
    comment = f": {one_line(row['comment'], 100)}" if row["comment"] else ""
    return f"{one_line(row['name'], 60)}{value}{label}{comment}"
