"""What a sender is told: one table from situation to gRPC and HTTP codes, and the bodies that go with it.

Rules: OTLP specification 1.11, "OTLP/gRPC Response" and "OTLP/HTTP Response". A sender throws data away on 4xx, on 500
and on gRPC INTERNAL, so faults that are not the sender's are always UNAVAILABLE / 503.
"""

from dataclasses import dataclass
from typing import Final, Literal

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from pipelines.ingest import Encoding

Signal = Literal["traces", "logs", "metrics"]

CONTENT_TYPES: Final[dict[Encoding, str]] = {"protobuf": "application/x-protobuf", "json": "application/json"}

_RETRY_AFTER_SECONDS: Final = 1
"""Short: to refuse again costs little, and another process or replica may have room at once."""
_MAX_STATUS_BYTES: Final = 1024
"""A gRPC status travels in headers, percent-encoded and again in base64, where clients accept 8 KiB in all."""
_MAX_WARNING_BYTES: Final = 64 * 1024
"""Well under the 4 MiB that a reply may have, in whatever encoding."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One row of the reply table.

    Attributes:
        outcome: label of the request counter.
        grpc: status code over gRPC, and `code` of the Status body over HTTP.
        http: status code over HTTP.
        retry_after_seconds: what the sender is asked to wait (RetryInfo, Retry-After), unless the refusal knows better;
            None = it must not retry.
    """

    outcome: str
    grpc: grpc.StatusCode
    http: int
    retry_after_seconds: int | None = None


UNAUTHENTICATED: Final = Situation("unauthenticated", grpc.StatusCode.UNAUTHENTICATED, 401)
FORBIDDEN: Final = Situation("forbidden", grpc.StatusCode.PERMISSION_DENIED, 403)
KEYS_UNAVAILABLE: Final = Situation("keys_unavailable", grpc.StatusCode.UNAVAILABLE, 503, _RETRY_AFTER_SECONDS)
BAD_BODY: Final = Situation("bad_body", grpc.StatusCode.INVALID_ARGUMENT, 400)
OVER_QUOTA: Final = Situation("over_quota", grpc.StatusCode.RESOURCE_EXHAUSTED, 429, _RETRY_AFTER_SECONDS)
SENDER_GONE: Final = Situation("sender_gone", grpc.StatusCode.CANCELLED, 400)
UNKNOWN_PATH: Final = Situation("unknown_path", grpc.StatusCode.UNIMPLEMENTED, 404)
WRONG_METHOD: Final = Situation("wrong_method", grpc.StatusCode.UNIMPLEMENTED, 405)
TOO_LARGE: Final = Situation("too_large", grpc.StatusCode.RESOURCE_EXHAUSTED, 413)
HEADERS_TOO_LARGE: Final = Situation("headers_too_large", grpc.StatusCode.RESOURCE_EXHAUSTED, 431)
UNSUPPORTED: Final = Situation("unsupported_encoding", grpc.StatusCode.INVALID_ARGUMENT, 415)
MEMORY_FULL: Final = Situation("memory_full", grpc.StatusCode.UNAVAILABLE, 503, _RETRY_AFTER_SECONDS)
SLOW_BODY: Final = Situation("slow_body", grpc.StatusCode.UNAVAILABLE, 503, _RETRY_AFTER_SECONDS)
DRAINING: Final = Situation("draining", grpc.StatusCode.UNAVAILABLE, 503, _RETRY_AFTER_SECONDS)
NOT_STORED: Final = Situation("not_stored", grpc.StatusCode.UNAVAILABLE, 503, _RETRY_AFTER_SECONDS)
OUR_FAULT: Final = Situation("our_fault", grpc.StatusCode.UNAVAILABLE, 503, _RETRY_AFTER_SECONDS)


class Refused(Exception):
    """The request is answered with `situation`; nothing of it was taken."""

    def __init__(self, situation: Situation, message: str, retry_after_seconds: int | None = None) -> None:
        """`message` is for the sender's developer: what was wrong, where, and the cure.

        `retry_after_seconds` takes the place of the situation's, where it is known better.
        """
        super().__init__(message)
        self.situation = situation
        self.retry_after_seconds = retry_after_seconds or situation.retry_after_seconds
        self.message = _fit(message, _MAX_STATUS_BYTES)


@dataclass(frozen=True, slots=True)
class Taken:
    """The request is answered OK; with neither field set it is a full success.

    Attributes:
        rejected: records that can never be stored; the sender does not send them again.
        message: why, or a warning; empty when there is nothing to say.
    """

    rejected: int = 0
    message: str = ""


def encode_taken(signal: Signal, encoding: Encoding, taken: Taken) -> bytes:
    """The export response; `partial_success` is unset on full success, as the specification demands."""
    if not taken.rejected and not taken.message:
        return _FULL_SUCCESS[encoding]
    return _encode(_PARTIAL_SUCCESS[signal](taken.rejected, _fit(taken.message, _MAX_WARNING_BYTES)), encoding)


def encode_refused(refused: Refused, encoding: Encoding) -> bytes:
    """The google.rpc.Status of a refusal, RetryInfo among its details when the sender shall try again."""
    status = Status(code=refused.situation.grpc.value[0], message=refused.message)
    if (info := _retry_info(refused)) is not None:
        status.details.add().Pack(info)
    return _encode(status, encoding)


def retry_trailers(refused: Refused) -> tuple[tuple[str, bytes], ...]:
    """RetryInfo where gRPC clients look for it: in the status, Python's exporter in a trailer of its own."""
    if (info := _retry_info(refused)) is None:
        return ()
    return (
        ("grpc-status-details-bin", encode_refused(refused, "protobuf")),
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
    )


def _retry_info(refused: Refused) -> RetryInfo | None:
    if refused.retry_after_seconds is None:
        return None
    info = RetryInfo()
    info.retry_delay.seconds = refused.retry_after_seconds
    return info


_FULL_SUCCESS: Final[dict[Encoding, bytes]] = {"protobuf": b"", "json": b"{}"}


def _traces(rejected: int, message: str) -> Message:
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial)


def _logs(rejected: int, message: str) -> Message:
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return ExportLogsServiceResponse(partial_success=partial)


def _metrics(rejected: int, message: str) -> Message:
    partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
    return ExportMetricsServiceResponse(partial_success=partial)


_PARTIAL_SUCCESS: Final = {"traces": _traces, "logs": _logs, "metrics": _metrics}


def _encode(message: Message, encoding: Encoding) -> bytes:
    if encoding == "protobuf":
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None).encode()


def _fit(text: str, limit_bytes: int) -> str:
    """`text` cut to `limit_bytes` of UTF-8; what UTF-8 cannot say (lone surrogates) becomes a question mark."""
    return text.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")
