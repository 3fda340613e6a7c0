"""Asks in SQL: the running service over ClickHouse's HTTP interface, or the server that an exporter writes to.

https://clickhouse.com/docs/interfaces/http
"""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import BufferedIOBase
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

import typer

from otlp_receiver.cli.options import load_config, sql_url
from otlp_receiver.cli.output import fail, program

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from config import Config

_ANSWER_SECONDS: Final = 90.0  # the service ends a query after 60 s by itself
_MOST_ERROR_BYTES: Final = 4096
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_OK: Final = 200

Parameter = str | int | Sequence[str]


class SqlError(Exception):
    """The question was not answered; the text is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The running answer to a query.

    Attributes:
        format: ClickHouse's name of its format.
        stream: the answer in that format; reading raises SqlError, or what HTTP connections raise.
    """

    format: str
    stream: BufferedIOBase


class SqlClient(Protocol):
    """Somebody who answers queries and changes nothing."""

    def rows(self, sql: str, **parameters: Parameter) -> list[dict[str, Any]]:
        """All rows of a query without FORMAT; its `{name:Type}` are taken from `parameters`. Raises SqlError."""

    def ask(self, sql: str, default_format: str, **parameters: Parameter) -> "AbstractContextManager[Answer]":
        """The answer to a query, to be read piece by piece; raises SqlError when it is refused."""


def client_for(url: str, exporter: str, sources: list[str] | None, key: str = "") -> SqlClient:
    """Whom the options mean: `--exporter`, else what `sql_url` says, else the clickhouse exporter of `--config`.

    Raises:
        SqlError: the URL is none.
    """
    if url and exporter:
        raise typer.BadParameter("give --url or --exporter", param_hint="--exporter")
    address = "" if exporter else sql_url(url, sources)
    return HttpSqlClient.at(address, key) if address else _server_of(exporter, load_config(sources, None))


def _server_of(exporter: str, config: "Config") -> SqlClient:
    from otlp_receiver.cli.sql_native import NativeSqlClient

    used = dict.fromkeys(each for pipeline in config.service.pipelines.values() for each in pipeline.exporters)
    servers = [each for each in used if each.partition("/")[0] == "clickhouse"]
    if exporter and exporter not in servers:
        fail(f"no pipeline of the configuration has a clickhouse exporter {exporter!r}; there is {_listed(servers)}")
    if not servers:
        fail(
            "the configuration starts no extension sql_http and has no clickhouse exporter; say with --url where to ask"
        )
    if not exporter and len(servers) > 1:
        fail(
            f"the configuration has several clickhouse exporters ({_listed(servers)}); say with --exporter which to ask"
        )
    name = exporter or servers[0]
    return NativeSqlClient(name, config.exporters[name])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


@dataclass(frozen=True, slots=True)
class HttpSqlClient:
    """The SQL endpoint of a running service; implements `SqlClient`.

    Attributes:
        host: name or address.
        port: TCP port.
        key: `public:secret` or a secret alone; empty where none is asked for.
    """

    host: str
    port: int
    key: str = field(default="", repr=False)

    @classmethod
    def at(cls, url: str, key: str = "") -> "HttpSqlClient":
        """The client for `http://host:port`; raises SqlError when that is not what `url` is, or the key can be none."""
        if not (key.isascii() and key.isprintable()):
            raise SqlError("the key has characters that no key has; expected PUBLIC:SECRET")
        with suppress(ValueError):
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme == "http" and parts.hostname and parts.port and parts.username is None:
                return cls(parts.hostname, parts.port, key)
        raise SqlError(f"{url!r} is no SQL endpoint; expected one such as http://127.0.0.1:8123")

    def rows(self, sql: str, **parameters: Parameter) -> list[dict[str, Any]]:
        """See `SqlClient.rows`."""
        with self.ask(sql, "JSONEachRow", **parameters) as answer, _broken_means_error():
            return [json.loads(line) for line in answer.stream]

    @contextmanager
    def ask(self, sql: str, default_format: str, **parameters: Parameter) -> Iterator[Answer]:
        """See `SqlClient.ask`."""
        connection = HTTPConnection(self.host, self.port, timeout=_ANSWER_SECONDS)
        fields = {f"param_{name}": _parameter_text(value) for name, value in parameters.items()}
        target = "/?" + urlencode({"default_format": default_format, **fields})
        try:
            response = _checked(self._send(connection, target, sql), self)
            yield Answer(response.headers.get("X-ClickHouse-Format", ""), response)
        finally:
            connection.close()

    def _send(self, connection: HTTPConnection, target: str, sql: str) -> HTTPResponse:
        try:
            headers = {"Content-Type": "text/plain; charset=utf-8", **_shown(self.key)}
            connection.request("POST", target, sql.encode(), headers)
            return connection.getresponse()
        except TimeoutError:
            raise SqlError(f"{self} did not answer within {_ANSWER_SECONDS:.0f} s") from None
        except (OSError, HTTPException) as error:
            raise SqlError(
                f"no service answers at {self} ({_reason(error)}); start it with `{program()} run`, "
                "or say where it is with --url"
            ) from None

    def __str__(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def _shown(key: str) -> dict[str, str]:
    """The header that shows a key."""
    if ":" in key:
        return {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}
    return {"Authorization": f"Bearer {key}"} if key else {}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _checked(response: HTTPResponse, client: HttpSqlClient) -> HTTPResponse:
    if response.status == _OK:
        return response
    with _broken_means_error():
        text = response.read(_MOST_ERROR_BYTES).decode("utf-8", "replace").strip()
    if "DB::Exception" in text:
        raise SqlError(text)
    raise SqlError(f"{client} answered {response.status} {response.reason}: {text[:200] or 'nothing'}")


@contextmanager
def _broken_means_error() -> Iterator[None]:
    """An answer that stops half-way, or ends in something else than it began with, is no answer."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        raise SqlError(f"the answer broke off: {_reason(error)}") from None


def _parameter_text(value: Parameter) -> str:
    """A value as ClickHouse reads query parameters: escaped as in TSV, arrays as literals."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return "[" + ",".join(f"'{_quoted(item)}'" for item in value) + "]"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
