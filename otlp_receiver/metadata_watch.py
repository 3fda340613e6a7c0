"""Postgres beside the running service: made ready as soon as it answers, and watched from then on.

Nothing that is acknowledged goes through it. So a database that is away keeps no request out and ends nothing: health
tells it, and it is asked again for ever.
"""

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import structlog

from config.access import DEFAULT_PROJECT
from config.models import MetadataSettings
from config.values import EMBEDDED, NO_POSTGRES
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.hash_key import find_hash_key
from otlp_receiver.metadata import api_keys
from otlp_receiver.metadata_access import MetadataAccess
from otlp_receiver.metadata_store import MetadataStore
from pipelines.errors import Permanent, Retryable

if TYPE_CHECKING:
    from otlp_receiver.telemetry import Health  # imports the metrics library: see `supervisor.run`

_PART: Final = "metadata"
_WATCH_SECONDS: Final = 2.0

_log = structlog.get_logger("supervisor")


class MetadataWatch:
    """Starts the embedded Postgres where it is wanted, and keeps the schema of either up to date.

    `start()`, then `keep()` as a task for as long as the service runs, then `close()`.

    Attributes:
        access: for those who use the database; known once started, None when there is none.
    """

    def __init__(self, settings: MetadataSettings, health: "Health", *, with_keys: bool = False) -> None:
        self.access: MetadataAccess | None = None
        self._settings = settings
        self._with_keys = with_keys
        self._health = health
        self._closing = ExitStack()
        self._store: MetadataStore | None = None
        self._is_migrated = False

    def start(self) -> None:
        """One attempt; a server that cannot be reached is left to `keep`.

        Raises:
            Permanent: the embedded Postgres cannot run, the address is malformed, or the database is not for us.
            Retryable: the embedded Postgres does not get ready.
        """
        dsn = self._settings.postgres.get_secret_value()
        if dsn == NO_POSTGRES:
            return
        if dsn == EMBEDDED:
            server = EmbeddedPostgres(self._settings.directory)
            dsn = server.start()
            self._closing.callback(server.stop)
        self.access = MetadataAccess(dsn, find_hash_key(self._settings) if self._with_keys else b"")
        self._store = MetadataStore(dsn)
        self._closing.callback(self._store.close)
        try:
            self._ask(self._store)
        except Retryable as error:
            self._note(str(error))
        else:
            self._note("")

    async def keep(self) -> None:
        """Ask again and again, for ever, and tell in health how it is."""
        while self._store is not None:
            problem = await asyncio.to_thread(self._problem, self._store)
            if self._store is not None:  # else it was closed meanwhile
                self._note(problem)
            await asyncio.sleep(_WATCH_SECONDS)

    def close(self) -> None:
        """End every connection, and the embedded server. May be called without a `start`."""
        self._store = None
        self._closing.close()

    def _ask(self, store: MetadataStore) -> None:
        if not self._is_migrated:
            store.open(timeout_seconds=0)
            store.migrate()
            self._check_hash_key(store)
            self._is_migrated = True
        store.project(DEFAULT_PROJECT)

    def _check_hash_key(self, store: MetadataStore) -> None:
        if self.access is not None and self.access.hash_key:
            with store.transaction() as connection:
                api_keys.check_hash_key(connection, self.access.hash_key)

    def _problem(self, store: MetadataStore) -> str:
        """What is wrong with it now; whoever reads it can put right what would have kept the service from starting."""
        try:
            self._ask(store)
        except (Permanent, Retryable) as error:
            return str(error)
        return ""

    def _note(self, problem: str) -> None:
        from pipelines.metrics import METADATA_UP  # not before the supervisor has said where metrics are kept

        METADATA_UP.set(not problem)
        known = self._health.notices.pop(_PART, "")
        if problem:
            self._health.notices[_PART] = problem
        if problem and not known:
            _log.warning("Postgres is away; it is asked again and again.", error=problem)
        elif known and not problem:
            _log.info("Postgres is back.")
