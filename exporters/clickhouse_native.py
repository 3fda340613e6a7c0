"""The exporter `clickhouse`: a ClickHouse server or cluster over its native protocol."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import structlog

from config.models import ClickHouseExporterSettings
from exporters import clickhouse_migrations, completion
from exporters.clickhouse_client import Refusal, connect, sorted_errors
from exporters.clickhouse_columns import columns, leading_rows, without_collections
from exporters.clickhouse_pressure import Pressure
from exporters.clickhouse_sql import column_list
from exporters.partitions import portions
from exporters.retention import Deletion, order_deletions
from pipelines.batch import Batch
from pipelines.errors import Retryable
from pipelines.schema import TABLES, Table

# A mutation may take hours; whoever has ordered it need not stay.
_UNWAITED: Final[dict[str, Any]] = {"mutations_sync": 0, "distributed_ddl_task_timeout": 60}

_log = structlog.get_logger("clickhouse")


class ClickHouseExporter:
    """Stores batches on a server, in the same tables as the embedded store's.

    Attributes:
        settings: as given.
    """

    def __init__(self, exporter_id: str, settings: ClickHouseExporterSettings) -> None:
        self.settings = settings
        self._id = exporter_id
        self._database = settings.url.database
        self._client = connect(settings)
        self._pressure = Pressure()
        self._has_contents = False

    def open(self) -> None:
        """Create or upgrade tables and views, or see that someone has.

        Raises:
            Permanent: the schema is a later version's, or not there and not to be created.
            Retryable: the server cannot be reached, or cannot do it now.
        """
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def export(self, batch: Batch) -> None:
        """Insert; a row that comes again replaces itself.

        Raises:
            Permanent: rows that ClickHouse will never take.
            Retryable: it cannot take them now; some may be stored already.
        """
        for records in portions(batch, "ClickHouse"):
            self._insert_all(TABLES[batch.kind], records)
        self._complete(batch)

    def migrate(self, *, dry_run: bool) -> list[str]:
        """Bring the schema up to date, or only tell how; needs no `open`.

        Returns:
            The statements, none when it is up to date.

        Raises:
            Permanent: the schema is a later version's, or the server will never take a statement.
            Retryable: the server cannot be reached, or cannot do it now.
        """
        work = clickhouse_migrations.pending if dry_run else clickhouse_migrations.migrate
        return work(self._execute, self.settings)

    def delete_expired(self, keep_days: Mapping[str, int]) -> Iterator[Deletion]:
        """See `exporters.retention.Keeper`; on a connection of its own."""
        with connect(self.settings, **_UNWAITED) as client:

            def execute(statement: str) -> Sequence[Sequence[Any]]:
                with sorted_errors():
                    rows: Sequence[Sequence[Any]] = client.execute(statement)
                return rows

            yield from order_deletions(execute, self._database, keep_days, self.settings.cluster)

    def close(self) -> None:
        """Close the connection; the next statement would open another."""
        self._client.disconnect()

    def _prepare(self) -> None:
        if self.settings.create_schema:
            changed = self.migrate(dry_run=False)
            if changed:
                _log.info("Brought the schema up to date.", exporter=self._id, statements=len(changed))
        else:
            clickhouse_migrations.check(self._execute, self.settings)
        self._has_contents = self._find_contents()

    def _insert_all(self, table: Table, records: pa.RecordBatch) -> None:
        """In one INSERT; in more where the server's memory was short, or ours would be."""
        start = 0
        while start < records.num_rows:
            part = records.slice(start, self._pressure.most_rows)
            part = part.slice(0, leading_rows(part))
            self._insert(table, part)
            start += part.num_rows

    def _insert(self, table: Table, records: pa.RecordBatch) -> None:
        insert = f"INSERT INTO {self._database}.{table.stored_as} ({column_list(table)}) VALUES"
        token = {"insert_deduplication_token": _token(records)}
        with self._pressed(records.num_rows), self._next_host_after_failure(), without_collections():
            self._client.execute(insert, columns(records), columnar=True, settings=token)

    def _complete(self, batch: Batch) -> None:
        """Spans and the log records about them come in any order: whichever comes later finds the other here.

        Another exporter of the same server may have stored the first log record, so it is asked until there is one.
        """
        if batch.kind not in completion.KINDS:
            return
        self._has_contents = self._has_contents or batch.kind == "contents" or self._find_contents()
        if not self._has_contents:
            return
        for statements in completion.settling(self._database, batch, self._content_sizes):
            with self._pressed(batch.rows):
                for statement in statements:
                    self._execute(statement)

    def _find_contents(self) -> bool:
        return bool(self._execute(completion.any_contents(self._database)))

    def _content_sizes(self, wanted: Sequence[completion.Key]) -> Iterator[tuple[completion.Key, int]]:
        for project_id, trace_id, span_id, size_bytes in self._execute(
            completion.content_sizes(self._database, wanted)
        ):
            yield (project_id, trace_id, span_id), int(size_bytes)

    def _execute(self, statement: str) -> Sequence[Sequence[Any]]:
        with self._next_host_after_failure():
            rows: Sequence[Sequence[Any]] = self._client.execute(statement)
        return rows

    @contextmanager
    def _pressed(self, rows: int) -> Iterator[None]:
        """An insert of so many rows, if the server is not to be left in peace now."""
        self._pressure.check()
        try:
            yield
        except Refusal as refusal:
            self._pressure.refused(refusal.code, rows)
            raise
        self._pressure.accepted()

    @contextmanager
    def _next_host_after_failure(self) -> Iterator[None]:
        """The driver changes hosts only when it cannot connect; a replica that is read-only accepts connections."""
        try:
            with sorted_errors():
                yield
        except Retryable:
            self._client.connection.hosts.rotate(-1)
            raise


def _token(records: pa.RecordBatch) -> str:
    """Equal for equal rows: replicas that remember it take a block that is sent again for stored."""
    return hashlib.blake2b(records.serialize(), digest_size=16).hexdigest()
