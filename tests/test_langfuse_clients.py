"""Langfuse's released clients, unmodified, with the variables that `projects create` prints."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.environment import python
from tests.support.node import run_langfuse
from tests.support.service import Service, service

_ROOT = Path(__file__).parent.parent
_SECONDS = 120


@pytest.fixture(scope="module")
def guarded() -> Iterator[Service]:
    """A service whose receivers ask for keys."""
    with service() as made:
        made.config["extensions"]["api_keys"] = {}
        for protocol in made.config["receivers"]["otlp"]["protocols"].values():
            protocol["auth"] = {"authenticator": "api_keys"}
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def project(guarded: Service) -> dict[str, Any]:
    """A project made on the command line while the service runs."""
    command = [sys.executable, "-m", "otlp_receiver", "projects", "create", "Langfuse", "--json", "--config"]
    made = subprocess.run(
        [*command, str(guarded.directory / "receiver.yaml")], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(made.stdout)
    return found


@pytest.fixture(scope="module")
def interpreter(request: pytest.FixtureRequest) -> Path:
    """That has the Python client; the first run on a machine installs it, visibly."""
    capturing: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled():
        return python(sys.stdout)


def _run_python(interpreter: Path, variables: dict[str, str]) -> dict[str, Any]:
    ended = subprocess.run(
        [str(interpreter), "-m", "tests.langfuse.client"],
        cwd=_ROOT, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=_SECONDS,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


def _wrong(project: dict[str, Any]) -> dict[str, str]:
    """The variables with another project's public key, so to say."""
    variables: dict[str, str] = project["environment"]
    return {**variables, "LANGFUSE_PUBLIC_KEY": "pk-another"}


def _stored(guarded: Service, trace_id: str) -> list[tuple[str, str, str, int]]:
    guarded.wait_for_rows(f"trace_id = '{trace_id}'", 2)
    rows = guarded.sql(
        f"SELECT project_id, type, name, toInt64(ifNull(total_tokens, 0)) AS tokens FROM observations"
        f" WHERE trace_id = '{trace_id}' ORDER BY type"
    )
    return [(row["project_id"], row["type"], row["name"], row["tokens"]) for row in rows]


_EXPECTED = [("langfuse", "GENERATION", "generation", 15), ("langfuse", "SPAN", "answer", 0)]


def test_python(guarded: Service, project: dict[str, Any], interpreter: Path) -> None:
    """The Python client's check of its key says yes, and its trace is stored in the key's project."""
    said = _run_python(interpreter, project["environment"])

    assert (said["isGood"], said["status"]) == (True, 200)
    assert _stored(guarded, said["traceId"]) == _EXPECTED


def test_javascript(guarded: Service, project: dict[str, Any]) -> None:
    """The JS clients send their trace and find the key's project."""
    said = run_langfuse(project["environment"])

    assert (said["projects"], said["status"]) == (["langfuse"], 200)
    assert _stored(guarded, said["traceId"]) == _EXPECTED


def test_a_wrong_key(guarded: Service, project: dict[str, Any], interpreter: Path) -> None:
    """With a public key that is not the secret's both clients are told, and nothing of theirs is stored."""
    in_python, in_javascript = _run_python(interpreter, _wrong(project)), run_langfuse(_wrong(project))

    assert (in_python["isGood"], in_python["status"]) == (False, 401)
    assert (in_javascript["projects"], in_javascript["status"]) == ([], 401)
    ids = f"('{in_python['traceId']}', '{in_javascript['traceId']}')"
    assert guarded.value(f"SELECT count() FROM observations WHERE trace_id IN {ids}") == 0


def test_questions_of_clients(guarded: Service, project: dict[str, Any]) -> None:
    """Health needs no key, projects need one, and other questions are unknown paths as before."""
    base, key = guarded.url("http"), (project["public_key"], project["secret_key"])

    assert requests.get(f"{base}/api/public/health", timeout=20).json()["status"] == "OK"
    assert requests.get(f"{base}/api/public/projects", auth=key, timeout=20).json()["data"][0]["id"] == "langfuse"
    refused = requests.get(f"{base}/api/public/projects", timeout=20)
    assert (refused.status_code, refused.json()["code"]) == (401, 16)
    assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    assert requests.get(f"{base}/api/public/traces", auth=key, timeout=20).status_code == 404
    assert requests.post(f"{base}/api/public/projects", auth=key, timeout=20).status_code == 404
