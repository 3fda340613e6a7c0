"""Rows of projects that keep them for fewer days than the tables do, deleted in ClickHouse SQL.

The tables' own time to live knows no projects. What a project wants gone earlier goes by mutations (`ALTER TABLE ...
DELETE`): the server runs them in the background, remembers them through a restart, and writes the parts that hold such
rows once more. So that this is done once a day at most, days count whole (UTC): what was stored on one day goes
together, and until midnight nothing else is due.

As with `ttl_days` the age of a row counts from when it was *stored*, by the clock of the server that stored it. Rows
that are sent again are stored again, and live as long again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from exporters.clickhouse_calls import COUNTING_TABLES
from exporters.clickhouse_cluster import SHARD
from exporters.clickhouse_sql import quoted
from pipelines.errors import Retryable
from pipelines.schema import TABLES

Execute = Callable[[str], Sequence[Sequence[Any]]]
"""Runs one statement and returns its rows."""

_TABLES: Final = (*(table.stored_as for table in TABLES.values()), *(table.name for table in COUNTING_TABLES))
_MOST_PROJECTS: Final = 1000
"""Of one statement: Keeper, which replicas learn of it from, takes no more than 1 MB."""
_DAY_SECONDS: Final = 86_400
_MIDNIGHT: Final = "SELECT toUnixTimestamp(toStartOfDay(now('UTC'), 'UTC'))"


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was ordered; the server does it in the background.

    Attributes:
        table: whose rows.
        projects: how many have some.
        rows: how many, copies that no view shows included.
    """

    table: str
    projects: int
    rows: int


@runtime_checkable
class Keeper(Protocol):
    """An exporter whose rows can be told to go."""

    @property
    def settings(self) -> Any:
        """With `ttl_days`, after which rows go anyway; 0 = never."""

    def delete_expired(self, keep_days: Mapping[str, int]) -> Iterator[Deletion]:
        """Have the rows deleted that these projects have kept for so many days; may run beside `export`.

        Raises:
            Permanent, Retryable: not all of it could be ordered.
        """


def order_deletions(
    execute: Execute, database: str, keep_days: Mapping[str, int], cluster: str = ""
) -> Iterator[Deletion]:
    """Orders the deletion of rows that are due, table by table; harmless to repeat, and to do twice at once.

    A table whose last mutation is still running is left to the next call, so that they do not pile up.

    Args:
        execute: on a connection that may delete, and see `system.mutations`.
        database: a plain identifier.
        keep_days: project → days.
        cluster: as for `exporters.clickhouse_cluster.on_cluster`.

    Raises:
        Retryable: a mutation fails again and again; raised when the other tables are done.
    """
    midnight = int(execute(_MIDNIGHT)[0][0])
    unfinished = {name.removesuffix(SHARD): reason for name, reason in execute(_unfinished(database, cluster))}
    for table in _TABLES:
        if table not in unfinished:
            for some in _portions(keep_days):
                yield from _order(execute, f"{database}.{table}", _cutoffs(some, midnight), cluster)
    for table, reason in unfinished.items():
        if reason:
            raise Retryable(f"deleting from {database}.{table} fails (see system.mutations there): {reason}")


def _unfinished(database: str, cluster: str) -> str:
    mutations = f"clusterAllReplicas({quoted(cluster)}, system.mutations)" if cluster else "system.mutations"
    names = ", ".join(quoted(f"{table}{SHARD if cluster else ''}") for table in _TABLES)
    return (
        f"SELECT table, max(latest_fail_reason) FROM {mutations} "  # noqa: S608 - our own names; literals are quoted
        f"WHERE database = {quoted(database)} AND table IN ({names}) AND NOT is_done GROUP BY table"
    )


def _portions(keep_days: Mapping[str, int]) -> Iterator[Mapping[str, int]]:
    projects = sorted(keep_days)
    for start in range(0, len(projects), _MOST_PROJECTS):
        yield {project: keep_days[project] for project in projects[start : start + _MOST_PROJECTS]}


def _cutoffs(keep_days: Mapping[str, int], midnight: int) -> dict[str, int]:
    """Project → Unix time; what was stored before it is due. Times before 1970 would come out as later than all."""
    return {project: max(0, midnight - days * _DAY_SECONDS) for project, days in keep_days.items()}


def _order(execute: Execute, table: str, cutoffs: Mapping[str, int], cluster: str) -> Iterator[Deletion]:
    due = f"SELECT project_id, count() FROM {table} WHERE {_condition(cutoffs)} GROUP BY project_id"  # noqa: S608 - our own names
    found = {project: int(rows) for project, rows in execute(due)}
    if found:
        where = f"{table}{SHARD} ON CLUSTER {cluster}" if cluster else table
        condition = _condition({project: cutoffs[project] for project in found})
        execute(f"ALTER TABLE {where} DELETE WHERE {condition}")
        yield Deletion(table, len(found), sum(found.values()))


def _condition(cutoffs: Mapping[str, int]) -> str:
    by_cutoff: defaultdict[int, list[str]] = defaultdict(list)
    for project, cutoff in cutoffs.items():
        by_cutoff[cutoff].append(quoted(project))
    return " OR ".join(
        f"(project_id IN ({', '.join(projects)}) AND stored_at < toDateTime({cutoff}))"
        for cutoff, projects in by_cutoff.items()
    )
