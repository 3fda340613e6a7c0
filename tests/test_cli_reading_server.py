"""`traces`, `trace` and `query` with a configuration whose store is a ClickHouse server: over its native protocol."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from otlp_receiver.cli.main import app
from otlp_receiver.cli.sql_client import SqlError, client_for
from otlp_receiver.cli.sql_native import NativeSqlClient
from tests.support.clickhouse import exporter_at, settings_at
from tests.support.clickhouse_front import Front, clickhouse_front
from tests.support.records import from_rows, observations, scores, traces
from tests.support.service import free_ports

_ROWS = 24
_ODD = "ab" * 16


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """A server with three traces of eight spans, their scores, and a span whose texts steer terminals."""
    odd = {"project_id": "odd", "trace_id": _ODD, "id": "cd" * 8, "name": "\x1b[2Jodd", "type": "SPAN", "is_root": True}
    with clickhouse_front() as started, exporter_at(started.endpoint) as exporter:
        for batch in (observations(_ROWS), traces(3), scores(3), from_rows("observations", [odd])):
            exporter.export(batch)
        exporter.export(from_rows("traces", [{"project_id": "odd", "id": _ODD}]))
        yield started


@pytest.fixture(scope="module")
def config(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that stores there, and has no SQL endpoint of its own."""
    return _config(tmp_path_factory.mktemp("config") / "receiver.yaml", {"clickhouse": {"endpoint": front.endpoint}})


def _config(file: Path, exporters: dict[str, Any]) -> Path:
    pipeline = {"receivers": ["otlp"], "buffer": "local", "exporters": list(exporters)}
    body = {
        "receivers": {"otlp": {"protocols": {"grpc": {}}}},
        "buffers": {"local": {}},
        "exporters": exporters,
        "service": {"pipelines": {"traces": pipeline}},
    }
    file.write_text(json.dumps(body))
    return file


def _run(config: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)], input=stdin, env={"COLUMNS": "120"})


def _rows(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_traces_are_listed(config: Path) -> None:
    """Newest first with their sums, of all projects or of one, as a table and as JSON."""
    rows = _rows(_run(config, "traces", "--json"))
    assert {row["id"] for row in rows} == {_ODD, *(f"{number:032x}" for number in range(3))}
    assert rows == sorted(rows, key=lambda row: (-int(row["start_unix_ns"]), row["id"]))
    assert {int(row["observations"]) for row in rows} == {1, 8}
    assert [row["id"] for row in _rows(_run(config, "traces", "--json", "--project", "odd"))] == [_ODD]
    assert "assistant" in _run(config, "traces").stdout


@pytest.mark.parametrize("project", ["none", "' OR 1 = 1 --", "a\\b\tc", "\\' OR 1 = 1 --", "{limit:UInt32}"])
def test_values_are_never_sql(config: Path, project: str) -> None:
    """What users type is a text in the query, whatever is in it."""
    done = _run(config, "traces", "--project", project)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "No traces in project" in done.stderr


def test_a_trace_is_drawn(config: Path) -> None:
    """As a tree, found by the start of its id; hostile names do not reach the terminal."""
    shown = _run(config, "trace", _ODD[:6]).stdout
    assert "SPAN \N{REPLACEMENT CHARACTER}[2Jodd" in shown
    assert "\x1b" not in shown
    assert _run(config, "trace", "0" * 31 + "1").stdout.count("GENERATION chat") == 8


def test_json_has_everything(config: Path) -> None:
    """Every column of every span, times with all nanoseconds, money with all decimals."""
    found = json.loads(_run(config, "trace", "0" * 32, "--json").stdout)
    first = found["observations"][0]
    assert len(found["observations"]) == 8
    assert first["start_time"] == "2026-09-21 14:13:20.123456789"
    assert first["metadata"] == {"http.status": "200", "note": "row 0"}
    assert found["observations"][1]["total_cost"] == 0.001
    assert int(found["totals"]["observation_count"]) == 8
    assert [score["name"] for score in found["scores"]] == ["helpfulness"]


_LAST = "SELECT id, input_tokens AS n FROM observations WHERE project_id = 'default' ORDER BY id DESC LIMIT 2"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([_LAST], "id\tn\n0000000000000017\t123\n0000000000000016\t122\n"),
        ([f"/* the\nlatest */ -- two\n ({_LAST}) -- end"], "id\tn\n0000000000000017\t123\n0000000000000016\t122\n"),
        (["-f", "CSVWithNames", _LAST], '"id","n"\n"0000000000000017",123\n"0000000000000016",122\n'),
        ([f"{_LAST} FORMAT JSONEachRow;"], '{"id":"0000000000000017","n":123}\n{"id":"0000000000000016","n":122}\n'),
        (["SELECT 'a\tb\nc' AS `t\t1`"], "t\\t1\na\\tb\\nc\n"),
        (["SELECT 1 AS one WHERE 0"], "one\n"),
        (["SHOW TABLES LIKE 'trace\\_%'"], "name\ntrace_rows\ntrace_totals\n"),
    ],
)
def test_the_server_writes_the_answer(config: Path, arguments: list[str], expected: str) -> None:
    """Rows in the order and the format that was asked for, texts escaped as ClickHouse does it."""
    done = _run(config, "query", *arguments)
    assert done.stdout == expected, done.stderr


def test_tables_are_described(config: Path) -> None:
    """Statements that are no SELECT are answered too."""
    lines = _run(config, "query", "DESCRIBE observations").stdout.splitlines()
    assert lines[0].startswith("name\ttype\t")
    assert "start_time\tDateTime64(9, 'UTC')" in "\n".join(lines).replace("\\'", "'")
    assert "ReadFromSystemOne" in _run(config, "query", "EXPLAIN SELECT 1").stdout


def test_a_terminal_gets_a_table(config: Path) -> None:
    """With a header and numbers to the right."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "otlp_receiver", "query", _LAST, "--config", str(config)]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "80"}) as process:
        os.close(theirs)
        assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[\d;]*m", "", os.read(ours, 65536).decode())
    os.close(ours)
    assert [line.split() for line in text.splitlines()][:2] == [["id", "n"], ["0000000000000017", "123"]]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE observation_rows",
        "INSERT INTO score_rows (id) VALUES ('x')",
        "CREATE TABLE mine (a UInt8) ENGINE = Memory",
        "SET readonly = 0",
        "SELECT * FROM file('/etc/passwd')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')",
        "SELECT * FROM nowhere",
        "SELEC 1",
        "SELECT throwIf(number = 0) FROM numbers(3)",
    ],
)
def test_what_is_refused_is_an_error(front: Front, config: Path, sql: str) -> None:
    """Nothing can be changed or read elsewhere; exit code 1, the server's words, nothing on standard output."""
    done = _run(config, "query", sql)
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.match(rf"error: clickhouse at 127\.0\.0\.1:{front.port}: Code: \d+\.", done.stderr)
    assert _run(config, "query", "SELECT count() FROM observations").stdout == f"count()\n{_ROWS + 1}\n"


def test_queries_are_bounded(config: Path) -> None:
    """By time and by rows, and read in UTC."""
    query = (
        "SELECT getSetting('readonly') AS r, getSetting('max_execution_time') AS t, getSetting('max_result_rows') AS n"
    )
    (row,) = _rows(_run(config, "query", "-f", "JSONEachRow", query))
    assert (int(row["r"]), float(row["t"]), int(row["n"])) == (1, 60, 10_000_000)


def test_formats_without_lines_are_refused(config: Path) -> None:
    """The message names those that there are, and where to get the others."""
    done = _run(config, "query", "-f", "Parquet", "SELECT 1")
    assert done.exit_code == 1
    assert "'Parquet' does not come over ClickHouse's native protocol; these do: TabSeparated," in done.stderr


def test_an_answer_that_breaks_off_is_an_error(front: Front) -> None:
    """Half an answer is never taken for a whole one."""
    client = NativeSqlClient("clickhouse", settings_at(front.endpoint))
    failing = "SELECT throwIf(number = 400000, 'in the middle') FROM numbers(500000) SETTINGS max_block_size = 1000"
    with client.ask(failing, "TSV") as answer, pytest.raises(SqlError, match="in the middle"):
        answer.stream.read()


def test_nothing_listens(tmp_path: Path) -> None:
    """One line that names exporter and address."""
    (port,) = free_ports(1)
    file = _config(
        tmp_path / "receiver.yaml", {"clickhouse": {"endpoint": f"clickhouse://u:secret@127.0.0.1:{port}/otel"}}
    )
    done = _run(file, "traces")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: clickhouse at 127.0.0.1:{port}: no answer from ClickHouse")
    assert "secret" not in done.stderr


def test_which_server_is_meant(front: Front, tmp_path: Path) -> None:
    """Of several it must be said; an exporter that is none is named with those that there are."""
    servers = {"clickhouse/a": {"endpoint": front.endpoint}, "clickhouse/b": {"endpoint": front.endpoint}}
    file = _config(tmp_path / "receiver.yaml", servers)
    several = _run(file, "traces")
    assert several.exit_code == 1
    assert "several clickhouse exporters (clickhouse/a, clickhouse/b); say with --exporter" in several.stderr
    assert len(_rows(_run(file, "traces", "--json", "--exporter", "clickhouse/b"))) == 4
    unknown = _run(file, "traces", "--exporter", "clickhouse")
    assert "no pipeline of the configuration has a clickhouse exporter 'clickhouse'" in unknown.stderr
    assert _run(file, "traces", "--exporter", "clickhouse/a", "--url", "http://x:1").exit_code == 2


def test_sql_http_comes_first(front: Front, tmp_path: Path) -> None:
    """Where the service serves SQL itself it is asked, unless the exporter is named."""
    (port,) = free_ports(1)
    file = _config(tmp_path / "receiver.yaml", {"chdb": {}, "clickhouse": {"endpoint": front.endpoint}})
    body = json.loads(file.read_text())
    file.write_text(json.dumps({**body, "extensions": {"sql_http": {"endpoint": f"127.0.0.1:{port}"}}}))
    assert str(client_for("", "", [str(file)])) == f"http://127.0.0.1:{port}"
    assert isinstance(client_for("", "clickhouse", [str(file)]), NativeSqlClient)
