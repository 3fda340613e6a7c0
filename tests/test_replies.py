"""The reply table and its encodings."""

import json

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otlp_receiver import replies
from otlp_receiver.replies import (
    BAD_BODY,
    DRAINING,
    MEMORY_FULL,
    NOT_STORED,
    OUR_FAULT,
    OVER_QUOTA,
    SLOW_BODY,
    TOO_LARGE,
    UNKNOWN_PATH,
    UNSUPPORTED,
    WRONG_METHOD,
    Refused,
    Signal,
    Situation,
    Taken,
    encode_refused,
    encode_taken,
)

ROWS = [value for value in vars(replies).values() if isinstance(value, Situation)]
RETRIED_BY_CLIENTS = {429, 502, 503, 504}
"""OTLP specification, "Retryable response codes"."""


@pytest.mark.parametrize(
    ("situation", "http", "code"),
    [
        (BAD_BODY, 400, grpc.StatusCode.INVALID_ARGUMENT),
        (UNKNOWN_PATH, 404, grpc.StatusCode.UNIMPLEMENTED),
        (WRONG_METHOD, 405, grpc.StatusCode.UNIMPLEMENTED),
        (TOO_LARGE, 413, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (UNSUPPORTED, 415, grpc.StatusCode.INVALID_ARGUMENT),
        (OVER_QUOTA, 429, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (MEMORY_FULL, 503, grpc.StatusCode.UNAVAILABLE),
        (SLOW_BODY, 503, grpc.StatusCode.UNAVAILABLE),
        (DRAINING, 503, grpc.StatusCode.UNAVAILABLE),
        (NOT_STORED, 503, grpc.StatusCode.UNAVAILABLE),
        (OUR_FAULT, 503, grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_table(situation: Situation, http: int, code: grpc.StatusCode) -> None:
    """Every situation has the codes of the specification."""
    assert (situation.http, situation.grpc) == (http, code)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.outcome)
def test_rows_agree_on_retrying(row: Situation) -> None:
    """What asks for a retry has a code that clients retry, and nothing else has; 500 does not occur."""
    assert (row.http in RETRIED_BY_CLIENTS) == (row.retry_after_seconds is not None)
    assert row.http < 500 or row.http in RETRIED_BY_CLIENTS


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_full_success_leaves_partial_success_unset(signal: Signal) -> None:
    """Full success is no bytes in protobuf and an empty object in JSON."""
    assert encode_taken(signal, "protobuf", Taken()) == b""
    assert encode_taken(signal, "json", Taken()) == b"{}"


def test_partial_success_in_protobuf() -> None:
    """Rejections are told in the field of their signal."""
    taken = Taken(3, "spans[0].traceId: 15 bytes")

    traces = ExportTraceServiceResponse.FromString(encode_taken("traces", "protobuf", taken))
    logs = ExportLogsServiceResponse.FromString(encode_taken("logs", "protobuf", taken))
    metrics = ExportMetricsServiceResponse.FromString(encode_taken("metrics", "protobuf", taken))

    assert (traces.partial_success.rejected_spans, traces.partial_success.error_message) == (3, taken.message)
    assert (logs.partial_success.rejected_log_records, logs.partial_success.error_message) == (3, taken.message)
    assert (metrics.partial_success.rejected_data_points, metrics.partial_success.error_message) == (3, taken.message)


def test_partial_success_in_json() -> None:
    """The number of rejected spans is a string in JSON, as 64-bit integers are; a warning alone has no number."""
    rejected = json.loads(encode_taken("traces", "json", Taken(3, "why")))
    warned = json.loads(encode_taken("metrics", "json", Taken(0, "why")))

    assert rejected == {"partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}}
    assert warned == {"partialSuccess": {"errorMessage": "why"}}


def test_refusal_in_both_encodings() -> None:
    """A refusal is one google.rpc.Status, whichever way it is encoded, with RetryInfo when it is to be retried."""
    refused = Refused(NOT_STORED, "the buffer is full")

    binary = Status.FromString(encode_refused(refused, "protobuf"))
    text = json_format.Parse(encode_refused(refused, "json"), Status())
    retry_info = RetryInfo()

    assert binary == text
    assert (binary.code, binary.message) == (14, "the buffer is full")
    assert binary.details[0].Unpack(retry_info)
    assert retry_info.retry_delay.seconds == NOT_STORED.retry_after_seconds


def test_a_refusal_knows_its_own_time() -> None:
    """Where the time to wait is known better than the table has it, that time is told."""
    info = RetryInfo()
    Status.FromString(encode_refused(Refused(OVER_QUOTA, "used up", 17), "protobuf")).details[0].Unpack(info)
    assert info.retry_delay.seconds == 17


def test_final_refusal_has_no_retry_info() -> None:
    """RESOURCE_EXHAUSTED with RetryInfo would be sent again for ever."""
    assert not Status.FromString(encode_refused(Refused(TOO_LARGE, "too large"), "protobuf")).details


@pytest.mark.parametrize("text", ["x" * 10_000_000, "€" * 1_000_000, "\ud83d" * 1_000_000])
def test_messages_fit(text: str) -> None:
    """However long or broken a message is, a status fits gRPC's headers and a response stays far under 4 MiB."""
    status = encode_refused(Refused(BAD_BODY, text), "protobuf")
    response = encode_taken("traces", "json", Taken(1, text))

    assert 1000 < len(status) < 1100
    assert 60_000 < len(response) < 500_000
