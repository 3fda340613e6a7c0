"""What deploy/ and config/examples say is valid and agrees with itself; nothing here needs Docker."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from config import ConfigErrors
from otlp_receiver import __version__
from otlp_receiver.cli.main import app
from otlp_receiver.preflight import endpoints
from tests.support.deploy import (
    DEPLOY,
    PRODUCTION,
    ROOT,
    config_in,
    filled,
    image_all,
    image_environment,
    image_last,
    least_memory_mib,
    lineage,
    mib,
    own_services,
    parses,
    ports,
    receivers,
    role,
    services,
    stages,
)

_TARGETS: Final = ("slim", "full")
_EXAMPLES: Final = sorted((ROOT / "config" / "examples").glob("*.yaml"))
_SECRETS: Final = {"CLICKHOUSE_PASSWORD": "c0ffee", "POSTGRES_PASSWORD": "deadbeef", "HASH_KEY": 32 * "f"}
_KEYS: Final = {
    "EXTENSIONS": "[health_check, api_keys]",
    "DATABASE_URL": "postgresql://otel@postgres/otel",
    "HASH_KEY": 32 * "f",
}
_OURS: Final = [pytest.param(service, id=name) for name, service in own_services().items()]


def _checked(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- examples ---


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.stem)
def test_example_validates(example: Path) -> None:
    """`validate` takes every example as it is, without a variable set."""
    shown = CliRunner().invoke(app, ["validate", "--config", str(example)])
    assert (shown.exit_code, shown.stderr) == (0, "ok\n")


def test_production_example_can_be_told_everything() -> None:
    """Every variable that production.yaml uses is explained in its head, and none else; each has a fallback."""
    text = PRODUCTION.read_text("utf-8")
    head = text[: text.index("\nreceivers:")]
    used = set(re.findall(r"\$\{env:(\w+)(:-)?", text[len(head) :])) - {("KAFKA_PASSWORD", "")}  # in a comment
    assert {fallback for _, fallback in used} == {":-"}
    assert {name for name, _ in used} == set(re.findall(r"\b[A-Z][A-Z_]{6,}\b", head))


# --- images ---


@pytest.mark.parametrize(("target", "given"), [("full", {}), ("slim", _KEYS), ("slim", {"OTLP_AUTH": "none"})])
def test_image_runs_its_configuration(target: str, given: dict[str, str]) -> None:
    """An image holds a configuration that is valid in it, listens on every interface and exposes just those ports."""
    ((source, place),) = [each.split() for each in image_all(target, "COPY") if "--from" not in each]
    config = config_in(image_environment(target) | given, ROOT / source)

    assert place == image_last(target, "CMD")[-1]
    assert {endpoint.rpartition(":")[0] for _, endpoint in endpoints(config, None)} == {"0.0.0.0"}
    assert ports(config, None) == {int(port) for each in image_all(target, "EXPOSE") for port in each.split()}


def test_slim_image_is_closed_unless_told() -> None:
    """Without a word about who may send it does not start, and says what is missing."""
    with pytest.raises(ConfigErrors, match="no extension api_keys or static_keys that is started"):
        config_in(image_environment("slim"))


@pytest.mark.parametrize("target", _TARGETS)
def test_image_is_safe_to_run(target: str) -> None:
    """It ends on a user without rights and with no compiler: all that is copied in was made in another stage."""
    assert image_all(target, "USER")[-1] == "10001:10001"
    assert lineage(target)[-1].instructions[-1][0] == "USER"
    assert lineage(target)[0].base.endswith("-slim-bookworm")
    copied = [each for each in image_all(target, "COPY") if each.startswith("--from")]
    assert copied == [f"--from=build-{target} /opt/otlp-receiver /opt/otlp-receiver"]
    assert image_all(target, "STOPSIGNAL") == ["SIGTERM"]
    assert image_all(target, "VOLUME") == [image_environment(target)["DATA_DIR"]]
    assert any('licenses="MIT"' in label for label in image_all(target, "LABEL"))


def test_bases_are_pinned() -> None:
    """Every image that is built upon has a tag that says its version, and nothing is fetched past the package index."""
    found = stages()
    bases = [stage.base for stage in found.values() if stage.base not in found]
    assert [base for base in bases if not re.fullmatch(r"\w+:\d+\.\d+-\S+", base)] == []
    assert [stage.name for stage in found.values() if stage.all("ADD")] == []
    assert "full" in list(found)[-1], "a build without --target makes the full image"


def test_context_has_what_is_copied() -> None:
    """Whatever the Dockerfile copies exists and is let through by the ignore file, and nothing else is."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for stage in stages().values()
        for arguments in stage.all("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {source.split("/")[0] for source in copied} == let_through
    assert not any(fnmatch.fnmatch(".venv", name) for name in let_through)


def test_requirements_of_the_images(tmp_path: Path) -> None:
    """The Dockerfile's command lists what the slim image needs without the embedded engines, all of it pinned."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    command = stages()["dependencies-slim"].all("RUN")[0].partition(" && ")[0]
    subprocess.run(["sh", "-c", command.replace("python ", f"{sys.executable} ", 1)], cwd=tmp_path, check=True)
    slim, embedded = (
        {Requirement(line).name for line in (tmp_path / name).read_text().splitlines()}
        for name in ("slim.txt", "embedded.txt")
    )
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in _lines(ROOT / "constraints.txt")}

    assert "chdb" in embedded
    assert slim.isdisjoint(embedded)
    assert {name.replace("_", "-") for name in slim | embedded} <= pinned


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("target", _TARGETS)
def test_image_commands_are_ours(target: str) -> None:
    """What an image starts and how it checks its health are commands of the command line."""
    health = image_last(target, "HEALTHCHECK")
    assert image_last(target, "ENTRYPOINT") == ["otlp-receiver"] == health[:1]
    assert parses(health[1:])
    assert parses(image_last(target, "CMD"))


def test_versions_agree() -> None:
    """Our own image is named by this version wherever it is."""
    named = [body["image"] for body in own_services().values()] + [each["image"] for _, _, each in receivers()]
    assert set(named) == {f"otlp-receiver:{__version__}-slim"}


# --- compose ---


def test_compose_file_is_one() -> None:
    """It agrees with the Compose specification."""
    _checked("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))


def test_compose_has_no_secret_and_no_open_port() -> None:
    """Passwords come from .env, which git never sees, or nothing starts; ports are open on loopback alone."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    examples = dict(line.split("=", 1) for line in _lines(DEPLOY / ".env.example"))

    assert len(re.findall(r"\$\{", text)) == len(re.findall(r"\$\{\w+:\?", text))
    assert examples == dict.fromkeys(asked, "")
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {port.split(":")[0] for each in services().values() for port in each.get("ports", ())} == {"127.0.0.1"}


def test_compose_images_are_pinned() -> None:
    """No service starts whatever is newest."""
    tags = {name: body["image"].partition(":")[2] for name, body in services().items()}
    assert {name: tag for name, tag in tags.items() if not re.match(r"\d", tag)} == {}


@pytest.mark.parametrize("service", _OURS)
def test_compose_service_runs(service: dict[str, Any]) -> None:
    """Its command is one, its configuration is valid in its environment, and its limits fit what the docs promise."""
    filled_in = {name: filled(value, _SECRETS) for name, value in service["environment"].items()}
    config = config_in(image_environment(service["build"]["target"]) | filled_in)
    published = {int(port.rpartition(":")[2]) for port in service.get("ports", ())}

    assert parses(service["command"])
    assert published <= ports(config, role(service["command"]))
    assert int(service["stop_grace_period"].removesuffix("s")) > config.service.shutdown_timeout
    assert mib(service.get("mem_limit", "2g")) > least_memory_mib(config)
    assert {url.split("@")[1].split("/")[0] for url in filled_in.values() if "@" in url} == {
        "clickhouse:9000",
        "postgres:5432",
    }


def test_compose_waits_for_what_can_be_waited_for() -> None:
    """Whatever somebody waits for until it is healthy has a health check; what ends is waited for to its end."""
    found = services()
    waits = [(name, each["condition"]) for body in found.values() for name, each in body.get("depends_on", {}).items()]
    healthy = {name for name, condition in waits if condition == "service_healthy"}

    assert [name for name in healthy if "test" not in found[name]["healthcheck"]] == []
    assert {name for name, _ in waits} - healthy == {"migrate"}
    assert parses(found["migrate"]["command"])
