"""The real service in processes of its own: free ports, a directory of its own, everything embedded."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import psutil
import pyarrow as pa
import requests

from tests.support.arrow_rows import Row, table_rows
from tests.support.postgres import stop_leftovers
from tests.support.waiting import wait_until

_PORTS: Final = ("grpc", "http", "health", "metrics", "sql")
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 40.0
_LOG_TAIL_BYTES: Final = 20_000


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, held all at once so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Service:
    """One service; `start()` and `stop()` as often as wanted, on the same directory and ports.

    Attributes:
        directory: holds configuration, data and log.
        ports: by name: grpc, http, health, metrics, sql.
        config: the configuration, to be changed before a start.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self.config = self._default_config()
        self._process: subprocess.Popen[bytes] | None = None

    def _default_config(self) -> dict[str, Any]:
        """The embedded set-up; nothing expires, since recordings and generated spans may have any time."""
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        return {
            "receivers": {"otlp": {"protocols": {name: {"endpoint": at[name]} for name in ("grpc", "http")}}},
            "processors": {"cost": {}},
            "buffers": {"local": {"directory": str(self.directory / "buffer")}},
            "exporters": {"chdb": {"path": str(self.directory / "chdb"), "ttl_days": 0}},
            "metadata": {"postgres": "embedded", "directory": str(self.directory / "postgres")},
            "extensions": {"health_check": {"endpoint": at["health"]}, "sql_http": {"endpoint": at["sql"]}},
            "service": {
                "pipelines": {
                    "traces": {"receivers": ["otlp"], "processors": ["cost"], "buffer": "local", "exporters": ["chdb"]}
                },
                "telemetry": {"metrics": {"address": at["metrics"]}, "logs": {"encoding": "json"}},
            },
        }

    # --- running ---

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the processes without waiting for anything."""
        file = self.directory / "receiver.yaml"
        file.write_text(json.dumps(self.config))  # JSON is YAML
        command = [sys.executable, "-m", "otlp_receiver", "run", "--config", str(file), *arguments]
        own_place = {
            **os.environ,
            "TMPDIR": str(self.directory),
        }  # what it leaves behind when killed goes with the rest
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=own_place, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._process

    def start(self, *arguments: str) -> None:
        """Start and wait until it is ready."""
        self.launch(*arguments)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until every part says that it works; fails when the service ends instead."""
        wait_until(lambda: self._has_ended() or self.is_ready(), _START_SECONDS)
        assert not self._has_ended(), f"the service ended with exit code {self.process.poll()}\n{self.log()}"

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)

    def kill_all(self) -> None:
        """Kill what is left of it, for the end of a failed test."""
        if self._process is not None and self._process.poll() is None:
            for process in [*self.children(), psutil.Process(self._process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(_STOP_SECONDS)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        assert self._process is not None, "start the service first"
        return self._process

    def children(self) -> list[psutil.Process]:
        """The ingest and export processes that run now."""
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children()
            return [child for child in found if _is_ours(child)]
        return []

    def child(self, role: Literal["ingest", "export"]) -> psutil.Process | None:
        """The process that listens on the role's port, None when there is none at the moment."""
        port = self.ports["grpc" if role == "ingest" else "sql"]
        return next((process for process in self.children() if port in _listening_ports(process)), None)

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    # --- asking ---

    def url(self, name: str) -> str:
        """Root URL of one of its HTTP ports."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def is_ready(self) -> bool:
        """Whether health says so."""
        with suppress(requests.ConnectionError):
            return requests.get(self.url("health") + "/ready", timeout=10).ok
        return False

    def listens(self, name: str) -> bool:
        """Whether someone listens on one of its ports."""
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", self.ports[name])) == 0

    def sql(self, query: str) -> list[Row]:
        """Rows of a SELECT over the SQL endpoint; times as Unix nanoseconds, maps as dictionaries."""
        answer = requests.post(self.url("sql"), data=f"{query} FORMAT ArrowStream".encode(), timeout=120)
        assert answer.ok, answer.text
        return table_rows(pa.ipc.open_stream(answer.content).read_all())

    def value(self, query: str) -> Any:
        """The one value that a SELECT gives."""
        ((value,),) = (row.values() for row in self.sql(query))
        return value

    def wait_for_rows(self, condition: str, count: int, table: str = "observations") -> None:
        """Until the store shows so many rows; it need not have been opened yet."""
        query = f"SELECT count() >= {count} AS enough FROM {table} WHERE {condition}"
        wait_until(lambda: self.listens("sql") and self.value(query), 60)

    def log(self) -> str:
        """The end of what all its processes said."""
        if not self._log_path.exists():
            return ""
        with self._log_path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Every structured line of the log."""
        lines = self._log_path.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def _log_path(self) -> Path:
        return self.directory / "service.log"


_ROOT: Final = Path(__file__).parent.parent.parent


def _is_ours(process: psutil.Process) -> bool:
    try:
        return "otlp_receiver.process" in process.cmdline()
    except psutil.Error:
        return False


def _listening_ports(process: psutil.Process) -> set[int]:
    with suppress(psutil.Error):
        return {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return set()


@contextmanager
def service() -> Iterator[Service]:
    """A service that has not been started; whatever of it runs at the end is ended, and its directory removed."""
    directory = Path(tempfile.mkdtemp(prefix="otlp-test-")).resolve()  # not tmp_path: see tests.support.postgres
    made = Service(directory)
    try:
        yield made
    except BaseException as error:
        error.add_note(f"Log of the service:\n{made.log()}")
        raise
    finally:
        made.kill_all()
        stop_leftovers(directory)
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_exit(process: subprocess.Popen[bytes], seconds: float = 60) -> int:
    """The exit code of a process that is expected to end by itself."""
    return process.wait(seconds)
