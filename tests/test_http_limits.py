"""OTLP/HTTP on real sockets: sizes, memory, and senders that are slow or vanish."""

import asyncio
import gzip
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

from otlp_receiver import service
from otlp_receiver.admission import LEAST_LEASE_BYTES, Admission
from tests.support.hostile import bomb
from tests.support.http_client import BODY, head, post, raw
from tests.support.receivers import MIB, RememberingIntake, http_server, on_uvloop, requests_counted, until

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# --- sizes -----------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_too_large_by_its_length() -> None:
    """An announced size above the limit is refused before the body is sent; peer, size and limit are logged."""
    with capture_logs() as logs:
        async with http_server(RememberingIntake(), max_mib=1) as server, raw(server) as client:
            await client.send(head(MIB + 1))
            status, _, body = await client.response()

    assert (status, Status.FromString(body).code) == (413, 8)
    assert not Status.FromString(body).details
    assert logs[0]["peer"] == "127.0.0.1"
    assert (logs[0]["size_bytes"], logs[0]["limit_bytes"]) == (MIB + 1, MIB)


@on_uvloop
async def test_too_large_without_a_length() -> None:
    """A chunked body is refused as soon as it has passed the limit, however much more would come."""
    async with http_server(RememberingIntake(), max_mib=1) as server, raw(server) as client:
        await client.send(head(None))
        for _ in range(17):
            await client.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        status, _, body = await client.response()

    assert (status, Status.FromString(body).code) == (413, 8)


@on_uvloop
async def test_too_large_although_nothing_comes_out() -> None:
    """A stream of empty blocks counts as it arrives: it could go on for ever."""
    empty_block = b"\x00\x00\x00\xff\xff"

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield empty_block * 13_107

    async with (
        http_server(RememberingIntake(), max_mib=1) as server,
        post(server, chunks(), Content_Encoding="deflate") as response,
    ):
        assert response.status == 413


def one_member_bomb() -> bytes:
    """128 MiB of zeros in one gzip member of 128 KiB."""
    return gzip.compress(bytes(128 * MIB))


def many_member_bomb() -> bytes:
    """1 GiB of zeros in 64 gzip members, 1 MiB in all."""
    return gzip.compress(bytes(16 * MIB)) * 64


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [
        ("gzip", one_member_bomb()),
        ("gzip", many_member_bomb()),
        ("deflate", zlib.compress(bytes(128 * MIB))),
        ("zstd", bomb("zstd")),
    ],
    ids=["gzip", "gzip members", "deflate", "zstd"],
)
@on_uvloop
async def test_decompression_bomb(coding: str, bomb: bytes) -> None:
    """A bomb costs little more memory than the limit, and the next request is served."""
    intake = RememberingIntake()
    async with http_server(intake, max_mib=4) as server:
        tracemalloc.start()
        async with post(server, bomb, Content_Encoding=coding) as response:
            answer = Status.FromString(await response.read())
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        async with post(server, BODY) as other:
            assert other.status == 200

    assert (response.status, answer.code) == (413, 8)
    assert peak_bytes < 16 * MIB
    assert len(intake.consumed) == 1


@on_uvloop
async def test_zstd() -> None:
    """Bodies in zstd arrive as they were, up to the size limit."""
    intake = RememberingIntake()
    body = bytes(range(256)) * (4 * MIB // 256)
    async with http_server(intake, max_mib=4) as server:
        async with post(server, zstd.compress(body), Content_Encoding="zstd") as response:
            assert response.status == 200
        async with post(server, zstd.compress(body + b"x"), Content_Encoding="zstd") as response:
            assert response.status == 413

    assert [request.body for request in intake.consumed] == [body]


# --- admission, slow and vanishing senders ---------------------------------------------------------------------------


@on_uvloop
async def test_memory_full() -> None:
    """Without room a request is refused at once, before its body, and taken when there is room again."""
    intake = RememberingIntake()
    admission = Admission(2 * MIB)
    intake.gate.clear()
    async with http_server(intake, admission=admission) as server:
        first = asyncio.create_task(post(server, bytes(MIB)).__aenter__())
        await intake.arrived.wait()
        async with raw(server) as client:
            await client.send(head(MIB + LEAST_LEASE_BYTES))
            status, headers, body = await client.response()
        assert (status, headers["retry-after"], Status.FromString(body).code) == (503, "1", 14)

        intake.gate.set()
        assert (await first).status == 200
        async with post(server, bytes(MIB + LEAST_LEASE_BYTES)) as again:
            assert again.status == 200

    assert admission.held_bytes == 0
    assert len(intake.consumed) == 2


@on_uvloop
async def test_memory_full_while_a_body_arrives() -> None:
    """Bodies without a length, and what comes out of compressed ones, are admitted as they arrive."""
    admission = Admission(2 * MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield bytes(65536)

    async with http_server(RememberingIntake(), admission=admission) as server:
        with admission.lease() as other:
            other.hold(MIB)
            async with post(server, gzip.compress(bytes(MIB + 1)), Content_Encoding="gzip") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
            async with post(server, chunks()) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
        async with post(server, gzip.compress(bytes(MIB + 1)), Content_Encoding="gzip") as response:
            assert response.status == 200

    assert admission.held_bytes == 0


@on_uvloop
async def test_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive in time gives its place back; the sender may try again."""
    monkeypatch.setattr(service, "_BODY_TIMEOUT_SECONDS", 0.05)
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    async with http_server(intake, admission=admission) as server, raw(server) as client:
        await client.send(head(1000) + b"only this")
        status, headers, body = await client.response()

        assert (status, headers["retry-after"], Status.FromString(body).code) == (503, "1", 14)
        assert admission.held_bytes == 0
    assert not intake.consumed


@on_uvloop
async def test_sender_hangs_up_before_the_end() -> None:
    """Half a body is never taken in, and its place is given back."""
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    counted = requests_counted("http", "traces", "sender_gone")
    async with http_server(intake, admission=admission) as server:
        async with raw(server) as client:
            await client.send(head(1000) + BODY)
            await until(lambda: admission.held_bytes > 0)
        await until(lambda: admission.held_bytes == 0)
        await until(lambda: requests_counted("http", "traces", "sender_gone") == counted + 1)

    assert not intake.consumed


@on_uvloop
async def test_sender_hangs_up_before_the_reply() -> None:
    """What the intake has begun ends as if the sender were there, and the bytes stay counted until then."""
    intake, admission = RememberingIntake(), Admission(2 * MIB)
    intake.gate.clear()
    async with http_server(intake, admission=admission) as server:
        async with raw(server) as client:
            await client.send(head(len(BODY)) + BODY)
            await intake.arrived.wait()
        assert admission.held_bytes > 0
        intake.gate.set()
        await until(lambda: admission.held_bytes == 0)

    assert len(intake.consumed) == 1
