"""Promise 1 under fire: `kill -9` of any process at random moments under load loses and doubles nothing.

Senders keep sending, over gRPC and HTTP, and send again what was not acknowledged, and now and then what was. Kills
come after a random number of acknowledged spans, not after a time, so a slow machine proves the same.
"""

import random
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final, Literal

import grpc
import pytest
import requests

from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.senders import Call, grpc_calls, post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

Role = Literal["ingest", "export", "supervisor"]
_SPANS_PER_REQUEST: Final = 20
_SENDERS: Final = ("grpc", "grpc", "http", "http")
_ROLES: Final[tuple[Role, ...]] = ("ingest", "export", "supervisor")
Ids = set[tuple[str, str]]


@dataclass
class _Load:
    """What the senders share.

    Attributes:
        sent: ids of spans that have been sent, acknowledged or not.
        acknowledged: ids of spans in requests that were answered OK.
        quota: senders rest once so many spans are acknowledged.
    """

    sent: Ids = field(default_factory=set)
    acknowledged: Ids = field(default_factory=set)
    quota: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    ended: bool = False
    failures: list[BaseException] = field(default_factory=list)

    def wait_for_quota(self) -> bool:
        """Until there is something to send; False at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or len(self.acknowledged) < self.quota)
            return not self.ended

    def note(self, ids: Ids, *, acknowledged: bool) -> None:
        with self.changed:
            (self.acknowledged if acknowledged else self.sent).update(ids)
            self.changed.notify_all()

    def wait_for_acknowledged(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.failures or len(self.acknowledged) >= count, 120), "no progress"
            assert not self.failures, self.failures

    def allow(self, quota: int) -> None:
        with self.changed:
            self.quota = quota
            self.changed.notify_all()

    def back_off(self) -> None:
        """As a sender does whose server is gone: do not hammer."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended, 0.02)

    def end(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()


def _ids(spans: list[Span]) -> Ids:
    return {(each.trace_id, each.span_id) for each in spans}


def _spans() -> list[Span]:
    """Spans of one new trace; each carries its own id as an attribute."""
    trace_id = uuid.uuid4().hex
    ids = [f"{number + 1:016x}" for number in range(_SPANS_PER_REQUEST)]
    return [
        span(
            {"own.id": trace_id + own, "gen_ai.operation.name": "chat", "text": "x" * 200},
            trace_id=trace_id,
            span_id=own,
        )
        for own in ids
    ]


def _send_until_ended(load: _Load, made: Service, transport: str, seed: int) -> None:
    chance = random.Random(seed)
    try:
        while load.wait_for_quota():
            spans = _spans()
            load.note(_ids(spans), acknowledged=False)
            if _deliver(load, made, transport, to_protobuf(export(*spans)), chance):
                load.note(_ids(spans), acknowledged=True)
    except BaseException as error:
        load.failures.append(error)
        raise


def _deliver(load: _Load, made: Service, transport: str, body: bytes, chance: random.Random) -> bool:
    """Send until acknowledged, sometimes once more; False when given up, which a sender may do at any time."""
    acknowledged = False
    while not load.ended:
        answered = _attempt(made, transport, body)
        acknowledged = acknowledged or answered
        if not answered:
            load.back_off()
        if chance.random() < (0.9 if acknowledged else 0.05):
            return acknowledged
    return acknowledged


def _attempt(made: Service, transport: str, body: bytes) -> bool:
    """One request on a connection of its own: the last one may have died with its process."""
    if transport == "grpc":
        with grpc_calls(made) as call:
            return _attempt_grpc(call, body)
    with suppress(requests.RequestException):
        answer = post(made, body)
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200
    return False


def _attempt_grpc(call: Call, body: bytes) -> bool:
    try:
        call(body)
    except grpc.RpcError as error:
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            raise
        return False
    return True


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service of the test's own, not started."""
    with service() as made:
        yield made


@pytest.mark.parametrize(
    ("kills", "acknowledged", "workers"),
    [
        pytest.param(12, 21_000, 1, id="12 kills"),
        pytest.param(90, 300_000, 2, id="90 kills, two workers", marks=pytest.mark.nightly),
    ],
)
def test_kill_at_random_moments(
    fresh: Service, capsys: pytest.CaptureFixture[str], kills: int, acknowledged: int, workers: int
) -> None:
    """Every acknowledged span is stored, none is visible twice, and nothing is stored that was not sent."""
    fresh.config["service"]["workers"] = workers
    fresh.start()
    chance = random.Random(kills)
    load = _Load()
    roles = [_ROLES[number % len(_ROLES)] for number in range(kills)]
    chance.shuffle(roles)
    with ExitStack() as closing:
        for number, transport in enumerate(_SENDERS):
            thread = threading.Thread(target=_send_until_ended, args=(load, fresh, transport, number))
            thread.start()
            closing.callback(thread.join)
        closing.callback(load.end)
        for number, role in enumerate(roles):
            _kill_after(fresh, load, role, (number + chance.random()) * acknowledged / kills)
        load.allow(acknowledged)
        load.wait_for_acknowledged(acknowledged)
    wait_until(lambda: fresh.listens("sql"), 60)
    fresh.wait_until_ready()
    figures = _check(fresh, load)
    with capsys.disabled():
        sys.stdout.write(f"\ncrash test: {kills} kills, {figures}\n")
    assert fresh.stop() == 0, fresh.log()
    assert len(load.acknowledged) > 20_000


def _kill_after(made: Service, load: _Load, role: Role, count: float) -> None:
    """Kill a process of that role when so many spans have been acknowledged, with more on their way."""
    load.allow(int(count) + 2_000)
    load.wait_for_acknowledged(int(count))
    if role == "supervisor":
        made.process.kill()
        made.process.wait()
        made.launch()
        return
    while (victim := made.child(role)) is None:
        wait_until(lambda: made.child(role), 60)
    victim.kill()
    victim.wait(10)


def _check(made: Service, load: _Load) -> str:
    """Holds what is stored against what was sent and what was acknowledged."""
    _wait_for_everything(made, load)
    rows = made.sql("SELECT trace_id, id, metadata['own.id'] AS own FROM observations")
    stored = {(row["trace_id"], row["id"]) for row in rows}
    duplicates = len(rows) - len(stored)
    figures = (
        f"{len(load.sent)} spans sent, {len(load.acknowledged)} acknowledged, {len(rows)} stored, "
        f"{len(load.acknowledged - stored)} lost, {duplicates} doubled, {len(stored - load.sent)} never sent"
    )
    assert load.acknowledged <= stored <= load.sent, figures
    assert made.value("SELECT count() AS n FROM observations") == len(rows) == len(stored), figures
    assert all(row["own"] == row["trace_id"] + row["id"] for row in rows)
    traces = {trace_id for trace_id, _ in stored}
    assert made.value("SELECT count() AS n FROM traces") == len(traces)
    return figures


def _wait_for_everything(made: Service, load: _Load) -> None:
    """Rows are exported in the order of the buffer: what is sent last is stored last."""
    last = _spans()
    load.note(_ids(last), acknowledged=False)
    assert post(made, to_protobuf(export(*last))).ok
    load.note(_ids(last), acknowledged=True)
    made.wait_for_rows(f"trace_id = '{last[0].trace_id}'", len(last))
    made.wait_for_rows(f"id = '{last[0].trace_id}'", 1, "traces")
