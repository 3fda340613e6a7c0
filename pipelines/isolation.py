"""Finding the rows that a sink will never take, so that all others are stored."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pipelines.batch import Batch
from pipelines.blocks import cut, halves
from pipelines.errors import Permanent
from pipelines.retry import GaveUp

PROBES: Final = 16
_PROBED_ROWS: Final = 16 * PROBES
MOST_REFUSALS: Final = 4096


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows that were not stored.

    Attributes:
        batch: the rows.
        reason: what the sink said.
    """

    batch: Batch
    reason: str


def isolate(batch: Batch, reason: str, export: Callable[[Batch], None]) -> list[Refused]:
    """Exports every row of a refused batch that the sink takes, each once, and returns the others.

    Bisects until the bad rows are alone. A large batch is probed first: when `PROBES` single rows spread over it
    are all refused, the fault is not in single rows (a column missing in the sink, say), and the rest is returned
    unsearched instead of being tried row by row. And after `MOST_REFUSALS` refusals what is refused is no longer
    divided: searching must end, whatever a client sends.

    Args:
        batch: what `export` refused as a whole.
        reason: what it said.
        export: raises Permanent for what the sink will never take.
    """
    if batch.rows == 1:
        return [Refused(batch, reason)]
    if batch.rows < _PROBED_ROWS:
        return _bisect(halves(batch), export)
    probes, rest = _probes(batch)
    refused = _bisect(probes, export)
    if len(refused) == PROBES:
        return refused + [Refused(part, reason) for part in rest]
    return refused + _bisect(rest, export)


def _probes(batch: Batch) -> tuple[list[Batch], list[Batch]]:
    """Single rows evenly spread, and what lies between them."""
    starts = [batch.rows * number // PROBES for number in range(PROBES + 1)]
    probes = [cut(batch, start, start + 1) for start in starts[:-1]]
    rest = [cut(batch, start + 1, stop) for start, stop in itertools.pairwise(starts)]
    return probes, rest


def _bisect(parts: Iterable[Batch], export: Callable[[Batch], None]) -> list[Refused]:
    refused: list[Refused] = []
    waiting = list(reversed(list(parts)))
    refusals = 0
    while waiting:
        part = waiting.pop()
        try:
            export(part)
        except Permanent as error:
            refusals += 1
            if part.rows == 1 or refusals > MOST_REFUSALS:
                refused.append(Refused(part, str(error)))
            else:
                waiting.extend(reversed(halves(part)))
        except GaveUp as error:  # says nothing about single rows
            refused.append(Refused(part, str(error)))
    return refused
