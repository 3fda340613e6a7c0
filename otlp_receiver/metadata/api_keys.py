"""API keys: what senders and readers show, and which project it stands for. Secrets are here as hashes only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from otlp_receiver.keys import Key, NewKey, hash_secret
from otlp_receiver.metadata import audit
from otlp_receiver.metadata.projects import existing_project
from pipelines.errors import Permanent

_HASH_KEY_PROBE: Final = "otlp-receiver"
_SAME: Final = (
    "SELECT public_key, secret_hash, project_id, scopes, expires_at, revoked_at FROM api_keys"
    " WHERE public_key = %s OR secret_hash = %b"
)
_SHOWN: Final = "public_key, display_suffix, project_id, scopes, note, created_at, expires_at, last_used_at, revoked_at"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as people see it.

    Attributes:
        public_key: names it.
        display_suffix: the end of its secret.
        project_id: what it stands for.
        scopes: what it may do.
        note: whose it is, or what for.
        created_at: with time zone, as all times.
        expires_at: from when on it is refused; None = never.
        last_used_at: to some minutes; None = never used.
        revoked_at: when it was revoked; None = it was not.
    """

    public_key: str
    display_suffix: str
    project_id: str
    scopes: list[str]
    note: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class GivenKey:
    """A key that others have made, to be taken over.

    Attributes:
        key: with its secret.
        project_id: what it is to stand for.
        scopes: what it may do, in the order of the alphabet.
        note: whose it is, or what for.
        expires_at: from when on it is refused, with time zone; None = never.
    """

    key: NewKey
    project_id: str
    scopes: tuple[str, ...]
    note: str = ""
    expires_at: datetime | None = None


def check_hash_key(connection: psycopg.Connection, hash_key: bytes) -> None:
    """Make sure that this is the key under which the secrets were hashed; the first one that comes is.

    Raises:
        Permanent: it is another. Every sender would be refused, and throw its data away.
    """
    expected = hash_secret(hash_key, _HASH_KEY_PROBE)
    row = connection.execute("SELECT hash FROM hash_key_check").fetchone()
    if row is None:
        connection.execute("INSERT INTO hash_key_check (hash) VALUES (%s)", [expected])
    elif not compare_digest(bytes(row[0]), expected):
        raise Permanent(
            "metadata.hash_key is not the one that the keys of this database were stored with: put that one back, "
            "or make new keys after `DELETE FROM hash_key_check; UPDATE api_keys SET revoked_at = now()`"
        )


def find_valid(connection: psycopg.Connection, hashes: Sequence[bytes]) -> dict[bytes, Key]:
    """The keys with these hashes that may be used now."""
    rows = connection.execute(
        "SELECT secret_hash, public_key, project_id, scopes,"
        " extract(epoch FROM expires_at - now())::float8 FROM valid_api_keys WHERE secret_hash = ANY(%b)",
        [list(hashes)],
    ).fetchall()
    return {
        bytes(digest): Key(public_key, project_id, frozenset(scopes), valid_seconds)
        for digest, public_key, project_id, scopes, valid_seconds in rows
    }


def changes(connection: psycopg.Connection) -> int:
    """A number that grows whenever a key that was found may have become another, or none; expiry is no change."""
    row = connection.execute("SELECT number FROM api_key_changes").fetchone()
    if row is None:
        raise Permanent("table api_key_changes is empty: INSERT INTO api_key_changes DEFAULT VALUES")
    return int(row[0])


def note_use(connection: psycopg.Connection, hashes: Sequence[bytes]) -> None:
    """Remember that these keys were used just now; at most once in some minutes each, since a write costs more."""
    connection.execute(
        "UPDATE api_keys SET last_used_at = now() WHERE secret_hash = ANY(%b)"
        " AND (last_used_at IS NULL OR last_used_at < now() - interval '5 minutes')",
        [list(hashes)],
    )


def create(
    connection: psycopg.Connection,
    new: NewKey,
    *,
    hash_key: bytes,
    project_id: str,
    scopes: Sequence[str],
    note: str = "",
    lifetime: timedelta | None = None,
    actor: str,
) -> None:
    """Add a key to a project that exists; from now on its secret is known to nobody but its owner."""
    connection.execute(
        "INSERT INTO api_keys (project_id, public_key, secret_hash, display_suffix, scopes, note, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, now() + %s::interval)",
        [project_id, new.public_key, new.hash(hash_key), new.display_suffix, list(scopes), note, lifetime],
    )
    audit.record(connection, actor, "keys.create", new.public_key, project=project_id, scopes=list(scopes), note=note)


def take_over(connection: psycopg.Connection, given: GivenKey, *, hash_key: bytes, actor: str) -> bool:
    """Add a key that others have made; False when it is there already, the same in all but its note.

    Raises Permanent when there is no such project, or something else is there under its public key or its secret.
    """
    existing_project(connection, given.project_id)
    key, digest = given.key, given.key.hash(hash_key)
    found = connection.execute(_SAME, [key.public_key, digest]).fetchall()
    if found:
        _check_same(given, digest, found)
        return False
    connection.execute(
        "INSERT INTO api_keys (project_id, public_key, secret_hash, display_suffix, scopes, note, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [given.project_id, key.public_key, digest, key.display_suffix, list(given.scopes), given.note,
         given.expires_at],
    )  # fmt: skip
    audit.record(connection, actor, "keys.import", key.public_key, project=given.project_id, scopes=list(given.scopes),
                 note=given.note)  # fmt: skip
    return True


def _check_same(given: GivenKey, digest: bytes, found: Sequence[tuple[Any, ...]]) -> None:
    for public_key, secret_hash, project_id, scopes, expires_at, revoked_at in found:
        if public_key != given.key.public_key:
            raise Permanent(f"its secret is that of key {public_key!r}, which is there already")
        if not compare_digest(bytes(secret_hash), digest):
            raise Permanent("a key with this public key and another secret is there already")
        if revoked_at is not None:
            raise Permanent("it is there already, and was revoked: leave it out, or make a new one with `keys create`")
        if (project_id, tuple(sorted(scopes)), expires_at) != (given.project_id, given.scopes, given.expires_at):
            expiry = f"expires {expires_at:%Y-%m-%d}" if expires_at else "does not expire"
            raise Permanent(
                f"it is there already, is of project {project_id!r}, may {', '.join(scopes)} and {expiry}: "
                "say the same, or leave it out"
            )


def keys(connection: psycopg.Connection, project_id: str | None = None) -> list[ApiKey]:
    """Those of a project, or all; the latest last."""
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        chosen = "WHERE %(project)s::text IS NULL OR project_id = %(project)s ORDER BY id"
        query = f"SELECT {_SHOWN} FROM api_keys {chosen}"  # noqa: S608 - our own names
        return cursor.execute(query, {"project": project_id}).fetchall()


def revoke(connection: psycopg.Connection, public_key: str, actor: str) -> None:
    """Refuse it from now on; safe to repeat. Raises Permanent when there is no such key."""
    _locked(connection, public_key)
    changed = connection.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE public_key = %s AND revoked_at IS NULL", [public_key]
    )
    if changed.rowcount:
        audit.record(connection, actor, "keys.revoke", public_key)


def rotate(
    connection: psycopg.Connection, public_key: str, new: NewKey, *, hash_key: bytes, overlap: timedelta, actor: str
) -> ApiKey:
    """Put `new` in the place of a valid key, which itself works for `overlap` more; returns the old one as it was.

    The new key never expires by itself. Raises Permanent when there is no such key, or it is not valid any more.
    """
    old = _locked(connection, public_key)
    ended = connection.execute(
        "UPDATE valid_api_keys SET expires_at = least(expires_at, now() + %s) WHERE public_key = %s",
        [overlap, public_key],
    )
    if not ended.rowcount:
        raise Permanent(f"key {public_key!r} is revoked or has expired: make a new one with `keys create`")
    audit.record(connection, actor, "keys.rotate", public_key, successor=new.public_key)
    create(connection, new, hash_key=hash_key, project_id=old.project_id, scopes=old.scopes, note=old.note, actor=actor)
    return old


def _locked(connection: psycopg.Connection, public_key: str) -> ApiKey:
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        query = f"SELECT {_SHOWN} FROM api_keys WHERE public_key = %s FOR UPDATE"  # noqa: S608 - our own names
        found = cursor.execute(query, [public_key]).fetchone()
    if found is None:
        raise Permanent(f"there is no key {public_key!r}: `keys list` shows those that are there")
    return found
