"""Steps of a sample run → finished spans of the real SDK, with times of our own making."""

from collections.abc import Mapping
from random import Random
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from otlp_receiver import __version__
from otlp_receiver.cli.sample_steps import AttributeValue, Step

_NS_PER_SECOND: Final = 10**9
_LEAST_GAP_NS, _MOST_GAP_NS = 200_000, 9_000_000


class SampleRecorder:
    """Records sample runs."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._memory = InMemorySpanExporter()
        resource = Resource.create(
            {
                "service.name": "wanderlicht-assistant",
                "service.version": "2.4.1",
                "deployment.environment.name": "sample",
            }
        )
        provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        self._tracer = provider.get_tracer("otlp_receiver.send_sample", __version__)

    def duration_ns(self, step: Step) -> int:
        """How long a step takes at most, its children included."""
        gaps_ns = (len(step.children) + 1) * _MOST_GAP_NS
        return int(step.seconds * _NS_PER_SECOND) + gaps_ns + sum(map(self.duration_ns, step.children))

    def record(self, step: Step, start_ns: int, identity: Mapping[str, str]) -> tuple[ReadableSpan, ...]:
        """The finished spans of a run, all of one trace, in the order in which they ended.

        Args:
            step: the run.
            start_ns: when it began, Unix nanoseconds.
            identity: for whom it ran; on the root alone, as instrumentations do it.
        """
        self._memory.clear()
        self._span(step, start_ns, Context(), identity)
        return self._memory.get_finished_spans()

    def _span(self, step: Step, start_ns: int, parent: Context, identity: Mapping[str, AttributeValue]) -> int:
        """Returns when it ended."""
        kind = SpanKind.CLIENT if step.is_remote else SpanKind.INTERNAL
        attributes = {**step.attributes, **identity}
        span = self._tracer.start_span(step.name, parent, kind, attributes, start_time=start_ns)
        now_ns = start_ns + self._gap_ns()
        for child in step.children:
            now_ns = self._span(child, now_ns, set_span_in_context(span, parent), {}) + self._gap_ns()
        end_ns = now_ns + int(step.seconds * _NS_PER_SECOND)
        for event in step.events:
            span.add_event(event.name, event.attributes, end_ns)
        if step.error:
            span.set_status(StatusCode.ERROR, step.error)
        span.end(end_ns)
        return end_ns

    def _gap_ns(self) -> int:
        return self._rng.randrange(_LEAST_GAP_NS, _MOST_GAP_NS)
