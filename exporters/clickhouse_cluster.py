"""The statements of one server as those of a cluster, in ClickHouse SQL.

    observation_rows        Distributed: what is inserted into and read from, under the name that all SQL knows
    └▶ observation_rows_shard   Replicated...MergeTree, one on each shard, with its copies

A trace lies on one shard, so that its rows merge there and joins need no other; what brings spans of *different* traces
together, calls by their response id, is divided by that (`call_rows`).
"""

import re
from typing import Final

SHARD: Final = "_shard"
"""Ends the name of a table that holds the rows of one shard."""
_DIVIDED_BY: Final[dict[str, str]] = {
    "observation_rows": "cityHash64(trace_id)",
    "trace_rows": "cityHash64(id)",
    "score_rows": "cityHash64(trace_id)",
    "content_rows": "cityHash64(trace_id)",
    "call_rows": "cityHash64(call)",
    "call_parent_rows": "cityHash64(trace_id)",
}
"""Table → sharding key."""

_ENGINE: Final = re.compile(r"^ENGINE = (\w*MergeTree)(?:\((.*)\))?$", re.MULTILINE)
_MERGED_DAYS: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1"
# Rows that belong together lie on one shard: a subquery on a shard need not ask the others.
_LOCAL: Final = "distributed_product_mode = 'local'"


def on_cluster(statements: list[str], database: str, cluster: str) -> list[str]:
    """The same for a cluster; as they are when `cluster` is empty.

    Args:
        statements: CREATE, ALTER and INSERT statements of `exporters.clickhouse_sql` and `exporters.clickhouse_calls`.
        database: that they name.
        cluster: as `remote_servers` of the servers names it; their macros must have {shard} and {replica}.
    """
    if not cluster:
        return statements
    return [changed for statement in statements for changed in _clustered(statement, database, cluster)]


def _clustered(statement: str, database: str, cluster: str) -> list[str]:
    first, _, rest = statement.partition("\n")
    words = first.split()
    if first.startswith("CREATE DATABASE"):
        return [f"{first} ON CLUSTER {cluster}"]
    if first.startswith("CREATE TABLE"):
        return _table(words[-1], rest, database, cluster)
    if first.startswith("ALTER TABLE"):
        return _alter(words[2], statement.split(maxsplit=3)[3], cluster)
    if first.startswith("INSERT"):
        return [statement]
    if first.startswith("CREATE MATERIALIZED VIEW"):
        changed = _local_rows(rest, database)
        return [f"{first.replace(' TO ', f' ON CLUSTER {cluster} TO ', 1)}\n{changed}"]
    local = rest.replace(_MERGED_DAYS, f"{_MERGED_DAYS}, {_LOCAL}")
    return [f"{first.removesuffix(' AS')} ON CLUSTER {cluster} AS\n{local}"]


def _table(name: str, rest: str, database: str, cluster: str) -> list[str]:
    table = name.partition(".")[2]
    if table not in _DIVIDED_BY:  # small, and the same on every server
        return [f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER {cluster}\n{_replicated(rest, name, 'all')}"]
    shard = f"{name}{SHARD}"
    distributed = f"Distributed({cluster}, {database}, {table}{SHARD}, {_DIVIDED_BY[table]})"
    return [
        f"CREATE TABLE IF NOT EXISTS {shard} ON CLUSTER {cluster}\n{_replicated(rest, shard, '{shard}')}",
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER {cluster} AS {shard}\nENGINE = {distributed}",
    ]


def _replicated(rest: str, name: str, shard: str) -> str:
    """The engine with its place in Keeper, which all replicas of a shard share."""
    place = f"'/clickhouse/tables/{shard}/{name.replace('.', '/')}', '{{replica}}'"

    def engine(found: re.Match[str]) -> str:
        return f"ENGINE = Replicated{found[1]}({', '.join(filter(None, (place, found[2])))})"

    return _ENGINE.sub(engine, rest, count=1)


def _alter(name: str, change: str, cluster: str) -> list[str]:
    """What is stored changes on the shards; columns also where they are asked for."""
    stored = f"ALTER TABLE {name}{SHARD} ON CLUSTER {cluster} {change}"
    if " COLUMN " not in f" {change}":
        return [stored]
    return [stored, f"ALTER TABLE {name} ON CLUSTER {cluster} {change}"]


def _local_rows(query: str, database: str) -> str:
    return query.replace(f"FROM {database}.observation_rows", f"FROM {database}.observation_rows{SHARD}")
