"""Dead letters: what no attempt can store is kept, whole and with the reason."""

import os
import stat
import time
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.batch import Batch
from pipelines.dead_letters import DeadLetters
from pipelines.errors import BufferFull, Permanent, Retryable
from pipelines.replay import Replayed, replay
from tests.support.buffers import local_buffer, moved
from tests.support.records import ids, observations, scores, traces


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


# --- as people work with them ----------------------------------------------------------------------------------------


def test_summaries_tell_what_there_is(tmp_path: Path) -> None:
    """Newest first, with rows, reason and origin; what is damaged says so, and hides no other."""
    letters = DeadLetters(tmp_path)
    old = letters.write(observations(3), "no place", "chdb")
    new = letters.write(b"\x00garbage", "checksum", "file")
    (tmp_path / "torn.arrow").write_bytes((tmp_path / old).read_bytes()[:-50])
    (tmp_path / "empty.arrow").touch()

    found = {summary.name: summary for summary in letters.summaries()}

    assert list(found) == ["torn.arrow", "empty.arrow", new, old]
    assert (found[old].kind, found[old].rows, found[old].reason, found[old].origin) == (
        "observations",
        3,
        "no place",
        "chdb",
    )
    assert (found[new].kind, found[new].rows, found[new].has_rows) == ("raw", 0, False)
    assert {found[name].kind for name in ("torn.arrow", "empty.arrow")} == {"damaged"}
    assert found[old].time_ns == letters.read(old).time_ns


def test_replayed_letters_are_kept_apart(tmp_path: Path) -> None:
    """They are no longer among those that wait, can still be read, and doing it twice is no error."""
    letters = DeadLetters(tmp_path)
    first, second = (letters.write(observations(1, first=number), "bad", "x") for number in range(2))

    letters.mark_replayed(first)
    letters.mark_replayed(first)

    assert letters.names() == [second]
    assert {each.name: each.was_replayed for each in letters.summaries()} == {first: True, second: False}
    assert letters.read(first).content == observations(1, first=0)
    assert letters.place(first) == str(tmp_path / "replayed" / first)


def test_deleted_letters_are_gone(tmp_path: Path) -> None:
    """Whether they were replayed or not; one that is gone already is no error."""
    letters = DeadLetters(tmp_path)
    first, second, third = (letters.write(b"x", "bad", "x") for _ in range(3))
    letters.mark_replayed(first)

    for name in (first, second, second):
        letters.delete(name)

    assert [each.name for each in letters.summaries()] == [third]


@pytest.mark.parametrize("name", ["../outside.arrow", "replayed/../../outside.arrow"])
def test_only_dead_letters_are_changed(tmp_path: Path, name: str) -> None:
    """A name from a user leads nowhere else."""
    letters = DeadLetters(tmp_path / "dead")
    letters.mark_replayed(letters.write(b"x", "bad", "x"))
    outside = tmp_path / "outside.arrow"
    outside.write_bytes(b"x")

    letters.delete(name)
    letters.mark_replayed(name)

    assert outside.read_bytes() == b"x"


def test_damaged_letters_are_read_as_bytes(tmp_path: Path) -> None:
    """So that they can be looked at; one that is not there is an error that names it."""
    letters = DeadLetters(tmp_path)
    (tmp_path / "torn.arrow").write_bytes(b"torn")

    ((name, letter),) = letters.read_all(["torn.arrow"])

    assert (name, letter.content) == ("torn.arrow", b"torn")
    assert "cannot be read any more" in letter.reason
    with pytest.raises(Permanent, match=r"none\.arrow"):
        list(letters.read_all(["none.arrow"]))


def test_what_cannot_be_changed_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the letter and the cure."""
    letters = DeadLetters(tmp_path)
    name = letters.write(b"x", "bad", "x")

    def refusing_rename(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refusing_rename)
    with pytest.raises(Retryable, match=rf"{name} cannot be changed: .*Permission denied.*user of the service"):
        letters.mark_replayed(name)


# --- back into the buffer --------------------------------------------------------------------------------------------


def test_replayed_rows_are_in_the_buffer_before_the_mark(tmp_path: Path) -> None:
    """Appended from beside a running export half, in pieces, with a receive time of now; then the letter is marked."""
    whole = observations(4200, text_bytes=50, received_at_ns=5)
    with closing(local_buffer(tmp_path, "store")) as ours, closing(local_buffer(tmp_path)) as theirs:
        letters = ours.dead_letters
        name = letters.write(whole, "bad", "store")
        started_ns = time.time_ns()

        assert list(replay(letters, [name], theirs)) == [Replayed(name, 4200)]

        pieces = moved(ours, "store")
        assert ids(pieces) == ids([whole])
        assert all(piece.received_at_ns >= started_ns for piece in pieces)
        assert len(pieces) > 1
        assert letters.names() == []


def test_a_replay_that_is_cut_short_can_be_repeated(tmp_path: Path) -> None:
    """Killed between buffer and mark, the letter is still there, and its rows come a second time."""
    with closing(local_buffer(tmp_path, "store")) as buffer:
        letters = buffer.dead_letters
        name = letters.write(scores(2), "bad", "store")
        for _ in range(2):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(DeadLetters, "mark_replayed", _killed)
                with pytest.raises(KeyboardInterrupt):
                    list(replay(letters, [name], buffer))
        assert letters.names() == [name]
        assert ids(moved(buffer, "store")) == ids([scores(2), scores(2)])


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_buffer_keeps_the_letter(tmp_path: Path) -> None:
    """What does not fit stays a dead letter, for the next attempt."""
    with closing(local_buffer(tmp_path, "store", max_size_mib=1)) as buffer:
        letters = buffer.dead_letters
        name = letters.write(observations(1500, text_bytes=3000), "bad", "store")
        with pytest.raises(BufferFull):
            list(replay(letters, [name], buffer))
        assert letters.names() == [name]


def test_letters_of_another_version_are_replayed(tmp_path: Path) -> None:
    """Columns that it did not know are null, those that we do not know fall away."""
    old = observations(2)
    fewer = old.records.drop_columns(["session_id"]).append_column("retired", pa.array(["a", "b"]))
    with closing(local_buffer(tmp_path, "store")) as buffer:
        letters = buffer.dead_letters
        name = letters.write(Batch("observations", fewer, 5), "bad", "store")

        assert list(replay(letters, [name], buffer)) == [Replayed(name, 2)]

        (batch,) = moved(buffer, "store")
        assert batch.records.schema == old.records.schema
        assert batch.records.column("session_id").null_count == 2


def test_what_has_no_rows_stays(tmp_path: Path) -> None:
    """Bytes, and rows that do not fit today's schema, are left where they are and hold up no other."""
    misfit = observations(1).records.set_column(0, "project_id", pa.array([[1]]))
    with closing(local_buffer(tmp_path, "store")) as buffer:
        letters = buffer.dead_letters
        raw = letters.write(b"garbage", "checksum", "store")
        wrong = letters.write(Batch("observations", misfit, 1), "bad", "store")
        sound = letters.write(scores(1), "bad", "store")

        outcomes = list(replay(letters, [raw, wrong, sound], buffer))

        assert [(each.name, each.rows) for each in outcomes] == [(raw, 0), (wrong, 0), (sound, 1)]
        assert "bytes, not rows: checksum" in outcomes[0].problem
        assert "this version cannot store its observations" in outcomes[1].problem
        assert letters.names() == [raw, wrong]
