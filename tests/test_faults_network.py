"""The production shape on a network that cuts, delays and swallows: before ClickHouse, and before the receiver."""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tests.support.fault_service import Shape, metric, settle, shape, under_load, until_it_fails
from tests.support.load import Load
from tests.support.proxy import Proxy, proxy
from tests.support.reporting import Report
from tests.support.service import Service
from tests.support.waiting import wait_until

_ACCEPTED: Final = "otelcol_receiver_accepted_spans"
_BATCHES: Final = 6
_BATCH: Final = 25
_SDK_SECONDS: Final = 10


@pytest.fixture(scope="module")
def started() -> Iterator[Shape]:
    """A service before its server, running."""
    with shape() as made:
        made.service.start()
        yield made
        assert made.service.stop() == 0, made.service.log()


@pytest.fixture
def playing(started: Shape) -> Iterator[Shape]:
    """The same, sound again at the end of each test."""
    yield started
    started.heal()


# --- between service and store ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["cut_requests", "cut_replies"])
def test_cut_before_the_store(playing: Shape, report: Report, direction: str) -> None:
    """Connections that end in the middle of a block, or before its answer, cost another attempt and nothing else."""
    with under_load(playing, report, f"{direction} before ClickHouse"):
        before = playing.between.cuts
        setattr(playing.between, direction, 0.3)
        wait_until(lambda: playing.between.cuts >= before + 8, 60)


def test_answers_lost_after_storing(playing: Shape, report: Report) -> None:
    """Blocks that the server took, and whose answers died with the connection, are sent again and seen once."""
    with under_load(playing, report, "answers lost after storing"):
        playing.front.fail(withheld=1.0)
        for _ in range(3):
            playing.front.wait_for_withheld()
            playing.between.cut()


def test_swallowed_before_the_store(playing: Shape, report: Report) -> None:
    """A peer that is silent, but not gone, is given up after the time-out."""
    with under_load(playing, report, "answers of ClickHouse swallowed"), until_it_fails(playing.service):
        playing.between.swallows = True


def test_delayed_before_the_store(playing: Shape, report: Report) -> None:
    """A long way to the store only makes blocks larger."""
    with under_load(playing, report, "50 ms more for each piece of a way"):
        playing.between.delay_seconds = 0.05


# --- between senders and service -------------------------------------------------------------------------------------


@dataclass
class _Way:
    """Proxies before both ports of the receiver."""

    grpc: Proxy
    http: Proxy

    def all(self, **faults: Any) -> None:
        for each in (self.grpc, self.http):
            for name, value in faults.items():
                setattr(each, name, value)

    def heal(self) -> None:
        self.grpc.heal()
        self.http.heal()


@contextmanager
def _way_to(made: Service) -> Iterator[tuple[_Way, Service]]:
    """The proxies, and the service as who comes by way of them sees it."""
    with ExitStack() as closing:
        way = _Way(*(closing.enter_context(proxy(made.ports[name])) for name in ("grpc", "http")))
        seen = copy.copy(made)
        seen.ports = made.ports | {"grpc": way.grpc.port, "http": way.http.port}
        yield way, seen


@pytest.mark.parametrize("direction", ["cut_requests", "cut_replies"])
def test_cut_before_the_receiver(playing: Shape, report: Report, direction: str) -> None:
    """Senders that got no answer send again: what was stored already is seen once, half a request is no request."""
    with _way_to(playing.service) as (way, seen):
        accepted = metric(playing.service, _ACCEPTED)
        with under_load(playing, report, f"{direction} before the receiver", to=seen):
            way.all(**{direction: 0.2})
            wait_until(lambda: min(way.grpc.cuts, way.http.cuts) >= 5, 60)
            way.heal()
        accepted = metric(playing.service, _ACCEPTED) - accepted
        report(f"{way.grpc.cuts + way.http.cuts} connections cut, {accepted:.0f} spans accepted, copies included")


def test_sdk_exporters_on_a_bad_way(playing: Shape, report: Report) -> None:
    """What the SDK's own exporters call a success is stored, whatever became of answers; their repeats are not seen."""
    load = playing.load()
    with _way_to(playing.service) as (way, seen):
        way.all(cut_replies=0.1, cut_requests=0.1, delay_seconds=0.01)
        exporters: list[SpanExporter] = [
            GrpcExporter(f"http://127.0.0.1:{seen.ports['grpc']}", insecure=True, timeout=_SDK_SECONDS),
            HttpExporter(seen.url("http") + "/v1/traces", timeout=_SDK_SECONDS),
        ]
        sending = [threading.Thread(target=_export_all, args=(each, load)) for each in exporters]
        for each in sending:
            each.start()
        _swallow_once(way)
        for each in sending:
            each.join()
        for exporter in exporters:
            exporter.shutdown()
    assert not load.failures, load.failures
    report(f"SDK exporters, {way.grpc.cuts + way.http.cuts} connections cut: {settle(playing, load)}")
    assert way.grpc.cuts + way.http.cuts > 0
    assert load.acknowledged


def _swallow_once(way: _Way) -> None:
    """One answer at least is lost on connections that stay open, until they are cut at last."""
    way.all(swallows=True)
    wait_until(lambda: way.grpc.swallowed_bytes and way.http.swallowed_bytes, 60)
    way.heal()
    way.all(cut_replies=0.1, cut_requests=0.1, delay_seconds=0.01)


def _export_all(exporter: SpanExporter, load: Load) -> None:
    try:
        for _ in range(_BATCHES):
            spans = _sdk_spans()
            ids = {(f"{each.context.trace_id:032x}", f"{each.context.span_id:016x}") for each in spans}
            load.note(ids, acknowledged=False)
            if exporter.export(spans) is SpanExportResult.SUCCESS:
                load.note(ids, acknowledged=True)
    except BaseException as error:
        load.failures.append(error)
        raise


def _sdk_spans() -> Sequence[ReadableSpan]:
    """Ended spans of traces of their own, each with its own id as an attribute."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    spans: list[ReadableSpan] = []
    for _ in range(_BATCH):
        made: Any = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        made.set_attribute("own.id", f"{made.context.trace_id:032x}{made.context.span_id:016x}")
        made.end()
        spans.append(made)
    return spans
