"""The Kafka buffer when things fail: brokers killed, exporters killed, wrong credentials."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from config.models import BlockSettings, FileExporterSettings
from exporters import build_exporter
from pipelines.batch import Batch
from pipelines.errors import Retryable
from pipelines.export import ExportLoop
from pipelines.ingest import APPEND_TIMEOUT_SECONDS
from tests.support.buffers import ALL
from tests.support.kafka import LEAVES_SOCKETS, Broker, broker, kafka_buffer, kafka_settings
from tests.support.processes import running
from tests.support.records import ids, observations
from tests.support.reporting import Report
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS


@pytest.fixture(scope="module")
def own() -> Iterator[Broker]:
    """A broker to be killed."""
    with broker() as made:
        yield made


def test_a_broker_that_dies_and_comes_back(own: Broker, report: Report) -> None:
    """Appends are refused in time while it is down and succeed once it is back; whatever was acknowledged is read."""
    acknowledged: list[str] = []
    refusals: list[float] = []

    def append(number: int) -> bool:
        batch = observations(10, first=number * 10, text_bytes=100)
        began = time.monotonic()
        try:
            buffer.append([batch])
        except Retryable:
            refusals.append(time.monotonic() - began)
            return False
        acknowledged.extend(ids([batch]))
        return True

    with kafka_buffer(kafka_settings([own.address]), "store") as buffer:
        assert all(append(number) for number in range(20))
        own.kill()
        assert not append(20)
        assert not append(21)
        own.start()
        wait_until(lambda: append(22), 60)
        assert all(append(number) for number in range(23, 40))
        read: set[str] = set()

        def has_all() -> bool:
            entries = _read_or_nothing(buffer)
            read.update(ids(entry.content for entry in entries if isinstance(entry.content, Batch)))
            return read >= set(acknowledged)

        wait_until(has_all, 60)
    figures = f"{len(acknowledged)} rows acknowledged, {len(refusals)} refusals of {max(refusals):.1f} s at most"
    report(f"Kafka buffer, broker killed: {figures}")
    assert max(refusals) < APPEND_TIMEOUT_SECONDS + 1


def _read_or_nothing(buffer: Any) -> list[Any]:
    try:
        return list(buffer.read("store", *ALL))
    except Retryable:
        return []


def _export(told: Connection, settings: dict[str, Any], path: Path, *dies: str) -> None:
    """Exports to a file; with `dies`, says so between insert and commit and waits to be killed."""
    file_settings = FileExporterSettings(path=str(path), block=BlockSettings(flush_interval=0.0, max_rows=64))
    with kafka_buffer(settings, "file") as buffer:
        if dies:
            buffer.commit = partial(_wait_to_be_killed, told)  # type: ignore[method-assign]
        loop = ExportLoop("file", build_exporter("file", file_settings), buffer, file_settings, buffer.dead_letters)
        loop.start()
        told.send("started")
        time.sleep(600)


def _wait_to_be_killed(told: Connection, *_: object) -> None:
    told.send("stored")
    time.sleep(600)


def test_killed_between_insert_and_commit(own: Broker, tmp_path: Path) -> None:
    """Whatever was stored and not committed is exported again by the next process; nothing is lost."""
    settings = kafka_settings([own.address], partitions=1)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    with kafka_buffer(settings) as source:
        source.append([observations(50)])
    with running(_export, settings, first, "dies") as process:
        assert process.next() == "started"
        assert process.next() == "stored"
        process.kill()
    assert len(first.read_text().splitlines()) == 50
    with running(_export, settings, second):
        wait_until(lambda: second.exists() and len(second.read_text().splitlines()) == 50, 60)
    with kafka_buffer(settings, "file") as buffer:
        wait_until(lambda: buffer.statistics("file").rows_behind == 0)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_accounts(own: Broker, mechanism: str) -> None:
    """With the right password records get through; a wrong one is named as the likely cause, never shown."""
    sasl = {"mechanism": mechanism, "username": "app", "password": "app-secret"}
    with kafka_buffer(kafka_settings([own.sasl_address], sasl=sasl), "store") as buffer:
        buffer.append([observations(5)])
        wait_until(lambda: buffer.statistics("store").rows_behind == 5)
    wrong = kafka_settings([own.sasl_address], sasl={**sasl, "password": "guessed"})
    threads = threading.active_count()
    with kafka_buffer(wrong) as buffer, pytest.raises(Retryable, match="`sasl`") as caught:
        buffer.append([observations(1)])
    assert "guessed" not in str(caught.value)
    assert threading.active_count() == threads
