"""How long projects keep their records, from Postgres to the store: outages, limits, and the running service."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from config.models import ChdbExporterSettings
from exporters.retention import Deletion
from otlp_receiver import retention
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.metadata import projects
from otlp_receiver.metadata_store import MetadataStore
from otlp_receiver.retention import Retention
from pipelines.errors import Retryable
from tests.support.counters import counters, series
from tests.support.postgres import own_postgres
from tests.support.processes import running
from tests.support.retention import ROWS, store_two_projects
from tests.support.service import service
from tests.support.waiting import wait_until

_ROOT = Path(__file__).parent.parent


class _Keeper:
    """Notes what it is told."""

    def __init__(self, ttl_days: int = 0, refusal: Exception | None = None) -> None:
        self.settings = ChdbExporterSettings(ttl_days=ttl_days)
        self.told: list[dict[str, int]] = []
        self._refusal = refusal

    def delete_expired(self, keep_days: Mapping[str, int]) -> Iterator[Deletion]:
        self.told.append(dict(keep_days))
        if self._refusal:
            raise self._refusal
        yield Deletion("otel.score_rows", len(keep_days), 3)


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop and start again."""
    with own_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def store(postgres: EmbeddedPostgres) -> Iterator[MetadataStore]:
    """With the projects `short` (7 days), `long` (400), and `default`, which has none of its own."""
    store = MetadataStore(postgres.start())
    store.open()
    store.migrate()
    with store.transaction() as connection:
        for name, days in (("short", 7), ("long", 400)):
            projects.create_project(
                connection, name, name, organization_id="default", retention_days=days, actor="test"
            )
    yield store
    store.close()


def _logged(retention: Retention) -> list[Mapping[str, Any]]:
    with capture_logs() as logs:
        retention.apply()
    return list(logs)


def test_exporters_are_told(store: MetadataStore) -> None:
    """Each exporter is told the projects that have days of their own, and what it deletes is logged."""
    first, second = _Keeper(), _Keeper()
    logs = _logged(Retention(store, {"chdb": first, "clickhouse": second}))

    assert first.told == second.told == [{"short": 7, "long": 400}]
    assert [(line["exporter"], line["table"], line["rows"]) for line in logs] == [
        ("chdb", "otel.score_rows", 3),
        ("clickhouse", "otel.score_rows", 3),
    ]


def test_changes_are_taken_over(store: MetadataStore) -> None:
    """Each turn asks Postgres anew; a project that lost its days is left alone, and one that has none is not told."""
    keeper = _Keeper()
    applied = Retention(store, {"chdb": keeper})
    applied.apply()
    for days in (3, 7):
        with store.transaction() as connection:
            projects.set_retention(connection, "short", days, "test")
            projects.set_retention(connection, "long", None if days == 3 else 400, "test")
        applied.apply()

    assert keeper.told == [{"short": 7, "long": 400}, {"short": 3}, {"short": 7, "long": 400}]


def test_more_than_the_table_keeps(store: MetadataStore) -> None:
    """Days beyond the table's own are told once as a warning, not to the store; the same number is no news."""
    keeper, equal = _Keeper(ttl_days=90), _Keeper(ttl_days=400)
    applied = Retention(store, {"chdb": keeper, "clickhouse": equal})
    warnings = [line for line in _logged(applied) if line["log_level"] == "warning"]
    again = [line for line in _logged(applied) if line["log_level"] == "warning"]

    assert [(line["exporter"], line["ttl_days"], line["projects"]) for line in warnings] == [("chdb", 90, ["long"])]
    assert again == []
    assert keeper.told == equal.told == [{"short": 7}] * 2


def test_postgres_away(postgres: EmbeddedPostgres, store: MetadataStore) -> None:
    """Nothing is deleted on old knowledge: while Postgres is away no store is told anything, and after it all are."""
    keeper = _Keeper()
    applied = Retention(store, {"chdb": keeper})
    applied.apply()
    postgres.stop()
    (line,) = _logged(applied)
    postgres.start()
    applied.apply()

    assert (line["log_level"], len(keeper.told)) == ("warning", 2)
    assert "nothing is deleted" in line["event"]


def test_a_store_away(store: MetadataStore) -> None:
    """A store that cannot do it now is named with its reason, and keeps no other from being told."""
    away, other = _Keeper(refusal=Retryable("no answer")), _Keeper()
    logs = _logged(Retention(store, {"clickhouse": away, "chdb": other}))

    assert [(line["exporter"], line.get("error")) for line in logs] == [("clickhouse", "no answer"), ("chdb", None)]


def test_the_thread(store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on after whatever fails, and ends when it is told to."""
    monkeypatch.setattr(retention, "_FIRST_WAIT_SECONDS", (0.0, 0.01))
    monkeypatch.setattr(retention, "_INTERVAL_SECONDS", 0.05)
    keeper = _Keeper(refusal=ZeroDivisionError())
    applied = Retention(store, {"chdb": keeper})
    applied.start()
    wait_until(lambda: len(keeper.told) >= 3)

    assert applied.shutdown(60)
    told = len(keeper.told)
    time.sleep(0.2)
    assert len(keeper.told) == told


def test_the_service() -> None:
    """`projects set` on the command line is all it takes: the service deletes what is due, and counts it."""
    with service() as made:
        with running(store_two_projects, made.directory / "chdb") as storing:
            assert storing.next() == "stored"
            storing.join()
        (made.directory / "receiver.yaml").write_text(json.dumps(made.config))
        _command(made.directory, "projects", "create", "old", "--retention-days", "30")
        _command(made.directory, "projects", "create", "new")
        _command(made.directory, "projects", "set", "new", "--retention-days", "30")
        made.start()
        wait_until(lambda: made.value("SELECT count() FROM observations WHERE project_id = 'old'") == 0, 120)
        wait_until(lambda: made.value("SELECT count() FROM traces WHERE project_id = 'old'") == 0, 60)

        assert made.value("SELECT count() FROM observations WHERE project_id = 'new'") == ROWS
        applied_at = series("otlp_receiver_retention_applied_timestamp_seconds", exporter="chdb")
        wait_until(lambda: counters(made).get(applied_at, 0) > time.time() - 3600)
        assert counters(made)[series("otlp_receiver_retention_deleted_rows", exporter="chdb")] >= 6 * ROWS
        assert made.stop() == 0


def _command(directory: Path, *words: str) -> None:
    called = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "otlp_receiver",
        *words,
        "--config",
        str(directory / "receiver.yaml"),
    ]
    done = subprocess.run(called, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
