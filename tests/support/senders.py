"""Clients of the running service that send bytes as given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import requests

from tests.support.service import Service

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
TRACES: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_SECONDS: Final = 60
_METHODS: Final = {
    "traces": TRACES,
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}

Call = Callable[..., bytes]


def post(
    service: Service, body: bytes, *, path: str = "/v1/traces", content_type: str = PROTOBUF, encoding: str = ""
) -> requests.Response:
    """The answer to one request over HTTP."""
    headers = {"Content-Type": content_type, **({"Content-Encoding": encoding} if encoding else {})}
    return requests.post(service.url("http") + path, data=body, headers=headers, timeout=_SECONDS)


@contextmanager
def grpc_calls(service: Service, signal: str = "traces") -> Iterator[Call]:
    """A function that sends one message over gRPC and returns the answer's bytes; raises grpc.RpcError."""
    with grpc.insecure_channel(f"127.0.0.1:{service.ports['grpc']}") as channel:
        method: Any = channel.unary_unary(_METHODS[signal])
        yield lambda body: method(body, timeout=_SECONDS)
