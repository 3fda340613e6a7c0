"""orgs, projects, keys, prices and quotas on the command line, on a real Postgres: what they print and leave behind."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest

from otlp_receiver.keys import hash_secret, is_well_formed
from tests.support.configs import MINIMAL
from tests.support.keyed_load import as_url
from tests.support.postgres import fresh_database, postgres_directory, postgres_server

_ROOT = Path(__file__).parent.parent
_HASH_KEY = "h" * 32
_PRICES = """
prices:
  - model: acme/.*
    valid_from: 2026-01-01
    usd_per_million_tokens: {input: 1.20, output: 4.80}
    tiers: [{above_input_tokens: 200000, usd_per_million_tokens: {input: 2}}]
  - model: other
    usd_per_million_tokens: {input: 0}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as started:
        yield started


@pytest.fixture
def dsn(server: str) -> str:
    return fresh_database(server)


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Run:
    """The command with a configuration that names the database."""
    file = tmp_path / "receiver.yaml"
    file.write_text(MINIMAL + f"metadata: {{postgres: '{as_url(dsn)}', hash_key: {_HASH_KEY}}}\n")

    def command(*words: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        called = [sys.executable, "-W", "error", "-m", "otlp_receiver", *words, "--config", str(file)]
        done = subprocess.run(called, cwd=_ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == succeeds, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return command


def _lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def _rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def _change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statement.encode())


def test_a_project_and_its_key(run: Run, dsn: str) -> None:
    """A project comes with a key, whose variables are what SDKs take; only the hash of the secret is stored."""
    (made,) = _lines(run("projects", "create", "Check Out!", "--json", "--retention-days", "30"))
    variables, secret = made["environment"], made["secret_key"]
    name, _, header = variables["OTEL_EXPORTER_OTLP_HEADERS"].partition("=")
    scheme, _, pair = unquote(header).partition(" ")

    assert (made["project_id"], is_well_formed(secret)) == ("check-out", True)
    assert (name, scheme) == ("Authorization", "Basic")
    assert base64.b64decode(pair).decode() == f"{made['public_key']}:{secret}"
    assert not set(header) & set(' ,;="\\')
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == variables["LANGFUSE_BASE_URL"] == "http://127.0.0.1:4318"
    assert (variables["LANGFUSE_PUBLIC_KEY"], variables["LANGFUSE_SECRET_KEY"]) == (made["public_key"], secret)
    assert _rows(dsn, "SELECT id, name, retention_days FROM projects WHERE id <> 'default'") == [
        ("check-out", "Check Out!", 30)
    ]
    ((project_id, digest, suffix, scopes),) = _rows(
        dsn, "SELECT project_id, secret_hash, display_suffix, scopes FROM api_keys"
    )
    assert (project_id, digest, scopes) == ("check-out", hash_secret(_HASH_KEY.encode(), secret), ["ingest"])
    assert suffix == secret[-4:]
    assert secret not in str(_rows(dsn, "SELECT * FROM audit_log"))


def test_retention(run: Run, dsn: str) -> None:
    """Days are set, changed and taken away, each change in the log; more than an exporter keeps is refused."""
    longer = ["--set", "exporters.chdb.ttl_days=90"]
    run("projects", "create", "a", "--retention-days", "90", *longer)
    (changed,) = _lines(run("projects", "set", "a", "--retention-days", "7", "--json"))
    refused = [
        run("projects", "set", "a", "--retention-days", "91", *longer, succeeds=False).stderr,
        run("projects", "create", "b", "--retention-days", "91", *longer, succeeds=False).stderr,
    ]

    assert (changed["id"], changed["retention_days"]) == ("a", 7)
    assert ["exporter chdb keeps records for 90 days" in said for said in refused] == [True, True]
    assert "as long as the exporter keeps any" in run("projects", "set", "a", "--retention-days", "0").stdout
    assert _rows(dsn, "SELECT retention_days FROM projects WHERE id = 'a'") == [(None,)]
    assert _rows(dsn, "SELECT detail FROM audit_log WHERE action = 'projects.set' ORDER BY id") == [
        ({"retention_days": 7, "former_retention_days": 90},),
        ({"retention_days": None, "former_retention_days": 7},),
    ]


def test_variables_for_people(run: Run) -> None:
    """Without --json there are lines to paste into a shell; the secret is in none of the lists afterwards."""
    said = run("projects", "create", "a", "--endpoint", "https://otel.example.com/").stdout
    secret = next(line.partition("=")[2] for line in said.splitlines() if "LANGFUSE_SECRET_KEY" in line)

    assert "export OTEL_EXPORTER_OTLP_ENDPOINT=https://otel.example.com\n" in said
    assert "shown this one time" in said
    listed = run("keys", "list").stdout
    assert f"…{secret[-4:]}" in listed
    assert secret not in listed + run("keys", "list", "--json").stdout


def test_the_life_of_a_key(run: Run) -> None:
    """A key is made, takes another's place while that works for a while, and is revoked."""
    run("projects", "create", "a")
    wanted = ["--scope", "read", "--scope", "ingest", "--note", "grafana", "--expires", "90d"]
    (made,) = _lines(run("keys", "create", "--project", "a", *wanted, "--json"))
    (next_one,) = _lines(run("keys", "rotate", made["public_key"], "--overlap", "2h", "--json"))
    run("keys", "revoke", next_one["public_key"])
    listed = {key["public_key"]: key for key in _lines(run("keys", "list", "--project", "a", "--json"))}
    old, new = listed[made["public_key"]], listed[next_one["public_key"]]

    assert len(listed) == 3
    assert (old["scopes"], old["note"], old["revoked_at"]) == (["ingest", "read"], "grafana", None)
    assert old["expires_at"] is not None
    assert (new["scopes"], new["note"], new["expires_at"]) == (["ingest", "read"], "grafana", None)
    assert new["revoked_at"] is not None
    assert "revoked or has expired" in run("keys", "rotate", new["public_key"], succeeds=False).stderr


def test_every_change_is_in_the_log(run: Run, dsn: str) -> None:
    """The audit log has who did what, in order; what failed left neither change nor line."""
    run("orgs", "create", "Acme")
    run("projects", "create", "a", "--org", "acme")
    run("projects", "create", "b", "--org", "missing", succeeds=False)
    run("projects", "create", "a", succeeds=False)
    ((public_key,),) = _rows(dsn, "SELECT public_key FROM api_keys")
    run("keys", "revoke", public_key)
    run("keys", "revoke", public_key)

    log = _rows(dsn, "SELECT action, object FROM audit_log ORDER BY id")
    assert log == [
        ("orgs.create", "acme"),
        ("projects.create", "a"),
        ("keys.create", public_key),
        ("keys.revoke", public_key),
    ]
    assert {actor.partition(":")[0] for (actor,) in _rows(dsn, "SELECT actor FROM audit_log")} == {"cli"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("projects", "create", "!"), "give one with --id"),
        (("projects", "create", "a", "--id", "a b"), "give one with --id"),
        (("projects", "create", "default"), "project 'default' exists already"),
        (("orgs", "create", "default"), "organization 'default' exists already"),
        (("projects", "set", "missing", "--retention-days", "7"), "there is no project 'missing'"),
        (("projects", "set", "default", "--retention-days", "-1"), "greater than or equal to 0"),
        (("keys", "create", "--project", "missing"), "there is no project 'missing'"),
        (("keys", "create", "--project", "default", "--scope", "write"), "expected ingest or read, got 'write'"),
        (("keys", "create", "--project", "default", "--expires", "soon"), "expected a duration such as 24h or 90d"),
        (("keys", "revoke", "pk-missing"), "there is no key 'pk-missing'"),
        (("keys", "rotate", "pk-missing"), "there is no key 'pk-missing'"),
        (("prices", "delete", "7"), "there is no price 7"),
        (("quotas", "set", "missing", "--spans-per-second", "1"), "there is no project 'missing'"),
        (("quotas", "set", "default"), "name one limit at least"),
        (("quotas", "clear", "default"), "project 'default' has no quota"),
        (("keys", "list", "--set", "metadata.postgres=none"), "is `none`"),
        (("projects", "create", "x", "--set", f"metadata.hash_key={'o' * 32}"), "is not the one that the keys"),
    ],
)
def test_mistakes(run: Run, words: tuple[str, ...], said: str) -> None:
    """Each ends with what is wrong, and changes nothing."""
    run("projects", "create", "first")

    assert said in " ".join(run(*words, succeeds=False).stderr.replace("│", " ").split())
    assert len(_lines(run("projects", "list", "--json"))) == 2


def test_prices(run: Run, tmp_path: Path) -> None:
    """Prices of a file are taken over, for a project or all; the same again replaces them, and they can be removed."""
    file = tmp_path / "prices.yaml"
    file.write_text(_PRICES)
    run("projects", "create", "a")
    run("prices", "import", str(file), "--project", "a")
    run("prices", "import", str(file))
    file.write_text(_PRICES.replace("1.20", "1.25"))
    run("prices", "import", str(file))
    listed = _lines(run("prices", "list", "--json"))

    assert [(price["project"], price["model"]) for price in listed] == [
        ("a", "acme/.*"), ("a", "other"), (None, "acme/.*"), (None, "other"),
    ]  # fmt: skip
    assert [price["usd_per_million_tokens"]["input"] for price in listed] == ["1.2", "0", "1.25", "0"]
    assert listed[0]["tiers"][0]["usd_per_million_tokens"]["input"] == "2"
    run("prices", "delete", str(listed[0]["id"]))
    assert "acme/.*" in run("prices", "list").stdout
    assert len(_lines(run("prices", "list", "--json"))) == 3


def test_quotas(run: Run, dsn: str) -> None:
    """Limits are set one by one, shown with what was sent this month, and taken away; each change is in the log."""
    run("quotas", "set", "default", "--spans-per-second", "500", "--bytes-per-second", "9", "--spans-burst", "70")
    run("quotas", "set", "default", "--bytes-per-second", "0", "--spans-per-month", "1000")
    month = "date_trunc('month', now() AT TIME ZONE 'UTC')"
    used = f"('default', {month}, 7, 80), ('other', {month}, 1, 2), ('other', '2020-01-01', 4, 5)"
    _change(dsn, f"INSERT INTO project_usage VALUES {used}")
    shown = {row["project_id"]: row for row in _lines(run("quotas", "show", "--json"))}
    table = run("quotas", "show", "default").stdout

    limits = {"spans_per_second": 500, "spans_burst": 70, "bytes_per_second": None, "bytes_burst": None}
    sums = {"spans_per_month": 1000, "month_spans": 7, "month_bytes": 80}
    assert shown["default"] == {"project_id": "default", **limits, **sums}
    assert (shown["other"]["spans_per_month"], shown["other"]["month_spans"]) == (None, 1)
    assert "month_spans" in table
    assert "other" not in table
    run("quotas", "clear", "default")
    assert [row["project_id"] for row in _lines(run("quotas", "show", "--json"))] == ["default", "other"]
    assert _rows(dsn, "SELECT action, detail FROM audit_log WHERE object = 'default' ORDER BY id") == [
        ("quotas.set", {"spans_per_second": 500, "bytes_per_second": 9, "spans_burst": 70}),
        ("quotas.set", {"bytes_per_second": None, "spans_per_month": 1000}),
        ("quotas.clear", {}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prices: [{model: a}]", "usd_per_million_tokens"),
        ("- {model: 'a(', usd_per_million_tokens: {input: 1}}", "not a regular expression"),
        ("prices: []", "holds no prices"),
        ("7", "cannot be used"),
        ("a: [", "cannot be used"),
        ("- {model: a, project: missing, usd_per_million_tokens: {input: 1}}", "there is no project 'missing'"),
    ],
)
def test_files_without_good_prices(run: Run, tmp_path: Path, text: str, said: str) -> None:
    """Nothing of a file with a fault is taken over, and the fault is named."""
    file = tmp_path / "prices.yaml"
    file.write_text(text)

    assert said in run("prices", "import", str(file), succeeds=False).stderr
    assert "There are no prices" in run("prices", "list").stderr


def test_the_embedded_store() -> None:
    """With the embedded Postgres the command starts it, makes its hash key for its owner alone, and ends it."""
    with postgres_directory() as directory:
        command = [sys.executable, "-m", "otlp_receiver", "projects", "create", "a", "--json"]
        settings = ["--set", f"metadata.directory={directory / 'postgres'}"]
        first = subprocess.run([*command, *settings], cwd=_ROOT, capture_output=True, text=True, check=True)
        key = directory / "postgres" / "hash.key"

        assert json.loads(first.stdout)["project_id"] == "a"
        assert key.stat().st_mode & 0o777 == 0o600
        assert len(key.read_text()) == 64
        again = subprocess.run([*command, *settings], cwd=_ROOT, capture_output=True, text=True, check=False)
        assert "project 'a' exists already" in again.stderr
        assert not (directory / "postgres" / "data" / "postmaster.pid").exists()
