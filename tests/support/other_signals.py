"""Logs and metrics requests."""

from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

METRIC_KINDS: Final = ["gauge", "sum", "histogram", "exponential_histogram", "summary"]


def logs_request(records: list[list[int]]) -> ExportLogsServiceRequest:
    """`records[resource][scope]` log records."""
    request = ExportLogsServiceRequest()
    for scopes in records:
        resource_logs = request.resource_logs.add()
        resource_logs.resource.attributes.add(key="k").value.string_value = "v"
        for count in scopes:
            scope_logs = resource_logs.scope_logs.add()
            for index in range(count):
                scope_logs.log_records.add(time_unix_nano=index, severity_text="INFO").body.string_value = "hello"
    return request


def metrics_request(points: int) -> ExportMetricsServiceRequest:
    """One metric of each kind, each with `points` data points."""
    request = ExportMetricsServiceRequest()
    scope_metrics = request.resource_metrics.add().scope_metrics.add()
    for kind in METRIC_KINDS:
        data = getattr(scope_metrics.metrics.add(name=kind, unit="1"), kind)
        for _ in range(points):
            data.data_points.add(time_unix_nano=1)
    return request
