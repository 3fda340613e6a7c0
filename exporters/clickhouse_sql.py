"""The record in ClickHouse SQL, derived from `pipelines.schema.TABLES`: tables, views, INSERT lists, upgrades."""

from typing import Final

from pipelines.schema import COUNT_MAP, OBSERVATIONS, RANKED, SCORES, TABLES, TRACES, Column, Table

VIEWS: Final = ("observations", "traces", "scores", "trace_totals")


def ddl(database: str, ttl_days: int) -> list[str]:
    """Statements that create the database, its tables and its views; harmless to repeat.

    Args:
        database: a plain identifier.
        ttl_days: how long rows are kept after they were stored; 0 keeps them for ever.
    """
    tables = [create_table(table, database, ttl_days) for table in TABLES.values()]
    return [f"CREATE DATABASE IF NOT EXISTS {database}", *tables, *views(database)]


def create_table(table, database, ttl_days):
    lines = [_column(c) for c in table.columns] + list(table.indexes)
    ttl = f"\nTTL toDateTime({table.time_column}) + toIntervalDay({ttl_days})\nSETTINGS ttl_only_drop_parts = 1" if ttl_days else ""
    return (f"CREATE TABLE IF NOT EXISTS {database}.{table.stored_as} (\n    " + ",\n    ".join(lines) +
      f"\n)\nENGINE = {table.engine}\nPARTITION BY {table.partition_by}\nORDER BY ({', '.join(table.order_by)})" + ttl)

def _column(c):
    codec = f" CODEC({c.codec})" if c.codec else ""
    doc = c.doc.replace("\\","\\\\").replace("'","\\'")
    return f"`{c.name}` {c.clickhouse} COMMENT '{doc}'{codec}"

def views(database): return []
