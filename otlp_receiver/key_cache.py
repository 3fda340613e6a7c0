"""Keys that were looked up: a hit is one dictionary look-up, and no flood of guesses becomes a flood of queries.

    fresh      known to have been valid less than 25 s ago: answered at once
    stale      asked for again; while the database is away it works for `grace` more
    unknown    was not found a moment ago: refused at once, in a table of bounded size
    else       waits for the next query; there is one at a time, and it takes everything that waits

In the background one number is read, which tells whether any key has changed. While it stays the same all keys stay
fresh; when it grows they are looked up again, so that revoked ones go.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from otlp_receiver.keys import Key
from pipelines.errors import Permanent, Retryable

_FRESH_SECONDS: Final = 25.0
"""Revocation is honoured within 30 s; a query takes the rest."""
_REFRESH_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 1.0
"""How often a database that is away is asked whether it is back."""
_UNKNOWN_SECONDS: Final = 10.0
_MOST_KNOWN: Final = 50_000
_MOST_UNKNOWN: Final = 50_000
_MOST_WAITING: Final = 1_000
_MOST_ASKED: Final = 1_000
"""Hashes in one query: what comes back is put in without holding the loop for long."""
_WAIT_SECONDS: Final = 3.0

_log = structlog.get_logger("keys")


class Database(Protocol):
    """Where keys are; its methods block, and raise Retryable or Permanent when nobody can say now."""

    def look_up(self, digests: Sequence[bytes]) -> Mapping[bytes, Key]:
        """Which of these hashes belong to valid keys."""

    def changes(self) -> int:
        """A number that grows whenever a key that was found may have become another, or none, other than by expiry."""

    def note_use(self, digests: Sequence[bytes]) -> None:
        """These keys were used since the last time."""


@dataclass(slots=True)
class _Entry:
    """A key, when it was looked up, and when it expires; times are those of the monotonic clock."""

    key: Key
    seen_at: float
    expires_at: float
    is_used: bool = True


class KeyCache:
    """The keys of one process; used from one event loop.

    Args:
        database: where keys are.
        grace_seconds: how long a key works, from when it was last known to be valid, while the database is away.
    """

    def __init__(self, database: Database, grace_seconds: float) -> None:
        self._database = database
        self._grace_seconds = grace_seconds
        self._known: dict[bytes, _Entry] = {}
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._waiting: dict[bytes, asyncio.Future[Key | None]] = {}
        self._waiters = 0
        self._outage = ""
        self._changes: int | None = None
        self._valid_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to refresh in the background."""
        self._refreshing = asyncio.create_task(self._refresh_for_ever())

    async def close(self) -> None:
        """End what runs in the background."""
        running = [task for task in (self._asking, self._refreshing) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def known(self, digest: bytes) -> Key | None:
        """The valid key with this hash when it is known without asking anybody, else None."""
        entry = self._known.get(digest)
        if entry is None or not self._holds(entry, self._grace_seconds if self._outage else _FRESH_SECONDS):
            return None
        entry.is_used = True
        return entry.key

    async def find(self, digest: bytes) -> Key | None:
        """The valid key with this hash, None when there is none.

        Raises:
            Retryable: the database cannot say, and the key was not seen within the grace.
        """
        key = self.known(digest)
        if key is not None or time.monotonic() < self._unknown.get(digest, 0.0):
            return key
        try:
            return await self._wait_for(digest)
        except Retryable:
            entry = self._known.get(digest)
            if entry is not None and self._holds(entry, self._grace_seconds):
                return entry.key
            raise

    def _holds(self, entry: _Entry, seconds: float) -> bool:
        now = time.monotonic()
        return now < max(entry.seen_at, self._valid_at) + seconds and now < entry.expires_at

    async def _wait_for(self, digest: bytes) -> Key | None:
        if self._outage:
            raise Retryable(self._outage)
        if self._waiters >= _MOST_WAITING:
            raise Retryable("too many keys are being looked up")
        self._waiters += 1
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await asyncio.shield(self._awaited(digest))
        except TimeoutError:
            raise Retryable("looking up a key takes too long") from None
        finally:
            self._waiters -= 1

    def _awaited(self, digest: bytes) -> "asyncio.Future[Key | None]":
        future = self._waiting.get(digest)
        if future is None:
            future = self._waiting[digest] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_retrieve)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer_all())
        return future

    async def _answer_all(self) -> None:
        """One query after the other, until nothing waits."""
        while self._waiting:
            asked = dict(list(self._waiting.items())[:_MOST_ASKED])
            failure = await self._ask(list(asked))
            for digest, future in asked.items():
                del self._waiting[digest]
                if failure is None:
                    entry = self._known.get(digest)
                    future.set_result(entry.key if entry else None)
                else:
                    future.set_exception(Retryable(failure))

    async def _ask(self, digests: list[bytes]) -> str | None:
        """Look these up and remember the answers; returns why that is not possible."""
        now = time.monotonic()
        try:
            found = await asyncio.to_thread(self._database.look_up, digests)
        except (Retryable, Permanent) as error:
            return self._note_outage(str(error))
        self._note_outage("")
        for digest in digests:
            self._remember(digest, found.get(digest), now)
        return None

    def _note_outage(self, reason: str) -> str:
        """Remember whether the database is away; returns what senders are told then."""
        if reason and not self._outage:
            _log.warning("Keys cannot be looked up; those seen before go on working.", reason=reason)
        elif self._outage and not reason:
            _log.info("Keys can be looked up again.")
        self._outage = "keys cannot be looked up at the moment" if reason else ""
        return self._outage

    def _remember(self, digest: bytes, key: Key | None, now: float) -> None:
        former = self._known.pop(digest, None)
        if key is None:
            self._unknown[digest] = now + _UNKNOWN_SECONDS
            self._unknown.move_to_end(digest)
            if len(self._unknown) > _MOST_UNKNOWN:
                self._unknown.popitem(last=False)
            return
        self._unknown.pop(digest, None)
        if len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]  # the one that was looked up longest ago
        expires_at = float("inf") if key.valid_seconds is None else now + key.valid_seconds
        self._known[digest] = _Entry(key, now, expires_at, former is None or former.is_used)

    async def _refresh_for_ever(self) -> None:
        refreshed_at = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if not self._outage and time.monotonic() < refreshed_at + _REFRESH_SECONDS:
                continue
            refreshed_at = time.monotonic()
            try:
                await self._refresh()
            except Exception:  # noqa: BLE001 - whatever it was, the next turn may succeed
                _log.exception("Keys were not refreshed.")

    async def _refresh(self) -> None:
        now = time.monotonic()
        try:
            changes = await asyncio.to_thread(self._database.changes)
        except (Retryable, Permanent) as error:
            self._note_outage(str(error))
            return
        self._note_outage("")
        if changes != self._changes and not await self._look_up_again():
            return
        self._changes, self._valid_at = changes, now
        await self._tell_use()

    async def _look_up_again(self) -> bool:
        """All that is known; False when that is not possible."""
        known = list(self._known)
        for start in range(0, len(known), _MOST_ASKED):
            if await self._ask(known[start : start + _MOST_ASKED]) is not None:
                return False
        return True

    async def _tell_use(self) -> None:
        used = [digest for digest, entry in self._known.items() if entry.is_used]
        for digest in used:
            self._known[digest].is_used = False
        with contextlib.suppress(Retryable, Permanent):  # nothing depends on it: a standby, say, does not take it
            for start in range(0, len(used), _MOST_ASKED):
                await asyncio.to_thread(self._database.note_use, used[start : start + _MOST_ASKED])


def _retrieve(future: "asyncio.Future[Key | None]") -> None:
    """Its waiters may have given up; asyncio would log an exception that nobody asks for."""
    if not future.cancelled():
        future.exception()
