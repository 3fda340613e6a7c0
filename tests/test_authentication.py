"""Keys in a real Postgres, shown on both transports: who is let in, what others are told, whose the records are."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from config.access import ApiKeysSettings, StaticKeySettings, StaticKeysSettings
from otlp_receiver import key_cache
from otlp_receiver.api_keys import ApiKeys
from otlp_receiver.authentication import Authenticator, authenticate_by
from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.keys import Key, NewKey, generate_key
from otlp_receiver.metadata import api_keys, projects
from otlp_receiver.metadata_access import MetadataAccess, SharedStore
from otlp_receiver.metadata_store import MetadataStore
from otlp_receiver.static_keys import StaticKeys
from pipelines.errors import Permanent
from tests.support.http_client import BODY, PROTOBUF, head, post, raw
from tests.support.postgres import fresh_database, own_postgres, postgres_directory
from tests.support.receivers import (
    EXPORT_METHODS,
    RememberingIntake,
    grpc_channel,
    grpc_server,
    http_server,
    on_uvloop,
    requests_counted,
    until,
)

_HASH_KEY = b"k" * 32
_REFUSED = "the key is not valid: check public and secret key, and whether it was revoked or has expired"


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with own_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> str:
    """A database with the projects `default` and `b`."""
    address = fresh_database(postgres.start())
    store = MetadataStore(address)
    store.open()
    store.migrate()
    with store.transaction() as connection:
        api_keys.check_hash_key(connection, _HASH_KEY)
        projects.create_project(connection, "b", "B", organization_id="default", actor="test")
    store.close()
    return address


def _make(dsn: str, project_id: str = "b", scopes: tuple[str, ...] = ("ingest",), **options: Any) -> NewKey:
    new = generate_key()
    _change(dsn, lambda connection: api_keys.create(
        connection, new, hash_key=_HASH_KEY, project_id=project_id, scopes=scopes, actor="test", **options
    ))  # fmt: skip
    return new


def _change(dsn: str, change: Any) -> Any:
    store = MetadataStore(dsn)
    store.open()
    try:
        with store.transaction() as connection:
            return change(connection)
    finally:
        store.close()


def _basic(public_key: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{public_key}:{secret}".encode()).decode()


@asynccontextmanager
async def _started(authenticator: Authenticator) -> AsyncIterator[Authenticator]:
    await authenticator.start()
    try:
        yield authenticator
    finally:
        await authenticator.close()


@asynccontextmanager
async def _keys_of(dsn: str, hash_key: bytes = _HASH_KEY) -> AsyncIterator[Authenticator]:
    shared = SharedStore(MetadataAccess(dsn, hash_key))
    try:
        async with _started(ApiKeys(ApiKeysSettings(), shared.opened(), shared.hash_key)) as authenticator:
            yield authenticator
    finally:
        shared.close()


async def _over_http(server: Any, headers: dict[str, str]) -> tuple[int, str, Any]:
    """Status, text and headers of the answer to a good request with these headers."""
    async with post(server, BODY, **headers) as response:
        body = await response.read()
        message = "" if response.status == 200 else Status.FromString(body).message
        return response.status, message, response.headers


async def _over_grpc(server: Any, metadata: dict[str, str]) -> tuple[grpc.StatusCode, str]:
    async with grpc_channel(server) as channel:
        try:
            await channel.unary_unary(EXPORT_METHODS["traces"])(BODY, metadata=tuple(metadata.items()), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


@asynccontextmanager
async def _receivers(
    started: AbstractAsyncContextManager[Authenticator],
) -> AsyncIterator[tuple[RememberingIntake, Any, Any]]:
    """Both receivers behind an authenticator."""
    async with started as authenticator:
        intake, authenticate = RememberingIntake(), authenticate_by(authenticator, "ingest")
        async with (
            http_server(intake, authenticate=authenticate) as http,
            grpc_server(intake, authenticate=authenticate) as rpc,
        ):
            yield intake, http, rpc


def test_the_key_gives_the_project(dsn: str) -> None:
    """In each of three ways and on both transports the key decides, whatever else the request names."""
    key = _make(dsn)
    ways = [
        {"authorization": _basic(key.public_key, key.secret)},
        {"authorization": f"Bearer {key.secret}"},
        {"x-api-key": key.secret},
        {"authorization": f"Bearer {key.secret}", "x-project-id": "default", "x-scope-orgid": "default"},
    ]

    @on_uvloop
    async def run() -> None:
        async with _receivers(_keys_of(dsn)) as (intake, http, rpc):
            for way in ways:
                assert (await _over_http(http, way))[0] == 200
                assert (await _over_grpc(rpc, way))[0] is grpc.StatusCode.OK
        assert [request.project_id for request in intake.consumed] == ["b"] * 2 * len(ways)

    run()


def test_wrong_keys_are_told_the_same(dsn: str) -> None:
    """Unknown, mismatching, revoked and expired keys get one answer, so that it says nothing of which keys exist."""
    good, revoked, expired = _make(dsn), _make(dsn), _make(dsn, lifetime=timedelta(seconds=-1))
    _change(dsn, lambda connection: api_keys.revoke(connection, revoked.public_key, "test"))
    wrong = [
        f"Bearer {generate_key().secret}",
        f"Bearer {good.secret[:-1]}{'x' if good.secret[-1] != 'x' else 'y'}",
        f"Bearer {good.public_key}",
        _basic(good.public_key, generate_key().secret),
        _basic(revoked.public_key, good.secret),
        _basic("", good.secret),
        _basic(good.secret, good.public_key),
        _basic(good.public_key, "' OR true --"),
        f"Bearer {revoked.secret}",
        _basic(revoked.public_key, revoked.secret),
        f"Bearer {expired.secret}",
    ]

    @on_uvloop
    async def run() -> None:
        async with _receivers(_keys_of(dsn)) as (intake, http, rpc):
            for authorization in wrong:
                status, message, headers = await _over_http(http, {"authorization": authorization})
                assert (status, message) == (401, _REFUSED)
                assert headers["WWW-Authenticate"].startswith('Basic realm="otlp-receiver"')
                assert "Retry-After" not in headers
                told = await _over_grpc(rpc, {"authorization": authorization})
                assert told == (grpc.StatusCode.UNAUTHENTICATED, _REFUSED)
        assert intake.consumed == []

    run()


def test_a_key_without_the_scope(dsn: str) -> None:
    """It is told which scope it lacks, with the codes that say so, and the outcome is counted."""
    key = _make(dsn, scopes=("read",))

    @on_uvloop
    async def run() -> None:
        before = requests_counted("http", "traces", "forbidden")
        async with _receivers(_keys_of(dsn)) as (_, http, rpc):
            status, message, _headers = await _over_http(http, {"x-api-key": key.secret})
            assert (status, message) == (403, "the key lacks the scope ingest: it has read")
            assert (await _over_grpc(rpc, {"x-api-key": key.secret}))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert requests_counted("http", "traces", "forbidden") == before + 1

    run()


@on_uvloop
async def test_without_a_key_no_body_is_read(tmp_path: Path) -> None:
    """A sender without a good key is answered before it has sent any of the body that it announces."""
    path = tmp_path / "secret"
    path.write_text("s" * 40)
    settings = StaticKeysSettings(keys=(StaticKeySettings(public_key="pk", secret_key_file=str(path)),))
    async with _receivers(_started(StaticKeys(settings))) as (intake, http, _), raw(http) as client:
        await client.send(head(60_000_000, "Authorization: Bearer no"))
        status, headers, body = await client.response()

    assert (status, headers["content-type"]) == (401, PROTOBUF)
    assert Status.FromString(body).code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert intake.consumed == []


def test_revocation_is_honoured(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that works is refused once it is revoked, by the look-ups in the background alone; its use is noted."""
    monkeypatch.setattr(key_cache, "_TICK_SECONDS", 0.05)
    monkeypatch.setattr(key_cache, "_REFRESH_SECONDS", 0.0)
    key = _make(dsn)

    @on_uvloop
    async def run() -> None:
        async with _receivers(_keys_of(dsn)) as (_, http, _rpc):
            assert (await _over_http(http, {"x-api-key": key.secret}))[0] == 200
            (shown,) = await asyncio.to_thread(_change, dsn, api_keys.keys)
            while shown.last_used_at is None:
                (shown,) = await asyncio.to_thread(_change, dsn, api_keys.keys)
            await asyncio.to_thread(_change, dsn, lambda each: api_keys.revoke(each, key.public_key, "test"))
            while (await _over_http(http, {"x-api-key": key.secret}))[0] == 200:
                pass
            assert (await _over_http(http, {"x-api-key": key.secret}))[0] == 401

    run()


def test_postgres_stops_and_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile keys seen before work, others are told to try again, never that they are wrong; then all work."""
    monkeypatch.setattr(key_cache, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(key_cache, "_TICK_SECONDS", 0.1)
    with postgres_directory() as directory:
        server = EmbeddedPostgres(directory)
        dsn = server.start()
        store = MetadataStore(dsn)
        store.open()
        store.migrate()
        store.close()
        seen, unseen = _make(dsn, "default"), _make(dsn, "default")

        @on_uvloop
        async def run() -> None:
            async with _receivers(_keys_of(dsn)) as (_, http, rpc):
                assert (await _over_http(http, {"x-api-key": seen.secret}))[0] == 200
                await asyncio.to_thread(server.stop)
                for _ in range(5):
                    assert (await _over_http(http, {"x-api-key": seen.secret}))[0] == 200
                    status, message, headers = await _over_http(http, {"x-api-key": unseen.secret})
                    assert (status, headers["Retry-After"]) == (503, "1")
                    assert message.endswith("try again")
                    told = await _over_grpc(rpc, {"x-api-key": generate_key().secret})
                    assert told[0] is grpc.StatusCode.UNAVAILABLE
                assert (await _over_http(http, {"x-api-key": "garbage"}))[0] == 401
                await asyncio.to_thread(server.start)
                while (await _over_http(http, {"x-api-key": unseen.secret}))[0] == 503:
                    pass
                assert (await _over_http(http, {"x-api-key": unseen.secret}))[0] == 200
                assert (await _over_http(http, {"x-api-key": generate_key().secret}))[0] == 401

        run()
        server.stop()


def test_another_hash_key_refuses_nobody(dsn: str) -> None:
    """With a hash key that is not the database's, senders are told to try again: a mistake of ours is not theirs."""
    key = _make(dsn)

    @on_uvloop
    async def run() -> None:
        async with _receivers(_keys_of(dsn, b"other" * 8)) as (_, http, _rpc):
            assert (await _over_http(http, {"x-api-key": key.secret}))[0] == 503

    run()
    with pytest.raises(Permanent, match=r"metadata\.hash_key is not the one"):
        _change(dsn, lambda connection: api_keys.check_hash_key(connection, b"other" * 8))


def test_guessing_does_not_reach_postgres(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage is refused without a query; well-formed guesses share queries, one at a time."""
    queries: list[int] = []
    find_valid = api_keys.find_valid

    def counting(connection: Any, digests: Sequence[bytes]) -> dict[bytes, Key]:
        queries.append(len(digests))
        return find_valid(connection, digests)

    monkeypatch.setattr(api_keys, "find_valid", counting)

    @on_uvloop
    async def run() -> None:
        async with _keys_of(dsn) as authenticator:
            for number in range(1000):
                assert await authenticator.find(f"sk-guess-{number}") is None
            assert queries == []
            guesses = [generate_key().secret for _ in range(900)]
            assert await asyncio.gather(*map(authenticator.find, guesses)) == [None] * 900
            assert await asyncio.gather(*map(authenticator.find, guesses)) == [None] * 900
            assert sum(queries) == 900
            assert len(queries) <= 2

    run()


@on_uvloop
async def test_static_keys(tmp_path: Path) -> None:
    """Keys of the configuration, from values and files, work as those of a database do."""
    path = tmp_path / "secret"
    path.write_text("f" * 40 + "\n")
    settings = StaticKeysSettings(
        keys=(
            StaticKeySettings.model_validate({"public_key": "pk-v", "secret_key": "v" * 40, "project": "values"}),
            StaticKeySettings(public_key="pk-f", secret_key_file=str(path), scopes=("read",)),
        )
    )
    async with _receivers(_started(StaticKeys(settings))) as (intake, http, _):
        assert (await _over_http(http, {"authorization": _basic("pk-v", "v" * 40)}))[0] == 200
        assert (await _over_http(http, {"authorization": _basic("pk-f", "v" * 40)}))[0] == 401
        assert (await _over_http(http, {"x-api-key": "f" * 40}))[0] == 403
        assert (await _over_http(http, {"x-api-key": "x" * 40}))[0] == 401
        await until(lambda: len(intake.consumed) == 1)

    assert intake.consumed[0].project_id == "values"


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "No such file"), ("short", "must have 27 characters or more"), ("v" * 40, "have the same secret")],
)
@on_uvloop
async def test_static_keys_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    """A file that is not there, a secret that is too short, one that two keys have: the start fails and says so."""
    path = tmp_path / "secret"
    if text is not None:
        path.write_text(text)
    keys = (
        StaticKeySettings.model_validate({"public_key": "pk-v", "secret_key": "v" * 40}),
        StaticKeySettings(public_key="pk-f", secret_key_file=str(path)),
    )
    with pytest.raises(Permanent, match=said):
        await StaticKeys(StaticKeysSettings(keys=keys)).start()
