"""OpenTelemetry as an application sets it up: to the endpoint of the environment. Runs in that of the applications."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import _logs, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.live.conversation import Scenario


@contextmanager
def telemetry() -> Iterator[Scenario]:
    """Sets the global providers; yields what opens a trace, its root named after the scenario; sends all at the end."""
    traces, logs = TracerProvider(), LoggerProvider()
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(traces)
    _logs.set_logger_provider(logs)
    yield traces.get_tracer("application").start_as_current_span
    traces.shutdown()
    logs.shutdown()
