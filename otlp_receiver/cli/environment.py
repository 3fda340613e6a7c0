"""What an application needs to send with a key, as the variables that its SDKs read."""

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import typer

from otlp_receiver.cli.options import reachable

if TYPE_CHECKING:
    from config import Config
    from otlp_receiver.keys import NewKey

_DEFAULT: Final = "http://127.0.0.1:4318"


def environment(key: "NewKey", endpoint: str) -> dict[str, str]:
    """Variables for OpenTelemetry's and Langfuse's SDKs.

    Header values are percent-encoded: OpenTelemetry specification 1.50, "OTLP Exporter: Specifying headers via
    environment variables". Langfuse reads HOST up to version 3, BASE_URL from then on.
    """
    base = endpoint.rstrip("/")
    pair = base64.b64encode(f"{key.public_key}:{key.secret}".encode()).decode()
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": base,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization={quote(f'Basic {pair}', safe='')}",
        "LANGFUSE_PUBLIC_KEY": key.public_key,
        "LANGFUSE_SECRET_KEY": key.secret,
        "LANGFUSE_HOST": base,
        "LANGFUSE_BASE_URL": base,
    }


def http_endpoint(config: "Config") -> str:
    """URL of the first HTTP receiver as applications on this machine reach it."""
    for receiver in config.receivers.values():
        http = receiver.protocols.http
        if http is not None and not http.endpoint.startswith("unix:"):
            return f"{'https' if http.tls else 'http'}://{reachable(http.endpoint)}"
    return _DEFAULT


def print_new_key(headline: str, variables: dict[str, str]) -> None:
    """The secret in the form in which it is used; it cannot be shown again."""
    typer.echo(f"{headline} The secret is shown this one time:\n")
    for name, value in variables.items():
        typer.echo(f"export {name}={value}")
    typer.echo("\nThe OTEL_ variables are for OpenTelemetry's SDKs, the LANGFUSE_ ones for Langfuse's.")
