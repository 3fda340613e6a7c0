"""Organizations and their projects."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from otlp_receiver.metadata import audit
from pipelines.errors import Permanent


@dataclass(frozen=True, slots=True)
class Organization:
    """Owner of projects.

    Attributes:
        id: never changes.
        name: for people.
        created_at: with time zone.
    """

    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """Owner of traces.

    Attributes:
        id: value of project_id in every record; never changes.
        name: for people.
        organization_id: whom it belongs to.
        created_at: with time zone.
        retention_days: how long its records are kept; None = as the exporter's table says.
    """

    id: str
    name: str
    organization_id: str
    created_at: datetime
    retention_days: int | None


def create_organization(connection: psycopg.Connection, organization_id: str, name: str, actor: str) -> None:
    """Add an organization; raises Permanent when there is one of this id."""
    made = connection.execute(
        "INSERT INTO organizations (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", [organization_id, name]
    )
    if not made.rowcount:
        raise Permanent(f"organization {organization_id!r} exists already: choose another id with --id")
    audit.record(connection, actor, "orgs.create", organization_id, name=name)


def organizations(connection: psycopg.Connection) -> list[Organization]:
    """All of them, by id."""
    with connection.cursor(row_factory=class_row(Organization)) as cursor:
        return cursor.execute("SELECT id, name, created_at FROM organizations ORDER BY id").fetchall()


def create_project(
    connection: psycopg.Connection,
    project_id: str,
    name: str,
    *,
    organization_id: str,
    retention_days: int | None = None,
    actor: str,
) -> None:
    """Add a project; raises Permanent when there is one of this id, or no such organization."""
    known = connection.execute("SELECT id FROM organizations WHERE id = %s FOR KEY SHARE", [organization_id]).fetchone()
    if known is None:
        raise Permanent(f"there is no organization {organization_id!r}: make it with `orgs create`")
    made = connection.execute(
        "INSERT INTO projects (id, name, organization_id, retention_days) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        [project_id, name, organization_id, retention_days],
    )
    if not made.rowcount:
        raise Permanent(f"project {project_id!r} exists already: choose another id with --id")
    detail = {"name": name, "organization": organization_id, "retention_days": retention_days}
    audit.record(connection, actor, "projects.create", project_id, **detail)


def project(connection: psycopg.Connection, project_id: str) -> Project | None:
    """The project of this id, None when there is none."""
    with connection.cursor(row_factory=class_row(Project)) as cursor:
        return cursor.execute(
            "SELECT id, name, organization_id, created_at, retention_days FROM projects WHERE id = %s", [project_id]
        ).fetchone()


def existing_project(connection: psycopg.Connection, project_id: str) -> Project:
    """The project of this id; raises Permanent when there is none."""
    found = project(connection, project_id)
    if found is None:
        raise Permanent(f"there is no project {project_id!r}: `projects list` shows those that are there")
    return found


def projects(connection: psycopg.Connection) -> list[Project]:
    """All of them, by organization and id."""
    with connection.cursor(row_factory=class_row(Project)) as cursor:
        return cursor.execute(
            "SELECT id, name, organization_id, created_at, retention_days FROM projects ORDER BY organization_id, id"
        ).fetchall()


def retention_days(connection: psycopg.Connection) -> dict[str, int]:
    """Project → days, of those projects that keep their records for a time of their own."""
    query = "SELECT id, retention_days FROM projects WHERE retention_days IS NOT NULL"
    return dict(connection.execute(query).fetchall())


def set_retention(connection: psycopg.Connection, project_id: str, days: int | None, actor: str) -> None:
    """Change how long a project's records are kept, None = as the exporter's table says.

    Raises Permanent when there is no such project.
    """
    former = existing_project(connection, project_id).retention_days
    connection.execute("UPDATE projects SET retention_days = %s WHERE id = %s", [days, project_id])
    audit.record(connection, actor, "projects.set", project_id, retention_days=days, former_retention_days=former)
