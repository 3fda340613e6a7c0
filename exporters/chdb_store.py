"""The exporter `chdb`: ClickHouse embedded in this process."""

import atexit
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import chdb
import orjson
import pyarrow as pa
import structlog

from config.models import ChdbExporterSettings
from exporters import completion
from exporters.chdb_directory import PROJECT_SETTING, READER, make_ready, server_settings
from exporters.clickhouse_calls import COUNTING_TABLES, CountingTable, backfill, create_feed
from exporters.clickhouse_errors import sorted_error
from exporters.clickhouse_sql import (
    READER_SETTINGS,
    column_list,
    create_tables,
    create_views,
    quoted,
    upgrade,
    upgrade_counting,
)
from exporters.partitions import portions
from exporters.retention import Deletion, order_deletions
from pipelines.batch import Batch
from pipelines.errors import Permanent, Retryable
from pipelines.schema import TABLES, Table

DATABASE: Final = "otel"

_STORING: Final = (
    *(table.stored_as for table in TABLES.values()),
    *(name for table in COUNTING_TABLES for name in (table.name, table.feed)),
)
"""Whatever holds rows: the tables, and the feeds, which show what they have written."""
_READER_SHARE: Final = 4
"""What part of the memory a single query may use: queries must not starve the inserts."""

_log = structlog.get_logger("chdb")


class ChdbExporter:
    """Stores batches in a chDB directory, and hands out connections that can only read it.

    One process at a time may have a directory open, and a process may have one directory open.

    Attributes:
        settings: as given.
    """

    def __init__(self, exporter_id: str, settings: ChdbExporterSettings) -> None:
        self.settings = settings
        self._id = exporter_id
        self._directory = ""
        self._connection: Any = None
        self._connecting = threading.Lock()
        self._has_contents = False

    def open(self) -> None:
        """Open the directory, create or upgrade tables and views.

        Raises:
            Permanent: the directory or what is in it cannot be used; the message names it and the cure.
            Retryable: another process has it open.
        """
        self._directory = str(make_ready(self.settings.path))
        with server_settings(self.settings.max_memory_mib, DATABASE, _STORING) as config:
            try:
                self._connection = _connect(f"{self._directory}?config-file={config}")
            except RuntimeError as error:
                raise Permanent(f"chDB cannot open the directory {self._directory}: {error}") from error
        atexit.register(self.close)  # a process that ends while chDB is merging crashes
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def export(self, batch: Batch) -> None:
        """Insert, synced to disk on return; a row that comes again replaces itself.

        Raises:
            Permanent: rows that ClickHouse will never take.
            Retryable: it cannot take them now; some may be stored already.
        """
        for records in portions(batch, "chDB"):
            self._insert(TABLES[batch.kind], records)
        self._complete(batch)

    def reader(self, settings: Mapping[str, str], project_id: str = "") -> Any:
        """A new connection that can read our database and nothing else, and can change nothing, not even settings.

        It costs half a millisecond; the caller closes it. Connections work at the same time in different threads.

        Args:
            settings: ClickHouse settings that it keeps for good, such as limits.
            project_id: the one project whose rows it sees; empty = all.

        Raises:
            Retryable: the exporter is not open.
            RuntimeError: ClickHouse refuses a setting.
        """
        memory_bytes = (self.settings.max_memory_mib << 20) // _READER_SHARE
        given = {**READER_SETTINGS, "max_memory_usage": str(memory_bytes), **settings}
        final = {**given, PROJECT_SETTING: project_id, "readonly": "1"}
        changes = ", ".join(f"{name} = {quoted(value)}" for name, value in final.items())
        connection = self._another_connection()
        try:
            for statement in (f"SET ROLE {READER}", f"USE {DATABASE}", f"SET {changes}"):
                connection.query(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def delete_expired(self, keep_days: Mapping[str, int]) -> Iterator[Deletion]:
        """See `exporters.retention.Keeper`; on a connection of its own."""
        connection = self._another_connection()
        try:
            with _sorted_errors():
                connection.query("SET mutations_sync = 0")
                yield from order_deletions(partial(_rows, connection), DATABASE, keep_days)
        finally:
            connection.close()

    def close(self) -> None:
        """End all queries and close the directory; readers that are still open must be closed too."""
        with self._connecting:
            connection, self._connection = self._connection, None
        if connection is not None:
            atexit.unregister(self.close)
            with suppress(RuntimeError):  # closing matters more
                connection.query("KILL QUERY WHERE query_id != queryID() ASYNC")
            connection.close()

    def _another_connection(self) -> Any:
        with self._connecting:  # none is made while the last one is closed
            if self._connection is None:
                raise Retryable("the embedded store is not open")
            return _connect(self._directory)

    def _complete(self, batch: Batch) -> None:
        """Spans and the log records about them come in any order: whichever comes later finds the other here."""
        self._has_contents = self._has_contents or batch.kind == "contents"
        if not self._has_contents or batch.kind not in completion.KINDS:
            return
        with _sorted_errors():
            for statements in completion.settling(DATABASE, batch, self._content_sizes):
                for statement in statements:
                    self._connection.query(statement)

    def _content_sizes(self, wanted: Sequence[completion.Key]) -> Iterator[tuple[completion.Key, int]]:
        query = completion.content_sizes(DATABASE, wanted)
        for line in self._connection.query(query, "JSONCompactEachRow").bytes().splitlines():
            *key, size_bytes = orjson.loads(line)
            yield (key[0], key[1], key[2]), int(size_bytes)

    def _prepare(self) -> None:
        with _sorted_errors():
            # Blocks are small and there is one at a time: more threads cost memory and win nothing. Copies within a
            # block are left to the merges, as those between blocks are: a quarter less processor time per insert.
            self._connection.query(
                "SET max_threads = 1, max_insert_threads = 1, optimize_on_insert = 0, "
                f"max_query_size = {completion.MAX_QUERY_SIZE}"
            )
            for statement in create_tables(DATABASE, self.settings.ttl_days):
                self._connection.query(statement)
            for table in TABLES.values():
                self._upgrade(table)
            for counting in COUNTING_TABLES:
                self._upgrade_counting(counting)
            for statement in create_views(DATABASE):
                self._connection.query(statement)
            self._has_contents = bool(self._connection.query(completion.any_contents(DATABASE)).bytes())

    def _upgrade(self, table: Table) -> None:
        columns = set(self._lines("name FROM system.columns", table.stored_as))
        (definition,) = self._lines("create_table_query FROM system.tables", table.stored_as)
        self._change(upgrade(table, DATABASE, self.settings.ttl_days, columns=columns, definition=definition))

    def _upgrade_counting(self, table: CountingTable) -> None:
        """The feed comes last, so that where it is the rows of earlier versions are in."""
        (definition,) = self._lines("create_table_query FROM system.tables", table.name)
        self._change(upgrade_counting(table, DATABASE, self.settings.ttl_days, definition=definition))
        if not self._lines("name FROM system.tables", table.feed):
            self._connection.query(backfill(table, DATABASE))
            self._connection.query(create_feed(table, DATABASE))

    def _change(self, statements: list[str]) -> None:
        for statement in statements:
            _log.info("Upgrading the store.", exporter=self._id, statement=statement)
            self._connection.query(statement)

    def _lines(self, column: str, table: str) -> list[str]:
        query = f"SELECT {column} WHERE database = {{database:String}} AND table = {{table:String}}"
        text: bytes = self._connection.query(query, "TSVRaw", params={"database": DATABASE, "table": table}).bytes()
        return text.decode().splitlines()

    def _insert(self, table: Table, records: pa.RecordBatch) -> None:
        block = pa.Table.from_batches([records])  # noqa: F841 - Python(block) finds it by this name
        columns = column_list(table)
        insert = f"INSERT INTO {DATABASE}.{table.stored_as} ({columns}) SELECT {columns} FROM Python(block)"  # noqa: S608 - our own names
        with _sorted_errors():
            self._connection.query(insert)


def _connect(target: str) -> Any:
    return chdb.connect(target)  # type: ignore[no-untyped-call] # chDB ships it without types


def _rows(connection: Any, statement: str) -> list[list[Any]]:
    return [orjson.loads(line) for line in connection.query(statement, "JSONCompactEachRow").bytes().splitlines()]


@contextmanager
def _sorted_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise sorted_error(str(error)) from error
