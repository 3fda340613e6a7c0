"""What the store keeps of keys: which changes a cache is told of, what may not be stored, and the key of the hashes."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from config.models import MetadataSettings
from otlp_receiver.hash_key import find_hash_key
from otlp_receiver.keys import NewKey, generate_key
from otlp_receiver.metadata import api_keys
from otlp_receiver.metadata_store import MetadataStore
from pipelines.errors import Permanent
from tests.support.postgres import fresh_database, postgres_server

_HASH_KEY = b"k" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as started:
        yield started


@pytest.fixture
def store(server: str) -> Iterator[MetadataStore]:
    opened = MetadataStore(fresh_database(server))
    opened.open()
    opened.migrate()
    yield opened
    opened.close()


def _made(store: MetadataStore, **options: Any) -> NewKey:
    new = generate_key()
    with store.transaction() as connection:
        given = {"project_id": "default", "scopes": ["ingest"], **options}
        api_keys.create(connection, new, hash_key=_HASH_KEY, actor="test", **given)
    return new


def _do(store: MetadataStore, work: Callable[[psycopg.Connection], Any]) -> Any:
    with store.transaction() as connection:
        return work(connection)


def test_changes_are_counted(store: MetadataStore) -> None:
    """Whatever may take a key away or change it raises the number, by hand too; making and using keys does not."""
    new = _made(store)
    statements = [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET scopes = '{read}'",
        "UPDATE api_keys SET expires_at = now()",
        "DELETE FROM api_keys",
        "TRUNCATE api_keys",
    ]
    assert _do(store, api_keys.changes) == 0
    _do(store, lambda each: api_keys.note_use(each, [new.hash(_HASH_KEY)]))
    assert _do(store, api_keys.keys)[0].last_used_at is not None
    assert _do(store, api_keys.changes) == 0
    for count, statement in enumerate(statements, 1):
        _do(store, lambda each, text=statement: each.execute(text))  # type: ignore[misc]  # a default binds it
        assert _do(store, api_keys.changes) == count


def test_only_valid_keys_are_found(store: MetadataStore) -> None:
    """A key is found by the hash of its secret while it is neither revoked nor expired, with the time that is left."""
    good, revoked = _made(store), _made(store)
    ending, ended = _made(store, lifetime=timedelta(hours=1)), _made(store, lifetime=timedelta(seconds=-1))
    _do(store, lambda each: api_keys.revoke(each, revoked.public_key, "test"))
    hashes = [key.hash(_HASH_KEY) for key in (good, revoked, ending, ended)]

    found = _do(store, lambda each: api_keys.find_valid(each, [*hashes, b"x" * 32, b""]))

    assert {key.public_key for key in found.values()} == {good.public_key, ending.public_key}
    assert found[hashes[0]].valid_seconds is None
    assert 3500 < found[hashes[2]].valid_seconds <= 3600


def test_a_rotated_key_ends_no_later(store: MetadataStore) -> None:
    """Rotation never prolongs the life of the key that it replaces."""
    old, new = _made(store, lifetime=timedelta(hours=1)), generate_key()
    _do(store, lambda each: api_keys.rotate(
        each, old.public_key, new, hash_key=_HASH_KEY, overlap=timedelta(days=7), actor="test"))  # fmt: skip
    found = _do(store, lambda each: api_keys.find_valid(each, [old.hash(_HASH_KEY), new.hash(_HASH_KEY)]))

    assert found[old.hash(_HASH_KEY)].valid_seconds <= 3600
    assert found[new.hash(_HASH_KEY)].valid_seconds is None


@pytest.mark.parametrize(
    "options", [{"scopes": ["write"]}, {"scopes": []}, {"project_id": "missing"}, {"scopes": ["ingest", "admin"]}]
)
def test_what_the_database_refuses(store: MetadataStore, options: dict[str, Any]) -> None:
    """Unknown scopes, none, and unknown projects are no keys, whoever writes them."""
    with pytest.raises(Permanent, match="violates"):
        _made(store, **options)

    assert _do(store, api_keys.keys) == []


class TestHashKey:
    """Where the key of the hashes comes from."""

    def test_of_the_configuration(self, tmp_path: Path) -> None:
        """It comes before a file, and makes none."""
        settings = MetadataSettings(directory=str(tmp_path), hash_key=SecretStr("c" * 32))

        assert find_hash_key(settings) == b"c" * 32
        assert list(tmp_path.iterdir()) == []

    def test_of_the_embedded_store(self, tmp_path: Path) -> None:
        """It is made once, for its owner alone, however many want it at the same time."""
        settings = MetadataSettings(directory=str(tmp_path / "postgres"))
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(find_hash_key(settings))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(found) == 8
        assert len(set(found)) == 1
        assert [path.name for path in (tmp_path / "postgres").iterdir()] == ["hash.key"]
        assert (tmp_path / "postgres" / "hash.key").stat().st_mode & 0o777 == 0o600

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        """Beside a server of one's own there must be one, and a place that is no directory is named."""
        (tmp_path / "file").touch()
        with pytest.raises(Permanent, match=r"metadata\.hash_key is not set"):
            find_hash_key(MetadataSettings(postgres=SecretStr("postgresql://host/db")))
        with pytest.raises(Permanent, match=f"cannot keep the key of the hashes in {tmp_path}/file/hash.key"):
            find_hash_key(MetadataSettings(directory=str(tmp_path / "file")))
