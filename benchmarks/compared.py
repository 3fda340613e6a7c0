"""Two schemas that take the same rows by turns, in one process: what one costs beside the other on any machine.

`python -m benchmarks.compared NAME` prints the figures of a variant and of the declared schema as JSON;
`python -m benchmarks.compared NAME ROWS` what questions cost when the variant alone has so many rows.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from benchmarks.queries import questions
from benchmarks.replayed import COPY_ROWS, Replay, seed
from benchmarks.variants import VARIANTS, Variant
from config.models import ChdbExporterSettings
from exporters.chdb_store import DATABASE, ChdbExporter
from exporters.clickhouse_calls import COUNTING_TABLES
from exporters.clickhouse_sql import column_list, ddl
from pipelines.batch import Batch
from pipelines.blocks import cut, join
from pipelines.schema import OBSERVATIONS, TABLES, TRACES

_ROUNDS: Final = 5
_COPIES_A_ROUND: Final = 4  # that one merge brings together
_DAYS: Final = 30
_REPEATS: Final = 40
_DAY_NS: Final = 86_400 * 10**9
_HOUR_NS: Final = 3600 * 10**9
_STORED: Final = (OBSERVATIONS.stored_as, TRACES.stored_as, *(table.name for table in COUNTING_TABLES))
_FEW_VALUES: Final = [each.name for each in OBSERVATIONS.columns if each.clickhouse == "LowCardinality(String)"]
# As the exporter's own. Parts are merged when it is asked for, never meanwhile.
_SESSION: Final = "SET max_threads = 1, max_insert_threads = 1, optimize_on_insert = 0"
_NO_MERGES: Final = (r"\nSETTINGS (?=[^\n]*ttl_only)", "\nSETTINGS max_bytes_to_merge_at_max_space_in_pool = 1, ")
_MERGE: Final = "OPTIMIZE TABLE {table} FINAL SETTINGS optimize_skip_merged_partitions = 1"
_OURS: Final = f"SELECT name FROM system.tables WHERE database = '{DATABASE}' ORDER BY endsWith(engine, 'View') DESC"
_MEMORY_MIB: Final = 16384  # of blocks of a whole day
_ONE_PART: Final = "min_insert_block_size_rows = 10000000, min_insert_block_size_bytes = 0"


@dataclass
class Costs:
    """Processor seconds of each round, and bytes on disk when everything is merged."""

    rows: int = 0
    insert: list[float] = field(default_factory=list)
    merge: list[float] = field(default_factory=list)
    bytes: int = 0


class Schema:
    """A database of a variant, which takes rows and notes what they cost."""

    def __init__(self, connection: Any, database: str, variant: Variant) -> None:
        self.costs = Costs()
        self._connection = connection
        self._database = database
        self._variant = variant
        for statement in changed(ddl(database, 0), (*variant.changes, _NO_MERGES)):
            connection.query(statement)
        for name in variant.left_out:
            connection.query(f"DROP TABLE {database}.{name}")

    def insert(self, batches: list[Batch], copies: int) -> None:
        """What so many copies are, in as many INSERTs as the variant's blocks need."""
        pieces = [piece for batch in batches for piece in self._pieces(batch, copies)]
        began = time.process_time()
        for piece in pieces:
            self._insert(piece)
        self.costs.insert.append(time.process_time() - began)
        self.costs.rows += copies * COPY_ROWS

    def merge(self) -> None:
        """Everything of a day to one part."""
        began = time.process_time()
        for name in _STORED:
            self._connection.query(_MERGE.format(table=f"{self._database}.{name}"))
        self.costs.merge.append(time.process_time() - began)
        self.costs.bytes = self._size_bytes()

    def _pieces(self, batch: Batch, copies: int) -> Iterator[Batch]:
        rows = max(1, batch.rows * self._variant.block_rows // (copies * COPY_ROWS))
        for start in range(0, batch.rows, rows):
            yield cut(batch, start, min(start + rows, batch.rows))

    def _insert(self, batch: Batch) -> None:
        columns = column_list(TABLES[batch.kind])
        block = self._handed_over(batch)  # noqa: F841 - chDB finds it by name
        settings = f"SETTINGS {self._variant.settings}" if self._variant.settings else ""
        into = f"{self._database}.{TABLES[batch.kind].stored_as} ({columns}) {settings}"
        self._connection.query(f"INSERT INTO {into} SELECT {columns} FROM Python(block)")

    def _handed_over(self, batch: Batch) -> pa.Table:
        block = pa.Table.from_batches([batch.records])
        for name in _FEW_VALUES if self._variant.encoded and batch.kind == "observations" else ():
            place = block.schema.get_field_index(name)
            block = block.set_column(place, name, block.column(name).dictionary_encode())
        return block

    def _size_bytes(self) -> int:
        sql = f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{self._database}'"
        return int(self._connection.query(sql, "TSV").bytes())


def changed(statements: list[str], changes: tuple[tuple[str, str], ...]) -> list[str]:
    """The statements with every pattern replaced.

    Raises:
        ValueError: a pattern is found nowhere: what it changes is declared in another way now.
    """
    for pattern, replacement in changes:
        if not any(re.search(pattern, statement) for statement in statements):
            raise ValueError(f"no statement of the schema has {pattern}; write the variant anew")
        statements = [re.sub(pattern, replacement, statement) for statement in statements]
    return statements


def compare(variant: Variant) -> tuple[Costs, Costs]:
    """Of the declared schema and of the variant, both in one process, whichever is first by turns."""
    replay = Replay(seed())
    with _opened() as (_, connection):
        declared, varied = Schema(connection, "declared", Variant()), Schema(connection, "varied", variant)
        for number in range(_ROUNDS):
            batches = join(batch for copy in _day(replay, number + 1, _COPIES_A_ROUND) for batch in copy)
            for schema in (declared, varied)[:: -1 if number % 2 else 1]:
                schema.insert(batches, _COPIES_A_ROUND)
                schema.merge()
    return declared.costs, varied.costs


def ask(variant: Variant, rows: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds that each question takes, by processor and by the clock, when every day is merged."""
    replay, copies = Replay(seed()), -(-rows // (_DAYS * COPY_ROWS))
    whole_days = replace(variant, settings=_ONE_PART, block_rows=copies * COPY_ROWS)
    with _opened() as (exporter, connection):
        for name in connection.query(_OURS, "TSV").bytes().decode().split():
            connection.query(f"DROP TABLE {DATABASE}.{name} SYNC")
        schema = Schema(connection, DATABASE, whole_days)
        for day in range(1, _DAYS + 1):
            schema.insert(join(batch for copy in _day(replay, day, copies) for batch in copy), copies)
            schema.merge()  # what was inserted is read as if it held copies, until it has been merged
        with closing(exporter.reader({})) as reader:
            return {name: _asked(reader, make) for name, make in questions(reader, _DAYS).items()}


def _day(replay: Replay, days_ago: int, copies: int) -> Iterator[list[Batch]]:
    """Far enough from midnight that rows belong to one day."""
    midnight_ns = (time.time_ns() // _DAY_NS - days_ago) * _DAY_NS
    return replay.copies(copies, midnight_ns + 2 * _HOUR_NS, midnight_ns + 20 * _HOUR_NS)


def _asked(reader: Any, make: Callable[[], str]) -> tuple[list[float], list[float]]:
    reader.query(make())  # warm
    processor_seconds, clock_seconds = [], []
    for _ in range(_REPEATS):
        question, processor, clock = make(), time.process_time(), time.perf_counter()
        reader.query(question)
        processor_seconds.append(time.process_time() - processor)
        clock_seconds.append(time.perf_counter() - clock)
    return processor_seconds, clock_seconds


@contextmanager
def _opened() -> Iterator[tuple[ChdbExporter, Any]]:
    """The embedded store as the service opens it, and a connection that may do anything."""
    import chdb

    with tempfile.TemporaryDirectory() as directory:
        settings = ChdbExporterSettings(path=f"{directory}/chdb", ttl_days=0, max_memory_mib=_MEMORY_MIB)
        exporter = ChdbExporter("chdb", settings)
        exporter.open()
        try:
            connection = chdb.connect(settings.path)  # type: ignore[no-untyped-call]  # the package lacks annotations
            with closing(connection):
                connection.query(_SESSION)
                yield exporter, connection
        finally:
            exporter.close()


def main(name: str, rows: str = "") -> None:
    """Print the figures of a variant as JSON."""
    variant = VARIANTS[name]
    print(json.dumps(ask(variant, int(rows)) if rows else [asdict(costs) for costs in compare(variant)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
