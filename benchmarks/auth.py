"""What keys and quotas cost: the same load on two services in turn, one that asks for keys and one that does not.

Rates depend on what else runs on the cores, so rounds are short, many and paired, each service first in every other
pair, and the processor time of a request is told beside them. Both services get the same requests, keys included;
every request shows another key.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import psycopg

from benchmarks.load import Job, Result
from benchmarks.measure import Figure, Report
from benchmarks.service import Service, running_service, send
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.metadata import quotas
from tests.support.keyed_load import as_url, make_keys

_HASH_KEY: Final = "h" * 32
_KEYS: Final = 10_000
_PROJECT: Final = "bench"
_PAIRS: Final = 12
_SECONDS: Final = 2.5
_WARM_SECONDS: Final = 5.0
_CONNECTIONS: Final = 64
_TARGET: Final = "≥ 95 %"


def auth_stage(report: Report) -> None:
    """Requests a second and processor time a request, with and without keys, in pairs of rounds."""
    with _two_services() as (guarded, free, secrets):
        for transport in ("grpc", "http"):
            for spans in (1, 64):
                job = Job(transport, "", "chat", spans, _CONNECTIONS, _SECONDS, secrets=secrets)
                for service in (guarded, free):
                    _send(service, replace(job, seconds=_WARM_SECONDS))
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
    share = median(guarded[0] / free[0] for guarded, free in pairs)
    cpu_share = median(guarded[1] / free[1] for guarded, free in pairs)
    value = f"{rate:,.0f} requests/s, {cpu:.0f} µs of processor each"
    beside = (
        f"without keys {rate_without:,.0f}, {cpu_without:.0f} µs; {share:.1%} of the rate, {cpu_share:.1%} of the time"
    )
    report.add("auth", Figure(what, value, beside, _TARGET))


def _round(service: Service, job: Job) -> Round:
    before = _cpu_seconds(service)
    result = _send(service, job)
    spent = _cpu_seconds(service) - before
    return result.acknowledged_requests / result.seconds, spent / result.acknowledged_requests * 1e6


def _send(service: Service, job: Job) -> Result:
    return send(replace(job, endpoint=f"127.0.0.1:{service.ports[job.transport]}"))


def _cpu_seconds(service: Service) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in service.children("ingest"))


@contextmanager
def _two_services() -> Iterator[tuple[Service, Service, list[str]]]:
    """One with keys of a project whose quota is never reached, and one without; both only ingest, on one Postgres."""
    with TemporaryDirectory(prefix="otlp-receiver-bench-") as directory, ExitStack() as stack:
        postgres = EmbeddedPostgres(Path(directory))
        dsn = postgres.start()
        stack.callback(postgres.stop)
        secrets = [key.secret for key in make_keys(dsn, _HASH_KEY.encode(), _KEYS, [_PROJECT])]
        with psycopg.connect(dsn) as connection:
            quotas.put(connection, _PROJECT, {"spans_per_second": 10**9, "bytes_per_second": 10**12}, "bench")
        store = (f"metadata.postgres={as_url(dsn)}", f"metadata.hash_key={_HASH_KEY}")
        asking = (f"receivers.otlp.protocols.{each}.auth.authenticator=api_keys" for each in ("grpc", "http"))
        guarded = stack.enter_context(running_service(*store, "extensions.api_keys={}", *asking, only="ingest"))
        yield guarded, stack.enter_context(running_service(*store, only="ingest")), secrets
