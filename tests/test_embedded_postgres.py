"""The embedded Postgres: started, shared, taken over and stopped, whatever the directory and whoever was killed."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from otlp_receiver import embedded_postgres
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from pipelines.errors import Permanent, Retryable
from tests.support.postgres import (
    as_account,
    launch_owner,
    postgres_directory,
    postmaster,
    processes_of,
    read_address,
    wait_for,
)


@pytest.fixture
def directory() -> Iterator[Path]:
    with postgres_directory() as path:
        yield path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """An empty cluster to copy, which is much faster than making one."""
    with postgres_directory() as path:
        made = EmbeddedPostgres(path)
        made.start()
        made.stop()
        yield path / "data"


@pytest.fixture
def postgres(directory: Path, cluster: Path) -> Iterator[EmbeddedPostgres]:
    subprocess.run(["cp", "-a", cluster, directory], check=True)
    server = EmbeddedPostgres(directory)
    yield server
    server.stop()


def execute(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_serves_a_private_socket_only(directory: Path, postgres: EmbeddedPostgres) -> None:
    """It answers, listens on no network, and nobody but its account and root can reach its socket."""
    dsn = postgres.start()

    assert execute(dsn, "SELECT 1") == [(1,)]
    assert postmaster(directory).net_connections("inet") == []
    socket = Path(str(conninfo_to_dict(dsn)["host"])) / ".s.PGSQL.5432"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700


def test_stop_leaves_no_process(directory: Path, postgres: EmbeddedPostgres) -> None:
    """After stop the server and all of its helpers are gone; stop can be repeated, and start works again."""
    postgres.start()
    server = postmaster(directory)
    everyone = [server, *server.children(recursive=True)]

    postgres.stop()
    postgres.stop()

    assert not [process for process in everyone if process.is_running()]
    assert processes_of(directory) == []
    assert execute(postgres.start(), "SELECT 1") == [(1,)]


def test_data_outlives_a_restart(postgres: EmbeddedPostgres) -> None:
    """What was committed is there after stop and start."""
    execute(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS value")
    postgres.stop()

    assert execute(postgres.start(), "SELECT value FROM kept") == [(42,)]


@pytest.mark.parametrize("name", ["not/there/yet", "with space, 'quotes\" and $(sh)", "long" * 40, "ünïcode"])
def test_any_directory_will_do(directory: Path, name: str) -> None:
    """Missing parents, names that a shell or libpq would misread, and paths too long for a socket all work."""
    postgres = EmbeddedPostgres(directory / name)
    dsn = postgres.start()
    sockets = Path(str(conninfo_to_dict(dsn)["host"]))
    private = stat.S_IMODE(sockets.stat().st_mode) == 0o700
    answer = execute(dsn, "SELECT 1")
    postgres.stop()

    assert answer == [(1,)]
    assert private
    assert sockets == directory / name / "data" or not sockets.exists()


def test_somebody_elses_socket_directory_is_refused(directory: Path) -> None:
    """A directory in /tmp that others may enter is not used for the socket: they could answer in our place."""
    postgres = EmbeddedPostgres(directory / ("long" * 40))
    sockets = Path(str(conninfo_to_dict(postgres.start())["host"]))
    postgres.stop()
    sockets.mkdir()
    sockets.chmod(0o777)
    try:
        with pytest.raises(Permanent, match=f"{sockets} must be a directory that only our user can enter"):
            postgres.start()
    finally:
        sockets.rmdir()


def test_a_killed_owners_server_is_taken_over(directory: Path, postgres: EmbeddedPostgres) -> None:
    """After kill -9 of the owner the next start uses the running server, never a second one, and stop ends it."""
    with launch_owner(directory) as process:
        execute(read_address(process), "CREATE TABLE kept AS SELECT 42 AS value")
        server = postmaster(directory)
        process.kill()

    assert execute(postgres.start(), "SELECT value FROM kept") == [(42,)]
    assert processes_of(directory) == [server]
    postgres.stop()
    assert not server.is_running()


def test_everything_killed_recovers(directory: Path, postgres: EmbeddedPostgres) -> None:
    """After kill -9 of owner and server the next start recovers every committed row."""
    with launch_owner(directory) as process:
        execute(read_address(process), "CREATE TABLE kept AS SELECT 42 AS value")
        for victim in (process, postmaster(directory)):
            victim.kill()

    assert execute(postgres.start(), "SELECT value FROM kept") == [(42,)]
    assert len(processes_of(directory)) == 1


def test_a_killed_server_is_started_again(directory: Path, postgres: EmbeddedPostgres) -> None:
    """A second start on the same handle replaces a server that was killed, and changes nothing on one that lives."""
    dsn = postgres.start()
    first = postmaster(directory)
    assert postgres.start() == dsn
    assert postmaster(directory) == first

    first.kill()
    assert postgres.start() == dsn

    assert execute(dsn, "SELECT 1") == [(1,)]
    assert processes_of(directory) == [postmaster(directory)] != [first]


def test_a_server_whose_data_was_removed_is_ended(directory: Path, postgres: EmbeddedPostgres) -> None:
    """After kill -9 and removal of the data, the next start makes a new cluster, and the old server is gone."""
    with launch_owner(directory) as process:
        read_address(process)
        stray = postmaster(directory)
        process.kill()
    shutil.rmtree(directory / "data")

    assert execute(postgres.start(), "SELECT 1") == [(1,)]
    assert processes_of(directory) == [postmaster(directory)]
    assert not stray.is_running()


def test_a_start_waits_for_what_a_killed_server_left(directory: Path, postgres: EmbeddedPostgres) -> None:
    """While processes of a killed server still hold its memory, a start waits for their end; data stay safe."""
    postgres.start()
    leftover = postmaster(directory).children()[0]
    leftover.suspend()
    postmaster(directory).kill()
    starting = threading.Thread(target=postgres.start)
    starting.start()
    wait_for(lambda: b"pre-existing shared memory block" in (directory / "log").read_bytes())

    leftover.resume()
    starting.join(60)

    assert processes_of(directory) == [postmaster(directory)]


def test_a_start_gives_up_on_what_does_not_end(
    directory: Path, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When what a killed server left does not end in time, the error has Postgres's words for it."""
    postgres.start()
    leftover = postmaster(directory).children()[0]
    leftover.suspend()
    postmaster(directory).kill()
    monkeypatch.setattr(embedded_postgres, "_START_SECONDS", 0.5)
    try:
        with pytest.raises(Retryable, match=f"(?s)does not start in {directory}.*pre-existing shared memory block"):
            postgres.start()
    finally:
        leftover.resume()


@pytest.mark.parametrize(
    "content", ["{pid}\n{data}\n1700000000\n5432\n{data}\n\n1 2\nready   \n", "{pid}\n", "", "?\n"]
)
def test_a_stale_lock_file_does_not_stop_it(directory: Path, postgres: EmbeddedPostgres, content: str) -> None:
    """Lock files cut short, or whose process number now is another program's of the same user, do not matter."""
    data = directory / "data"
    with subprocess.Popen(["sleep", "600"], **as_account(directory)) as bystander:
        for lock in (data / "postmaster.pid", data / ".s.PGSQL.5432.lock"):
            lock.write_text(content.format(pid=bystander.pid, data=data))
            os.chown(lock, data.stat().st_uid, data.stat().st_gid)
        try:
            assert execute(postgres.start(), "SELECT 1") == [(1,)]
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_many_starts_at_once_share_one_server(directory: Path) -> None:
    """Processes that start together on an empty directory get one server, which stays until the last one stops."""
    with ExitStack() as stack:
        owners = [stack.enter_context(launch_owner(directory)) for _ in range(4)]
        addresses = [read_address(process) for process in owners]
        server = postmaster(directory)
        assert addresses == addresses[:1] * 4
        assert processes_of(directory) == [server]

        for process in owners[:-1]:
            process.communicate(timeout=60)
            assert process.returncode == 0
            assert execute(addresses[0], "SELECT 1") == [(1,)]
        owners[-1].communicate(timeout=60)
        assert not server.is_running()


def test_starts_in_one_process_share_too(directory: Path) -> None:
    """Two handles started by two threads at once have one server; it ends with the second stop."""
    handles = [EmbeddedPostgres(directory) for _ in range(2)]
    threads = [threading.Thread(target=handle.start) for handle in handles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (server,) = processes_of(directory)

    handles[0].stop()
    assert server.is_running()
    handles[1].stop()
    assert not server.is_running()


def test_ctrl_c_does_not_reach_the_server(directory: Path) -> None:
    """An interrupt for the whole process group of the owner, as a terminal sends it, leaves the server running."""
    with launch_owner(directory, start_new_session=True) as process:
        dsn = read_address(process)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)

        assert execute(dsn, "SELECT 1") == [(1,)]


def test_the_owner_says_nothing_on_stderr(directory: Path) -> None:
    """Start and stop are quiet and clean under `-W error`: the package's own warnings do not show."""
    with launch_owner(directory) as process:
        dsn = read_address(process)
        _, errors = process.communicate(timeout=60)

    assert dsn
    assert (process.returncode, errors) == (0, "")
    assert processes_of(directory) == []


def test_a_server_that_cannot_start_says_why(directory: Path, postgres: EmbeddedPostgres) -> None:
    """When Postgres ends at once, the error has the directory and Postgres's own words, and nothing is left running."""
    with (directory / "data/postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")

    with pytest.raises(Permanent, match=f"(?s)does not start in {directory}.*no_such_setting"):
        postgres.start()
    assert processes_of(directory) == []


def test_a_server_out_of_sight_is_not_doubled(directory: Path, postgres: EmbeddedPostgres) -> None:
    """In use by a process whose server cannot be seen, as from another container: refused, no second server."""
    with (directory / "users.lock").open("w") as elsewhere:
        fcntl.flock(elsewhere, fcntl.LOCK_SH)

        with pytest.raises(Retryable, match=f"{directory} is in use by another process"):
            postgres.start()
        assert processes_of(directory) == []

    assert execute(postgres.start(), "SELECT 1") == [(1,)]
