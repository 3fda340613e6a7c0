"""`dead-letters` beside the running service: a poison row is set aside, looked at, replayed and stored.

The store is a ClickHouse server over its native protocol (chDB behind it), the buffers are real.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from otlp_receiver.cli.main import app
from pipelines.batch import Batch
from pipelines.dead_letters import DeadLetters
from tests.support.clickhouse import count, exporter_at
from tests.support.clickhouse_front import Front, clickhouse_front
from tests.support.kafka import LEAVES_SOCKETS, brokers, kafka_settings
from tests.support.otlp import export, span, to_protobuf
from tests.support.records import from_rows, observations, scores
from tests.support.senders import post
from tests.support.service import Service, service
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS

_POISON = "swallow this"
_SPANS = 30


@contextmanager
def _running(front: Front, kafka: dict[str, Any] | None = None) -> Iterator[Service]:
    """A service that stores there, from the local buffer or from this one."""
    with service() as made:
        retry = {"initial_interval": "50ms", "max_interval": "200ms"}
        made.config["exporters"] = {
            "clickhouse": {"endpoint": front.endpoint, "ttl_days": 0, "retry_on_failure": retry}
        }
        made.config["service"]["pipelines"]["traces"]["exporters"] = ["clickhouse"]
        if kafka:
            made.config["buffers"] = {"kafka": kafka}
            made.config["service"]["pipelines"]["traces"]["buffer"] = "kafka"
        del made.config["extensions"]["sql_http"]
        made.start()
        yield made
        assert made.stop() == 0, made.log()


def _run(config: Path, *arguments: str, stdin: str | None = None, columns: int = 120) -> Result:
    command = ["dead-letters", *arguments, "--config", str(config)]
    return CliRunner().invoke(app, command, input=stdin, env={"COLUMNS": str(columns)})


def _listed(config: Path, *options: str) -> list[dict[str, Any]]:
    done = _run(config, "list", "--json", *options)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _send(receiver: Service) -> None:
    """So many spans, a poison one among them."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    names = [_POISON, *(f"sound {number}" for number in range(1, _SPANS))]
    spans = [span(attributes, span_id=f"{index + 1:016x}", name=name) for index, name in enumerate(names)]
    assert post(receiver, to_protobuf(export(*spans))).status_code == 200


def _check_the_way_back(front: Front, receiver: Service) -> None:
    """Refused → listed → shown → refused again → stored; nothing twice, with the service running throughout."""
    config = receiver.directory / "receiver.yaml"
    assert "No dead letters in" in _run(config, "list").stderr
    front.fail(poison=_POISON)
    _send(receiver)
    wait_until(lambda: len(_listed(config)) == 2, 90)  # the span, and the row of its trace
    with exporter_at(front.endpoint) as reader:
        wait_until(lambda: count(reader, "observations") == _SPANS - 1)
        found = {letter["kind"]: letter for letter in _listed(config)}
        assert {kind: (letter["rows"], letter["origin"]) for kind, letter in found.items()} == {
            "observations": (1, "clickhouse"),
            "traces": (1, "clickhouse"),
        }
        name = found["observations"]["name"]
        shown = json.loads(_run(config, "show", name, "--json").stdout)
        assert [record["name"] for record in shown["records"]] == [_POISON]
        assert "Too large string size" in _run(config, "show", name).stdout

        refused = _run(config, "replay", name)
        assert (refused.exit_code, refused.stderr) == (0, ""), refused.stderr
        wait_until(lambda: name not in [letter["name"] for letter in _listed(config)] and len(_listed(config)) == 2, 90)
        assert count(reader, "observations") == _SPANS - 1

        front.fail()
        done = _run(config, "replay", "--all", "--origin", "clickhouse")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("2 dead letters with 2 rows back in buffer ")
        wait_until(lambda: count(reader, "observations") == _SPANS, 60)
        wait_until(lambda: count(reader, "traces", f"name = '{_POISON}'") == 1, 60)
        again = _run(config, "replay", name)  # harmless: rows replace themselves
        assert again.exit_code == 0, again.stderr
        _send(receiver)
        wait_until(lambda: "No dead letters in" in _run(config, "list").stderr)
        assert count(reader, "observations") == _SPANS
    assert len(_listed(config, "--replayed")) == 3
    assert _run(config, "delete", "--replayed", "--yes").stdout == "3 dead letters deleted.\n"
    assert _listed(config, "--replayed") == []


def test_from_the_local_buffer_and_back() -> None:
    """With SQLite as the buffer, its directory shared with the running service."""
    with clickhouse_front() as front, _running(front) as receiver:
        _check_the_way_back(front, receiver)


def test_from_kafka_and_back() -> None:
    """With real Kafka, where letters and what became of them lie in a topic."""
    with brokers() as found, clickhouse_front() as front, _running(front, kafka_settings(found)) as receiver:
        _check_the_way_back(front, receiver)


# --- without a service -----------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of two pipelines, whose dead letters are beside their buffers."""
    pipelines = {
        f"traces/{name}": {"receivers": [f"otlp/{name}"], "buffer": f"local/{name}", "exporters": ["debug"]}
        for name in "ab"
    }
    body = {
        "receivers": {
            "otlp/a": {"protocols": {"grpc": {}}},
            "otlp/b": {"protocols": {"http": {}}},
        },
        "buffers": {f"local/{name}": {"directory": str(tmp_path / name)} for name in "ab"},
        "exporters": {"debug": {}},
        "service": {"pipelines": pipelines},
    }
    file = tmp_path / "receiver.yaml"
    file.write_text(json.dumps(body))
    return file


@pytest.fixture
def letters(config: Path) -> DeadLetters:
    """Those of the first pipeline."""
    return DeadLetters(config.parent / "a" / "dead-letters")


_A = ("--buffer", "local/a")


def test_hostile_reasons_and_rows_do_not_steer_the_terminal(config: Path, letters: DeadLetters) -> None:
    """Whatever a sink or a sender wrote: in the list, in one letter, and as JSON only printable ASCII."""
    hostile = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\rfake\u2066"
    row = {"project_id": "p", "trace_id": "t", "id": "i", "name": hostile, "metadata": [(hostile, hostile)]}
    name = letters.write(from_rows("observations", [row]), f"refused {hostile}\nsecond line", hostile)
    (letters.directory / "\x1b[2Jforeign.arrow").write_bytes(b"x")

    for arguments in (["list", *_A], ["show", name, *_A], ["show", "foreign", *_A], ["replay", "--all", *_A]):
        done = _run(config, *arguments)
        assert done.exit_code == 0, done.stderr
        assert all(char.isprintable() or char in "\n\t" for char in done.stdout + done.stderr)
    for arguments in (["list", "--json", "--replayed", *_A], ["show", name, "--json", *_A]):
        text = _run(config, *arguments).stdout
        assert text.isascii()
        assert "\x1b" not in text
        assert json.dumps(hostile)[1:-1] in text


def test_the_list_can_be_narrowed(config: Path, letters: DeadLetters) -> None:
    """By number, origin and time; the newest come first."""
    names = [letters.write(scores(1), "bad", origin) for origin in ("a", "b", "a", "b")]
    assert [each["name"] for each in _listed(config, *_A)] == names[::-1]
    assert [each["name"] for each in _listed(config, *_A, "--origin", "a")] == [names[2], names[0]]
    assert [each["name"] for each in _listed(config, *_A, "--since", "1h", "--limit", "1")] == [names[3]]
    assert "There are more" in _run(config, "list", *_A, "--limit", "3").stderr
    assert "There are more" not in _run(config, "list", *_A, "--limit", "4").stderr
    assert _run(config, "list", *_A, "--since", "soon").exit_code == 2


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_table_fits(config: Path, letters: DeadLetters, columns: int) -> None:
    """A letter a line, with an end of its name that finds it again."""
    name = letters.write(observations(3), "Code: 131. " + "too large " * 50, "clickhouse")
    letters.write(b"x" * 5, "checksum", "clickhouse")
    lines = _run(config, "list", *_A, columns=columns).stdout.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= columns
    (short,) = re.findall(r"  (\S+) +observations +3 +clickhouse +Code: 131", lines[2])
    assert json.loads(_run(config, "show", short, "--json", *_A).stdout)["name"] == name


def test_a_letter_is_shown_whole(config: Path, letters: DeadLetters) -> None:
    """The whole reason and all rows, as text and as one JSON document; found by its path too."""
    reason = "first line\n" + "long " * 1000
    batch = observations(130)
    name = letters.write(batch, reason, "clickhouse")
    shown = _run(config, "show", letters.place(name), *_A).stdout
    assert reason in shown
    assert shown.count('"project_id"') == 130
    found = json.loads(_run(config, "show", name, "--json", *_A).stdout)
    assert found["reason"] == reason
    assert [record["id"] for record in found["records"]] == batch.records.column("id").to_pylist()
    raw = letters.write(b"\0" * 1234, "checksum", "x")
    assert "1,234 bytes that cannot be read as rows" in _run(config, "show", raw, *_A).stdout
    found = json.loads(_run(config, "show", raw, "--json", *_A).stdout)
    assert (found["bytes"], found["records"]) == (1234, [])


def test_rows_that_are_no_text_are_shown_as_far_as_they_go(config: Path, letters: DeadLetters) -> None:
    """A row whose text is not UTF-8, which some store refused for that, hides no other."""
    records = observations(3).records
    index = records.schema.get_field_index("name")
    names = pa.array([b"one", b"\xff", b"three"], pa.binary()).view(pa.string())
    name = letters.write(Batch("observations", records.set_column(index, "name", names), 1), "not UTF-8", "clickhouse")
    found = json.loads(_run(config, "show", name, "--json", *_A).stdout)["records"]
    assert [row.get("name") for row in found] == ["one", None, "three"]
    assert "not UTF-8" in found[1]["error"]


def test_names_must_be_unique(config: Path, letters: DeadLetters) -> None:
    """One that fits several names them, one that fits none says where was looked; nothing is done."""
    for _ in range(17):  # two of them end alike
        letters.write(scores(1), "bad", "x")
    ends = [name.removesuffix(".arrow")[-1] for name in letters.names()]
    shared = next(end for end in ends if ends.count(end) > 1)
    several = _run(config, "delete", shared, "--yes", *_A)
    assert several.exit_code == 1
    assert several.stderr.count("-scores-") == min(10, ends.count(shared))
    none = _run(config, "replay", "nothing", *_A)
    assert none.exit_code == 1
    assert f"no dead letter in {letters.directory} is named 'nothing'" in none.stderr
    assert len(letters.names()) == 17


def test_deleting_asks_first(config: Path, letters: DeadLetters) -> None:
    """With what would be lost; anything but yes deletes nothing."""
    name = letters.write(scores(2), "bad", "x")
    refused = _run(config, "delete", name, *_A, stdin="n\n")
    assert refused.exit_code == 1
    assert "Delete 1 dead letter with 2 rows that were never replayed?" in refused.stdout
    assert letters.names() == [name]
    assert _run(config, "delete", name, *_A, stdin="y\n").exit_code == 0
    assert letters.names() == []


def test_what_cannot_be_replayed_is_reported(config: Path, letters: DeadLetters) -> None:
    """By name it is an error; --all leaves it out, and takes nothing twice."""
    raw = letters.write(b"garbage", "checksum", "x")
    done = _run(config, "replay", raw, *_A)
    assert done.exit_code == 1
    assert f"{raw}  stays: it holds bytes, not rows: checksum" in done.stderr
    letters.write(scores(1), "bad", "x")
    assert _run(config, "replay", "--all", *_A).stdout.endswith("1 dead letter with 1 row back in buffer local/a.\n")
    assert "No dead letters to replay in" in _run(config, "replay", "--all", *_A).stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["list"], 1, "several buffers (local/a, local/b); say with --buffer"),
        (["list", "--buffer", "kafka"], 1, "has a buffer 'kafka'; there is local/a, local/b"),
        (["replay", *_A], 2, "give names or --all"),
        (["replay", "x", "--all", *_A], 2, "give names or --all"),
        (["replay", "x", "--origin", "y", *_A], 2, "goes with --all only"),
        (["delete", *_A], 2, "give names or --replayed"),
    ],
)
def test_wrong_usage(config: Path, arguments: list[str], exit_code: int, message: str) -> None:
    """The message says what is missing."""
    done = _run(config, *arguments)
    assert done.exit_code == exit_code
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_looking_leaves_nothing_behind(config: Path) -> None:
    """A buffer that was never used is not made by listing its letters."""
    assert f"No dead letters in {config.parent}/a/dead-letters." in _run(config, "list", *_A).stderr
    assert [path.name for path in config.parent.iterdir()] == ["receiver.yaml"]


@pytest.mark.parametrize("command", ["list", "show", "replay", "delete"])
def test_every_help_has_an_example(command: str) -> None:
    """A person on call can copy a line."""
    shown = CliRunner().invoke(app, ["dead-letters", command, "--help"], env={"COLUMNS": "80"})
    assert f"\n   otlp-receiver dead-letters {command} " in shown.stdout
