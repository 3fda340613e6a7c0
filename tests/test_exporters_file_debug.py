"""The exporters `file` and `debug`, and the JSON lines that both write."""

import os
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
import structlog
from structlog.testing import capture_logs

from config.models import DebugExporterSettings, FileExporterSettings, FileRotation
from exporters import EXPORTERS, build_exporter
from exporters.file import FileExporter
from exporters.json_lines import json_lines
from pipelines.batch import Batch
from pipelines.errors import Permanent, Retryable
from tests.support.records import from_rows, observations, scores, traces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the exporter writes; its directory does not exist yet."""
    return tmp_path / "out" / "records.jsonl"


def opened(path: Path, **rotation: int) -> FileExporter:
    exporter = FileExporter("file", FileExporterSettings(path=str(path), rotation=FileRotation(**rotation)))
    exporter.open()
    return exporter


def lines(*paths: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def written_ids(*paths: Path) -> list[str]:
    return [line["id"] for line in lines(*paths)]


def name(number: int) -> str:
    return f"{number:016x}"


def backups(path: Path) -> list[Path]:
    return sorted(each for each in path.parent.iterdir() if each != path)


class TestJsonLines:
    """One object a row, exact."""

    def test_types_are_written_exactly(self) -> None:
        """Nanoseconds, money, 64-bit counts, maps, nested values and unknowns all survive."""
        batch = observations(2, first=1)
        records = [orjson.loads(line) for line in json_lines(batch)]
        first = records[0]

        assert first["kind"] == "observations"
        assert first["start_time"] == "2026-09-21T14:13:20.124456789Z"
        assert first["completion_start_time"] == "2026-09-21T14:13:20.124457789Z"
        assert first["total_cost"] == "0.001000000000"
        assert first["cost_details"] == {"input": "0.000123456789", "total": "0.001000000000"}
        assert first["usage_details"] == {"input": 101, "output": 20, "total": 121}
        assert first["tool_calls"] == [{"id": "call-1", "name": "weather", "arguments": '{"city":"Paris"}'}]
        assert first["events"] == [
            {"time": "2026-09-21T14:13:20.124456794Z", "name": "chunk", "attributes": {"n": "1"}}
        ]
        assert first["is_root"] is False
        assert records[1]["completion_start_time"] is None
        assert list(first) == ["kind", *batch.records.schema.names]

    def test_large_counts_keep_all_their_digits(self) -> None:
        """uint64 is not squeezed through a float."""
        batch = from_rows("observations", [{"input_tokens": 2**64 - 1, "usage_details": [("total", 2**64 - 1)]}])

        (record,) = [orjson.loads(line) for line in json_lines(batch)]

        assert record["input_tokens"] == 2**64 - 1
        assert record["usage_details"] == {"total": 2**64 - 1}

    @pytest.mark.parametrize("batch", [observations(20), traces(20), scores(20)])
    def test_slices_give_the_lines_of_their_rows(self, batch: Batch) -> None:
        """Offsets of nested columns are those of the slice; an empty slice gives nothing."""
        part = Batch(batch.kind, batch.records.slice(5, 9), 1)

        assert json_lines(part) == json_lines(batch)[5:14]
        assert json_lines(Batch(batch.kind, batch.records.slice(3, 0), 1)) == []

    def test_null_maps_and_lists_are_null(self) -> None:
        """Columns that an older version did not write."""
        batch = observations(2)
        for column in ("metadata", "events", "tags"):
            index = batch.records.schema.get_field_index(column)
            field = batch.records.schema.field(index)
            batch = Batch(batch.kind, batch.records.set_column(index, field, pa.nulls(2, field.type)), 1)

        record = orjson.loads(json_lines(batch)[1])

        assert (record["metadata"], record["events"], record["tags"]) == (None, None, None)

    def test_text_that_is_not_utf_8_is_permanent(self) -> None:
        """The rows around it can be stored, so it must not be tried for ever."""
        batch = observations(1)
        index = batch.records.schema.get_field_index("input")
        broken = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
        records = batch.records.set_column(index, batch.records.schema.field(index), broken)

        with pytest.raises(Permanent, match="UTF-8"):
            json_lines(Batch("observations", records, 1))


class TestFile:
    """Appended durably, never torn, never twice."""

    def test_appends_batches_of_every_kind(self, path: Path) -> None:
        """A line a record, in the order of the exports, with the kind in front."""
        exporter = opened(path)
        exporter.export(observations(2))
        exporter.export(traces(1))
        exporter.export(scores(1))
        exporter.close()

        assert [line["kind"] for line in lines(path)] == ["observations", "observations", "traces", "scores"]

    @pytest.mark.parametrize("tail", [b'{"kind":"obs', b'{"kind":"observations","id":"x"}', b"\0" * 200_000, b"{"])
    def test_torn_last_line_is_cut_off(self, path: Path, tail: bytes) -> None:
        """What a crash left of an unfinished batch goes; whole lines stay."""
        first = opened(path)
        first.export(observations(2))
        first.close()
        with path.open("ab") as file:
            file.write(tail)

        second = opened(path)
        second.export(observations(1, first=2))
        second.close()

        assert written_ids(path) == [name(0), name(1), name(2)]

    def test_torn_first_line_is_cut_off(self, path: Path) -> None:
        """A crash in the very first write leaves an empty file."""
        path.parent.mkdir()
        path.write_bytes(b'{"kind":"observations","project_id"')

        exporter = opened(path)

        assert path.read_bytes() == b""
        exporter.close()

    @pytest.mark.parametrize("content", [b"precious notes\n", b"precious notes", b"\0\0\0", b'{"kinds":1}\n'])
    def test_file_of_somebody_else_is_left_alone(self, path: Path, content: bytes) -> None:
        """A wrong path in the settings destroys nothing, and the service does not start."""
        path.parent.mkdir()
        path.write_bytes(content)

        with pytest.raises(Permanent, match=rf"{path}.*something else"):
            opened(path)

        assert path.read_bytes() == content

    @pytest.mark.parametrize("repeated", [1, 3, 5])
    def test_rows_that_come_again_after_a_crash_are_not_written_twice(self, path: Path, repeated: int) -> None:
        """The cursor had not moved: the next start sends them again, among others and in other blocks."""
        first = opened(path)
        for number in range(5):
            first.export(observations(2, first=2 * number))
            first.export(traces(1, first=number))
        first.close()
        start = 5 - repeated

        second = opened(path)
        second.export(observations(2 * repeated + 4, first=2 * start))
        second.export(traces(repeated, first=start))
        second.export(traces(2, first=5))
        second.close()

        assert [line["id"] for line in lines(path) if line["kind"] == "observations"] == [name(n) for n in range(14)]
        assert len({line["id"] for line in lines(path) if line["kind"] == "traces"}) == 7
        assert len(lines(path)) == 14 + 7

    def test_repeated_rows_are_known_across_a_change_of_files(self, path: Path) -> None:
        """What was written just before a new file was started is in the old one."""
        first = opened(path, max_megabytes=1)
        for number in range(0, 900, 300):
            first.export(observations(300, first=number))
        first.close()

        second = opened(path, max_megabytes=1)
        second.export(observations(901))
        second.close()

        assert len(backups(path)) >= 1
        assert written_ids(*backups(path), path) == [name(number) for number in range(901)]

    def test_failed_write_leaves_nothing_and_is_repeated_whole(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk that fills in the middle of a batch: Retryable, no torn line, nothing twice."""
        exporter = opened(path)
        exporter.export(observations(2))
        write = os.write

        def half_a_write(descriptor: int, data: bytes) -> int:
            if len(data) < 100:
                raise OSError(28, "No space left on device")
            return write(descriptor, data[: len(data) // 2])

        with monkeypatch.context() as patch:
            patch.setattr("exporters.file.os.write", half_a_write)
            with pytest.raises(Retryable, match=rf"{path}.*No space left"):
                exporter.export(observations(3, first=2))
            assert written_ids(path) == [name(0), name(1)]
        exporter.export(observations(3, first=2))
        exporter.close()

        assert written_ids(path) == [name(number) for number in range(5)]

    def test_failed_sync_is_retryable(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not durable is not stored."""
        exporter = opened(path)

        def failing_sync(_descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("exporters.file.os.fsync", failing_sync)
            with pytest.raises(Retryable):
                exporter.export(observations(1))
        exporter.export(observations(1))
        exporter.close()

        assert written_ids(path) == [name(0)]

    def test_moved_or_removed_file_is_begun_anew(self, path: Path) -> None:
        """Rows do not go into a file that nobody can find any more; one that was emptied stays free of holes."""
        exporter = opened(path)
        exporter.export(observations(2))
        path.rename(path.with_name("moved.jsonl"))
        exporter.export(observations(1, first=2))
        path.write_bytes(b"")
        exporter.export(observations(1, first=3))
        exporter.close()

        assert written_ids(path) == [name(3)]
        assert written_ids(path.with_name("moved.jsonl")) == [name(0), name(1)]

    def test_second_exporter_on_the_same_file_is_refused(self, path: Path) -> None:
        """Two would tear each other's lines."""
        exporter = opened(path)

        with pytest.raises(Permanent, match=rf"{path}.*another exporter"):
            opened(path)
        exporter.close()

    def test_unusable_path_is_named_with_the_cure(self, path: Path) -> None:
        """The service does not start, with one clear line."""
        path.parent.write_text("a file")

        with pytest.raises(Permanent, match=rf"cannot write {path}.*path"):
            opened(path)


class TestRotation:
    """New files by size, old ones by number and age."""

    def test_new_file_is_started_at_the_size_limit(self, path: Path) -> None:
        """Every file but the last is as large as allowed, and no line is lost or cut in between."""
        exporter = opened(path, max_megabytes=1)
        for number in range(0, 1200, 100):
            exporter.export(observations(100, first=number))
        exporter.close()

        files = [*backups(path), path]
        assert len(files) > 2
        assert all(file.stat().st_size <= 10**6 for file in files)
        assert written_ids(*files) == [name(number) for number in range(1200)]

    def test_oldest_files_beyond_max_backups_are_removed(self, path: Path) -> None:
        """The newest stay; files that only look alike are not touched."""
        exporter = opened(path, max_megabytes=1, max_backups=2)
        bystander = path.with_name("records-notes.jsonl")
        bystander.write_text("mine")
        for number in range(0, 3000, 250):
            exporter.export(observations(250, first=number))
        exporter.close()

        kept = [file for file in backups(path) if file != bystander]
        assert len(kept) == 2
        assert written_ids(*kept, path)[-1] == name(2999)
        assert bystander.read_text() == "mine"

    def test_files_older_than_max_days_are_removed(self, path: Path) -> None:
        """By the time of their last line."""
        exporter = opened(path, max_megabytes=1, max_days=2)
        exporter.export(observations(250))
        exporter.export(observations(250, first=250))
        (old,) = backups(path)
        os.utime(old, (1, 1))
        exporter.export(observations(250, first=500))
        exporter.close()

        assert old not in backups(path)
        assert written_ids(*backups(path), path) == [name(number) for number in range(250, 750)]


class TestDebug:
    """What arrives, in the log."""

    def export(self, verbosity: str, batch: Batch) -> list[dict[str, Any]]:
        with capture_logs() as logs:
            exporter = build_exporter("debug/x", DebugExporterSettings.model_validate({"verbosity": verbosity}))
            exporter.open()
            exporter.export(batch)
            exporter.close()
        return [dict(log) for log in logs]

    def test_basic_is_a_line_a_batch(self) -> None:
        """How many, how large, nothing of the content."""
        (log,) = self.export("basic", observations(3))

        assert (log["kind"], log["rows"], log["exporter"]) == ("observations", 3, "debug/x")
        assert "input" not in log

    @pytest.mark.parametrize("batch", [observations(3), traces(3), scores(3)])
    def test_normal_is_a_line_a_row(self, batch: Batch) -> None:
        """Enough to find the row again."""
        _, *rows = self.export("normal", batch)

        assert [row["id"] for row in rows] == batch.records.column("id").to_pylist()
        assert all(row["name"] for row in rows)

    def test_detailed_shows_every_field(self) -> None:
        """The record as it will be stored."""
        _, row = self.export("detailed", observations(1))

        assert orjson.loads(row["record"]) == {
            key: value for key, value in orjson.loads(json_lines(observations(1))[0]).items() if key != "kind"
        }

    @pytest.mark.parametrize("verbosity", ["normal", "detailed"])
    def test_text_of_a_span_cannot_speak_to_the_terminal(
        self, verbosity: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Escape sequences and line breaks in names are shown, not obeyed."""
        batch = from_rows("observations", [{"id": "1", "name": "evil\x1b[2J\nERROR forged é"}])
        exporter = build_exporter("debug", DebugExporterSettings.model_validate({"verbosity": verbosity}))
        structlog.reset_defaults()
        exporter.export(batch)

        shown = capsys.readouterr().out
        assert "evil" in shown
        assert "é" in shown
        assert "\x1b[2J" not in shown
        assert "\nERROR forged" not in shown


class TestTable:
    """Exporters by component type."""

    def test_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without chDB the message says what to install."""
        import sys

        monkeypatch.setitem(sys.modules, "chdb", None)
        monkeypatch.delitem(sys.modules, "exporters.chdb_store", raising=False)

        with pytest.raises(Permanent, match="embedded"):
            build_exporter("chdb/x", object())

    def test_every_configurable_exporter_exists(self) -> None:
        """The table of settings and the table of exporters name the same types."""
        from config import models

        assert set(EXPORTERS) == set(models.EXPORTERS)
