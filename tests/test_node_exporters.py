"""The released JS exporters, as they come from npm, into the running service."""

import pytest

from tests.support.accounting import problems
from tests.support.counters import growth, series
from tests.support.node import RELEASES, Release, send
from tests.support.service import Service

# 0.27.0 announces the length of what it has not compressed yet, so that no server sees the end of its gzip.
_RUNS = [
    (release, encoding, compression)
    for release in RELEASES
    for encoding in ("http", "proto", "grpc")
    for compression in ("none", "gzip")
    if (release.version, compression) != ("0.27.0", "gzip")
]


@pytest.mark.parametrize(
    ("release", "encoding", "compression"), _RUNS, ids=[f"{each[0].version} {each[1]} {each[2]}" for each in _RUNS]
)
def test_what_a_node_exporter_sends_is_what_the_store_holds(
    running: Service, release: Release, encoding: str, compression: str
) -> None:
    """Every release, encoding and compression: the exporter reports success, every field is stored, all is counted."""
    transport = "grpc" if encoding == "grpc" else "http"
    url = running.url(transport) + ("" if transport == "grpc" else "/v1/traces")
    with growth(running) as counted:
        sent = send(release, encoding, url, compression)
    assert sent.told == {"code": 0, "error": ""}
    ((resource,),) = (sent.export,)
    (scope,) = resource.scopes
    labels = {"receiver": "otlp", "transport": transport}
    assert counted[series("otelcol_receiver_accepted_spans", **labels)] == len(scope.spans)
    assert counted[series("otelcol_receiver_requests", **labels, signal="traces", outcome="ok")] == 1
    assert [name for name in counted if "refused" in name or "partial" in name] == []

    trace_ids = ", ".join(f"'{span.trace_id}'" for span in scope.spans)
    running.wait_for_rows(f"trace_id IN ({trace_ids})", len(scope.spans))
    rows = {row["id"]: row for row in running.sql(f"SELECT * FROM observations WHERE trace_id IN ({trace_ids})")}
    assert len(rows) == len(scope.spans)
    for span in scope.spans:
        assert problems(rows[span.span_id], span, scope, resource) == []
        assert rows[span.span_id]["metadata"].keys() == {key for key, _ in span.attributes}
