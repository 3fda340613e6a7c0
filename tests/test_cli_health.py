"""`health`: what the container's health check runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from otlp_receiver.cli.main import app
from tests.support.service import Service, free_ports


def _health(port: int) -> Result:
    endpoint = f"extensions.health_check.endpoint=0.0.0.0:{port}"
    return CliRunner().invoke(app, ["health", "--set", endpoint])


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[int]:
    """A port that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_ready(running: Service) -> None:
    """A service that accepts requests is ready, asked by its own configuration."""
    shown = CliRunner().invoke(app, ["health", "--config", str(running.directory / "receiver.yaml")])
    assert (shown.exit_code, shown.stdout) == (0, "ready\n")


def test_not_ready() -> None:
    """One that does not is not, and its reason is told."""
    with _answering(503, json.dumps({"status": "Server not available", "reason": "ingest-0: starting"}).encode()) as at:
        shown = _health(at)
    assert (shown.exit_code, shown.stderr) == (1, "error: not ready: ingest-0: starting\n")


def test_nobody_there() -> None:
    """Without a service it says where it asked, and what to do."""
    (port,) = free_ports(1)
    shown = _health(port)
    assert shown.exit_code == 1
    assert f"no service answers at 127.0.0.1:{port} " in shown.stderr
    assert " run`" in shown.stderr


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"reason": 7}', b"\xff\x1b[31m" + b"x" * 100_000])
def test_somebody_else(body: bytes) -> None:
    """Whatever else listens there is not ready, and what it says cannot steer a terminal."""
    with _answering(404, body) as at:
        shown = _health(at)
    assert shown.exit_code == 1
    assert shown.stderr.startswith("error: not ready: ")
    assert "\x1b" not in shown.stderr
    assert len(shown.stderr) < 300


def test_no_extension() -> None:
    """A configuration without health_check cannot be asked, and the cure is named."""
    shown = CliRunner().invoke(app, ["health", "--set", "service.extensions=[]"])
    assert shown.exit_code == 1
    assert "starts no extension health_check; add it to `extensions`" in shown.stderr
