"""The real service on free ports in a temporary directory, and the load generator beside it."""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.load import Job, Result

_START_SECONDS: Final = 60


@dataclass(frozen=True)
class Service:
    """A running service."""

    process: psutil.Process
    ports: dict[str, int]

    def query(self, sql: str) -> str:
        """The answer of the SQL endpoint, tab separated."""
        url = f"http://127.0.0.1:{self.ports['sql']}/?" + urllib.parse.urlencode({"query": sql})
        with urllib.request.urlopen(url, timeout=120) as reply:
            return str(reply.read().decode()).strip()

    def children(self, role: str) -> list[psutil.Process]:
        """The processes of a role; the ingest processes are the ones that listen for OTLP."""
        found = []
        for child in self.process.children():
            if any("otlp_receiver.process" in argument for argument in child.cmdline()):
                listening = {each.laddr.port for each in child.net_connections("tcp") if each.status == "LISTEN"}
                if ("ingest" if self.ports["http"] in listening else "export") == role:
                    found.append(child)
        return found

    def metric(self, name: str) -> int:
        """Sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/metrics", timeout=30) as reply:
            lines = reply.read().decode().splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{")))

    def wait_for_rows(self, rows: int, timeout_seconds: float = 300) -> None:
        """Return when that many observations can be queried."""
        until = time.monotonic() + timeout_seconds
        while int(self.query("SELECT count() FROM observations")) < rows:
            if time.monotonic() > until:
                raise TimeoutError(f"fewer than {rows} observations after {timeout_seconds} s")
            time.sleep(0.05)


@contextmanager
def running_service(*overrides: str, only: str = "") -> Iterator[Service]:
    """The embedded set-up; `overrides` as for --set."""
    with tempfile.TemporaryDirectory(prefix="otlp-receiver-bench-") as directory:
        ports = dict(zip(("grpc", "http", "sql", "health", "metrics"), free_ports(5), strict=True))
        with (Path(directory) / "log").open("w") as log:
            command = [sys.executable, "-m", "otlp_receiver", "run", *_settings(directory, ports, overrides)]
            if only:
                command += ["--only", only]
            process = subprocess.Popen(command, stderr=log, stdout=log, cwd=directory)
            try:
                _wait_until_ready(process, ports["health"], Path(directory) / "log")
                yield Service(psutil.Process(process.pid), ports)
            finally:
                process.terminate()
                process.wait(60)


def _settings(directory: str, ports: dict[str, int], overrides: tuple[str, ...]) -> list[str]:
    settings = {
        "receivers.otlp.protocols.grpc.endpoint": f"127.0.0.1:{ports['grpc']}",
        "receivers.otlp.protocols.http.endpoint": f"127.0.0.1:{ports['http']}",
        "extensions.sql_http.endpoint": f"127.0.0.1:{ports['sql']}",
        "extensions.health_check.endpoint": f"127.0.0.1:{ports['health']}",
        "service.telemetry.metrics.address": f"127.0.0.1:{ports['metrics']}",
        "buffers.local.directory": f"{directory}/buffer",
        "exporters.chdb.path": f"{directory}/chdb",
        "metadata.directory": f"{directory}/postgres",
    }
    pairs = [*(f"{key}={value}" for key, value in settings.items()), *overrides]
    return [argument for pair in pairs for argument in ("--set", pair)]


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the service did not get ready:\n{log.read_text()}")


def free_ports(count: int) -> list[int]:
    """That many ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def send(job: Job) -> Result:
    """Run the load generator in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load"]
    done = subprocess.run(command, input=json.dumps(asdict(job)), capture_output=True, text=True, check=True)
    return Result(**json.loads(done.stdout))
