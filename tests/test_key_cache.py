"""The cache of keys in front of a database that the test plays: what is asked, how often, and what holds without it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from otlp_receiver import key_cache
from otlp_receiver.key_cache import KeyCache
from otlp_receiver.keys import Key
from pipelines.errors import Retryable
from tests.support.receivers import on_uvloop, until

_KEY = Key("pk-a", "project", frozenset({"ingest"}))


@dataclass
class Database:
    """Valid keys by hash; remembers every question and use."""

    keys: dict[bytes, Key] = field(default_factory=dict)
    asked: list[list[bytes]] = field(default_factory=list)
    used: list[bytes] = field(default_factory=list)
    is_away: bool = False
    number: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def look_up(self, digests: Sequence[bytes]) -> dict[bytes, Key]:
        self.asked.append(list(digests))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.gate.wait(30)
        self.at_once -= 1
        if self.is_away:
            raise Retryable("Postgres is away")
        return {digest: self.keys[digest] for digest in digests if digest in self.keys}

    def changes(self) -> int:
        if self.is_away:
            raise Retryable("Postgres is away")
        return self.number

    def note_use(self, digests: Sequence[bytes]) -> None:
        self.used += digests


@asynccontextmanager
async def _cache(database: Database, grace_seconds: float = 3600) -> AsyncIterator[KeyCache]:
    cache = KeyCache(database, grace_seconds)
    cache.start()
    try:
        yield cache
    finally:
        database.gate.set()
        await cache.close()


@on_uvloop
async def test_a_hit_asks_nobody() -> None:
    """A key that was found is not asked for again, nor is its answer waited for."""
    database = Database({b"a": _KEY})
    async with _cache(database) as cache:
        assert await cache.find(b"a") == _KEY

        assert cache.known(b"a") == await cache.find(b"a") == _KEY

    assert database.asked == [[b"a"]]


@on_uvloop
async def test_an_unknown_key_is_remembered() -> None:
    """A key that was not found is refused without another query."""
    database = Database()
    async with _cache(database) as cache:
        found = [await cache.find(b"x") for _ in range(100)]

    assert found == [None] * 100
    assert database.asked == [[b"x"]]


@on_uvloop
async def test_a_key_made_after_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is accepted as soon as the refusal is forgotten."""
    monkeypatch.setattr(key_cache, "_UNKNOWN_SECONDS", 0.05)
    database = Database()
    async with _cache(database) as cache:
        assert await cache.find(b"a") is None
        database.keys[b"a"] = _KEY
        await asyncio.sleep(0.06)

        assert await cache.find(b"a") == _KEY


@on_uvloop
async def test_guesses_are_asked_together() -> None:
    """While one query runs all others wait and are asked in the next: never two at once, however many come."""
    database = Database({b"a": _KEY})
    async with _cache(database) as cache:
        database.gate.clear()
        first = asyncio.create_task(cache.find(b"a"))
        await until(lambda: len(database.asked) == 1)
        guesses = [asyncio.create_task(cache.find(b"guess %d" % number)) for number in range(500)]
        twins = [asyncio.create_task(cache.find(b"guess 7")) for _ in range(100)]
        await asyncio.sleep(0)
        database.gate.set()

        assert await first == _KEY
        assert await asyncio.gather(*guesses, *twins) == [None] * 600

    assert [len(digests) for digests in database.asked] == [1, 500]
    assert database.most_at_once == 1


@on_uvloop
async def test_those_who_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many wait, or one waits too long, it is told to try again; known keys are not concerned."""
    monkeypatch.setattr(key_cache, "_MOST_WAITING", 10)
    monkeypatch.setattr(key_cache, "_WAIT_SECONDS", 0.3)
    database = Database({b"a": _KEY})
    async with _cache(database) as cache:
        assert await cache.find(b"a") == _KEY
        database.gate.clear()
        waiting = [asyncio.create_task(cache.find(b"%d" % number)) for number in range(10)]
        await until(lambda: len(database.asked) == 2)

        with pytest.raises(Retryable, match="too many keys"):
            await cache.find(b"one more")
        assert await cache.find(b"a") == _KEY
        told = await asyncio.gather(*waiting, return_exceptions=True)

    assert {str(each) for each in told} == {"looking up a key takes too long"}


@on_uvloop
async def test_unknown_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are tried, the last ones are remembered and no more."""
    monkeypatch.setattr(key_cache, "_MOST_UNKNOWN", 10)
    monkeypatch.setattr(key_cache, "_MOST_KNOWN", 5)
    database = Database({b"k%d" % number: _KEY for number in range(20)})
    async with _cache(database) as cache:
        for number in range(40):
            assert await cache.find(b"x%d" % number) is None
            assert await cache.find(b"k%d" % (number % 20)) == _KEY

        assert len(cache._unknown) == 10
        assert len(cache._known) == 5


@on_uvloop
async def test_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the database known keys work, unknown ones are to be tried again; with it, all is as before."""
    monkeypatch.setattr(key_cache, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(key_cache, "_TICK_SECONDS", 0.02)
    database = Database({b"a": _KEY, b"b": _KEY})
    async with _cache(database) as cache:
        assert await cache.find(b"a") == _KEY
        database.is_away = True

        assert await cache.find(b"a") == _KEY
        for _ in range(3):
            with pytest.raises(Retryable):
                await cache.find(b"b")
        asked = len(database.asked)
        assert [await cache.find(b"a") for _ in range(100)] == [_KEY] * 100
        assert len(database.asked) <= asked + 1

        database.is_away = False
        await until(lambda: not cache._outage)
        assert await cache.find(b"b") == _KEY


@on_uvloop
async def test_the_grace_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key works without the database for as long as configured; then it is to be tried again, never refused."""
    monkeypatch.setattr(key_cache, "_FRESH_SECONDS", 0.0)
    database = Database({b"a": _KEY})
    async with _cache(database, grace_seconds=0.2) as cache:
        assert await cache.find(b"a") == _KEY
        database.is_away = True
        await asyncio.sleep(0.25)

        with pytest.raises(Retryable):
            await cache.find(b"a")


@on_uvloop
async def test_expiry_needs_no_query() -> None:
    """A key that expires is asked for again at that moment, though it was looked up a moment ago."""
    database = Database({b"a": Key("pk", "p", frozenset(), valid_seconds=0.05)})
    async with _cache(database) as cache:
        assert await cache.find(b"a") is not None
        del database.keys[b"a"]
        await asyncio.sleep(0.06)

        assert await cache.find(b"a") is None


@on_uvloop
async def test_the_background_sees_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in use are looked up again by themselves: a revoked one goes, a changed one changes, use is told."""
    monkeypatch.setattr(key_cache, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(key_cache, "_REFRESH_SECONDS", 0.0)
    database = Database({b"a": _KEY, b"b": _KEY})
    async with _cache(database) as cache:
        await cache.find(b"a")
        await cache.find(b"b")
        changed = Key("pk-a", "project", frozenset({"read"}))
        database.keys, database.number = {b"b": changed}, 1
        await until(lambda: b"a" not in cache._known)

        assert await cache.find(b"a") is None
        assert await cache.find(b"b") == changed
        await until(lambda: b"b" in database.used)


@on_uvloop
async def test_nothing_is_asked_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys stay fresh by one number; only when it grows are they looked up again."""
    monkeypatch.setattr(key_cache, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(key_cache, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(key_cache, "_FRESH_SECONDS", 0.5)
    database = Database({b"a": _KEY})
    async with _cache(database) as cache:
        await until(lambda: cache._changes == 0)
        await cache.find(b"a")
        await asyncio.sleep(0.6)
        assert cache.known(b"a") == _KEY
        assert database.asked == [[b"a"]]

        database.number = 1
        await until(lambda: cache._changes == 1)

    assert database.asked == [[b"a"]] * 2


def test_a_revoked_key_is_gone_in_time() -> None:
    """From the look-up that was true to the next, with the wait for it, there are 30 s at most."""
    assert key_cache._FRESH_SECONDS + key_cache._WAIT_SECONDS < 30
    assert key_cache._REFRESH_SECONDS < key_cache._FRESH_SECONDS
