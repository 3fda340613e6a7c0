"""Quotas of projects, what was taken of them, and what each ingest process meets of their traffic."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from otlp_receiver.metadata import audit
from pipelines.errors import Permanent

_BURST_SECONDS: Final = 10
"""A burst that is not given: SDKs send what they have gathered in five seconds at once."""
_LIMITS: Final = "spans_per_second, spans_burst, bytes_per_second, bytes_burst, spans_per_month"
_SHOWN: Final = f"""
SELECT coalesce(q.project_id, u.project_id) AS project_id, spans_per_second, spans_burst, bytes_per_second, bytes_burst,
       spans_per_month, coalesce(u.spans, 0) AS month_spans, coalesce(u.bytes, 0) AS month_bytes
FROM (SELECT project_id, {_LIMITS} FROM quotas) AS q
FULL JOIN (SELECT project_id, spans, bytes FROM project_usage WHERE month = %(month)s) AS u USING (project_id)
WHERE %(project)s::text IS NULL OR coalesce(q.project_id, u.project_id) = %(project)s
ORDER BY 1
"""  # noqa: S608 - our own names
_STANDING: Final = """
SELECT q.project_id, spans_per_second, spans_burst, coalesce(met.spans, 0), bytes_per_second, bytes_burst,
       coalesce(met.bytes, 0), spans_per_month, coalesce(u.spans, 0)
FROM quotas AS q
LEFT JOIN project_usage AS u ON u.project_id = q.project_id AND u.month = %(month)s
LEFT JOIN (
    SELECT project, sum(spans) AS spans, sum(bytes) AS bytes
    FROM live_ingest_processes, unnest(projects, spans_per_second, bytes_per_second) AS m (project, spans, bytes)
    GROUP BY project
) AS met ON met.project = q.project_id
"""
_ADD: Final = """
INSERT INTO project_usage AS known (project_id, month, spans, bytes)
SELECT project_id, month, spans, bytes
FROM unnest(%s::text[], %s::date[], %s::bigint[], %s::bigint[]) AS new (project_id, month, spans, bytes)
ORDER BY project_id, month -- processes that add to the same rows take them in the same order
ON CONFLICT (project_id, month) DO UPDATE
SET spans = known.spans + excluded.spans, bytes = known.bytes + excluded.bytes
"""
_REPORT: Final = """
INSERT INTO ingest_processes (id, projects, spans_per_second, bytes_per_second) VALUES (%s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET reported_at = now(), projects = excluded.projects,
    spans_per_second = excluded.spans_per_second, bytes_per_second = excluded.bytes_per_second
"""

Month = date
"""The first day of a calendar month, UTC."""
Usage = tuple[int, int]
"""Spans and bytes."""
Traffic = tuple[float, float]
"""Spans and bytes per second."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a project may send; None anywhere is no limit.

    Attributes:
        project_id: whose.
        spans_per_second: on average.
        spans_burst: how many may come at once after a rest; None = those of ten seconds.
        bytes_per_second: of request bodies, decompressed.
        bytes_burst: as for spans.
        spans_per_month: in a calendar month, UTC.
    """

    project_id: str
    spans_per_second: int | None = None
    spans_burst: int | None = None
    bytes_per_second: int | None = None
    bytes_burst: int | None = None
    spans_per_month: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse(Quota):
    """A project with its quota, if it has one, and what was taken.

    Attributes:
        month_spans: taken this month, as far as processes have reported.
        month_bytes: received this month.
    """

    month_spans: int
    month_bytes: int


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit per second, and what comes up to it.

    Attributes:
        per_second: for all processes together.
        burst: how many may come at once after a rest.
        met_per_second: what comes to all live processes, taken or not.
    """

    per_second: int
    burst: int
    met_per_second: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What an ingest process must know of a quota; None anywhere is no limit.

    Attributes:
        project_id: whose.
        spans: how many.
        bytes: of request bodies, decompressed.
        spans_per_month: in a calendar month, UTC.
        month_spans: taken in that month, by all processes.
    """

    project_id: str
    spans: Rate | None
    bytes: Rate | None
    spans_per_month: int | None
    month_spans: int


def put(connection: psycopg.Connection, project_id: str, limits: Mapping[str, Any], actor: str) -> Quota:
    """Set the named limits of a project that exists, leave its others as they are, and return them all."""
    connection.execute("INSERT INTO quotas (project_id) VALUES (%s) ON CONFLICT DO NOTHING", [project_id])
    with connection.cursor(row_factory=class_row(Quota)) as cursor:
        query = f"SELECT project_id, {_LIMITS} FROM quotas WHERE project_id = %s FOR UPDATE"  # noqa: S608 - our own names
        quota = replace(cursor.execute(query.encode(), [project_id]).fetchone() or Quota(project_id), **limits)
    connection.execute(
        "UPDATE quotas SET spans_per_second = %s, spans_burst = %s, bytes_per_second = %s, bytes_burst = %s,"
        " spans_per_month = %s WHERE project_id = %s",
        [quota.spans_per_second, quota.spans_burst, quota.bytes_per_second, quota.bytes_burst, quota.spans_per_month,
         project_id],
    )  # fmt: skip
    audit.record(connection, actor, "quotas.set", project_id, **limits)
    return quota


def clear(connection: psycopg.Connection, project_id: str, actor: str) -> None:
    """Take a project's quota away; raises Permanent when it has none."""
    if not connection.execute("DELETE FROM quotas WHERE project_id = %s", [project_id]).rowcount:
        raise Permanent(f"project {project_id!r} has no quota: `quotas show` lists those that have one")
    audit.record(connection, actor, "quotas.clear", project_id)


def quota_uses(connection: psycopg.Connection, month: Month, project_id: str | None = None) -> list[QuotaUse]:
    """Of one project or all: those that have a quota, or have sent something in that month; by project."""
    with connection.cursor(row_factory=class_row(QuotaUse)) as cursor:
        return cursor.execute(_SHOWN.encode(), {"month": month, "project": project_id}).fetchall()


def add_usage(connection: psycopg.Connection, taken: Mapping[tuple[str, Month], Usage]) -> None:
    """Add what was taken, by project and month."""
    rows = [(project_id, month, *usage) for (project_id, month), usage in taken.items()]
    if rows:
        connection.execute(_ADD.encode(), [list(column) for column in zip(*rows, strict=True)])


def report(connection: psycopg.Connection, process_id: UUID, met: Mapping[str, Traffic]) -> int:
    """Say what comes to this process, by project; returns how many processes there are, this one included."""
    columns: list[list[Any]] = [list(met), [spans for spans, _ in met.values()], [size for _, size in met.values()]]
    connection.execute(_REPORT.encode(), [process_id, *columns])
    # Others do the same at the same time: whoever has a row deletes it.
    connection.execute(
        "DELETE FROM ingest_processes WHERE id IN (SELECT id FROM ingest_processes"
        " WHERE reported_at < now() - interval '1 minute' FOR UPDATE SKIP LOCKED)"
    )
    counted = connection.execute("SELECT count(*) FROM live_ingest_processes").fetchone()
    return int(counted[0]) if counted else 1


def leave(connection: psycopg.Connection, process_id: UUID) -> None:
    """This process meets nothing any more."""
    connection.execute("DELETE FROM ingest_processes WHERE id = %s", [process_id])


def standings(connection: psycopg.Connection, month: Month) -> dict[str, Standing]:
    """All quotas, by project."""
    rows = connection.execute(_STANDING.encode(), {"month": month})
    return {row[0]: Standing(row[0], _rate(*row[1:4]), _rate(*row[4:7]), *row[7:]) for row in rows}


def _rate(per_second: int | None, burst: int | None, met_per_second: float) -> Rate | None:
    if per_second is None:
        return None
    return Rate(per_second, per_second * _BURST_SECONDS if burst is None else burst, met_per_second)
