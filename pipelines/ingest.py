"""The ingest half: requests wait in the intake, are transformed and appended as one batch, then all answered.

Group commit: one thread takes everything that is waiting. Idle, a request is taken at once; busy, batches grow by
themselves, and small requests are let come in before they are taken.
"""

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import structlog

from pipelines.batch import Batch
from pipelines.errors import Permanent, Retryable
from pipelines.metrics import APPEND_SECONDS

# Clients give up after 10 s and send again: an answer must come well before (Collector and SDK exporters' defaults).
APPEND_TIMEOUT_SECONDS: Final = 5.0
# What an append has shown about the buffer counts for so long, and what a probe has shown; a bad one not so long.
_TRUSTED_SECONDS: Final = 5.0
_DOUBTED_SECONDS: Final = 1.0
# Bounds the memory of one group commit; a single request may be larger.
_MOST_GROUP_BYTES: Final = 16 * 2**20

# Below that a group costs about as much however many requests are in it, and while it is worked on, those that come in
# fight with it for the interpreter: so they are let in first (docs/decisions/0012-ingest-by-profile.md).
_SMALL_GROUP_BYTES: Final = 2**20
_SETTLE_SECONDS: Final = 0.05
_SETTLE_STEP_SECONDS: Final = 0.002

_log = structlog.get_logger("intake")

Encoding = Literal["protobuf", "json"]
Stored = Literal["traces", "logs"]
"""Signals whose records are stored."""


@dataclass(frozen=True, slots=True)
class Request:
    """One export request, decompressed.

    Attributes:
        body: the message as sent.
        encoding: how it is encoded.
        project_id: what the request's key belongs to.
        received_at_ns: Unix nanoseconds.
        signal: what it carries.
    """

    body: bytes
    encoding: Encoding
    project_id: str
    received_at_ns: int
    signal: Stored = "traces"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request whose usable spans, or log records that are GenAI events, are durable.

    Attributes:
        spans: number stored.
        rejected_spans: number that can never be stored.
        message: why, naming each place; empty when none was rejected.
    """

    spans: int
    rejected_spans: int = 0
    message: str = ""


class BadRequest(Permanent):
    """The body cannot be decoded; the message names what is wrong and where."""


class Appendable(Protocol):
    """The end of a buffer that the ingest half needs."""

    def append(self, batches: Sequence[Batch]) -> None:
        """Store all batches for good, or raise and store none."""

    def check(self) -> None:
        """Raise Retryable or Permanent when that would not work now."""


Outcome = Accepted | BadRequest
Transform = Callable[[Sequence[Request]], tuple[list[Batch], list[Outcome]]]
"""Decode and map: the batches of all requests together, and one outcome a request, in order.

Never raises on the input of one request; raises for several to get them in two halves.
"""


Waiting = tuple["asyncio.Future[Accepted]", Request]
"""Where a caller waits, and for what."""


class Intake:
    """Where requests wait, and the one thread that makes them durable.

    `start()` before the first `submit()`; `shutdown()` finishes everything that was submitted, and after it nothing
    more is consumed.
    """

    def __init__(
        self, transform: Transform, processors: Sequence[Callable[[Batch], Batch]], buffer: Appendable
    ) -> None:
        self._transform = transform
        self._processors = tuple(processors)
        self._buffer = buffer
        self._waiting: OrderedDict[asyncio.Future[Accepted], Request] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._small_ones_come = False
        self._trusted_until = 0.0
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self.problem = ""
        """Why requests are refused at the moment, empty when they are taken."""

    def start(self) -> None:
        """Start taking requests."""
        self._thread.start()

    def shutdown(self) -> None:
        """Finish what was submitted, refuse what comes; blocks until done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def probe(self) -> None:
        """Finds out about `problem` where no request does: nobody sends to a service that is not ready.

        To be called about every second; may block for seconds.
        """
        if time.monotonic() < self._trusted_until:
            return
        try:
            self._buffer.check()
        except Exception as error:  # noqa: BLE001 - whatever it is, an append would meet it too
            self._note(str(error) or type(error).__name__, _DOUBTED_SECONDS)
        else:
            self._note("", _TRUSTED_SECONDS)

    def _note(self, problem: str, trusted_seconds: float) -> None:
        self.problem = problem
        self._trusted_until = time.monotonic() + trusted_seconds

    async def submit(self, request: Request) -> Accepted:
        """Make a request's spans durable.

        Returns:
            When the spans are in the buffer for good.

        Raises:
            BadRequest: the body cannot be decoded; nothing of it was stored.
            Retryable: the buffer is full, failed, was too slow, or the service is shutting down.
        """
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closed:
                raise Retryable("the receiver is shutting down; send again")
            self._waiting[future] = request
            self._changed.notify()
        try:
            async with asyncio.timeout(APPEND_TIMEOUT_SECONDS):
                return await future
        except TimeoutError:
            raise Retryable(f"not durable within {APPEND_TIMEOUT_SECONDS} s; send again") from None
        finally:
            if not future.done() or future.cancelled():  # nobody waits any more: the body must not stay in memory
                with self._changed:
                    self._waiting.pop(future, None)

    def _run(self) -> None:
        while self._process_next():
            continue

    def _process_next(self) -> bool:
        """One group; False when there is none any more. What it held is free before the next one is waited for."""
        group = self._take()
        _answer(group, self._process([request for _, request in group]) if group else [])
        return bool(group)

    def _take(self) -> list[Waiting]:
        """Everything that is waiting, up to a bound on bytes, or one; empty when closed and done."""
        group: list[Waiting] = []
        size_bytes = 0
        while not group and self._wait():
            with self._changed:
                while self._waiting:
                    future, request = next(iter(self._waiting.items()))
                    size_bytes += len(request.body)
                    if group and size_bytes > _MOST_GROUP_BYTES:
                        break
                    del self._waiting[future]
                    group.append((future, request))
        self._small_ones_come = len(group) > 1 and size_bytes < _SMALL_GROUP_BYTES
        return group

    def _wait(self) -> bool:
        """For a request; when small ones come, until no more do, though not for long. False when closed and done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
        known, until = 0, time.monotonic() + _SETTLE_SECONDS
        while self._small_ones_come and known < len(self._waiting) and time.monotonic() < until:
            known = len(self._waiting)
            time.sleep(_SETTLE_STEP_SECONDS)
        return bool(self._waiting) or not self._closed

    def _process(self, requests: list[Request]) -> "list[Outcome | Exception]":
        try:
            return list(self._store(requests))
        except Retryable as error:
            self._note(str(error), _TRUSTED_SECONDS)
            return [error] * len(requests)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must be answered
            if len(requests) == 1:
                _log.exception("A request could not be processed.", project=requests[0].project_id)
                return [error]
        # A fault of ours must not cost the neighbours, and what is too much at once is not in two halves.
        half = len(requests) // 2
        return self._process(requests[:half]) + self._process(requests[half:])

    def _store(self, requests: list[Request]) -> list[Outcome]:
        batches, outcomes = self._transform(requests)
        for processor in self._processors:
            batches = [processor(batch) for batch in batches]
        if batches:
            with APPEND_SECONDS.time():
                self._buffer.append(batches)
            self._note("", _TRUSTED_SECONDS)
        return outcomes


def _answer(group: list[Waiting], answers: "Sequence[Outcome | Exception]") -> None:
    """Hand the answers to their event loops, one wake-up a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Accepted], Outcome | Exception]]] = {}
    for (future, _), answer in zip(group, answers, strict=True):
        by_loop.setdefault(future.get_loop(), []).append((future, answer))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_set_all, pairs)


def _set_all(pairs: "list[tuple[asyncio.Future[Accepted], Outcome | Exception]]") -> None:
    for future, answer in pairs:
        if future.done():
            continue
        if isinstance(answer, Accepted):
            future.set_result(answer)
        else:
            future.set_exception(answer)
