"""`projects`: who records belong to, each with a first key and what an application needs to use it."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from otlp_receiver.cli.metadata import NewId, checked_id, opened, print_json, print_table
from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides

_HELP: Final = """Projects, to which all records belong.

They are kept in Postgres; the service may run meanwhile. A key stands
for one project: [bold]otlp-receiver keys[/].
"""

app: Final = typer.Typer(name="projects", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.")],
    *,
    project_id: NewId = "",
    organization: Annotated[str, typer.Option("--org", metavar="ID", help="Its organization.")] = "default",
    retention_days: Annotated[
        int | None, typer.Option(min=1, help="How long its records are kept. Default: as the exporter's table says.")
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
