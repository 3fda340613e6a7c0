"""A token bucket that may be overdrawn: what something costs is known only after it was let in."""

from typing import Final


class TokenBucket:
    """Fills at a rate up to its capacity; whoever comes while it is not below zero is let in, and pays afterwards.

    Over any time at most capacity + rate * seconds is taken, and whatever the last ones who were let in cost.

    Args:
        rate: tokens per second, above zero.
        capacity: most tokens, those it starts with.
        now: seconds on a clock that never goes back, as everywhere here.

    Attributes:
        rate: see there.
        level: tokens when somebody asked or paid last; by now it is that or more, so whoever finds some need not ask.
    """

    __slots__ = ("_capacity", "_filled_at", "level", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self._capacity = capacity
        self.level = capacity
        self._filled_at = now

    def wait_seconds(self, now: float) -> float:
        """How long until somebody is let in again; 0 when that is now."""
        return max(0.0, -self._fill(now) / self.rate)

    def pay(self, tokens: float, now: float) -> None:
        """Take tokens out, whether they are there or not."""
        self.level = self._fill(now) - tokens

    def change(self, rate: float, capacity: float, now: float) -> None:
        """Go on with another rate and capacity; debts stay, and nothing is given."""
        self._fill(now)
        self.rate = rate
        self._capacity = capacity
        self.level = min(self.level, capacity)

    def _fill(self, now: float) -> float:
        self.level = min(self._capacity, self.level + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return self.level


LEAST_SHARE: Final = 0.01
"""Of an equal part: what a process has of a limit that others use up, so that its first request is let in."""


def share(limit: float, own: float, total: float, processes: int) -> float:
    """This process's part of a limit, between 0 and 1; over all processes they add up to 1, and LEAST_SHARE at most.

    Each has what it needs, and an equal part of what nobody needs. When all need more than there is, all are cut alike.

    Args:
        limit: tokens per second for all processes together.
        own: what comes to this one, tokens per second.
        total: what comes to all.
        processes: how many there are.
    """
    cut = min(1.0, limit / total) if total > 0 else 1.0
    spare = max(0.0, limit - total) / processes
    return max(LEAST_SHARE / processes, min(1.0, (own * cut + spare) / limit))
