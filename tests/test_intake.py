"""The intake: group commit, answers that match what was stored, back-pressure and shutdown."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from pipelines import ingest
from pipelines.batch import Batch
from pipelines.errors import BufferFull, Retryable
from pipelines.ingest import Accepted, BadRequest, Intake, Outcome, Request, Transform
from tests.support.receivers import on_uvloop
from tests.support.records import observations


class _Buffer:
    """Remembers what it was given; `gate` holds an append back, `error` refuses it."""

    def __init__(self) -> None:
        self.appends: list[list[Batch]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception | None = None

    def append(self, batches: Sequence[Batch]) -> None:
        self.entered.set()
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.appends.append(list(batches))

    def check(self) -> None:
        if self.error is not None:
            raise self.error


def _transform(requests: Sequence[Request]) -> tuple[list[Batch], list[Outcome]]:
    if any(request.body == b"crash" for request in requests):
        raise ZeroDivisionError("a fault of ours")
    outcomes: list[Outcome] = [
        BadRequest("not OTLP") if request.body == b"bad" else Accepted(len(request.body)) for request in requests
    ]
    return [observations(len(request.body)) for request in requests if request.body != b"bad"], outcomes


def _request(body: bytes = b"x") -> Request:
    return Request(body, "protobuf", "default", 1)


@asynccontextmanager
async def _running(buffer: _Buffer, transform: Transform = _transform) -> AsyncIterator[Intake]:
    intake = Intake(transform, [], buffer)
    intake.start()
    try:
        yield intake
    finally:
        buffer.gate.set()
        await asyncio.to_thread(intake.shutdown)


@asynccontextmanager
async def _holding(
    buffer: _Buffer, transform: Transform = _transform
) -> AsyncIterator[tuple[Intake, "asyncio.Task[Accepted]"]]:
    """An intake that holds its first request in an append until the buffer's gate opens: the others wait together."""
    buffer.gate.clear()
    async with _running(buffer, transform) as intake:
        first = asyncio.create_task(intake.submit(_request()))
        await asyncio.to_thread(buffer.entered.wait, 10)
        yield intake, first


async def _answers(intake: Intake, bodies: Sequence[bytes]) -> list[Accepted | BaseException]:
    return await asyncio.gather(*(intake.submit(_request(body)) for body in bodies), return_exceptions=True)


@on_uvloop
async def test_an_answer_comes_after_the_append() -> None:
    """While the append has not returned nobody is answered; then all are, with what was stored."""
    buffer = _Buffer()
    async with _holding(buffer) as (_, answer):
        await asyncio.sleep(0)

        assert not answer.done()

        buffer.gate.set()

        assert await answer == Accepted(1)
        assert sum(batch.rows for batch in buffer.appends[0]) == 1


@on_uvloop
async def test_what_waits_is_appended_together() -> None:
    """Requests that arrive during an append share the next one: batches grow with the load, without a timer."""
    buffer = _Buffer()
    async with _holding(buffer) as (intake, first):
        rest = asyncio.gather(*(intake.submit(_request()) for _ in range(50)))
        await asyncio.sleep(0)
        buffer.gate.set()
        await asyncio.gather(first, rest)

    assert [len(batches) for batches in buffer.appends] == [1, 50]


@on_uvloop
async def test_small_requests_are_let_in_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When several small requests came at once, the next is not taken before those that come right behind it."""
    buffer, loop, late = _Buffer(), asyncio.get_running_loop(), 3

    async def come(intake: Intake) -> None:
        tasks.append(asyncio.create_task(intake.submit(_request())))
        await asyncio.sleep(0)

    def sleep(_seconds: float) -> None:
        if len(tasks) <= late:
            asyncio.run_coroutine_threadsafe(come(intake), loop).result(10)

    tasks: list[asyncio.Task[Accepted]] = []
    async with _holding(buffer) as (intake, first):
        two = asyncio.gather(*(intake.submit(_request()) for _ in range(2)))
        await asyncio.sleep(0)
        monkeypatch.setattr("pipelines.ingest.time.sleep", sleep)
        buffer.gate.set()
        await asyncio.gather(first, two)
        await come(intake)
        await tasks[0]
        await asyncio.gather(*tasks)

    assert [len(batches) for batches in buffer.appends] == [1, 2, 1 + late]


@on_uvloop
async def test_a_bad_body_fails_alone() -> None:
    """An undecodable body is refused for good; its neighbours are stored."""
    async with _running(_Buffer()) as intake:
        good, bad, other = await _answers(intake, [b"ab", b"bad", b"c"])

    assert (good, other) == (Accepted(2), Accepted(1))
    assert isinstance(bad, BadRequest)


@on_uvloop
async def test_a_fault_of_ours_does_not_cost_the_neighbours() -> None:
    """A request that makes the transformation raise is answered with the error, the others of its group are stored."""
    buffer = _Buffer()
    async with _holding(buffer) as (intake, first):
        rest = asyncio.create_task(_answers(intake, [b"ab", b"crash", b"c"]))
        await asyncio.sleep(0)
        buffer.gate.set()
        await first
        good, crashed, other = await rest

    assert (good, other) == (Accepted(2), Accepted(1))
    assert isinstance(crashed, ZeroDivisionError)


@on_uvloop
async def test_what_is_too_much_together_is_done_in_parts() -> None:
    """A group that the transformation refuses is halved until it fits; everybody gets the answer to their own."""

    def three_at_most(requests: Sequence[Request]) -> tuple[list[Batch], list[Outcome]]:
        if len(requests) > 3:
            raise MemoryError
        return _transform(requests)

    buffer = _Buffer()
    async with _holding(buffer, three_at_most) as (intake, first):
        rest = asyncio.create_task(_answers(intake, [b"x" * size for size in range(1, 11)]))
        await asyncio.sleep(0)
        buffer.gate.set()
        await first

        assert await rest == [Accepted(size) for size in range(1, 11)]

    assert [len(batches) for batches in buffer.appends] == [1, 2, 3, 2, 3]


@on_uvloop
async def test_a_group_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group has no more bytes than the bound, but for one request that is larger alone."""
    monkeypatch.setattr(ingest, "_MOST_GROUP_BYTES", 10)

    buffer = _Buffer()
    async with _holding(buffer) as (intake, first):
        rest = asyncio.create_task(_answers(intake, [b"x" * size for size in (4, 6, 1, 20, 9)]))
        await asyncio.sleep(0)
        buffer.gate.set()
        await first
        await rest

    assert [sum(batch.rows for batch in batches) for batches in buffer.appends] == [1, 10, 1, 20, 9]


@on_uvloop
async def test_a_full_buffer_is_told_and_forgotten() -> None:
    """BufferFull reaches the caller and shows as the intake's problem until an append succeeds again."""
    buffer = _Buffer()
    buffer.error = BufferFull("the buffer is full")
    async with _running(buffer) as intake:
        with pytest.raises(BufferFull):
            await intake.submit(_request())

        assert intake.problem == "the buffer is full"

        buffer.error = None
        await intake.submit(_request())

        assert intake.problem == ""


def test_a_probe_finds_out_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without requests a buffer that fails becomes the intake's problem, and one that works again ends it."""
    monkeypatch.setattr(ingest, "_TRUSTED_SECONDS", 0.0)
    monkeypatch.setattr(ingest, "_DOUBTED_SECONDS", 0.0)
    buffer = _Buffer()
    intake = Intake(_transform, [], buffer)
    buffer.error = Retryable("no broker")
    intake.probe()
    assert intake.problem == "no broker"
    buffer.error = None
    intake.probe()
    assert intake.problem == ""


@on_uvloop
async def test_a_probe_believes_what_an_append_has_just_shown() -> None:
    """A buffer that refuses appends for another reason than a probe sees does not become ready between them."""
    buffer = _Buffer()
    buffer.error = Retryable("the disk is full")
    async with _running(buffer) as intake:
        with pytest.raises(Retryable):
            await intake.submit(_request())
        buffer.error = None
        intake.probe()
        assert intake.problem == "the disk is full"


@on_uvloop
async def test_a_slow_append_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the append takes longer than clients wait, the caller is told to send again."""
    monkeypatch.setattr(ingest, "APPEND_TIMEOUT_SECONDS", 0.05)

    buffer = _Buffer()
    buffer.gate.clear()
    async with _running(buffer) as intake:
        with pytest.raises(Retryable, match="send again"):
            await intake.submit(_request())


@on_uvloop
async def test_what_nobody_waits_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose caller was told to send again leaves the intake, body and all: it is neither kept nor stored."""
    monkeypatch.setattr(ingest, "APPEND_TIMEOUT_SECONDS", 0.05)

    buffer = _Buffer()
    async with _holding(buffer) as (intake, first):
        late = await _answers(intake, [b"late"] * 10)

        assert all(isinstance(answer, Retryable) for answer in late)
        assert not intake._waiting

        with pytest.raises(Retryable):
            await first
        buffer.gate.set()

    assert [len(batches) for batches in buffer.appends] == [1]


@on_uvloop
async def test_shutdown_finishes_what_was_submitted() -> None:
    """After shutdown everything submitted before is stored and answered, and nothing more is consumed."""
    buffer = _Buffer()
    buffer.gate.clear()
    intake = Intake(_transform, [], buffer)
    intake.start()
    submitted = [asyncio.create_task(intake.submit(_request())) for _ in range(20)]
    await asyncio.sleep(0)
    ending = asyncio.create_task(asyncio.to_thread(intake.shutdown))
    buffer.gate.set()
    await ending

    assert await asyncio.gather(*submitted) == [Accepted(1)] * 20
    assert sum(len(batches) for batches in buffer.appends) == 20
    with pytest.raises(Retryable, match="shutting down"):
        await intake.submit(_request())
