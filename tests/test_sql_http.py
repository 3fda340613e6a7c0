"""SQL over HTTP on a real socket: as ClickHouse speaks it, with its own Python client too."""

import asyncio
import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import pyarrow as pa
import pytest
import requests
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError, StreamFailureError

from config.models import ChdbExporterSettings, SqlHttpSettings
from exporters.chdb_store import ChdbExporter
from otlp_receiver.sql_http import SqlHttpServer
from tests.support.chdb import call_in_thread, opened, sql_server
from tests.support.records import START_NS, observations, traces
from tests.support.waiting import wait_until

_ENDLESS = "SELECT count() FROM numbers(1000000000000000)"
_FAILS_LATE = "SELECT throwIf(number = 900000), number FROM numbers(1000000)"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """A store with a hundred observations."""
    with opened(tmp_path_factory.mktemp("http") / "chdb") as exporter:
        exporter.export(observations(100))
        exporter.export(traces(10))
        yield exporter


@pytest.fixture(scope="module")
def server(store: ChdbExporter) -> Iterator[SqlHttpServer]:
    """The server in front of it."""
    with sql_server(store, {"max_execution_time": 20.0}) as started:
        yield started


@pytest.fixture(scope="module")
def url(server: SqlHttpServer) -> str:
    """Where it is."""
    return f"http://{server.endpoints[0]}/"


@pytest.fixture(scope="module")
def client(server: SqlHttpServer) -> Iterator[Any]:
    """ClickHouse's client with its defaults."""
    host, _, port = server.endpoints[0].rpartition(":")
    connected = clickhouse_connect.get_client(host=host, port=int(port))
    yield connected
    connected.close()


class TestQuestions:
    """The ways to ask."""

    def test_query_in_the_url(self, url: str) -> None:
        """GET with the query in the URL answers in TSV."""
        response = requests.get(url, {"query": "SELECT count(), 'a' FROM observations"}, timeout=20)

        assert (response.status_code, response.text) == (200, "100\ta\n")
        assert response.headers["X-ClickHouse-Format"] == "TabSeparated"
        assert response.headers["Content-Type"].startswith("text/tab-separated-values")

    def test_query_in_the_body(self, url: str) -> None:
        """POST with the query in the body answers it; a body after a query in the URL continues it."""
        assert requests.post(url, "SELECT 1 + 1", timeout=20).text == "2\n"
        assert requests.post(url, "7 AS a", params={"query": "SELECT"}, timeout=20).text == "7\n"

    def test_compressed_body(self, url: str) -> None:
        """A gzipped body is understood."""
        response = requests.post(url, gzip.compress(b"SELECT 5"), headers={"Content-Encoding": "gzip"}, timeout=20)

        assert response.text == "5\n"

    @pytest.mark.parametrize("database", ["", "otel", "default"])
    def test_database(self, url: str, database: str) -> None:
        """The record is found without naming a database, and in its own."""
        assert (
            requests.post(url, "SELECT count() FROM traces", params={"database": database}, timeout=20).text == "10\n"
        )

    def test_parameters(self, url: str) -> None:
        """`param_name` fills in `{name:Type}`, escaped as in TSV."""
        found = requests.post(
            url,
            "SELECT {text:String} AS t, {many:Array(UInt8)}, {since:DateTime64(9, 'UTC')} FORMAT JSONCompactEachRow",
            params={
                "param_text": "a'b\\\\c\\n🙂",
                "param_many": "[1,2]",
                "param_since": "2026-01-01 00:00:00.123456789",
            },
            timeout=20,
        )

        assert found.json() == ["a'b\\c\n🙂", [1, 2], "2026-01-01 00:00:00.123456789"]

    @pytest.mark.parametrize(
        ("asked", "in_query", "answered"),
        [
            ("", "", "TabSeparated"),
            ("JSONEachRow", "", "JSONEachRow"),
            ("jsoneachrow", "", "JSONEachRow"),
            ("CSV", " FORMAT JSONCompact", "JSONCompact"),
            ("", " FORMAT csvwithnames", "CSVWithNames"),
            ("Parquet", "", "Parquet"),
        ],
    )
    def test_format(self, url: str, asked: str, in_query: str, answered: str) -> None:
        """The FORMAT clause decides, else default_format, whatever their spelling."""
        response = requests.post(url, f"SELECT 1 AS a{in_query}", params={"default_format": asked}, timeout=20)

        assert response.status_code == 200, response.text
        assert response.headers["X-ClickHouse-Format"] == answered

    def test_json_like_clickhouse(self, url: str) -> None:
        """FORMAT JSON has meta, data, rows and statistics, and a summary in the headers."""
        response = requests.post(url, "SELECT count() AS n FROM observations FORMAT JSON", timeout=20)

        body = response.json()
        assert (body["meta"], body["data"], body["rows"]) == ([{"name": "n", "type": "UInt64"}], [{"n": 100}], 1)
        assert response.headers["Content-Type"].startswith("application/json")
        assert int(json.loads(response.headers["X-ClickHouse-Summary"])["read_rows"]) > 0

    def test_settings_that_shape_the_answer(self, url: str) -> None:
        """Output settings and limits are taken from the URL; others are ignored, as Grafana and others send many."""
        params = {
            "output_format_json_quote_64bit_integers": "1",
            "max_result_rows": "3",
            "result_overflow_mode": "throw",
            "max_memory_usage": "0",
            "add_http_cors_header": "1",
            "session_id": "x",
            "user": "grafana",
            "password": "secret",
            "no_such_setting": "1",
        }
        ask = {"default_format": "JSONEachRow", **params}

        assert requests.post(url, "SELECT toUInt64(1) AS a", params=ask, timeout=20).json() == {"a": "1"}
        assert requests.post(url, "SELECT * FROM numbers(5)", params=ask, timeout=20).status_code == 500

    def test_compressed_answer(self, url: str) -> None:
        """An answer is gzipped when the client asks for it as it would ask ClickHouse."""
        query = "SELECT repeat('a', 1000) FROM numbers(100)"
        plain = requests.post(url, query, headers={"Accept-Encoding": "gzip"}, timeout=20)
        packed = requests.post(
            url, query, params={"enable_http_compression": "1"}, headers={"Accept-Encoding": "gzip"}, timeout=20
        )

        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert plain.text == packed.text

    @pytest.mark.parametrize("path", ["ping", "replicas_status", ""])
    def test_greetings(self, url: str, path: str) -> None:
        """`/ping`, and `/` without a query, say that it is there."""
        assert requests.get(f"{url}{path}", timeout=20).text == "Ok.\n"

    def test_query_id(self, url: str) -> None:
        """Every answer has an id, the client's own if it sent one; one that could break a header is not repeated."""
        ids = [
            requests.post(url, "SELECT 1", params=params, timeout=20).headers["X-ClickHouse-Query-Id"]
            for params in ({}, {"query_id": "mine"}, {"query_id": "a\r\nX-Forged: 1"})
        ]

        assert ids[1] == "mine"
        assert "Forged" not in ids[2]
        assert len(set(ids)) == 3


class TestErrors:
    """Errors have ClickHouse's form."""

    @pytest.mark.parametrize(
        ("query", "status", "code", "text"),
        [
            ("SELEC 1", 400, 62, "Syntax error"),
            ("SELECT 1; SELECT 2", 400, 62, "Multi-statements are not allowed"),
            ("SELECT nothing", 404, 47, "nothing"),
            ("SELECT * FROM nowhere", 404, 60, "nowhere"),
            ("SELECT nofunction(1)", 404, 46, "nofunction"),
            ("SELECT 1 FORMAT NoFormat", 404, 73, "Unknown format NoFormat"),
            ("SELECT toUInt8('x')", 400, 6, "Cannot parse"),
            ("INSERT INTO scores (id) VALUES ('x')", 403, 164, "readonly"),
            ("INSERT INTO scores (id) FORMAT TSV\nx\ny\n", 403, 164, "readonly"),
            ("SELECT file('/etc/passwd')", 403, 497, "the function file"),
            ("SELECT {x:String}", 500, 456, "`x`"),
        ],
    )
    def test_status_and_text(self, url: str, query: str, status: int, code: int, text: str) -> None:
        """Status, code header and text are those of ClickHouse, and say what is wrong without our own wrapping."""
        response = requests.post(url, query, timeout=20)

        assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
        assert response.text.startswith(f"Code: {code}. DB::Exception: ")
        assert text in response.text
        assert "formatQuery" not in response.text

    def test_unknown_database_and_path(self, url: str) -> None:
        """What is not there is 404."""
        assert requests.post(url, "SELECT 1", params={"database": "nowhere"}, timeout=20).status_code == 404
        assert requests.get(f"{url}play", timeout=20).status_code == 404

    @pytest.mark.parametrize("params", [{"compress": "1"}, {"decompress": "1"}])
    def test_native_compression_is_refused(self, url: str, params: dict[str, str]) -> None:
        """ClickHouse's own block compression is refused in words, rather than answered with bytes out of place."""
        response = requests.post(url, "SELECT 1", params=params, timeout=20)

        assert response.status_code == 501
        assert "not supported" in response.text

    def test_bad_setting_value(self, url: str) -> None:
        """A setting that does not parse is the client's error."""
        assert requests.post(url, "SELECT 1", params={"max_block_size": "many"}, timeout=20).status_code == 400

    @pytest.mark.parametrize("body", [b"SELECT '\xff'", b"\xff\xfe", b"SELECT 1" + b" " * 2_000_000])
    def test_unusable_bodies(self, url: str, body: bytes) -> None:
        """Bytes that are no text, and too many of them, are refused."""
        assert 400 <= requests.post(url, body, timeout=20).status_code < 500

    def test_external_tables_are_refused(self, url: str) -> None:
        """Forms with tables in them are refused in words."""
        response = requests.post(url, params={"query": "SELECT 1"}, files={"t": b"1"}, timeout=20)

        assert (response.status_code, "not supported" in response.text) == (501, True)

    def test_timeout(self, url: str) -> None:
        """A client may shorten the time of its query."""
        response = requests.post(url, _ENDLESS, params={"max_execution_time": "0.2"}, timeout=20)

        assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (408, "159")

    def test_timeout_cannot_be_lengthened(self, store: ChdbExporter) -> None:
        """The configured limit holds, whatever the client asks for."""
        with sql_server(store, {"max_execution_time": 0.2}) as server:
            for asked in ("0", "1000", "-1", "nan", "inf", "x"):
                params = {"max_execution_time": asked}
                response = requests.post(f"http://{server.endpoints[0]}/", _ENDLESS, params=params, timeout=20)

                assert response.status_code == 408

    def test_late_error(self, url: str) -> None:
        """A query that fails half-way ends in its error, and the answer is broken off: it cannot be taken for whole."""
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("POST", "/", _FAILS_LATE)
        response = connection.getresponse()
        tag = response.headers["X-ClickHouse-Exception-Tag"].encode()
        with pytest.raises(http.client.IncompleteRead) as broken:
            response.read()
        connection.close()

        assert response.status == 200
        assert broken.value.partial.endswith(tag + b"\r\n__exception__\r\n")
        assert b"FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" in broken.value.partial


class TestClient:
    """clickhouse-connect."""

    def test_rows_and_types(self, client: Any) -> None:
        """Rows come back as Python values, nanoseconds and maps among them."""
        found = client.query(
            "SELECT id, toUnixTimestamp64Nano(start_time) AS ns, usage_details, tags, is_root, total_cost "
            "FROM observations ORDER BY id LIMIT 1"
        )

        usage = {"input": 100, "output": 20, "total": 120}
        assert found.result_rows == [("0" * 16, START_NS, usage, ["blue", "green"], True, None)]

    def test_frames_and_arrow(self, client: Any) -> None:
        """Pandas and Arrow hold all rows."""
        frame = client.query_df("SELECT * FROM observations ORDER BY id")
        table = client.query_arrow("SELECT id, start_time, total_cost FROM observations ORDER BY id")

        assert (len(frame), frame["id"].iloc[99]) == (100, f"{99:016x}")
        assert table.column("start_time").cast(pa.int64())[0].as_py() == START_NS
        assert table.num_rows == 100

    def test_parameters_and_commands(self, client: Any) -> None:
        """Bound parameters, DESCRIBE, SHOW and scalars work."""
        bound = client.query("SELECT {a:String}, {b:Array(String)}", parameters={"a": "x'\\\n\t", "b": ["y'"]})

        assert bound.result_rows == [("x'\\\n\t", ["y'"])]
        assert client.command("SELECT count() FROM observations") == 100
        assert "observations" in client.command("SHOW TABLES")
        assert client.query("DESCRIBE TABLE observations").result_rows[0][0] == "project_id"

    def test_empty_answer_has_columns(self, client: Any) -> None:
        """An answer without rows still tells its columns and types."""
        found = client.query("SELECT id, total_cost, tags FROM observations WHERE id = {id:String}", {"id": "none"})

        assert found.column_names == ("id", "total_cost", "tags")
        assert [kind.base_type for kind in found.column_types] == ["String", "Decimal", "Array"]

    def test_many_rows_are_streamed(self, client: Any) -> None:
        """A large answer arrives in blocks."""
        with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(300000)") as blocks:
            sizes = [len(block) for block in blocks]

        assert sum(sizes) == 300_000
        assert len(sizes) > 1

    def test_errors(self, client: Any) -> None:
        """Errors are the client's own kinds, before and after an answer has begun."""
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            client.query("SELECT * FROM nowhere")
        with pytest.raises(StreamFailureError, match="THROW_IF"):
            len(client.query(_FAILS_LATE).result_rows)
        with pytest.raises(ProgrammingError, match="readonly"):
            client.query("SELECT 1", settings={"max_threads": 1})
        with pytest.raises(DatabaseError, match="not supported"):
            client.insert("score_rows", [["x"]], column_names=["id"])


class TestLoad:
    """Many clients, slow ones and those that go away."""

    def test_more_questions_than_places(self, store: ChdbExporter) -> None:
        """Questions beyond the limit wait their turn, and all are answered."""
        with sql_server(store, {"max_concurrent_queries": 2}) as server:
            url = f"http://{server.endpoints[0]}/"
            texts: list[str] = []
            calls = [
                call_in_thread(lambda: texts.append(requests.post(url, "SELECT count() FROM traces", timeout=30).text))
                for _ in range(20)
            ]
            for call in calls:
                call.join()

        assert texts == ["10\n"] * 20

    def test_client_that_leaves_gives_up_its_place(self, store: ChdbExporter) -> None:
        """A client that goes away holds its place no longer than a query may run."""
        with sql_server(store, {"max_concurrent_queries": 1, "max_execution_time": 1.0}) as server:
            host, _, port = server.endpoints[0].rpartition(":")
            for query in (_ENDLESS, "SELECT number FROM numbers(1000000000000)"):
                with socket.create_connection((host, int(port))) as gone:
                    gone.sendall(f"GET /?{urlencode({'query': query})} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

            assert requests.post(f"http://{host}:{port}/", "SELECT 1", timeout=30).text == "1\n"

    def test_client_that_does_not_read(self, store: ChdbExporter) -> None:
        """A client that takes nothing of a large answer is cut off, and its place given to others."""
        with sql_server(store, {"max_concurrent_queries": 1, "max_execution_time": 1.0}) as server:
            host, _, port = server.endpoints[0].rpartition(":")
            with socket.create_connection((host, int(port))) as idle:
                query = urlencode({"query": "SELECT repeat('x', 1000) FROM numbers(1000000000)"})
                idle.sendall(f"GET /?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

                assert requests.post(f"http://{host}:{port}/", "SELECT 1", timeout=30).text == "1\n"

    def test_too_many_wait(self, store: ChdbExporter, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the queue is full, a question is refused at once."""
        monkeypatch.setattr("otlp_receiver.sql_http._MOST_WAITING", 1)
        with sql_server(store, {"max_concurrent_queries": 1, "max_execution_time": 2.0}) as server:
            url = f"http://{server.endpoints[0]}/"
            calls = [call_in_thread(lambda: requests.post(url, _ENDLESS, timeout=30)) for _ in range(2)]
            wait_until(lambda: server._waiting == 1)

            refused = requests.post(url, "SELECT 1", timeout=30)
            for call in calls:
                call.join()

        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (503, "202")

    def test_nothing_is_left_behind(self, store: ChdbExporter) -> None:
        """Every question has a connection of its own, closed at the end, however it ended."""
        counted = _Counting(store)
        with sql_server(counted) as server:
            url = f"http://{server.endpoints[0]}/"
            for query in ("SELECT 1", "SELEC", "SELECT * FROM nowhere", "SELECT file('x')", "SELECT 1 FORMAT JSON"):
                requests.post(url, query, timeout=20)

            wait_until(lambda: counted.opened == counted.closed)


class _Counting:
    """A store that counts its readers."""

    def __init__(self, store: ChdbExporter) -> None:
        self.opened = self.closed = 0
        self._store = store

    def reader(self, settings: Any, project_id: str = "") -> Any:
        connection = self._store.reader(settings, project_id)
        self.opened += 1
        close = connection.close

        def closed() -> None:
            if connection._conn is not None:
                self.closed += 1
            close()

        connection.close = closed
        return connection


class TestLife:
    """Start and shutdown."""

    def test_port_in_use(self, store: ChdbExporter) -> None:
        """An address that is taken is an OSError that names it."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"127.0.0.1:{taken.getsockname()[1]}"

            async def start() -> None:
                await SqlHttpServer(SqlHttpSettings(endpoint=endpoint), store).start()

            with pytest.raises(OSError, match=endpoint):
                asyncio.run(start())

    def test_store_that_is_not_open(self, tmp_path: Path) -> None:
        """While the store cannot be opened, questions are answered 503 with the reason."""
        closed = ChdbExporter("chdb", ChdbExporterSettings(path=str(tmp_path)))
        with sql_server(closed) as server:
            response = requests.post(f"http://{server.endpoints[0]}/", "SELECT 1", timeout=20)

        assert (response.status_code, response.text) == (503, "the embedded store is not open\n")

    def test_shutdown_lets_answers_end(self, store: ChdbExporter) -> None:
        """An answer that is being made is finished before the server is gone; then the port is free."""
        texts: list[str] = []

        def ask(url: str) -> None:
            texts.append(requests.post(url, "SELECT sum(number) FROM numbers(300000000)", timeout=30).text)

        with sql_server(store) as server:
            host, _, port = server.endpoints[0].rpartition(":")
            call = call_in_thread(lambda: ask(f"http://{host}:{port}/"))
            wait_until(lambda: server._slots._value < 4)
        call.join()

        assert texts == ["44999999850000000\n"]
        with socket.create_server((host, int(port))):
            pass
