"""The whole service, from sockets to rows that can be queried, with the load generator on the same two cores."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Final, Self

import psutil

from benchmarks.bare_server import bare_server
from benchmarks.load import Job, Result
from benchmarks.measure import Figure, Report, percentile
from benchmarks.service import Service, running_service, send

_SECONDS: Final = 10.0
_CONNECTIONS: Final = 8
_MANY_CONNECTIONS: Final = 256


def _http(service: Service, shape: str, spans: int, rate: float = 0.0) -> Job:
    return Job("http", f"127.0.0.1:{service.ports['http']}", shape, spans, _CONNECTIONS, _SECONDS, rate=rate)


def _rate(result: Result, seconds: float) -> str:
    spans, size_bytes = result.acknowledged_spans / seconds, result.body_bytes / seconds
    return f"{spans:,.0f} spans/s, {size_bytes / 1e6:,.1f} MB/s"


def socket_stage(report: Report) -> None:
    """Acknowledged, and queryable, on small, chat and large spans."""
    bare = _bare_rate()
    for shape, accepted, queryable in (("chat", "", "≥ 10,000 spans/s, 25 %"), ("small", "", ""), ("large", "", "")):
        with running_service() as service, _Memory(service) as memory:
            idle_mib = memory.now_mib("ingest")
            result = send(_http(service, shape, 512))
            sent = time.perf_counter()
            service.wait_for_rows(result.acknowledged_spans)
            seconds = result.seconds + time.perf_counter() - sent
        what = f"{shape}, 512 a request, {_CONNECTIONS} in flight"
        report.add("sockets", Figure(f"{what}: acknowledged", _rate(result, result.seconds), "", accepted))
        rate = result.acknowledged_spans / seconds
        beside = f"bare chDB insert {bare:,.0f} rows/s ({rate / bare:.0%})" if shape == "chat" else ""
        report.add("sockets", Figure(f"{what}: queryable", _rate(result, seconds), beside, queryable))
        peak = memory.peak_mib
        value = f"idle {idle_mib:.0f} MiB, peak {peak['ingest']:.0f} MiB; export peak {peak['export']:.0f} MiB"
        report.add("sockets", Figure(f"{shape}: RSS of the ingest process", value, "", "120 MB / 400 MB"))


def ingest_stage(report: Report) -> None:
    """The ingest half alone: acknowledged and durable, nothing exporting on the same cores; latency at half of it."""
    with running_service(only="ingest") as service:
        result = send(_http(service, "chat", 512))
        rate = result.acknowledged_spans / result.seconds
        what = f"chat, 512 a request, {_CONNECTIONS} in flight"
        report.add("ingest", Figure(what, _rate(result, result.seconds), "", "≥ 15,000 spans/s"))
        half = send(_http(service, "chat", 512, rate=rate / 512 / 2))
        p50, p99 = (percentile(half.latencies_seconds, share) * 1000 for share in (0.5, 0.99))
        value = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        report.add("ingest", Figure("reply latency at half load", value, "", "p99 ≤ 100 ms"))
        for transport, target in (("grpc", "≥ 2,000 requests/s"), ("http", "≥ 4,000 requests/s")):
            for spans in (1, 64):
                endpoint = f"127.0.0.1:{service.ports[transport]}"
                job = Job(transport, endpoint, "chat", spans, _MANY_CONNECTIONS, _SECONDS)
                report.add("ingest", _requests(job, target if spans == 1 else ""))


def _requests(job: Job, target: str) -> Figure:
    """Requests a second, beside a server of the same libraries that does nothing with them."""
    result = send(job)
    with bare_server(job.transport) as endpoint:
        bare = send(replace(job, endpoint=endpoint))
    rate, bare_rate = (each.acknowledged_requests / each.seconds for each in (result, bare))
    what = f"{job.transport}, {job.shape}, {job.spans} a request, {job.connections} in flight"
    value = f"{rate:,.0f} requests/s, {_rate(result, result.seconds)}"
    return Figure(
        what, value, f"bare server, bodies dropped, {bare_rate:,.0f} requests/s ({rate / bare_rate:.0%})", target
    )


def _bare_rate() -> float:
    """Rows per second of a bare chDB insert of such rows, in a process of its own, in this run."""
    command = [sys.executable, "-m", "benchmarks.bare"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class _Memory:
    """Watches the resident memory of the service's processes."""

    def __init__(self, service: Service) -> None:
        self._processes = {role: service.children(role) for role in ("ingest", "export")}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mib = {"ingest": 0.0, "export": 0.0}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def now_mib(self, role: str) -> float:
        """Largest resident memory among the processes of a role."""
        return max((_rss_mib(process) for process in self._processes[role]), default=0.0)

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for role in self.peak_mib:
                self.peak_mib[role] = max(self.peak_mib[role], self.now_mib(role))


def _rss_mib(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 2**20
    except psutil.Error:
        return 0.0
