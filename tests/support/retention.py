"""Rows that were stored days ago, in either store, and how many of them are left."""

import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from exporters.chdb_store import ChdbExporter, _rows
from exporters.clickhouse_native import ClickHouseExporter
from exporters.clickhouse_sql import quoted
from exporters.retention import _TABLES, Execute
from pipelines.schema import TABLES
from tests.support.chdb import DEADLINE_SECONDS, opened
from tests.support.records import from_rows

Store = ChdbExporter | ClickHouseExporter

ROWS: Final = 4
"""Of each project, in each table."""
_TEMPLATE: Final = "template"


def execute_on(store: Store) -> Execute:
    """Runs a statement with the rights of the exporter."""
    return store._execute if isinstance(store, ClickHouseExporter) else partial(_rows, store._connection)


def database(store: Store) -> str:
    """Where its tables are."""
    return store.settings.url.database if isinstance(store, ClickHouseExporter) else "otel"


def export_rows(store: Store, project: str) -> None:
    """Rows of a project in every table, `ROWS` each, as they come; again, they replace themselves."""
    named = [{"project_id": project, "trace_id": f"{number:032x}", "id": f"{number:016x}"} for number in range(ROWS)]
    told = [{**each, "observation_id": each["id"]} for each in named]
    store.export(from_rows("observations", [{**each, "type": "GENERATION"} for each in named]))
    store.export(from_rows("traces", [{"project_id": project, "id": each["trace_id"]} for each in named]))
    store.export(from_rows("scores", told))
    store.export(from_rows("contents", told))


def store_at(store: Store, project: str, stored_at: str) -> None:
    """The same as if they had been stored at another time, an expression in SQL."""
    if not _count(store, f"score_rows WHERE project_id = {quoted(_TEMPLATE)}"):
        export_rows(store, _TEMPLATE)
    changes = f"REPLACE ({quoted(project)} AS project_id, {stored_at} AS stored_at)"
    for table in TABLES.values():
        rows = f"{database(store)}.{table.stored_as}"
        copied = f"SELECT * {changes} FROM {rows} FINAL WHERE {rows}.project_id = {quoted(_TEMPLATE)}"
        execute_on(store)(f"INSERT INTO {rows} {copied}")


def store_days_ago(store: Store, project: str, days: int) -> None:
    """The same, so many days ago."""
    store_at(store, project, f"now() - toIntervalDay({days})")


def left(store: Store, project: str) -> dict[str, int]:
    """Table → how many different rows of a project it has."""
    return {name: _count(store, f"{name} FINAL WHERE project_id = {quoted(project)}") for name in _TABLES}


def _count(store: Store, rest: str) -> int:
    return int(execute_on(store)(f"SELECT count() FROM {database(store)}.{rest}")[0][0])


def mutations(store: Store) -> int:
    """How many have been ordered since the server's start."""
    return int(execute_on(store)(f"SELECT count() FROM system.mutations WHERE database = '{database(store)}'")[0][0])


def store_two_projects(ready: Connection, path: Path) -> None:
    """In a process of its own: `old` has rows of 40 days ago, `new` rows of now."""
    with opened(path, ttl_days=0) as store:
        store_days_ago(store, "old", 40)
        export_rows(store, "new")
        ready.send("stored")


def order_and_wait(ready: Connection, path: Path, keep_days: dict[str, int]) -> None:
    """In a process of its own, to be killed: the deletion is ordered, and cannot begin."""
    with opened(path, ttl_days=0) as store:
        store._connection.query("SYSTEM STOP MERGES")
        ordered = [deletion.table for deletion in store.delete_expired(keep_days)]
        ready.send((ordered, left(store, "old")))
        time.sleep(DEADLINE_SECONDS)


def all_of(count: int) -> dict[str, Any]:
    """What `left` says when every table has so many."""
    return dict.fromkeys(_TABLES, count)
