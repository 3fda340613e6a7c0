"""The whole service on real Apache Kafka: acknowledged is stored, once, whatever is killed.

Kills come after a random number of acknowledged spans, not after a time, so a slow machine proves the same.
"""

import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.kafka import Broker, broker, kafka_settings
from tests.support.load import Load, Role, check, ids_of, kill_after, new_spans, senders
from tests.support.otlp import export, to_protobuf
from tests.support.reporting import Report
from tests.support.senders import post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_VICTIMS: Final[tuple[Role, ...]] = ("ingest", "export", "export", "ingest", "supervisor")
_SPANS: Final = 6_000


@pytest.fixture(scope="module")
def own() -> Iterator[Broker]:
    """A broker to be killed."""
    with broker() as made:
        yield made


@pytest.fixture
def fresh(own: Broker) -> Iterator[Service]:
    """A service on that broker, not started."""
    with service() as made:
        made.config["buffers"] = {"kafka": kafka_settings([own.address])}
        made.config["service"]["pipelines"]["traces"]["buffer"] = "kafka"
        yield made


def _is_stored(made: Service, load: Load) -> bool:
    """Whether all spans that were acknowledged are there, and their traces; of others Kafka may have a part."""
    if not made.listens("sql"):
        return False
    spans = {(row["trace_id"], row["id"]) for row in made.sql("SELECT trace_id, id FROM observations")}
    traces = {row["id"] for row in made.sql("SELECT id FROM traces")}
    return load.acknowledged <= spans and {trace_id for trace_id, _ in load.acknowledged} <= traces


def _settle(made: Service, load: Load) -> None:
    """Until nothing is on its way any more."""
    made.wait_until_ready()
    wait_until(lambda: _is_stored(made, load), 120)
    assert made.value("SELECT count() = uniq(id) AS each_once FROM traces")


def test_kill_at_random_moments(fresh: Service, report: Report) -> None:
    """Every acknowledged span is stored, none is visible twice, and nothing is stored that was not sent."""
    fresh.start()
    chance = random.Random(5)
    load = Load()
    with senders(load, fresh):
        for number, role in enumerate(_VICTIMS):
            kill_after(fresh, load, role, (number + chance.random()) * _SPANS / len(_VICTIMS))
        load.allow(_SPANS)
        load.wait_for_acknowledged(_SPANS)
    _settle(fresh, load)
    figures = check(fresh, load)
    report(f"Kafka crash test: {len(_VICTIMS)} kills, {figures}")
    assert fresh.stop() == 0, fresh.log()


def test_broker_killed_under_load(fresh: Service, own: Broker, report: Report) -> None:
    """Without Kafka senders are told to come again (503); when it is back all goes on by itself, nothing is lost."""
    fresh.start()
    load = Load()
    with senders(load, fresh):
        load.allow(1_000)
        load.wait_for_acknowledged(1_000)
        own.kill()
        spans = new_spans()
        load.note(ids_of(spans), acknowledged=False)
        refused = post(fresh, to_protobuf(export(*spans)))
        own.start()
        load.allow(3_000)
        load.wait_for_acknowledged(3_000)
    _settle(fresh, load)
    figures = check(fresh, load)
    report(f"Kafka broker killed: {figures}")
    assert refused.status_code == 503
    assert fresh.stop() == 0, fresh.log()
