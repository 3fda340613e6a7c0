"""A sink to test the export loop with: remembers every row, and fails as it is told."""

import threading
import time
from collections.abc import Callable
from random import Random

from pipelines.batch import Batch
from pipelines.errors import Permanent, Retryable
from tests.support.records import ids

Verdict = Callable[[Batch], None]
"""Raises for batches that are not to be stored."""


def accept(_batch: Batch) -> None:
    """Everything is stored."""


class Sink:
    """An exporter that stores in memory.

    Attributes:
        stored: the batches, in the order in which they came.
        attempts: number of exports tried.
        verdict: what happens to the next ones.
        gate: exports wait for it; open at first.
    """

    def __init__(self, verdict: Verdict = accept) -> None:
        self.stored: list[Batch] = []
        self.attempts = 0
        self.verdict = verdict
        self.opening: Callable[[], None] = lambda: None
        self.gate = threading.Event()
        self.gate.set()

    def open(self) -> None:
        """Does what the test says."""
        self.opening()

    def export(self, batch: Batch) -> None:
        """Stores all or nothing."""
        self.attempts += 1
        assert self.gate.wait(60)
        self.verdict(batch)
        self.stored.append(batch)

    def close(self) -> None:
        """Nothing to do."""

    def rows(self) -> int:
        """Number of rows stored."""
        return sum(batch.rows for batch in self.stored)


def slow(seconds: float) -> Verdict:
    """Every export takes that long."""
    return lambda _batch: time.sleep(seconds)


def refusing(bad_ids: set[str]) -> Verdict:
    """Permanent for every batch that holds one of the rows."""

    def verdict(batch: Batch) -> None:
        if bad := bad_ids.intersection(ids([batch])):
            raise Permanent(f"no place for {min(bad)}")

    return verdict


def failing_at_random(share: float, then: Verdict, seed: int = 7) -> Verdict:
    """Retryable for a share of the attempts, else what `then` says."""
    chance = Random(seed)

    def verdict(batch: Batch) -> None:
        if chance.random() < share:
            raise Retryable("not now")
        then(batch)

    return verdict


def always(error: Exception) -> Verdict:
    """The same failure every time."""

    def verdict(_batch: Batch) -> None:
        raise error

    return verdict
