"""Dead letters: what no attempt can store is kept, whole and with the reason."""

import os
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.batch import Batch
from pipelines.dead_letters import DeadLetters
from pipelines.errors import Retryable
from tests.support.records import observations, scores, traces


@pytest.mark.parametrize("batch", [observations(3, received_at_ns=5), traces(2), scores(1)])
def test_rows_come_back_as_they_were(tmp_path: Path, batch: Batch) -> None:
    """Kind, schema, rows and receive time are kept, with reason and origin, so that they can be sent again."""
    letters = DeadLetters(tmp_path / "dead")

    letter = letters.read(letters.write(batch, "no place — ✗", "chdb/main"))

    assert letter.content == batch
    assert (letter.reason, letter.origin) == ("no place — ✗", "chdb/main")
    assert letter.time_ns > 0


def test_slices_are_written_without_the_rest(tmp_path: Path) -> None:
    """A poison row found by bisection does not carry its whole block into its file."""
    letters = DeadLetters(tmp_path)
    whole = observations(2000)

    name = letters.write(Batch("observations", whole.records.slice(7, 1), 1), "bad", "x")

    content = letters.read(name).content
    assert isinstance(content, Batch)
    assert content.records.to_pylist() == whole.records.slice(7, 1).to_pylist()
    assert (tmp_path / name).stat().st_size < 100_000


def test_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    """What could not be read as rows is kept as it lay on disk."""
    letters = DeadLetters(tmp_path)

    letter = letters.read(letters.write(b"\x00garbage", "checksum", "file"))

    assert letter.content == b"\x00garbage"
    assert letter.reason == "checksum"


def test_names_sort_by_time(tmp_path: Path) -> None:
    """The oldest comes first, and unfinished files do not count."""
    letters = DeadLetters(tmp_path)
    assert DeadLetters(tmp_path / "none").names() == []

    written = [letters.write(b"x", str(number), "x") for number in range(20)]
    (tmp_path / ".20260824T101530.000000000Z-raw-12345678.arrow.part").write_bytes(b"torn")

    assert letters.names() == written
    assert [letters.read(name).reason for name in letters.names()] == [str(number) for number in range(20)]


def test_long_and_odd_reasons_are_cut_and_kept(tmp_path: Path) -> None:
    """Whatever a sink says, the rows are kept."""
    letters = DeadLetters(tmp_path)

    name = letters.write(b"x", "\ud800\0" + "y" * 100_000, "x")

    assert letters.read(name).reason.startswith("?\0yyy")
    assert len(letters.read(name).reason) < 20_000


def test_failed_write_is_retryable_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may only leave the buffer when their dead letter is durable."""
    letters = DeadLetters(tmp_path / "dead")

    def failing_sync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.dead_letters.os.fsync", failing_sync)
    with pytest.raises(Retryable, match=rf"{tmp_path}/dead.*No space left"):
        letters.write(observations(1), "bad", "x")

    assert list((tmp_path / "dead").iterdir()) == []


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "none.arrow"])
def test_only_dead_letters_are_read(tmp_path: Path, name: str) -> None:
    """A name from a user leads nowhere else."""
    (tmp_path / "secret.arrow").write_bytes(b"x")

    with pytest.raises(FileNotFoundError):
        DeadLetters(tmp_path / "dead").read(name)


def test_foreign_file_is_told_apart(tmp_path: Path) -> None:
    """A file of another making is an error that says so."""
    table = pa.table({"a": [1]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)

    with pytest.raises(pa.ArrowInvalid, match="not a dead letter"):
        DeadLetters(tmp_path).read("a.arrow")
