"""Options that several commands share, and what they stand for."""

import os
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otlp_receiver.cli.output import fail

if TYPE_CHECKING:
    from config import Config

SQL_URL_VARIABLE: Final = "OTLP_RECEIVER_SQL_URL"
_ANY_HOST: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not listened on

ConfigFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file; several merge from left to right. Default: the embedded set-up.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, such as [bold]service.workers=2[/]."),
]
SqlUrl = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        help=f"SQL endpoint of the service. Default: sql_http of --config, else ${SQL_URL_VARIABLE}, "
        "else http://127.0.0.1:8123.",
    ),
]
ProjectId = Annotated[str, typer.Option("--project", metavar="ID", help="Only this project.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs, with every field.")]


def load_config(sources: list[str] | None, overrides: list[str] | None, *, exit_code: int = 1) -> "Config":
    """The configuration that the options describe; on problems prints all of them and ends with `exit_code`."""
    from config import ConfigErrors
    from config.loader import load

    try:
        return load(sources or [], overrides or [])
    except ConfigErrors as errors:
        typer.echo(str(errors), err=True)
        raise typer.Exit(exit_code) from None


def sql_url(url: str, sources: list[str] | None) -> str:
    """Where to ask: `--url`, else the `sql_http` of `--config`, else the environment, else the embedded default."""
    if url:
        return url
    if not sources and (named := os.environ.get(SQL_URL_VARIABLE)):
        return named
    config = load_config(sources, None)
    started = config.extensions if config.service.extensions is None else config.service.extensions
    name = next((name for name in started if name.split("/")[0] == "sql_http"), None)
    if name is None:
        fail("the configuration starts no extension sql_http; say where to ask with --url")
    host, _, port = config.extensions[name].endpoint.rpartition(":")
    return f"http://{_ANY_HOST.get(host, host)}:{port}"
