"""The service as processes: ready, telemetry, crash, reload, shutdown, exit codes. Real processes, a light exporter."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks.payloads import Generator
from config.loader import load
from otlp_receiver import child_handle, supervisor
from otlp_receiver.child import Assignment
from otlp_receiver.child_handle import ChildHandle
from otlp_receiver.telemetry import Health
from tests.support.postgres import postgres_directory
from tests.support.waiting import wait_until

_CONFIG = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
buffers: {{local: {{directory: {directory}/buffer}}}}
exporters: {{file: {{path: {directory}/out.jsonl, block: {{flush_interval: 1ms}}}}}}
metadata: {{directory: {directory}/postgres}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}}}
service:
  pipelines: {{traces: {{receivers: [otlp], buffer: local, exporters: [file]}}}}
  telemetry: {{metrics: {{address: "127.0.0.1:{metrics}"}}}}
  workers: {workers}
"""


@dataclass
class _Service:
    directory: Path
    ports: dict[str, int]
    process: "subprocess.Popen[bytes]"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def get(self, name: str, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        return self.get("health", "/ready")[0] == 200

    def send(self, spans: int) -> int:
        body = Generator(spans).request("small", spans)
        url = f"http://127.0.0.1:{self.ports['http']}/v1/traces"
        request = urllib.request.Request(url, body, {"Content-Type": "application/x-protobuf"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)

    def children(self) -> dict[str, psutil.Process]:
        """The ingest process listens for OTLP, the export process does not."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if any("otlp_receiver.process" in argument for argument in child.cmdline()):
                    found["ingest" if child.net_connections("tcp") else "export"] = child
        return found

    def app_pids(self) -> set[int]:
        """Process ids of the children, not counting Postgres."""
        pids = set()
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if any("otlp_receiver.process" in argument for argument in child.cmdline()):
                    pids.add(child.pid)
        return pids

    def exported(self) -> list[dict[str, Any]]:
        lines = (self.directory / "out.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == "observations"]


def _free_ports() -> dict[str, int]:
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in ("http", "health", "metrics")}
    ports = {name: each.getsockname()[1] for name, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


def _launch(directory: Path, ports: dict[str, int], workers: int = 1) -> _Service:
    (directory / "config.yaml").write_text(_CONFIG.format(directory=directory, workers=workers, **ports))
    command = [sys.executable, "-m", "otlp_receiver", "run", "--config", str(directory / "config.yaml")]
    with (directory / "log").open("ab") as log:
        return _Service(directory, ports, subprocess.Popen(command, stdout=log, stderr=log, cwd=directory))


@contextmanager
def _running(workers: int = 1) -> Iterator[_Service]:
    with postgres_directory() as directory:
        service = _launch(directory, _free_ports(), workers)
        try:
            wait_until(service.is_ready, 60)
            yield service
        finally:
            service.process.terminate()
            service.process.wait(60)


def test_life_from_ready_to_an_orderly_end() -> None:
    """Ready says so, what is sent is exported, metrics have the Collector's names, SIGTERM ends with code 0."""
    with _running() as service:
        status, body = service.get("health", "/")

        assert (status, json.loads(body)["status"]) == (200, "Server available")
        assert service.get("health", "/live")[0] == 200
        assert service.send(7) == 200

        wait_until(lambda: len(service.exported()) == 7)
        wait_until(lambda: 'otelcol_exporter_sent_spans{exporter="file"} 7.0' in service.get("metrics", "/metrics")[1])
        _, metrics = service.get("metrics", "/metrics")

        assert 'otelcol_receiver_accepted_spans{receiver="otlp",transport="http"} 7.0' in metrics
        assert "otelcol_process_memory_rss " in metrics

        service.process.terminate()

        assert service.process.wait(60) == 0
        assert "Traceback" not in service.log
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if str(service.directory) in str(each.info["cmdline"])
    ]


def test_metrics_are_summed_over_the_workers() -> None:
    """Two workers share the port; whichever takes a request, the counter has the sum."""
    with _running(workers=2) as service:
        for _ in range(10):
            assert service.send(3) == 200

        assert (
            'otelcol_receiver_accepted_spans{receiver="otlp",transport="http"} 30.0'
            in service.get("metrics", "/metrics")[1]
        )
        assert len(service.app_pids()) == 3


@pytest.mark.parametrize("role", ["ingest", "export"])
def test_a_killed_process_is_replaced(role: str) -> None:
    """After kill -9 of one process the service becomes ready again with another, and says what happened."""
    with _running() as service:
        victim = service.children()[role]
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: role in service.children() and service.children()[role].pid != victim.pid)
        wait_until(service.is_ready)

        assert service.send(5) == 200

        wait_until(lambda: len(service.exported()) == 5)

        assert f'otlp_receiver_worker_restarts{{role="{role}"}} 1.0' in service.get("metrics", "/metrics")[1]
        assert "ended unasked and is replaced" in service.log


def test_pauses_grow_with_each_crash_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that crashes again and again is replaced ever later; one that has lasted a minute, at once."""
    lasted = iter([0, 0, 0, 61, 0])
    now, pauses = [0.0], list[float]()
    child = ChildHandle(Assignment("export", "export", load()), Health())

    async def run_once() -> int:
        child._was_ready = True
        seconds = next(lasted, None)
        child._stopping = seconds is None
        now[0] += seconds or 0
        return 1

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(child, "_run_once", run_once)
    monkeypatch.setattr(child_handle, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(child_handle, "asyncio", SimpleNamespace(sleep=sleep))
    asyncio.run(child.keep())

    assert pauses == [0.1, 0.2, 0.4, 0.1, 0.2]


def test_children_do_not_outlive_their_supervisor() -> None:
    """After kill -9 of the supervisor its children end by themselves, and the next start takes everything over."""
    with postgres_directory() as directory:
        ports = _free_ports()
        first = _launch(directory, ports)
        wait_until(first.is_ready, 60)
        children = list(first.children().values())
        assert first.send(4) == 200
        first.process.kill()
        first.process.wait()
        wait_until(lambda: not any(child.is_running() for child in children))
        second = _launch(directory, ports)
        try:
            wait_until(second.is_ready, 60)
            wait_until(lambda: len(second.exported()) >= 4)
        finally:
            second.process.terminate()

        assert second.process.wait(60) == 0


def test_reload_with_a_good_and_a_bad_configuration() -> None:
    """SIGHUP with a broken file changes nothing; with a good one the service comes back with it."""
    with _running() as service:
        config = service.directory / "config.yaml"
        good = config.read_text()
        config.write_text(good.replace("exporters: [file]", "exporters: [fyle]"))
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "is not valid; the old one goes on" in service.log)

        assert "did you mean 'file'?" in service.log
        assert service.send(2) == 200

        config.write_text(good.replace("workers: 1", "workers: 2"))
        before = service.app_pids()
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not before & service.app_pids(), 60)
        wait_until(service.is_ready, 60)

        assert service.send(2) == 200
        assert len(service.app_pids()) == 3


def test_metrics_of_killed_supervisors_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of a process that is gone goes at the next start; that of one that lives stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, alive = (tmp_path / f"otlp-receiver-metrics-{pid}-x" for pid in (2**22 + 1, os.getpid()))
    gone.mkdir()
    alive.mkdir()
    made = Path(supervisor._metrics_directory())

    assert {path.name for path in tmp_path.iterdir()} == {alive.name, made.name}


def test_a_port_in_use_is_one_clear_line() -> None:
    """A stranger on the OTLP port: exit code 3, one line that names setting, address and cure, nothing left running."""
    with postgres_directory() as directory, socket.create_server(("127.0.0.1", 0)) as stranger:
        ports = _free_ports() | {"http": stranger.getsockname()[1]}
        service = _launch(directory, ports)

        assert service.process.wait(60) == 3

        last = service.log.strip().splitlines()[-1]

        assert f"receivers::otlp::protocols::http::endpoint: cannot listen on 127.0.0.1:{ports['http']}" in last
        assert "stop what listens there, or change the endpoint" in last
        assert "Traceback" not in service.log


@pytest.mark.parametrize(("setting", "path"), [("buffer", "buffer"), ("file", "out.jsonl"), ("postgres", "postgres")])
def test_an_unusable_directory_is_one_clear_line(setting: str, path: str) -> None:
    """A file where a directory belongs (or the other way round): exit code 3 and one line naming the path."""
    with postgres_directory() as directory:
        if setting == "file":
            (directory / path).mkdir()
        else:
            (directory / path).write_text("in the way")
        service = _launch(directory, _free_ports())

        assert service.process.wait(60) == 3, service.log

        errors = [line for line in service.log.splitlines() if "Cannot start" in line]

        assert len(errors) == 1, service.log
        assert str(directory / path) in errors[0]
        assert "Traceback" not in service.log
