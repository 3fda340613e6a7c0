"""Token buckets, shares and limits on clocks that the tests turn."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp_receiver.metadata.quotas import Rate, Standing
from otlp_receiver.quotas import Quotas
from otlp_receiver.replies import OVER_QUOTA, Refused
from otlp_receiver.token_bucket import LEAST_SHARE, TokenBucket, share

_RATES = st.floats(0.01, 1e6)
_TRAFFIC = st.lists(st.floats(0, 1e6), min_size=1, max_size=8)


@dataclass
class Clock:
    """Both clocks, turned by hand."""

    seconds: float = 1000.0
    date: datetime = field(default_factory=lambda: datetime(2026, 11, 30, 23, 50, tzinfo=UTC))

    def turn(self, seconds: float) -> None:
        self.seconds += seconds
        self.date += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(lambda: clock.seconds, lambda: clock.date)


def _standing(**limits: int) -> dict[str, Standing]:
    """Of project `p`; bursts that are not given are those of a second."""
    spans, sizes = (
        Rate(rate, limits.get(f"{unit}_burst", rate), 0.0) if (rate := limits.get(f"{unit}_per_second")) else None
        for unit in ("spans", "bytes")
    )
    return {"p": Standing("p", spans, sizes, limits.get("spans_per_month"), limits.get("month_spans", 0))}


def _refusal(quotas: Quotas, project_id: str = "p") -> tuple[str, int | None]:
    with pytest.raises(Refused) as refused:
        quotas.check(project_id)
    assert refused.value.situation is OVER_QUOTA
    return refused.value.message, refused.value.retry_after_seconds


@given(_RATES, st.floats(0, 1e6), st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e6)), max_size=50))
def test_a_bucket_keeps_its_rate(rate: float, capacity: float, arrivals: list[tuple[float, float]]) -> None:
    """Whatever comes when, no more is taken than capacity and rate allow, but for what the last one cost."""
    bucket, now, taken, last = TokenBucket(rate, capacity, 0.0), 0.0, 0.0, 0.0
    for pause_seconds, tokens in arrivals:
        now += pause_seconds
        if not bucket.wait_seconds(now):
            bucket.pay(tokens, now)
            taken, last = taken + tokens, tokens
            assert taken - last <= (capacity + rate * now) * (1 + 1e-9) + 1e-6


@given(_RATES, st.floats(0, 1e6), st.floats(0, 1e9))
def test_the_wait_of_a_bucket_is_enough(rate: float, capacity: float, tokens: float) -> None:
    """Who waits as long as was said, rounded up a little, is let in, and after half of it not yet."""
    bucket = TokenBucket(rate, capacity, 0.0)
    bucket.pay(tokens, 0.0)
    wait_seconds = bucket.wait_seconds(0.0)

    assert (wait_seconds > 0) == (tokens > capacity)
    assert wait_seconds == 0 or bucket.wait_seconds(wait_seconds / 2) > 0
    assert bucket.wait_seconds(wait_seconds * (1 + 1e-9) + 1e-9) == 0


def test_a_changed_bucket_keeps_its_debts() -> None:
    """A new rate counts from the change on, a new capacity gives nothing, and debts are still to be paid."""
    bucket = TokenBucket(10, 10, 0.0)
    bucket.pay(30, 0.0)
    bucket.change(2, 1000, 1.0)

    assert bucket.wait_seconds(1.0) == 5.0
    assert bucket.wait_seconds(6.0) == 0
    bucket.change(2, 0, 6.0)
    assert bucket.wait_seconds(600.0) == 0
    bucket.pay(1, 600.0)
    assert bucket.wait_seconds(600.0) == 0.5


@given(_RATES, _TRAFFIC)
def test_shares_add_up_to_the_limit(limit: float, traffic: list[float]) -> None:
    """However traffic is spread, all processes together have the limit, and LEAST_SHARE of it more at most."""
    shares = [share(limit, own, sum(traffic), len(traffic)) for own in traffic]

    assert 1 - 1e-6 <= sum(shares) <= 1 + LEAST_SHARE + 1e-6
    assert min(shares) > 0


@given(_RATES, _TRAFFIC)
def test_shares_fit_the_traffic(limit: float, traffic: list[float]) -> None:
    """Each process has what it needs as long as the limit is enough for all, else all are cut alike."""
    total = sum(traffic)
    parts = [limit * share(limit, own, total, len(traffic)) for own in traffic]

    for own, part in zip(traffic, parts, strict=True):
        assert part >= min(own, own * limit / max(total, limit)) * (1 - 1e-9)


def test_without_quota(quotas: Quotas) -> None:
    """A project without a quota is let in, whatever others have used up; all that it sends is counted."""
    quotas.settle(_standing(spans_per_second=1), {}, 1)
    quotas.pay("p", spans=1000)
    for _ in range(1000):
        quotas.check("other")
        quotas.pay("other", spans=10, size_bytes=100)

    assert _refusal(quotas)[0].startswith("project p: ")
    counts = quotas.drain()["other"]
    assert (counts.spans, counts.bytes, counts.refused) == (10_000, 100_000, 0)
    assert quotas.drain() == {}


@pytest.mark.parametrize(
    ("limits", "payment", "said"),
    [
        ({"spans_per_second": 1000}, {"spans": 4000}, "1,000 spans per second"),
        ({"bytes_per_second": 1000}, {"size_bytes": 4000}, "1,000 bytes per second"),
        ({"bytes_per_second": 1000, "spans_per_second": 9}, {"size_bytes": 4000}, "1,000 bytes per second"),
    ],
)
def test_a_rate(clock: Clock, quotas: Quotas, limits: dict[str, int], payment: dict[str, int], said: str) -> None:
    """Who is below zero is told how long, which limit and the cure, and is let in again when that time is over."""
    quotas.settle(_standing(**limits), {}, 1)
    quotas.check("p")
    quotas.pay("p", **payment)
    message, retry_seconds = _refusal(quotas)

    assert message == (
        f"project p: its quota of {said} is used up; send less, or have it raised by `otlp-receiver quotas set`"
    )
    assert retry_seconds == 3
    clock.turn(2.9)
    assert _refusal(quotas)[1] == 1
    clock.turn(0.2)
    quotas.check("p")


def test_a_month(clock: Clock, quotas: Quotas) -> None:
    """What all processes took counts; who is over it waits for the next one, UTC, an hour at most."""
    quotas.settle(_standing(spans_per_month=100, month_spans=90), {}, 1)
    quotas.check("p")
    quotas.pay("p", spans=10)
    message, retry_seconds = _refusal(quotas)

    assert "its quota of 100 spans per month is used up" in message
    assert retry_seconds == 600
    clock.date -= timedelta(days=20)
    assert _refusal(quotas)[1] == 3600
    clock.date += timedelta(days=21)
    quotas.settle(_standing(spans_per_month=100, month_spans=90), {}, 1)
    assert _refusal(quotas)[1] == 3600, "what was not drained is not in the sum that was read"
    quotas.drain()
    quotas.settle(_standing(spans_per_month=100, month_spans=90), {}, 1)
    quotas.check("p")


def test_a_long_wait_is_cut(quotas: Quotas) -> None:
    """A debt of days is told as an hour, since limits may be raised."""
    quotas.settle(_standing(bytes_per_second=1), {}, 1)
    quotas.pay("p", size_bytes=10**9)

    assert _refusal(quotas)[1] == 3600


def test_a_larger_share_may_come(quotas: Quotas) -> None:
    """With a small share of the limit nobody is told to wait for longer than all of it, or the next exchange, takes."""
    quotas.settle(_standing(spans_per_second=1000), {}, 1000)
    quotas.pay("p", spans=3001)
    assert _refusal(quotas)[1] == 5
    quotas.pay("p", spans=7000)
    assert _refusal(quotas)[1] == 10


def test_changes(clock: Clock, quotas: Quotas) -> None:
    """A quota may be raised, lowered and taken away; what is owed stays owed while there is one."""
    quotas.settle(_standing(spans_per_second=1, spans_burst=1), {}, 1)
    quotas.pay("p", spans=101)
    quotas.settle(_standing(spans_per_second=100), {}, 1)
    assert _refusal(quotas)[1] == 1
    clock.turn(1.0)
    quotas.check("p")
    quotas.pay("p", spans=50)
    quotas.settle(_standing(spans_per_second=1), {}, 1)
    assert _refusal(quotas)[1] == 50
    assert quotas.limited() == ["p"]
    quotas.settle({}, {}, 1)
    quotas.check("p")
