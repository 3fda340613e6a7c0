"""The service while its Postgres is away: spans need it for nothing, so they are taken and stored all the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import requests
from psycopg.conninfo import conninfo_to_dict

from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.migrations.steps import load_steps
from tests.support.fault_service import metric
from tests.support.load import Load, check, ids_of, new_spans, senders
from tests.support.otlp import export, to_protobuf
from tests.support.postgres import postgres_directory
from tests.support.reporting import Report
from tests.support.senders import post
from tests.support.service import Service, service, wait_for_exit
from tests.support.waiting import wait_until


@dataclass
class _Server:
    """A Postgres of its own, to be stopped and started, and its address as a configuration has it."""

    server: EmbeddedPostgres
    dsn: str

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={conninfo_to_dict(self.dsn)['host']}&port=5432"

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def postgres() -> Iterator[_Server]:
    """Running."""
    with postgres_directory() as directory:
        server = EmbeddedPostgres(directory)
        yield _Server(server, server.start())
        server.stop()


@contextmanager
def _service_on(postgres: _Server) -> Iterator[Service]:
    with service() as made:
        made.config["metadata"] = {"postgres": postgres.url}
        yield made


def _health(made: Service) -> dict[str, Any]:
    answer = requests.get(made.url("health") + "/ready", timeout=10)
    assert answer.status_code == 200, answer.text
    known: dict[str, Any] = answer.json()
    return known


def _wait_until_back(made: Service, postgres: _Server) -> None:
    postgres.server.start()
    wait_until(lambda: "degraded" not in _health(made), 60)
    assert metric(made, "otlp_receiver_metadata_up") == 1


def _wait_until_noticed(made: Service) -> None:
    wait_until(lambda: "Postgres" in _health(made).get("degraded", ""), 60)
    assert metric(made, "otlp_receiver_metadata_up") == 0


def test_down_at_start_and_later(postgres: _Server, report: Report) -> None:
    """Ready without it, and health says what is missing; it is made ready when it comes, and may go and come again."""
    postgres.server.stop()
    load = Load()
    with _service_on(postgres) as made:
        made.start()
        _wait_until_noticed(made)
        with senders(load, made):
            load.allow(1_500)
            load.wait_for_acknowledged(500)
            _wait_until_back(made, postgres)
            assert postgres.query("SELECT count(*) FROM schema_migrations") == [(len(load_steps()),)]
            load.wait_for_acknowledged(1_000)
            postgres.server.stop()
            _wait_until_noticed(made)
            load.wait_for_acknowledged(1_500)
        _wait_for_everything(made, load)
        figures = check(made, load)
        _wait_until_back(made, postgres)
        events = [line["event"] for line in made.log_lines()]
        assert made.stop() == 0, made.log()
    report(f"Postgres down at start and later: {figures}")
    assert sum(event.startswith("Postgres is away") for event in events) == 2
    assert events.count("Postgres is back.") == 2


def _wait_for_everything(made: Service, load: Load) -> None:
    """Rows are exported in the order of the buffer: what is sent last is stored last."""
    last = new_spans()
    load.note(ids_of(last), acknowledged=False)
    assert post(made, to_protobuf(export(*last))).ok
    load.note(ids_of(last), acknowledged=True)
    made.wait_for_rows(f"trace_id = '{last[0].trace_id}'", len(last))


def test_a_database_that_is_not_for_us(postgres: _Server) -> None:
    """One that answers and can never be used is a mistake of the configuration: exit code 3 and one line."""
    postgres.query("CREATE TABLE schema_migrations (version text)")
    with _service_on(postgres) as made:
        made.launch()
        assert wait_for_exit(made.process) == 3
        (error,) = (line["event"] for line in made.log_lines() if line["level"] == "error")
    assert "a database of its own" in error
