"""The schema on a ClickHouse server: made once, by however many start together, and on a cluster as on one server."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import chdb
import pytest
from typer.testing import CliRunner

from exporters import clickhouse_migrations as migrations
from exporters.clickhouse_client import connect, sorted_errors
from exporters.clickhouse_cluster import on_cluster
from exporters.clickhouse_sql import VIEWS, create_tables, ddl, upgrade_ttl
from otlp_receiver.cli.main import app
from pipelines.errors import Permanent
from pipelines.schema import TABLES
from tests.support.clickhouse import exporter_at, lines, server, settings_at
from tests.support.records import observations

_MIGRATORS = 6


@contextmanager
def _executing(endpoint: str) -> Iterator[migrations.Execute]:
    client = connect(settings_at(endpoint))

    def execute(statement: str) -> list[tuple[object, ...]]:
        with sorted_errors():
            rows: list[tuple[object, ...]] = client.execute(statement)
        return rows

    try:
        yield execute
    finally:
        client.disconnect()


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A server with nothing in it."""
    with server() as started:
        yield started


def test_the_second_time_there_is_nothing_to_do(endpoint: str) -> None:
    """What was made is written down, with version and time, and not made again; a change of settings is seen."""
    settings = settings_at(endpoint, ttl_days=30)
    database = settings.url.database
    with _executing(endpoint) as execute:
        first = migrations.migrate(execute, settings)
        second = migrations.migrate(execute, settings)
        shorter = migrations.migrate(execute, settings.model_copy(update={"ttl_days": 7}))
        rows = execute(f"SELECT version, count() FROM {database}.{migrations.HISTORY} GROUP BY version")
        (table,) = execute(
            f"SELECT create_table_query FROM system.tables WHERE database = '{database}' AND name = 'score_rows'"
        )

    assert (len(first) > 10, second) == (True, [])
    assert f"ALTER TABLE {database}.score_rows MODIFY TTL stored_at + toIntervalDay(7)" in shorter
    assert "toIntervalDay(7)" in table[0]
    assert [tuple(row) for row in rows] == [(migrations.VERSION, 2)]


def test_many_at_once(endpoint: str) -> None:
    """Migrations that run at the same time all succeed, and rows can be stored and read afterwards."""
    settings = settings_at(endpoint, ttl_days=0)

    def run(_number: int) -> int:
        with _executing(endpoint) as execute:
            return len(migrations.migrate(execute, settings))

    with ThreadPoolExecutor(_MIGRATORS) as pool:
        statements = list(pool.map(run, range(_MIGRATORS)))

    print("statements that each of the concurrent migrations ran:", statements)  # noqa: T201 - figures for who reads the log
    with exporter_at(endpoint) as exporter:
        exporter.export(observations(8))
        assert lines(exporter, "trace_totals", "model_call_count, observation_count") == ["[8, 8]"]


def test_rows_stored_before_a_feed_are_counted(endpoint: str) -> None:
    """Where a counting table has lost its feed, it is filled again from what is stored."""
    settings = settings_at(endpoint, ttl_days=0)
    database = settings.url.database
    with exporter_at(endpoint) as exporter:
        exporter.export(observations(8))
    with _executing(endpoint) as execute:
        execute(f"DROP VIEW {database}.call_rows_feed SYNC")
        execute(f"TRUNCATE TABLE {database}.call_rows")
        execute(f"TRUNCATE TABLE {database}.{migrations.HISTORY}")
        migrations.migrate(execute, settings)

    with exporter_at(endpoint) as exporter:
        assert lines(exporter, "trace_totals", "model_call_count") == ["[8]"]


def test_a_later_schema_is_left_alone(endpoint: str) -> None:
    """Where a later version has been, an earlier one neither changes the schema nor stores anything."""
    with exporter_at(endpoint) as exporter:
        exporter._execute(
            f"INSERT INTO {exporter.settings.url.database}.{migrations.HISTORY} (version, applied_at) "
            f"SELECT {migrations.VERSION + 1}, now() + 10"
        )

    with pytest.raises(Permanent, match=f"version {migrations.VERSION + 1}"), exporter_at(endpoint):
        pass


def test_without_the_right_to_create(endpoint: str) -> None:
    """With create_schema: false nothing is made; the message names the command that does."""
    with pytest.raises(Permanent, match="otlp-receiver migrate"), exporter_at(endpoint, create_schema=False):
        pass
    with exporter_at(endpoint):
        pass
    with exporter_at(endpoint, create_schema=False) as exporter:
        exporter.export(observations(1))


def _config(directory: Path, exporters: str) -> str:
    file = directory / "receiver.yaml"
    file.write_text(
        "receivers: {otlp: {protocols: {grpc: }}}\nbuffers: {local: }\n"
        f"exporters: {exporters}\n"
        "service: {pipelines: {traces: {receivers: [otlp], buffer: local, exporters: [out]}}}\n".replace(
            "[out]", f"[{exporters.partition(':')[0].strip('{ ')}]"
        )
    )
    return str(file)


class TestCommand:
    """`otlp-receiver migrate`."""

    def test_dry_run_prints_what_would_run(self, endpoint: str, tmp_path: Path) -> None:
        """--dry-run prints SQL and changes nothing; then the same is run; then there is nothing left to print."""
        config = _config(tmp_path, f'{{clickhouse: {{endpoint: "{endpoint}"}}}}')

        planned = CliRunner().invoke(app, ["migrate", "--dry-run", "--config", config])
        with _executing(endpoint) as execute:
            database = settings_at(endpoint).url.database
            before = execute(f"SELECT count() FROM system.tables WHERE database = '{database}'")
        done = CliRunner().invoke(app, ["migrate", "--config", config])
        rest = CliRunner().invoke(app, ["migrate", "--dry-run", "--config", config])

        assert (planned.exit_code, done.exit_code, rest.exit_code) == (0, 0, 0)
        assert before == [(0,)]
        assert planned.stdout.count(";\n") > 10
        assert rest.stdout == ""
        assert "clickhouse: up to date" in rest.stderr
        assert re.search(r"clickhouse: \d+ statements", done.stderr)

    def test_nothing_to_migrate(self, tmp_path: Path) -> None:
        """Without a clickhouse exporter the command says so and fails."""
        result = CliRunner().invoke(app, ["migrate", "--config", _config(tmp_path, "{debug: }")])

        assert result.exit_code == 1
        assert "no clickhouse exporter" in result.stderr

    def test_server_is_down(self, tmp_path: Path) -> None:
        """A server that does not answer is one clear line."""
        config = _config(tmp_path, '{clickhouse: {endpoint: "clickhouse://u:secret@127.0.0.1:1/otel"}}')

        result = CliRunner().invoke(app, ["migrate", "--config", config])

        assert result.exit_code == 1
        assert "127.0.0.1:1" in result.stderr
        assert "secret" not in result.stderr


class TestCluster:
    """SQL for a cluster."""

    _STATEMENTS = on_cluster(ddl("otel", 90), "otel", "main")

    def test_one_server_stays_as_it_is(self) -> None:
        """Without a cluster nothing is changed."""
        assert on_cluster(ddl("otel", 90), "otel", "") == ddl("otel", 90)

    def test_everything_is_made_everywhere(self) -> None:
        """Every statement runs on the whole cluster."""
        assert [statement for statement in self._STATEMENTS if " ON CLUSTER main" not in statement.split("\n")[0]] == []

    def test_a_whole_migration(self) -> None:
        """All of it runs on the cluster; what has been done is written down once for all servers."""
        settings = settings_at("clickhouse://127.0.0.1:9000/otel", cluster="main")
        *statements, entry = migrations.pending(lambda _statement: [], settings)

        assert [statement for statement in statements if " ON CLUSTER main" not in statement.split("\n")[0]] == []
        assert entry.startswith(f"INSERT INTO otel.{migrations.HISTORY} ")
        (history,) = [statement for statement in statements if f"otel.{migrations.HISTORY} ON" in statement]
        assert "('/clickhouse/tables/all/otel/schema_versions', '{replica}', applied_at)" in history
        assert all("fsync_after_insert = 1" in statement for statement in statements if "TTL stored_at" in statement)

    def test_each_table_has_shards_and_a_way_to_them(self) -> None:
        """Each table is a replicated one on every shard and a Distributed one under the name that queries use."""
        for table in [*(table.stored_as for table in TABLES.values()), "call_rows", "call_parent_rows"]:
            (shard,) = [s for s in self._STATEMENTS if s.startswith(f"CREATE TABLE IF NOT EXISTS otel.{table}_shard ")]
            (distributed,) = [s for s in self._STATEMENTS if s.startswith(f"CREATE TABLE IF NOT EXISTS otel.{table} ")]
            place = f"'/clickhouse/tables/{{shard}}/otel/{table}_shard', '{{replica}}'"
            assert re.search(rf"ENGINE = Replicated\w+MergeTree\({re.escape(place)}", shard)
            assert f"Distributed(main, otel, {table}_shard, cityHash64(" in distributed

    def test_a_trace_lies_on_one_shard(self) -> None:
        """Rows are divided by the trace, and calls by what brings those of different traces together."""
        keys = dict(
            re.findall(r"Distributed\(main, otel, (\w+)_shard, cityHash64\((\w+)\)\)", "\n".join(self._STATEMENTS))
        )

        assert keys == {
            "observation_rows": "trace_id",
            "trace_rows": "id",
            "score_rows": "trace_id",
            "content_rows": "trace_id",
            "call_rows": "call",
            "call_parent_rows": "trace_id",
        }

    def test_versions_of_rows_are_kept(self) -> None:
        """A replicated engine replaces by the same column as the plain one."""
        (shard,) = [s for s in self._STATEMENTS if "otel.observation_rows_shard ON" in s and "ENGINE" in s]

        assert "'{replica}', ingested_at)" in shard

    def test_feeds_read_what_their_shard_gets(self) -> None:
        """A feed is filled from the shard's own rows and writes to wherever the call belongs."""
        (feed,) = [s for s in self._STATEMENTS if "call_rows_feed" in s.split("\n")[0]]

        assert feed.startswith(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS otel.call_rows_feed ON CLUSTER main TO otel.call_rows AS\n"
        )
        assert "FROM otel.observation_rows_shard ARRAY JOIN" in feed

    def test_views_read_all_shards(self) -> None:
        """Views name the Distributed tables only."""
        views = [s for s in self._STATEMENTS if s.startswith("CREATE OR REPLACE VIEW")]

        assert len(views) == len(VIEWS)
        assert [view for view in views if "_shard" in view] == []

    def test_changes_reach_the_shards(self) -> None:
        """ALTER changes what is stored; a column also where it is asked for."""
        (ttl,) = on_cluster(upgrade_ttl("score_rows", "otel", 7, definition=""), "otel", "main")
        added = on_cluster(["ALTER TABLE otel.score_rows ADD COLUMN IF NOT EXISTS `x` String"], "otel", "main")

        assert ttl.startswith("ALTER TABLE otel.score_rows_shard ON CLUSTER main MODIFY TTL")
        assert added == [
            f"ALTER TABLE otel.{name} ON CLUSTER main ADD COLUMN IF NOT EXISTS `x` String"
            for name in ("score_rows_shard", "score_rows")
        ]

    def test_the_engine_can_parse_it(self) -> None:
        """Every statement is valid ClickHouse SQL."""
        connection = chdb.connect(":memory:")  # type: ignore[no-untyped-call] # chDB ships it without types
        try:
            trees = [connection.query(f"EXPLAIN AST {statement}").bytes() for statement in self._STATEMENTS]
        finally:
            connection.close()

        assert all(tree.startswith(b'"Create') for tree in trees)
        assert len(trees) > len(create_tables("otel", 90))
