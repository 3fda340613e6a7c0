"""`migrate`: the schema of ClickHouse servers, ahead of the exporters."""

from typing import TYPE_CHECKING, Annotated

import typer

from otlp_receiver.cli.options import ConfigFiles, Overrides, load_config
from otlp_receiver.cli.output import fail

if TYPE_CHECKING:
    from config.models import ClickHouseExporterSettings


def migrate(
    config: ConfigFiles = None,
    overrides: Overrides = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL that would run, and change nothing.")
    ] = False,
) -> None:
    """Create or upgrade the tables of every clickhouse exporter.

    Exporters do it themselves when they start, unless create_schema is
    false. Safe to repeat, and to run while exporters and other migrations
    do.

    For example:

      otlp-receiver migrate --config receiver.yaml --dry-run
      otlp-receiver migrate --config receiver.yaml
    """
    from pipelines.errors import Permanent, Retryable

    exporters = load_config(config, overrides).exporters
    servers = {name: settings for name, settings in exporters.items() if name.partition("/")[0] == "clickhouse"}
    if not servers:
        fail("the configuration has no clickhouse exporter, so there is nothing to migrate")
    for name, settings in servers.items():
        try:
            statements = _statements(settings, dry_run=dry_run)
        except (Permanent, Retryable) as error:
            fail(f"exporter {name}: {error}")
        if dry_run:
            typer.echo("".join(f"{statement};\n\n" for statement in statements), nl=False)
        typer.echo(f"{name}: {_summary(len(statements), dry_run=dry_run)}", err=True)


def _statements(settings: "ClickHouseExporterSettings", *, dry_run: bool) -> list[str]:
    from exporters.clickhouse_native import ClickHouseExporter

    exporter = ClickHouseExporter("migrate", settings)
    try:
        return exporter.migrate(dry_run=dry_run)
    finally:
        exporter.close()


def _summary(count: int, *, dry_run: bool) -> str:
    if not count:
        return "up to date"
    return f"{count} statements {'to run' if dry_run else 'run'}"
