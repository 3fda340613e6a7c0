"""TLS of the running service: SDK exporters with client certificates, TLS 1.3 alone, reload, unusable files."""

import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.certificates import Authority, Issued, handshake
from tests.support.service import Service, service, wait_for_exit
from tests.support.waiting import wait_until

_WELCOME_SECONDS, _REFUSED_SECONDS = 30.0, 2.0
"""For one export; what is refused is tried again until its time is over."""


@pytest.fixture(autouse=True)
def own_authorities_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment must not name other authorities: requests prefers them to what its caller says."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service of a test's own, not started."""
    with service() as made:
        yield made


def _encrypt(made: Service, block: dict[str, str]) -> None:
    for protocol in made.config["receivers"]["otlp"]["protocols"].values():
        protocol["tls"] = block


def _span(name: str) -> tuple[ReadableSpan, ...]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "tls"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("tests").start_span(name).end()
    return memory.get_finished_spans()


def _exporters(made: Service, authority: Authority, issued: Issued | None) -> dict[str, SpanExporter]:
    seconds = _WELCOME_SECONDS if issued else _REFUSED_SECONDS
    files: dict[str, Any] = {} if issued is None else {
        "client_key_file": str(issued.key), "client_certificate_file": str(issued.certificate)
    }  # fmt: skip
    return {
        "grpc": GrpcExporter(
            endpoint=f"https://127.0.0.1:{made.ports['grpc']}",
            credentials=authority.channel_credentials(issued),
            timeout=seconds,
        ),
        "http": HttpExporter(
            endpoint=f"https://127.0.0.1:{made.ports['http']}/v1/traces",
            certificate_file=str(authority.file),
            timeout=seconds,
            **files,
        ),
    }


def _export(made: Service, authority: Authority, issued: Issued | None, name: str) -> set[SpanExportResult]:
    results = set()
    for transport, exporter in _exporters(made, authority, issued).items():
        results.add(exporter.export(_span(f"{name} {transport}")))
        exporter.shutdown()
    return results


def test_sdk_with_client_certificates(fresh: Service, tmp_path: Path) -> None:
    """The SDK's exporters over mutual TLS 1.3: stored with a certificate, refused without; and a change is seen."""
    authority = Authority(tmp_path)
    client, server = authority.issue("client"), authority.issue("server")
    _encrypt(fresh, server.settings(client_ca=authority.file) | {"min_version": "1.3"})
    fresh.config["service"]["workers"] = 2
    fresh.start()
    assert _export(fresh, authority, client, "first") == {SpanExportResult.SUCCESS}
    assert _export(fresh, authority, None, "refused") == {SpanExportResult.FAILURE}
    changed = authority.issue("server").serial()
    for transport in ("grpc", "http"):
        wait_until(partial(_serves, fresh.ports[transport], authority, client, changed))
        _assert_only_1_3(fresh.ports[transport], authority, client)
    assert _export(fresh, authority, client, "second") == {SpanExportResult.SUCCESS}
    fresh.wait_for_rows("1", 4)
    names = {row["name"] for row in fresh.sql("SELECT name FROM observations")}
    assert names == {f"{when} {transport}" for when in ("first", "second") for transport in ("grpc", "http")}
    assert fresh.stop() == 0, fresh.log()


def _serves(port: int, authority: Authority, client: Issued, serial: int) -> bool:
    """Whether both workers, which take connections in turn, are likely to have the certificate."""
    return all(handshake(port, authority.context(client))[2] == serial for _ in range(10))


def _assert_only_1_3(port: int, authority: Authority, client: Issued) -> None:
    context = authority.context(client)
    assert handshake(port, context)[0] == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match=r"EOF|reset"):
        handshake(port, context)


def test_files_that_do_not_fit(fresh: Service, tmp_path: Path) -> None:
    """A key of another certificate: exit code 3, one line with setting and files, and nothing of the key in the log."""
    authority = Authority(tmp_path)
    server, other = authority.issue("server"), authority.issue("other")
    _encrypt(fresh, server.settings() | {"key_file": str(other.key)})
    fresh.launch()
    assert wait_for_exit(fresh.process) == 3, fresh.log()
    (message,) = (line["event"] for line in fresh.log_lines() if line["level"] == "error")
    assert f"receivers::otlp::protocols::grpc::tls: cannot use {server.certificate} with the key {other.key}" in message
    assert "Traceback" not in fresh.log()
    assert other.key.read_text().splitlines()[1] not in fresh.log()


def test_file_that_is_missing(fresh: Service, tmp_path: Path) -> None:
    """A certificate that is not there: exit code 3 and one line that names it."""
    server = Authority(tmp_path).issue("server")
    server.certificate.unlink()
    _encrypt(fresh, server.settings())
    fresh.launch()
    assert wait_for_exit(fresh.process) == 3, fresh.log()
    (message,) = (line["event"] for line in fresh.log_lines() if line["level"] == "error")
    assert f"tls: cannot read {server.certificate}: No such file or directory" in message
