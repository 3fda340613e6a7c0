"""One SQLite file shared by several processes: opening it, setting a damaged one aside, naming what went wrong.

Why SQLite may be trusted with promise 1: in WAL mode with synchronous=FULL every commit is fsynced, and a torn tail of
the log is found by its checksums and ignored (https://sqlite.org/walformat.html).
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from pipelines.durable import fsync_directory, make_directory
from pipelines.errors import Permanent, Retryable

PAGE_BYTES: Final = 16384  # measured: fastest from one small row a commit to megabytes, and 9 % overhead on small ones
LOCK_TIMEOUT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.0005
_SHORTEN_SECONDS: Final = 0.05  # our own readers take some milliseconds; a stranger's must not hold up appends
_RESERVE_BYTES: Final = 4 << 20
_RESERVE_SHARE: Final = 16  # of small disks
_VERSION: Final = 1
_SETTINGS: Final = f"""
PRAGMA page_size = {PAGE_BYTES};
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON; -- on macOS fsync alone leaves the data in the drive
PRAGMA secure_delete = OFF; -- some builds overwrite what is deleted by default: that would be logged once more
"""
_TABLES: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS schemas (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, arrow BLOB NOT NULL, UNIQUE (kind, arrow)
);
CREATE TABLE IF NOT EXISTS cursors (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY, schema INTEGER NOT NULL, rows INTEGER NOT NULL, received_at_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
"""
# Where damage would stop all reading; the rest of a large file is not worth the time at every start.
_PROBES: Final = (
    "SELECT max(position) FROM cursors",
    "SELECT max(position) FROM entries",
    "SELECT min(position) FROM entries",
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CAUSES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free space on it",
    sqlite3.SQLITE_IOERR: "the disk does not take or give the data; check free space, quota and the disk itself",
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {LOCK_TIMEOUT_SECONDS:.0f} s; find what holds it",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restart the service, which sets it aside and starts a new one",
    sqlite3.SQLITE_NOTADB: "the file is damaged; restart the service, which sets it aside and starts a new one",
    sqlite3.SQLITE_READONLY: "it is read-only; make file and directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; make file and directory writable for this user",
}
_log = structlog.get_logger("buffer")


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into `Retryable`, naming place, cause and cure; a damaged file is remembered."""
    try:
        yield
    except sqlite3.Error as error:
        code = _primary_code(error)
        if code in _DAMAGED:
            with suppress(OSError):  # the mark only helps the next start; the error itself is what counts now
                _damage_mark(path).touch()
        cause = _CAUSES.get(code, "SQLite refuses")
        raise Retryable(f"buffer file {path}: {cause} ({error})") from error


def open_shared(path: Path) -> int:
    """Makes `path` a sound buffer file and returns a lock that says that this process uses it; release by os.close.

    A file that is not a sound database is renamed, with an ERROR log, if no other process uses it.

    Raises:
        Permanent: it cannot be created, is damaged while in use, or belongs to something else.
    """
    try:
        make_directory(path.parent, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Permanent(
            f"buffer directory {path.parent} is not writable ({error}); "
            "make it writable for this user or set another `directory` under `buffers`"
        ) from error
    try:
        _prepare(path, alone=_try_lock(lock))
        fcntl.flock(lock, fcntl.LOCK_SH)
    except BaseException:
        os.close(lock)
        raise
    return lock


def connect(path: Path, checkpoint_bytes: int) -> sqlite3.Connection:
    """A connection for use under a lock of the caller's; see `checkpoint_after` for `checkpoint_bytes`.

    Raises:
        Permanent: the file system cannot share a log between processes.
        sqlite3.Error: the file is damaged, or cannot be opened.
    """
    connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.executescript(_SETTINGS)
        connection.execute(f"PRAGMA journal_size_limit = {2 * checkpoint_bytes}")
        checkpoint_after(connection, checkpoint_bytes)
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            raise Permanent(f"buffer file {path}: its file system cannot hold a shared log; use a local disk")
        undo.pop_all()
    return connection


def connect_writer(path: Path, checkpoint_bytes: int) -> sqlite3.Connection:
    """A connection for `transaction`, which does the waiting.

    SQLite's own waiting sleeps up to 100 ms a time and starves whoever waits longest: of three busy processes one had 1
    commit a second where it now has 24, and under half load an append took ten times as long.
    """
    connection = connect(path, checkpoint_bytes)
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


def checkpoint_after(connection: sqlite3.Connection, log_bytes: int) -> None:
    """A commit of this connection copies the log to the file when the log is that large."""
    connection.execute(f"PRAGMA wal_autocheckpoint = {max(1, log_bytes // PAGE_BYTES)}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction, durable when the block is left, undone when it raises."""
    _begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def log_bytes(path: Path) -> int:
    """Size of the log beside the file."""
    try:
        return Path(f"{path}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def room_bytes(path: Path) -> int:
    """What the disk has left, less a reserve: who moves on what is stored needs some space before any is given back."""
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize - min(_RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _RESERVE_SHARE)


def shorten_log(connection: sqlite3.Connection, path: Path, max_bytes: int) -> None:
    """Empties a log that has grown beyond `max_bytes`, because some reader or writer was always busy with it."""
    deadline = time.monotonic() + _SHORTEN_SECONDS
    with suppress(sqlite3.Error):  # nothing is lost: it is tried again before the next write
        while log_bytes(path) > max_bytes and time.monotonic() < deadline:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            time.sleep(_POLL_SECONDS)


def shrink(connection: sqlite3.Connection, max_pages: int) -> None:
    """Gives unused pages back to the file system if there are more than `max_pages`, that many in one go."""
    with suppress(sqlite3.Error):  # nothing is lost: it is tried again
        if connection.execute("PRAGMA freelist_count").fetchone()[0] > max_pages:
            # Not by execute(): that takes a single step of this pragma, which frees a single page.
            connection.executescript(f"PRAGMA incremental_vacuum({max_pages})")


def _begin(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_POLL_SECONDS)


def _try_lock(lock: int) -> bool:
    """True when no other process has the file open; False after waiting for one that is just preparing it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_SH)
        return False
    return True


def _prepare(path: Path, *, alone: bool) -> None:
    try:
        if _damage_mark(path).exists() and alone:
            _set_aside(path, "damage was found while it was in use")
        _create_tables(path)
    except sqlite3.Error as error:
        if _primary_code(error) not in _DAMAGED:
            cause = _CAUSES.get(_primary_code(error), "SQLite refuses")
            raise Permanent(f"buffer file {path}: {cause} ({error})") from error
        if not alone:
            raise Permanent(
                f"buffer file {path} is damaged ({error}) and in use by another process; "
                "stop them all and start again: the file is then set aside and a new one begun"
            ) from error
        _set_aside(path, str(error))
        _create_tables(path)
    fsync_directory(path.parent)


def _create_tables(path: Path) -> None:
    with closing(connect(path, PAGE_BYTES)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version > _VERSION or (version == 0 and tables):
            raise Permanent(
                f"buffer file {path} was written by a newer version or another program (version {version}, "
                f"known is {_VERSION}); set another `directory` under `buffers`"
            )
        if version < _VERSION:
            connection.executescript(_TABLES)
        for probe in _PROBES:
            connection.execute(probe).fetchone()


def _set_aside(path: Path, reason: str) -> None:
    """Renames the file and its log, which may be the only copy of acknowledged rows; `sqlite3 .recover` may read it."""
    kept = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    # The file last: SQLite deletes a log that it finds beside a new file, should this process be killed in between.
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{kept}{suffix}")
    _damage_mark(path).unlink(missing_ok=True)
    _log.error(
        "The buffer file is damaged; it was set aside and a new one begun. Rows in it were acknowledged and are not "
        "exported: try `sqlite3 FILE .recover`.",
        file=str(path),
        kept_as=str(kept),
        reason=reason,
    )


def _damage_mark(path: Path) -> Path:
    return Path(f"{path}.damaged")


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's error code without its detail; raises the error again if it is not SQLite's but a misuse of it."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        raise error
    return code & 0xFF
