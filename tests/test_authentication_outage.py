"""Traffic of many keys that does not pause while Postgres stops and starts: two processes, both transports."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import grpc
import pytest

from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.keys import generate_key
from tests.support.counters import counters, series
from tests.support.keyed_load import BODY, as_url, make_keys
from tests.support.postgres import own_postgres
from tests.support.reporting import Report
from tests.support.senders import PROTOBUF, TRACES
from tests.support.service import Service, service

_HASH_KEY: Final = "h" * 32
_PROJECTS: Final = [f"project-{number}" for number in range(10)]
_IN_FLIGHT: Final = 12
"""Over each transport."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
_PAUSE_SECONDS: Final = 0.05
_CODES: Final = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.UNAVAILABLE: 503,
}  # fmt: skip

Attempt = Callable[[str], Awaitable[int]]
"""Sends one request with a secret; returns the status as HTTP has it."""


@dataclass
class _Traffic:
    """What all senders share.

    Attributes:
        good: secrets, all of them valid.
        told: answers by phase, whether the key was good, and status.
        taken: how often each good secret was, in this phase.
        phase: what is happening to Postgres.
        turns: numbers of requests.
    """

    good: list[str]
    told: Counter[tuple[str, bool, int]] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    phase: str = "before"
    ended: bool = False
    turns: Iterator[int] = field(default_factory=itertools.count)

    async def send(self, attempt: Attempt, place: int, places: int) -> None:
        """Every good secret in turn, each until it is taken; each hundredth request has a wrong one."""
        for secret in itertools.cycle(self.good[place::places]):
            if next(self.turns) % 100 == 0:
                wrong = generate_key().secret
                self._note(wrong, await attempt(wrong), is_good=False)
            status = 503
            while status == 503 and not self.ended:
                status = self._note(secret, await attempt(secret), is_good=True)
                await asyncio.sleep(_PAUSE_SECONDS if status == 503 else 0)
            if self.ended:
                return

    def _note(self, secret: str, status: int, *, is_good: bool) -> int:
        self.told[self.phase, is_good, status] += 1
        self.taken[secret] += status == 200
        return status

    async def until(self, phase: str, condition: Callable[[], bool]) -> None:
        """Go on in this phase until it has shown enough."""
        self.phase = phase
        self.taken.clear()
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(_PAUSE_SECONDS)

    def all_were_taken(self) -> bool:
        return all(self.taken[secret] for secret in self.good)

    def half_were_taken(self) -> bool:
        """And at least one wrong key was shown."""
        wrong_ones = [key for key in self.told if key[:2] == (self.phase, False)]
        return sum(self.taken.values()) >= len(self.good) // 2 and bool(wrong_ones)

    def figures(self) -> str:
        """For people."""
        return "; ".join(
            f"{phase}, {'good' if is_good else 'wrong'} keys: {count} x {status}"
            for (phase, is_good, status), count in sorted(self.told.items())
        )


@asynccontextmanager
async def _attempts(made: Service) -> AsyncIterator[list[Attempt]]:
    """Senders of both transports, each on a connection of its own."""
    url, target = made.url("http") + "/v1/traces", f"127.0.0.1:{made.ports['grpc']}"
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options) for _ in range(_IN_FLIGHT)]
    connector = aiohttp.TCPConnector(limit=_IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:

        async def over_http(secret: str) -> int:
            headers = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {secret}"}
            async with session.post(url, data=BODY, headers=headers) as answer:
                await answer.read()
                return answer.status

        yield [over_http] * _IN_FLIGHT + [_over_grpc(channel.unary_unary(TRACES)) for channel in channels]
    for channel in channels:
        await channel.close()


def _over_grpc(call: Any) -> Attempt:
    async def attempt(secret: str) -> int:
        try:
            await call(BODY, metadata=(("authorization", f"Bearer {secret}"),), timeout=60)
        except grpc.aio.AioRpcError as error:
            return _CODES[error.code()]
        return 200

    return attempt


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the test stops and starts."""
    with own_postgres() as server:
        yield server


@pytest.fixture
def guarded(postgres: EmbeddedPostgres) -> Iterator[Service]:
    """A service of two ingest processes that knows its keys from that server, not started."""
    with service() as made:
        made.config["extensions"]["api_keys"] = {}
        made.config["service"]["workers"] = 2
        made.config["metadata"] = {"postgres": as_url(postgres.start()), "hash_key": _HASH_KEY}
        for protocol in made.config["receivers"]["otlp"]["protocols"].values():
            protocol["auth"] = {"authenticator": "api_keys"}
        yield made


async def _through_an_outage(traffic: _Traffic, made: Service, postgres: EmbeddedPostgres) -> None:
    async with _attempts(made) as attempts:
        senders = [traffic.send(attempt, place, len(attempts)) for place, attempt in enumerate(attempts)]
        sending = asyncio.gather(*senders)
        await traffic.until("before", traffic.all_were_taken)
        traffic.phase = "stopping"
        await asyncio.to_thread(postgres.stop)
        await traffic.until("away", traffic.half_were_taken)
        traffic.phase = "starting"
        await asyncio.to_thread(postgres.start)
        await traffic.until("back", traffic.all_were_taken)
        traffic.ended = True
        await sending


@pytest.mark.parametrize("count", [480, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_traffic_through_an_outage(postgres: EmbeddedPostgres, guarded: Service, count: int, report: Report) -> None:
    """No good key is ever told that it is wrong, no wrong one taken; unknown ones wait at most, and then all work."""
    keys = make_keys(postgres.start(), _HASH_KEY.encode(), count, _PROJECTS)
    traffic = _Traffic([key.secret for key in keys])
    guarded.start()
    asyncio.run(_through_an_outage(traffic, guarded, postgres))

    report(f"{count} keys: {traffic.figures()}")
    assert {status for _, is_good, status in traffic.told if is_good} <= {200, 503}
    assert {status for _, is_good, status in traffic.told if not is_good} <= {401, 503}
    assert traffic.told["away", True, 200] > 0
    taken = sum(times for (_, _, status), times in traffic.told.items() if status == 200)
    names = [series("otlp_receiver_project_spans", project=each) for each in _PROJECTS]
    stored = counters(guarded)
    assert sum(stored[name] for name in names) == taken
