"""The bound on the memory of an ingest process (docs/operations.md), against the real service and hostile senders."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from functools import partial
from typing import Final

import grpc
import pytest

from tests.support.hostile import (
    MIB,
    all_at_once,
    allow_files,
    bomb,
    call,
    dense,
    field,
    head,
    held,
    large_span,
    post,
    send_without_reading,
)
from tests.support.http2 import headers_frame, message_start, preface
from tests.support.memory import Memory
from tests.support.otlp import export, span, to_protobuf
from tests.support.reporting import Report
from tests.support.senders import TRACES, grpc_calls
from tests.support.senders import post as post_honestly
from tests.support.service import Service, service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the high-water mark from /proc")

MAX_INFLIGHT_MIB: Final = 256
"""The default."""
BOUND_BYTES: Final = (200 + 3 * MAX_INFLIGHT_MIB + 768) * MIB
"""The formula of docs/operations.md, "Memory"."""
IDLE_BYTES: Final = 120_000_000
"""Measured: 96 MB, a third of it pages of libraries."""
BACK_BYTES: Final = 128 * MIB
"""What may be left above the start when a peak is over."""
RETRIED: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""What clients send again; CANCELLED is gRPC's own answer when thousands of calls wait to be begun with."""
SECONDS: Final = 120
BODY: Final = to_protobuf(export(span()))

Bounded = Callable[[str], AbstractContextManager[Counter[str]]]


@pytest.fixture(scope="module")
def attacked() -> Iterator[Service]:
    """A service of this file alone, warmed up."""
    allow_files(20_000)
    with service() as started:
        started.start()
        answer_honest_requests(started)
        yield started
        assert started.stop() == 0, started.log()


def answer_honest_requests(running: Service) -> None:
    """Both transports take a request, at the latest when what was begun is done."""
    wait_until(lambda: post_honestly(running, BODY).status_code == 200, SECONDS)
    with grpc_calls(running) as honest:
        wait_until(lambda: _is_taken(honest), SECONDS)


def _is_taken(honest: Callable[..., bytes]) -> bool:
    try:
        return honest(BODY) == b""
    except grpc.RpcError as error:
        assert error.code() in RETRIED, error  # noqa: PT017 - the call may also succeed
        return False


@pytest.fixture
def bounded(attacked: Service, report: Report) -> Bounded:
    """Holds the bound around an attack that is told what it is."""
    return partial(_bounded, attacked, report)


@contextmanager
def _bounded(running: Service, report: Report, what: str) -> Iterator[Counter[str]]:
    """Holds the bound, and that the service is well again after it; reports the figures."""
    process = running.child("ingest")
    assert process is not None
    memory, answers, began = Memory(process), Counter[str](), time.monotonic()
    yield answers
    seconds = time.monotonic() - began
    answer_honest_requests(running)
    peak_bytes = memory.peak_bytes()
    wait_until(lambda: memory.now_bytes() < memory.before_bytes + BACK_BYTES, 30)
    report(
        f"{what}: {sum(answers.values())} sent in {seconds:.1f} s, answers {dict(answers)}; RSS in MiB: "
        f"{memory.before_bytes // MIB} before, {peak_bytes // MIB} at the peak of {BOUND_BYTES // MIB} allowed, "
        f"{memory.now_bytes() // MIB} after"
    )
    assert peak_bytes < BOUND_BYTES
    assert running.child("ingest") == process, "the process was replaced"


def attack(*calls: Awaitable[str]) -> Counter[str]:
    """The answers to all of them at once."""
    return asyncio.run(asyncio.wait_for(all_at_once(calls), SECONDS))


def test_idle() -> None:
    """A process that has just started has loaded what it serves with, and little else."""
    with service() as started:
        started.start()
        process = started.child("ingest")
        assert process is not None
        resident_bytes = process.memory_info().rss
        assert started.stop() == 0, started.log()

    assert resident_bytes < IDLE_BYTES


# --- much at once ----------------------------------------------------------------------------------------------------


def test_large_http_requests(attacked: Service, bounded: Bounded) -> None:
    """Of 200 requests of 64 MiB, chunked or not, some are taken; the others are told to come back."""
    port = attacked.ports["http"]
    with bounded("200 HTTP requests of 64 MiB") as answers:
        heads = [head(64 * MIB), head(None)] * 100
        answers.update(attack(*(post(port, large_span(64), each) for each in heads)))

    assert set(answers) <= {"200", "503"}
    assert answers["200"] >= 1


def test_large_grpc_messages(attacked: Service, bounded: Bounded) -> None:
    """Of 200 messages of 64 MiB some are taken; the others are told to come back, however far they have come."""
    port = attacked.ports["grpc"]
    with bounded("200 gRPC messages of 64 MiB") as answers:
        answers.update(attack(*(call(port, large_span(64), 64 * MIB) for _ in range(200))))

    assert set(answers) <= {"grpc 0", "grpc 14"}
    assert answers["grpc 0"] >= 1


def test_http_bombs(attacked: Service, bounded: Bounded) -> None:
    """90 bodies of 1 MiB that become 1 GiB are too large, or come when others have the room."""
    port = attacked.ports["http"]
    with bounded("90 HTTP bombs") as answers:
        requests = [
            post(port, [bomb(coding)], head(len(bomb(coding)), coding=coding))
            for coding in ("gzip", "deflate", "zstd") * 30
        ]
        answers.update(attack(*requests))

    assert set(answers) <= {"413", "503"}
    assert answers["413"] >= 1


def test_grpc_bombs(attacked: Service, bounded: Bounded) -> None:
    """The same over gRPC, which has no zstd."""
    port = attacked.ports["grpc"]
    with bounded("60 gRPC bombs") as answers:
        calls = [call(port, [bomb(coding)], len(bomb(coding)), coding) for coding in ("gzip", "deflate") * 30]
        answers.update(attack(*calls))

    assert set(answers) <= {"grpc 8", "grpc 14"}
    assert answers["grpc 8"] >= 1


@pytest.mark.parametrize(
    ("part", "json"),
    [(b"\x0a\x00", False), (b"{},", True), pytest.param(b"[],", True, marks=pytest.mark.nightly)],
    ids=["empty messages", "empty objects", "empty arrays"],
)
def test_dense_bodies(attacked: Service, bounded: Bounded, part: bytes, json: bool) -> None:  # noqa: FBT001 - a parameter
    """Bodies of nothing but tiny parts, many times their size when parsed, are refused for good."""
    body = (b'{"resourceSpans":[', *dense(part, 60), b"{}]}") if json else dense(part, 60)
    size_bytes = sum(map(len, body))
    with bounded(f"4 bodies of 60 MiB of {part!r}") as answers:
        port = attacked.ports["http"]
        answers.update(attack(*(post(port, body, head(size_bytes, json=json)) for _ in range(4))))

    assert set(answers) <= {"400", "503"}
    assert answers["400"] >= 1


def test_dense_attribute(attacked: Service, bounded: Bounded) -> None:
    """JSON of nothing but tiny values inside one attribute is kept as the text that it is."""
    text = b"[" + b"{}," * (10 * MIB) + b"{}]"
    value = field(9, field(1, b"gen_ai.input.messages") + field(2, field(1, text)))
    body = field(1, field(2, field(2, field(1, b"t" * 16) + field(2, b"s" * 8) + value)))
    with bounded("3 attributes of 30 MiB of empty objects") as answers:
        answers.update(attack(*(post(attacked.ports["http"], [body], head(len(body))) for _ in range(3))))

    assert set(answers) <= {"200", "503"}


@pytest.mark.nightly
def test_many_dense_bodies_together(attacked: Service, bounded: Bounded) -> None:
    """Requests that are each below the limit are not taken into one group when together they are above it."""
    body = field(1, field(2, field(2, field(1, b"t" * 16) + field(2, b"s" * 8) + b"\x4a\x00" * 300_000)))
    with bounded("12 bodies of 300,000 attributes") as answers:
        answers.update(attack(*(post(attacked.ports["http"], [body], head(len(body))) for _ in range(12))))

    assert set(answers) <= {"200", "503"}


@pytest.mark.nightly
def test_everything_at_once(attacked: Service, bounded: Bounded) -> None:
    """The bound holds for all of it together, with bodies among it that are slow to read and large when read."""
    http_port, grpc_port = attacked.ports["http"], attacked.ports["grpc"]
    text = [b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"', b"31" * 16, b'","spanId":"', b"32" * 8,
            b'","name":"\\ud800', "\U0001f600".encode(), *dense(b"x", 50), b'"}]}]}]}']  # fmt: skip
    with bounded("gRPC messages, bombs and JSON that needs repair") as answers:
        calls = [
            *(call(grpc_port, large_span(64), 64 * MIB) for _ in range(150)),
            *(call(grpc_port, [bomb("gzip")], len(bomb("gzip")), "gzip") for _ in range(20)),
            *(post(http_port, [bomb(each)], head(len(bomb(each)), coding=each)) for each in ("gzip", "zstd") * 15),
            *(post(http_port, text, head(sum(map(len, text)), json=True)) for _ in range(6)),
        ]
        answers.update(attack(*calls))

    assert set(answers) <= {"200", "413", "503", "grpc 0", "grpc 8", "grpc 14"}


# --- slow, idle and deaf ---------------------------------------------------------------------------------------------


def test_idle_connections(attacked: Service, bounded: Bounded) -> None:
    """10,000 connections that say nothing, half of them gRPC, cost some KiB each, and keep nobody out."""
    half = 5_000

    async def idle() -> None:
        async with held(attacked.ports["http"], half, b""), held(attacked.ports["grpc"], half, preface()):
            await asyncio.to_thread(answer_honest_requests, attacked)

    with bounded("10,000 idle connections") as answers:
        asyncio.run(asyncio.wait_for(idle(), SECONDS))
        answers["none"] = 2 * half


def test_slow_senders(attacked: Service, bounded: Bounded) -> None:
    """300 senders that have begun a header, a body or a message and go on byte by byte keep nobody out."""
    beginnings = {
        "http": (head(1000)[:-2], head(MIB) + b"\x0a"),
        "grpc": (preface() + headers_frame(TRACES) + message_start(MIB),),
    }

    async def slow() -> None:
        async with AsyncExitStack() as stack:
            for transport, all_of_them in beginnings.items():
                for beginning in all_of_them:
                    await stack.enter_async_context(held(attacked.ports[transport], 100, beginning))
            await asyncio.to_thread(answer_honest_requests, attacked)
            assert await call(attacked.ports["grpc"], large_span(8), 8 * MIB) == "grpc 0"
            assert await post(attacked.ports["http"], large_span(8), head(8 * MIB)) == "200"

    with bounded("300 slow senders") as answers:
        asyncio.run(asyncio.wait_for(slow(), SECONDS))
        answers["none"] = 300


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_replies_that_nobody_reads(attacked: Service, bounded: Bounded, transport: str) -> None:
    """Senders of request after request that never read a reply are not read from any more, before memory fills."""
    request = (head(len(BODY)) + BODY) * 100
    calls = preface() + b"".join(
        headers_frame(TRACES, stream=stream) + message_start(0, stream=stream, end=True) for stream in range(1, 2001, 2)
    )

    async def deaf() -> list[int]:
        data = request if transport == "http" else calls
        port = attacked.ports[transport]
        return await asyncio.gather(*(send_without_reading(port, data, seconds=5) for _ in range(20)))

    with bounded(f"20 {transport} senders that read no reply") as answers:
        sent_bytes = sum(asyncio.run(asyncio.wait_for(deaf(), SECONDS)))
        answers["unread"] = sent_bytes // len(request if transport == "http" else calls)
