"""A Postgres of our own for the embedded set-up: started and stopped with the service, reached over a private socket.

    directory/data         the cluster (PGDATA), and the socket where its path is short enough
    directory/log, log.1   what the server says in this and in the previous run
    directory/change.lock  held while the server is being started or stopped
    directory/users.lock   shared by everyone who uses the server; the kernel releases it however a user ends

Whoever is alone may start a server, the last one stops it, and who comes after a `kill -9` takes a running one over.
"""

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from otlp_receiver.postgres_cluster import ENVIRONMENT, Cluster, prepare_cluster, usable
from pipelines.errors import Permanent, Retryable

_START_SECONDS: Final = 60  # recovery after a crash included
_HALT_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.02
_RELAUNCH_SECONDS: Final = 0.2
_PORT: Final = 5432  # names the socket; nothing listens on a network
_SOCKET_PATH_BYTES: Final = 103  # the smallest sun_path of the systems we run on (macOS), less the final NUL
# What a start says while the processes of a killed server are still ending.
_STILL_ENDING: Final = "pre-existing shared memory block"
_SETTINGS: Final = {
    "port": str(_PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements and details carry values, and values may be keys
    "log_error_verbosity": "terse",
}

log = structlog.get_logger("postgres")


class EmbeddedPostgres:
    """A handle on the server of one directory; several handles, also of several processes, share the server.

    One thread at a time. Processes forked after `start` must not call `stop`.

    Args:
        directory: created when missing, parents too.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory).resolve()
        self._server: psutil.Process | None = None
        self._sockets: Path | None = None
        self._users: int | None = None

    def start(self) -> str:
        """Start the server, or take over the one that runs; a second call restarts one that has ended.

        Returns:
            A libpq connection string, valid until `stop`.

        Raises:
            Permanent: it cannot run here; the message names the directory and the cure.
            Retryable: it was not ready in a minute, or is in use where this process cannot see it.
        """
        began = time.monotonic()
        with usable(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
        with self._changing():
            _end_strays(self._directory / "data")
            cluster = prepare_cluster(self._directory)
            self._sockets = _socket_directory(cluster)
            dsn = make_conninfo(host=str(self._sockets), port=_PORT, user="postgres", dbname="postgres")
            self._ensure_running(cluster, self._sockets, dsn)
        took = round(time.monotonic() - began, 3)
        log.info("Postgres is ready.", directory=str(self._directory), took_seconds=took)
        return dsn

    def stop(self) -> None:
        """Give the server up and, when nobody else uses it, end it; returns when it has ended. Safe to repeat.

        Raises:
            Retryable: it does not end.
        """
        if self._users is None:
            return
        with self._changing():
            if self._alone():
                self._halt()
                self._drop_sockets()
            self._leave()

    def _ensure_running(self, cluster: Cluster, sockets: Path, dsn: str) -> None:
        alone = self._alone()
        try:
            self._server = self._running(cluster, sockets, dsn, may_launch=alone)
            fcntl.flock(self._users_lock(), fcntl.LOCK_SH)
        except BaseException:
            with suppress(Retryable):  # the first error says more
                if alone:
                    self._halt()
            self._leave()
            raise

    def _running(self, cluster: Cluster, sockets: Path, dsn: str, *, may_launch: bool) -> psutil.Process:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            found = self._still_running() or _find_server(cluster.data)
            if found is None and not may_launch:
                raise Retryable(
                    f"{self._directory} is in use by another process, perhaps in another container, whose Postgres "
                    "cannot be seen from here: stop that one, or set metadata.directory to another directory"
                )
            self._server = found or self._launch(cluster, sockets)
            if _wait_until_ready(self._server, dsn, deadline):
                return self._server
            if found is None:
                self._pause_or_give_up(deadline)

    def _pause_or_give_up(self, deadline: float) -> None:
        words = self._last_words()
        may_pass = _STILL_ENDING in words
        if not may_pass or time.monotonic() > deadline:
            family = Retryable if may_pass else Permanent
            raise family(f"Postgres does not start in {self._directory}; it says: {words}")
        time.sleep(_RELAUNCH_SECONDS)

    def _still_running(self) -> psutil.Process | None:
        return None if self._server is None or _ended(self._server, 0) else self._server

    def _launch(self, cluster: Cluster, sockets: Path) -> psutil.Process:
        _drop_stale_locks(cluster.data, sockets)
        settings = {**_SETTINGS, "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"'}
        command = [str(cluster.programs / "postgres"), "-D", str(cluster.data)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        log_file = self._directory / "log"
        with usable(self._directory), suppress(FileNotFoundError):
            log_file.replace(self._directory / "log.1")
        with usable(self._directory), log_file.open("wb") as output:
            launched = subprocess.Popen(  # noqa: S603 - the program comes from an installed package
                command,
                cwd="/",
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C in our terminal must not reach it before we have finished with it
                **cluster.identity,
            )
        launched.returncode = 0  # nothing to reap here: whoever stops the server waits for it by its process id
        return psutil.Process(launched.pid)

    def _halt(self) -> None:
        if self._server is None:
            return
        for request in (signal.SIGINT, signal.SIGQUIT):  # roll back and check-point; else drop everything and recover
            with suppress(psutil.NoSuchProcess):
                self._server.send_signal(request)
            if _ended(self._server, _HALT_SECONDS):
                log.info("Postgres has stopped.", directory=str(self._directory))
                self._server = None
                return
        raise Retryable(f"Postgres in {self._directory} does not end: kill process {self._server.pid}")

    def _drop_sockets(self) -> None:
        if self._sockets is not None:
            with suppress(OSError):  # not empty when it is the cluster itself
                self._sockets.rmdir()

    def _last_words(self) -> str:
        with usable(self._directory):
            return (self._directory / "log").read_text(errors="replace")[-1000:].strip()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else starts or stops the server of this directory meanwhile."""
        with usable(self._directory):
            descriptor = _open_lock(self._directory / "change.lock")
        try:
            _lock_within(descriptor, _START_SECONDS + 2 * _HALT_SECONDS, self._directory)
            yield
        finally:
            os.close(descriptor)

    def _users_lock(self) -> int:
        if self._users is None:
            with usable(self._directory):
                self._users = _open_lock(self._directory / "users.lock")
        return self._users

    def _alone(self) -> bool:
        return _try_lock(self._users_lock())

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_within(descriptor: int, seconds: float, directory: Path) -> None:
    deadline = time.monotonic() + seconds
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            raise Retryable(f"another process keeps starting or stopping Postgres in {directory} ({seconds:.0f} s)")
        time.sleep(_POLL_SECONDS)


def _socket_directory(cluster: Cluster) -> Path:
    """Where the socket goes: beside the data, or to a short private place when a socket's path cannot say that."""
    beside = cluster.data / f".s.PGSQL.{_PORT}"
    if len(os.fsencode(beside)) <= _SOCKET_PATH_BYTES and "," not in str(beside):  # libpq reads a comma as two hosts
        return cluster.data
    digest = hashlib.sha256(os.fsencode(cluster.data)).hexdigest()[:16]
    user = os.geteuid() if cluster.account is None else cluster.account.pw_uid
    short = Path(f"/tmp/otlp-receiver-{user}-{digest}")  # noqa: S108 - its owner and mode are checked below
    with usable(short):
        short.mkdir(mode=0o700, exist_ok=True)
        status = short.lstat()
    if status.st_uid not in (user, os.geteuid()) or status.st_mode != stat.S_IFDIR | stat.S_IRWXU:
        raise Permanent(f"{short} must be a directory that only our user can enter: remove it")
    cluster.own(short)
    return short


def _find_server(data: Path) -> psutil.Process | None:
    """The postmaster of `data`; never another process that has got its number since."""
    pid = _pid_in(data / "postmaster.pid")
    if pid is None or pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return process if _serves(process, data) else None


def _serves(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name() == "postgres" and process.cmdline()[1:3] == ["-D", str(data)]
    except psutil.Error:  # it has ended, or is another user's
        return False


def _end_strays(data: Path) -> None:
    """End servers whose cluster was removed under them: when they notice, they would remove the next one's socket."""
    if data.exists():
        return
    for process in psutil.process_iter():
        if _serves(process, data):
            log.warning("Ending a Postgres whose data was removed.", directory=str(data), pid=process.pid)
            process.kill()
            process.wait(_HALT_SECONDS)


def _drop_stale_locks(data: Path, sockets: Path) -> None:
    """Remove lock files that would keep Postgres from starting: cut short, or with the number of another process.

    Those of a process that has ended are left: Postgres replaces them, and finds by them what that process left.
    """
    for lock in (data / "postmaster.pid", sockets / f".s.PGSQL.{_PORT}.lock"):
        pid = _pid_in(lock)
        if pid is None or (pid > 0 and psutil.pid_exists(pid)):
            lock.unlink(missing_ok=True)


def _pid_in(lock: Path) -> int | None:
    try:
        return int(lock.read_text(errors="replace").partition("\n")[0])
    except (FileNotFoundError, ValueError):
        return None


def _wait_until_ready(server: psutil.Process, dsn: str, deadline: float) -> bool:
    """True when it accepts connections, False when it has ended instead."""
    while not _accepts(dsn):
        if _ended(server, _POLL_SECONDS):
            return False
        if time.monotonic() > deadline:
            raise Retryable(f"Postgres (process {server.pid}) does not accept connections after {_START_SECONDS} s")
    return True


def _accepts(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _ended(server: psutil.Process, within_seconds: float) -> bool:
    try:
        server.wait(timeout=within_seconds)
    except psutil.TimeoutExpired:
        return False
    return True
