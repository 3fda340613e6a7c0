"""The table of replies: every situation over raw HTTP in both encodings, over grpcio, and as the SDK takes it.

Draining is shown with the receivers' life cycles (test_http_server.py, test_grpc_server.py), 401 and 403 with keys
(test_authentication.py), 429 with quotas (test_quota_replies.py).
"""

import gzip
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from otlp_receiver.service import Transport
from pipelines import ingest
from pipelines.errors import BufferFull, Retryable
from pipelines.ingest import Encoding
from tests.conformance.clients import TYPES, over_grpc, over_http, response_in, retry_seconds, sdk_exporter, sdk_spans
from tests.conformance.front_door import FrontDoor
from tests.support.otlp import Export, Resource, Scope, Span, export, span, to_json, to_protobuf
from tests.support.receivers import MIB, requests_counted
from tests.support.waiting import wait_until

Given = Callable[[FrontDoor], AbstractContextManager[object]]


def _fault(error: Exception) -> Given:
    @contextmanager
    def given(door: FrontDoor) -> Iterator[None]:
        door.buffer.fault = error
        yield
        door.buffer.fault = None

    return given


@contextmanager
def _memory_full(door: FrontDoor) -> Iterator[None]:
    with door.admission.lease() as elsewhere:
        elsewhere.hold(door.admission.limit_bytes)
        yield


@contextmanager
def _slow_disk(door: FrontDoor) -> Iterator[None]:
    door.buffer.open.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "APPEND_TIMEOUT_SECONDS", 0.1)
        yield
    door.buffer.open.set()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One situation and its answers.

    Attributes:
        situation: as otlp-front-door.md has it.
        sent: the request; bytes go out as they are, whatever the encoding.
        given: the state of the server.
        http: status over HTTP.
        grpc: code over gRPC, and in the Status body over HTTP.
        client: what an exporter does then.
        outcome: label of the requests' counter.
        rejected: spans rejected in a partial success.
        says: part of the message.
        as_gzip: send it compressed.
    """

    situation: str
    sent: Export | bytes
    given: Given = nullcontext
    http: int
    grpc: grpc.StatusCode
    client: Literal["done", "drops", "retries"]
    outcome: str
    rejected: int = 0
    says: str = ""
    as_gzip: bool = False

    def body(self, encoding: Encoding) -> bytes:
        if isinstance(self.sent, bytes):
            return self.sent
        return to_protobuf(self.sent) if encoding == "protobuf" else to_json(self.sent)


def _one_bad_in_many(bad: Span) -> Export:
    good = [span(span_id=f"{number:016x}") for number in range(1, 8)]
    return [Resource(scopes=[Scope(spans=[span()]), Scope(spans=[*good, bad])])]


_BAD_PLACE: Final = "resourceSpans[0].scopeSpans[1].spans[7]"
_GOOD: Final = export(span(), span(span_id="2122232425262728"))
_OK, _INVALID, _EXHAUSTED, _UNAVAILABLE = (
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
)
_taken = partial(Row, http=200, grpc=_OK, client="done", outcome="ok")
_too_large = partial(
    Row, sent=export(span({"large": "x" * MIB})), http=413, grpc=_EXHAUSTED, client="drops", outcome="too_large"
)
_later = partial(Row, sent=_GOOD, http=503, grpc=_UNAVAILABLE, client="retries")
_TABLE: Final = [
    _taken(situation="all accepted", sent=_GOOD),
    _taken(situation="empty request", sent=[]),
    _taken(
        situation="a span without a trace id",
        sent=_one_bad_in_many(span(trace_id="00" * 16)),
        rejected=1,
        says=f"{_BAD_PLACE}.traceId: all zeros, expected a non-zero id",
    ),
    _taken(
        situation="a span without an id",
        sent=_one_bad_in_many(span(span_id="00" * 8)),
        rejected=1,
        says=f"{_BAD_PLACE}.spanId: all zeros, expected a non-zero id",
    ),
    _taken(
        situation="an id of the wrong length",
        sent=_one_bad_in_many(span(trace_id="01" * 15)),
        rejected=1,
        says=f"{_BAD_PLACE}.traceId: 15 bytes, expected 16",
    ),
    Row(
        situation="undecodable body",
        sent=b"\xff\xff\xff",
        http=400,
        grpc=_INVALID,
        client="drops",
        outcome="bad_body",
        says="the body is not ",
    ),
    _too_large(situation="too large"),
    _too_large(situation="too large once decompressed", as_gzip=True),
    _later(situation="memory full", given=_memory_full, outcome="memory_full", says="max_inflight_mib"),
    _later(
        situation="buffer full",
        given=_fault(BufferFull("the buffer is full")),
        outcome="not_stored",
        says="the buffer is full",
    ),
    _later(
        situation="buffer unavailable",
        given=_fault(Retryable("Platte läuft über: 100 %")),
        outcome="not_stored",
        says="Platte läuft über: 100 %",
    ),
    _later(
        situation="durable append not done in time", given=_slow_disk, outcome="not_stored", says="not durable within"
    ),
    _later(
        situation="our own fault",
        given=_fault(RuntimeError("a secret of ours")),
        outcome="our_fault",
        says="the receiver failed; nothing of the request was stored, try again",
    ),
]


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("row", _TABLE, ids=lambda row: row.situation)
def test_over_http(door: FrontDoor, row: Row, encoding: Encoding) -> None:
    """Status, body in the request's type, Retry-After and counter of every row."""
    counted = requests_counted("http", "traces", row.outcome)
    body = row.body(encoding)
    coding = {"Content_Encoding": "gzip"} if row.as_gzip else {}
    with row.given(door):
        answer = over_http(door, gzip.compress(body) if coding else body, Content_Type=TYPES[encoding], **coding)
    assert (answer.code, answer.content_type) == (row.http, TYPES[encoding])
    assert answer.headers["Retry-After"] == ("1" if row.client == "retries" else None)
    assert requests_counted("http", "traces", row.outcome) == counted + 1
    if row.http == 200:
        _assert_taken(row, answer.content, encoding)
        return
    assert answer.status.code == row.grpc.value[0]
    assert row.says in answer.status.message
    assert retry_seconds(answer.status) == (1 if row.client == "retries" else None)


@pytest.mark.parametrize("row", _TABLE, ids=lambda row: row.situation)
def test_over_grpc(door: FrontDoor, row: Row) -> None:
    """Code, message and RetryInfo of every row."""
    compression = grpc.Compression.Gzip if row.as_gzip else None
    with row.given(door):
        answer = over_grpc(door, row.body("protobuf"), compression=compression)
    assert answer.code is row.grpc
    assert retry_seconds(answer.status) == (1 if row.client == "retries" else None)
    if row.grpc is _OK:
        _assert_taken(row, answer.content, "protobuf")
    else:
        assert row.says in answer.message
        assert answer.status is None or answer.status.message == answer.message


def _assert_taken(row: Row, content: bytes, encoding: Encoding) -> None:
    """Full success leaves partial_success unset; a partial one says how many, in JSON as a string, and why."""
    if not row.rejected:
        assert content == (b"" if encoding == "protobuf" else b"{}")
        return
    told = response_in(ExportTraceServiceResponse, content, encoding).partial_success
    assert (told.rejected_spans, told.error_message) == (row.rejected, row.says)
    if encoding == "json":
        assert json.loads(content)["partialSuccess"]["rejectedSpans"] == str(row.rejected)


# What the SDK can send: it has no undecodable bodies, and ids of one length only. Its gRPC exporter retries
# RESOURCE_EXHAUSTED although the specification forbids that without RetryInfo.
_SDK_RUNS: Final = [
    (transport, row)
    for transport in ("http", "grpc")
    for row in _TABLE
    if isinstance(row.sent, list) and row.sent and "length" not in row.situation and not row.as_gzip
    if (transport, row.outcome) != ("grpc", "too_large")
]


@pytest.mark.parametrize(
    ("transport", "row"), _SDK_RUNS, ids=[f"{transport} {row.situation}" for transport, row in _SDK_RUNS]
)
def test_as_the_sdk_takes_it(door: FrontDoor, transport: Transport, row: Row) -> None:
    """The released exporters do what the table says: they are done, drop the spans, or send them again."""
    assert isinstance(row.sent, list)
    answered = requests_counted(transport, "traces", row.outcome)
    taken = requests_counted(transport, "traces", "ok")
    exporter = sdk_exporter(door, transport)
    with ThreadPoolExecutor(1) as pool, ExitStack() as given:
        given.enter_context(row.given(door))
        exporting = pool.submit(exporter.export, sdk_spans(row.sent))
        wait_until(lambda: requests_counted(transport, "traces", row.outcome) > answered)
        given.close()
        result = exporting.result()
    exporter.shutdown()
    assert (result is SpanExportResult.SUCCESS) == (row.client != "drops")
    times_answered = requests_counted(transport, "traces", row.outcome) - answered
    assert times_answered == 1 or row.client == "retries"
    assert requests_counted(transport, "traces", "ok") == taken + (row.client != "drops")
