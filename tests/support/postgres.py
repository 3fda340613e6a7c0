"""Real Postgres for tests: directories that its account can reach, owners in processes of their own, databases."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from otlp_receiver.embedded_postgres import EmbeddedPostgres
from tests.support import containers

# Prints the address, serves until its stdin is closed; nothing but the address starts with "host=".
_OWNER: Final = """
import signal
import sys
from otlp_receiver.embedded_postgres import EmbeddedPostgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have it ignored
postgres = EmbeddedPostgres(sys.argv[1])
print(postgres.start(), flush=True)
sys.stdin.read()
postgres.stop()
"""


@contextmanager
def postgres_directory() -> Iterator[Path]:
    """A directory for one server.

    Not pytest's tmp_path: every session of root closes that to other users again, and Postgres runs as one of them.
    """
    directory = Path(tempfile.mkdtemp(prefix="otlp-test-")).resolve()
    try:
        yield directory
    finally:
        stop_leftovers(directory)
        shutil.rmtree(directory)


@contextmanager
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop and start; `start` tells its address at any time."""
    with postgres_directory() as directory:
        server = EmbeddedPostgres(directory)
        server.start()
        yield server
        server.stop()


@contextmanager
def postgres_server() -> Iterator[str]:
    """Address of a server that nobody stops: see `tests.support.containers`; else one of our own."""
    given = os.environ.get("POSTGRES_URL") or (containers.postgres() if containers.docker_runs() else "")
    if given:
        yield given
        return
    with own_postgres() as postgres:
        yield postgres.start()


def launch_owner(directory: Path, **options: Any) -> subprocess.Popen[str]:
    """A process that starts the server of `directory` and stops it when its stdin closes; warnings are errors in it."""
    command = [sys.executable, "-W", "error", "-c", _OWNER, str(directory)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)


def read_address(process: subprocess.Popen[str]) -> str:
    """The address that an owner prints once its server is ready; empty when it has failed."""
    assert process.stdout is not None
    return next((line.strip() for line in process.stdout if line.startswith("host=")), "")


class RemotePostgres:
    """A server that a test may stop and start, owned by a process of its own.

    To be used where gRPC runs in the test's process: what forks from that may die before it is another program.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._owner: subprocess.Popen[str] | None = None
        self._address = ""

    def start(self) -> str:
        """Its address, once it is ready; a server that runs stays."""
        if self._owner is None:
            self._owner = launch_owner(self._directory)
            self._address = read_address(self._owner)
            assert self._address, "the server does not start"
        return self._address

    def stop(self) -> None:
        """Returns when it has ended."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.communicate(timeout=60)
            assert owner.returncode == 0


@contextmanager
def remote_postgres() -> Iterator[RemotePostgres]:
    """A server that runs."""
    with postgres_directory() as directory:
        server = RemotePostgres(directory)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def postmaster(directory: Path) -> psutil.Process:
    """The server of `directory`."""
    return psutil.Process(int((directory / "data/postmaster.pid").read_text().partition("\n")[0]))


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every postmaster that serves a cluster below `directory`; each has a session of its own."""
    return [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "postgres" and any(str(directory) in word for word in process.info["cmdline"] or ())
    ]


def stop_leftovers(directory: Path) -> None:
    """End what a failed test has left running."""
    for process in processes_of(directory):
        process.terminate()
        process.wait(20)


def fresh_database(dsn: str) -> str:
    """Address of a new, empty database on the server of `dsn`."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_conninfo(dsn, dbname=name)


def as_account(directory: Path) -> dict[str, Any]:
    """Arguments of `subprocess.Popen` that make a child run as whoever owns the cluster of `directory`."""
    owner_id = (directory / "data").stat().st_uid
    return {} if owner_id == os.geteuid() else {"user": owner_id}


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; an error after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
