"""The metadata store on a real Postgres: migrations, projects, outages, and what its messages must not say."""

import logging
import multiprocessing
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from otlp_receiver import metadata_store
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.metadata.projects import Project
from otlp_receiver.metadata_store import MetadataStore
from otlp_receiver.migrations.steps import Step, load_steps
from pipelines.errors import Permanent, Retryable
from tests.support.postgres import fresh_database, postgres_directory, wait_for

SECRET = "sw0rdfish"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[EmbeddedPostgres, str]]:
    with postgres_directory() as directory:
        postgres = EmbeddedPostgres(directory)
        yield postgres, postgres.start()
        postgres.stop()


@pytest.fixture
def dsn(server: tuple[EmbeddedPostgres, str]) -> str:
    """An empty database."""
    return fresh_database(server[1])


@pytest.fixture
def store(dsn: str) -> Iterator[MetadataStore]:
    """Open, not migrated."""
    opened = MetadataStore(dsn)
    opened.open()
    yield opened
    opened.close()


def execute(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def migrate(dsn: str, together: Barrier) -> None:
    store = MetadataStore(dsn)
    store.open()
    together.wait(60)
    store.migrate()
    store.close()


def test_migration_makes_the_default_project(store: MetadataStore) -> None:
    """A fresh database gets one project, complete, in one organization."""
    store.migrate()

    project = store.default_project()

    assert project == Project("default", "Default", "default", project.created_at, None)
    assert abs((datetime.now(UTC) - project.created_at).total_seconds()) < 600
    assert store.project("default") == project


def test_migrations_are_applied_once(dsn: str, store: MetadataStore) -> None:
    """Starting again changes nothing, not even when a step was applied, and keeps what people have changed."""
    store.migrate()
    first = execute(dsn, "SELECT * FROM schema_migrations ORDER BY number")
    execute(dsn, "UPDATE projects SET name = 'Renamed'")

    store.migrate()

    assert execute(dsn, "SELECT * FROM schema_migrations ORDER BY number") == first
    assert [row[:3] for row in first] == [(step.number, step.name, step.checksum) for step in load_steps()]
    assert store.default_project().name == "Renamed"


def test_steps_are_numbered_without_gaps() -> None:
    """The shipped files are found, and their numbers run from 1."""
    assert [step.number for step in load_steps()] == list(range(1, len(load_steps()) + 1))
    assert load_steps()


def test_processes_may_migrate_at_once(dsn: str) -> None:
    """Processes that start together on an empty database all succeed, and every step is applied once."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(6)
    processes = [context.Process(target=migrate, args=(dsn, together)) for _ in range(together.parties)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0] * together.parties
    assert execute(dsn, "SELECT count(*) FROM schema_migrations") == [(len(load_steps()),)]
    assert execute(dsn, "SELECT id FROM projects") == [("default",)]


def test_a_migration_cut_short_is_done_by_the_next(dsn: str, store: MetadataStore) -> None:
    """Who comes second waits for the first; when that one dies in the middle, the second does all of it."""
    with psycopg.connect(dsn) as first, psycopg.connect(dsn, autocommit=True) as observer:
        first.execute("SELECT pg_advisory_xact_lock(%s)", [metadata_store._MIGRATION_LOCK])
        first.execute("CREATE TABLE projects ()")
        second = threading.Thread(target=store.migrate)
        second.start()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_for(lambda: observer.execute(waits).fetchone() == (1,))
        observer.execute("SELECT pg_terminate_backend(%s)", [first.info.backend_pid])
        second.join(60)
        first.close()

    assert store.default_project().id == "default"


def test_a_failing_step_leaves_nothing(dsn: str, store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails half-way is rolled back whole, the steps before it stay, and the error says what it was."""
    broken = Step(2, "0002_broken.sql", "CREATE TABLE half_way (); SELECT no_such_column")
    monkeypatch.setattr(metadata_store, "load_steps", lambda: [load_steps()[0], broken])

    with pytest.raises(Permanent, match=r'cannot migrate .*0002_broken.sql.*column "no_such_column" does not exist'):
        store.migrate()

    assert execute(dsn, "SELECT to_regclass('half_way'), to_regclass('projects')") == [(None, "projects")]
    assert execute(dsn, "SELECT number FROM schema_migrations") == [(1,)]


def test_an_edited_step_is_an_error(dsn: str, store: MetadataStore) -> None:
    """When the text of an applied step differs from the file, the error names the file and the cure."""
    store.migrate()
    execute(dsn, "UPDATE schema_migrations SET checksum = 'tampered' WHERE number = 1")

    with pytest.raises(Permanent, match=r"0001_projects\.sql is not the one that was applied .* put back the file"):
        store.migrate()


def test_a_newer_schema_is_an_error(dsn: str, store: MetadataStore) -> None:
    """A database that a newer release has migrated is left alone, with a message that says so."""
    store.migrate()
    execute(dsn, "INSERT INTO schema_migrations (number, name, checksum) VALUES (9000, '9000_future.sql', 'x')")

    with pytest.raises(Permanent, match=r"migrated by a newer release \(9000_future\.sql\): install that release"):
        store.migrate()


@pytest.mark.parametrize("table", ["schema_migrations (version text)", "projects (name text)"])
def test_somebody_elses_database_is_left_alone(dsn: str, store: MetadataStore, table: str) -> None:
    """Tables of the same name from another application stop the migration, with the advice to use another database."""
    execute(dsn, f"CREATE TABLE {table}")

    with pytest.raises(Permanent, match="a database of its own"):
        store.migrate()

    assert execute(dsn, "SELECT to_regclass('organizations')") == [(None,)]


def test_an_unprivileged_user_can_start(dsn: str, store: MetadataStore) -> None:
    """Without the right to create tables an empty database gives a clear error, a migrated one works."""
    role = f"reader_{time.monotonic_ns()}"
    execute(dsn, f"CREATE ROLE {role} LOGIN")
    reader = MetadataStore(psycopg.conninfo.make_conninfo(dsn, user=role))
    reader.open()
    with pytest.raises(Permanent, match=r"permission denied for schema public.*may create tables"):
        reader.migrate()

    store.migrate()
    execute(dsn, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    reader.migrate()

    assert reader.default_project().id == "default"
    reader.close()


def test_two_stores_share_a_database(dsn: str, store: MetadataStore) -> None:
    """What one store's database says, another store sees."""
    store.migrate()
    other = MetadataStore(dsn)
    other.open()
    execute(dsn, "INSERT INTO projects (id, name, organization_id, retention_days) VALUES ('p', 'P', 'default', 30)")

    found = (store.project("p"), other.project("p"))
    other.close()

    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].retention_days == 30


@pytest.mark.parametrize("project_id", ["", "missing", "' OR true --", "%s", "x" * 1_000_000])
def test_an_unknown_project_is_none(store: MetadataStore, project_id: str) -> None:
    """Any text may be asked for; what is not a project's id is no project."""
    store.migrate()

    assert store.project(project_id) is None


def test_what_postgres_refuses_is_permanent(dsn: str, store: MetadataStore) -> None:
    """A text that Postgres cannot hold, a missing table and a missing default project can never succeed."""
    with pytest.raises(Permanent, match='relation "projects" does not exist'):
        store.default_project()
    store.migrate()
    with pytest.raises(Permanent, match="NUL"):
        store.project("\0")
    execute(dsn, "DELETE FROM projects")
    with pytest.raises(Permanent, match=r"project 'default' is missing .* insert it"):
        store.default_project()


def test_a_read_only_standby_is_retryable(dsn: str) -> None:
    """A server that only reads now, as in a failover, may write later."""
    execute(
        dsn, f"ALTER DATABASE {psycopg.conninfo.conninfo_to_dict(dsn)['dbname']} SET default_transaction_read_only = on"
    )
    store = MetadataStore(dsn)
    store.open()

    with pytest.raises(Retryable, match="read-only transaction"):
        store.migrate()
    store.close()


def test_use_before_open_and_after_close_is_an_error(dsn: str) -> None:
    """A store that is not open says so; closing twice does no harm."""
    store = MetadataStore(dsn)
    with pytest.raises(Permanent, match="is not open"):
        store.default_project()
    store.open()
    store.close()
    store.close()
    with pytest.raises(Permanent, match="is not open"):
        store.default_project()


def test_open_waits_for_the_server() -> None:
    """A store opened before its server runs waits for it, and says once what it waits for."""
    with postgres_directory() as directory:
        postgres = EmbeddedPostgres(directory)
        dsn = postgres.start()
        postgres.stop()
        store = MetadataStore(dsn)
        with capture_logs() as logs:
            opening = threading.Thread(target=store.open, args=(60,))
            opening.start()
            wait_for(lambda: bool(logs))
            postgres.start()
            opening.join(60)

        store.migrate()
        found = store.default_project()
        store.close()
        postgres.stop()

    assert found.id == "default"
    assert [entry["event"] for entry in logs].count("Waiting for Postgres.") == 1


def test_an_outage_is_retryable_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server is away calls are Retryable with the reason; when it is back they succeed by themselves."""
    monkeypatch.setattr(metadata_store, "_WAIT_SECONDS", 0.5)
    with postgres_directory() as directory:
        postgres = EmbeddedPostgres(directory)
        dsn = postgres.start()
        store = MetadataStore(dsn)
        store.open()
        store.migrate()
        postgres.stop()
        with pytest.raises(Retryable, match=f"Postgres at {directory}.*(No such file|terminating connection)"):
            store.default_project()

        postgres.start()
        wait_for(lambda: answers(store))
        store.close()
        postgres.stop()


def test_a_restart_between_calls_is_not_noticed(server: tuple[EmbeddedPostgres, str], store: MetadataStore) -> None:
    """Connections that a restart of the server has cut are replaced before they are used."""
    store.migrate()
    server[0].stop()
    server[0].start()

    assert store.default_project().id == "default"


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"host=127.0.0.1 port=1 user=user password={SECRET}",
        f"postgresql://user:a@{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a@b:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a/{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:1/{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}/a@127.0.0.1:1/db",
        f"postgresql://user:%zz{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:[{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a {SECRET}@127.0.0.1:1/db",
        f"postgresql://user:a?{SECRET}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?password={SECRET}&no_such_parameter={SECRET}",
        f"mysql://user:{SECRET}@127.0.0.1:1/db",
        f"host=127.0.0.1 password=a {SECRET}",
        f"host=127.0.0.1 password='{SECRET}",
        f"\0{SECRET}",
        SECRET,
        "",
    ],
)
def test_no_message_has_the_password(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """However the address is malformed, and when nothing answers, error, its causes and the log are free of it."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs, pytest.raises((Permanent, Retryable)) as raised:
        MetadataStore(address).open(timeout_seconds=0)

    said = "".join(traceback.format_exception(raised.value)) + repr(logs) + caplog.text
    assert SECRET not in said
    assert "metadata.postgres is not an address" in said or "no connection to Postgres at 127.0.0.1:1/" in said


def answers(store: MetadataStore) -> bool:
    try:
        return store.default_project().id == "default"
    except Retryable:
        return False
