"""The schema on a ClickHouse server: what is missing is made, and what was made is written down.

Exporters that start together may all do it at once: every statement is harmless to repeat, and what a server says
about two that met is tried again. ClickHouse has no transactions and no locks that a killed process would give back.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from config.clickhouse import ClickHouseSettings
from exporters.clickhouse_calls import COUNTING_TABLES, backfill, create_feed
from exporters.clickhouse_client import Refusal
from exporters.clickhouse_cluster import SHARD, on_cluster
from exporters.clickhouse_sql import create_tables, create_views, quoted, upgrade, upgrade_counting
from pipelines.errors import Permanent
from pipelines.schema import OBSERVATIONS, TABLES

Execute = Callable[[str], Sequence[Sequence[Any]]]
"""Runs one statement and returns its rows."""

VERSION: Final = 1
"""Of the schema; to be raised with every change that an older version must not write to."""
HISTORY: Final = "schema_versions"

# A server by itself answers before the disk has the rows.
_DURABLE: Final = "fsync_after_insert = 1, fsync_part_directory = 1"

_MEETINGS: Final = frozenset({57, 60, 82, 341, 425, 473, 517, 529, 999})
"""What one of two concurrent migrations may be told: already exists, gone, assigned elsewhere, Keeper is busy."""
_ATTEMPTS: Final = 20
_WAIT_SECONDS: Final = 0.25


def migrate(execute: Execute, settings: ClickHouseSettings) -> list[str]:
    """Brings the schema to this version; returns the statements that were run, none when it was there already.

    Raises:
        Permanent: a later version has been there, or the server will never take a statement.
        Retryable: the server cannot be reached or cannot do it now; to be called again.
    """
    statements = pending(execute, settings)
    for statement in statements:
        _repeated(execute, statement)
    return statements


def pending(execute: Execute, settings: ClickHouseSettings) -> list[str]:
    """The statements that `migrate` would run now; changes nothing."""
    database = settings.url.database
    tables, readers = _tables(settings), _feeds_and_views(database)
    declared = on_cluster([*tables, *readers], database, settings.cluster)
    fingerprint = hashlib.sha256("\n".join(declared).encode()).hexdigest()
    if _is_current(execute, database, fingerprint):
        return []
    changes, fillings = _changes(execute, settings), _fillings(execute, database)
    statements = [*tables, *changes, *readers, *fillings, _entry(database, fingerprint)]
    return on_cluster(statements, database, settings.cluster)


def check(execute: Execute, settings: ClickHouseSettings) -> None:
    """Raises Permanent when the schema is not this version's."""
    if pending(execute, settings):
        raise Permanent(
            f"the schema of ClickHouse database {settings.url.database} is not this version's; "
            "run `otlp-receiver migrate`, or set create_schema: true"
        )


def _tables(settings: ClickHouseSettings) -> list[str]:
    database = settings.url.database
    return [*create_tables(database, settings.ttl_days, _DURABLE), _history(database)]


def _feeds_and_views(database: str) -> list[str]:
    return [*(create_feed(table, database) for table in COUNTING_TABLES), *create_views(database)]


def _history(database: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {database}.{HISTORY}\n"
        "(\n    `version` UInt32,\n    `fingerprint` String,\n    `applied_at` DateTime64(6) DEFAULT now64(6)\n)\n"
        "ENGINE = ReplacingMergeTree(applied_at)\nORDER BY (version, fingerprint)\n"
        "COMMENT 'Which schemas have been made here, and when.'"
    )


def _entry(database: str, fingerprint: str) -> str:
    return f"INSERT INTO {database}.{HISTORY} (version, fingerprint) SELECT {VERSION}, {quoted(fingerprint)}"


def _is_current(execute: Execute, database: str, fingerprint: str) -> bool:
    """Whether the last schema that was made is this one.

    Raises:
        Permanent: it is a later version's.
    """
    if not _names(execute, "name", "tables", database, HISTORY):
        return False
    latest = f"SELECT version, fingerprint FROM {database}.{HISTORY} ORDER BY version DESC, applied_at DESC LIMIT 1"  # noqa: S608 - our own names
    rows = execute(latest)
    if rows and rows[0][0] > VERSION:
        raise Permanent(
            f"the schema of ClickHouse database {database} is version {rows[0][0]}, this program knows {VERSION}; "
            "upgrade it, or give it another database"
        )
    return bool(rows) and rows[0][1] == fingerprint


def _changes(execute: Execute, settings: ClickHouseSettings) -> list[str]:
    """What tables of an earlier version lack; nothing where there are none yet."""
    database, ttl_days = settings.url.database, settings.ttl_days
    stored = SHARD if settings.cluster else ""
    statements: list[str] = []
    for table in TABLES.values():
        name = f"{table.stored_as}{stored}"
        for definition in _names(execute, "create_table_query", "tables", database, name):
            columns = set(_names(execute, "name", "columns", database, name))
            statements += upgrade(table, database, ttl_days, columns=columns, definition=definition)
    for counting in COUNTING_TABLES:
        for definition in _names(execute, "create_table_query", "tables", database, f"{counting.name}{stored}"):
            statements += upgrade_counting(counting, database, ttl_days, definition=definition)
    return statements


def _fillings(execute: Execute, database: str) -> list[str]:
    """Where rows were stored before there was a feed: run after it is made, so that nothing falls between."""
    if not _names(execute, "name", "tables", database, OBSERVATIONS.stored_as):
        return []
    unfed = (table for table in COUNTING_TABLES if not _names(execute, "name", "tables", database, table.feed))
    return [backfill(table, database) for table in unfed]


def _names(execute: Execute, column: str, of: str, database: str, table: str) -> list[str]:
    key = "table" if of == "columns" else "name"
    condition = f"database = {quoted(database)} AND {key} = {quoted(table)}"
    return [row[0] for row in execute(f"SELECT {column} FROM system.{of} WHERE {condition}")]  # noqa: S608 - quoted


def _repeated(execute: Execute, statement: str) -> None:
    for _ in range(_ATTEMPTS - 1):
        try:
            execute(statement)
        except Refusal as refusal:
            if refusal.code not in _MEETINGS:
                raise
            time.sleep(_WAIT_SECONDS)
        else:
            return
    execute(statement)
