"""Stores of other versions are brought up to date when they are opened."""

from pathlib import Path

from exporters.clickhouse_calls import COUNTING_TABLES
from exporters.clickhouse_sql import VIEWS, ddl, upgrade, upgrade_counting
from pipelines.schema import OBSERVATIONS, TABLES
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


def test_calls_of_older_rows_are_counted(tmp_path: Path) -> None:
    """A store from before the tables that count calls, or whose filling was cut short, counts the rows it has."""
    with opened(tmp_path / "chdb") as store:
        store.export(observations(20))
        before = [answer(store, f"SELECT * FROM {view} ORDER BY ALL") for view in ("model_usage", "trace_totals")]
        for table in COUNTING_TABLES:
            statement(store, f"DROP VIEW otel.{table.feed} SYNC")
        statement(store, f"DROP TABLE otel.{COUNTING_TABLES[0].name} SYNC")

    with opened(tmp_path / "chdb") as store:
        after = [answer(store, f"SELECT * FROM {view} ORDER BY ALL") for view in ("model_usage", "trace_totals")]

    assert after == before
    assert sum(row["model_call_count"] for row in before[0]) == 20


def test_older_tables_get_filters_and_settings(tmp_path: Path) -> None:
    """Tables without the filter of trace ids or the way to lie on disk get it at the open; the next changes nothing."""
    definition = "SELECT create_table_query FROM system.tables WHERE name = '{}'"
    with opened(tmp_path / "chdb") as store:
        store.export(observations(3))
        for name in ("observation_rows", "trace_rows", "call_rows", "call_parent_rows"):
            statement(store, f"ALTER TABLE otel.{name} DROP INDEX trace_filter")
        for table in COUNTING_TABLES:
            statement(store, f"ALTER TABLE otel.{table.name} RESET SETTING min_rows_for_wide_part")

    with opened(tmp_path / "chdb") as store:
        assert value(store, "SELECT count() FROM trace_totals WHERE model_call_count > 0") == 1
        stored = {table.stored_as: value(store, definition.format(table.stored_as)) for table in TABLES.values()}
        counting = {table.name: value(store, definition.format(table.name)) for table in COUNTING_TABLES}
    columns = {column.name for table in TABLES.values() for column in table.columns}
    rest = [
        upgrade(table, "otel", 90, columns=columns, definition=stored[table.stored_as]) for table in TABLES.values()
    ]
    rest += [upgrade_counting(table, "otel", 90, definition=counting[table.name]) for table in COUNTING_TABLES]

    assert rest == [[]] * 6
    assert "min_rows_for_wide_part" in counting["call_rows"]


def test_retired_columns_go(tmp_path: Path) -> None:
    """What an earlier version stored and nothing reads any more is dropped."""
    usage_key = "ADD COLUMN usage_key String MATERIALIZED model, ADD INDEX usage_key_index usage_key TYPE set(16)"
    with opened(tmp_path / "chdb") as store:
        store.export(observations(3))
        statement(store, f"ALTER TABLE otel.observation_rows {usage_key}")

    with opened(tmp_path / "chdb") as store:
        assert value(store, "SELECT count() FROM system.columns WHERE name = 'usage_key' AND table LIKE 'obs%'") == 0
        assert value(store, "SELECT count() FROM observations") == 3


def test_columns_of_a_later_version_are_left_alone(tmp_path: Path) -> None:
    """A store that a newer version has written can be opened, read and written."""
    with opened(tmp_path / "chdb") as store:
        statement(store, "ALTER TABLE otel.observation_rows ADD COLUMN from_tomorrow String DEFAULT 'x'")

    with opened(tmp_path / "chdb") as store:
        store.export(observations(2))

        assert value(store, "SELECT count() FROM observations") == 2


def test_time_to_live_follows_the_settings(tmp_path: Path) -> None:
    """Another ttl_days changes existing tables; 0 takes it away."""
    definition = "SELECT create_table_query FROM system.tables WHERE name = '{}'"
    found = []
    for days in (90, 7, 0, 30):
        with opened(tmp_path / "chdb", ttl_days=days) as store:
            found.append(value(store, definition.format("trace_rows")))
            assert ("toIntervalDay" in value(store, definition.format("call_rows"))) == bool(days)

    assert ["toIntervalDay" in text for text in found] == [True, True, False, True]
    assert "toIntervalDay(7)" in found[1]
    assert "toIntervalDay(30)" in found[3]
