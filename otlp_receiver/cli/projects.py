"""`projects`: who records belong to, each with a first key and what an application needs to use it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otlp_receiver.cli.metadata import NewId, checked_id, opened, print_json, print_table
from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides

if TYPE_CHECKING:
    from config import Config

_HELP: Final = """Projects, to which all records belong.

They are kept in Postgres; the service may run meanwhile. A key stands
for one project: [bold]otlp-receiver keys[/].
"""

_MOST_DAYS: Final = 36_500

app: Final = typer.Typer(name="projects", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.")],
    *,
    project_id: NewId = "",
    organization: Annotated[str, typer.Option("--org", metavar="ID", help="Its organization.")] = "default",
    retention_days: Annotated[
        int | None,
        typer.Option(
            min=1, help="How long its records are kept. Default: ttl_days of the exporter, which is the most."
        ),
    ] = None,
    endpoint: Annotated[
        str, typer.Option(metavar="URL", help="Where applications reach the service. Default: its HTTP receiver.")
    ] = "",
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Make a project with a first key, and print the variables for an application.

    The secret is shown this one time.

    For example:

      otlp-receiver projects create Checkout
      otlp-receiver projects create Checkout --endpoint https://otel.example.com
      otlp-receiver projects create Checkout --json | jq -r .secret_key
    """
    from otlp_receiver.cli.environment import environment, http_endpoint, print_new_key
    from otlp_receiver.keys import generate_key
    from otlp_receiver.metadata import api_keys
    from otlp_receiver.metadata.projects import create_project

    made, key = checked_id(project_id, name), generate_key()
    with opened(config, overrides) as metadata:
        _check_retention(metadata.config, retention_days or 0)
        create_project(metadata.connection, made, name, organization_id=organization, retention_days=retention_days,
                       actor=metadata.actor)  # fmt: skip
        api_keys.create(metadata.connection, key, hash_key=metadata.hash_key(), project_id=made, scopes=["ingest"],
                        note="made with the project", actor=metadata.actor)  # fmt: skip
        variables = environment(key, endpoint or http_endpoint(metadata.config))
    if as_json:
        shown = {"project_id": made, "public_key": key.public_key, "secret_key": key.secret}
        print_json(shown | {"environment": variables})
    else:
        print_new_key(f"Made project {made}.", variables)


@app.command("set")
def set_project(
    project: Annotated[str, typer.Argument(metavar="ID", help="As in `projects list`.")],
    *,
    retention_days: Annotated[
        int,
        typer.Option(
            min=0,
            max=_MOST_DAYS,
            help="How long its records are kept; 0 = ttl_days of the exporter, which is the most.",
        ),
    ],
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Change how long a project's records are kept.

    What was stored more days ago goes within two hours, and does not come
    back when the days are raised again.

    For example:

      otlp-receiver projects set checkout --retention-days 30
    """
    from otlp_receiver.metadata.projects import existing_project, set_retention

    with opened(config, overrides) as metadata:
        _check_retention(metadata.config, retention_days)
        set_retention(metadata.connection, project, retention_days or None, metadata.actor)
        changed = existing_project(metadata.connection, project)
    if as_json:
        print_json(changed)
    else:
        kept = f"{retention_days} days" if retention_days else "as long as the exporter keeps any"
        typer.echo(f"Records of project {project} are kept {kept}; older ones go within two hours.")


@app.command("list")
def list_projects(*, as_json: AsJson = False, config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """List projects."""
    from otlp_receiver.metadata.projects import projects

    with opened(config, overrides) as metadata:
        found = projects(metadata.connection)
    if as_json:
        for each in found:
            print_json(each)
    else:
        print_table([asdict(each) for each in found])


def _check_retention(config: "Config", days: int) -> None:
    """Raises Permanent when an exporter would not keep records for so long."""
    from pipelines.errors import Permanent

    for name, settings in config.exporters.items():
        ttl_days = getattr(settings, "ttl_days", 0)
        if 0 < ttl_days < days:
            raise Permanent(
                f"exporter {name} keeps records for {ttl_days} days: ask for that at most, or raise its ttl_days "
                "and give the projects that need less retention days of their own"
            )
