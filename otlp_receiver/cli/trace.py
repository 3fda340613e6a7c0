"""`trace`: one trace as a tree."""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.options import AsJson, ConfigFiles, ExporterId, Key, ProjectId, SqlUrl
from otlp_receiver.cli.output import console, cost_text, count_text, duration_text, fail, one_line, program, time_text
from otlp_receiver.cli.sql_client import SqlClient, SqlError, client_for

if TYPE_CHECKING:
    from rich.text import Text

_TRACE_ID_CHARS: Final = 32
_MOST_NAMED: Final = 10
_MOST_SHOWN: Final = 2000

_FIND: Final = """
SELECT DISTINCT project_id, trace_id
FROM observations
WHERE startsWith(trace_id, {id:String}) AND ({project:String} = '' OR project_id = {project:String})
ORDER BY trace_id, project_id
LIMIT 11
"""
_TRACE: Final = "SELECT * FROM traces WHERE project_id = {project:String} AND id = {id:String}"
_TOTALS: Final = "SELECT * FROM trace_totals WHERE project_id = {project:String} AND trace_id = {id:String}"
_SUMMARY: Final = """
SELECT
    toUnixTimestamp64Nano(start_time) AS start_unix_ns, toUnixTimestamp64Nano(end_time) AS end_unix_ns,
    observation_count, error_count, input_tokens, output_tokens, toString(total_cost) AS cost
FROM trace_totals
WHERE project_id = {project:String} AND trace_id = {id:String}
"""
_NODES: Final = """
SELECT
    id, parent_observation_id AS parent_id, type, name, level, status_message, model, request_model,
    toUnixTimestamp64Nano(start_time) AS start_unix_ns, toUnixTimestamp64Nano(end_time) AS end_unix_ns,
    input_tokens, output_tokens, usage_details['input_cached_tokens'] AS cached_tokens, toString(total_cost) AS cost
FROM observations
WHERE project_id = {project:String} AND trace_id = {id:String}
ORDER BY start_time, id
LIMIT {limit:UInt32}
"""
_OBSERVATIONS: Final = """
SELECT * FROM observations
WHERE project_id = {project:String} AND trace_id = {id:String}
ORDER BY start_time, id
"""
_SCORES: Final = """
SELECT * FROM scores
WHERE project_id = {project:String} AND trace_id = {id:String}
ORDER BY timestamp, id
"""
_CONTEXT: Final = {
    "user": "user_id",
    "session": "session_id",
    "environment": "environment",
    "release": "release",
    "version": "version",
}


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="Trace id, or enough of its start to be unique.")],
    *,
    project: ProjectId = "",
    as_json: AsJson = False,
    url: SqlUrl = "",
    key: Key = "",
    exporter: ExporterId = "",
    config: ConfigFiles = None,
) -> None:
    """Show one trace as a tree.

    What called what, how long it took, which model answered, tokens in
    (of them cached) and out, cost; errors in red.

    For example:

      otlp-receiver trace 4bf92f3577b34da6a3ce929d0e0e4736
      otlp-receiver trace 4bf92f35
      otlp-receiver trace 4bf92f35 --json | jq '.observations[].output'
    """
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", trace_id):
        raise typer.BadParameter(f"expected up to 32 hexadecimal digits, got {trace_id!r}", param_hint="ID")
    try:
        client = client_for(url, exporter, config, key)
        found = _find(client, trace_id.lower(), project)
        (_print_json if as_json else _print_tree)(client, found)
    except SqlError as error:
        fail(str(error))


def _find(client: SqlClient, prefix: str, project: str) -> dict[str, str]:
    """The one trace that is meant, as parameters of the queries about it."""
    found = client.rows(_FIND, id=prefix, project=project)
    if not found:
        verb = "is" if len(prefix) == _TRACE_ID_CHARS else "starts with"
        where = f" in project {project!r}" if project else ""
        fail(f"no trace id {verb} {prefix}{where}; for those that are there: {program()} traces")
    if len(found) > 1:
        names = [f"\n  {row['trace_id']}  project {row['project_id']}" for row in found[:_MOST_NAMED]]
        more = "\n  ..." if len(found) > _MOST_NAMED else ""
        fail(f"several traces match {prefix}; give more of the id, or --project:{''.join(names)}{more}")
    return {"project": found[0]["project_id"], "id": found[0]["trace_id"]}


def _print_json(client: SqlClient, key: dict[str, str]) -> None:
    """Everything that is stored of the trace."""
    document = {
        "trace": next(iter(client.rows(_TRACE, **key)), None),
        "totals": next(iter(client.rows(_TOTALS, **key)), None),
        "observations": client.rows(_OBSERVATIONS, **key),
        "scores": client.rows(_SCORES, **key),
    }
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_tree(client: SqlClient, key: dict[str, str]) -> None:
    from otlp_receiver.cli.trace_tree import arrange, draw, node

    rows = client.rows(_NODES, limit=_MOST_SHOWN, **key)
    summary = client.rows(_SUMMARY, **key)[0]
    screen = console()
    for line in _header(key, client.rows(_TRACE, **key), summary, client.rows(_SCORES, **key)):
        screen.print(line)
    screen.print()
    for line in draw(arrange(map(node, rows)), screen.width):
        screen.print(line, no_wrap=True, crop=False)
    hidden = int(summary["observation_count"]) - len(rows)
    if hidden > 0:
        screen.print(f"... and {count_text(hidden)} later ones; --json has all.")


def _header(
    key: dict[str, str], found: list[dict[str, Any]], summary: dict[str, Any], scores: list[dict[str, Any]]
) -> "list[Text]":
    """Name and id; the sums; for whom and where; what evaluations said."""
    from rich.text import Text

    one = found[0] if found else {}
    facts = Text(" · ".join(_facts(summary)))
    errors = int(summary["error_count"])
    if errors:
        facts.append(f" · {count_text(errors)} error{'s' * (errors > 1)}", "red")
    context = {"project": key["project"]} | {name: one.get(column, "") for name, column in _CONTEXT.items()}
    context["tags"] = ", ".join(one.get("tags", ()))
    described = " · ".join(f"{name} {one_line(text, 60)}" for name, text in context.items() if text)
    return [
        Text.assemble((one_line(one.get("name", "")) or "-", "bold"), "  ", (key["id"], "dim")),
        facts,
        Text(described, "dim"),
        *(Text(f"score {_score(row)}", "dim") for row in scores[:_MOST_NAMED]),
    ]


def _facts(summary: dict[str, Any]) -> list[str]:
    start_ns, count = int(summary["start_unix_ns"]), int(summary["observation_count"])
    facts = [
        time_text(start_ns),
        duration_text(int(summary["end_unix_ns"]) - start_ns),
        f"{count_text(count)} observation{'s' * (count != 1)}",
    ]
    tokens_in, tokens_out = (int(summary[name] or 0) for name in ("input_tokens", "output_tokens"))
    if tokens_in or tokens_out:
        facts.append(f"{count_text(tokens_in)} → {count_text(tokens_out)} tokens")
    return [*facts, cost_text(summary["cost"])] if summary["cost"] else facts


def _score(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f" {row['value']:g}"
    label = f" ({one_line(row['label'], 40)})" if row["label"] else ""
    comment = f": {one_line(row['comment'], 100)}" if row["comment"] else ""
    return f"{one_line(row['name'], 60)}{value}{label}{comment}"
