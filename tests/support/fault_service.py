"""The production shape for fault tests: the real service before a ClickHouse server, with a proxy between them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psutil
import requests
from clickhouse_driver import Client
from clickhouse_driver.errors import ServerException

from exporters.clickhouse_client import connect
from tests.support.clickhouse import settings_at
from tests.support.clickhouse_front import Front, clickhouse_front
from tests.support.load import Load, senders
from tests.support.memory import MIB
from tests.support.proxy import Proxy, proxy
from tests.support.reporting import Report
from tests.support.service import Service, service
from tests.support.waiting import wait_until

TIMEOUT_SECONDS: Final = 2.0
"""What the exporter waits for an answer; for a connection half as long."""
INGEST_BOUND_BYTES: Final = (200 + 3 * 256 + 768) * MIB
EXPORT_BOUND_BYTES: Final = (200 + 8 * 64 + 384) * MIB
"""The formulas of docs/operations.md, "Memory", with the defaults."""
ENOUGH: Final = 1_200
"""Spans that a load of a test has acknowledged in the end."""
_NO_END: Final = 1 << 30
_BEFORE: Final = 400
"""Of them before anything is broken."""


_RETRY: Final = {"initial_interval": "50ms", "max_interval": "500ms"}
_POLL_SECONDS: Final = 0.1
_NOT_MADE_YET: Final = (60, 81)  # UNKNOWN_TABLE, UNKNOWN_DATABASE
_IDENTITIES: Final = "SELECT trace_id, id, metadata['own.id'] FROM otel.observations"
_TOTALS: Final = """
SELECT
    (SELECT count() FROM otel.observations), (SELECT sum(model_call_count) FROM otel.model_usage),
    (SELECT count() FROM otel.traces), (SELECT uniqExact(trace_id) FROM otel.observations)
"""


@dataclass
class Shape:
    """What a fault test plays with.

    Attributes:
        service: not started.
        front: the server, running.
        between: what the service reaches the server by.
        earlier: of all loads so far; spans of earlier tests are in the store too.
    """

    service: Service
    front: Front
    between: Proxy
    earlier: list[Load] = field(default_factory=list)

    def heal(self) -> None:
        """Nothing fails any more."""
        self.front.fail()
        self.between.heal()

    def load(self) -> Load:
        """A new load on the same store."""
        self.earlier.append(Load())
        return self.earlier[-1]


@contextmanager
def shape() -> Iterator[Shape]:
    """The whole of it, ended with the block."""
    with clickhouse_front() as front, proxy(front.port) as between, service() as made:
        made.config["exporters"] = {
            "clickhouse": {
                "endpoint": f"clickhouse://127.0.0.1:{between.port}/otel",
                "ttl_days": 0,
                "retry_on_failure": _RETRY,
                "timeout": f"{TIMEOUT_SECONDS}s",
                "connect_timeout": f"{TIMEOUT_SECONDS / 2}s",
            }
        }
        made.config["service"]["pipelines"]["traces"]["exporters"] = ["clickhouse"]
        del made.config["extensions"]["sql_http"]
        yield Shape(made, front, between)


@contextmanager
def under_load(
    playing: Shape, report: Report, what: str, *, enough: int = ENOUGH, to: Service | None = None
) -> Iterator[Load]:
    """Something is broken in the block, for the rest of the load; then it is healed, and all that was sent is judged.

    Args:
        playing: what is broken.
        report: gets the figures.
        what: their heading.
        enough: spans to be acknowledged at least.
        to: where senders send to, if not to the service itself.
    """
    load = playing.load()
    with peaks(playing.service) as highest:
        with senders(load, to or playing.service):
            load.allow(_NO_END)  # so that there is always something that can fail
            load.wait_for_acknowledged(_BEFORE)
            yield load
            load.wait_for_acknowledged(enough)
        playing.heal()
        figures = settle(playing, load)
    report(f"{what}: {figures}; peak RSS {in_mib(highest)}")
    assert highest["ingest"] < INGEST_BOUND_BYTES
    assert highest["export"] < EXPORT_BOUND_BYTES


# --- what is stored ---


@contextmanager
def reader(front: Front) -> Iterator[Client]:
    """A client of the server itself, not by way of the proxy."""
    with connect(settings_at(front.endpoint)) as client:
        yield client


def settle(playing: Shape, load: Load, seconds: float = 90) -> str:
    """Wait until all that was acknowledged is stored, hold the invariant, and give the figures.

    The invariant: acknowledged is a subset of stored, nothing is stored that was not sent, no duplicate is visible,
    and every call is counted once.
    """
    with reader(playing.front) as client:
        _wait_for(lambda: load.acknowledged <= _stored(client), seconds)
        _wait_for(lambda: _agree(client), seconds)
        rows = client.execute(_IDENTITIES)
        ((copies,),) = client.execute("SELECT count() FROM otel.observation_rows")
    stored = {(trace_id, span_id) for trace_id, span_id, _ in rows}
    sent = set().union(*(each.sent for each in playing.earlier))
    figures = (
        f"{len(load.sent)} spans sent, {len(load.acknowledged)} acknowledged, "
        f"{len(load.sent & stored)} stored, {len(load.acknowledged - stored)} lost, {len(rows) - len(stored)} doubled, "
        f"{len(stored - sent)} never sent; {copies - len(stored)} copies not merged yet"
    )
    assert load.acknowledged <= stored <= sent, figures
    assert len(rows) == len(stored), figures
    assert all(own == trace_id + span_id for trace_id, span_id, own in rows)
    return figures


def _stored(client: Client) -> set[tuple[str, str]]:
    try:
        return {(trace_id, span_id) for trace_id, span_id, _ in client.execute(_IDENTITIES)}
    except ServerException as error:
        assert error.code in _NOT_MADE_YET, error  # noqa: PT017 - the query may also succeed
        return set()


def _agree(client: Client) -> bool:
    """Whether all tables tell of the same spans: traces are inserted after them, and some spans may be on their way."""
    ((spans, calls, traces, trace_ids),) = client.execute(_TOTALS)
    return bool(spans == calls and traces == trace_ids)


def _wait_for(condition: Any, seconds: float) -> None:
    """As `wait_until`, and leaves the machine to the work that is waited for."""

    def holds() -> bool:
        time.sleep(_POLL_SECONDS)
        return bool(condition())

    wait_until(holds, seconds)


# --- what the service says ---


def metric(made: Service, name: str) -> float:
    """Sum of a metric over all its labels."""
    lines = requests.get(made.url("metrics") + "/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def wait_for_metric(made: Service, name: str, least: float) -> None:
    """Until a metric is that high."""
    _wait_for(lambda: metric(made, name) >= least, 60)


@contextmanager
def until_it_fails(made: Service) -> Iterator[None]:
    """Something is broken in the block; it is left when an exporter has noticed, with spans or with their traces."""
    before = _failures(made)
    yield
    _wait_for(lambda: _failures(made) > before, 60)


def _failures(made: Service) -> int:
    return sum(line["event"].startswith("It failed and is tried again") for line in made.log_lines())


def kill(made: Service, role: str) -> None:
    """Kill -9 of the process of that role, when there is one."""
    wait_until(lambda: of_role(made, role), 60)
    for victim in of_role(made, role):
        victim.kill()
        victim.wait(10)


def of_role(made: Service, role: str) -> list[psutil.Process]:
    return [process for process in made.children() if _role(process) == role]


def _role(process: psutil.Process) -> str:
    with suppress(psutil.Error, IndexError):
        return str(process.cmdline()[-1])
    return ""


# --- memory ---


@contextmanager
def peaks(made: Service) -> Iterator[dict[str, int]]:
    """The most resident bytes of any process of each role during the block."""
    highest: dict[str, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            for process in made.children():
                with suppress(psutil.Error):
                    role, used = _role(process), process.memory_info().rss
                    highest[role] = max(highest.get(role, 0), used)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield highest
    finally:
        ended.set()
        watching.join()


def in_mib(highest: dict[str, int]) -> str:
    """For people."""
    return ", ".join(f"{role} {used // MIB} MiB" for role, used in sorted(highest.items()))
