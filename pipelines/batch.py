"""The unit that crosses every queue: many records of one kind, as one Arrow batch."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Kind = Literal["observations", "traces", "scores", "contents"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one kind; immutable by convention.

    Attributes:
        kind: which table of `pipelines.schema.TABLES` the rows belong to.
        records: the rows, with exactly that table's Arrow schema; every row carries its project_id.
        received_at_ns: when the oldest request in it was received, Unix nanoseconds (for socket-to-stored latency).
    """

    kind: Kind
    records: pa.RecordBatch
    received_at_ns: int

    @property
    def rows(self) -> int:
        """Number of records."""
        return int(self.records.num_rows)

    @property
    def size_bytes(self) -> int:
        """Arrow bytes that the rows reference, uncompressed."""
        return int(self.records.nbytes)
