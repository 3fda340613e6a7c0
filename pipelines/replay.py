"""Dead letters back into the buffer, from where the exporters take their rows as they take all others.

The rows are durable in the buffer before their letter is marked. Whoever is killed between the two leaves a letter that
may be replayed again: harmless, since a row that comes again replaces itself. What is refused again becomes a new
letter.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipelines.batch import Batch
from pipelines.blocks import split
from pipelines.buffers import ENTRY_ROWS, Buffer
from pipelines.buffers.payload import SCHEMAS, in_current_schema
from pipelines.dead_letters import DeadLetterStore
from pipelines.errors import Permanent

_APPEND_BYTES: Final = 4 << 20  # in small steps: the senders' appends wait for each


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a letter.

    Attributes:
        name: of the letter.
        rows: number of rows that are in the buffer again.
        problem: why it stays as it is; empty when it was replayed.
    """

    name: str
    rows: int
    problem: str = ""


def replay(letters: DeadLetterStore, names: Collection[str], buffer: Buffer) -> Iterator[Replayed]:
    """Appends the rows of each letter and marks it; each is done when it is yielded.

    Processors are not run again. All exporters of the buffer get the rows, also those that had stored them.

    Raises:
        Retryable: the letters cannot be read now, or the buffer cannot take them; those not yielded remain.
        Permanent: a letter is not there.
    """
    for name, letter in letters.read_all(names):
        if isinstance(letter.content, bytes):
            yield Replayed(name, 0, f"it holds bytes, not rows: {letter.reason}")
            continue
        try:
            _append(letter.content, buffer)
        except (Permanent, pa.ArrowException, ValueError) as error:
            yield Replayed(name, 0, f"this version cannot store its {letter.content.kind}: {error}")
        else:
            letters.mark_replayed(name)
            yield Replayed(name, letter.content.rows)


def _append(batch: Batch, buffer: Buffer) -> None:
    """In today's schema, and as received now: the age of the oldest row is to tell of the sink alone."""
    records = in_current_schema(batch.records, SCHEMAS[batch.kind])
    for piece in split(Batch(batch.kind, records, time.time_ns()), ENTRY_ROWS, _APPEND_BYTES):
        buffer.append([piece])
