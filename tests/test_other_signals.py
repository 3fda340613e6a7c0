"""Logs and metrics: counted, not stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp_receiver.other_signals import count_records, log_records_taken, metric_points_taken
from otlp_receiver.replies import Signal, Taken
from pipelines.ingest import BadRequest, Encoding
from tests.support.other_signals import METRIC_KINDS, logs_request, metrics_request
from tests.support.otlp import export, span, to_json, to_protobuf


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=3))
def test_log_records(records: list[list[int]]) -> None:
    """Every log record counts, over all resources and scopes."""
    body = logs_request(records).SerializeToString()

    assert count_records("logs", "protobuf", body) == sum(sum(scopes) for scopes in records)


def test_metric_points_of_every_kind() -> None:
    """Points count, not metrics, whatever the kind."""
    assert count_records("metrics", "protobuf", metrics_request(3).SerializeToString()) == 3 * len(METRIC_KINDS)


def test_spans_in_both_encodings() -> None:
    """Spans of a request that could not be stored are counted the same way."""
    request = export(span(), span(), span())

    assert count_records("traces", "protobuf", to_protobuf(request)) == 3
    assert count_records("traces", "json", to_json(request)) == 3


@pytest.mark.parametrize(
    ("signal", "body", "records"),
    [
        ("logs", {}, 0),
        ("logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{}, {}]}, {}]}, {"scopeLogs": None}]}, 2),
        ("logs", {"resource_logs": [{"scope_logs": [{"log_records": [{}]}]}]}, 1),
        ("logs", {"resourceLogs": [{"instrumentationLibraryLogs": [{"logs": [{}]}]}]}, 1),
        ("metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"dataPoints": [{}, {}]}}]}]}]}, 2),
        ("logs", {"resourceLogs": [1, "x", [], {"scopeLogs": "y"}]}, 0),
    ],
)
def test_json_in_every_spelling(signal: Signal, body: object, records: int) -> None:
    """camelCase, snake_case and names of old; what is no object holds no records."""
    assert count_records(signal, "json", json.dumps(body).encode()) == records


def test_text_that_is_no_utf8_does_not_matter() -> None:
    """A cut emoji in a log line, as real exporters send it, is not looked at."""
    body = logs_request([[1]]).SerializeToString().replace(b"hello", b"he\xed\xa0\xbd")

    assert count_records("logs", "protobuf", body) == 1


@pytest.mark.parametrize(
    "body", [b"\x0a", b"\x0a\x05a", b"\x0b", b"\x0a" + b"\xff" * 12, b"\x09\x00", b"\xff" * 100, b"hello"]
)
def test_no_protobuf(body: bytes) -> None:
    """What is not protobuf is a BadRequest."""
    with pytest.raises(BadRequest, match="not protobuf"):
        count_records("logs", "protobuf", body)


@given(
    signal=st.sampled_from(["traces", "logs", "metrics"]),
    encoding=st.sampled_from(["protobuf", "json"]),
    body=st.binary(max_size=200),
)
def test_garbage_is_only_ever_a_bad_request(signal: Signal, encoding: Encoding, body: bytes) -> None:
    """Noise is counted or refused, nothing else."""
    try:
        assert count_records(signal, encoding, body) >= 0
    except BadRequest:
        return


def test_answers() -> None:
    """Log records are rejected by number, metric points warned about, and nothing is said about nothing."""
    assert log_records_taken(0) == metric_points_taken(0) == Taken()
    assert (log_records_taken(7).rejected, metric_points_taken(7).rejected) == (7, 0)
    assert "7 log records" in log_records_taken(7).message
    assert "7 metric points" in metric_points_taken(7).message
