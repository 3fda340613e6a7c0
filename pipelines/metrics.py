"""Every metric of the service, named once.

Names follow the OpenTelemetry Collector where it has one (`otelcol_*`), and start with `otlp_receiver_` where it has
none. Counters are exposed without the `_total` suffix that the client library adds, as the Collector does
(`otlp_receiver.telemetry`). All processes write to memory-mapped files that the supervisor sums: the gauges' mode says
how. Label values come from configuration or from closed sets, with two exceptions: project is bounded by the number of
projects, and model by a limit (`pipelines.processors.cost`).
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ACCEPTED_SPANS: Final = Counter(
    "otelcol_receiver_accepted_spans", "Spans answered OK, thus stored in the buffer.", ["receiver", "transport"]
)
REFUSED_SPANS: Final = Counter(
    "otelcol_receiver_refused_spans",
    "Spans not taken: unusable (partial success), or in a request answered with an error.",
    ["receiver", "transport"],
)
REQUESTS: Final = Counter(
    "otelcol_receiver_requests", "Requests by signal and outcome.", ["receiver", "transport", "signal", "outcome"]
)
ACCEPTED_LOG_RECORDS: Final = Counter(
    "otelcol_receiver_accepted_log_records",
    "GenAI events among log records answered OK, thus stored in the buffer.",
    ["receiver", "transport"],
)
REFUSED_LOG_RECORDS: Final = Counter(
    "otelcol_receiver_refused_log_records",
    "Log records not taken: no GenAI events or unusable (partial success), or in a request answered with an error.",
    ["receiver", "transport"],
)
UNSTORED_METRIC_POINTS: Final = Counter(
    "otelcol_receiver_refused_metric_points",
    "Metric points answered with success but not stored.",
    ["receiver", "transport"],
)
PARTIAL_SUCCESSES: Final = Counter(
    "otlp_receiver_partial_successes", "Requests answered with rejected spans.", ["receiver", "transport"]
)
PROJECT_SPANS: Final = Counter("otlp_receiver_project_spans", "Spans stored in the buffer.", ["project"])
PROJECT_BYTES: Final = Counter("otlp_receiver_project_bytes", "Request bytes after decompression.", ["project"])
QUOTA_REFUSALS: Final = Counter(
    "otlp_receiver_quota_refusals", "Requests refused since a quota is used up.", ["project", "quota"]
)
INFLIGHT_BYTES: Final = Gauge(
    "otlp_receiver_inflight_bytes", "Request bytes admitted and not yet answered.", multiprocess_mode="livesum"
)
UNPRICED_SPANS: Final = Counter(
    "otelcol_processor_cost_unpriced_spans", "Model calls without a cost, since nobody has a price.", ["model"]
)
APPEND_SECONDS: Final = Histogram(
    "otlp_receiver_append_seconds",
    "One group commit: the durable append alone.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
SENT_SPANS: Final = Counter("otelcol_exporter_sent_spans", "Observations stored by the exporter.", ["exporter"])
SEND_FAILED_SPANS: Final = Counter(
    "otelcol_exporter_send_failed_spans", "Observations in failed attempts; retried unless dead-lettered.", ["exporter"]
)
DEAD_LETTERS: Final = Counter(
    "otlp_receiver_dead_letter_rows", "Rows set aside because no attempt can succeed.", ["exporter", "reason"]
)
QUEUE_SIZE: Final = Gauge(
    "otelcol_exporter_queue_size",
    "Rows in the buffer that the exporter has not stored.",
    ["exporter"],
    multiprocess_mode="livemostrecent",
)
QUEUE_CAPACITY: Final = Gauge(
    "otelcol_exporter_queue_capacity",
    "Size limit of the buffer, bytes.",
    ["exporter"],
    multiprocess_mode="livemostrecent",
)
BUFFER_BYTES: Final = Gauge(
    "otlp_receiver_buffer_bytes", "Bytes in the buffer.", ["buffer"], multiprocess_mode="livemostrecent"
)
OLDEST_AGE_SECONDS: Final = Gauge(
    "otlp_receiver_oldest_unexported_age_seconds",
    "Age of the oldest record not yet stored by the exporter.",
    ["exporter"],
    multiprocess_mode="livemostrecent",
)
STORED_SECONDS: Final = Histogram(
    "otlp_receiver_socket_to_stored_seconds",
    "From the receipt of the oldest request of a block to its confirmation by the store.",
    ["exporter"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)
RETENTION_DELETED_ROWS: Final = Counter(
    "otlp_receiver_retention_deleted_rows",
    "Rows whose deletion was ordered since their project keeps them no longer; copies that no view shows count too.",
    ["exporter"],
)
RETENTION_APPLIED_AT: Final = Gauge(
    "otlp_receiver_retention_applied_timestamp_seconds",
    "Unix time at which the retention of projects was last applied without a fault.",
    ["exporter"],
    multiprocess_mode="livemostrecent",
)
WORKER_RESTARTS: Final = Counter("otlp_receiver_worker_restarts", "Processes replaced after a crash.", ["role"])
METADATA_UP: Final = Gauge(
    "otlp_receiver_metadata_up", "1 while Postgres answers, 0 while it does not.", multiprocess_mode="livemostrecent"
)
