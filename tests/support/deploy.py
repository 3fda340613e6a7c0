"""What deploy/ says: stages of the Dockerfile, services of compose.yaml, objects for Kubernetes, their environments."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

from ruamel.yaml import YAML
from typer.main import get_command

from config import Config
from config.loader import load
from otlp_receiver.cli.main import app
from otlp_receiver.preflight import endpoints

ROOT: Final = Path(__file__).parent.parent.parent
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
PRODUCTION: Final = ROOT / "config" / "examples" / "production.yaml"
_FILLED_IN: Final = {"HASH_KEY": 32 * "f"}
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")


# --- the Dockerfile ---


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: what comes after AS.
        base: an image, or the name of another stage.
        instructions: (instruction, its arguments) in order, lines put together.
    """

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        """Arguments of every such instruction."""
        return [arguments for name, arguments in self.instructions if name == instruction]


def stages() -> dict[str, Stage]:
    """By name."""
    first, *parts = re.split(r"^FROM ", _joined_lines(), flags=re.MULTILINE)
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", first, re.MULTILINE))
    found = {}
    for part in parts:
        head, *lines = part.splitlines()
        base, name = filled(head, defaults).split(" AS ")
        instructions = (line.partition(" ") for line in lines if line)
        found[name] = Stage(name, base, tuple((word, rest.strip()) for word, _, rest in instructions))
    return found


def _joined_lines() -> str:
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    return re.sub(r"\\\n\s*", "", text)


def lineage(target: str) -> list[Stage]:
    """The stages that an image is made of, the lowest first."""
    found = stages()
    stage = found[target]
    return [*(lineage(stage.base) if stage.base in found else []), stage]


def image_all(target: str, instruction: str) -> list[str]:
    """Arguments of every such instruction that an image has."""
    return [arguments for stage in lineage(target) for arguments in stage.all(instruction)]


def image_last(target: str, instruction: str) -> list[str]:
    """The words of the last such instruction, which is written as JSON."""
    words: list[str] = json.loads(image_all(target, instruction)[-1].partition("[")[2].join("[]")[:-1])
    return words


def image_environment(target: str) -> dict[str, str]:
    """Variables that an image sets, without PATH, which is not ours to change here."""
    pairs = (pair.split("=", 1) for arguments in image_all(target, "ENV") for pair in shlex.split(arguments))
    return {name: value for name, value in pairs if name != "PATH"}


# --- YAML ---


def documents(path: Path) -> list[dict[str, Any]]:
    """All that are in a file."""
    return list(YAML(typ="safe", pure=True).load_all(path.read_text("utf-8")))


def services() -> dict[str, dict[str, Any]]:
    """Services of compose.yaml, by name."""
    (document,) = documents(DEPLOY / "compose.yaml")
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def own_services() -> dict[str, dict[str, Any]]:
    """Those that run our image."""
    return {name: body for name, body in services().items() if body["image"].startswith("otlp-receiver:")}


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its `${NAME}` and `${NAME:?why}` replaced."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def objects() -> list[dict[str, Any]]:
    """Everything for Kubernetes."""
    files = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
    return [document for path in files for document in documents(path)]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the object, specification of its pod)."""
    for each in objects():
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]
        elif "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def receivers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name of the object, specification of its pod, our container in it)."""
    for name, pod in pods():
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            if container["image"].startswith("otlp-receiver:"):
                yield name, pod, container


def container_environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Variables that a container gets, those of its image included, and what a user fills in."""
    data = {(each["kind"], each["metadata"]["name"]): each.get("data") or each.get("stringData") for each in objects()}
    found = image_environment("slim")
    for source in container["envFrom"]:
        (kind,) = source
        found |= data[{"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind], source[kind]["name"]] or {}
    found |= {each["name"]: each["value"] for each in container.get("env", ())}
    return found | {name: _FILLED_IN[name] for name, value in found.items() if not value and name in _FILLED_IN}


def config_in(environment: Mapping[str, str], path: Path = PRODUCTION) -> Config:
    """What a configuration is in this environment alone."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return load([path])


def least_memory_mib(config: Config) -> int:
    """What docs/operations.md says the ingest processes may need, with the supervisor and its counters."""
    inflight_mib: int = sum(receiver.max_inflight_mib for receiver in config.receivers.values())
    return config.service.workers * (200 + 3 * inflight_mib + 768) + 80 + 64


def mib(size: str) -> int:
    """What `512Mi`, `2Gi` and Compose's `2g` mean."""
    number, unit = size.rstrip("BGKMgikm"), size.lstrip("0123456789")
    return int(number) * {"Mi": 1, "Gi": 1024, "g": 1024}[unit]


# --- commands ---


def role(arguments: list[str]) -> str | None:
    """What a `run` is told to be, None for both halves."""
    return arguments[arguments.index("--only") + 1] if "--only" in arguments else None


def ports(config: Config, only: str | None) -> set[int]:
    """What a role listens on."""
    return {int(endpoint.rpartition(":")[2]) for _, endpoint in endpoints(config, only)}


def parses(arguments: list[str]) -> bool:
    """Whether the command line takes these arguments, else it raises; nothing is run."""
    command: Any = get_command(app)
    return bool(command.commands[arguments[0]].make_context(arguments[0], list(arguments[1:])))
