"""Health on 13133 and Prometheus metrics on 8888, for all processes of the service together."""

import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import psutil
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# The Collector's built-in exporter shows counters without this suffix, and dashboards are written against that.
_TOTAL: Final = re.compile(rb"^((?:# (?:HELP|TYPE) )?(?:otelcol|otlp_receiver)_\w+?)_total(?=[{ ])", re.MULTILINE)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Health:
    """What the service says of itself.

    Attributes:
        problems: why it is not ready, by part ("ingest-0", "export", ...); ready when empty.
        notices: what does not work and keeps no request from being taken, by part ("metadata").
    """

    problems: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    up_since: float = field(default_factory=time.time)

    def reason(self) -> str:
        """All problems in one text."""
        return _in_one_text(self.problems)

    def notice(self) -> str:
        """All notices in one text."""
        return _in_one_text(self.notices)


def _in_one_text(by_part: Mapping[str, str]) -> str:
    return "; ".join(f"{part}: {problem}" for part, problem in sorted(by_part.items()))


class _Processes(Collector):
    """otelcol_process_*: uptime, processor seconds and memory, summed over the processes."""

    def __init__(self, pids: Callable[[], Iterable[int]], up_since: float) -> None:
        self._pids = pids
        self._up_since = up_since

    def collect(self) -> Iterator[Metric]:
        cpu_seconds, rss_bytes = 0.0, 0
        for pid in self._pids():
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                cpu_seconds += times.user + times.system
                rss_bytes += process.memory_info().rss
            except psutil.Error:  # it has just ended
                continue
        yield CounterMetricFamily("otelcol_process_cpu_seconds", "Processor time of all processes.", cpu_seconds)
        yield GaugeMetricFamily("otelcol_process_memory_rss", "Resident bytes of all processes.", rss_bytes)
        yield GaugeMetricFamily("otelcol_process_uptime", "Seconds since the start.", time.time() - self._up_since)


def metrics_text(registry: CollectorRegistry) -> bytes:
    """Exposition in the Prometheus text format, counters under the Collector's names."""
    return _TOTAL.sub(rb"\1", generate_latest(registry))


class TelemetryServer:
    """Serves health and metrics; `start()` raises OSError naming an address that is taken."""

    def __init__(self, health: Health, pids: Callable[[], Iterable[int]]) -> None:
        self._health = health
        self._registry = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]  # the library lacks annotations
        self._registry.register(_Processes(pids, health.up_since))
        self._runners: list[web.AppRunner] = []

    async def start(self, metrics_endpoint: str, health_endpoint: str | None) -> None:
        """Listen on `host:port` each; without a health endpoint there is no health."""
        await self._serve(metrics_endpoint, {"/metrics": self._metrics})
        if health_endpoint is not None:
            paths = {"/": self._ready, "/ready": self._ready, "/live": self._live}
            await self._serve(health_endpoint, paths)

    async def _serve(self, endpoint: str, handlers: Mapping[str, Handler]) -> None:
        app = web.Application()
        app.add_routes([web.get(path, handler) for path, handler in handlers.items()])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        host, _, port = endpoint.rpartition(":")
        await web.TCPSite(runner, host or None, int(port)).start()

    async def shutdown(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=metrics_text(self._registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _ready(self, _request: web.Request) -> web.Response:
        reason = self._health.reason()
        if reason:
            return web.json_response({"status": "Server not available", "reason": reason}, status=503)
        up_since = datetime.fromtimestamp(self._health.up_since, UTC).isoformat()
        uptime = f"{time.time() - self._health.up_since:.0f}s"
        answer = {"status": "Server available", "upSince": up_since, "uptime": uptime}
        notice = self._health.notice()
        return web.json_response(answer | ({"degraded": notice} if notice else {}))

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})
