"""Roles on machines of their own with Kafka between: readiness that tells the truth, exporters that share the work."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from tests.support.clickhouse import count, exporter_at
from tests.support.clickhouse_front import Front, clickhouse_front
from tests.support.counters import counters, series
from tests.support.kafka import LEAVES_SOCKETS, Broker, broker, kafka_settings
from tests.support.kafka_faults import not_ready, peaks
from tests.support.load import Load, new_spans, senders
from tests.support.otlp import export, to_protobuf
from tests.support.reporting import Report
from tests.support.senders import post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS
_LAG: Final = series("otelcol_exporter_queue_size", exporter="clickhouse")
_AGE: Final = series("otlp_receiver_oldest_unexported_age_seconds", exporter="clickhouse")
_SPANS_A_ROUND: Final = 600

Start = Callable[[str], Service]


@pytest.fixture(scope="module")
def own() -> Iterator[Broker]:
    """A broker to be killed; each test leaves it running."""
    with broker() as made:
        yield made


@pytest.fixture
def front() -> Iterator[Front]:
    """One store for all exporters, which takes a while for an insert."""
    with clickhouse_front() as made:
        made.fail(slow_seconds=0.3)
        yield made


@pytest.fixture
def launch(own: Broker, front: Front) -> Iterator[Start]:
    """Launches a role of one deployment, without waiting for anything; it is ended with the test."""
    settings = kafka_settings([own.address], partitions=6)
    with ExitStack() as running:

        def role(name: str) -> Service:
            made = running.enter_context(_configured(settings, front.endpoint))
            made.launch("--only", name)
            return made

        yield role


@contextmanager
def _configured(kafka: dict[str, Any], endpoint: str) -> Iterator[Service]:
    with service() as made:
        retry = {"initial_interval": "50ms", "max_interval": "200ms"}
        made.config["buffers"] = {"kafka": kafka}
        made.config["exporters"] = {"clickhouse": {"endpoint": endpoint, "ttl_days": 0, "retry_on_failure": retry}}
        made.config["service"]["pipelines"]["traces"] |= {"buffer": "kafka", "exporters": ["clickhouse"]}
        del made.config["extensions"]["sql_http"]
        yield made


def _send(made: Service) -> int:
    """One request that is taken; returns its spans."""
    spans = new_spans()
    assert post(made, to_protobuf(export(*spans))).status_code == 200
    return len(spans)


def test_each_role_waits_for_kafka(own: Broker, launch: Start) -> None:
    """Started without Kafka neither role is ready, and each says why; both become so, and stop being so, unasked."""
    own.kill()
    roles = [launch("ingest"), launch("export")]
    with not_ready(roles[0], "no Kafka broker"), not_ready(roles[1], "no access to its buffer"):
        own.start()
    _send(roles[0])
    own.kill()
    with not_ready(roles[0], "no Kafka broker"), not_ready(roles[1], "no access to its buffer"):
        own.start()
    for role in roles:
        assert role.stop() == 0


def test_age_and_lag_while_the_store_is_away(front: Front, launch: Start) -> None:
    """The age of the oldest record grows while nothing is exported, and both are zero once all is; ready all along."""
    front.kill()
    ingest, exporting = launch("ingest"), launch("export")
    ingest.wait_until_ready()
    spans = sum(_send(ingest) for _ in range(3))
    exporting.wait_until_ready()
    wait_until(lambda: counters(exporting).get(_LAG, 0) >= spans)
    first = counters(exporting)[_AGE]
    wait_until(lambda: counters(exporting)[_AGE] > first + 1)
    front.start()
    wait_until(lambda: counters(exporting)[_LAG] == counters(exporting)[_AGE] == 0, 60)
    with exporter_at(front.endpoint) as reader:
        assert count(reader, "observations") == spans


def test_exporters_join_and_leave_under_load(front: Front, launch: Start, report: Report) -> None:
    """Whoever joins, leaves or is killed in the middle of inserts, every span is seen once, and no lag is left."""
    ingest, first = launch("ingest"), launch("export")
    for made in (ingest, first):
        made.wait_until_ready()
    load = Load()
    with senders(load, ingest):
        _acknowledge(load)
        second = launch("export")
        _until_it_exports(second, load)
        assert second.stop() == 0
        _acknowledge(load)
        third = launch("export")
        _until_it_exports(third, load)
        memory = peaks(third)
        third.kill_all()
        _acknowledge(load)
    with exporter_at(front.endpoint) as reader:
        wait_until(lambda: count(reader, "observations") >= len(load.acknowledged), 120)
        wait_until(lambda: counters(first)[_LAG] == 0, 60)
        rows = [tuple(row) for row in reader._execute("SELECT trace_id, id FROM otel.observations")]
        copies = count(reader, "observation_rows") - len(set(rows))
    report(
        f"Kafka rebalances under load: {len(load.sent)} spans sent, {len(load.acknowledged)} acknowledged, "
        f"{len(rows)} seen, {len(load.acknowledged - set(rows))} lost, {len(rows) - len(set(rows))} doubled, "
        f"{copies} copies not merged yet, lag 0; peak RSS {peaks(ingest)}, {memory}"
    )
    assert load.acknowledged <= set(rows) <= load.sent
    assert len(set(rows)) == len(rows)


def _acknowledge(load: Load) -> None:
    count = len(load.acknowledged) + _SPANS_A_ROUND
    load.allow(count)
    load.wait_for_acknowledged(count)


def _until_it_exports(made: Service, load: Load) -> None:
    """Under load, until it has a share of the work."""
    made.wait_until_ready()
    load.allow(len(load.acknowledged) + 100_000)
    sent = series("otelcol_exporter_sent_spans", exporter="clickhouse")
    wait_until(lambda: counters(made).get(sent, 0) > 0, 60)
