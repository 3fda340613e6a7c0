"""The whole service on three brokers: what is acknowledged is stored, once, whatever becomes of the brokers."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import grpc
import pytest

from pipelines.errors import Retryable
from tests.support.kafka import LEAVES_SOCKETS, Broker, cluster, kafka_buffer, kafka_settings, partitions
from tests.support.kafka_faults import not_ready, settle_and_check
from tests.support.load import Load, ids_of, new_spans, senders
from tests.support.otlp import export, to_protobuf
from tests.support.records import observations
from tests.support.reporting import Report
from tests.support.senders import grpc_calls, post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS
_CLIENTS_WAIT_SECONDS: Final = 10.0
_OUTAGE: Final = "no Kafka broker"


@pytest.fixture(scope="module")
def three() -> Iterator[list[Broker]]:
    """Brokers to be killed; each test leaves all of them running."""
    with cluster(3) as made:
        yield made


@pytest.fixture(scope="module")
def fresh(three: list[Broker]) -> Iterator[Service]:
    """A service on those brokers, started; it lives through all of it."""
    with service() as made:
        addresses = [each.address for each in three]
        settings = kafka_settings(addresses, partitions=6, replication_factor=3, min_insync_replicas=2)
        made.config["buffers"] = {"kafka": settings}
        made.config["service"]["pipelines"]["traces"]["buffer"] = "kafka"
        made.start()
        yield made
        assert made.stop() == 0, made.log()


@pytest.fixture(scope="module")
def everything() -> Load:
    """What all tests have sent."""
    return Load()


@pytest.fixture
def load(everything: Load) -> Load:
    """A test's own senders, which add to everything."""
    return Load(everything.sent, everything.acknowledged)


def _wait_until_in_sync(three: list[Broker], made: Service) -> None:
    """Until every partition has all its replicas, so that the next broker may go."""
    topic = made.config["buffers"]["kafka"]["topic"]
    alive = next(each for each in three if each.is_listening())
    wait_until(lambda: all(len(each["isr_nodes"]) == 3 for each in partitions(alive.address, topic)), 90)


def _acknowledge(load: Load, more: int) -> None:
    """Until so many more spans are acknowledged."""
    count = len(load.acknowledged) + more
    load.allow(count)
    load.wait_for_acknowledged(count)


def test_leader_killed_under_load(three: list[Broker], fresh: Service, load: Load, report: Report) -> None:
    """A leader that is killed is replaced without us doing anything: sending and exporting go on without it."""
    topic = fresh.config["buffers"]["kafka"]["topic"]
    with senders(load, fresh):
        _acknowledge(load, 600)
        leader = partitions(three[0].address, topic)[0]["leader_id"]
        victim = next(each for each in three if each.node.number == leader)
        load.allow(100_000)
        victim.kill()
        began = time.monotonic()
        _acknowledge(load, 600)
        seconds = time.monotonic() - began
        victim.start()
        _acknowledge(load, 600)
    settle_and_check(fresh, load, f"Kafka leader killed, 600 spans acknowledged {seconds:.1f} s later", report)
    _wait_until_in_sync(three, fresh)


def test_rolling_restart_under_load(three: list[Broker], fresh: Service, load: Load, report: Report) -> None:
    """Brokers restarted one after the other, as for an update, cost nothing; sending goes on while each is away."""
    with senders(load, fresh):
        _acknowledge(load, 400)
        for each in three:
            load.allow(100_000)
            each.stop()
            _acknowledge(load, 400)
            each.start()
            _wait_until_in_sync(three, fresh)
        _acknowledge(load, 400)
    settle_and_check(fresh, load, "Kafka rolling restart of three brokers", report)


def _kill_all(three: list[Broker]) -> None:
    for each in three:
        each.kill()


def _start_all(three: list[Broker]) -> None:
    for each in three:
        each.launch()
    for each in three:
        each.wait_until_listening()


def _refused_seconds(made: Service, load: Load) -> list[float]:
    """How long senders wait for 503 and for UNAVAILABLE; both at the same time."""

    def over_http() -> None:
        assert post(made, _noted(load)).status_code == 503

    def over_grpc() -> None:
        with grpc_calls(made) as call, pytest.raises(grpc.RpcError) as caught:
            call(_noted(load))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    with ThreadPoolExecutor() as pool:
        return list(pool.map(_timed, (over_http, over_grpc)))


def _timed(work: object) -> float:
    began = time.monotonic()
    work()  # type: ignore[operator]
    return time.monotonic() - began


def _noted(load: Load) -> bytes:
    """A request that may be stored although it was refused."""
    spans = new_spans()
    load.note(ids_of(spans), acknowledged=False)
    return to_protobuf(export(*spans))


@pytest.mark.parametrize(
    "outage_seconds",
    [
        # Longer than delivery (4.5 s), session (10 s), request and joining (30 s).
        pytest.param(40, id="40 s"),
        # Longer also than metadata's age and the poll interval (300 s).
        pytest.param(330, id="330 s", marks=pytest.mark.nightly),
    ],
)
def test_all_brokers_down(
    three: list[Broker], fresh: Service, load: Load, report: Report, outage_seconds: float
) -> None:
    """Without any broker senders are told to come again in time, health says why, and all recovers by itself."""
    with senders(load, fresh):
        _acknowledge(load, 600)
        load.allow(100_000)
        _kill_all(three)
        began = time.monotonic()
        waited = _refused_seconds(fresh, load)
        with not_ready(fresh, _OUTAGE):
            time.sleep(max(0.0, outage_seconds - (time.monotonic() - began)))
            waited += _refused_seconds(fresh, load)
            _start_all(three)
            _acknowledge(load, 600)
    report(f"Kafka away for {outage_seconds} s: refused after " + ", ".join(f"{each:.1f} s" for each in waited))
    settle_and_check(fresh, load, f"Kafka away for {outage_seconds} s", report)
    assert max(waited) < _CLIENTS_WAIT_SECONDS
    _wait_until_in_sync(three, fresh)


def test_too_few_in_sync_replicas(three: list[Broker]) -> None:
    """What cannot be copied often enough is refused, also to who only asks; with the replica back it is taken."""
    addresses = [each.address for each in three]
    settings = kafka_settings(addresses, partitions=3, replication_factor=3, min_insync_replicas=3)
    with kafka_buffer(settings, "store") as buffer:
        buffer.append([observations(10)])
        buffer.check()
        three[2].kill()
        with pytest.raises(Retryable):
            buffer.append([observations(10, first=10)])
        wait_until(lambda: "in-sync" in _problem(buffer), 60)
        three[2].start()
        wait_until(lambda: not _problem(buffer), 60)
        wait_until(lambda: _is_taken(buffer), 60)


def _problem(buffer: object) -> str:
    try:
        buffer.check()  # type: ignore[attr-defined]
    except Retryable as error:
        return str(error)
    return ""


def _is_taken(buffer: object) -> bool:
    with suppress(Retryable):
        buffer.append([observations(10, first=20)])  # type: ignore[attr-defined]
        return True
    return False
