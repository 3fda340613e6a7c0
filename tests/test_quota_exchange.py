"""Quotas that several processes keep together through a real Postgres, on clocks that the tests turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from otlp_receiver import quota_exchange
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.metadata import projects
from otlp_receiver.metadata import quotas as tables
from otlp_receiver.metadata_store import MetadataStore
from otlp_receiver.quota_exchange import QuotaExchange
from otlp_receiver.quotas import EXCHANGE_SECONDS, Quotas
from otlp_receiver.replies import Refused
from tests.support.postgres import fresh_database, own_postgres, postgres_directory
from tests.support.receivers import on_uvloop

_LIMIT = 100
_BURST = 50
_BATCH = 10
_STEPS = 10
"""In a second."""


@dataclass
class Clock:
    """Both clocks of all processes, turned by hand."""

    seconds: float = 1000.0
    date: datetime = field(default_factory=lambda: datetime(2026, 11, 30, 12, tzinfo=UTC))

    def turn(self, seconds: float) -> None:
        self.seconds += seconds
        self.date += timedelta(seconds=seconds)


@dataclass
class Process:
    """An ingest process, as far as quotas go."""

    quotas: Quotas
    exchange: QuotaExchange

    def send(self, requests: int, project_id: str = "p", spans: int = _BATCH) -> int:
        """How many spans of so many requests were taken."""
        taken = 0
        for _ in range(requests):
            try:
                self.quotas.check(project_id)
            except Refused:
                continue
            self.quotas.pay(project_id, size_bytes=100)
            self.quotas.pay(project_id, spans=spans)
            taken += spans
        return taken


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> str:
    """A database with the projects `default`, `p` and `q`."""
    address = fresh_database(postgres.start())
    store = MetadataStore(address)
    store.open()
    store.migrate()
    with store.transaction() as connection:
        for name in ("p", "q"):
            projects.create_project(connection, name, name, organization_id="default", actor="test")
    store.close()
    return address


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No exchange but those that a test asks for."""
    monkeypatch.setattr(quota_exchange, "EXCHANGE_SECONDS", 3600.0)


@asynccontextmanager
async def _processes(dsn: str, clock: Clock, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as closing:
        made = []
        for _ in range(count):
            quotas = Quotas(lambda: clock.seconds, lambda: clock.date)
            store = MetadataStore(dsn)
            store.open_unwaited()
            closing.callback(store.close)
            process = Process(quotas, QuotaExchange(store, quotas))
            await process.exchange.start()
            closing.push_async_callback(process.exchange.close)
            made.append(process)
        yield made


def _change(dsn: str, statement: str, *values: Any) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def _set(dsn: str, project_id: str = "p", **limits: int | None) -> None:
    with psycopg.connect(dsn) as connection:
        tables.put(connection, project_id, limits, "test")


def _usage(dsn: str) -> list[Any]:
    return _change(dsn, "SELECT project_id, month::text, spans FROM project_usage ORDER BY 1, 2")


async def _exchange_all(processes: Sequence[Process]) -> None:
    for process in processes:
        await process.exchange.exchange()


async def _run(clock: Clock, processes: Sequence[Process], seconds: int, rates: Callable[[int], Sequence[int]]) -> int:
    """Spans that were taken while so many requests a second came to each process."""
    taken = 0
    for step in range(seconds * _STEPS):
        for process, rate in zip(processes, rates(step // _STEPS), strict=True):
            taken += process.send((step + 1) * rate // _STEPS - step * rate // _STEPS)
        clock.turn(1 / _STEPS)
        if (step + 1) % (EXCHANGE_SECONDS * _STEPS) == 0:
            await _exchange_all(processes)
    return taken


@pytest.mark.parametrize(
    "rates",
    [(20, 20), (40, 0), (30, 5), (0, 40), (100, 100), (20, 1, 0, 60)],
    ids=lambda rates: "-".join(map(str, rates)),
)
def test_processes_keep_one_limit(dsn: str, clock: Clock, rates: tuple[int, ...]) -> None:
    """However traffic is spread, all of them take the limit together; what is too much or too little is bounded."""
    _set(dsn, spans_per_second=_LIMIT, spans_burst=_BURST)

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, len(rates)) as processes:
            await _exchange_all(processes)
            first = await _run(clock, processes, 60, lambda _: rates)
            later = await _run(clock, processes, 120, lambda _: rates)
        too_much = _BURST + _LIMIT * EXCHANGE_SECONDS + _BATCH * len(rates)
        assert first <= _LIMIT * 60 + too_much
        assert _LIMIT * 120 * 0.95 <= later <= _LIMIT * 120 * 1.01 + _BATCH * len(rates)

    run()


def test_traffic_that_moves(dsn: str, clock: Clock) -> None:
    """Traffic that goes to another process finds the limit there within some exchanges, and never twice."""
    _set(dsn, spans_per_second=_LIMIT, spans_burst=_BURST)

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, 2) as processes:
            await _exchange_all(processes)
            await _run(clock, processes, 60, lambda _: (40, 0))
            moved = await _run(clock, processes, 60, lambda _: (0, 40))
            moving = await _run(clock, processes, 120, lambda second: (40, 0) if second % 20 < 10 else (0, 40))
        assert _LIMIT * 60 * 0.7 <= moved <= _LIMIT * 60 * 1.01 + _BURST + _BATCH
        assert _LIMIT * 120 * 0.3 <= moving <= _LIMIT * 120 * 1.01 + _BURST + 2 * _BATCH

    run()


def test_below_the_limit_nobody_is_refused(dsn: str, clock: Clock) -> None:
    """Who sends less than a (processes + 1)th of his limit is never refused, wherever his next connection ends."""
    _set(dsn, spans_per_second=_LIMIT, spans_burst=_BURST)

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, 2) as processes:
            await _exchange_all(processes)
            taken = await _run(clock, processes, 120, lambda second: (3, 0) if second % 40 < 20 else (0, 3))
        assert taken == 120 * 3 * _BATCH

    run()


def test_months(dsn: str, clock: Clock) -> None:
    """What all processes take in a month counts for each, and the next month begins with nothing."""
    _set(dsn, spans_per_month=1000)

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, 2) as processes:
            await _exchange_all(processes)
            assert processes[0].send(60) == 600
            assert processes[1].send(10, "q") == 100
            await _exchange_all(processes)
            assert processes[1].send(60) == 400
            assert processes[0].send(10) == 100, "until it hears of the other"
            await _exchange_all(processes)
            await _exchange_all(processes)
            assert [process.send(1) for process in processes] == [0, 0]
            clock.turn(86400.0)
            await _exchange_all(processes)
            assert processes[0].send(1) == _BATCH
        assert _usage(dsn) == [("p", "2026-11-01", 1100), ("p", "2026-12-01", _BATCH), ("q", "2026-11-01", 100)]

    run()


def test_changes_are_taken_over(dsn: str, clock: Clock) -> None:
    """The next exchange brings a quota that was set, raised or cleared; there are several within 30 s."""
    assert EXCHANGE_SECONDS * 5 < 30

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, 1) as (process,):
            assert process.send(100) == 1000
            _set(dsn, spans_per_second=1, spans_burst=1)
            await process.exchange.exchange()
            assert process.send(100) == _BATCH
            _set(dsn, spans_per_second=1000)
            await process.exchange.exchange()
            clock.turn(1.0)
            assert process.send(1) == _BATCH
            with psycopg.connect(dsn) as connection:
                tables.clear(connection, "p", "test")
            await process.exchange.exchange()
            assert process.send(1000) == 10_000

    run()


def test_processes_that_are_gone(dsn: str, clock: Clock) -> None:
    """One that was closed counts no more at once, one that was killed when nothing was heard of it for 15 s."""
    _set(dsn, spans_per_second=_LIMIT)
    shown = "SELECT count(*) FROM live_ingest_processes"

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, 1):
            async with _processes(dsn, clock, 2):
                assert _change(dsn, shown) == [(3,)]
            assert _change(dsn, shown) == [(1,)]
            _change(
                dsn,
                "INSERT INTO ingest_processes VALUES"
                " (gen_random_uuid(), now() - interval '14 s', '{}', '{}', '{}'),"
                " (gen_random_uuid(), now() - interval '16 s', '{}', '{}', '{}'),"
                " (gen_random_uuid(), now() - interval '61 s', '{}', '{}', '{}')",
            )
            assert _change(dsn, shown) == [(2,)]
            async with _processes(dsn, clock, 1):
                assert _change(dsn, "SELECT count(*) FROM ingest_processes") == [(4,)]

    run()


def test_all_at_once(dsn: str, clock: Clock) -> None:
    """Processes that add to the same projects at the same time lose nothing and do not wait for each other for ever."""
    names = [f"project-{number}" for number in range(300)]

    @on_uvloop
    async def run() -> None:
        async with _processes(dsn, clock, 4) as processes:
            for turn in range(5):
                for number, process in enumerate(processes):
                    for name in names[:: (-1) ** (number + turn)]:
                        process.send(1, name, spans=1)
                await asyncio.gather(*(process.exchange.exchange() for process in processes))
        assert _usage(dsn) == sorted((name, "2026-11-01", 20) for name in names)

    run()


def test_postgres_stops_and_starts(clock: Clock) -> None:
    """Meanwhile limits hold as they were last known; what was taken is counted later, for the month that it was in."""
    with postgres_directory() as directory:
        server = EmbeddedPostgres(directory)
        dsn = server.start()
        store = MetadataStore(dsn)
        store.open()
        store.migrate()
        store.close()
        _set(dsn, "default", spans_per_second=_LIMIT, spans_burst=_BURST, spans_per_month=20_000)

        @on_uvloop
        async def run() -> None:
            async with _processes(dsn, clock, 1) as (process,):
                first = process.send(100, "default")
                await asyncio.to_thread(server.stop)
                clock.turn(60.0)
                await process.exchange.exchange()
                second = process.send(100, "default")
                assert first == second == _BURST + _BATCH
                await process.exchange.exchange()
                clock.turn(86400.0)
                await process.exchange.exchange()
                december = process.send(2, "default", spans=20_000)
                assert december == 20_000
                clock.turn(3600.0)
                await process.exchange.exchange()
                assert process.send(1, "default") == 0, "the month is used up"
                await asyncio.to_thread(server.start)
                await process.exchange.exchange()
                assert process.send(1, "default") == 0
                assert _usage(dsn) == [("default", "2026-11-01", first + second), ("default", "2026-12-01", december)]

        run()
        server.stop()


def test_started_without_postgres(clock: Clock) -> None:
    """A process that never heard of quotas lets everybody in, and knows them as soon as Postgres is there."""
    with postgres_directory() as directory:
        server = EmbeddedPostgres(directory)
        dsn = server.start()
        store = MetadataStore(dsn)
        store.open()
        store.migrate()
        store.close()
        _set(dsn, "default", spans_per_second=1, spans_burst=1)
        server.stop()

        @on_uvloop
        async def run() -> None:
            async with _processes(dsn, clock, 1) as (process,):
                assert process.send(10, "default") == 100
                await asyncio.to_thread(server.start)
                await process.exchange.exchange()
                assert process.send(10, "default") == _BATCH
                assert _usage(dsn) == [("default", "2026-11-01", 100)]

        run()
        server.stop()
