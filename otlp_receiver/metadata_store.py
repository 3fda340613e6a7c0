"""Projects, keys, prices and quotas in Postgres, embedded or not: the same schema and SQL on both.

Here are connections and migrations; what is in the tables is read and changed by the modules of `metadata`.

Whatever the database answers becomes Retryable or Permanent here. No message names more of the address than host,
port and database: the rest may be a secret.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import structlog
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from config.access import DEFAULT_PROJECT
from otlp_receiver.metadata import projects
from otlp_receiver.metadata.projects import Project
from otlp_receiver.migrations.steps import Step, find_missing, load_steps, read_applied
from pipelines.errors import Permanent, Retryable

_CONNECTIONS: Final = 4
_WAIT_SECONDS: Final = 10  # for a connection of the pool
_RETRY_SECONDS: Final = 0.2
# The pool's pauses double until it gives up, to minutes; once it has, whoever comes next makes it try at once.
_RECONNECT_SECONDS: Final = 1.0
_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "otlp-receiver",
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # ms until a peer that answers nothing counts as gone
}
_PORTS: Final = re.compile(r"[\d,]*")
# Any number will do as long as every release uses it: who holds it migrates.
_MIGRATION_LOCK: Final = 0x6F746C70
_MIGRATION_LOCK_SECONDS: Final = 60

log = structlog.get_logger("metadata_store")


class MetadataStore:
    """A small pool of connections to one database; safe to use from several threads.

    Open it in the process that uses it: a pool does not survive a fork.

    Args:
        dsn: a postgresql:// address or a libpq connection string.

    Raises:
        Permanent: the address is malformed.
    """

    def __init__(self, dsn: str) -> None:
        parameters = _parse(dsn)
        self._where = "{host}:{port}/{dbname}".format_map(
            {"host": "localhost", "port": 5432, "dbname": ""} | parameters
        )
        self._dsn = make_conninfo(**(_DEFAULTS | parameters))
        self._pool = ConnectionPool(
            self._dsn,
            # Statements prepared on the server do not survive a pooler between us and it.
            kwargs={"prepare_threshold": None},
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=_WAIT_SECONDS,
            num_workers=1,
            reconnect_timeout=_RECONNECT_SECONDS,
            check=ConnectionPool.check_connection,  # one lost in a restart of the server is replaced, not handed out
            open=False,
        )

    def open(self, timeout_seconds: float = 30) -> None:
        """Wait until the database accepts connections.

        Raises:
            Retryable: it did not in `timeout_seconds`; the message says why.
        """
        deadline = time.monotonic() + timeout_seconds
        waiting = False
        while (refusal := self._refusal()) is not None:
            if time.monotonic() > deadline:
                raise Retryable(f"no connection to Postgres at {self._where} in {timeout_seconds:g} s: {refusal}")
            if not waiting:
                log.warning("Waiting for Postgres.", where=self._where, reason=refusal)
                waiting = True
            time.sleep(_RETRY_SECONDS)
        self._pool.open()

    def open_unwaited(self) -> None:
        """Open without asking whether the database is there: the first use finds out."""
        self._pool.open()

    def migrate(self) -> None:
        """Bring the schema to this release's; safe when several processes do it at once, free when there is nothing.

        Raises:
            Permanent: the schema is a newer release's, was changed after the fact, or a step cannot be applied.
            Retryable: the database cannot be reached, or another process has been migrating for a minute.
        """
        steps = load_steps()
        while (step := self._apply_next(steps)) is not None:
            log.info("Applied a migration.", where=self._where, migration=step.name)

    def project(self, project_id: str) -> Project | None:
        """The project of this id, None when there is none.

        Raises:
            Retryable: the database cannot be reached.
            Permanent: it refuses.
        """
        with self.transaction() as connection:
            return projects.project(connection, project_id)

    def default_project(self) -> Project:
        """The project that everything belongs to as long as no keys are in use.

        Raises:
            Retryable: the database cannot be reached.
            Permanent: it refuses, or the project was deleted.
        """
        project = self.project(DEFAULT_PROJECT)
        if project is None:
            raise Permanent(f"project {DEFAULT_PROJECT!r} is missing in {self._where}: insert it into table projects")
        return project

    def close(self) -> None:
        """Close every connection; safe to repeat."""
        self._pool.close()

    def _refusal(self) -> str | None:
        try:
            psycopg.connect(self._dsn).close()
        except psycopg.OperationalError as error:
            return _one_line(error)
        return None

    def _apply_next(self, steps: Sequence[Step]) -> Step | None:
        """Apply the first step that is missing, in a transaction of its own; None when none is."""
        with self.transaction() as connection:
            connection.execute(f"SET LOCAL lock_timeout = '{_MIGRATION_LOCK_SECONDS}s'".encode())
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
            with self._as_owner("read which migrations it has"):
                missing = find_missing(steps, read_applied(connection), self._where)
            if not missing:
                return None
            with self._as_owner(f"apply {missing[0].name}"):
                _apply(connection, missing[0])
            return missing[0]

    @contextmanager
    def _as_owner(self, purpose: str) -> Iterator[None]:
        """What fails in here fails because the database is not ours, or not ours alone."""
        try:
            yield
        except psycopg.ProgrammingError as error:
            raise Permanent(
                f"cannot migrate {self._where}, namely {purpose}: {_one_line(error)}. Let metadata.postgres name a "
                "database of its own, with a user who may create tables in it"
            ) from error

    @contextmanager
    def transaction(self, wait_seconds: float | None = None) -> Iterator[psycopg.Connection]:
        """A connection in a transaction, committed at the end; the border where psycopg's errors become ours.

        Raises:
            Retryable: the database cannot be reached, or no connection was free in `wait_seconds` (10 without it).
            Permanent: it refuses.
        """
        try:
            with self._pool.connection(timeout=wait_seconds) as connection:
                yield connection
        except PoolClosed as error:
            raise Permanent(f"the metadata store of {self._where} is not open") from error
        except PoolTimeout as error:
            reason = self._refusal() or f"all {_CONNECTIONS} connections are busy"
            raise Retryable(f"no connection to Postgres at {self._where}: {reason}") from error
        except (psycopg.OperationalError, errors.ReadOnlySqlTransaction) as error:
            raise Retryable(f"Postgres at {self._where}: {_one_line(error)}") from error
        except psycopg.Error as error:
            raise Permanent(f"Postgres at {self._where}: {_one_line(error)}") from error


def _apply(connection: psycopg.Connection, step: Step) -> None:
    connection.execute(step.sql.encode())
    connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
        [step.number, step.name, step.checksum],
    )


def _parse(dsn: str) -> dict[str, Any]:
    """Parameters of the address; never quotes it, as libpq does in its own messages.

    An unescaped `@`, `:` or `/` in a password moves its rest into host, port or database, which we do quote.
    """
    try:
        parameters = conninfo_to_dict(dsn)
    except (psycopg.Error, ValueError):
        parameters = {}
    place = "".join(str(parameters.get(key, "")) for key in ("host", "hostaddr", "dbname"))
    if not parameters or "@" in place or not _PORTS.fullmatch(str(parameters.get("port", ""))):
        raise Permanent(
            "metadata.postgres is not an address of a database: expected postgresql://user:password@host:5432/name, "
            "with special characters of the password percent-encoded (@ as %40, / as %2F)"
        )
    return parameters


def _one_line(error: psycopg.Error) -> str:
    """What happened, without the details, which quote values."""
    return error.diag.message_primary or " ".join(str(error).split())
