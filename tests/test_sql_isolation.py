"""SQL with a key: whatever is asked, and however, only the rows of the key's own project can be told from the answer.

Two projects lie in the same tables, days and granules, with the same trace ids; each asks for the other's.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests

from exporters.chdb_store import _STORING, ChdbExporter
from exporters.clickhouse_sql import VIEWS
from otlp_receiver.credentials import Headers, read_credentials
from otlp_receiver.replies import FORBIDDEN, Refused
from otlp_receiver.sql_query import Question, Questions
from pipelines.batch import Batch
from tests.support.chdb import opened, sql_server
from tests.support.records import observations, scores, traces

_ROWS = 40
_SECRET = "their-secret-4711"
_SOURCES = [*VIEWS, *_STORING]


def _owned(batch: Batch, project_id: str) -> Batch:
    """The rows as those of a project; every name, input and output of `theirs` holds the secret."""
    records = batch.records
    for name in ("project_id", "name", "input", "output", "user_id", "model", "string_value", "comment"):
        index = records.schema.get_field_index(name)
        if index < 0 or records.schema.field(index).type != pa.string():
            continue
        text = project_id if name == "project_id" else f"{project_id} {_SECRET if project_id == 'theirs' else 'x'}"
        records = records.set_column(index, records.schema.field(index), pa.array([text] * len(records)))
    assert pc.all(pc.equal(records["project_id"], project_id)).as_py()
    return Batch(batch.kind, records, batch.received_at_ns)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """Both projects, theirs with more rows; merged to one part, so that rows of both lie side by side."""
    with opened(tmp_path_factory.mktemp("isolation") / "chdb") as exporter:
        for project_id, count in (("mine", _ROWS), ("theirs", 3 * _ROWS)):
            for make in (observations, traces, scores):
                exporter.export(_owned(make(count), project_id))
        exporter._connection.query("OPTIMIZE TABLE otel.observation_rows FINAL")
        yield exporter


def _ask(store: ChdbExporter, query: str, parameters: dict[str, str] | None = None) -> str:
    """The whole answer for the project `mine`, past all walls."""
    asked = Question(query, "TSV", parameters or {}, {}, "mine")
    found = Questions(store.reader, 20, shared=True).ask(asked)
    try:
        return b"".join(iter(lambda: bytes(found.next_piece()), b"")).decode()
    finally:
        found.close()


def _answer(store: ChdbExporter, query: str, parameters: dict[str, str] | None = None) -> str:
    """The answer or the error."""
    try:
        return _ask(store, query, parameters)
    except Exception as error:  # noqa: BLE001 - errors are looked at too
        return f"refused {error}"


@pytest.mark.parametrize("source", _SOURCES)
def test_every_table_and_view_shows_one_project(store: ChdbExporter, source: str) -> None:
    """Each has rows of both projects, and shows only those of the one that asks."""
    assert _both(store, source) == {"mine", "theirs"} or source in ("contents", "content_rows")

    assert _ask(store, f"SELECT DISTINCT project_id FROM {source}") in ("mine\n", "")


def _both(store: ChdbExporter, source: str) -> set[str]:
    reader = store.reader({})
    try:
        return set(reader.query(f"SELECT DISTINCT project_id FROM {source}", "TSV").bytes().decode().split())
    finally:
        reader.close()


def test_every_relation_of_the_store_is_known() -> None:
    """What holds rows or shows them is in the lists that the tests of isolation go through."""
    assert set(_SOURCES) == {*VIEWS, *_STORING}
    assert len(_SOURCES) == len(set(_SOURCES))


def test_nothing_is_stored_elsewhere(store: ChdbExporter) -> None:
    """The database holds no table without a row policy."""
    reader = store.reader({})
    try:
        names = reader.query("SELECT name FROM system.tables WHERE database = 'otel'", "TSV").bytes().decode().split()
    finally:
        reader.close()

    assert set(names) == set(_SOURCES)


_ROWS_OF_OTHERS = [
    "SELECT count() FROM {t} WHERE project_id = 'theirs'",
    "SELECT count() FROM {t} WHERE project_id != 'mine'",
    "SELECT count() FROM {t} PREWHERE project_id = 'theirs'",
    "SELECT count() FROM otel.{t} WHERE project_id IN ('theirs', 'other')",
    "SELECT countIf(project_id = 'theirs') FROM {t}",
    "SELECT uniqExact(project_id) - 1 FROM {t}",
    "SELECT count() FROM (SELECT * FROM {t}) WHERE project_id != 'mine'",
    "WITH a AS (SELECT * FROM {t}) SELECT count() FROM a WHERE project_id != 'mine'",
    "SELECT count() FROM view(SELECT * FROM {t}) WHERE project_id != 'mine'",
    "SELECT count() FROM (SELECT 'theirs' AS project_id) AS a INNER JOIN {t} AS b USING (project_id)",
    "SELECT count() FROM {t} AS a RIGHT JOIN {t} AS b ON a.project_id = b.project_id WHERE b.project_id != 'mine'",
    "SELECT 'theirs' IN (SELECT project_id FROM {t})",
    "SELECT 'theirs' GLOBAL IN (SELECT project_id FROM {t})",
    "SELECT EXISTS(SELECT 1 FROM {t} WHERE project_id = 'theirs')",
    "SELECT has(groupArray(project_id), 'theirs') FROM {t}",
    "SELECT count() FROM (SELECT project_id FROM {t} UNION ALL SELECT project_id FROM {t}) WHERE project_id != 'mine'",
    "SELECT count() FROM (SELECT project_id FROM {t} EXCEPT DISTINCT SELECT 'mine')",
    "SELECT countIf(p = 'theirs') FROM (SELECT any(project_id) OVER (ROWS 2 PRECEDING) p FROM {t})",
    "SELECT count() FROM {t} FINAL WHERE project_id = 'theirs'",
    "SELECT count() FROM {t} WHERE NOT ignore(*) AND project_id = 'theirs'",
    "SELECT max(project_id) = 'theirs' FROM {t}",
    "SELECT count() FROM {t} WHERE getSetting('log_comment') != project_id",
]


@pytest.mark.parametrize("query", _ROWS_OF_OTHERS)
@pytest.mark.parametrize("source", ["observations", "observation_rows", "traces", "trace_totals", "call_rows_feed"])
def test_rows_of_others_are_not_there(store: ChdbExporter, query: str, source: str) -> None:
    """However they are asked for, none is found."""
    assert _answer(store, query.format(t=source)).split()[0] in ("0", "false", "refused")


_PROBES = [
    "SELECT count() FROM {t} WHERE throwIf({c})",
    "SELECT count() FROM {t} PREWHERE throwIf({c})",
    "SELECT count() FROM {t} FINAL PREWHERE throwIf({c})",
    "SELECT count() FROM {t} WHERE throwIf({c}) AND project_id = 'theirs'",
    "SELECT count() FROM {t} WHERE project_id = 'theirs' AND throwIf({c})",
    "SELECT sum(throwIf({c})) FROM {t}",
    "SELECT count() FROM {t} WHERE 1 / if({c}, 0, 1) AND intDiv(1, if({c}, 0, 1))",
    "SELECT count() FROM {t} AS a JOIN {t} AS b ON a.project_id = b.project_id AND throwIf(b.{c})",
    "SELECT count() FROM {t} GROUP BY throwIf({c})",
    "SELECT 1 FROM {t} ORDER BY throwIf({c}) LIMIT 1",
    "SELECT 1 FROM {t} ARRAY JOIN [throwIf({c})] AS x LIMIT 1",
]


@pytest.mark.parametrize("probe", _PROBES)
@pytest.mark.parametrize("source", ["observations", "observation_rows", "traces", "scores"])
def test_no_condition_is_tried_on_rows_of_others(store: ChdbExporter, probe: str, source: str) -> None:
    """An expression that fails on their rows does not fail: nobody can ask by errors what they hold."""
    told = _answer(store, probe.format(t=source, c=f"name LIKE '%{_SECRET}%'"))

    assert "ILLEGAL_DIVISION" not in told
    assert "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" not in told


_SUMS = [
    "SELECT count() FROM observations",
    "SELECT count() FROM observation_rows",
    "SELECT sum(rows) FROM (SELECT _partition_id, count() AS rows FROM observation_rows GROUP BY 1)",
]


@pytest.mark.parametrize("query", _SUMS)
def test_counts_are_the_project_s_own(store: ChdbExporter, query: str) -> None:
    """Counts that the engine could take from what it knows of its parts are counted over one project's rows."""
    assert _ask(store, query) == f"{_ROWS}\n"


_CLOSED = [
    "SELECT * FROM system.parts",
    "SELECT * FROM system.tables",
    "SELECT * FROM system.columns",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.events",
    "SELECT * FROM system.metrics",
    "SELECT * FROM system.mutations",
    "SELECT * FROM system.row_policies",
    "SELECT * FROM system.query_log",
    "SELECT * FROM system.data_skipping_indices",
    "SELECT * FROM INFORMATION_SCHEMA.TABLES",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM merge('otel', '.*')",
    "SELECT * FROM mergeTreeIndex('otel', 'observation_rows')",
    "SELECT * FROM mergeTreeProjection('otel', 'observation_rows', 'x')",
    "SELECT * FROM loop('otel', 'observation_rows')",
    "SELECT * FROM remote('127.0.0.1', 'otel', 'observation_rows')",
    "SELECT * FROM cluster('default', 'otel', 'observation_rows')",
    "SELECT * FROM dictionary('otel.observation_rows')",
    "SELECT * FROM executable('x', 'TSV', 'a String')",
    "SELECT dictGet('otel.observation_rows', 'name', 1)",
    "SELECT joinGet('otel.observation_rows', 'name', 1)",
    "EXPLAIN ESTIMATE SELECT * FROM observation_rows",
    "EXPLAIN indexes = 1 SELECT * FROM observation_rows",
    "SELECT * FROM (EXPLAIN SELECT * FROM observation_rows)",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM observation_rows))",
    "SELECT count() FROM observations SETTINGS log_comment = 'theirs'",
    "SELECT count() FROM (SELECT * FROM observations SETTINGS log_comment = 'theirs')",
    "SELECT count() FROM (SELECT * FROM observations SETTINGS log_comment = '')",
    "SELECT count() FROM view(SELECT * FROM observations SETTINGS log_comment = '')",
    "SELECT count() FROM observations SETTINGS additional_table_filters = {'observation_rows': '1'}",
    "SET log_comment = 'theirs'",
    "SET ROLE owner",
    "SET ROLE DEFAULT",
    "KILL QUERY WHERE 1",
]


@pytest.mark.parametrize("query", _CLOSED)
def test_ways_around_are_closed(store: ChdbExporter, query: str) -> None:
    """What would tell of others' rows or queries, or change whose rows are shown, is refused."""
    with pytest.raises(Exception, match=r"Code: \d+"):
        _ask(store, query)


@pytest.mark.parametrize("name", ["log_comment", "additional_table_filters", "readonly", "role"])
def test_a_client_cannot_choose_the_project(store: ChdbExporter, name: str) -> None:
    """Settings of the request do not change whose rows are shown."""
    asked = Question("SELECT count() FROM observations", "TSV", {}, {name: "theirs"}, "mine")
    found = Questions(store.reader, 20, shared=True).ask(asked)

    assert bytes(found.next_piece()) == f"{_ROWS}\n".encode()
    found.close()


@pytest.mark.parametrize("name", ["observation_rows", "observations", "call_rows_feed"])
def test_parameters_name_no_way_around(store: ChdbExporter, name: str) -> None:
    """A table that a parameter names is under the same policy."""
    told = _answer(
        store, "SELECT count() FROM {t:Identifier} WHERE project_id = {p:String}", {"t": name, "p": "theirs"}
    )

    assert told == "0\n"


def test_the_engine_alone_keeps_them_apart(store: ChdbExporter) -> None:
    """Without the guard too: row policies hold for every role, and the setting that they go by cannot be changed."""
    reader = store.reader({}, "mine")
    try:
        for statement in ("SET log_comment = 'theirs'", "SET log_comment = ''", "SET readonly = 0"):
            with pytest.raises(RuntimeError, match="READONLY"):
                reader.query(statement)
        reader.query("SET ROLE DEFAULT")
        for source in _SOURCES:
            found = reader.query(f"SELECT DISTINCT project_id FROM otel.{source}", "TSV").bytes().decode()
            assert found in ("mine\n", "")
    finally:
        reader.close()


def test_one_query_leaves_nothing_for_another_project(store: ChdbExporter) -> None:
    """What the engine remembers of a query of one project does not change what the next finds."""
    query = "SELECT count() FROM observation_rows WHERE name LIKE 'theirs%'"
    questions = Questions(store.reader, 20, shared=True)

    counts = []
    for project_id in ("mine", "theirs", "mine", "theirs"):
        found = questions.ask(Question(query, "TSV", {}, {}, project_id))
        counts.append(bytes(found.next_piece()))
        found.close()

    assert counts == [b"0\n", b"120\n"] * 2


@pytest.fixture(scope="module")
def url(store: ChdbExporter) -> Iterator[str]:
    """A server that knows the keys of both, and one that may not read."""
    with sql_server(store, authenticate=_known) as server:
        yield f"http://{server.endpoints[0]}/"


class TestOverHttp:
    """The endpoint itself."""

    @pytest.mark.parametrize(
        "shown",
        [
            {"auth": ("pk-a", "sk-mine")},
            {"headers": {"Authorization": "Bearer sk-mine"}},
            {"headers": {"x-api-key": "sk-mine"}},
            {"headers": {"X-ClickHouse-User": "pk-a", "X-ClickHouse-Key": "sk-mine"}},
        ],
    )
    def test_the_key_decides(self, url: str, shown: dict[str, Any]) -> None:
        """Shown in any way, the key gives its own project's rows, whatever else the request says."""
        told = requests.get(
            url,
            {"query": "SELECT DISTINCT project_id FROM observations", "log_comment": "theirs", "project": "theirs"},
            timeout=20,
            **shown,
        )

        assert (told.status_code, told.text) == (200, "mine\n")

    def test_without_a_key(self, url: str) -> None:
        """There is no answer, in ClickHouse's words, and how to show a key."""
        told = requests.get(url, {"query": "SELECT 1"}, timeout=20)

        assert told.status_code == 401
        assert told.headers["X-ClickHouse-Exception-Code"] == "516"
        assert told.headers["WWW-Authenticate"].startswith("Basic ")
        assert told.text.startswith("Code: 516. DB::Exception: the request has neither")

    def test_with_a_key_that_may_not_read(self, url: str) -> None:
        """It is told which scope the key lacks."""
        told = requests.get(url, {"query": "SELECT 1"}, headers={"x-api-key": "sk-none"}, timeout=20)

        assert (told.status_code, told.headers["X-ClickHouse-Exception-Code"]) == (403, "497")
        assert "lacks the scope read" in told.text

    def test_ping_needs_no_key(self, url: str) -> None:
        """Probes have none."""
        assert requests.get(f"{url}ping", timeout=20).text == "Ok.\n"


async def _known(headers: Headers) -> str:
    secret = read_credentials(headers).secret
    if secret == "sk-none":
        raise Refused(FORBIDDEN, "the key lacks the scope read")
    return secret.removeprefix("sk-")
