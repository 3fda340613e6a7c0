"""Independent clients: the standard library's HTTP, grpcio, and the exporters of the OTel SDK."""

import http.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanContext

from otlp_receiver.service import Transport
from pipelines.ingest import Encoding
from tests.conformance.front_door import FrontDoor
from tests.support.http_client import status_in
from tests.support.otlp import Export
from tests.support.receivers import EXPORT_METHODS

TYPES: Final[dict[Encoding, str]] = {"protobuf": "application/x-protobuf", "json": "application/json"}
TRACES: Final = EXPORT_METHODS["traces"]
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer as it came."""

    code: int
    headers: "http.client.HTTPMessage"
    content: bytes

    @property
    def content_type(self) -> str | None:
        return self.headers["Content-Type"]

    @property
    def status(self) -> Status:
        """The google.rpc.Status in the body."""
        return status_in(self.content, str(self.content_type))


def over_http(
    door: FrontDoor, body: Any, *, method: str = "POST", path: str = "/v1/traces", **headers: str
) -> HttpAnswer:
    """One request; header names with underscores for dashes. A body that is an iterable goes out in chunks."""
    connection = http.client.HTTPConnection(door.endpoints["http"], timeout=_SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return HttpAnswer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """An answer as it came; `content` is empty unless the code is OK, `status` is what the trailers say beside it."""

    code: grpc.StatusCode
    message: str
    content: bytes
    status: Status | None


def over_grpc(
    door: FrontDoor, body: bytes, *, method: str = TRACES, compression: grpc.Compression | None = None
) -> GrpcAnswer:
    """One call."""
    with grpc.insecure_channel(door.endpoints["grpc"], [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_unary(method)
        try:
            return GrpcAnswer(grpc.StatusCode.OK, "", call(body, timeout=_SECONDS, compression=compression), None)
        except grpc.RpcError as error:
            details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
            status = None if details is None else Status.FromString(details)
            return GrpcAnswer(error.code(), error.details() or "", b"", status)


def retry_seconds(status: Status | None) -> float | None:
    """What RetryInfo asks for, None without it."""
    for detail in status.details if status is not None else ():
        retry_info = RetryInfo()
        if detail.Unpack(retry_info):
            return float(retry_info.retry_delay.ToTimedelta().total_seconds())
    return None


def response_in(kind: Any, content: bytes, encoding: Encoding) -> Any:
    """An export response of this class, read strictly."""
    return kind.FromString(content) if encoding == "protobuf" else json_format.Parse(content, kind())


def sdk_exporter(door: FrontDoor, transport: Transport) -> SpanExporter:
    """The exporter of the SDK, as it comes."""
    if transport == "grpc":
        return GrpcExporter(door.endpoints["grpc"], insecure=True)
    return HttpExporter(f"http://{door.endpoints['http']}/v1/traces")


def sdk_spans(export: Export) -> Sequence[ReadableSpan]:
    """A request's spans as the SDK holds them."""
    return [
        ReadableSpan(
            each.name,
            SpanContext(int(each.trace_id, 16), int(each.span_id, 16), is_remote=False),
            resource=Resource(dict(resource.attributes)),
            attributes=dict(each.attributes),
            start_time=each.start_ns,
            end_time=each.end_ns,
        )
        for resource in export
        for scope in resource.scopes
        for each in scope.spans
    ]
