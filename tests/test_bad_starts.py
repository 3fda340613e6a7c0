"""Bad starts and a full buffer: one clear message, the right status or exit code, and nothing acknowledged is lost."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tests.support.otlp import export, span, to_protobuf
from tests.support.senders import grpc_calls, post
from tests.support.service import Service, service, wait_for_exit
from tests.support.waiting import wait_until


@pytest.fixture
def fresh() -> Iterator[Service]:
    """A service of a test's own, not started."""
    with service() as made:
        yield made


def _errors(made: Service) -> list[str]:
    assert "Traceback" not in made.log(), made.log()
    return [line["event"] for line in made.log_lines() if line["level"] in ("error", "critical")]


def test_a_port_in_use_names_the_port(running: Service) -> None:
    """Whichever port is taken, also by a service of our own: exit code 3 and one line with setting and address."""
    paths = {
        "grpc": "receivers::otlp::protocols::grpc::endpoint",
        "http": "receivers::otlp::protocols::http::endpoint",
        "health": "extensions::health_check::endpoint",
        "metrics": "service::telemetry::metrics::address",
        "sql": "extensions::sql_http::endpoint",
    }
    with ExitStack() as closing:
        made = {name: closing.enter_context(service()) for name in paths}
        for name, each in made.items():
            text = json.dumps(each.config).replace(f":{each.ports[name]}", f":{running.ports[name]}")
            each.config = json.loads(text)
            each.launch()
        for name, each in made.items():
            assert wait_for_exit(each.process) == 3, each.log()
            (message,) = _errors(each)
            assert paths[name] in message
            assert f"127.0.0.1:{running.ports[name]}" in message
    assert running.is_ready()


def _file_in_the_way(made: Service, name: str) -> Path:
    path = made.directory / name
    path.write_text("a file where a directory should be")
    return path


@pytest.mark.parametrize("name", ["buffer", "chdb", "postgres"])
def test_an_unwritable_directory_is_named(fresh: Service, name: str) -> None:
    """A data directory that cannot be used: exit code 3 and one line that names it."""
    path = _file_in_the_way(fresh, name)
    fresh.launch()
    assert wait_for_exit(fresh.process) == 3, fresh.log()
    (message,) = _errors(fresh)
    assert str(path) in message
    assert path.is_file()


def test_a_store_in_use_is_waited_for(fresh: Service) -> None:
    """ChDB admits one process: a second service says which store is taken, buffers meanwhile, then takes it over."""
    with service() as holder:
        holder.start()
        path = str(holder.directory / "chdb")
        fresh.config["exporters"]["chdb"]["path"] = path
        fresh.launch()
        wait_until(lambda: _log_says(fresh, "in use by another process", path))
        wait_until(lambda: fresh.listens("http"))
        assert post(fresh, to_protobuf(export(span()))).ok
        assert holder.stop() == 0, holder.log()
        fresh.wait_for_rows("1", 1)
        assert fresh.stop() == 0, fresh.log()


def _log_says(made: Service, *words: str) -> bool:
    return any(all(word in str(line) for word in words) for line in made.log_lines())


@pytest.mark.parametrize(("command", "code"), [("run", 3), ("validate", 1)])
def test_broken_yaml_names_the_place(tmp_path: Path, command: str, code: int) -> None:
    """YAML that is none: file, line and column, the right exit code, no traceback, nothing started."""
    file = tmp_path / "broken.yaml"
    file.write_text("receivers:\n  otlp: {protocols: {grpc: }\nservice: [\n")
    ended = _command(command, "--config", str(file))
    assert ended.returncode == code
    assert f"{file}:3" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


@pytest.mark.parametrize(("command", "code"), [("run", 3), ("validate", 1)])
def test_wrong_settings_are_all_named(tmp_path: Path, command: str, code: int) -> None:
    """Unknown keys, wrong types and dangling ids: all of them at once, each with its line."""
    file = tmp_path / "wrong.yaml"
    file.write_text(
        "receivers:\n"
        "  otlp: {protocols: {grcp: {}}}\n"
        "buffers:\n"
        "  local: {max_size_mib: much}\n"
        "exporters:\n"
        "  debug: {}\n"
        "service:\n"
        "  pipelines:\n"
        "    traces: {receivers: [otlp], buffer: local, exporters: [debgu]}\n"
    )
    ended = _command(command, "--config", str(file))
    assert ended.returncode == code
    for line, hint in ((2, "grpc"), (4, "max_size_mib"), (9, "debug")):
        assert any(f"{file}:{line}" in text and hint in ended.stderr for text in ended.stderr.splitlines()), (
            ended.stderr
        )
    assert "Traceback" not in ended.stderr + ended.stdout


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "otlp_receiver", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "COLUMNS": "200"}
    )


# --- full buffer -----------------------------------------------------------------------------------------------------


def test_a_full_buffer_refuses_and_recovers(fresh: Service) -> None:
    """With the export half stopped the buffer fills: 503 and UNAVAILABLE; then all goes on, nothing lost."""
    fresh.config["buffers"]["local"]["max_size_mib"] = 4
    fresh.start()
    export_half = fresh.child("export")
    assert export_half is not None
    export_half.suspend()
    try:
        acknowledged = _fill(fresh)
        _assert_unavailable(fresh)
        wait_until(lambda: not fresh.is_ready())
    finally:
        export_half.resume()
    wait_until(lambda: post(fresh, _body(len(acknowledged))).ok, 60)
    acknowledged.append(len(acknowledged))
    wait_until(fresh.is_ready, 30)
    names = "SELECT DISTINCT name FROM observations"
    wait_until(lambda: len(fresh.sql(names)) == len(acknowledged), 60)
    assert {row["name"] for row in fresh.sql(names)} == {f"span {number}" for number in acknowledged}
    assert fresh.stop() == 0, fresh.log()


def _body(number: int) -> bytes:
    """A request of some 100 KB that does not compress."""
    return to_protobuf(export(span({"noise": os.urandom(75_000)}, name=f"span {number}", span_id=f"{number + 1:016x}")))


def _fill(made: Service) -> list[int]:
    """Send until the service refuses; what it has acknowledged."""
    number = 0
    while post(made, _body(number)).ok:
        number += 1
        assert number < 1_000, "a buffer of 4 MiB took 100 MB"
    assert number > 5
    return list(range(number))


def _assert_unavailable(made: Service) -> None:
    body = _body(999_999)
    answer = post(made, body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "buffer local is full" in Status.FromString(answer.content).message
    with grpc_calls(made) as call, pytest.raises(grpc.RpcError) as raised:
        call(body)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    details = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    (detail,) = Status.FromString(details).details
    assert detail.Is(RetryInfo.DESCRIPTOR)


def test_what_the_buffer_holds_survives_an_orderly_stop(fresh: Service) -> None:
    """Spans acknowledged by the ingest half alone are stored once the export half runs."""
    fresh.start("--only", "ingest")
    for number in range(5):
        assert post(fresh, _body(number)).ok
    assert fresh.stop() == 0, fresh.log()
    fresh.start()
    fresh.wait_for_rows("1", 5)
    assert fresh.value("SELECT toInt64(count()) AS n FROM observations") == 5
    assert fresh.stop() == 0, fresh.log()
