"""`validate`, `print-config`, `components`, `schema` and `version`: nothing here opens a socket."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from otlp_receiver import __version__
from otlp_receiver.cli.options import ConfigFiles, Overrides, load_config

if TYPE_CHECKING:
    from config.settings import Settings

_DEFAULT_DATABASE: Final = "otel"


def validate(config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """Check a configuration and report every problem at once.

    Each with file, line, column, path and the nearest valid name. Starts
    nothing and opens no socket. Exit code 1 when there is a problem.

    For example:

      otlp-receiver validate --config receiver.yaml
    """
    load_config(config, overrides)
    typer.echo("ok", err=True)


def print_config(config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """Print the configuration as the service sees it.

    All files merged, every default spelled out, secrets masked.

    For example:

      otlp-receiver print-config
      otlp-receiver print-config --config base.yaml --config site.yaml
    """
    from config.printing import print_config as printed

    typer.echo(printed(load_config(config, overrides)), nl=False)


def components() -> None:
    """Print the component types of this build, as YAML."""
    from ruamel.yaml import YAML

    from config.models import SECTIONS

    document: dict[str, Any] = {
        "buildinfo": {
            "command": "otlp-receiver",
            "description": "OTLP in, GenAI traces and observations in ClickHouse out",
            "version": __version__,
        }
    }
    document |= {section: [_component(*item) for item in types.items()] for section, types in SECTIONS.items()}
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # the stub knows only its default, None
    yaml.width = 120
    yaml.dump(document, sys.stdout)


def _component(name: str, model: "type[Settings]") -> dict[str, str]:
    return {"name": name, "description": (model.__doc__ or "").partition("\n")[0].rstrip(".")}


def schema(
    of: Annotated[Literal["config", "sql"], typer.Argument(help="What to print.")] = "config",
    database: Annotated[str, typer.Option(metavar="NAME", help="Database in the DDL.")] = _DEFAULT_DATABASE,
    ttl_days: Annotated[int, typer.Option(min=0, help="Time to live in the DDL, in days; 0 keeps rows for ever.")] = 90,
) -> None:
    """Print the JSON Schema of the configuration, or the tables' DDL.

    The JSON Schema is for editors: completion, checks and descriptions
    while one writes. In YAML files name it in the first line:

      # yaml-language-server: $schema=receiver.schema.json

    For example:

      otlp-receiver schema > receiver.schema.json
      otlp-receiver schema sql --database otel --ttl-days 30
    """
    typer.echo(_ddl(database, ttl_days) if of == "sql" else _json_schema())


def _json_schema() -> str:
    import json

    from config.json_schema import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False)


def _ddl(database: str, ttl_days: int) -> str:
    from exporters.clickhouse_sql import ddl

    if not (database.isascii() and database.isidentifier()):
        raise typer.BadParameter("expected a plain identifier such as otel", param_hint="--database")
    return "\n\n".join(f"{statement};" for statement in ddl(database, ttl_days))


def version() -> None:
    """Print the version."""
    typer.echo(f"otlp-receiver {__version__}")
