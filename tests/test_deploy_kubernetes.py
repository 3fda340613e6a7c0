"""The objects for Kubernetes are valid, fit together, and agree with the service that they run."""

import subprocess
import sys
from typing import Any, Final

import pytest
import requests

from tests.support.deploy import (
    KUBERNETES,
    PRODUCTION,
    config_in,
    container_environment,
    documents,
    least_memory_mib,
    mib,
    objects,
    parses,
    pods,
    ports,
    receivers,
    role,
)
from tests.support.service import Service

# preStop.sleep is from 1.30; the newest is what the package knows.
_VERSIONS: Final = ("1.30", "1.37")
_FILES: Final = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
_OURS: Final = [pytest.param(pod, container, id=name) for name, pod, container in receivers()]
_PODS: Final = [pytest.param(pod, id=name) for name, pod in pods()]
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_LEAST_MIGRATE_MIB: Final = 256

Body = dict[str, Any]


def _probed(container: Body) -> list[Body]:
    return [container[name]["httpGet"] for name in _PROBES if name in container]


@pytest.mark.parametrize("version", _VERSIONS)
def test_objects_are_valid(version: str) -> None:
    """Every object agrees with the schema of that version of Kubernetes, unknown fields refused."""
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--no-warn", "-k", version, *map(str, _FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == len(objects()), done.stdout


def test_everything_is_applied() -> None:
    """kustomization.yaml lists every file but the examples: those a user copies."""
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    assert {path.name for path in _FILES} - set(kustomization["resources"]) == {
        "secret.example.yaml",
        "sidecar-pod.yaml",
    }


def test_configuration_is_the_example() -> None:
    """What the pods mount is config/examples/production.yaml, letter by letter."""
    (config_map,) = documents(KUBERNETES / "configmap.yaml")
    assert config_map["data"] == {"config.yaml": PRODUCTION.read_text("utf-8")}


@pytest.mark.parametrize(("pod", "container"), _OURS)
def test_container_runs(pod: Body, container: Body) -> None:
    """Its command is one, its configuration is valid in its environment, and it opens the ports that it says."""
    config = config_in(container_environment(container))
    opened = {each["containerPort"] for each in container.get("ports", ())}
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}

    assert parses(container["args"])
    assert opened <= ports(config, role(container["args"]))
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    assert "/tmp" in mounted.values(), "the root is read-only, and the processes share their counters there"
    assert "/etc/otlp-receiver" in mounted.values()


@pytest.mark.parametrize(("pod", "container"), _OURS)
def test_container_has_room_and_time(pod: Body, container: Body) -> None:
    """Its limit is what docs/operations.md promises or more, and nothing is killed before its shutdown_timeout."""
    config = config_in(container_environment(container))
    limit_mib = mib(container["resources"]["limits"]["memory"])
    wait_seconds = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)

    assert "cpu" in container["resources"]["requests"]
    if container["args"][0] == "migrate":
        assert limit_mib > _LEAST_MIGRATE_MIB
    else:
        assert limit_mib > least_memory_mib(config)
        assert pod["terminationGracePeriodSeconds"] > wait_seconds + config.service.shutdown_timeout


@pytest.mark.parametrize("pod", _PODS)
def test_pod_is_restricted(pod: Body) -> None:
    """It fulfils the restricted Pod Security Standard: no root, no privilege, no capability, a system call filter."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("pod", "container"), _OURS)
def test_our_root_is_read_only(pod: Body, container: Body) -> None:
    """Nothing of ours is written outside of a volume, and no volume outlives the pod."""
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {kind for volume in pod["volumes"] for kind in volume} == {"name", "configMap", "emptyDir"}


def test_references_are_met() -> None:
    """Pods that a Service, a scaler or a disruption budget names exist under these names, and open these ports."""
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects()}
    labels = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for (kind, name), each in found.items()
        if kind == "Deployment"
    }
    service = found["Service", "otlp-receiver"]["spec"]
    opened = {each["name"] for name, _, one in receivers() if name == "otlp-receiver-ingest" for each in one["ports"]}

    assert service["selector"] == labels["otlp-receiver-ingest"]
    assert {port["targetPort"] for port in service["ports"]} <= opened
    for name, wanted in labels.items():
        assert found["Deployment", name]["spec"]["selector"]["matchLabels"] == wanted
        assert found["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"] == wanted
    scaler = found["HorizontalPodAutoscaler", "otlp-receiver-ingest"]["spec"]
    assert scaler["scaleTargetRef"]["name"] in labels
    assert "replicas" not in found["Deployment", scaler["scaleTargetRef"]["name"]]["spec"], "who scales is one"


def test_probes_are_answered(running: Service) -> None:
    """Every path that a probe asks is answered 200 by a service that works, on the port that the probe names."""
    asked = [probe for _, _, container in receivers() for probe in _probed(container)]
    for name, _, container in receivers():
        named = {each["name"]: each["containerPort"] for each in container.get("ports", ())}
        assert {named[probe["port"]] for probe in _probed(container)} <= {13133}, name
    for path in {probe["path"] for probe in asked}:
        assert requests.get(running.url("health") + path, timeout=10).status_code == 200, path
    assert {probe["path"] for probe in asked} == {"/ready", "/live"}
