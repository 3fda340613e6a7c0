"""The record in ClickHouse SQL, derived from `pipelines.schema.TABLES`: tables, views, column lists, upgrades.

    observations ─▶ observation_rows   ReplacingMergeTree; the view reads FINAL, so no copy of a span is ever visible
    scores       ─▶ score_rows         likewise
    contents     ─▶ content_rows       likewise; they complete observation_rows (`exporters.completion`)
    traces       ─▶ trace_rows         AggregatingMergeTree of partial rows; FINAL merges what is not merged yet

and from the tables that count each model call once (`exporters.clickhouse_calls`):

    model_calls, trace_totals, model_usage

Rows expire `ttl_days` after they were *stored*, not by their own timestamps: a span with an old or wrong clock, or a
replay of last year's traffic, would otherwise be dropped within seconds of being acknowledged.
"""

from typing import Final

from exporters.clickhouse_calls import COUNTING_TABLES, CountingTable, create_feed
from exporters.clickhouse_views import model_calls, model_usage, trace_totals
from pipelines.schema import CONTENTS, OBSERVATIONS, RANKED, SCORES, TABLES, TRACES, Column, Table

VIEWS: Final = ("observations", "scores", "traces", "contents", "model_calls", "trace_totals", "model_usage")

# Storage only, never sent and not in the views; `stored_at` is what the time to live counts from.
_STORED_AT: Final = "`stored_at` {type} DEFAULT now() CODEC(Delta(4), ZSTD(1))"
# What of an observation came from log records, and how much they said (`exporters.completion`).
_COMPLETED: Final = (
    "`completed` Array(String) CODEC(ZSTD(1))",
    "`completed_weight` UInt64 CODEC(ZSTD(1))",
)
# What earlier versions stored and nothing reads any more.
_RETIRED: Final[dict[str, str]] = {
    "INDEX usage_key_index": "DROP INDEX IF EXISTS usage_key_index",
    "`usage_key`": "DROP COLUMN IF EXISTS usage_key",
}

# A day that nothing more arrives for is merged to one part: reading it then costs no FINAL.
_TABLE_SETTINGS: Final = (
    "ttl_only_drop_parts = 1, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1"
)

# A condition on the sorting key may be applied before rows are merged: copies agree on it.
_TRACE_SETTINGS: Final = "SETTINGS optimize_move_to_prewhere_if_final = 1"
# Copies of a span carry the same start_time, so they lie in the same partition and merging within partitions is enough:
# days that are merged are read as they are. Measured on 3 M rows of 30 days: sums over all 63 ms instead of 541. The
# parts of one trace may lie in two months: not for traces.
_ROW_SETTINGS: Final = f"{_TRACE_SETTINGS}, do_not_merge_across_partitions_select_final = 1"

READER_SETTINGS: Final = {"defer_partition_pruning_after_final": "0"}
"""Settings to read the views with: a condition on start_time then skips other days, which is right for the same reason
(a page of the latest day: 10 ms instead of 380). The engine takes this one from the query only, not from a view."""

_KEYS: Final = TRACES.order_by


def ddl(database: str, ttl_days: int) -> list[str]:
    """Statements that create the database, its tables and its views; harmless to repeat.

    Args:
        database: a plain identifier.
        ttl_days: rows are dropped so many days after they were stored; 0 keeps them for ever.
    """
    feeds = [create_feed(table, database) for table in COUNTING_TABLES]
    return [*create_tables(database, ttl_days), *feeds, *create_views(database)]


def create_tables(database: str, ttl_days: int, *settings: str) -> list[str]:
    """Statements that create the database and its tables; existing ones stay as they are (see `upgrade`).

    Args:
        database: a plain identifier.
        ttl_days: as for `ddl`.
        settings: of every table, beside its own.
    """
    tables = [_create_table(table, database, ttl_days, *settings) for table in TABLES.values()]
    counting = [_create_counting_table(table, database, ttl_days, *settings) for table in COUNTING_TABLES]
    return [f"CREATE DATABASE IF NOT EXISTS {database}", *tables, *counting]


def create_views(database: str) -> list[str]:
    """Statements that create the views, or replace them by what is declared now; the tables must be up to date."""
    bodies = {
        "observations": _latest(OBSERVATIONS, database),
        "scores": _latest(SCORES, database),
        "traces": _merged(TRACES, database),
        "contents": _latest(CONTENTS, database),
        "model_calls": model_calls(database),
        "trace_totals": trace_totals(database),
        "model_usage": model_usage(database),
    }
    return [f"CREATE OR REPLACE VIEW {database}.{name} AS\n{bodies[name]}" for name in VIEWS]


def upgrade(table: Table, database: str, ttl_days: int, *, columns: set[str], definition: str) -> list[str]:
    """Statements that bring an existing table to the declared columns and time to live.

    Args:
        table: what it should be.
        database: where it is.
        ttl_days: as for `ddl`.
        columns: names that it has.
        definition: its CREATE statement as the server shows it.
    """
    name = f"{database}.{table.stored_as}"
    missing = [_column(column) for column in table.columns if column.name not in columns]
    missing += [line for line in _storage_only(table) if line.partition(" ")[0] not in definition]
    return [
        *(f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {line}" for line in missing),
        *(f"ALTER TABLE {name} {change}" for declared, change in _RETIRED.items() if declared in definition),
        *_upgrade_indexes(name, table.indexes, definition),
        *upgrade_ttl(table.stored_as, database, ttl_days, definition=definition),
    ]


def upgrade_counting(table: CountingTable, database: str, ttl_days: int, *, definition: str) -> list[str]:
    """Statements that bring an existing table that counts calls to the declared indexes, settings and time to live.

    Arguments as for `upgrade`.
    """
    name = f"{database}.{table.name}"
    return [
        *([] if table.settings in definition else [f"ALTER TABLE {name} MODIFY SETTING {table.settings}"]),
        *_upgrade_indexes(name, table.indexes, definition),
        *upgrade_ttl(table.name, database, ttl_days, definition=definition),
    ]


def upgrade_ttl(stored_as: str, database: str, ttl_days: int, *, definition: str) -> list[str]:
    """Statements that bring an existing table to the declared time to live; arguments as for `upgrade`."""
    name = f"{database}.{stored_as}"
    if ttl_days and f"TTL {_ttl(ttl_days)}" not in definition:
        return [f"ALTER TABLE {name} MODIFY TTL {_ttl(ttl_days)}"]
    if not ttl_days and "TTL stored_at" in definition:
        return [f"ALTER TABLE {name} REMOVE TTL"]
    return []


def _upgrade_indexes(name: str, indexes: tuple[str, ...], definition: str) -> list[str]:
    """Indexes of new names, for rows to come: to drop one, or build one for stored rows, writes all of them again."""
    missing = [line for line in indexes if f"INDEX {line.split()[1]} " not in definition]
    return [f"ALTER TABLE {name} ADD {line.replace('INDEX', 'INDEX IF NOT EXISTS', 1)}" for line in missing]


def column_list(table: Table) -> str:
    """The columns that are sent, in order, for `INSERT INTO ... (here)`."""
    return ", ".join(f"`{column.name}`" for column in table.columns)


def _create_table(table: Table, database: str, ttl_days: int, *settings: str) -> str:
    lines = [*map(_column, table.columns), *_storage_only(table), *table.indexes]
    storage = _storage(table.engine, table.partition_by, table.order_by, ttl_days, table.doc, table.settings, *settings)
    return _create(f"{database}.{table.stored_as}", lines, storage)


def _create_counting_table(table: CountingTable, database: str, ttl_days: int, *settings: str) -> str:
    own = (f"index_granularity = {table.granularity}", table.settings)
    storage = _storage(table.engine, "day", table.order_by, ttl_days, table.doc, *own, *settings)
    return _create(f"{database}.{table.name}", [*table.columns, *table.indexes], storage)


def _create(name: str, lines: list[str], storage: list[str]) -> str:
    columns = ",\n".join(f"    {line}" for line in lines)
    return "\n".join([f"CREATE TABLE IF NOT EXISTS {name}", "(", columns, ")", *storage])


def _storage(
    engine: str, partition_by: str, order_by: tuple[str, ...], ttl_days: int, doc: str, *settings: str
) -> list[str]:
    return [
        f"ENGINE = {engine}",
        f"PARTITION BY {partition_by}",
        f"ORDER BY ({', '.join(order_by)})",
        *([f"TTL {_ttl(ttl_days)}"] if ttl_days else []),
        f"SETTINGS {', '.join(filter(None, [_TABLE_SETTINGS, *settings]))}",
        f"COMMENT {quoted(doc)}",
    ]


def _storage_only(table: Table) -> tuple[str, ...]:
    merges = table.engine == "AggregatingMergeTree"
    stored_at = _STORED_AT.format(type="SimpleAggregateFunction(max, DateTime)" if merges else "DateTime")
    return (stored_at, *(_COMPLETED if table.kind == "observations" else ()))


def _ttl(days: int) -> str:
    return f"stored_at + toIntervalDay({days})"


def _column(column: Column) -> str:
    codec = f" CODEC({column.codec})" if column.codec else ""
    return f"`{column.name}` {column.clickhouse} COMMENT {quoted(column.doc)}{codec}"


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _latest(table: Table, database: str) -> str:
    return f"SELECT {column_list(table)}\nFROM {database}.{table.stored_as} FINAL\n{_ROW_SETTINGS}"


def _merged(table: Table, database: str) -> str:
    columns = ",\n    ".join(f"{_shown(column)} AS `{column.name}`" for column in table.columns)
    return f"SELECT\n    {columns}\nFROM {database}.{table.stored_as} AS merged FINAL\n{_TRACE_SETTINGS}"


def _shown(column: Column) -> str:
    """A merged column as readers see it: plain values, without what decided between them.

    `identity` keeps the engine from reading a part of the value, or from choosing partitions by it, before FINAL has
    merged the rows: both would show values of partial rows.
    """
    source = f"identity(merged.{column.name})"
    if column.name in _KEYS:
        return f"merged.{column.name}"
    if column.name == "public":
        return f"CAST(tupleElement({source}, 'value') = 'true', 'Bool')"
    if column.name == "metadata":
        return f"CAST(mapApply((key, entry) -> (key, entry.value), {source}), 'Map(String, String)')"
    if column.name == "tags":
        return f"CAST(arraySort({source}), 'Array(String)')"
    if column.arrow == RANKED:
        return f"tupleElement({source}, 'value')"
    return f"CAST({source}, 'DateTime64(9, \\'UTC\\')')"
