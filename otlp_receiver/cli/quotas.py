"""`quotas`: how much projects may send, and how much they have sent this month."""

from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from otlp_receiver.cli.metadata import opened, print_json, print_table
from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides

_HELP: Final = """Quotas of projects: spans and bytes a second, spans a month.

They are kept in Postgres; the service takes changes over within 30 s.
Who sends more is told to wait (429, RESOURCE_EXHAUSTED). Projects without
a quota may send what the service can take.
"""
_TEN_SECONDS: Final = "what may come in ten seconds, as without it"

app: Final = typer.Typer(name="quotas", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")

Project = Annotated[str, typer.Argument(metavar="PROJECT", help="Its id.")]
SomeProject = Annotated[str, typer.Argument(metavar="PROJECT", help="Its id. Default: all that have something.")]


def _limit(says: str, nothing: str = "no limit") -> Any:
    return typer.Option(min=0, metavar="NUMBER", help=f"{says}; 0 = {nothing}.")


@app.command("set")
def set_quota(
    project: Project,
    *,
    spans_per_second: Annotated[int | None, _limit("On average")] = None,
    spans_burst: Annotated[int | None, _limit("At once, after a rest", _TEN_SECONDS)] = None,
    bytes_per_second: Annotated[int | None, _limit("Of request bodies, decompressed, on average")] = None,
    bytes_burst: Annotated[int | None, _limit("At once, after a rest", _TEN_SECONDS)] = None,
    spans_per_month: Annotated[int | None, _limit("In a calendar month, UTC")] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Limit what a project may send; limits that are not named stay as they are.

    For example:

      otlp-receiver quotas set checkout --spans-per-second 500
      otlp-receiver quotas set checkout --spans-per-month 10000000
    """
    from otlp_receiver.metadata import quotas
    from otlp_receiver.metadata.projects import existing_project

    named = {
        "spans_per_second": spans_per_second, "spans_burst": spans_burst, "bytes_per_second": bytes_per_second,
        "bytes_burst": bytes_burst, "spans_per_month": spans_per_month,
    }  # fmt: skip
    limits = {name: limit or None for name, limit in named.items() if limit is not None}
    if not limits:
        raise typer.BadParameter("name one limit at least, such as --spans-per-second 500")
    with opened(config, overrides) as metadata:
        existing_project(metadata.connection, project)
        quotas.put(metadata.connection, project, limits, metadata.actor)
    typer.echo(f"Set the quota of project {project}; the service keeps it within 30 s.")


@app.command()
def show(
    project: SomeProject = "", *, as_json: AsJson = False, config: ConfigFiles = None, overrides: Overrides = None
) -> None:
    """Show quotas, and what was sent this month (UTC), as far as it has been counted.

    For example:

      otlp-receiver quotas show checkout --json | jq .month_spans
    """
    from datetime import UTC, datetime

    from otlp_receiver.metadata import quotas
    from otlp_receiver.metadata.projects import existing_project

    month = datetime.now(UTC).date().replace(day=1)
    with opened(config, overrides) as metadata:
        if project:
            existing_project(metadata.connection, project)
        found = quotas.quota_uses(metadata.connection, month, project or None)
    if as_json:
        for each in found:
            print_json(each)
    elif found:
        print_table([asdict(each) for each in found])
    else:
        typer.echo("There is no quota, and nothing was sent this month.", err=True)


@app.command()
def clear(project: Project, *, config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """Take all limits of a project away.

    For example:

      otlp-receiver quotas clear checkout
    """
    from otlp_receiver.metadata import quotas

    with opened(config, overrides) as metadata:
        quotas.clear(metadata.connection, project, metadata.actor)
    typer.echo(f"Project {project} has no quota any more; the service takes it over within 30 s.")
