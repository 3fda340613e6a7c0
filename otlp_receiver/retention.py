"""Retention of projects: every hour Postgres is asked how long each keeps its records, and the stores are told.

Nothing is deleted on what was known an hour ago: while Postgres is away, rows stay until it is back, or until the
tables' own time to live ends. Where several processes serve one store, each does all of it; whoever comes second finds
nothing left.
"""

import random
import threading
import time
from collections.abc import Mapping
from typing import Final

import structlog

from exporters.retention import Keeper
from otlp_receiver.metadata import projects
from otlp_receiver.metadata_store import MetadataStore
from pipelines.errors import Permanent, Retryable
from pipelines.metrics import RETENTION_APPLIED_AT, RETENTION_DELETED_ROWS

_FIRST_WAIT_SECONDS: Final = (5.0, 15.0)
"""At random: processes that start together would all find the same rows, and order their deletion."""
_INTERVAL_SECONDS: Final = 3600.0
_MOST_NAMED: Final = 10

_log = structlog.get_logger("retention")


class Retention:
    """Applies the retention of projects in a thread of its own; one `start`, then `shutdown`.

    Args:
        store: open, and closed by whoever opened it.
        keepers: exporters by id.
    """

    def __init__(self, store: MetadataStore, keepers: Mapping[str, Keeper]) -> None:
        self._store = store
        self._keepers = keepers
        self._too_long: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin, some seconds from now."""
        self._thread.start()

    def shutdown(self, deadline_seconds: float) -> bool:
        """Whether the thread has ended in time; only then may exporters be closed."""
        self._stop.set()
        self._thread.join(deadline_seconds)
        return not self._thread.is_alive()

    def apply(self) -> None:
        """Once; what goes wrong is logged, and tried again with the next call."""
        try:
            with self._store.transaction() as connection:
                keep_days = projects.retention_days(connection)
        except (Permanent, Retryable) as error:
            _log.warning("The retention of projects cannot be read; nothing is deleted until it can.", error=str(error))
            return
        for exporter_id, keeper in self._keepers.items():
            try:
                self._order(exporter_id, keeper, keep_days)
            except (Permanent, Retryable) as error:
                _log.warning("Rows past their project's retention stay.", exporter=exporter_id, error=str(error))

    def _run(self) -> None:
        wait_seconds = random.uniform(*_FIRST_WAIT_SECONDS)  # noqa: S311 - no secret
        while not self._stop.wait(wait_seconds):
            try:
                self.apply()
            except Exception:  # noqa: BLE001 - whatever it was, the next turn may succeed
                _log.exception("The retention of projects was not applied.")
            wait_seconds = _INTERVAL_SECONDS

    def _order(self, exporter_id: str, keeper: Keeper, keep_days: Mapping[str, int]) -> None:
        ttl_days = keeper.settings.ttl_days
        sooner = {project: days for project, days in keep_days.items() if not ttl_days or days < ttl_days}
        too_long = sorted(project for project, days in keep_days.items() if 0 < ttl_days < days)
        self._tell_of_too_long(exporter_id, ttl_days, too_long)
        for deletion in keeper.delete_expired(sooner) if sooner else ():
            RETENTION_DELETED_ROWS.labels(exporter_id).inc(deletion.rows)
            _log.info("Rows past their project's retention are being deleted.", exporter=exporter_id,
                      table=deletion.table, projects=deletion.projects, rows=deletion.rows)  # fmt: skip
        RETENTION_APPLIED_AT.labels(exporter_id).set(time.time())

    def _tell_of_too_long(self, exporter_id: str, ttl_days: int, too_long: list[str]) -> None:
        """Once, until it is about others."""
        if too_long != self._too_long.get(exporter_id, []):
            _log.warning(
                "Projects are to keep their records for longer than the exporter keeps any; raise its ttl_days.",
                exporter=exporter_id, ttl_days=ttl_days, projects=too_long[:_MOST_NAMED], count=len(too_long),
            )  # fmt: skip
        self._too_long[exporter_id] = too_long
