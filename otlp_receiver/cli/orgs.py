"""`orgs`: organizations, which own projects."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from otlp_receiver.cli.metadata import NewId, checked_id, opened, print_json, print_table
from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides

_HELP: Final = """Organizations, which own projects.

They are kept in Postgres; the service may run meanwhile.
"""

app: Final = typer.Typer(name="orgs", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.")],
    *,
    organization_id: NewId = "",
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Make an organization.

    For example:

      otlp-receiver orgs create 'Acme Corporation'
    """
    from otlp_receiver.metadata.projects import create_organization

    made = checked_id(organization_id, name)
    with opened(config, overrides) as metadata:
        create_organization(metadata.connection, made, name, metadata.actor)
    if as_json:
        print_json({"id": made, "name": name})
    else:
        typer.echo(f"Made organization {made}.")


@app.command("list")
def list_organizations(*, as_json: AsJson = False, config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """List organizations."""
    from otlp_receiver.metadata.projects import organizations

    with opened(config, overrides) as metadata:
        found = organizations(metadata.connection)
    if as_json:
        for each in found:
            print_json(each)
    else:
        print_table([asdict(each) for each in found])
