"""The whole service with ClickHouse as its store: what is acknowledged is there, whatever becomes of the server."""

from collections.abc import Iterator

import pytest

from tests.support.clickhouse import count, exporter_at, lines
from tests.support.clickhouse_front import Front, clickhouse_front
from tests.support.otlp import export, span, to_protobuf
from tests.support.senders import post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_SPANS = 40


@pytest.fixture
def front() -> Iterator[Front]:
    """A server of the test's own."""
    with clickhouse_front() as started:
        yield started


@pytest.fixture
def receiver(front: Front) -> Iterator[Service]:
    """A service that exports to it, not started."""
    with service() as made:
        retry = {"initial_interval": "50ms", "max_interval": "200ms"}
        made.config["exporters"] = {
            "clickhouse": {"endpoint": front.endpoint, "ttl_days": 0, "retry_on_failure": retry}
        }
        made.config["service"]["pipelines"]["traces"]["exporters"] = ["clickhouse"]
        del made.config["extensions"]["sql_http"]
        yield made


def _send(receiver: Service, number: int) -> None:
    """One trace of a model call in a request of its own."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 7}
    made = span(attributes, trace_id=f"{number + 1:032x}", span_id=f"{number + 1:016x}")
    assert post(receiver, to_protobuf(export(made))).status_code == 200


def test_acknowledged_is_stored_once(front: Front, receiver: Service) -> None:
    """Spans sent while the server refuses, is away and comes back, are all there once, and their calls are counted."""
    front.kill()
    receiver.start()  # is ready without its store: the buffer holds the data
    for number in range(_SPANS // 2):
        _send(receiver, number)
    front.fail(share=0.7, code=243)
    front.start()
    for number in range(_SPANS // 2, _SPANS):
        _send(receiver, number)

    with exporter_at(front.endpoint) as reader:
        wait_until(lambda: count(reader, "observations") == _SPANS, 60)
        wait_until(lambda: count(reader, "traces") == _SPANS, 60)
        usage = lines(reader, "model_usage", "model, model_call_count, input_tokens")
    print(f"\n{_SPANS} spans sent and acknowledged, {_SPANS} stored, no duplicate seen: {usage}")  # noqa: T201 - figures for who reads the log

    assert usage == [f'["gpt-5", {_SPANS}, {_SPANS * 7}]']
    assert receiver.stop() == 0
