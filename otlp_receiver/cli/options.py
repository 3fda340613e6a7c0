"""Options that several commands share, and what they stand for."""

import os
import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otlp_receiver.cli.output import fail

if TYPE_CHECKING:
    from config import Config

SQL_URL_VARIABLE: Final = "OTLP_RECEIVER_SQL_URL"
_DAY_SECONDS: Final = 86_400.0
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
ExporterId = Annotated[
    str,
    typer.Option(
        "--exporter",
        metavar="ID",
        help="Ask the server of this clickhouse exporter of --config. Default: that one, where there is no sql_http.",
    ),
]
KEY_VARIABLE: Final = "OTLP_RECEIVER_KEY"
Key = Annotated[
    str,
    typer.Option(
        "--key",
        metavar="PUBLIC:SECRET",
        envvar=KEY_VARIABLE,
        show_envvar=False,
        help=f"Key with the scope read, where sql_http asks for one. Default: ${KEY_VARIABLE}, out of sight of others.",
    ),
]
ProjectId = Annotated[str, typer.Option("--project", metavar="ID", help="Only this project.")]
Since = Annotated[
    str,
    typer.Option(metavar="DURATION", help="Only those of so long ago, such as [bold]30m[/], [bold]2h[/], [bold]7d[/]."),
]
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


def since_seconds(text: str) -> float:
    """What `--since` says; wrong usage ends the command."""
    from config.values import parse_duration_seconds

    days = re.fullmatch(r"(\d{1,5})d", text)
    try:
        return int(days[1]) * _DAY_SECONDS if days else parse_duration_seconds(text)
    except ValueError:
        raise typer.BadParameter(
            f"expected a duration such as 30m, 2h or 7d, got {text!r}", param_hint="--since"
        ) from None


def sql_url(url: str, sources: list[str] | None) -> str:
    """Where to ask: `--url`, else the `sql_http` of `--config`, else the environment, else the embedded default.

    Empty when the configuration has none.
    """
    if url:
        return url
    if not sources and (named := os.environ.get(SQL_URL_VARIABLE)):
        return named
    config = load_config(sources, None)
    name = _started(config, "sql_http")
    return f"http://{_address(config, name)}" if name else ""


def extension_address(config: "Config", kind: str, cure: str) -> str:
    """`host:port` at which the extension of this type can be asked from here; without one, fails and names the cure."""
    name = _started(config, kind)
    if name is None:
        fail(f"the configuration starts no extension {kind}; {cure}")
    return _address(config, name)


def _started(config: "Config", kind: str) -> str | None:
    started = config.extensions if config.service.extensions is None else config.service.extensions
    return next((name for name in started if name.split("/")[0] == kind), None)


def _address(config: "Config", name: str) -> str:
    return reachable(config.extensions[name].endpoint)


def reachable(endpoint: str) -> str:
    """`host:port` at which an endpoint can be reached from this machine: one that listens everywhere is here too."""
    host, _, port = endpoint.rpartition(":")
    return f"{_ANY_HOST.get(host, host)}:{port}"
