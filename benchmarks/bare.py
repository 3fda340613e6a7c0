"""The yardstick: nothing but `INSERT ... SELECT` of ready Arrow tables into the same table, without fsync.

`python -m benchmarks.bare` prints its rows per second, in a process of its own.
"""

import tempfile
import time
from typing import Any, Final

import pyarrow as pa

from config.models import ChdbExporterSettings
from pipelines.batch import Batch

_BLOCK_ROWS: Final = 16384
_BLOCKS: Final = 4


def insert_rate(path: str, batches: list[Batch]) -> float:
    """Observations per second into a copy of the table; the database at `path` is open in this process."""
    import chdb

    from exporters.chdb_store import DATABASE

    connection: Any = chdb.connect(path)  # type: ignore[no-untyped-call]  # the package lacks annotations
    connection.query(f"USE {DATABASE}")
    ddl = str(connection.query("SHOW CREATE TABLE observation_rows", "TSVRaw").bytes().decode())
    connection.query("CREATE TABLE bare_rows (" + ddl.split("(", 1)[1])
    connection.query("ALTER TABLE bare_rows MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0")
    columns = ", ".join(batches[0].records.schema.names)
    began = time.perf_counter()
    for batch in batches:
        table = pa.Table.from_batches([batch.records])  # noqa: F841 - chDB finds it by name
        connection.query(f"INSERT INTO bare_rows ({columns}) SELECT {columns} FROM Python(table)")
    rate = sum(batch.rows for batch in batches) / (time.perf_counter() - began)
    connection.close()
    return rate


def measure() -> float:
    """Chat spans, blocks as the exporter's."""
    from benchmarks.stages import mapped_batches
    from exporters.chdb_store import ChdbExporter

    batches = [mapped_batches("chat", _BLOCK_ROWS, seed)[0] for seed in range(1, _BLOCKS + 1)]
    with tempfile.TemporaryDirectory() as directory:
        exporter = ChdbExporter("chdb", ChdbExporterSettings(path=f"{directory}/chdb"))
        exporter.open()
        rate = insert_rate(f"{directory}/chdb", batches)
        exporter.close()
    return rate


if __name__ == "__main__":
    print(measure())
