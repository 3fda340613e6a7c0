"""The client of the SQL endpoint: what it sends, and what it says when the answer is none."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from otlp_receiver.cli.main import app
from otlp_receiver.cli.options import sql_url
from otlp_receiver.cli.output import program
from otlp_receiver.cli.sql_client import HttpSqlClient, SqlError
from tests.support.service import free_ports


@contextmanager
def _answering(
    status: int, body: bytes, *, promised_bytes: int | None = None
) -> Iterator[tuple[HttpSqlClient, list[str]]]:
    """A server that gives one answer to everything, and the requests that it saw."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        """Reads the request, and answers."""

        def do_POST(self) -> None:
            seen.extend([self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if promised_bytes is None else promised_bytes))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield HttpSqlClient("127.0.0.1", server.server_port), seen
        finally:
            server.shutdown()
            thread.join()


def test_values_travel_as_parameters_not_as_sql() -> None:
    """What users type is sent beside the query, escaped as ClickHouse reads it, and never inside it."""
    with _answering(200, b'{"a":1}\n{"a":"x"}\n') as (client, seen):
        rows = client.rows("SELECT {id:String}", id="a'b\\c\td\n", count=7, ids=["x", "y'z"])
    target, body = seen
    fields = parse_qs(urlsplit(target).query)
    assert rows == [{"a": 1}, {"a": "x"}]
    assert body == "SELECT {id:String}"
    assert fields == {
        "default_format": ["JSONEachRow"],
        "param_id": ["a'b\\\\c\\td\\n"],
        "param_count": ["7"],
        "param_ids": ["['x','y\\'z']"],
    }


def test_what_clickhouse_says_is_told() -> None:
    """A refused query gives the engine's own words."""
    with (
        _answering(404, b"Code: 60. DB::Exception: Unknown table") as (client, _),
        pytest.raises(SqlError, match=r"^Code: 60\. DB::Exception: Unknown table$"),
    ):
        client.rows("SELECT 1")


def test_something_else_answers() -> None:
    """Another service on the port is recognised as such."""
    with (
        _answering(404, b"<html>not here</html>") as (client, _),
        pytest.raises(SqlError, match=f"^{client} answered 404 Not Found: <html>not here</html>$"),
    ):
        client.rows("SELECT 1")


@pytest.mark.parametrize("body", [b'{"a":1}\n{"a":', b'{"a":1}\nCode: 241. DB::Exception: memory'])
def test_an_answer_that_breaks_off_is_an_error(body: bytes) -> None:
    """Half an answer is never taken for a whole one: neither cut, nor ending in an exception of the engine."""
    with _answering(200, body, promised_bytes=len(body) + 9) as (client, _), pytest.raises(SqlError, match="broke off"):
        client.rows("SELECT 1")


@pytest.mark.parametrize("arguments", [["traces"], ["trace", "ab"], ["query", "SELECT 1"]])
def test_nothing_listens(arguments: list[str]) -> None:
    """One line that names the address and the cure, and exit code 1."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = CliRunner().invoke(app, [*arguments, "--url", url])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: no service answers at {url} (Connection refused); start it with `{program()} run`, "
        "or say where it is with --url\n"
    )


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:8123", "http://", "http://host", "file:///etc/passwd", "http://a:b@c:1", "::"]
)
def test_what_is_no_endpoint(url: str) -> None:
    """An impossible address is told with an example of a possible one."""
    done = CliRunner().invoke(app, ["traces", "--url", url])
    assert done.exit_code == 1
    assert "is no SQL endpoint; expected one such as http://127.0.0.1:8123" in done.stderr


def test_where_to_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--url comes before --config, which comes before the environment, which comes before the embedded default."""
    file = tmp_path / "service.yaml"
    settings = "extensions.sql_http={endpoint: '0.0.0.0:1234', auth: none}"
    printed = CliRunner().invoke(app, ["print-config", "--set", settings])
    file.write_text(printed.stdout)
    assert sql_url("", None) == "http://127.0.0.1:8123"
    monkeypatch.setenv("OTLP_RECEIVER_SQL_URL", "http://127.0.0.1:5678")
    assert sql_url("", None) == "http://127.0.0.1:5678"
    assert sql_url("", [str(file)]) == "http://127.0.0.1:1234"
    assert sql_url("http://other:1", [str(file)]) == "http://other:1"


@pytest.mark.parametrize("setting", ["extensions=null", "service.extensions=[health_check]"])
def test_a_configuration_without_sql_has_nothing_to_ask(tmp_path: Path, setting: str) -> None:
    """The command says so, and what to do."""
    file = tmp_path / "service.yaml"
    file.write_text(CliRunner().invoke(app, ["print-config", "--set", setting]).stdout)
    done = CliRunner().invoke(app, ["traces", "--config", str(file)])
    assert done.exit_code == 1
    assert done.stderr == (
        "error: the configuration starts no extension sql_http and has no clickhouse exporter; "
        "say with --url where to ask\n"
    )


def test_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable, as most companies set it, does not get between the command and the service."""
    with socket.create_server(("127.0.0.1", 0)) as proxy, _answering(200, b"") as (client, seen):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert client.rows("SELECT 1") == []
        assert seen
