"""`keys import` on a real Postgres: keys of others, their secrets as hashes only, all of a file or nothing of it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from config.access import LEAST_SECRET_CHARS, ApiKeysSettings
from otlp_receiver.api_keys import ApiKeys
from otlp_receiver.imported_keys import may_be_secret, public_fault, secret_fault
from otlp_receiver.keys import generate_key, hash_secret
from otlp_receiver.metadata_access import MetadataAccess, SharedStore
from tests.support.configs import MINIMAL
from tests.support.keyed_load import as_url
from tests.support.postgres import fresh_database, postgres_server
from tests.support.receivers import on_uvloop

_ROOT: Final = Path(__file__).parent.parent
_HASH_KEY: Final = "h" * 32
_LANGFUSE: Final = "sk-lf-8c1f7a52-0b6e-4d3f-9a17-5e2d4c6b8f90"
_STATIC: Final = "7f3c9a1e5b2d8046f1a7c3e9d5b8206417fa3ce9"

_KEYS: Final = f"""\
keys:
  - public_key: pk-lf-1
    secret_key: {_LANGFUSE}
    scopes: [read, ingest]
    expires: 2999-01-31
    note: web shop
  - {{public_key: pk-static, secret_key: "{_STATIC}", project: a}}
"""

Import = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as started:
        yield started


@pytest.fixture
def dsn(server: str) -> str:
    return fresh_database(server)


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Import:
    """The command with a configuration that names the database; `text` becomes the file keys.yaml."""
    (tmp_path / "receiver.yaml").write_text(
        MINIMAL + f"metadata: {{postgres: '{as_url(dsn)}', hash_key: {_HASH_KEY}}}\n"
    )

    def command(*words: str, text: str = "", succeeds: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "keys.yaml").write_text(text)
        file = [str(tmp_path / "keys.yaml")] if text else []
        called = [sys.executable, "-W", "error", "-m", "otlp_receiver", *words, *file]
        done = subprocess.run(
            [*called, "--config", str(tmp_path / "receiver.yaml")],
            cwd=_ROOT, capture_output=True, text=True, check=False, env={"PATH": "", "COLUMNS": "200", **env},
        )  # fmt: skip
        assert (done.returncode == 0) == succeeds, done.stderr
        assert "Traceback" not in done.stderr
        return done

    command("projects", "create", "a")
    return command


def _rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def _imported(dsn: str) -> list[tuple[Any, ...]]:
    shown = "public_key, project_id, scopes, note, expires_at::date::text, display_suffix"
    return _rows(dsn, f"SELECT {shown} FROM api_keys WHERE note <> 'made with the project' ORDER BY public_key")


def _problems(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Line and text of each problem."""
    return [line.partition("keys.yaml:")[2] for line in done.stderr.splitlines()]


def _mistyped() -> str:
    secret = generate_key().secret
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def test_keys_are_taken_over(run: Import, dsn: str) -> None:
    """What a file says of a key is what is stored; of the secret only the hash and its end, and not in the log."""
    said = run("keys", "import", text=_KEYS).stdout

    assert "Took over 2 keys" in said
    assert _imported(dsn) == [
        ("pk-lf-1", "default", ["ingest", "read"], "web shop", "2999-01-31", _LANGFUSE[-4:]),
        ("pk-static", "a", ["ingest"], "", None, _STATIC[-4:]),
    ]
    (digest,) = _rows(dsn, "SELECT secret_hash FROM api_keys WHERE public_key = 'pk-lf-1'")
    assert digest == (hash_secret(_HASH_KEY.encode(), _LANGFUSE),)
    everything = str(_rows(dsn, "SELECT a, l FROM api_keys a, audit_log l")) + said
    assert not [secret for secret in (_LANGFUSE, _STATIC) if secret in everything]
    log = _rows(dsn, "SELECT object, detail->>'project' FROM audit_log WHERE action = 'keys.import' ORDER BY id")
    assert log == [("pk-lf-1", "default"), ("pk-static", "a")]


def test_the_same_again(run: Import, dsn: str) -> None:
    """What is there already, just so, stays; what is new is added; --project and --json say whose and which."""
    run("keys", "import", "--project", "a", text=_KEYS)
    more = _KEYS + f"  - {{public_key: pk-new, secret_key: {generate_key().secret}}}\n"
    lines = run("keys", "import", "--project", "a", "--json", text=more).stdout.splitlines()

    assert [(each["public_key"], each["project_id"], each["is_new"]) for each in map(json.loads, lines)] == [
        ("pk-lf-1", "a", False),
        ("pk-static", "a", False),
        ("pk-new", "a", True),
    ]
    assert len(_imported(dsn)) == 3
    assert _rows(dsn, "SELECT count(*) FROM audit_log WHERE action = 'keys.import'") == [(3,)]


def test_secrets_from_elsewhere(run: Import, dsn: str, tmp_path: Path) -> None:
    """A list without a heading, secrets of the environment and of files, as a configuration has its static keys."""
    (tmp_path / "secret").write_text(_STATIC + "\n")
    text = f"""\
- {{public_key: pk-1, secret_key: "${{env:SECRET}}"}}
- {{public_key: pk-2, secret_key_file: {tmp_path / "secret"}}}
"""
    run("keys", "import", text=text, SECRET=_LANGFUSE)

    assert [row[0] for row in _imported(dsn)] == ["pk-1", "pk-2"]


def test_all_mistakes_at_once(run: Import, dsn: str, tmp_path: Path) -> None:
    """Each is told with its line, none with the secret; nothing of the file is taken over, not even what is good."""
    text = f"""\
keys:
  - {{public_key: pk-good, secret_key: {_LANGFUSE}}}
  - {{public_key: pk-short, secret_key: shortsecret0123456789}}
  - {{public_key: pk-poor, secret_key: {"ab" * 20}}}
  - {{public_key: pk-mistyped, secret_key: {_mistyped()}}}
  - {{public_key: "pk:colon", secret_key: {_STATIC}}}
  - public_key: pk-late
    secret_key: {_STATIC}x
    expires: 2020-01-01
  - {{public_key: pk-scope, secret_key: {_STATIC}y, scopes: [write]}}
  - {{public_key: pk-key, secret: {_STATIC}z}}
  - {{public_key: pk-good, secret_key: {_STATIC}1}}
  - {{public_key: pk-twin, secret_key: {_LANGFUSE}}}
  - {{public_key: pk-file, secret_key_file: {tmp_path / "missing"}}}
  - {{public_key: pk-project, secret_key: {_STATIC}2, project: missing}}
  - 7
"""
    done = run("keys", "import", text=text, succeeds=False)

    expected = [
        ("3:", "keys[1]", "secret_key must have 27 characters"),
        ("4:", "keys[2]::secret_key", "fewer than 8 different characters"),
        ("5:", "keys[3]::secret_key", "check sum is wrong"),
        ("6:", "keys[4]::public_key", "no colon"),
        ("9:", "keys[5]::expires", "has expired already"),
        ("10:", "keys[6]::scopes[0]", "must be one of"),
        ("11:", "keys[7]", "needs either secret_key"),
        ("11:", "keys[7]::secret", "unknown key (did you mean 'secret_key'?)"),
        ("12:", "keys[8]", "has the public key of the key in line 2"),
        ("13:", "keys[9]", "has the secret of the key in line 2"),
        ("14:", "keys[10]::secret_key_file", "cannot be read"),
        ("15:", "keys[11]", "there is no project 'missing'"),
        ("16:", "keys[12]", "expected a mapping"),
    ]
    told = _problems(done)
    assert [(line, path, words) for line, path, words in expected if not any(
        each.startswith(line) and path in each and words in each for each in told
    )] == []  # fmt: skip
    assert len(told) == len(expected)
    assert not [secret for secret in (_LANGFUSE, _STATIC, "shortsecret", "abab") if secret in done.stderr]
    assert _imported(dsn) == []
    assert _rows(dsn, "SELECT count(*) FROM audit_log WHERE action = 'keys.import'") == [(0,)]


def test_they_let_their_owners_in(run: Import, dsn: str) -> None:
    """What was taken over is found by its secret like any other key; what only looks like it is not."""
    run("keys", "import", text=_KEYS)
    shared = SharedStore(MetadataAccess(dsn, _HASH_KEY.encode()))
    authenticator = ApiKeys(ApiKeysSettings(), shared.opened(), shared.hash_key)

    @on_uvloop
    async def find_all() -> None:
        await authenticator.start()
        langfuse, static = await authenticator.find(_LANGFUSE), await authenticator.find(_STATIC)
        assert await authenticator.find(_LANGFUSE[:-1] + "1") is None
        assert await authenticator.find(_mistyped()) is None
        await authenticator.close()
        assert langfuse is not None
        assert static is not None
        assert (langfuse.public_key, langfuse.project_id, sorted(langfuse.scopes)) == (
            "pk-lf-1",
            "default",
            ["ingest", "read"],
        )
        assert (static.public_key, static.project_id, static.valid_seconds) == ("pk-static", "a", None)

    find_all()
    shared.close()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (f"public_key: pk-lf-1, secret_key: {_STATIC}0", "a key with this public key and another secret"),
        (f"public_key: pk-2, secret_key: {_LANGFUSE}", "its secret is that of key 'pk-lf-1'"),
        (f"public_key: pk-static, secret_key: '{_STATIC}'", "is of project 'a', may ingest and does not expire"),
        (f"public_key: pk-lf-1, secret_key: {_LANGFUSE}, scopes: [read, ingest]", "and expires 2999-01-31"),
        (f"public_key: pk-gone, secret_key: {_STATIC}9", "was revoked"),
    ],
)
def test_keys_that_are_there_otherwise(run: Import, dsn: str, key: str, said: str) -> None:
    """A public key or a secret that is there for something else is refused, and what is there does not change."""
    run("keys", "import", text=_KEYS + f"  - {{public_key: pk-gone, secret_key: {_STATIC}9}}\n")
    run("keys", "revoke", "pk-gone")
    before = _imported(dsn)

    (told,) = _problems(run("keys", "import", text=f"- {{{key}}}", succeeds=False))

    assert told.startswith("1:")
    assert said in told
    assert _imported(dsn) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys: []", "holds no keys"),
        ("7", "holds no keys"),
        ("# nothing", "holds no keys"),
        ("a: [", "not valid YAML"),
        ("keys: ${env:MISSING}", "MISSING"),
    ],
)
def test_files_without_keys(run: Import, text: str, said: str) -> None:
    """A file that holds no keys is said to hold none, in one line."""
    (told,) = _problems(run("keys", "import", text=text, succeeds=False))

    assert said in told


def test_what_may_be_a_secret() -> None:
    """Only what could have been taken over is ever looked up, so the rule is one for both."""
    own = generate_key().secret
    assert [may_be_secret(each) for each in (own, _LANGFUSE, _STATIC, "x1y2z3a4" * 25)] == [True] * 4
    wrong = (
        "",
        "garbage",
        _STATIC[: LEAST_SECRET_CHARS - 1],
        "x1y2z3a4" * 26,
        f"{_STATIC} x",
        f"{_STATIC}é",
        own[:-1] + "1",
    )
    assert [each for each in wrong if not secret_fault(each)] == [own[:-1] + "1"]
    assert not may_be_secret(_mistyped())
    assert [bool(public_fault(each)) for each in ("pk-1", "a b", "a:b", "", "é", "x" * 201)] == [False] + [True] * 5
