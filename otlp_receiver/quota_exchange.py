"""Quotas kept by several processes together: every few seconds each tells Postgres what it took, and learns the rest.

The limits per second are dealt out by what comes to each process, the month is one sum. How far that can be off, and
what happens while Postgres is away: docs/decisions/0010-quotas.md.
"""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from otlp_receiver.metadata import quotas as tables
from otlp_receiver.metadata.quotas import Month, Standing, Traffic, Usage
from otlp_receiver.metadata_store import MetadataStore
from otlp_receiver.quotas import EXCHANGE_SECONDS, Counts, Quotas
from pipelines.errors import Permanent, Retryable

_WAIT_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 5.0
_KEPT: Final = 0.5
"""Of what came before: senders come in bursts that are as far apart as the exchanges."""
_NOTHING: Final = 1e-3

_log = structlog.get_logger("quotas")


class QuotaExchange:
    """Keeps the quotas of one process up to date; one `start`, one `close`.

    Args:
        store: open, and closed by whoever opened it.
        quotas: of the process.
    """

    def __init__(self, store: MetadataStore, quotas: Quotas) -> None:
        self._store = store
        self._quotas = quotas
        self._id = uuid.uuid4()
        self._untold: dict[tuple[str, Month], Usage] = {}
        self._per_request: dict[str, Traffic] = {}
        self._met: dict[str, Traffic] = {}
        self._standings: dict[str, Standing] = {}
        self._month = quotas.month()
        self._processes = 1
        self._drained_at = quotas.clock()
        self._is_away = False
        self._ending = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Exchange once, waiting some seconds at most, and go on in the background."""
        await self.exchange()
        self._running = asyncio.create_task(self._exchange_until_closed())

    async def close(self) -> None:
        """Tell what was taken last, as far as a few seconds allow."""
        self._ending.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._running is not None:
                    await self._running
                self._drain()
                await asyncio.to_thread(self._leave)
        if self._untold:
            _log.warning("Spans of the last seconds were not counted for the month.", projects=len(self._untold))

    async def exchange(self) -> None:
        """Tell and learn; while Postgres is away, go on with what was known, and keep what is to be told."""
        self._drain()
        month = self._quotas.month()
        try:
            self._standings, self._processes = await asyncio.to_thread(self._ask, month)
        except (Permanent, Retryable) as error:
            self._note_outage(str(error))
        else:
            self._untold, self._month = {}, month
            self._note_outage("")
        standings = {project_id: self._brought_up(each, month) for project_id, each in self._standings.items()}
        self._quotas.settle(standings, self._met, self._processes)

    async def _exchange_until_closed(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(EXCHANGE_SECONDS):
                    await self._ending.wait()
                return
            try:
                await self.exchange()
            except Exception:  # noqa: BLE001 - whatever it was, the next turn may succeed
                _log.exception("Quotas were not settled.")

    # --- with the database, in a thread ---

    def _ask(self, month: Month) -> tuple[dict[str, Standing], int]:
        with self._store.transaction(_WAIT_SECONDS) as connection:
            connection.execute("SET LOCAL statement_timeout = '5s'")
            tables.add_usage(connection, self._untold)
            processes = tables.report(connection, self._id, self._met)
            return tables.standings(connection, month), processes

    def _leave(self) -> None:
        with suppress(Permanent, Retryable), self._store.transaction(_WAIT_SECONDS) as connection:
            tables.add_usage(connection, self._untold)
            tables.leave(connection, self._id)
            connection.commit()
            self._untold = {}

    # --- what came to this process ---

    def _drain(self) -> None:
        counts, month, now = self._quotas.drain(), self._quotas.month(), self._quotas.clock()
        seconds, self._drained_at = max(now - self._drained_at, _NOTHING), now
        for project_id, each in counts.items():
            if not each.bytes:
                continue  # all were refused
            spans, size_bytes = self._untold.get((project_id, month), (0, 0))
            self._untold[project_id, month] = spans + each.spans, size_bytes + each.bytes
        met = {each: self._smoothed(each, counts.get(each, Counts()), seconds) for each in self._quotas.limited()}
        self._met = {project_id: traffic for project_id, traffic in met.items() if max(traffic) > _NOTHING}

    def _smoothed(self, project_id: str, counts: Counts, seconds: float) -> Traffic:
        """What came per second, refused requests counted as if they were like the others; old traffic fades."""
        if counts.let_in:
            self._per_request[project_id] = counts.spans / counts.let_in, counts.bytes / counts.let_in
        spans, size_bytes = self._per_request.get(project_id, (1.0, 1.0))
        before = self._met.get(project_id, (0.0, 0.0))
        return (
            before[0] * _KEPT + (counts.spans + counts.refused * spans) / seconds * (1 - _KEPT),
            before[1] * _KEPT + (counts.bytes + counts.refused * size_bytes) / seconds * (1 - _KEPT),
        )

    def _brought_up(self, standing: Standing, month: Month) -> Standing:
        """With what was taken since Postgres was asked last; a new month begins with nothing."""
        told = standing.month_spans if self._month == month else 0
        untold, _ = self._untold.get((standing.project_id, month), (0, 0))
        return replace(standing, month_spans=told + untold)

    def _note_outage(self, reason: str) -> None:
        if reason and not self._is_away:
            _log.warning("Quotas cannot be settled between processes; those known stay.", reason=reason)
        elif self._is_away and not reason:
            _log.info("Quotas are settled again.")
        self._is_away = bool(reason)
