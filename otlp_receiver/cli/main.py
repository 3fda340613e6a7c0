"""The command line. Command modules import only what is light; the rest is imported by the command that needs it.

Exit codes: 0 done, 1 failed (one clear line says why), 2 wrong usage, 3 `run` could not start.
"""

from typing import Final

import typer

from otlp_receiver.cli import (
    configuration,
    dead_letters,
    explain,
    health,
    keys,
    migrate,
    orgs,
    prices,
    projects,
    query,
    quotas,
    run,
    send_sample,
    trace,
    traces,
)

_HELP: Final = """Receives GenAI traces over OTLP and keeps them as traces and observations in ClickHouse tables.

First steps, in two terminals:

  [bold]otlp-receiver run[/]            start the service, with nothing else installed
  [bold]otlp-receiver send-sample[/]    send it an agent run
  [bold]otlp-receiver traces[/]         see what arrived
"""
_RUN: Final = "Run the service"
_READ: Final = "Read what it stored"
_MANAGE: Final = "Say who may send what"
_TRY: Final = "Try it out"
_INSPECT: Final = "Inspect the configuration"

app: Final = typer.Typer(
    name="otlp-receiver",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=_RUN)(run.run)
app.command(rich_help_panel=_RUN)(configuration.validate)
app.command(rich_help_panel=_RUN)(migrate.migrate)
app.command(rich_help_panel=_RUN)(health.health)
app.add_typer(dead_letters.app, rich_help_panel=_RUN)
app.add_typer(orgs.app, rich_help_panel=_MANAGE)
app.add_typer(projects.app, rich_help_panel=_MANAGE)
app.add_typer(keys.app, rich_help_panel=_MANAGE)
app.add_typer(prices.app, rich_help_panel=_MANAGE)
app.add_typer(quotas.app, rich_help_panel=_MANAGE)
app.command(rich_help_panel=_TRY)(send_sample.send_sample)
app.command(rich_help_panel=_TRY)(explain.explain)
app.command(rich_help_panel=_READ)(traces.traces)
app.command(rich_help_panel=_READ)(trace.trace)
app.command(rich_help_panel=_READ)(query.query)
app.command(rich_help_panel=_INSPECT)(configuration.print_config)
app.command(rich_help_panel=_INSPECT)(configuration.components)
app.command(rich_help_panel=_INSPECT)(configuration.schema)
app.command(rich_help_panel=_INSPECT)(configuration.version)


def main() -> None:
    """The console script `otlp-receiver`."""
    app()
