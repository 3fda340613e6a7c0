"""Promise 1 under fire: `kill -9` of any process at random moments under load loses and doubles nothing.

Senders keep sending, over gRPC and HTTP, and send again what was not acknowledged, and now and then what was. Kills
come after a random number of acknowledged spans, not after a time, so a slow machine proves the same.
"""

import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.load import Load, Role, check, ids_of, kill_after, new_spans, senders
from tests.support.otlp import export, to_protobuf
from tests.support.reporting import Report
from tests.support.senders import post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_ROLES: Final[tuple[Role, ...]] = ("ingest", "export", "supervisor")


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
def test_kill_at_random_moments(fresh: Service, report: Report, kills: int, acknowledged: int, workers: int) -> None:
    """Every acknowledged span is stored, none is visible twice, and nothing is stored that was not sent."""
    fresh.config["service"]["workers"] = workers
    fresh.start()
    chance = random.Random(kills)
    load = Load()
    roles = [_ROLES[number % len(_ROLES)] for number in range(kills)]
    chance.shuffle(roles)
    with senders(load, fresh):
        for number, role in enumerate(roles):
            kill_after(fresh, load, role, (number + chance.random()) * acknowledged / kills)
        load.allow(acknowledged)
        load.wait_for_acknowledged(acknowledged)
    wait_until(lambda: fresh.listens("sql"), 60)
    fresh.wait_until_ready()
    _wait_for_everything(fresh, load)
    figures = check(fresh, load)
    assert fresh.value("SELECT count() AS n FROM traces") == fresh.value("SELECT uniq(trace_id) AS n FROM observations")
    report(f"crash test: {kills} kills, {figures}")
    assert fresh.stop() == 0, fresh.log()
    assert len(load.acknowledged) > 20_000


def _wait_for_everything(made: Service, load: Load) -> None:
    """Rows are exported in the order of the buffer: what is sent last is stored last."""
    last = new_spans()
    load.note(ids_of(last), acknowledged=False)
    assert post(made, to_protobuf(export(*last))).ok
    load.note(ids_of(last), acknowledged=True)
    made.wait_for_rows(f"trace_id = '{last[0].trace_id}'", len(last))
    made.wait_for_rows(f"id = '{last[0].trace_id}'", 1, "traces")
