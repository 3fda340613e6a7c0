"""Stores of other versions are brought up to date when they are opened."""

from pathlib import Path

from exporters.clickhouse_sql import VIEWS, upgrade
from pipelines.schema import OBSERVATIONS
from tests.support.chdb import answer, opened, statement, value
from tests.support.records import observations


def test_nothing_to_do() -> None:
    """A table that is as declared is left alone."""
    columns = {column.name for column in OBSERVATIONS.columns}

    assert upgrade(OBSERVATIONS, "otel", 7, columns=columns, definition="TTL stored_at + toIntervalDay(7)") == []
    assert upgrade(OBSERVATIONS, "otel", 0, columns=columns, definition="no time to live") == []


def test_missing_columns_are_added_at_open(tmp_path: Path) -> None:
    """A store without a column of today gets it when opened; its rows stay, the new column empty in them."""
    with opened(tmp_path / "chdb") as store:
        store.export(observations(3))
        for view in VIEWS:
            statement(store, f"DROP VIEW otel.{view}")
        statement(store, "ALTER TABLE otel.observation_rows DROP COLUMN model, DROP COLUMN events")

    with opened(tmp_path / "chdb") as store:
        store.export(observations(1, first=3))
        rows = answer(store, "SELECT model, length(events) AS events FROM observations ORDER BY id")

    assert rows == [{"model": "", "events": 0}] * 3 + [{"model": "gpt-5", "events": 1}]


def test_columns_of_a_later_version_are_left_alone(tmp_path: Path) -> None:
    """A store that a newer version has written can be opened, read and written."""
    with opened(tmp_path / "chdb") as store:
        statement(store, "ALTER TABLE otel.observation_rows ADD COLUMN from_tomorrow String DEFAULT 'x'")

    with opened(tmp_path / "chdb") as store:
        store.export(observations(2))

        assert value(store, "SELECT count() FROM observations") == 2


def test_time_to_live_follows_the_settings(tmp_path: Path) -> None:
    """Another ttl_days changes existing tables; 0 takes it away."""
    definition = "SELECT create_table_query FROM system.tables WHERE name = 'trace_rows'"
    found = []
    for days in (90, 7, 0, 30):
        with opened(tmp_path / "chdb", ttl_days=days) as store:
            found.append(value(store, definition))

    assert ["toIntervalDay" in text for text in found] == [True, True, False, True]
    assert "toIntervalDay(7)" in found[1]
    assert "toIntervalDay(30)" in found[3]
