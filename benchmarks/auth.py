"""What keys and quotas cost: the same load in turn on two receivers of one process, of which one asks for keys.

Two processes of the same code differ by up to a tenth from start to end: so it is one. Rates depend on what
else runs on the cores, and single pairs scatter by a tenth: so rounds are short, many and paired, each receiver first
in every other pair, the standard error stands beside each share, and so does the processor time of a request. Both get
the same requests, keys included; every request shows another key.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from statistics import geometric_mean, median, stdev
from tempfile import TemporaryDirectory
from typing import Final

import psycopg

from benchmarks.load import Job, Result
from benchmarks.measure import Figure, Report
from benchmarks.service import Service, free_ports, running_service, send
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.metadata import quotas
from tests.support.keyed_load import as_url, make_keys

_HASH_KEY: Final = "h" * 32
_KEYS: Final = 10_000
_PROJECT: Final = "bench"
_PAIRS: Final = 30
_SECONDS: Final = 1.0
_WARM_SECONDS: Final = 5.0
_CONNECTIONS: Final = 64
_TRANSPORTS: Final = ("grpc", "http")
_TARGET: Final = "≥ 95 %"


def auth_stage(report: Report) -> None:
    """Requests a second and processor time a request, with and without keys, in pairs of rounds."""
    with _two_receivers() as (guarded, free, secrets):
        for transport in _TRANSPORTS:
            for spans in (1, 64):
                job = Job(transport, "", "chat", spans, _CONNECTIONS, _SECONDS, secrets=secrets)
                for receiver in (guarded, free):
                    _send(receiver, replace(job, seconds=_WARM_SECONDS))
                pairs = [_pair(guarded, free, job, number) for number in range(_PAIRS)]
                _add(report, f"{transport}, chat, {spans} a request, {_CONNECTIONS} in flight", pairs)


Round = tuple[float, float]
"""Requests a second, and microseconds of processor a request."""


def _pair(guarded: Service, free: Service, job: Job, number: int) -> tuple[Round, Round]:
    """A round of both; whichever comes second finds the cores as the first has left them."""
    if number % 2:
        without = _round(free, job)
        return _round(guarded, job), without
    return _round(guarded, job), _round(free, job)


def _add(report: Report, what: str, pairs: list[tuple[Round, Round]]) -> None:
    rate, cpu = (median(guarded[place] for guarded, _ in pairs) for place in (0, 1))
    rate_without, cpu_without = (median(free[place] for _, free in pairs) for place in (0, 1))
    share, cpu_share = (_share([guarded[place] / free[place] for guarded, free in pairs]) for place in (0, 1))
    value = f"{rate:,.0f} requests/s, {cpu:.0f} µs of processor each"
    beside = f"without keys {rate_without:,.0f}, {cpu_without:.0f} µs; {share} of the rate, {cpu_share} of the time"
    report.add("auth", Figure(what, value, beside, _TARGET))


def _share(ratios: list[float]) -> str:
    """Their geometric mean, which takes both directions alike, and its standard error."""
    mean, spread = geometric_mean(ratios), stdev(log(ratio) for ratio in ratios)
    return f"{mean:.1%} ± {mean * spread / sqrt(len(ratios)):.1%}"


def _round(receiver: Service, job: Job) -> Round:
    before = _cpu_seconds(receiver)
    result = _send(receiver, job)
    spent = _cpu_seconds(receiver) - before
    return result.acknowledged_requests / result.seconds, spent / result.acknowledged_requests * 1e6


def _send(receiver: Service, job: Job) -> Result:
    return send(replace(job, endpoint=f"127.0.0.1:{receiver.ports[job.transport]}"))


def _cpu_seconds(receiver: Service) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in receiver.children("ingest"))


@contextmanager
def _two_receivers() -> Iterator[tuple[Service, Service, list[str]]]:
    """One with keys of a project whose quota is never reached, and one without; of a service that only ingests."""
    with TemporaryDirectory(prefix="otlp-receiver-bench-") as directory, ExitStack() as stack:
        postgres = EmbeddedPostgres(Path(directory))
        dsn = postgres.start()
        stack.callback(postgres.stop)
        secrets = [key.secret for key in make_keys(dsn, _HASH_KEY.encode(), _KEYS, [_PROJECT])]
        with psycopg.connect(dsn) as connection:
            quotas.put(connection, _PROJECT, {"spans_per_second": 10**9, "bytes_per_second": 10**12}, "bench")
        ports = dict(zip(_TRANSPORTS, free_ports(len(_TRANSPORTS)), strict=True))
        guarded = stack.enter_context(running_service(*_overrides(dsn, ports), only="ingest"))
        yield guarded, Service(guarded.process, ports), secrets


def _overrides(dsn: str, open_ports: dict[str, int]) -> Iterator[str]:
    yield from (f"metadata.postgres={as_url(dsn)}", f"metadata.hash_key={_HASH_KEY}", "extensions.api_keys={}")
    for transport, port in open_ports.items():
        yield f"receivers.otlp.protocols.{transport}.auth.authenticator=api_keys"
        yield f"receivers.otlp/open.protocols.{transport}.endpoint=127.0.0.1:{port}"
    yield "service.pipelines.traces.receivers=[otlp, otlp/open]"
