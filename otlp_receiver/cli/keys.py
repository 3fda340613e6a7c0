"""`keys`: what applications show, and which project it stands for."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otlp_receiver.cli.metadata import Metadata, duration, opened, print_json, print_table
from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides

if TYPE_CHECKING:
    from config import Config
    from config.errors import ConfigError
    from otlp_receiver.cli.key_file import Entry
    from otlp_receiver.keys import NewKey

_HELP: Final = """API keys, each of one project.

They are kept in Postgres, their secrets as hashes. The service may run
meanwhile: new keys work at once, revoked ones are refused within 30 s.
"""

app: Final = typer.Typer(name="keys", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")

PublicKey = Annotated[str, typer.Argument(metavar="PUBLIC_KEY", help="Its name, pk-...")]


@app.command()
def create(
    project: Annotated[str, typer.Option("--project", metavar="ID", help="Whose key.")],
    *,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="What it may do: ingest, read; may be repeated. Default: ingest."
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
    expires: Annotated[str, typer.Option(metavar="DURATION", help="Refused after so long, such as 90d.")] = "",
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Make a key; its secret is shown this one time.

    For example:

      otlp-receiver keys create --project checkout
      otlp-receiver keys create --project checkout --scope read --expires 90d
    """
    from otlp_receiver.keys import generate_key
    from otlp_receiver.metadata import api_keys
    from otlp_receiver.metadata.projects import existing_project

    wanted, lifetime, key = _checked(scopes), duration(expires, "--expires") if expires else None, generate_key()
    with opened(config, overrides) as metadata:
        existing_project(metadata.connection, project)
        api_keys.create(metadata.connection, key, hash_key=metadata.hash_key(), project_id=project, scopes=wanted,
                        note=note, lifetime=lifetime, actor=metadata.actor)  # fmt: skip
    _show(f"Made key {key.public_key} of project {project}.", key, project, metadata.config, as_json=as_json)


@app.command("import")
def import_keys(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON, keys as for static_keys.")],
    *,
    project: Annotated[
        str, typer.Option("--project", metavar="ID", help="Whose keys. Default: as the file says, else default.")
    ] = "",
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Take keys over that applications have already, with their secrets.

    So they need no change: keys of Langfuse, or static keys of a
    configuration. All are taken or none; those that are there already,
    just so, stay. The file holds a list, or a mapping with one under
    [bold]keys[/]:

      keys:
        - public_key: pk-lf-...
          secret_key: sk-lf-... # or ${env:NAME}, or secret_key_file
          project: checkout
          scopes: # default: ingest alone
            - ingest
            - read
          expires: 2027-01-31 # default: never
          note: web shop

    For example:

      otlp-receiver keys import keys.yaml --project checkout
    """
    from otlp_receiver.cli.key_file import read_keys

    problems: list[ConfigError] = []
    entries = read_keys(file, project, problems)
    with opened(config, overrides) as metadata:
        hash_key = metadata.hash_key()
        taken = [(entry.given, _take_over(metadata, hash_key, entry, problems)) for entry in entries]
        if problems:
            typer.echo("\n".join(map(str, sorted(problems, key=lambda each: (each.line, each.column)))), err=True)
            raise typer.Exit(1)
    if as_json:
        for given, is_new in taken:
            print_json({"public_key": given.key.public_key, "project_id": given.project_id, "scopes": given.scopes,
                        "expires_at": given.expires_at, "is_new": is_new})  # fmt: skip
    else:
        new = sum(is_new for _, is_new in taken)
        typer.echo(f"Took over {new} keys, which work within 10 s; {len(taken) - new} were there already.")


@app.command("list")
def list_keys(
    *,
    project: Annotated[str, typer.Option("--project", metavar="ID", help="Only those of this project.")] = "",
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """List keys, without their secrets."""
    from otlp_receiver.metadata import api_keys

    with opened(config, overrides) as metadata:
        found = api_keys.keys(metadata.connection, project or None)
    if as_json:
        for each in found:
            print_json(each)
    elif found:
        print_table([asdict(each) | {"display_suffix": f"…{each.display_suffix}"} for each in found])
    else:
        typer.echo("There are no keys.", err=True)


@app.command()
def revoke(public_key: PublicKey, *, config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """Have a key refused, from 30 s at most after now.

    For example:

      otlp-receiver keys revoke pk-gm3tsnbqgq4dgmrtgi3dcmrs
    """
    from otlp_receiver.metadata import api_keys

    with opened(config, overrides) as metadata:
        api_keys.revoke(metadata.connection, public_key, metadata.actor)
    typer.echo(f"Revoked {public_key}; it is refused within 30 s.")


@app.command()
def rotate(
    public_key: PublicKey,
    *,
    overlap: Annotated[str, typer.Option(metavar="DURATION", help="How long the old key goes on working.")] = "24h",
    as_json: AsJson = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Make a key in the place of another, which works for a while more.

    For example:

      otlp-receiver keys rotate pk-gm3tsnbqgq4dgmrtgi3dcmrs --overlap 7d
    """
    from otlp_receiver.keys import generate_key
    from otlp_receiver.metadata import api_keys

    remaining, key = duration(overlap, "--overlap"), generate_key()
    with opened(config, overrides) as metadata:
        old = api_keys.rotate(metadata.connection, public_key, key, hash_key=metadata.hash_key(), overlap=remaining,
                              actor=metadata.actor)  # fmt: skip
    headline = f"Made key {key.public_key} of project {old.project_id}; {public_key} works for {overlap} more."
    _show(headline, key, old.project_id, metadata.config, as_json=as_json)


def _take_over(metadata: Metadata, hash_key: bytes, entry: "Entry", problems: "list[ConfigError]") -> bool:
    """Whether it is new; what keeps it from being taken over is added to the problems."""
    from otlp_receiver.metadata import api_keys
    from pipelines.errors import Permanent

    try:
        return api_keys.take_over(metadata.connection, entry.given, hash_key=hash_key, actor=metadata.actor)
    except Permanent as error:
        problems.append(entry.mark.error(entry.path, str(error)))
        return False


def _checked(scopes: list[str] | None) -> list[str]:
    from typing import get_args

    from config.access import Scope

    wanted = sorted(set(scopes or ["ingest"]))
    for each in wanted:
        if each not in get_args(Scope):
            raise typer.BadParameter(f"expected ingest or read, got {each!r}", param_hint="--scope")
    return wanted


def _show(headline: str, key: "NewKey", project_id: str, config: "Config", *, as_json: bool) -> None:
    from otlp_receiver.cli.environment import environment, http_endpoint, print_new_key

    variables = environment(key, http_endpoint(config))
    if as_json:
        shown = {"project_id": project_id, "public_key": key.public_key, "secret_key": key.secret}
        print_json(shown | {"environment": variables})
    else:
        print_new_key(headline, variables)
