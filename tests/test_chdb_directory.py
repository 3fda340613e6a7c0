"""The directory of the embedded store: its owner, its faults, and what outlives a kill."""

import os
from pathlib import Path

import pytest

from config.models import ChdbExporterSettings
from exporters import chdb_directory
from exporters.chdb_store import ChdbExporter
from exporters.clickhouse_errors import PERMANENT, error_code, sorted_error
from pipelines.errors import Permanent, Retryable
from tests.support.chdb import answer, call_in_thread, export_forever, hold_open, opened, statement, value
from tests.support.processes import Process, running
from tests.support.records import observations, traces
from tests.support.waiting import wait_until


def _exporter(path: Path) -> ChdbExporter:
    return ChdbExporter("chdb", ChdbExporterSettings(path=str(path)))


class TestLife:
    """Opening, closing, opening again."""

    def test_rows_outlive_the_exporter(self, tmp_path: Path) -> None:
        """A directory that is opened again holds what was exported, and takes more."""
        for count in (10, 20):
            with opened(tmp_path / "deep" / "chdb") as exporter:
                exporter.export(observations(10, first=count))
                exporter.export(traces(10, first=count))
                views = [value(exporter, f"SELECT count() FROM {view}") for view in ("observations", "traces")]

                assert views == [count, count]

    def test_path_with_odd_characters(self, tmp_path: Path) -> None:
        """Spaces, percent signs, ampersands and emoji in the path do no harm."""
        for count in (1, 2):
            with opened(tmp_path / "a b%41&c=d é🙂") as exporter:
                exporter.export(observations(1, first=count))

                assert value(exporter, "SELECT count() FROM observations") == count

    def test_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path is where the process was when it opened it, for readers too."""
        monkeypatch.chdir(tmp_path)
        with opened(Path("chdb")) as exporter:
            monkeypatch.chdir("/")

            assert value(exporter, "SELECT 1") == 1
        assert (tmp_path / "chdb" / "store").is_dir()

    def test_closing_twice(self, tmp_path: Path) -> None:
        """Closing what is closed, or was never opened, is no error; then there are no readers."""
        exporter = _exporter(tmp_path / "chdb")
        exporter.close()
        exporter.open()
        exporter.close()
        exporter.close()

        with pytest.raises(Retryable, match="not open"):
            exporter.reader({})

    def test_closing_ends_queries(self, tmp_path: Path) -> None:
        """A query that runs while the store is closed is ended, and the directory is free at once."""
        with opened(tmp_path / "chdb") as exporter:
            reader = exporter.reader({})
            endless = call_in_thread(lambda: reader.query("SELECT count() FROM numbers(1000000000000000)"))
            wait_until(lambda: answer(exporter, "SELECT 1 FROM system.processes WHERE query LIKE '%numbers(1000%'"))

        endless.join()
        reader.close()
        assert "QUERY_WAS_CANCELLED" in str(endless.error)
        with opened(tmp_path / "elsewhere") as exporter:
            assert value(exporter, "SELECT 1") == 1

    def test_nothing_is_left_in_temporary_places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server's settings are gone once it has read them."""
        places = tmp_path / "tmp"
        places.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(places))

        with opened(tmp_path / "chdb"):
            assert list(places.iterdir()) == []


class TestKill:
    """kill -9."""

    def test_exported_rows_survive(self, tmp_path: Path) -> None:
        """Whatever export() has returned for is there after kill -9, once, however often it happens."""
        stored: list[int] = []
        for _ in range(4):
            with running(export_forever, tmp_path / "chdb", len(stored) * 100) as process:
                stored += [process.next() for _ in range(5)]
                stored += process.kill()

            with opened(tmp_path / "chdb") as exporter:
                (found,) = answer(
                    exporter,
                    "SELECT count() AS rows, uniqExact(id) AS ids, countIf(id < lower(hex(toUInt64("
                    f"{len(stored) * 100})))) AS told FROM observations",
                )
            assert found["rows"] == found["ids"]
            assert found["told"] == len(stored) * 100


class TestLock:
    """One process at a time."""

    def test_another_owner_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A directory that another process keeps open is an error that names it and its owner."""
        monkeypatch.setattr(chdb_directory, "_LOCK_SECONDS", 0.2)
        with running(hold_open, tmp_path / "chdb") as owner:
            owner.next()
            with pytest.raises(Retryable) as failure:
                _exporter(tmp_path / "chdb").open()

        assert str(tmp_path / "chdb") in str(failure.value)
        assert "PID: " in str(failure.value)

    def test_waits_for_an_owner_that_ends(self, tmp_path: Path) -> None:
        """A directory whose owner ends within the patience is opened."""
        owner = Process(hold_open, tmp_path / "chdb")
        owner.next()
        exporter = _exporter(tmp_path / "chdb")
        opening = call_in_thread(exporter.open)
        owner.kill()
        opening.join()
        try:
            assert opening.error is None
            assert value(exporter, "SELECT 1") == 1
        finally:
            exporter.close()


class TestFaults:
    """What cannot work says why."""

    def test_no_directory(self, tmp_path: Path) -> None:
        """A path that cannot be a directory is an error that names it."""
        (tmp_path / "file").write_text("")

        with pytest.raises(Permanent, match=f"{tmp_path}/file/chdb cannot be written to: Not a directory"):
            _exporter(tmp_path / "file" / "chdb").open()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_no_right_to_write(self, tmp_path: Path) -> None:
        """A directory that may not be written to is an error that names it."""
        tmp_path.chmod(0o500)

        with pytest.raises(Permanent, match="cannot be written to: Permission denied"):
            _exporter(tmp_path).open()

    def test_question_mark(self, tmp_path: Path) -> None:
        """What follows it would be taken for settings; it is refused instead."""
        with pytest.raises(Permanent, match="question mark"):
            _exporter(tmp_path / "a?b").open()

    def test_not_a_store(self, tmp_path: Path) -> None:
        """A directory with something else in chDB's places is an error that names it."""
        (tmp_path / "chdb").mkdir()
        (tmp_path / "chdb" / "store").write_text("no directory")

        with pytest.raises((Permanent, Retryable)):
            _exporter(tmp_path / "chdb").open()

    def test_dropped_table_can_come_back(self, tmp_path: Path) -> None:
        """A fault that somebody can put right is Retryable: the rows wait in the buffer."""
        with opened(tmp_path / "chdb") as exporter:
            statement(exporter, "DROP TABLE otel.observation_rows")

            with pytest.raises(Retryable, match="UNKNOWN_TABLE"):
                exporter.export(observations(1))

    def test_too_little_memory(self, tmp_path: Path) -> None:
        """An insert beyond the memory limit is Retryable, and stores nothing."""
        with opened(tmp_path / "chdb") as exporter:
            statement(exporter, "SET max_memory_usage = 1000000")
            with pytest.raises(Retryable, match="memory limit exceeded"):
                exporter.export(observations(2000))
            statement(exporter, "SET max_memory_usage = 0")

            assert value(exporter, "SELECT count() FROM observations") == 0


@pytest.mark.parametrize("code", [159, 173, 202, 209, 210, 241, 243, 252, 999, 0])
def test_passing_faults_are_retryable(code: int) -> None:
    """Memory, disk, parts, time, network and what is not known may pass."""
    assert isinstance(sorted_error(f"Code: {code}. DB::Exception: x"), Retryable)


@pytest.mark.parametrize(("code", "name"), PERMANENT.items())
def test_faults_of_rows_are_permanent(code: int, name: str) -> None:
    """Types, parsing and sizes never pass."""
    error = sorted_error(f"Code: {code}. DB::Exception: x. ({name})")

    assert isinstance(error, Permanent)
    assert error_code(str(error)) == code


def test_error_names_are_the_engine_s(tmp_path: Path) -> None:
    """The codes in our table mean what ClickHouse means by them."""
    with opened(tmp_path / "chdb") as exporter:
        names = {code: value(exporter, f"SELECT errorCodeToName({code})") for code in PERMANENT}

    assert names == PERMANENT
