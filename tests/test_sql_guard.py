"""The guard of the SQL interface: what is asked in earnest runs; nothing reads files, calls out, writes or disturbs."""

import socket
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.chdb_store import ChdbExporter
from exporters.clickhouse_errors import error_code
from otlp_receiver.sql_guard import Refused, SqlGuard
from otlp_receiver.sql_query import Question, Questions
from pipelines.schema import TABLES
from tests.support.chdb import answer, opened, value
from tests.support.records import observations, scores, traces
from tests.support.sql_attacks import ATTACKS, HARMLESS, READING_FILES

_SECRET = "the secret 4711"
_secret_table = pa.table({"secret": [_SECRET]})
_PARAMETERS = {"number": "1", "text": "a", "list": "['a']", "table": "traces"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """A store with a few rows."""
    with opened(tmp_path_factory.mktemp("guard") / "chdb") as exporter:
        for batch in (observations(20), traces(5), scores(5)):
            exporter.export(batch)
        yield exporter


@pytest.fixture(scope="module")
def reader(store: ChdbExporter) -> Iterator[Any]:
    """A connection to parse with."""
    connection = store.reader({})
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def guard(reader: Any) -> SqlGuard:
    """The guard."""
    return SqlGuard(reader)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A file with a secret, a place where no file may appear, and a port where nobody may knock."""
    directory = tmp_path_factory.mktemp("places")
    (directory / "secret").write_text(_SECRET)
    return {"secret": str(directory / "secret"), "canary": str(directory / "canary")}


def _filled(attack: str, places: dict[str, str], port: int = 1) -> str:
    return (
        attack.replace("{secret}", places["secret"]).replace("{canary}", places["canary"]).replace("{port}", str(port))
    )


def _ask(store: ChdbExporter, query: str, parameters: dict[str, str] | None = None) -> bytes:
    """The whole answer to a question, past all walls."""
    found = Questions(store.reader, 20).ask(Question(query, "TSV", parameters or {}, {}))
    try:
        pieces = []
        while piece := found.next_piece():
            pieces.append(bytes(piece))
        return b"".join(pieces)
    finally:
        found.close()


@pytest.mark.parametrize("query", HARMLESS)
def test_earnest_questions_run(store: ChdbExporter, query: str) -> None:
    """What people and tools ask is answered."""
    _ask(store, query, _PARAMETERS)


@pytest.mark.parametrize("query", HARMLESS)
def test_checking_twice_changes_nothing(reader: Any, guard: SqlGuard, query: str) -> None:
    """What the guard lets run is its own canonical form: checked again it is the same."""
    checked = guard.check(reader, query, _PARAMETERS)

    assert guard.check(reader, checked.text, _PARAMETERS).text == checked.text


class TestAttacks:
    """One hostile question after the other."""

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_refused(self, store: ChdbExporter, places: dict[str, str], attack: str) -> None:
        """It is answered by an error, which holds nothing secret; no file appears, and no row."""
        before = _state(store)

        with pytest.raises((Refused, RuntimeError)) as refusal:
            _ask(store, _filled(attack, places))

        assert _SECRET not in str(refusal.value)
        assert not Path(places["canary"]).exists()
        assert _state(store) == before

    def test_nobody_is_called(self, store: ChdbExporter, places: dict[str, str]) -> None:
        """None of them opens a connection."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            for attack in ATTACKS:
                with pytest.raises((Refused, RuntimeError)):
                    _ask(store, _filled(attack, places, listener.getsockname()[1]))

            with pytest.raises(BlockingIOError):
                listener.accept()

    @pytest.mark.parametrize(
        ("query", "parameters"),
        [
            ("SELECT arrayMap({f:Identifier}, ['{secret}'])", {"f": "file"}),
            ("SELECT arrayMap({f:Identifier}, ['{secret}'])", {"f": "FILE"}),
            ("SELECT * FROM {d:Identifier}.{t:Identifier}", {"d": "default", "t": "{secret}"}),
            ("SELECT * FROM {d:Identifier}.{t:Identifier}", {"d": "system", "t": "stack_trace"}),
            ("SELECT * FROM {t:Identifier}", {"t": "default.`{secret}`"}),
            ("SELECT * FROM {t:Identifier}", {"t": "file('{secret}')"}),
            ("SELECT {x:String} FROM traces", {"x": "') FROM file('{secret}"}),
        ],
    )
    def test_refused_parameters(
        self, store: ChdbExporter, places: dict[str, str], query: str, parameters: dict[str, str]
    ) -> None:
        """A parameter does not bring in what the query itself may not name; a text stays a text."""
        filled = {name: _filled(text, places) for name, text in parameters.items()}

        try:
            found = _ask(store, _filled(query, places), filled)
        except (Refused, RuntimeError) as refusal:
            found = str(refusal).encode()

        assert _SECRET.encode() not in found

    @pytest.mark.parametrize("setting", ["output_format_schema", "format_schema", "format_template_row", "readonly"])
    def test_settings_that_name_files_are_ignored(self, store: ChdbExporter, setting: str) -> None:
        """A setting that is not known to be harmless is not passed on."""
        question = Question(f"SELECT getSetting('{setting}')", "TSV", {}, {setting: "0"})

        found = Questions(store.reader, 20).ask(question)

        assert bytes(found.next_piece()) == (b"1\n" if setting == "readonly" else b"\n")
        found.close()


def _state(store: ChdbExporter) -> tuple[Any, ...]:
    rows = [value(store, f"SELECT count() FROM {table.kind}") for table in TABLES.values()]
    tables = answer(store, "SELECT database, name FROM system.tables WHERE database != 'system' ORDER BY 1, 2")
    return (rows, tables)


def test_second_wall(store: ChdbExporter, places: dict[str, str]) -> None:
    """A reader without the guard still cannot write tables, call out, read files by tables or see other databases."""
    by_tables = [
        "SELECT * FROM file('{secret}', 'LineAsString')",
        "SELECT * FROM default.`{secret}`",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1:1', 'otel', 'traces')",
        "SELECT * FROM Python(_secret_table)",
        "INSERT INTO score_rows (id) VALUES ('x')",
        "INSERT INTO FUNCTION file('{canary}', 'CSV', 'a UInt8') VALUES (1)",
        "CREATE TABLE canary (a UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE canary (a UInt8)",
        "ALTER TABLE score_rows DELETE WHERE 1",
        "TRUNCATE TABLE score_rows",
        "DROP DATABASE otel",
        "SYSTEM SHUTDOWN",
        "SELECT * FROM system.users",
        "SET readonly = 0",
    ]
    reader = store.reader({})
    try:
        for attack in by_tables:
            with pytest.raises(RuntimeError, match=r"ACCESS_DENIED|READONLY"):
                reader.query(_filled(attack, places))
    finally:
        reader.close()


# --- properties ------------------------------------------------------------------------------------------------------

_CORES = [attack for attack in READING_FILES if attack.startswith("SELECT") and "FORMAT" not in attack]
_WRAPPERS: list[Callable[[str], str]] = [
    lambda query: f"SELECT * FROM ({query})",
    lambda query: f"WITH a AS ({query}) SELECT * FROM a",
    lambda query: f"SELECT 1 UNION ALL {query}",
    lambda query: f"SELECT ({query})",
    lambda query: f"SELECT 1 WHERE 'x' IN ({query})",
    lambda query: f"SELECT * FROM numbers(1) AS a CROSS JOIN ({query}) AS b",
    lambda query: f"SELECT arrayMap(x -> ({query}), [1])",
    lambda query: f"EXPLAIN {query}",
    lambda query: f"DESCRIBE ({query})",
    lambda query: f"/* SELECT 1 */ {query} -- SELECT 1",
    lambda query: f"{query} FORMAT JSON",
    lambda query: f"  \n\t{query}\n;",
    lambda query: query.replace("SELECT", "sElEcT"),
    lambda query: query.replace(" ", " /* ' */ ", 1),
    lambda query: query.replace(" ", "\u00a0", 1),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(core=st.sampled_from(_CORES), wrappers=st.lists(st.sampled_from(_WRAPPERS), max_size=4))
def test_no_wrapping_hides_an_attack(
    reader: Any, guard: SqlGuard, places: dict[str, str], core: str, wrappers: list[Callable[[str], str]]
) -> None:
    """However an attack is nested, commented and spelt, it is refused."""
    query = _filled(core, places)
    for wrap in wrappers:
        query = wrap(query)

    def run() -> None:
        checked = guard.check(reader, query, {})
        reader.query(checked.text, "Null")  # unknown tables and columns are the engine's to refuse

    with pytest.raises((Refused, RuntimeError)):
        run()


_WORDS = """
    SELECT FROM WHERE WITH AS UNION ALL INTO OUTFILE FORMAT SETTINGS EXPLAIN DESCRIBE SHOW TABLES LIKE IN EXISTS
    file ( ) ( ) , ; . * 'x' `x` "x" $$x$$ -- /* */ traces system default numbers 1 -> {x:String} [ ] : :: ' ` JSON
"""
_QUERIES = st.lists(st.sampled_from(_WORDS.split()) | st.text(string.printable, max_size=4), max_size=15)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_QUERIES.map(" ".join) | st.text(max_size=40))
def test_any_text_is_refused_or_canonical(reader: Any, guard: SqlGuard, query: str) -> None:
    """Whatever is sent, the guard refuses it or gives text that it gives again, of a kind that only reads."""
    try:
        checked = guard.check(reader, query, {"x": "x"})
    except Refused:
        return

    assert guard.check(reader, checked.text, {"x": "x"}).text == checked.text
    assert checked.text.split(" ")[0].lstrip("(") in {"SELECT", "WITH", "EXPLAIN", "SHOW", "DESCRIBE", "EXISTS"}


_EXPRESSIONS = st.recursive(
    st.sampled_from(["1", "-2", "3", "NULL", "0.5", "'7'::Int8", "toUInt8(9)"]),
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from(["+", "-", "*", "=", "<", ">=", "AND", "OR", "IS NOT DISTINCT FROM"]), inner
        ).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"NOT {text}"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"{text} IS NULL"),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]} IN (({pair[1]}), 1)"),
        st.tuples(inner, inner, inner).map(lambda three: f"({three[0]}) BETWEEN {three[1]} AND {three[2]}"),
        st.tuples(inner, inner, inner).map(lambda three: "CASE WHEN {} THEN {} ELSE {} END".format(*three)),
        st.tuples(inner, inner).map(lambda pair: "[{}, {}][1]".format(*pair)),
        st.tuples(inner, inner).map(lambda pair: "({}, {}).2".format(*pair)),
        inner.map(lambda text: f"(SELECT {text})"),
        inner.map(lambda text: f"arrayMap(x -> x + {text}, [1])[1]"),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=_EXPRESSIONS)
def test_what_runs_means_what_was_asked(reader: Any, guard: SqlGuard, expression: str) -> None:
    """The text that runs instead gives the same answer, or the same kind of error, as the query would."""
    query = f"SELECT ({expression}) AS a, toTypeName(a)"

    asked = _outcome(lambda: reader.query(query, "TSV"))
    assert _outcome(lambda: reader.query(guard.check(reader, query, {}).text, "TSV")) == asked


def _outcome(run: Callable[[], Any]) -> bytes | int:
    try:
        answered: bytes = run().bytes()
    except (Refused, RuntimeError) as error:
        return error_code(str(error))
    return answered


@pytest.mark.parametrize("depth", [50, 500, 5_000])
@pytest.mark.parametrize("brackets", ["()", "[]", "(SELECT )"])
def test_deep_nesting(reader: Any, guard: SqlGuard, depth: int, brackets: str) -> None:
    """Deeply nested queries are checked or refused; the process goes on."""
    try:
        guard.check(reader, f"SELECT {brackets[:-1] * depth}1{brackets[-1] * depth}", {})
    except Refused:
        assert depth > 50

    assert guard.check(reader, "SELECT 1", {}).text == "SELECT 1"
