"""Which paths, methods and services there are, and how the three signals are answered."""

from typing import Any, Final, Literal

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from otlp_receiver.replies import Signal
from pipelines.ingest import Encoding
from tests.conformance.clients import TYPES, over_grpc, over_http, response_in
from tests.conformance.front_door import FrontDoor
from tests.support.http_client import BODY
from tests.support.other_signals import METRIC_KINDS, logs_request, metrics_request
from tests.support.receivers import EXPORT_METHODS

_PROTOBUF, _JSON = TYPES["protobuf"], TYPES["json"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/traces",
        "/v1/traces?tenant=1",
        "/api/public/otel/v1/traces",
        "/api/public/otel",
        "/otel/v1/traces",
        "/api/otel/v1/traces",
    ],
)
def test_paths_of_traces(door: FrontDoor, path: str) -> None:
    """Every path that some client uses for traces takes them; a query does not matter."""
    stored = len(door.buffer.observations)
    answer = over_http(door, BODY, path=path, Content_Type=_PROTOBUF)
    assert (answer.code, answer.content) == (200, b"")
    assert len(door.buffer.observations) > stored


_ODD_REQUESTS: Final = [
    ("POST /", _PROTOBUF, "", 404),
    ("POST /v1/profiles", _JSON, "", 404),
    ("POST /v1/traces/", _JSON, "", 404),
    ("GET /favicon.ico", "", "", 404),
    ("GET /v1/traces", "", "", 405),
    ("PUT /v1/logs", _PROTOBUF, "", 405),
    ("DELETE /v1/metrics", _JSON, "", 405),
    ("POST /v1/traces", "text/plain", "", 415),
    ("POST /v1/traces", "", "", 415),
    ("POST /v1/logs", "application/grpc", "", 415),
    ("POST /v1/traces", _PROTOBUF, "br", 415),
    ("POST /v1/metrics", _JSON, "gzip, gzip", 415),
]
_CODES: Final = {
    404: grpc.StatusCode.UNIMPLEMENTED,
    405: grpc.StatusCode.UNIMPLEMENTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
}


@pytest.mark.parametrize(("request_line", "content_type", "coding", "code"), _ODD_REQUESTS)
def test_requests_that_are_not_served(
    door: FrontDoor, request_line: str, content_type: str, coding: str, code: int
) -> None:
    """404, 405 and 415 are google.rpc.Status too, in the request's type, or in JSON where it has no known one."""
    method, path = request_line.split()
    headers = {"Content_Type": content_type, "Content_Encoding": coding}
    answer = over_http(
        door, b"x", method=method, path=path, **{name: value for name, value in headers.items() if value}
    )
    assert (answer.code, answer.content_type) == (code, content_type if content_type in TYPES.values() else _JSON)
    assert answer.status.code == _CODES[code].value[0]
    assert answer.status.message
    assert answer.headers["Allow"] == ("POST" if code == 405 else None)
    assert answer.headers["Retry-After"] is None


@pytest.mark.parametrize(
    "method",
    [
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/no.Service/Export",
    ],
)
def test_methods_that_are_not_served(door: FrontDoor, method: str) -> None:
    """Over gRPC what is not served is UNIMPLEMENTED."""
    assert over_grpc(door, BODY, method=method).code is grpc.StatusCode.UNIMPLEMENTED


_RESPONSES: Final[dict[Signal, Any]] = {"logs": ExportLogsServiceResponse, "metrics": ExportMetricsServiceResponse}
_SIGNALS: Final[list[tuple[Signal, Any, dict[str, str]]]] = [
    ("logs", logs_request([[2, 1]]), {"rejectedLogRecords": "3", "errorMessage": "3 log records were not stored"}),
    ("logs", logs_request([]), {}),
    ("metrics", metrics_request(2), {"errorMessage": f"{2 * len(METRIC_KINDS)} metric"}),
    ("metrics", metrics_request(0), {}),
]


@pytest.mark.parametrize("how", ["grpc", "protobuf", "json"])
@pytest.mark.parametrize(("signal", "sent", "expected"), _SIGNALS)
def test_logs_and_metrics(
    door: FrontDoor, signal: Signal, sent: Any, expected: dict[str, str], how: Encoding | Literal["grpc"]
) -> None:
    """Log records are rejected by number, metric points warned about without one; nothing is said about nothing."""
    if how == "grpc":
        content = over_grpc(door, sent.SerializeToString(), method=EXPORT_METHODS[signal]).content
    else:
        body = json_format.MessageToJson(sent).encode() if how == "json" else sent.SerializeToString()
        reply = over_http(door, body, path=f"/v1/{signal}", Content_Type=TYPES[how])
        assert (reply.code, reply.content_type) == (200, TYPES[how])
        content = reply.content
    answer = response_in(_RESPONSES[signal], content, "json" if how == "json" else "protobuf")
    assert answer.HasField("partial_success") == bool(expected)
    told = json_format.MessageToDict(answer).get("partialSuccess", {})
    message = told.pop("errorMessage", "")
    assert message.startswith(expected.get("errorMessage", ""))
    assert told == {name: value for name, value in expected.items() if name != "errorMessage"}


@pytest.mark.parametrize("signal", ["logs", "metrics"])
def test_bad_logs_and_metrics(door: FrontDoor, signal: Signal) -> None:
    """Garbage is refused for every signal, on both transports."""
    answer = over_grpc(door, b"garbage", method=EXPORT_METHODS[signal])
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    for content_type in TYPES.values():
        assert over_http(door, b"garbage", path=f"/v1/{signal}", Content_Type=content_type).code == 400
