"""The production shape while ClickHouse, or the way to it, fails under load: what is acknowledged is stored, once.

One service before one server for the whole file; each test breaks something under a load of its own, and prints what
became of it. A longer run of the same is marked nightly.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Final

import pytest

from tests.support.fault_service import (
    ENOUGH,
    TIMEOUT_SECONDS,
    Shape,
    kill,
    metric,
    settle,
    shape,
    under_load,
    until_it_fails,
    wait_for_metric,
)
from tests.support.load import senders
from tests.support.reporting import Report

_AGE: Final = "otlp_receiver_oldest_unexported_age_seconds"


@pytest.fixture(scope="module")
def started() -> Iterator[Shape]:
    """A service that was started while ClickHouse was down, which must not keep it from being ready."""
    with shape() as made:
        made.front.kill()
        made.service.start()
        made.front.start()
        yield made
        assert made.service.stop() == 0, made.service.log()


@pytest.fixture
def playing(started: Shape) -> Iterator[Shape]:
    """The same, sound again at the end of each test."""
    yield started
    started.heal()


def test_down_from_the_start(started: Shape, report: Report) -> None:
    """The service is ready without its store, takes spans, and stores them as soon as the store is there."""
    load = started.load()
    started.between.refuses = True
    started.between.cut()
    with senders(load, started.service):
        load.allow(ENOUGH)
        load.wait_for_acknowledged(ENOUGH)
    assert started.service.is_ready()
    started.heal()
    report(f"down from the start: {settle(started, load)}")


def test_down_longer_than_any_time_out(playing: Shape, report: Report) -> None:
    """Senders notice nothing; the age of the oldest record tells the operator, and the service stays ready."""
    with under_load(playing, report, "down for longer than the time-outs"):
        playing.front.kill()
        wait_for_metric(playing.service, _AGE, 2 * TIMEOUT_SECONDS)
        assert playing.service.is_ready()
        playing.front.start()


@pytest.mark.parametrize(
    "slow_seconds", [TIMEOUT_SECONDS / 4, TIMEOUT_SECONDS * 1.5], ids=["within the time-out", "beyond it"]
)
def test_slow(playing: Shape, report: Report, slow_seconds: float) -> None:
    """Inserts that take long are waited for; beyond the time-out they are sent again, and seen once."""
    noticed = until_it_fails(playing.service) if slow_seconds > TIMEOUT_SECONDS else nullcontext()
    with under_load(playing, report, f"inserts that take {slow_seconds} s"), noticed:
        playing.front.fail(slow_seconds=slow_seconds)


@pytest.mark.parametrize(
    ("code", "share"),
    [
        pytest.param(243, 0.7, id="70 % of the inserts refused"),
        pytest.param(252, 0.3, id="TOO_MANY_PARTS"),
        pytest.param(242, 1.0, id="TABLE_IS_READ_ONLY"),
        pytest.param(164, 1.0, id="READONLY"),
        pytest.param(241, 0.7, id="MEMORY_LIMIT_EXCEEDED"),
    ],
)
def test_refusing(playing: Shape, report: Report, code: int, share: float) -> None:
    """A server that answers and does not take the rows, always or often, gets them later; nothing is set aside."""
    with under_load(playing, report, f"code {code}, {share:.0%}"), until_it_fails(playing.service):
        playing.front.fail(share=share, code=code)

    assert metric(playing.service, "otlp_receiver_dead_letter_rows") == 0


def _restart(playing: Shape) -> None:
    playing.front.kill()
    playing.front.start()


_FAULTS: Final[tuple[Callable[[Shape], object], ...]] = (
    _restart,
    lambda playing: playing.between.cut(),
    lambda playing: playing.front.fail(share=0.7, code=243),
    lambda playing: playing.front.fail(share=0.5, code=241),
    lambda playing: playing.front.fail(share=0.1, code=252),
    lambda playing: playing.front.fail(share=1.0, code=242),
    lambda playing: playing.front.fail(slow_seconds=TIMEOUT_SECONDS * 1.5),
    lambda playing: playing.front.fail(withheld=0.5),
    lambda playing: setattr(playing.between, "swallows", True),
    lambda playing: setattr(playing.between, "cut_replies", 0.3),
    lambda playing: setattr(playing.between, "cut_requests", 0.3),
    lambda playing: kill(playing.service, "export"),
    lambda playing: kill(playing.service, "ingest"),
)


@pytest.mark.nightly
def test_everything_at_random(playing: Shape, report: Report) -> None:
    """Fault after fault, each of a kind chosen by chance, for a few minutes."""
    faults, enough = 60, 200_000
    chance = random.Random(faults)
    with under_load(playing, report, f"{faults} faults by chance", enough=enough) as load:
        for number in range(faults):
            load.allow(number * enough // faults + 2_000)
            load.wait_for_acknowledged(number * enough // faults)
            playing.heal()
            chance.choice(_FAULTS)(playing)
        load.allow(enough)
