"""Sockets to Kafka to a store: one broker, the load generator and every process of ours on the same two cores.

The broker is the one that the tests start. Only one process may open a chDB directory, so what a second export process
brings is measured with files as sinks, where each has its own.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil

from benchmarks.load import Job, Result
from benchmarks.measure import Figure, Report, children_cpu_seconds
from benchmarks.service import Service, running_service, send
from tests.support.kafka import broker

_SECONDS: Final = 10.0
_CONNECTIONS: Final = 8
_SPANS: Final = 512
_TARGET: Final = "≥ 12,000 spans/s"
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class _SetUp:
    """How many processes of a kind, and where records go."""

    buffer: str
    exporter: str
    ingest: int
    export: int

    def __str__(self) -> str:
        return f"{self.buffer}: {self.ingest} ingest, {self.export} export to {self.exporter}"


_SET_UPS: Final = (
    (_SetUp("local", "chdb", 1, 1), ""),
    (_SetUp("kafka", "chdb", 1, 1), _TARGET),
    (_SetUp("kafka", "chdb", 2, 1), ""),
    (_SetUp("kafka", "file", 1, 1), ""),
    (_SetUp("kafka", "file", 2, 2), ""),
)


def kafka_stage(report: Report) -> None:
    """Acknowledged and stored, and the processor time that each part of the way takes."""
    with broker() as kafka:
        for number, (set_up, target) in enumerate(_SET_UPS):
            with _running(set_up, kafka.address, f"bench-{number}") as services:
                processes = {
                    "broker": [psutil.Process(kafka.pid)],
                    "ingest": services[0].children("ingest"),
                    "export": [each for service in services for each in service.children("export")],
                }
                spent = _Processor(processes)
                result, seconds = _send_and_store(services)
                spans = result.acknowledged_spans
                acknowledged, stored = f"{spans / result.seconds:,.0f} spans/s", f"{spans / seconds:,.0f} spans/s"
                report.add("kafka", Figure(f"{set_up}: acknowledged", acknowledged))
                report.add("kafka", Figure(f"{set_up}: stored", stored, _micros(spent, spans), target))


def _micros(spent: "_Processor", spans: int) -> str:
    """What tells more than the rate where other work runs on the same cores."""
    parts = {name: seconds / spans * 1e6 for name, seconds in spent.seconds().items()}
    return f"{sum(parts.values()):.0f} µs of processor a span: " + ", ".join(f"{k} {v:.0f}" for k, v in parts.items())


def _send_and_store(services: list[Service]) -> tuple[Result, float]:
    """What was sent, and the seconds until all of it was stored."""
    before = sum(_stored(service) for service in services)
    job = Job("http", f"127.0.0.1:{services[0].ports['http']}", "chat", _SPANS, _CONNECTIONS, _SECONDS)
    result = send(job)
    sent = time.perf_counter()
    while sum(_stored(service) for service in services) - before < result.acknowledged_spans:
        time.sleep(_POLL_SECONDS)
    return result, result.seconds + time.perf_counter() - sent


def _stored(service: Service) -> int:
    return service.metric("otelcol_exporter_sent_spans")


class _Processor:
    """Processor seconds of some processes, and of the load generator, since it was made."""

    def __init__(self, processes: Mapping[str, list[psutil.Process]]) -> None:
        self._processes = processes
        self._before = self._now()

    def seconds(self) -> dict[str, float]:
        """By part."""
        return {name: now - self._before[name] for name, now in self._now().items()}

    def _now(self) -> dict[str, float]:
        spent = {name: sum(sum(each.cpu_times()[:2]) for each in several) for name, several in self._processes.items()}
        return {"generator": children_cpu_seconds(), **spent}


@contextmanager
def _running(set_up: _SetUp, address: str, topic: str) -> Iterator[list[Service]]:
    """The whole service, and more export processes beside it."""
    with TemporaryDirectory(prefix="otlp-receiver-bench-") as directory, ExitStack() as stack:
        yield [
            stack.enter_context(
                running_service(
                    *_overrides(set_up, address, topic, Path(directory) / f"{number}.jsonl"),
                    only="export" if number else "",
                )
            )
            for number in range(set_up.export)
        ]


def _overrides(set_up: _SetUp, address: str, topic: str, path: Path) -> list[str]:
    to_file = (
        f"exporters.file.path={path}",
        "service.pipelines.traces.exporters=[file]",
        "service.extensions=[health_check]",
    )
    sinks: dict[str, tuple[str, ...]] = {"chdb": (), "file": to_file}
    return [
        f"buffers.kafka={{brokers: ['{address}'], topic: {topic}, replication_factor: 1, min_insync_replicas: 1}}",
        f"buffers.kafka.group_prefix={topic}",
        f"service.pipelines.traces.buffer={set_up.buffer}",
        f"service.workers={set_up.ingest}",
        *sinks[set_up.exporter],
    ]
