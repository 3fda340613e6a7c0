"""A load generator in a process of its own: `python -m benchmarks.load` with one JSON object on standard input.

Prints one JSON object: requests and spans acknowledged, seconds, and latencies. It keeps `connections` requests in
flight, as fast as they are answered, or at `rate` requests per second.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import grpc
import uvloop

from benchmarks.fresh_ids import FreshIds
from benchmarks.payloads import Generator

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TEMPLATES: Final = 8
_STREAMS_PER_CHANNEL: Final = 16


@dataclass(frozen=True)
class Job:
    """What to send: `transport` is "grpc" or "http", `endpoint` host:port; `rate` 0 = as fast as answered.

    `secrets` are shown in turn, one with each request; without them none is.
    """

    transport: str
    endpoint: str
    shape: str
    spans: int
    connections: int
    seconds: float
    seed: int = 1
    rate: float = 0.0
    secrets: Sequence[str] = ()


@dataclass
class Result:
    """What came of it; a refused request is sent again, as SDKs do, and counted."""

    acknowledged_requests: int = 0
    acknowledged_spans: int = 0
    body_bytes: int = 0
    refused_requests: int = 0
    seconds: float = 0.0
    latencies_seconds: list[float] = field(default_factory=list)


class _Http:
    """One keep-alive connection, the least that HTTP/1.1 allows: the generator must not be what is measured."""

    def __init__(self, endpoint: str) -> None:
        self._host, _, port = endpoint.rpartition(":")
        self._port = int(port)
        self._streams: Any = None

    async def send(self, body: bytes, secret: str) -> bool:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        key = b"Authorization: Bearer %b\r\n" % secret.encode() if secret else b""
        writer.write(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n%b"
            b"Content-Length: %d\r\n\r\n" % (key, len(body)) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        return bool(head.startswith(b"HTTP/1.1 200"))


class _Grpc:
    """One channel of its own, so that several connections are spread over the processes that share the port."""

    def __init__(self, endpoint: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self._export = grpc.aio.insecure_channel(endpoint, options).unary_unary(_METHOD)

    async def send(self, body: bytes, secret: str) -> bool:
        try:
            await self._export(body, metadata=(("authorization", f"Bearer {secret}"),) if secret else None)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True


async def _sender(
    job: Job,
    client: "_Http | _Grpc",
    templates: list[FreshIds],
    secrets: Iterator[str],
    *,
    until: float,
    result: Result,
    place: int,
) -> None:
    number = place
    pause_seconds = job.connections / job.rate if job.rate else 0.0
    due = time.perf_counter() + pause_seconds * place / job.connections  # evenly spread, not in volleys
    while time.perf_counter() < until:
        body, secret = templates[number % len(templates)].next(), next(secrets)
        number += 1
        if pause_seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += pause_seconds
        began = time.perf_counter()
        while not await client.send(body, secret):
            result.refused_requests += 1
            await asyncio.sleep(0.05)
        result.latencies_seconds.append(time.perf_counter() - began)
        result.acknowledged_requests += 1
        result.body_bytes += len(body)


def _clients(job: Job) -> "list[_Http | _Grpc]":
    """HTTP/1.1 needs a connection for every request in flight; gRPC carries many on one."""
    if job.transport == "http":
        return [_Http(job.endpoint) for _ in range(job.connections)]
    channels = [_Grpc(job.endpoint) for _ in range(max(1, job.connections // _STREAMS_PER_CHANNEL))]
    return [channels[number % len(channels)] for number in range(job.connections)]


async def run(job: Job) -> Result:
    """Send until the time is up."""
    generator = Generator(job.seed)
    kinds = _TEMPLATES if job.spans > 1 else _TEMPLATES * 16
    templates = [FreshIds(generator.request(job.shape, job.spans), number) for number in range(kinds)]
    result = Result()
    clients, secrets = _clients(job), itertools.cycle(job.secrets or [""])
    began = time.perf_counter()
    until = began + job.seconds
    senders = (
        _sender(job, client, templates, secrets, until=until, result=result, place=place)
        for place, client in enumerate(clients)
    )
    await asyncio.gather(*senders)
    result.seconds = time.perf_counter() - began
    result.acknowledged_spans = result.acknowledged_requests * job.spans
    return result


if __name__ == "__main__":
    outcome = asdict(uvloop.run(run(Job(**json.load(sys.stdin)))))
    # Buffered whatever PYTHONUNBUFFERED says: an unbuffered stream drops what a pipe does not take at once.
    with open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as output:
        json.dump(outcome, output)
