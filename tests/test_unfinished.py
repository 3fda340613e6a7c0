"""gRPC messages that have begun to arrive: how many may go on, and that none is lost."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from otlp_receiver.replies import MEMORY_FULL, Refused
from otlp_receiver.unfinished import Unfinished
from tests.support.receivers import MIB, on_uvloop, until


class Call:
    """A gRPC call whose message becomes whole when the test says so."""

    def __init__(self) -> None:
        self.message: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.reads = 0

    async def read(self) -> bytes:
        self.reads += 1
        return await self.message


class Process:
    """Memory as the test says."""

    def __init__(self) -> None:
        self.resident_bytes = 100 * MIB

    def memory(self) -> int:
        return self.resident_bytes


async def begun(unfinished: Unfinished, count: int) -> tuple[list[Call], list["asyncio.Task[Any]"]]:
    """Reads that go on."""
    calls = [Call() for _ in range(count)]
    tasks = [asyncio.create_task(_as_coroutine(unfinished.read(call))) for call in calls]
    await until(lambda: all(call.reads for call in calls))
    return calls, tasks


async def _as_coroutine(reading: Coroutine[Any, Any, Any]) -> Any:
    return await reading


@on_uvloop
async def test_messages_come_through() -> None:
    """While the process is small any number of messages may be on their way."""
    unfinished = Unfinished(4 * MIB, MIB, Process().memory)
    calls, tasks = await begun(unfinished, 100)
    for number, call in enumerate(calls):
        call.message.set_result(b"%d" % number)

    assert await asyncio.gather(*tasks) == [b"%d" % number for number in range(100)]


@on_uvloop
async def test_the_oldest_go_on_when_memory_is_short() -> None:
    """When the process has grown by twice the limit, as many go on as fit into it, and no other begins."""
    process = Process()
    unfinished = Unfinished(4 * MIB, MIB, process.memory)
    calls, tasks = await begun(unfinished, 10)
    process.resident_bytes += 8 * MIB + 1

    refused = await asyncio.gather(*tasks[4:], return_exceptions=True)
    assert [getattr(error, "situation", None) for error in refused] == [MEMORY_FULL] * 6
    with pytest.raises(Refused):
        await unfinished.read(Call())

    for call in calls[:4]:
        call.message.set_result(b"whole")
    assert await asyncio.gather(*tasks[:4]) == [b"whole"] * 4


@on_uvloop
async def test_a_few_always_go_on() -> None:
    """However large the process is, reads up to the limit begin, and one where the limit is below a message."""
    process = Process()
    few, one = Unfinished(4 * MIB, MIB, process.memory), Unfinished(MIB, 4 * MIB, process.memory)
    process.resident_bytes *= 100
    for unfinished, always in ((few, 4), (one, 1)):
        calls, tasks = await begun(unfinished, always)
        with pytest.raises(Refused):
            await unfinished.read(Call())
        for call in calls:
            call.message.set_result(b"whole")
        assert await asyncio.gather(*tasks) == [b"whole"] * always


@on_uvloop
async def test_a_cancelled_read_goes_on_in_grpc() -> None:
    """The read of gRPC itself is never cancelled, for its memory would be lost with it; its place is free at once."""
    process = Process()
    unfinished = Unfinished(MIB, MIB, process.memory)
    (call,), (task,) = await begun(unfinished, 1)
    process.resident_bytes *= 100
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not call.message.cancelled()
    (other,), (next_task,) = await begun(unfinished, 1)
    call.message.set_result(b"nobody waits for it")
    other.message.set_result(b"whole")
    assert await next_task == b"whole"


@on_uvloop
async def test_errors_come_through() -> None:
    """What the read raises its caller gets."""
    (call,), (task,) = await begun(Unfinished(MIB, MIB, Process().memory), 1)
    call.message.set_exception(ConnectionError("gone"))

    with pytest.raises(ConnectionError, match="gone"):
        await task
