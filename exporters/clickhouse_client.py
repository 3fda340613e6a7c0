"""A connection to a ClickHouse server, and its failures sorted into Retryable and Permanent."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from clickhouse_driver import Client
from clickhouse_driver.columns.exceptions import ColumnException
from clickhouse_driver.errors import Error, ServerException

from config.clickhouse import ClickHouseSettings, ClickHouseTlsSettings
from exporters.clickhouse_errors import PERMANENT
from exporters.completion import MAX_QUERY_SIZE
from pipelines.errors import Permanent, Retryable

_CLIENT_NAME: Final = "otlp-receiver"
_LONGEST_REASON: Final = 2000
# What every statement runs with; a server that does not know one of them ignores it.
_SETTINGS: Final[dict[str, Any]] = {
    "max_query_size": MAX_QUERY_SIZE,
    # Copies within a block are left to the merges, as those between blocks are.
    "optimize_on_insert": 0,
    # Acknowledged means stored, whatever the user's profile says.
    "async_insert": 0,
    "distributed_foreground_insert": 1,
    # Without it the tables that count calls would miss a block whose first attempt broke off halfway.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}


class Refusal(Retryable):
    """What the server said, with its code, for those who choose their next step by it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def connect(settings: ClickHouseSettings, database: str = "", **statement_settings: Any) -> Client:
    """A client that connects with the first statement, and again after a failure, to the next host that answers.

    Args:
        settings: where to, and as whom.
        database: where names without one are looked up; it must exist. Empty for the user's default.
        statement_settings: what every statement runs with besides; also the driver's own, such as `strings_as_bytes`.
    """
    logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)  # what it warns of, `sorted_errors` raises
    url = settings.url
    (host, port), *others = url.hosts
    return Client(
        host,
        port=port,
        alt_hosts=",".join(f"{_bracketed(name)}:{number}" for name, number in others) or None,
        user=url.user,
        password=url.password,
        database=database,
        client_name=_CLIENT_NAME,
        compression="lz4",
        connect_timeout=settings.connect_timeout,
        send_receive_timeout=settings.timeout,
        sync_request_timeout=settings.connect_timeout,
        tcp_keepalive=True,
        settings={**_SETTINGS, **statement_settings},
        **_tls(settings.tls, secure=url.secure),
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _tls(tls: ClickHouseTlsSettings, *, secure: bool) -> dict[str, Any]:
    return {
        "secure": secure,
        "verify": not tls.insecure_skip_verify,
        "ca_certs": tls.ca_file,
        "certfile": tls.cert_file,
        "keyfile": tls.key_file,
    }


@contextmanager
def sorted_errors() -> Iterator[None]:
    """Whatever the driver raises as Permanent or Retryable; a `Refusal` where the server has said why.

    Permanent is what a row can be guilty of: the server's codes of `PERMANENT`, and values that cannot be sent at all.
    """
    try:
        yield
    except ServerException as error:
        message = f"Code: {error.code}. {_short(error.message)}"
        raise (Permanent(message) if error.code in PERMANENT else Refusal(message, error.code)) from error
    except (ColumnException, UnicodeError) as error:
        raise Permanent(f"a value cannot be sent to ClickHouse: {error}") from error
    except (Error, OSError, EOFError) as error:
        raise Retryable(f"no answer from ClickHouse: {str(error) or type(error).__name__}") from error


def _short(message: str) -> str:
    """Without the server's stack trace."""
    return message.partition(". Stack trace:")[0][:_LONGEST_REASON]
