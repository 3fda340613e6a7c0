"""The directory of the embedded ClickHouse: made ready, waited for, and the server settings it is opened with."""

import fcntl
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from pipelines.durable import make_directory
from pipelines.errors import Permanent, Retryable

PROJECT_SETTING: Final = "log_comment"
"""What names the one project whose rows a connection sees; empty = all. chDB knows no settings of our own, and this one
does nothing else here."""
READER: Final = "reader"
"""Role that may read our database and nothing else: no files, no network, no other tables, no writing."""

_LOCK_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05

_CONFIG: Final = """<clickhouse>
  <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <index_mark_cache_size>16777216</index_mark_cache_size>
  <primary_index_cache_size>67108864</primary_index_cache_size>
  <query_condition_cache_size>16777216</query_condition_cache_size>
  <compiled_expression_cache_size>16777216</compiled_expression_cache_size>
  <merge_tree>
    <!-- Durable on return. What merges write is not synced: their sources stay for 8 minutes, far longer than the
         kernel keeps pages to itself. -->
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <!-- One file a part instead of some 300 until it is large: a third less time per insert. -->
    <min_bytes_for_wide_part>268435456</min_bytes_for_wide_part>
  </merge_tree>
  <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
</clickhouse>
"""

# The one user holds its rights by roles, so that a connection can lay them down with SET ROLE.
_USERS: Final = """<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <roles>
    <owner><grants><query>GRANT ALL ON *.*</query></grants></owner>
    <{reader}><grants>
      <query>GRANT SELECT ON {database}.*</query>
      <query>GRANT SHOW ON {database}.*</query>
    </grants></{reader}>
  </roles>
  <users><default>
    <no_password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants><query>GRANT owner</query><query>GRANT {reader}</query></grants>
    <databases><{database}>{filters}</{database}></databases>
  </default></users>
</clickhouse>
"""


def make_ready(path: str) -> Path:
    """Creates the directory; returns it once no other process has it open.

    Raises:
        Permanent: it cannot be created or written to.
        Retryable: another process kept it open for ten seconds.
    """
    directory = Path(path).absolute()
    if "?" in str(directory):  # the rest would be taken for settings
        raise Permanent(f"chDB directory {directory}: its path must not contain a question mark; choose another path")
    try:
        make_directory(directory)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        reason = error.strerror or error
        raise Permanent(f"chDB directory {directory} cannot be written to: {reason}; choose another path") from error
    _wait_for_lock(directory)
    return directory


@contextmanager
def server_settings(max_memory_mib: int, database: str, tables: Iterable[str]) -> Iterator[Path]:
    """A configuration file for the server, to be removed when it has been read.

    Every one of the tables, which all have a project_id, gets a row policy: whatever reads it, through whatever view,
    join or subquery, sees the rows of the connection's project only.
    """
    mine = f"getSetting('{PROJECT_SETTING}') = '' OR project_id = getSetting('{PROJECT_SETTING}')"
    filters = "".join(f"<{table}><filter>{mine}</filter></{table}>" for table in tables)
    with tempfile.TemporaryDirectory(prefix="chdb-settings-") as directory:
        users = Path(directory, "users.xml")
        users.write_text(_USERS.format(reader=READER, database=database, filters=filters), encoding="utf-8")
        config = Path(directory, "config.xml")
        config.write_text(_CONFIG.format(memory_bytes=max_memory_mib << 20, users=users), encoding="utf-8")
        yield config


def _wait_for_lock(directory: Path) -> None:
    """A process that is just being replaced needs a moment to end; chDB itself would not wait."""
    deadline = time.monotonic() + _LOCK_SECONDS
    owner = _owner(directory)
    if owner:
        structlog.get_logger("chdb").warning(
            "The chDB directory is in use by another process; waiting for it.", directory=str(directory), owner=owner
        )
    while owner:
        if time.monotonic() > deadline:
            raise Retryable(
                f"chDB directory {directory} is in use by another process ({owner}); "
                "stop it, or give this exporter another path"
            )
        time.sleep(_POLL_SECONDS)
        owner = _owner(directory)


def _owner(directory: Path) -> str:
    """What the server that holds the directory says of itself, empty when none does.

    A server holds `flock` on its file `status`, whose first line is `PID: <number>`.
    """
    try:
        with (directory / "status").open("rb") as status:
            try:
                fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return status.readline(100).decode("utf-8", "replace").strip() or "PID unknown"
    except FileNotFoundError:
        pass
    return ""
