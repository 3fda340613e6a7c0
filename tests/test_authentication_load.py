"""Traffic of many keys, wrong ones among them, that does not pause while Postgres stops and starts.

Two processes, both transports.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import grpc
import pytest

from otlp_receiver.keys import generate_key
from tests.support.counters import counters, series
from tests.support.keyed_load import BODY, as_url, make_keys
from tests.support.postgres import RemotePostgres, remote_postgres
from tests.support.reporting import Report
from tests.support.senders import PROTOBUF, TRACES
from tests.support.service import Service, service

_HASH_KEY: Final = "h" * 32
_PROJECTS: Final = [f"project-{number}" for number in range(10)]
_IN_FLIGHT: Final = 12
"""Over each transport."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
_PAUSE_SECONDS: Final = 0.05
_PHASES: Final = ("before", "stopping", "away", "starting", "back", "between")
"""What is happening to Postgres; between: a request began in one and was answered in a later one."""
_CODES: Final = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.UNAVAILABLE: 503,
}  # fmt: skip
_STALLED: Final = 0
"""Noted instead of 503 when the disk was too slow: that says nothing of keys, and any sender tries again."""
_NOT_DURABLE: Final = "not durable within"

Attempt = Callable[[str], Awaitable[int]]
"""Sends one request with a secret; returns the status as HTTP has it."""


@dataclass
class _Traffic:
    """What all senders share.

    Attributes:
        good: secrets, all of them valid, in turn of the projects.
        told: answers by phase, whether the key was good, and status.
        taken: how often each secret was, in this phase.
        stored: how many requests of each project were taken, in all phases.
        phase: what is happening to Postgres.
        turns: numbers of requests.
    """

    good: list[str]
    told: Counter[tuple[str, bool, int]] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    phase: str = "before"
    ended: bool = False
    turns: Iterator[int] = field(default_factory=itertools.count)

    async def send(self, attempt: Attempt, place: int, places: int) -> None:
        """Every good secret in turn, each until it is taken; each hundredth request has a wrong one."""
        for number in itertools.cycle(range(place, len(self.good), places)):
            if next(self.turns) % 100 == 0:
                await self._tell(attempt, generate_key().secret, is_good=False)
            status = 503
            while status in (503, _STALLED) and not self.ended:
                status = await self._tell(attempt, self.good[number], is_good=True)
                self._note(number, status)
                await asyncio.sleep(0 if status == 200 else _PAUSE_SECONDS)
            if self.ended:
                return

    async def _tell(self, attempt: Attempt, secret: str, *, is_good: bool) -> int:
        phase = self.phase
        status = await attempt(secret)
        self.told[phase if phase == self.phase else "between", is_good, status] += 1
        return status

    def _note(self, number: int, status: int) -> None:
        if status == 200:
            self.taken[self.good[number]] += 1
            self.stored[_PROJECTS[number % len(_PROJECTS)]] += 1

    async def until(self, phase: str, condition: Callable[[], bool]) -> None:
        """Go on in this phase until it has shown enough."""
        self.phase = phase
        self.taken.clear()
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(_PAUSE_SECONDS)

    def all_were_taken(self) -> bool:
        return all(self.taken[secret] for secret in self.good)

    def half_were_taken(self) -> bool:
        """So many of the good keys in this phase, and wrong ones were shown."""
        return len(self.taken) * 2 >= len(self.good) and bool(self.statuses(self.phase, is_good=False))

    def knows_wrong_ones(self) -> bool:
        """Whether every good key was taken in this phase, and a wrong one is told so."""
        return self.all_were_taken() and 401 in self.statuses(self.phase, is_good=False)

    def statuses(self, *phases: str, is_good: bool) -> set[int]:
        """What such keys were told in these phases."""
        return {status for phase, good, status in self.told if phase in phases and good == is_good}

    def figures(self) -> str:
        """For people."""
        return "; ".join(
            f"{phase}, {'good' if is_good else 'wrong'} keys: {count} x {status}"
            for (phase, is_good, status), count in sorted(
                self.told.items(), key=lambda each: (_PHASES.index(each[0][0]), *each[0][1:])
            )
        )


@asynccontextmanager
async def _attempts(made: Service) -> AsyncIterator[list[Attempt]]:
    """Senders of both transports, each on a connection of its own, and so each with one of the processes."""
    url, target = made.url("http") + "/v1/traces", f"127.0.0.1:{made.ports['grpc']}"
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options) for _ in range(_IN_FLIGHT)]
    async with AsyncExitStack() as sessions:
        over_http = [_over_http(await sessions.enter_async_context(_session()), url) for _ in range(_IN_FLIGHT)]
        yield [*over_http, *(_over_grpc(channel.unary_unary(TRACES)) for channel in channels)]
    for channel in channels:
        await channel.close()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), timeout=_TIMEOUT)


def _over_http(session: aiohttp.ClientSession, url: str) -> Attempt:
    async def attempt(secret: str) -> int:
        headers = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {secret}"}
        async with session.post(url, data=BODY, headers=headers) as answer:
            text = await answer.text("latin-1")
            return _STALLED if _NOT_DURABLE in text else answer.status

    return attempt


def _over_grpc(call: Any) -> Attempt:
    async def attempt(secret: str) -> int:
        try:
            await call(BODY, metadata=(("authorization", f"Bearer {secret}"),), timeout=60)
        except grpc.aio.AioRpcError as error:
            return _STALLED if _NOT_DURABLE in (error.details() or "") else _CODES[error.code()]
        return 200

    return attempt


@pytest.fixture
def postgres() -> Iterator[RemotePostgres]:
    """A server that the test stops and starts."""
    with remote_postgres() as server:
        yield server


@pytest.fixture
def guarded(postgres: RemotePostgres) -> Iterator[Service]:
    """A service of two ingest processes that knows its keys from that server, not started."""
    with service() as made:
        made.config["extensions"]["api_keys"] = {}
        made.config["service"]["workers"] = 2
        made.config["metadata"] = {"postgres": as_url(postgres.start()), "hash_key": _HASH_KEY}
        for protocol in made.config["receivers"]["otlp"]["protocols"].values():
            protocol["auth"] = {"authenticator": "api_keys"}
        yield made


async def _through_an_outage(traffic: _Traffic, made: Service, postgres: RemotePostgres) -> None:
    async with _attempts(made) as attempts:
        senders = [traffic.send(attempt, place, len(attempts)) for place, attempt in enumerate(attempts)]
        sending = asyncio.gather(*senders)
        await traffic.until("before", traffic.all_were_taken)
        traffic.phase = "stopping"
        await asyncio.to_thread(postgres.stop)
        await traffic.until("away", traffic.half_were_taken)
        traffic.phase = "starting"
        await asyncio.to_thread(postgres.start)
        await traffic.until("back", traffic.knows_wrong_ones)
        traffic.ended = True
        await sending


@pytest.mark.parametrize("count", [480, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_many_keys_through_an_outage(postgres: RemotePostgres, guarded: Service, count: int, report: Report) -> None:
    """A key that was seen is taken all the time, a wrong one never; each project has just what its keys sent."""
    keys = make_keys(postgres.start(), _HASH_KEY.encode(), count, _PROJECTS)
    traffic = _Traffic([key.secret for key in keys])
    guarded.start()
    asyncio.run(_through_an_outage(traffic, guarded, postgres))

    report(f"{count} keys: {traffic.figures()}")
    assert traffic.statuses("before", is_good=True) <= {200, 503, _STALLED}  # 503: not looked up yet
    assert traffic.statuses("stopping", "away", "starting", "back", "between", is_good=True) - {_STALLED} == {200}
    assert traffic.statuses(*_PHASES, is_good=False) <= {401, 503}
    assert traffic.statuses("away", is_good=False) == {503}
    assert min(traffic.told[phase, False, 401] for phase in ("before", "back")) > 0
    shown = counters(guarded)
    stored = {each: shown[series("otlp_receiver_project_spans", project=each)] for each in _PROJECTS}
    assert stored == traffic.stored
