"""Appends JSON lines to a file, durable before `export` returns; old files are kept by size, number and age.

    records.jsonl                                   what is written now
    records-2026-08-24T10-15-30.123456789.jsonl     what was, by the time of the change

A line is never torn and never there twice: what a crash left of an unfinished batch is cut off when the file is
opened, and rows that come again because the cursor had not moved yet are known by their lines.
"""

import fcntl
import hashlib
import os
import re
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Final

import structlog

from config.models import FileExporterSettings, FileRotation
from exporters.json_lines import json_lines
from pipelines.batch import Batch, Kind
from pipelines.buffers import ENTRY_ROWS
from pipelines.durable import fsync_directory, make_directory
from pipelines.errors import Permanent, Retryable
from pipelines.schema import TABLES

_START: Final = b'{"kind":"'
_CHUNK_BYTES: Final = 1 << 16
_BACKUP_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{9}"


class FileExporter:
    """Implements `pipelines.export.Exporter` on a file and its predecessors."""

    def __init__(self, exporter_id: str, settings: FileExporterSettings) -> None:
        self._path = Path(settings.path).absolute()
        self._rotation = settings.rotation
        self._descriptor = -1
        self._size_bytes = 0
        # At most what lies between two moves of the cursor can come again: a block of each kind.
        self._most_repeated = len(TABLES) * (settings.block.max_rows + ENTRY_ROWS)
        self._repeated: frozenset[bytes] = frozenset()
        self._past_repeated: set[Kind] = set()
        self._log = structlog.get_logger("file").bind(exporter=exporter_id)

    def open(self) -> None:
        """Makes the file ready and cuts off what a crash left of an unfinished line.

        Raises:
            Permanent: the path cannot be written, is in use, or holds something else.
        """
        try:
            make_directory(self._path.parent)
            self._begin()
            self._repeated = _digests([self._path, *_backups(self._path)], self._most_repeated)
        except OSError as error:
            raise Permanent(f"cannot write {self._path}: {error}; set another `path`, or make it writable") from error

    def export(self, batch: Batch) -> None:
        """Appends the batch, all or nothing; on return it survives a power cut.

        Raises:
            Retryable: it cannot be written now; nothing of it is in the file.
            Permanent: a text is not UTF-8.
        """
        lines = self._without_repeated(batch.kind, json_lines(batch))
        if lines:
            try:
                self._append(b"".join(lines))
            except OSError as error:
                with suppress(OSError):  # else the next attempt does it
                    self._cut_off()
                raise Retryable(f"cannot write {self._path}: {error}; free space or make it writable") from error
            self._past_repeated.add(batch.kind)

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self) -> None:
        self.close()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            self._size_bytes = _claim(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        fsync_directory(self._path.parent)

    def _append(self, data: bytes) -> None:
        if not self._is_in_place():
            self._begin()
        self._cut_off()
        if self._size_bytes and self._size_bytes + len(data) > self._rotation.max_megabytes * 10**6:
            self._rotate()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)
        self._size_bytes += len(data)

    def _is_in_place(self) -> bool:
        """False when somebody has moved or removed the file: what is written to it would be lost with it."""
        with suppress(OSError):
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        return False

    def _cut_off(self) -> None:
        """Removes what a failed attempt has left behind; a file that somebody has emptied stays empty."""
        self._size_bytes = min(self._size_bytes, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, self._size_bytes)

    def _rotate(self) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        moment = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H-%M-%S}.{nanoseconds:09d}"
        self._path.rename(self._path.with_name(f"{self._path.stem}-{moment}{self._path.suffix}"))
        self._begin()
        for old in _expired(_backups(self._path), self._rotation):
            with suppress(OSError):  # it is tried again at the next change
                old.unlink()
                self._log.info("An old file was removed.", file=str(old))

    def _without_repeated(self, kind: Kind, lines: list[bytes]) -> list[bytes]:
        """Leaves out what was written before a crash; it comes first, in the order in which it was written."""
        if kind in self._past_repeated:
            return lines
        return list(dropwhile(lambda line: _digest(line) in self._repeated, lines))


def _claim(descriptor: int) -> int:
    """Locks the file for this process, cuts off an unfinished last line, and returns the size in bytes.

    Raises:
        OSError: another process has it, or it holds something else.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError("another exporter writes to it") from error
    size_bytes = os.fstat(descriptor).st_size
    start = os.pread(descriptor, len(_START), 0)
    if not _START.startswith(start):
        raise OSError("it holds something else than our JSON lines")
    end = _end_of_lines(descriptor, size_bytes)
    os.ftruncate(descriptor, end)
    return end


def _end_of_lines(descriptor: int, size_bytes: int) -> int:
    """The offset after the last newline."""
    end = size_bytes
    while end > 0:
        start = max(0, end - _CHUNK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _backups(path: Path) -> list[Path]:
    """The files that came before `path`, newest first."""
    name = re.compile(rf"{re.escape(path.stem)}-{_BACKUP_TIME}{re.escape(path.suffix)}")
    return sorted((each for each in path.parent.iterdir() if name.fullmatch(each.name)), reverse=True)


def _expired(backups: list[Path], rotation: FileRotation) -> list[Path]:
    """Those beyond the number and age to keep; `backups` are newest first."""
    oldest = time.time() - rotation.max_days * 86400
    return [
        path
        for number, path in enumerate(backups)
        if (rotation.max_backups and number >= rotation.max_backups)
        or (rotation.max_days and path.stat().st_mtime < oldest)
    ]


def _digests(files: list[Path], count: int) -> frozenset[bytes]:
    """Digests of the last `count` lines; `files` are newest first."""
    digests: set[bytes] = set()
    for path in files:
        with path.open("rb") as file:
            digests.update(deque(map(_digest, file), maxlen=count))
        if len(digests) >= count:
            break
    return frozenset(digests)


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()
