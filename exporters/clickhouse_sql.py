"""The record in ClickHouse SQL, derived from `pipelines.schema.TABLES`: tables, views, column lists, upgrades.

    observations ─▶ observation_rows   ReplacingMergeTree; the view reads FINAL, so no copy of a span is ever visible
    scores       ─▶ score_rows         likewise
    traces       ─▶ trace_rows         AggregatingMergeTree of partial rows; FINAL merges what is not merged yet
    trace_totals ─▶ observations       sums per trace, computed when read
    model_usage  ─▶ observation_rows   sums per project, day, provider and model, computed when read

Rows expire `ttl_days` after they were *stored*, not by their own timestamps: a span with an old or wrong clock, or a
replay of last year's traffic, would otherwise be dropped within seconds of being acknowledged.
"""

from typing import Final

from pipelines.batch import Kind
from pipelines.schema import OBSERVATIONS, RANKED, SCORES, TABLES, TRACES, Column, Table

VIEWS: Final = ("observations", "scores", "traces", "trace_totals", "model_usage")

_MODEL_CALL: Final = "type IN ('GENERATION', 'EMBEDDING', 'RERANKER')"

# Day and project of every row, provider and model of a model call: one key with few values in a day's part. Summing by
# it takes 30 ns of processor time a row; by toDate(start_time) and model, two keys of unlike types, 85.
_USAGE_KEY: Final = (
    "`usage_key` LowCardinality(String) MATERIALIZED concat(toString(toDate32(start_time)), '\\n', project_id, "
    f"if({_MODEL_CALL}, concat('\\n', replaceAll(provider, '\\n', ' '), '\\n', replaceAll(model, '\\n', ' ')), ''))"
)
_USAGE: Final[dict[str, str]] = {
    "project_id": "substringIndex(substringIndex(usage_key, '\\n', 2), '\\n', -1)",
    "day": "toDate32(substring(usage_key, 1, 10))",
    "provider": "substringIndex(substringIndex(usage_key, '\\n', 3), '\\n', -1)",
    "model": "substringIndex(usage_key, '\\n', -1)",
}
_USAGE_INDEX: Final = f"INDEX usage_key_index ({_USAGE['project_id']}, {_USAGE['day']}) TYPE set(16) GRANULARITY 1"

# Storage only, never sent and not in the views; `stored_at` is what the time to live counts from.
_STORED_AT: Final = "`stored_at` {type} DEFAULT now() CODEC(Delta(4), ZSTD(1))"
_STORAGE_ONLY: Final[dict[Kind, tuple[str, ...]]] = {
    "observations": (_STORED_AT.format(type="DateTime"), _USAGE_KEY, _USAGE_INDEX),
    "scores": (_STORED_AT.format(type="DateTime"),),
    "traces": (_STORED_AT.format(type="SimpleAggregateFunction(max, DateTime)"),),
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

# Copies of a span share their usage_key's day and project, so skipping by these parts them from no copy.
_USAGE_SETTINGS: Final = (
    "SETTINGS do_not_merge_across_partitions_select_final = 1, use_skip_indexes_if_final_exact_mode = 0"
)

_KEYS: Final = TRACES.order_by

TRACE_TOTALS: Final[dict[str, str]] = {
    "project_id": "project_id",
    "trace_id": "trace_id",
    "start_time": "min(row.start_time)",
    "end_time": "max(row.end_time)",
    "latency_seconds": "(toUnixTimestamp64Nano(max(row.end_time)) - toUnixTimestamp64Nano(min(row.start_time))) / 1e9",
    "observation_count": "count()",
    "model_call_count": f"countIf({_MODEL_CALL})",
    "error_count": "countIf(level = 'ERROR')",
    "input_tokens": f"sumIf(row.input_tokens, {_MODEL_CALL})",
    "output_tokens": f"sumIf(row.output_tokens, {_MODEL_CALL})",
    "total_tokens": f"sumIf(row.total_tokens, {_MODEL_CALL})",
    "total_cost": f"sumIf(row.total_cost, {_MODEL_CALL})",
}
"""Columns of the view `trace_totals`; tokens and cost count once, on model calls only, and are NULL when unknown."""

MODEL_USAGE: Final[dict[str, str]] = {
    **_USAGE,
    "model_call_count": "count()",
    "input_tokens": "sum(row.input_tokens)",
    "output_tokens": "sum(row.output_tokens)",
    "total_tokens": "sum(row.total_tokens)",
    "total_cost": "sum(row.total_cost)",
}
"""Columns of the view `model_usage`: a row per project, day (UTC), provider and model, over model calls only."""


def ddl(database: str, ttl_days: int) -> list[str]:
    """Statements that create the database, its tables and its views; harmless to repeat.

    Args:
        database: a plain identifier.
        ttl_days: rows are dropped so many days after they were stored; 0 keeps them for ever.
    """
    return [*create_tables(database, ttl_days), *create_views(database)]


def create_tables(database: str, ttl_days: int) -> list[str]:
    """Statements that create the database and its tables; existing ones stay as they are (see `upgrade`)."""
    tables = [_create_table(table, database, ttl_days) for table in TABLES.values()]
    return [f"CREATE DATABASE IF NOT EXISTS {database}", *tables]


def create_views(database: str) -> list[str]:
    """Statements that create the views, or replace them by what is declared now; the tables must be up to date."""
    bodies = {
        "observations": _latest(OBSERVATIONS, database),
        "scores": _latest(SCORES, database),
        "traces": _merged(TRACES, database),
        "trace_totals": _totals(database),
        "model_usage": _usage(database),
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
    missing += [line for line in _STORAGE_ONLY[table.kind] if _declared_name(line) not in definition]
    statements = [f"ALTER TABLE {name} ADD {_addition(line)}" for line in missing]
    if ttl_days and f"TTL {_ttl(ttl_days)}" not in definition:
        statements.append(f"ALTER TABLE {name} MODIFY TTL {_ttl(ttl_days)}")
    if not ttl_days and "TTL stored_at" in definition:
        statements.append(f"ALTER TABLE {name} REMOVE TTL")
    return statements


def column_list(table: Table) -> str:
    """The columns that are sent, in order, for `INSERT INTO ... (here)`."""
    return ", ".join(f"`{column.name}`" for column in table.columns)


def _create_table(table: Table, database: str, ttl_days: int) -> str:
    lines = [*map(_column, table.columns), *_STORAGE_ONLY[table.kind], *table.indexes]
    return "\n".join(
        [
            f"CREATE TABLE IF NOT EXISTS {database}.{table.stored_as}",
            "(",
            ",\n".join(f"    {line}" for line in lines),
            ")",
            f"ENGINE = {table.engine}",
            f"PARTITION BY {table.partition_by}",
            f"ORDER BY ({', '.join(table.order_by)})",
            *([f"TTL {_ttl(ttl_days)}"] if ttl_days else []),
            f"SETTINGS {_TABLE_SETTINGS}",
            f"COMMENT {_quoted(table.doc)}",
        ]
    )


def _declared_name(line: str) -> str:
    return line.removeprefix("INDEX ").partition(" ")[0].strip("`")


def _addition(line: str) -> str:
    if line.startswith("INDEX "):
        return f"INDEX IF NOT EXISTS {line.removeprefix('INDEX ')}"
    return f"COLUMN IF NOT EXISTS {line}"


def _ttl(days: int) -> str:
    return f"stored_at + toIntervalDay({days})"


def _column(column: Column) -> str:
    codec = f" CODEC({column.codec})" if column.codec else ""
    return f"`{column.name}` {column.clickhouse} COMMENT {_quoted(column.doc)}{codec}"


def _quoted(text: str) -> str:
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
        first_of_key = f"arrayCompact(entry -> entry.key, arraySort({source}))"
        return f"CAST(arrayMap(entry -> (entry.key, entry.value), {first_of_key}), 'Map(String, String)')"
    if column.name == "tags":
        return f"CAST(arraySort({source}), 'Array(String)')"
    if column.arrow == RANKED:
        return f"tupleElement({source}, 'value')"
    return f"CAST({source}, 'DateTime64(9, \\'UTC\\')')"


def _totals(database: str) -> str:
    return f"SELECT\n    {_listed(TRACE_TOTALS)}\nFROM {database}.observations AS row\nGROUP BY project_id, trace_id"


def _usage(database: str) -> str:
    calls = "countSubstrings(usage_key, '\\n') = 3"
    rows = f"{database}.{OBSERVATIONS.stored_as} AS row FINAL"
    return f"SELECT\n    {_listed(MODEL_USAGE)}\nFROM {rows}\nWHERE {calls}\nGROUP BY usage_key\n{_USAGE_SETTINGS}"


def _listed(columns: dict[str, str]) -> str:
    return ",\n    ".join(f"{expression} AS {name}" for name, expression in columns.items())
