"""What projects may send through this process: asked before a body is read, paid once it is known what came.

Used from one event loop, and waits for nothing. What the database says of limits and of other processes comes in by
`settle`, and what was taken here goes out by `drain` (`quota_exchange`); without them there are no limits.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from otlp_receiver.replies import OVER_QUOTA, Refused
from otlp_receiver.token_bucket import TokenBucket, share
from pipelines.metrics import QUOTA_REFUSALS

if TYPE_CHECKING:
    from otlp_receiver.metadata.quotas import Month, Rate, Standing, Traffic  # brings a Postgres client along: some MB

EXCHANGE_SECONDS: Final = 5.0
"""How often limits and shares are settled anew."""
_MOST_SECONDS: Final = 3600
"""What senders are told to wait at most: a limit may be raised meanwhile."""
_CURE: Final = "send less, or have it raised by `otlp-receiver quotas set`"


@dataclass(slots=True)
class Counts:
    """What came of a project since it was counted last.

    Attributes:
        spans: that were stored.
        bytes: of request bodies that were read, decompressed.
        let_in: requests that were let in; counted where there is a quota.
        refused: requests that were not.
    """

    spans: int = 0
    bytes: int = 0
    let_in: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Limit:
    """A rate of a project, and this process's share of it."""

    name: str
    per_second: int
    bucket: TokenBucket

    def wait_seconds(self, now: float) -> float:
        """As the bucket says, unless a larger share may come before that."""
        wait_seconds = self.bucket.wait_seconds(now)
        if not wait_seconds:
            return 0.0
        with_all_of_it = wait_seconds * self.bucket.rate / self.per_second
        return min(wait_seconds, max(EXCHANGE_SECONDS, with_all_of_it))


@dataclass(slots=True)
class _Limits:
    """All that limits a project; what is None does not."""

    spans: _Limit | None = None
    bytes: _Limit | None = None
    spans_per_month: int | None = None
    month_left: int = 0


@dataclass(slots=True)
class Quotas:
    """Those of all projects, as far as this process is concerned.

    Args:
        clock: seconds, never goes back.
        now: date and time, UTC.
    """

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _limits: dict[str, _Limits] = field(default_factory=dict)
    _counts: dict[str, Counts] = field(default_factory=dict)

    def check(self, project_id: str) -> None:
        """Let a request of this project in; raises Refused when its quota is used up."""
        limits = self._limits.get(project_id)
        if limits is None:
            return
        counts = self._counts_of(project_id)
        for limit in (limits.spans, limits.bytes):
            if limit is None or limit.bucket.level >= 0:  # most of the time: every request comes by here
                continue
            if (wait_seconds := limit.wait_seconds(self.clock())) > 0:
                counts.refused += 1
                raise _refused(project_id, limit.name, limit.per_second, wait_seconds)
        if limits.spans_per_month is not None and limits.month_left <= 0:
            counts.refused += 1
            raise _refused(project_id, "spans_per_month", limits.spans_per_month, _left_of_month_seconds(self.now()))
        counts.let_in += 1

    def pay(self, project_id: str, *, spans: int = 0, size_bytes: int = 0) -> None:
        """Count what came of a request that was let in."""
        counts = self._counts_of(project_id)
        counts.spans += spans
        counts.bytes += size_bytes
        limits = self._limits.get(project_id)
        if limits is None:
            return
        limits.month_left -= spans
        if spans and limits.spans is not None:
            limits.spans.bucket.pay(spans, self.clock())
        if size_bytes and limits.bytes is not None:
            limits.bytes.bucket.pay(size_bytes, self.clock())

    def limited(self) -> list[str]:
        """The projects that have a quota."""
        return list(self._limits)

    def month(self) -> "Month":
        """The one that is paid for now."""
        return self.now().date().replace(day=1)

    def drain(self) -> dict[str, Counts]:
        """What came since the last time, by project."""
        drained, self._counts = self._counts, {}
        return drained

    def settle(self, standings: "Mapping[str, Standing]", met: "Mapping[str, Traffic]", processes: int) -> None:
        """Take over what is known of the quotas; who has none any more is limited no more.

        Args:
            standings: all quotas, by project; what this process has drained is in their months.
            met: what comes to this process, by project.
            processes: how many live ones share the quotas, this one included.
        """
        former, now = self._limits, self.clock()
        self._limits = {}
        for project_id, standing in standings.items():
            limits, (spans, size_bytes) = former.get(project_id, _Limits()), met.get(project_id, (0.0, 0.0))
            self._limits[project_id] = _Limits(
                _settled(limits.spans, "spans_per_second", standing.spans, met=spans, processes=processes, now=now),
                _settled(
                    limits.bytes, "bytes_per_second", standing.bytes, met=size_bytes, processes=processes, now=now
                ),
                standing.spans_per_month,
                self._left_of_month(standing),
            )

    def _left_of_month(self, standing: "Standing") -> int:
        counts = self._counts.get(standing.project_id)
        return (standing.spans_per_month or 0) - standing.month_spans - (counts.spans if counts else 0)

    def _counts_of(self, project_id: str) -> Counts:
        counts = self._counts.get(project_id)
        if counts is None:
            counts = self._counts[project_id] = Counts()
        return counts


def _settled(
    limit: _Limit | None, name: str, rate: "Rate | None", *, met: float, processes: int, now: float
) -> _Limit | None:
    """The limit with this process's share of it; its debts stay."""
    if rate is None:
        return None
    part = share(rate.per_second, met, rate.met_per_second, processes)
    if limit is None:
        return _Limit(name, rate.per_second, TokenBucket(rate.per_second * part, rate.burst * part, now))
    limit.per_second = rate.per_second
    limit.bucket.change(rate.per_second * part, rate.burst * part, now)
    return limit


def _refused(project_id: str, name: str, most: int, wait_seconds: float) -> Refused:
    QUOTA_REFUSALS.labels(project_id, name).inc()
    unit = name.replace("_", " ")
    retry_seconds = min(_MOST_SECONDS, max(1, math.ceil(wait_seconds)))
    message = f"project {project_id}: its quota of {most:,} {unit} is used up; {_CURE}"
    return Refused(OVER_QUOTA, message, retry_seconds)


def _left_of_month_seconds(now: datetime) -> float:
    next_month = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (next_month - now).total_seconds()
