"""The local buffer when things go wrong: kill -9, torn logs, full disks, damaged files, wrong directories."""

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from pipelines.buffers import Corrupt, LocalBuffer, sqlite_file
from pipelines.errors import Permanent, Retryable
from tests.support.buffers import ALL, batches, file_of, local_buffer, moved, sql
from tests.support.processes import append_forever, running
from tests.support.records import ids, observations
from tests.support.reporting import Report

KILLS: Final = 12
MIB: Final = 1 << 20


def name(number: int) -> str:
    return f"{number:016x}"


def copied_unclosed(source: Path, target: Path) -> Path:
    """Fills a buffer with 30 entries of one row and copies the files as a power cut would leave them."""
    buffer = local_buffer(source, "a")
    for number in range(30):
        buffer.append([observations(1, first=number)])
    shutil.copytree(source, target)
    buffer.close()
    return target


class TestKill:
    """Acknowledged is stored."""

    def test_kill_9_of_a_writer_loses_nothing_acknowledged(self, tmp_path: Path, report: Report) -> None:
        """After each of many kills at random moments every acknowledged row is there, once, and unharmed."""
        reader = local_buffer(tmp_path, "a")
        acknowledged: list[int] = []
        seen: list[str] = []
        for kill in range(KILLS):
            with running(append_forever, tmp_path, kill << 32) as writer:
                acknowledged += [number for _ in range(20) for number in writer.next()]
                time.sleep(random.uniform(0, 0.3))
                acknowledged += [number for ack in writer.kill() for number in ack]
            seen += ids(moved(reader, "a"))
        reader.close()

        report(f"local buffer: {KILLS} kills, {len(acknowledged)} rows acknowledged, {len(seen)} read back")
        assert len(seen) == len(set(seen))
        assert {name(number) for number in acknowledged} <= set(seen)
        assert len(acknowledged) > 100 * KILLS

    def test_killed_writer_leaves_no_lock(self, tmp_path: Path) -> None:
        """Whoever is killed in the middle of a transaction does not stop the others."""
        with running(append_forever, tmp_path, 0) as writer:
            writer.next()
            writer.kill()
        buffer = local_buffer(tmp_path, "a")

        buffer.append([observations(1, first=1 << 40)])

        assert ids(moved(buffer, "a"))[-1] == name(1 << 40)
        buffer.close()


def test_commits_are_synced(tmp_path: Path) -> None:
    """What no kill can show, only a power cut: the log is fsynced at every commit."""
    buffer = local_buffer(tmp_path)
    for connection in buffer._connections:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    buffer.close()


class TestTornLog:
    """What a power cut leaves of the write-ahead log."""

    @pytest.mark.parametrize("garbage", [b"\0" * 70_000, os.urandom(70_000), b"torn"])
    def test_garbage_after_the_log_is_ignored(self, tmp_path: Path, garbage: bytes) -> None:
        """Everything acknowledged before is there, and the buffer works on."""
        directory = copied_unclosed(tmp_path / "before", tmp_path / "after")
        with file_of(directory).with_name("local.sqlite-wal").open("ab") as log:
            log.write(garbage)

        buffer = local_buffer(directory, "a")
        buffer.append([observations(1, first=30)])

        assert ids(moved(buffer, "a")) == [name(number) for number in range(31)]
        buffer.close()

    @pytest.mark.parametrize("cut", [1, 100, 20_000])
    def test_torn_last_transaction_is_undone(self, tmp_path: Path, cut: int) -> None:
        """An append that never reached the disk leaves no trace, those before it are whole."""
        directory = copied_unclosed(tmp_path / "before", tmp_path / "after")
        log = file_of(directory).with_name("local.sqlite-wal")
        os.truncate(log, log.stat().st_size - cut)

        buffer = local_buffer(directory, "a")
        read = ids(moved(buffer, "a"))
        buffer.append([observations(1, first=99)])

        assert read == [name(number) for number in range(len(read))]
        assert 27 <= len(read) < 30
        assert ids(moved(buffer, "a")) == [name(99)]
        buffer.close()


class TestDamage:
    """Bytes that are not what was written."""

    @pytest.mark.parametrize(
        "change",
        [
            "data = substr(data, 1, 99) || x'00' || substr(data, 101)",
            "data = 'text'",
            "received_at_ns = 1",
            "size = 7",
            "rows = 'x'",
            "schema = 77",
        ],
    )
    def test_damaged_entry_is_reported_with_its_bytes(self, tmp_path: Path, change: str) -> None:
        """Other entries are read as ever; the damaged one says what and where it is."""
        buffer = local_buffer(tmp_path, "a")
        for number in range(3):
            buffer.append([observations(1, first=number)])
        sql(tmp_path, f"UPDATE entries SET {change} WHERE position = 2")

        first, second, third = buffer.read("a", *ALL)

        assert ids(batches([first, third])) == [name(0), name(2)]
        assert isinstance(second.content, Corrupt)
        assert second.position == 2
        assert f"position 2 of {file_of(tmp_path)}" in second.content.reason
        assert second.content.raw
        buffer.close()

    def test_entries_of_a_damaged_schema_are_reported(self, tmp_path: Path) -> None:
        """What another version wrote cannot be read without its schema: its bytes are kept, the loop goes on."""
        buffer = local_buffer(tmp_path, "a")
        buffer.append([observations(1)])
        sql(tmp_path, "INSERT INTO schemas VALUES (50, 'observations', x'00ff')")
        sql(tmp_path, "UPDATE entries SET schema = 50")

        (entry,) = buffer.read("a", *ALL)

        assert isinstance(entry.content, Corrupt)
        buffer.close()

    @pytest.mark.parametrize("content", [b"this is not a database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_file_that_is_no_database_is_set_aside(self, tmp_path: Path, content: bytes) -> None:
        """A new one is begun; the old one is kept byte by byte, and an ERROR says where."""
        file_of(tmp_path).write_bytes(content)

        with capture_logs() as logs:
            buffer = local_buffer(tmp_path, "a")
        buffer.append([observations(1)])

        (kept,) = tmp_path.glob("local.sqlite.corrupt-*")
        assert kept.read_bytes() == content
        assert [(log["log_level"], log["kept_as"]) for log in logs] == [("error", str(kept))]
        assert ids(moved(buffer, "a")) == [name(0)]
        buffer.close()

    def test_truncated_file_is_set_aside(self, tmp_path: Path) -> None:
        """Half a file is no file."""
        local_buffer(tmp_path, "a").close()
        os.truncate(file_of(tmp_path), file_of(tmp_path).stat().st_size // 2)

        buffer = local_buffer(tmp_path, "a")
        buffer.append([observations(1)])

        assert len(list(tmp_path.glob("local.sqlite.corrupt-*Z"))) == 1
        assert ids(moved(buffer, "a")) == [name(0)]
        buffer.close()

    def test_damage_found_at_work_is_set_aside_by_the_next_start(self, tmp_path: Path) -> None:
        """Processes that share a file cannot rename it under each other: they say so, and a restart cures."""
        buffer = local_buffer(tmp_path, "a")
        for number in range(200):
            buffer.append([observations(1, first=number)])
        buffer.close()
        overwrite_second_leaf(file_of(tmp_path))
        buffer = local_buffer(tmp_path, "a")

        with pytest.raises(Retryable, match=rf"{file_of(tmp_path)}.*damaged; restart"):
            buffer.read("a", *ALL)
        buffer.close()
        buffer = local_buffer(tmp_path, "a")
        buffer.append([observations(1, first=7)])

        assert len(list(tmp_path.glob("local.sqlite.corrupt-*Z"))) == 1
        assert ids(moved(buffer, "a")) == [name(7)]
        buffer.close()
        local_buffer(tmp_path).close()
        assert len(list(tmp_path.glob("local.sqlite.corrupt-*Z"))) == 1

    def test_damaged_file_in_use_is_not_renamed(self, tmp_path: Path) -> None:
        """A process that starts beside others refuses to, and names the cure."""
        buffer = local_buffer(tmp_path, "a")
        file_of(tmp_path).write_bytes(b"not a database" * 5000)

        with pytest.raises(Permanent, match="in use by another process; stop them all"):
            local_buffer(tmp_path, "a")

        assert not list(tmp_path.glob("*.corrupt-*"))
        buffer.close()


def overwrite_second_leaf(file: Path) -> None:
    """Destroys the second leaf page of the table: not one that is looked at when the file is opened (https://sqlite.org/fileformat.html#b_tree_pages)."""
    connection = sqlite3.connect(file)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entries'").fetchone()
    connection.close()
    page = file.read_bytes()[(root - 1) * sqlite_file.PAGE_BYTES :]
    second_cell = int.from_bytes(page[14:16])
    leaf = int.from_bytes(page[second_cell : second_cell + 4])
    with file.open("r+b") as opened:
        opened.seek((leaf - 1) * sqlite_file.PAGE_BYTES)
        opened.write(os.urandom(sqlite_file.PAGE_BYTES))


class TestDisk:
    """Disks that take no more, and directories that take nothing."""

    def test_file_that_may_not_grow_refuses_and_recovers(self, tmp_path: Path) -> None:
        """The append that did not fit is not there, every other is, and the next one after the cure is."""
        with running(append_until_refused, tmp_path) as process:
            *acknowledged, refusal, last = process.join()
        buffer = local_buffer(tmp_path, "a")

        assert str(file_of(tmp_path)) in refusal
        assert "check free space" in refusal
        assert len(acknowledged) > 100
        assert ids(moved(buffer, "a")) == [name(number) for number in [*acknowledged, last]]
        buffer.close()

    def test_full_disk_refuses_and_recovers(self, small_disk: Path) -> None:
        """On a file system of 4 MiB: Retryable that names the cure; after it everything acknowledged is there."""
        buffer = local_buffer(small_disk / "buffer", "a")
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(2 * MIB))
        acknowledged = appends_until_refused(buffer)
        with pytest.raises(Retryable, match="the disk is full; free space"):
            buffer.append([observations(20)])

        ballast.unlink()
        buffer.append([observations(1, first=acknowledged)])

        assert acknowledged > 10
        assert ids(moved(buffer, "a")) == [name(number) for number in range(acknowledged + 1)]
        buffer.close()

    def test_unusable_directory_is_named_with_the_cure(self, tmp_path: Path) -> None:
        """The service does not start, with one clear line."""
        (tmp_path / "taken").write_text("a file")

        with pytest.raises(Permanent, match=rf"{tmp_path}/taken.*not writable.*directory"):
            local_buffer(tmp_path / "taken" / "buffer")

    @pytest.mark.parametrize("statement", ["PRAGMA user_version = 99", "CREATE TABLE theirs (a)"])
    def test_files_of_others_are_left_alone(self, tmp_path: Path, statement: str) -> None:
        """A newer version's file and another program's database are neither changed nor set aside."""
        sql(tmp_path, statement)
        before = file_of(tmp_path).read_bytes()

        with pytest.raises(Permanent, match="newer version or another program"):
            local_buffer(tmp_path)

        assert file_of(tmp_path).read_bytes()[100:] == before[100:]

    def test_lock_held_too_long_is_retryable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hung process elsewhere makes appends fail in time, not hang."""
        monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT_SECONDS", 0.05)
        buffer = local_buffer(tmp_path, "a")
        other = sqlite3.connect(file_of(tmp_path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Retryable, match=rf"{file_of(tmp_path)}.*locked"):
            buffer.append([observations(1)])
        other.execute("ROLLBACK")
        buffer.append([observations(1, first=1)])

        assert ids(moved(buffer, "a")) == [name(1)]
        other.close()
        buffer.close()

    def test_file_system_without_shared_logs_is_refused(self) -> None:
        """Where no log can be kept beside the file, several processes could not work on it."""
        with pytest.raises(Permanent, match="use a local disk"):
            sqlite_file.connect(Path(":memory:"), 1 << 20)

    def test_closed_buffer_is_retryable(self, tmp_path: Path) -> None:
        """A request that comes while the service stops is sent again by its client."""
        buffer = local_buffer(tmp_path, "a")
        buffer.close()
        buffer.close()

        with pytest.raises(Retryable, match="closed"):
            buffer.append([observations(1)])


def appends_until_refused(buffer: LocalBuffer) -> int:
    """Number of rows, numbered from 0, that are taken one by one."""
    for number in range(10_000):
        try:
            buffer.append([observations(1, first=number)])
        except Retryable:
            return number
    raise AssertionError("the disk is never full")


def append_until_refused(results: Connection, directory: Path) -> None:
    """Sends the acknowledged numbers, the refusal, and the number that was taken after the limit was lifted."""
    buffer = local_buffer(directory)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, hard))
    number = 0
    try:
        while True:
            buffer.append([observations(1, first=number)])
            results.send(number)
            number += 1
    except Retryable as error:
        results.send(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    buffer.append([observations(1, first=number + 1)])
    results.send(number + 1)
    buffer.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own; `test_file_that_may_not_grow...` stands in where that is not allowed."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems may not be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
