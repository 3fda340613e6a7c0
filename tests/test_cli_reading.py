"""`traces`, `trace` and `query` against the real service, with what `send-sample` and hostile senders gave it."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from typer.testing import CliRunner, Result

from otlp_receiver.cli.main import app
from otlp_receiver.cli.output import program
from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_SAMPLES = 60
_DAY_NS = 86_400 * 10**9
_ODD_TRACE = "feedfeed" + "0" * 24
_TWIN_TRACES = ("cafe0001" + "0" * 24, "cafe0002" + "0" * 24)
_OLD_TRACE = "01d01d01" + "0" * 24


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service with sample runs, an odd trace, two that begin alike, and one of two years ago."""
    with service() as one:
        one.start()
        options = ["--endpoint", f"http://127.0.0.1:{one.ports['grpc']}", "--count", str(_SAMPLES), "--seed", "3"]
        sent = CliRunner().invoke(app, ["send-sample", *options])
        assert sent.exit_code == 0, sent.stderr
        (spans,) = re.findall(r"with ([\d,]+) spans", sent.stdout)
        odd = [*_odd_spans(), *_twins(), _old_span()]
        _post(one, *odd)
        one.wait_for_rows("true", int(spans.replace(",", "")) + len(odd))
        wait_until(lambda: len(_ids(one)) == _SAMPLES + len((_ODD_TRACE, *_TWIN_TRACES, _OLD_TRACE)))
        yield one


def _post(one: Service, *spans: Span) -> None:
    headers = {"Content-Type": "application/x-protobuf"}
    requests.post(
        f"{one.url('http')}/v1/traces", to_protobuf(export(*spans)), headers=headers, timeout=30
    ).raise_for_status()


def _odd_spans() -> list[Span]:
    """An orphan, a circle, a span that is its own parent, siblings a nanosecond apart, a name that steers terminals."""
    start_ns = time.time_ns() - 3 * _DAY_NS
    shape = [("0a", "ff", 0), ("0b", "0c", 1), ("0c", "0b", 2), ("0d", "0d", 3), ("0e", "0a", 11)]
    spans = [_odd_span(own, parent, start_ns + after) for own, parent, after in shape]
    return [
        *spans,
        _odd_span("0f", "0a", start_ns + 10, name="\x1b[2Jearlier", status_code=2, status_message="\x1b]0;no\x07"),
    ]


def _odd_span(own: str, parent: str, start_ns: int, **fields: Any) -> Span:
    ids = {"trace_id": _ODD_TRACE, "span_id": own * 8, "parent_id": parent * 8}
    return span(start_ns=start_ns, end_ns=start_ns + 5_000, **{**ids, "name": f"odd {own}", **fields})


def _twins() -> list[Span]:
    start_ns = time.time_ns() - 2 * _DAY_NS
    return [span(trace_id=trace_id, start_ns=start_ns, end_ns=start_ns + 1) for trace_id in _TWIN_TRACES]


def _old_span() -> Span:
    start_ns = time.time_ns() - 730 * _DAY_NS
    return span(trace_id=_OLD_TRACE, name="long ago", start_ns=start_ns, end_ns=start_ns + 1)


def _run(one: Service, *arguments: str, stdin: str | None = None, columns: int = 120) -> Result:
    """A command as in a pipe."""
    url = ["--url", one.url("sql")]
    return CliRunner().invoke(app, [*arguments, *url], input=stdin, env={"COLUMNS": str(columns)})


def _run_on_terminal(one: Service, *arguments: str, columns: int = 120) -> str:
    """What a command prints on a terminal, without colours and weights."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "otlp_receiver", *arguments, "--url", one.url("sql")]
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        text = b"".join(_everything(ours))
        assert process.wait(60) == 0, text
    os.close(ours)
    return re.sub(r"\x1b\[[\d;]*m", "", text.decode().replace("\r\n", "\n"))


def _everything(descriptor: int) -> Iterator[bytes]:
    """Until the other end of the terminal is closed, which Linux reports as an error."""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece


def _ids(one: Service) -> list[str]:
    return [row["id"] for row in one.sql("SELECT id FROM traces ORDER BY timestamp DESC, id")]


# --- traces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_list_fits_the_terminal(running: Service, columns: int) -> None:
    """Each trace is one line, with an id to copy, whatever the width."""
    shown = _run_on_terminal(running, "traces", columns=columns)
    lines = [line for line in shown.splitlines() if "trip-planner" in line]
    newest = _ids(running)[0]
    assert lines
    assert newest[:8] in shown
    assert (newest in shown) == (columns >= 140)
    assert max(map(len, shown.splitlines())) <= columns
    assert len(shown.splitlines()) == 1 + 20


def test_the_latest_come_first_with_their_sums(running: Service) -> None:
    """Names, users, counts, tokens and cost are those of the store, in the order of time."""
    rows = [json.loads(line) for line in _run(running, "traces", "--json", "--limit", "7").stdout.splitlines()]
    assert [row["id"] for row in rows] == _ids(running)[:7]
    expected = running.sql(
        "SELECT count() AS observations, countIf(level = 'ERROR') AS errors, sum(total_cost) AS cost,"
        " sumIf(total_tokens, type IN ('GENERATION', 'EMBEDDING', 'RERANKER')) AS tokens"
        f" FROM observations WHERE trace_id = '{rows[0]['id']}'"
    )[0]
    told = {"observations": rows[0]["observations"], "errors": rows[0]["errors"], "tokens": rows[0]["total_tokens"]}
    assert {name: int(value) for name, value in told.items()} == {name: int(expected[name]) for name in told}
    assert float(rows[0]["total_cost"]) == pytest.approx(float(expected["cost"]))
    assert rows[0]["user_id"]


def test_windows_widen_until_there_are_enough(running: Service) -> None:
    """A list longer than the last days hold goes back as far as it takes, to a trace of two years ago."""
    rows = [json.loads(line) for line in _run(running, "traces", "--json", "--limit", "1000").stdout.splitlines()]
    assert [row["id"] for row in rows] == _ids(running)
    assert rows[-1]["id"] == _OLD_TRACE


def test_since_leaves_out_what_is_older(running: Service) -> None:
    """--since is a limit, in hours or days, not a hint."""
    recent = _run(running, "traces", "--json", "--since", "30h", "--limit", "1000").stdout
    assert len(recent.splitlines()) == _SAMPLES
    assert (
        len(_run(running, "traces", "--json", "--since", "7d", "--limit", "1000").stdout.splitlines()) == _SAMPLES + 3
    )


@pytest.mark.parametrize("project", ["none", "' OR 1 = 1 --", "a\\b\tc"])
def test_projects_are_told_apart(running: Service, project: str) -> None:
    """A project that is not there has no traces, however it is spelled."""
    done = _run(running, "traces", "--project", project)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith(f"No traces in project {project!r}. Send one with: {program()} send-sample")
    assert len(_run(running, "traces", "--json", "--project", "default").stdout.splitlines()) == 20


def test_impossible_durations_are_wrong_usage(running: Service) -> None:
    """The message shows possible ones."""
    done = _run(running, "traces", "--since", "yesterday")
    assert done.exit_code == 2
    assert "30m, 2h or 7d" in done.stderr


# --- trace -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
def test_the_tree_shows_the_run(running: Service, columns: int) -> None:
    """Types, names, models, tokens, cost and the error of the first sample run, its children below the agent."""
    trace_id = running.value(
        "SELECT trace_id FROM observations WHERE name = 'trip-planner' ORDER BY start_time DESC LIMIT 1"
    )
    shown = _run_on_terminal(running, "trace", trace_id, columns=columns)
    for text in ("trip-planner  ", trace_id, "1 error", "user ", "session ", "score helpfulness"):
        assert text in shown
    assert re.search(r"^AGENT trip-planner", shown, re.MULTILINE)
    assert re.search(r"^├─ GENERATION chat .* \$0\.0", shown, re.MULTILINE)
    assert re.search(r"^│  ├─ EMBEDDING embeddings", shown, re.MULTILINE)
    assert "✗ no answer from hotels.example.com within 2 s" in shown
    assert max(map(len, shown.splitlines())) <= columns


def test_odd_traces_are_drawn(running: Service) -> None:
    """Orphans and circles end, every span is drawn, siblings a nanosecond apart keep their order."""
    shown = _run(running, "trace", _ODD_TRACE[:8]).stdout
    drawn = [line for line in shown.splitlines() if "SPAN " in line]
    assert len(drawn) == 6
    assert [line.split("  ")[0].strip() for line in drawn[:3]] == [
        "SPAN odd 0a (its parent was not received)",
        "├─ SPAN \N{REPLACEMENT CHARACTER}[2Jearlier",
        "└─ SPAN odd 0e",
    ]
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_an_endless_trace_is_cut(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trace with more observations than anyone reads, the first are drawn and the rest is counted."""
    monkeypatch.setattr("otlp_receiver.cli.trace._MOST_SHOWN", 2)
    shown = _run(running, "trace", _ODD_TRACE).stdout
    assert shown.count("SPAN ") == 2
    assert "6 observations" in shown
    assert shown.endswith("... and 4 later ones; --json has all.\n")


def test_json_has_everything(running: Service) -> None:
    """Trace, sums, all columns of all observations, scores."""
    found = json.loads(_run(running, "trace", _ids(running)[0], "--json").stdout)
    columns = {row["name"] for row in running.sql("DESCRIBE observations")}
    assert len(found["observations"]) == int(found["totals"]["observation_count"])
    assert set(found["observations"][0]) == columns
    assert found["trace"]["name"] == "trip-planner"
    assert [score["name"] for score in found["scores"]] == ["helpfulness"]


def test_an_id_may_be_shortened_while_it_is_unique(running: Service) -> None:
    """A prefix finds its trace in either case; one that fits two names them; one that fits none says so."""
    assert _run(running, "trace", _TWIN_TRACES[0][:8].upper()).exit_code == 0
    several = _run(running, "trace", "cafe")
    assert several.exit_code == 1
    assert "several traces match cafe" in several.stderr
    assert all(f"  {trace_id}  project default" in several.stderr for trace_id in _TWIN_TRACES)
    none = _run(running, "trace", "0" * 30)
    assert none.exit_code == 1
    assert none.stderr.startswith("error: no trace id starts with 0000")


# --- query -----------------------------------------------------------------------------------------------------------

_COUNT = "SELECT type, toInt64(count()) AS n FROM observations GROUP BY type ORDER BY type"


def test_a_pipe_gets_tab_separated_values(running: Service) -> None:
    """With a header line, exactly as ClickHouse writes them."""
    rows = running.sql(_COUNT)
    assert _run(running, "query", _COUNT).stdout == "type\tn\n" + "".join(
        f"{row['type']}\t{row['n']}\n" for row in rows
    )


def test_a_format_can_be_asked_for(running: Service) -> None:
    """By option, or in the query."""
    as_json = [json.dumps(row, separators=(",", ":")) for row in running.sql(_COUNT)]
    assert _run(running, "query", "--format", "JSONEachRow", _COUNT).stdout.splitlines() == as_json
    assert _run(running, "query", f"{_COUNT} FORMAT JSONEachRow").stdout.splitlines() == as_json


def test_a_query_can_come_from_standard_input(running: Service) -> None:
    """`-` reads it; an empty one is wrong usage."""
    assert _run(running, "query", "-", stdin=_COUNT).stdout == _run(running, "query", _COUNT).stdout
    assert _run(running, "query", "-", stdin=" \n").exit_code == 2


def test_a_terminal_gets_a_table(running: Service) -> None:
    """With a header, numbers to the right, NULL shown, and texts that cannot steer it."""
    query = "SELECT 'a\\x1b[2J' AS text, NULL AS nothing, [1, 2] AS list, 7 AS number"
    shown = _run_on_terminal(running, "query", query, columns=80)
    assert shown.splitlines() == [
        "text   nothing  list    number",
        "a\N{REPLACEMENT CHARACTER}[2J  NULL     [1, 2]       7",
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_wide_answer_is_cut_or_set_upright(running: Service, columns: int) -> None:
    """Long texts are cut to one line; with more columns than fit, each value has its own."""
    query = "SELECT name, model, input, 7 AS n FROM observations WHERE input != '' LIMIT 5"
    shown = _run_on_terminal(running, "query", query, columns=columns)
    assert len(shown.splitlines()) == 6
    assert "…" in shown
    assert max(map(len, shown.splitlines())) <= columns
    upright = _run_on_terminal(running, "query", "SELECT * FROM observations LIMIT 1", columns=columns)
    names = [row["name"] for row in running.sql("DESCRIBE observations")]
    assert [line.split()[0] for line in upright.splitlines()] == ["row", *names]
    assert max(map(len, upright.splitlines())) <= columns


def test_an_empty_answer_is_a_header(running: Service) -> None:
    """No rows are no error."""
    assert _run_on_terminal(running, "query", "SELECT 1 AS one WHERE 0").split() == ["one"]


def test_a_terminal_gets_no_endless_table(running: Service) -> None:
    """The first thousand rows, and how to get all."""
    shown = _run_on_terminal(running, "query", "SELECT number FROM numbers(100000)")
    assert len(shown.splitlines()) < 1010
    assert "The first 1000 rows; --format or a pipe gives all." in shown


def test_binary_answers_arrive_as_they_are(running: Service) -> None:
    """Bytes in a pipe are the engine's own."""
    command = [sys.executable, "-m", "otlp_receiver", "query", "--url", running.url("sql"), "-f", "RowBinary"]
    done = subprocess.run([*command, "SELECT toUInt8(number) FROM numbers(256)"], capture_output=True, check=True)
    assert done.stdout == bytes(range(256))


@pytest.mark.parametrize(
    "query", ["SELEC 1", "SELECT * FROM nowhere", "DROP TABLE observation_rows", "SELECT * FROM file('/etc/passwd')"]
)
def test_a_refused_query_is_an_error(running: Service, query: str) -> None:
    """Exit code 1 and what the engine says; nothing on standard output."""
    done = _run(running, "query", query)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr) > 20
