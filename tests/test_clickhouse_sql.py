"""The DDL on a real engine: it makes what the schema declares, its views prune, rows expire."""

from collections.abc import Iterator
from typing import Any

import pytest

from exporters.chdb_store import ChdbExporter
from exporters.clickhouse_sql import VIEWS, column_list, ddl
from exporters.clickhouse_views import MODEL_USAGE, TRACE_TOTALS
from pipelines.schema import OBSERVATIONS, TABLES, Table
from pipelines.schema_docs import docs_record_markdown
from tests.support.chdb import answer, opened, statement, value
from tests.support.records import START_NS, from_rows, observations, traces

_DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """Three days of observations and 20,000 traces, merged."""
    with opened(tmp_path_factory.mktemp("sql") / "chdb") as exporter:
        for day in range(3):
            rows = observations(800, first=day * 800, text_bytes=10).records.to_pylist()
            moved = [{**row, "start_time": START_NS + day * _DAY_NS, "end_time": START_NS} for row in rows]
            exporter.export(from_rows("observations", moved))
        exporter.export(traces(20_000))
        yield exporter


def _read(store: ChdbExporter, query: str) -> tuple[int, int]:
    """Parts and index marks that a query will read."""
    plan = answer(store, f"EXPLAIN ESTIMATE {query}")
    return sum(int(row["parts"]) for row in plan), sum(int(row["marks"]) for row in plan)


class TestTables:
    """What is created."""

    @pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.kind)
    def test_columns_are_those_of_the_schema(self, store: ChdbExporter, table: Table) -> None:
        """Name, order and comment of every stored column come from the schema; storage adds columns of its own."""
        stored = answer(
            store,
            f"SELECT name, comment FROM system.columns WHERE database = 'otel' AND table = '{table.stored_as}' "
            "ORDER BY position",
        )

        assert [(row["name"], row["comment"]) for row in stored] == [
            *((column.name, column.doc) for column in table.columns),
            ("stored_at", ""),
            *([("completed", ""), ("completed_weight", "")] if table is OBSERVATIONS else []),
        ]

    def test_statements_may_be_repeated(self, store: ChdbExporter) -> None:
        """Running all statements again changes nothing."""
        before = value(store, "SELECT count() FROM observations")

        for each in ddl("otel", 90):
            statement(store, each)

        assert value(store, "SELECT count() FROM observations") == before

    def test_another_database(self) -> None:
        """Every statement names the database that was asked for, and no other."""
        for each in ddl("elsewhere", 0):
            assert "elsewhere" in each
            assert "otel" not in each.replace("otel_genai", "").replace("otelcol", "")

    def test_inserted_columns(self) -> None:
        """The INSERT list is the schema's columns in order."""
        assert column_list(OBSERVATIONS).replace("`", "").split(", ") == OBSERVATIONS.arrow_schema.names


class TestViews:
    """What readers see."""

    @pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.kind)
    def test_view_has_the_columns_of_the_record(self, store: ChdbExporter, table: Table) -> None:
        """A view shows each declared column under its name, and no other; nothing of how it is aggregated."""
        shown = answer(store, f"DESCRIBE {table.kind}")

        assert [row["name"] for row in shown] == [column.name for column in table.columns]
        assert not [row for row in shown if "Aggregate" in row["type"]]

    def test_every_view_exists(self, store: ChdbExporter) -> None:
        """The views are there, and can be read."""
        filled = {view: value(store, f"SELECT count() > 0 FROM {view}") for view in VIEWS}

        assert [view for view, is_filled in filled.items() if not is_filled] == ["scores", "contents"]

    def test_day_prunes_observations(self, store: ChdbExporter) -> None:
        """A condition on the start reads the parts of its days only."""
        assert _read(store, "SELECT count() FROM observations")[0] == 3
        later = f"start_time > fromUnixTimestamp64Nano({START_NS + _DAY_NS})"
        assert _read(store, f"SELECT count() FROM observations WHERE {later}")[0] == 1

    def test_trace_id_prunes_observations(self, store: ChdbExporter) -> None:
        """A condition on the trace id reads one part of each table, found by the index, without naming a day."""
        condition = f"WHERE project_id = 'default' AND trace_id = '{150:032x}'"

        assert _read(store, f"SELECT * FROM observations {condition}")[0] == 1
        assert _read(store, f"SELECT * FROM trace_totals {condition}")[0] == 3

    def test_a_page_of_trace_ids_prunes_days(self, store: ChdbExporter) -> None:
        """A page of traces of one day reads no granule of other days, whose ids lie among its own."""
        first_ns = START_NS + 100 * _DAY_NS
        rows = [
            {"project_id": "page", "trace_id": f"{number:032x}", "id": "i", "type": "GENERATION"}
            | {"start_time": first_ns + number % 6 * _DAY_NS, "end_time": first_ns}
            for number in range(6000)
        ]
        store.export(from_rows("observations", rows))
        page = ", ".join(f"'{number:032x}'" for number in range(0, 300, 6))
        condition = f"WHERE project_id = 'page' AND trace_id IN ({page})"

        assert value(store, f"SELECT uniqExact(trace_id) FROM observations {condition}") == 50
        assert _read(store, f"SELECT name FROM observations {condition}") == (1, 1)
        assert _read(store, f"SELECT * FROM trace_totals {condition}")[0] == 3

    def test_trace_id_prunes_traces(self, store: ChdbExporter) -> None:
        """A condition on the id reads one granule of the traces."""
        condition = f"WHERE project_id = 'default' AND id = '{150:032x}'"

        assert _read(store, "SELECT name FROM traces")[1] > 1
        assert _read(store, f"SELECT name FROM traces {condition}")[1] == 1

    def test_columns_that_are_not_asked_for_are_not_read(self, store: ChdbExporter) -> None:
        """A count of traces does not touch their texts."""
        plan = answer(store, "EXPLAIN header = 1 SELECT id FROM traces WHERE project_id = 'default'")

        assert not [row for row in plan if "input" in row["explain"]]

    def test_merged_days_of_many_calls_are_wide(self, store: ChdbExporter) -> None:
        """Inserted calls are one file; a merged day of many has one for each column, which sums read twice as fast."""
        calls = "SELECT 'wide', '2026-02-03', sipHash128(number) FROM numbers({}, 80000)"
        types = "SELECT groupUniqArray(part_type) FROM system.parts WHERE active AND {}"
        of_day = "table = 'call_rows' AND partition = '2026-02-03'"

        statement(store, "SYSTEM STOP MERGES otel.call_rows")
        for first in (0, 80_000):
            statement(store, f"INSERT INTO otel.call_rows (project_id, day, call) {calls.format(first)}")
        inserted = value(store, types.format(of_day))
        statement(store, "SYSTEM START MERGES otel.call_rows")
        statement(store, "OPTIMIZE TABLE otel.call_rows PARTITION '2026-02-03' FINAL")

        assert (inserted, value(store, types.format(of_day))) == (["Compact"], ["Wide"])

    def test_totals_count_model_calls_once(self, store: ChdbExporter) -> None:
        """Tokens and cost of a trace are those of its model calls, not of wrappers; unknown is NULL."""
        spent = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        rows: list[dict[str, Any]] = [
            {"id": "1", "type": "AGENT", **spent},
            {"id": "2", "type": "GENERATION", "level": "ERROR", **spent},
            {"id": "3", "type": "EMBEDDING", "input_tokens": 7},
            {"id": "4", "type": "RERANKER"},
            {"id": "5", "type": "CHAIN", "level": "ERROR", **spent},
        ]
        times = {"start_time": 1_000_000_000, "end_time": 3_500_000_000}
        common = {"project_id": "totals", "trace_id": "t"}
        store.export(from_rows("observations", ({**common, **times, **row} for row in rows)))

        (totals,) = answer(store, "SELECT * FROM trace_totals WHERE project_id = 'totals'")

        assert totals == {
            **common,
            "start_time": "1970-01-01 00:00:01.000000000",
            "end_time": "1970-01-01 00:00:03.500000000",
            "latency_seconds": 2.5,
            "observation_count": 5,
            "model_call_count": 3,
            "error_count": 2,
            "input_tokens": 17,
            "output_tokens": 5,
            "total_tokens": 15,
            "total_cost": None,
        }

    def test_usage_is_the_sum_of_the_observations(self, store: ChdbExporter) -> None:
        """model_usage says what the same sums over observations say, names of any text and copies of rows included."""
        names = ["gpt-5", "", "a\nb", "\n", "modèle", "x'\\"]
        rows = [
            {"project_id": "usage", "trace_id": "t", "id": f"{index}", "start_time": index * _DAY_NS // 4}
            | {"type": kind, "provider": names[index % 6], "model": names[index // 6 % 6], "total_tokens": index}
            for index, kind in enumerate(["GENERATION", "AGENT", "EMBEDDING", "SPAN", "RERANKER"] * 40)
        ]
        for _ in range(2):
            store.export(from_rows("observations", rows))
        plain = (
            "SELECT toDate32(start_time) AS day, replaceAll(provider, '\n', ' ') AS provider, "
            "replaceAll(model, '\n', ' ') AS model, count() AS model_call_count, sum(total_tokens) AS total_tokens "
            "FROM observations WHERE project_id = 'usage' AND type IN ('GENERATION', 'EMBEDDING', 'RERANKER') "
            "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )

        usage = answer(
            store,
            "SELECT day, provider, model, model_call_count, total_tokens FROM model_usage "
            "WHERE project_id = 'usage' ORDER BY 1, 2, 3",
        )

        assert usage == answer(store, plain)
        assert sum(int(row["model_call_count"]) for row in usage) == 120
        assert value(store, "SELECT countIf(project_id = '') FROM model_usage") == 0

    def test_day_and_project_prune_usage(self, store: ChdbExporter) -> None:
        """model_usage of a day reads that day's part of each table, of an unknown project none."""
        day = f"toDate32(fromUnixTimestamp64Nano({START_NS}), 'UTC')"

        assert _read(store, f"SELECT * FROM model_usage WHERE day = {day} AND project_id = 'default'")[0] == 2
        assert _read(store, "SELECT * FROM model_usage WHERE project_id = 'nobody'")[0] == 0

    @pytest.mark.parametrize("name", [*TRACE_TOTALS, *MODEL_USAGE])
    def test_sums_are_documented(self, name: str) -> None:
        """docs/record.md names every column of trace_totals and model_usage."""
        assert f"`{name}`" in docs_record_markdown()


class TestRetention:
    """When rows go."""

    @pytest.mark.parametrize("start_ns", [0, 1_544_712_660_000_000_000, 2**63 - 1, -(2**62)])
    def test_old_timestamps_stay(self, store: ChdbExporter, start_ns: int) -> None:
        """A span whose own time is long ago, or absurd, is kept: what was acknowledged must not vanish."""
        project = f"old {start_ns}"
        row = {"project_id": project, "trace_id": "t", "id": "i", "start_time": start_ns, "end_time": start_ns}
        trace = {"project_id": project, "id": "t", "timestamp": start_ns, "end_time": start_ns}
        store.export(from_rows("observations", [row]))
        store.export(from_rows("traces", [trace]))

        for table in ("observation_rows", "trace_rows"):
            statement(store, f"OPTIMIZE TABLE otel.{table} FINAL")

        kept = [f"SELECT count() FROM {view} WHERE project_id = '{project}'" for view in ("observations", "traces")]
        assert [value(store, query) for query in kept] == [1, 1]

    def test_rows_expire_after_they_were_stored(self, store: ChdbExporter) -> None:
        """Rows stored longer ago than the time to live are dropped."""
        insert = "INSERT INTO otel.observation_rows (project_id, start_time, stored_at) SELECT 'gone', now64(9)"

        statement(store, f"{insert} + toIntervalDay(500), now() - toIntervalDay(91)")
        statement(store, "OPTIMIZE TABLE otel.observation_rows FINAL")

        assert value(store, "SELECT count() FROM observations WHERE project_id = 'gone'") == 0
