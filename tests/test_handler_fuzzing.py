"""Random and mutated requests against both handlers of the running service.

Only answers of the reply table come back, nothing crashes, and the counters say what the client saw.
"""

import gzip
import http.client
import random
import re
import socket
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otlp_receiver import replies
from pipelines.ingest import Accepted, Encoding
from tests.support.corpus import Recording, recordings
from tests.support.counters import growth
from tests.support.http2 import DATA, frame, headers_frame, preface
from tests.support.http_client import BODY, head, status_in
from tests.support.mutations import mutated
from tests.support.receivers import EXPORT_METHODS, MIB
from tests.support.senders import JSON, PROTOBUF, grpc_calls
from tests.support.service import Service, service
from tests.support.span_tables import decoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_RECORDINGS: Final = [each for each in recordings() if len(each.body()) < 20_000]
_SITUATIONS: Final = [each for each in vars(replies).values() if isinstance(each, replies.Situation)]
_HTTP_ANSWERS: Final = {"ok": 200} | {each.outcome: each.http for each in _SITUATIONS}
_GRPC_ANSWERS: Final = {"ok": "taken", "bad_body": "refused", "too_large": "refused", "cancelled": "refused"}
"""gRPC itself refuses messages that are too large, and does not tell the server why: the call is cancelled."""
_GRPC_CODES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: "refused",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "refused",
}
_TYPES: Final[dict[Encoding, str]] = {"protobuf": PROTOBUF, "json": JSON}
_CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}
_SECONDS: Final = 60
_QUIET_SECONDS: Final = 0.02
_many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Service]:
    """A service of its own, since mutated recordings have the ids of recordings; its limit is small, so it is met."""
    with service() as started:
        protocols = started.config["receivers"]["otlp"]["protocols"]
        protocols["http"]["max_request_body_size_mib"] = protocols["grpc"]["max_recv_msg_size_mib"] = 1
        started.start()
        yield started
        assert started.stop() == 0, started.log()


@contextmanager
def _unharmed(fuzzed: Service) -> Iterator[None]:
    """Fails when a process was replaced in the block, or had an error to report."""
    before = {each.pid for each in fuzzed.children()}
    yield
    assert fuzzed.is_ready()
    assert {each.pid for each in fuzzed.children()} == before
    assert [line for line in fuzzed.log_lines() if line.get("level") in ("error", "critical")] == []


class _Seen:
    """What the client has seen, in the terms of the counters."""

    def __init__(self) -> None:
        self.answers: Counter[Any] = Counter()
        self.accepted_spans = 0
        self.refused_spans = 0

    def took(self, encoding: Encoding, body: bytes, answer: bytes) -> None:
        """A traces request was answered OK: what was taken is what is in it, as far as it was not rejected."""
        response = ExportTraceServiceResponse()
        response.ParseFromString(answer) if encoding == "protobuf" else json_format.Parse(answer, response)
        _, outcome = decoded(body, encoding)
        assert isinstance(outcome, Accepted)
        assert outcome.rejected_spans == response.partial_success.rejected_spans
        self.accepted_spans += outcome.spans
        self.refused_spans += outcome.rejected_spans

    def assert_counted(self, grown: dict[str, float], transport: str, answers: dict[str, Any]) -> None:
        """The service has counted what the client has seen."""
        counted: Counter[Any] = Counter()
        for labels, value in _growth_of("otelcol_receiver_requests", grown, transport):
            counted[answers[labels.partition('outcome="')[2].partition('"')[0]]] += int(value)
        assert counted == self.answers
        for name, seen in (("accepted", self.accepted_spans), ("refused", self.refused_spans)):
            assert sum(value for _, value in _growth_of(f"otelcol_receiver_{name}_spans", grown, transport)) == seen


def _growth_of(name: str, grown: dict[str, float], transport: str) -> Iterator[tuple[str, float]]:
    for series, value in grown.items():
        if series.startswith(f"{name}{{") and f'transport="{transport}"' in series:
            yield series, value


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[Recording, bytes]:
    """A recording, and what has become of its body: as it was, changed in places, random, or too large."""
    recording = draw(st.sampled_from(_RECORDINGS))
    match draw(st.sampled_from(["changed"] * 6 + ["random", "large"])):
        case "random":
            return recording, draw(st.binary(max_size=300))
        case "large":
            return recording, bytes(MIB + 1)
    chance = random.Random(draw(st.integers(0, 2**32)))
    return recording, mutated(recording.decompressed(), chance, draw(st.integers(0, 8)))


# --- HTTP ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _HttpRequest:
    """What goes out, and `body`, what it is once decompressed."""

    method: str
    path: str
    content_type: str
    coding: str
    body: bytes
    wire: bytes


_WORDS: Final = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


def _mostly(right: str, wrong: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(right), st.just(right), st.just(right), wrong)


@st.composite
def _http_requests(draw: st.DrawFn) -> _HttpRequest:
    recording, body = draw(_bodies())
    coding = draw(_mostly(draw(st.sampled_from(sorted(_CODINGS))), _WORDS))
    wire = _CODINGS.get(coding, bytes)(body)
    if draw(st.integers(0, 4)) == 0:
        wire = mutated(wire, random.Random(len(wire)), 1)
        body = body if _CODINGS.get(coding, bytes) is not bytes and wire else wire
    return _HttpRequest(
        draw(_mostly("POST", st.sampled_from(["GET", "PUT", "DELETE", "PATCH"]))),
        draw(_mostly(f"/v1/{recording.signal}", _WORDS.map("/".__add__))),
        draw(_mostly(_TYPES[recording.encoding], _WORDS)),
        coding,
        body,
        wire,
    )


def test_http_requests(fuzzed: Service) -> None:
    """Whatever method, path, type, coding and body: 200, or 4xx with its Status, counted as the client saw it."""
    seen = _Seen()

    @_many
    @given(_http_requests())
    def send(sent: _HttpRequest) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", fuzzed.ports["http"], timeout=_SECONDS)
        headers = {"Content-Type": sent.content_type, "Content-Encoding": sent.coding}
        connection.request(sent.method, sent.path, sent.wire, headers)
        answer = connection.getresponse()
        content, content_type = answer.read(), answer.headers["Content-Type"]
        connection.close()
        seen.answers[answer.status] += 1
        if answer.status != 200:
            assert status_in(content, content_type).message
        elif sent.path == "/v1/traces":
            seen.took("json" if content_type == JSON else "protobuf", sent.body, content)

    with _unharmed(fuzzed), growth(fuzzed) as grown:
        send()
    assert set(seen.answers) <= {200, 400, 404, 405, 413, 415}
    seen.assert_counted(grown, "http", _HTTP_ANSWERS)


def test_bytes_on_the_http_port(fuzzed: Service) -> None:
    """Bytes that are hardly HTTP are answered with 200 or 4xx, or not at all, and harm nobody."""
    request = head(len(BODY), "Content-Encoding: identity", "Connection: close") + BODY

    @_many
    @given(st.one_of(st.binary(max_size=300), st.builds(_mutated_by, st.just(request), st.integers(0, 2**32))))
    def send(data: bytes) -> None:
        answer = _exchange(fuzzed.ports["http"], data)
        assert re.fullmatch(rb"(HTTP/\d\.\d [124]\d\d .*)?", answer, re.DOTALL)

    with _unharmed(fuzzed):
        send()


def _mutated_by(body: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    return mutated(body, chance, chance.randrange(1, 5))


def _exchange(port: int, data: bytes) -> bytes:
    """Everything that comes back for `data` and the end of what we send."""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        _send_all(connection, data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        return _received(connection)


def _send_all(connection: socket.socket, data: bytes) -> None:
    with suppress(ConnectionError):  # the server may have had enough before the end
        connection.sendall(data)


def _received(connection: socket.socket) -> bytes:
    """All that comes until the connection ends, or is silent for its timeout."""
    received = b""
    with suppress(OSError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


# --- gRPC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpc_messages(fuzzed: Service, compression: grpc.Compression) -> None:
    """Whatever message: OK, INVALID_ARGUMENT or RESOURCE_EXHAUSTED, counted as the client saw it."""
    seen = _Seen()

    @_many
    @given(_bodies())
    def send(sent: tuple[Recording, bytes]) -> None:
        recording, body = sent
        try:
            answer = calls[recording.signal](body, timeout=_SECONDS, compression=compression)
        except grpc.RpcError as error:
            seen.answers[_GRPC_CODES[error.code()]] += 1
            return
        seen.answers["taken"] += 1
        if recording.signal == "traces":
            seen.took("protobuf", body, answer)

    with grpc.insecure_channel(f"127.0.0.1:{fuzzed.ports['grpc']}") as channel:
        calls: dict[str, Any] = {signal: channel.unary_unary(method) for signal, method in EXPORT_METHODS.items()}
        with _unharmed(fuzzed), growth(fuzzed) as grown:
            send()
    seen.assert_counted(grown, "grpc", _GRPC_ANSWERS)


def test_bytes_on_the_grpc_port(fuzzed: Service) -> None:
    """Frames that are hardly HTTP/2, and calls with broken frames, harm nobody: the next call is served."""
    opening = preface() + headers_frame(EXPORT_METHODS["traces"])  # left whole: see test_grpc_headers.py
    message = frame(DATA, 1, 1, struct.pack(">?I", False, len(BODY)) + BODY)
    rest = st.one_of(st.binary(max_size=300), st.builds(_mutated_by, st.just(message), st.integers(0, 2**32)))

    @_many
    @given(st.one_of(st.binary(max_size=300), rest.map(opening.__add__)))
    def send(data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", fuzzed.ports["grpc"]), timeout=_QUIET_SECONDS) as connection:
            _send_all(connection, data)
            _received(connection)  # gRPC drops a call whose sender has ended its half of the connection

    with _unharmed(fuzzed):
        send()
        with grpc_calls(fuzzed) as export:
            assert export(BODY) == b""
