"""`run`: the service itself."""

from typing import Annotated, Final, Literal

import typer

from otlp_receiver.cli.options import ConfigFiles, Overrides, load_config

START_FAILURE: Final = 3


def run(
    config: ConfigFiles = None,
    overrides: Overrides = None,
    only: Annotated[
        Literal["ingest", "export"] | None, typer.Option(help="Run one half: receive and buffer, or export.")
    ] = None,
) -> None:
    """Start the service.

    Ctrl-C or SIGTERM ends it in order, SIGHUP reloads the configuration.

    Without --config it takes the embedded set-up: OTLP on 127.0.0.1 (gRPC
    4317, HTTP 4318), a buffer and ClickHouse tables under ./data, SQL on
    8123, metrics on 8888, health on 13133.

    Exit codes: 0 ended in order, 1 something was cut short, 3 could not
    start.

    For example:

      otlp-receiver run
      otlp-receiver run --config receiver.yaml --set service.workers=2
      otlp-receiver run --config receiver.yaml --only ingest
    """
    settings = load_config(config, overrides, exit_code=START_FAILURE)
    from config.loader import load
    from otlp_receiver import supervisor

    raise typer.Exit(supervisor.run(settings, only=only, reload=lambda: load(config or [], overrides or [])))
