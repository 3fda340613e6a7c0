"""Stores of other versions are brought up to date when they are opened."""

from pathlib import Path

from exporters.clickhouse_sql import VIEWS, ddl, upgrade
from pipelines.schema import OBSERVATIONS
from tests.support.chdb import answer, opened, statement, value
from tests.support.records import observations


def test_nothing_to_do() -> None:
    """A table that is as declared is left alone."""
    columns = {column.name for column in OBSERVATIONS.columns}
    (today,) = [line for line in ddl("otel", 7) if "otel.observation_rows\n(" in line]
    kept_for_ever = today.replace("TTL stored_at", "")

    assert upgrade(OBSERVATIONS, "otel", 7, columns=columns, definition=today) == []
    assert upgrade(OBSERVATIONS, "otel", 0, columns=columns, definition=kept_for_ever) == []


def test_missing_columns_are_added_at_open(tmp_path: Path) -> None:
    """A store without a column of today gets it when opened; its rows stay, the new column empty in them."""
    with opened(tmp_path / "chdb") as store:
        store.export(observations(3))
        for view in VIEWS:
            statement(store, f"DROP VIEW otel.{view}")
        statement(store, "ALTER TABLE otel.observation_rows DROP COLUMN request_model, DROP COLUMN events")

    with opened(tmp_path / "chdb") as store:
        store.export(observations(1, first=3))
        rows = answer(store, "SELECT request_model, length(events) AS events FROM observations ORDER BY id")

    assert rows == [{"request_model": "", "events": 0}] * 3 + [{"request_model": "gpt-5", "events": 1}]


def test_model_usage_of_older_rows(tmp_path: Path) -> None:
    """A store from before model_usage shows the usage of the rows it already has."""
    with opened(tmp_path / "chdb") as store:
        store.export(observations(3))
        before = answer(store, "SELECT * FROM model_usage")
        for change in ("DROP INDEX usage_key_index", "DROP COLUMN usage_key"):
            statement(store, f"ALTER TABLE otel.observation_rows {change}")

    with opened(tmp_path / "chdb") as store:
        assert answer(store, "SELECT * FROM model_usage") == before
        assert before[0]["model_call_count"] == 3


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
