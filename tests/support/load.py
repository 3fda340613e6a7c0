"""Load for fault tests: senders that send again what was not acknowledged, and now and then what was."""

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal

import grpc
import requests

from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.senders import Call, grpc_calls, post
from tests.support.service import Service
from tests.support.waiting import wait_until

_SPANS_PER_REQUEST: Final = 20
_SENDERS: Final = ("grpc", "grpc", "http", "http")
Ids = set[tuple[str, str]]
Role = Literal["ingest", "export", "supervisor"]


@dataclass
class Load:
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


def ids_of(spans: list[Span]) -> Ids:
    return {(each.trace_id, each.span_id) for each in spans}


def new_spans() -> list[Span]:
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


def send_until_ended(load: Load, made: Service, transport: str, seed: int) -> None:
    chance = random.Random(seed)
    try:
        while load.wait_for_quota():
            spans = new_spans()
            load.note(ids_of(spans), acknowledged=False)
            if _deliver(load, made, transport, to_protobuf(export(*spans)), chance):
                load.note(ids_of(spans), acknowledged=True)
    except BaseException as error:
        load.failures.append(error)
        raise


def _deliver(load: Load, made: Service, transport: str, body: bytes, chance: random.Random) -> bool:
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


@contextmanager
def senders(load: Load, made: Service) -> Iterator[None]:
    """Two senders over gRPC and two over HTTP; they end with the block."""
    threads = [
        threading.Thread(target=send_until_ended, args=(load, made, transport, number))
        for number, transport in enumerate(_SENDERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.end()
        for thread in threads:
            thread.join()


def kill_after(made: Service, load: Load, role: Role, count: float) -> None:
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


def check(made: Service, load: Load) -> str:
    """Holds what is stored against what was sent and what was acknowledged."""
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
    return figures
