"""What must hold before anything is started, checked so that the answer is one clear line."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import structlog

from config import Config
from config.access import is_open
from config.exposure import is_local
from config.models import ServerSettings, SqlHttpSettings
from config.values import UNIX
from otlp_receiver.sockets import check
from otlp_receiver.tls import load

# The processes of a supervisor that was killed need a moment to end and give up their ports.
_ADDRESS_WAIT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.1

_log = structlog.get_logger("supervisor")


def endpoints(config: Config, only: str | None) -> Iterator[tuple[str, str]]:
    """What a role listens on: (path in the configuration, `host:port` or `unix:/path`)."""
    for path, protocol in _protocols(config, only):
        yield f"{path}::endpoint", protocol.endpoint
    for extension_id, extension in enabled_extensions(config).items():
        listens = hasattr(extension, "endpoint") and (only != "ingest" or not extension_id.startswith("sql_http"))
        if listens:
            yield f"extensions::{extension_id}::endpoint", extension.endpoint
    yield "service::telemetry::metrics::address", config.service.telemetry.metrics.address


def _protocols(config: Config, only: str | None) -> Iterator[tuple[str, ServerSettings]]:
    if only == "export":
        return
    for receiver_id, receiver in config.receivers.items():
        for name in ("grpc", "http"):
            protocol = getattr(receiver.protocols, name)
            if protocol is not None:
                yield f"receivers::{receiver_id}::protocols::{name}", protocol


def enabled_extensions(config: Config) -> dict[str, Any]:
    """The extensions to start: those that the service names, else all that are configured."""
    names = config.service.extensions
    return {name: body for name, body in config.extensions.items() if names is None or name in names}


def uses_api_keys(config: Config) -> bool:
    """Whether keys of the metadata store are known here."""
    return any(name.partition("/")[0] == "api_keys" for name in enabled_extensions(config))


def check_certificates(config: Config, only: str | None) -> None:
    """Raise OSError naming the first certificate file that cannot be used."""
    for path, protocol in _protocols(config, only):
        if protocol.tls is not None:
            try:
                load(protocol.tls)
            except OSError as error:
                raise OSError(f"{path}::tls: {error}") from None


def check_endpoints(config: Config, only: str | None) -> None:
    """Raise OSError naming the first address that cannot be listened on.

    The ingest processes share their ports with SO_REUSEPORT, which would silently share them with a stranger too; so
    they are tried here without it first.
    """
    for path, endpoint in endpoints(config, only):
        deadline = time.monotonic() + _ADDRESS_WAIT_SECONDS
        while (problem := _problem(endpoint)) is not None:
            if problem.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise OSError(f"{path}: {problem.strerror}") from None
            time.sleep(_RETRY_SECONDS)


def _problem(endpoint: str) -> OSError | None:
    try:
        check(endpoint)
    except OSError as error:
        return error
    return None


def give_hints(config: Config, only: str | None) -> None:
    """Log what is open to everybody, and what most often goes wrong on the first day."""
    _warn_of_open_listeners(config, only)
    if not (Path("/.dockerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ):
        return
    hidden = [
        endpoint
        for path, endpoint in endpoints(config, only)
        if path.startswith("receivers") and not endpoint.startswith(UNIX) and is_local(endpoint)
    ]
    if hidden:
        _log.warning(
            "This looks like a container, and these addresses can be reached from inside it only; "
            "listen on 0.0.0.0 or on the pod's address, with `auth`, to be reached from outside.",
            endpoints=hidden,
        )


def _warn_of_open_listeners(config: Config, only: str | None) -> None:
    guarded: list[tuple[str, ServerSettings | SqlHttpSettings]] = [*_protocols(config, only)]
    if only != "ingest":
        extensions = enabled_extensions(config).items()
        guarded += [(f"extensions::{name}", each) for name, each in extensions if name.startswith("sql_http")]
    for path, listener in guarded:
        if not is_local(listener.endpoint) and is_open(listener.auth):
            message = "Whoever can reach this endpoint may use it: it has no authentication."
            _log.warning(message, listener=path, endpoint=listener.endpoint)
