"""`health`: whether the service is ready, for the HEALTHCHECK of an image that has no curl."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Final

import typer

from otlp_receiver.cli.options import ConfigFiles, Overrides, extension_address, load_config
from otlp_receiver.cli.output import fail, one_line, program

_DEFAULT_ADDRESS: Final = "127.0.0.1:13133"
_ANSWER_SECONDS: Final = 3.0
_MOST_ANSWER_BYTES: Final = 64 * 1024
_OK: Final = 200


def health(config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """Ask the running service whether it is ready.

    Asks the extension health_check of --config, else the default address
    127.0.0.1:13133. Exit code 0 when requests are accepted, 1 when not; then
    one line says why.

    For example:

      otlp-receiver health
      otlp-receiver health --config receiver.yaml
    """
    address = _DEFAULT_ADDRESS
    if config or overrides:
        address = extension_address(load_config(config, overrides), "health_check", "add it to `extensions`")
    try:
        status, answer = _ask(address)
    except (OSError, HTTPException) as error:
        fail(f"no service answers at {address} ({error}); start it with `{program()} run`, or name its --config")
    if status != _OK:
        fail(f"not ready: {_reason(answer)}")
    typer.echo("ready")


def _ask(address: str) -> tuple[int, bytes]:
    connection = HTTPConnection(address, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        return response.status, response.read(_MOST_ANSWER_BYTES)
    finally:
        connection.close()


def _reason(answer: bytes) -> str:
    """What the service says of itself; something else may answer on its port."""
    try:
        return one_line(json.loads(answer)["reason"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return one_line(answer.decode("utf-8", "replace")) or "nothing more is known"
