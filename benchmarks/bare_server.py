"""The least that a server of each transport does with a request: `python -m benchmarks.bare_server grpc`.

The same libraries and the same event loop as the service's, and an empty answer to every body. Prints its port.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import uvloop
from aiohttp import web

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_HOST: Final = "127.0.0.1"


@contextmanager
def bare_server(transport: str) -> Iterator[str]:
    """Its endpoint, while it runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bare_server", transport]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"{_HOST}:{int(process.stdout.readline())}"
        finally:
            process.terminate()


async def _grpc() -> int:
    async def export(_: AsyncIterator[bytes], context: Any) -> bytes:
        await context.read()
        return b""

    server = grpc.aio.server()
    methods = {"Export": grpc.stream_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, methods)])
    port = server.add_insecure_port(f"{_HOST}:0")
    await server.start()
    _KEPT.append(server)
    return int(port)


async def _http() -> int:
    async def respond(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response()

    server = await asyncio.get_running_loop().create_server(web.Server(respond), _HOST, 0)
    return int(server.sockets[0].getsockname()[1])


_KEPT: Final[list[Any]] = []
"""gRPC stops a server that nobody refers to."""


async def _serve(transport: str) -> None:
    print(await (_grpc() if transport == "grpc" else _http()), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
