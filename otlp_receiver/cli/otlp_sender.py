"""Sends spans with the OpenTelemetry SDK's own exporters, and learns what really became of them.

The exporters log their failures and drop the reply, so a receiver that takes only part of a request looks like one that
took all. Here the log is caught and the reply is read.
"""

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otlp_receiver.cli.output import program

Protocol = Literal["grpc", "http/protobuf"]
DEFAULT_ENDPOINTS: Final[dict[Protocol, str]] = {
    "grpc": "http://127.0.0.1:4317",
    "http/protobuf": "http://127.0.0.1:4318",
}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TRACES_PATH: Final = "/v1/traces"
_CONNECT_SECONDS: Final = 5.0
_EXPORT_SECONDS: Final = 10.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_NO_PROXY: Any = (("grpc.enable_http_proxy", 0),)  # gRPC wants a number where the SDK's annotation says text


class SendError(Exception):
    """The spans were not taken; the text names the place, the reason and the cure."""


class OtlpSender:
    """Sends batches of spans to one OTLP endpoint; each is in the receiver for good when `send` returns.

    Args:
        endpoint: `http://host:port`, `https://host:port` or `host:port`.
        protocol: which exporter to use.

    Raises:
        SendError: the endpoint is none, or nothing listens there.
    """

    def __init__(self, endpoint: str, protocol: Protocol) -> None:
        parts = _parsed(endpoint)
        self._endpoint = endpoint
        self._replies: list[ExportTraceServiceResponse] = []
        _check_listening(parts)
        make = _grpc_exporter if protocol == "grpc" else _http_exporter
        self._exporter = make(parts, self._replies)

    def send(self, spans: Sequence[ReadableSpan]) -> None:
        """Send one request; raises SendError unless every span was accepted."""
        self._replies.clear()
        with _caught_log() as log:
            result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            said = dict.fromkeys([*log[:1], *log[-1:]])  # with retries the first line has the reason, the last the end
            raise SendError(f"{self._endpoint} did not take the spans: {' '.join(said) or 'no reason given'}")
        for reply in self._replies:
            refused = reply.partial_success.rejected_spans
            if refused:
                raise SendError(f"{self._endpoint} refused {refused} spans: {reply.partial_success.error_message}")

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()


def _parsed(endpoint: str) -> SplitResult:
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if port_is_valid and parts.scheme in _DEFAULT_PORTS and parts.hostname:
        return parts
    raise SendError(f"{endpoint!r} is no OTLP endpoint; expected one such as http://127.0.0.1:4317")


def _check_listening(parts: SplitResult) -> None:
    """The exporters try for ten seconds where nobody listens."""
    address = (parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])
    try:
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError as error:
        raise SendError(
            f"no receiver listens at {parts.netloc} ({error.strerror or error}); start it with `{program()} run`, "
            "or say where it is with --endpoint"
        ) from None


def _grpc_exporter(parts: SplitResult, replies: list[ExportTraceServiceResponse]) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    class Exporter(OTLPSpanExporter):
        """Keeps what the receiver answers; called again by the SDK whenever it connects anew."""

        def _initialize_channel_and_stub(self) -> None:
            super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]  # the SDK left it without annotations
            self._client = _RememberingStub(self._client, replies)  # type: ignore[assignment]  # the one method it needs

    return Exporter(
        endpoint=f"{parts.scheme}://{parts.netloc}",
        insecure=parts.scheme == "http",
        timeout=_EXPORT_SECONDS,
        channel_options=_NO_PROXY if parts.hostname in _LOOPBACK else None,
    )


class _RememberingStub:
    """The service's stub, with a memory for its replies."""

    def __init__(self, stub: Any, replies: list[ExportTraceServiceResponse]) -> None:
        self._stub = stub
        self._replies = replies

    def Export(self, *args: Any, **named: Any) -> ExportTraceServiceResponse:  # noqa: N802 - the name in trace_service.proto
        reply: ExportTraceServiceResponse = self._stub.Export(*args, **named)
        self._replies.append(reply)
        return reply


def _http_exporter(parts: SplitResult, replies: list[ExportTraceServiceResponse]) -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def remember(response: requests.Response, *_: Any, **__: Any) -> None:
        if response.ok:
            replies.append(ExportTraceServiceResponse.FromString(response.content))

    session = requests.Session()
    session.trust_env = parts.hostname not in _LOOPBACK  # the environment's proxies are not for the own machine
    session.hooks["response"].append(remember)
    path = parts.path if parts.path.strip("/") else _TRACES_PATH
    return OTLPSpanExporter(f"{parts.scheme}://{parts.netloc}{path}", session=session, timeout=_EXPORT_SECONDS)


@contextmanager
def _caught_log() -> Iterator[list[str]]:
    """What the exporters say while the block runs, instead of on standard error."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # a handler of one line
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
