"""Settings of the connection to a ClickHouse server or cluster."""

import re
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, PlainSerializer, SecretStr

from config.settings import Count, Settings, Switch, Wait
from config.transports import PemFile
from config.values import Spelling, mask_dsn

_EXAMPLE: Final = "clickhouse://user:password@host:9000/otel, with several hosts as host1:9000,host2:9000"
_SCHEMES: Final = {"clickhouse": 9000, "clickhouses": 9440}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_DEFAULT_DATABASE: Final = "otel"
_LARGEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class ClickHouseUrl:
    """The parts of an endpoint.

    Attributes:
        hosts: host and port of each server, in the order in which they are tried.
        user: name of the user.
        password: empty for none.
        database: a plain identifier.
        secure: whether connections are encrypted.
    """

    hosts: tuple[tuple[str, int], ...]
    user: str
    password: str
    database: str
    secure: bool


def parse_clickhouse_url(text: str) -> ClickHouseUrl:
    """The parts of `clickhouse[s]://[user[:password]@]host[:port][,host[:port]...][/database]`.

    Raises:
        ValueError: it is none; the message never holds the text, which may hold a password.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"expected {_EXAMPLE}") from None
    user, _, places = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    database = parts.path.removeprefix("/") or _DEFAULT_DATABASE
    if parts.scheme not in _SCHEMES or parts.query or parts.fragment or not _IDENTIFIER.fullmatch(database):
        raise ValueError(f"expected {_EXAMPLE}")
    hosts = tuple(_host(place, _SCHEMES[parts.scheme]) for place in places.split(","))
    return ClickHouseUrl(
        hosts, unquote(name) or "default", unquote(password), database, secure=parts.scheme == "clickhouses"
    )


def _host(place: str, default_port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/@]+)(?::([0-9]{1,5}))?", place)
    if not found or int(found[2] or 1) not in range(1, _LARGEST_PORT + 1):
        raise ValueError(f"expected {_EXAMPLE}")
    return found[1].strip("[]"), int(found[2] or default_port)


def _checked_url(value: SecretStr) -> SecretStr:
    parse_clickhouse_url(value.get_secret_value())
    return value


def _identifier(value: str) -> str:
    if value and not _IDENTIFIER.fullmatch(value):
        raise ValueError("expected a plain identifier such as main, as remote_servers of the server names it")
    return value


ClickHouseEndpoint = Annotated[
    SecretStr, AfterValidator(_checked_url), PlainSerializer(mask_dsn, when_used="json"), Spelling("URL")
]
"""URL of ClickHouse's native protocol; its password is never shown."""


class ClickHouseTlsSettings(Settings):
    """How the server is known, and how we are; only for `clickhouses://`."""

    ca_file: PemFile | None = None
    """PEM file of the authorities that may have signed the server's certificate; absent = the public ones."""
    cert_file: PemFile | None = None
    """PEM file of our own certificate, for servers that ask for one."""
    key_file: PemFile | None = None
    """PEM file of its private key, without a password."""
    insecure_skip_verify: Switch = False
    """Whether to take any certificate; for tests only."""


class ClickHouseSettings(Settings):
    """A ClickHouse server or cluster over its native protocol."""

    endpoint: ClickHouseEndpoint = SecretStr("clickhouse://127.0.0.1:9000/otel")
    """`clickhouse://user:password@host:9000/database`; `clickhouses://` encrypts; several hosts with commas between."""
    cluster: Annotated[str, AfterValidator(_identifier)] = ""
    """Name of a cluster: replicated tables on all its servers, divided by trace id; empty = one server."""
    ttl_days: Count = 90
    """Rows are dropped so many days after they were stored; 0 = keep for ever."""
    create_schema: Switch = True
    """Whether to create and upgrade the tables at the start; if not, `otlp-receiver migrate` must have done it."""
    tls: ClickHouseTlsSettings = ClickHouseTlsSettings()
    """How the server is known, and how we are; only for `clickhouses://`."""
    connect_timeout: Wait = 10.0
    """What connecting may take, for each host."""
    timeout: Wait = 120.0
    """What the server may stay silent for while it inserts; then the block is sent again."""

    @property
    def url(self) -> ClickHouseUrl:
        """The parts of the endpoint."""
        return parse_clickhouse_url(self.endpoint.get_secret_value())
