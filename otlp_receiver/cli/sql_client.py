"""Asks the running service in SQL, over ClickHouse's HTTP interface (https://clickhouse.com/docs/interfaces/http)."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from otlp_receiver.cli.output import program

_ANSWER_SECONDS: Final = 90.0  # the service ends a query after 60 s by itself
_MOST_ERROR_BYTES: Final = 4096
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
_OK: Final = 200

Parameter = str | int | Sequence[str]


class SqlError(Exception):
    """The question was not answered; the text is for the person who asked."""


@dataclass(frozen=True, slots=True)
class SqlClient:
    """The SQL endpoint of a running service.

    Attributes:
        host: name or address.
        port: TCP port.
    """

    host: str
    port: int

    @classmethod
    def at(cls, url: str) -> "SqlClient":
        """The client for `http://host:port`; raises SqlError when that is not what `url` is."""
        with suppress(ValueError):
            parts = urlsplit(url if "://" in url else f"http://{url}")
            if parts.scheme == "http" and parts.hostname and parts.port and parts.username is None:
                return cls(parts.hostname, parts.port)
        raise SqlError(f"{url!r} is no SQL endpoint; expected one such as http://127.0.0.1:8123")

    def rows(self, sql: str, **parameters: Parameter) -> list[dict[str, Any]]:
        """All rows of a query without FORMAT; its `{name:Type}` are taken from `parameters`. Raises SqlError."""
        with self.ask(sql, "JSONEachRow", **parameters) as answer, _broken_means_error():
            return [json.loads(line) for line in answer]

    @contextmanager
    def ask(self, sql: str, default_format: str, **parameters: Parameter) -> Iterator[HTTPResponse]:
        """The answer to a query, to be read piece by piece; raises SqlError when the service refuses it."""
        connection = HTTPConnection(self.host, self.port, timeout=_ANSWER_SECONDS)
        fields = {f"param_{name}": _parameter_text(value) for name, value in parameters.items()}
        target = "/?" + urlencode({"default_format": default_format, **fields})
        try:
            yield _checked(self._send(connection, target, sql), self)
        finally:
            connection.close()

    def _send(self, connection: HTTPConnection, target: str, sql: str) -> HTTPResponse:
        try:
            connection.request("POST", target, sql.encode(), {"Content-Type": "text/plain; charset=utf-8"})
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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _checked(response: HTTPResponse, client: SqlClient) -> HTTPResponse:
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
