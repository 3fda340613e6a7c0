"""What one INSERT may hold: rows of this version's schema, of not too many partitions."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.batch import Batch
from pipelines.errors import Permanent
from pipelines.schema import TABLES

# ClickHouse refuses an INSERT into more than 100 (max_partitions_per_insert_block), and every day may also write to one
# of its neighbours in the tables that count calls.
_MOST_PARTITIONS: Final = 50
_DAY_NS: Final = 86_400 * 10**9


def portions(batch: Batch, store: str) -> Iterator[pa.RecordBatch]:
    """The rows of a batch, `by_partitions` of its table.

    Raises:
        Permanent: they do not have the table's schema; the message names the store.
    """
    table = TABLES[batch.kind]
    if batch.records.schema != table.arrow_schema:
        raise Permanent(f"{batch.kind} of another schema than this version's cannot be stored in {store}")
    yield from by_partitions(batch.records, table.time_column)


def by_partitions(records: pa.RecordBatch, time_column: str) -> Iterator[pa.RecordBatch]:
    """The rows in portions of at most `_MOST_PARTITIONS` days each."""
    times_ns = records.column(time_column).cast(pa.int64()).to_numpy(zero_copy_only=False)
    days, day_of_row = np.unique(times_ns // _DAY_NS, return_inverse=True)
    if len(days) <= _MOST_PARTITIONS:
        yield records
        return
    for first in range(0, len(days), _MOST_PARTITIONS):
        chosen = (day_of_row >= first) & (day_of_row < first + _MOST_PARTITIONS)
        yield records.filter(pa.array(chosen))
