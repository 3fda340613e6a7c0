"""Real Apache Kafka for tests: brokers of our own (KRaft, Java 17, jars from Maven Central), to be killed at will.

`KAFKA_BROKERS` (host:port, comma-separated) names brokers that run already; tests that kill brokers start their own.
"""

import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import serialization
from kafka import KafkaAdminClient

from config.kafka import KafkaBufferSettings
from pipelines.buffers.kafka import KafkaBuffer
from tests.support import containers
from tests.support.certificates import Authority
from tests.support.service import free_ports
from tests.support.waiting import wait_until

_ROOT: Final = Path(__file__).parent.parent.parent
_JARS: Final = _ROOT / "build/kafka/jars"
_POM: Final = Path(__file__).with_name("kafka.xml")
_CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qg"
_START_SECONDS: Final = 90.0
_ACCOUNT: Final = ("app", "app-secret")
_PROTOCOLS: Final = {"CONTROLLER": "PLAINTEXT"}
_lock = threading.Lock()

LEAVES_SOCKETS: Final = pytest.mark.filterwarnings("ignore::ResourceWarning")
"""For modules that use kafka-python 3: its close() leaves some sockets to the garbage collector."""


def jars() -> Path:
    """The folder of Kafka's jars, fetched once; fails where they can be neither found nor fetched."""
    with _lock:
        if not any(_JARS.glob("kafka_2.13-*.jar")):
            target = _JARS.with_name(f"jars-{uuid.uuid4().hex}")
            command = [
                "mvn",
                "-q",
                "-B",
                "-f",
                str(_POM),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={target}",
            ]
            subprocess.run([*command, "-DincludeScope=runtime"], check=True, timeout=600)
            shutil.rmtree(_JARS, ignore_errors=True)
            target.rename(_JARS)
    return _JARS


@dataclass(frozen=True)
class Node:
    """One broker of a cluster, and where it listens."""

    number: int
    plaintext: int
    sasl_plaintext: int
    ssl: int
    sasl_ssl: int
    controller: int

    def listeners(self, *, encrypted: bool) -> dict[str, int]:
        """Ports for clients, by Kafka's name of the protocol."""
        names = ("plaintext", "sasl_plaintext", *(("ssl", "sasl_ssl") if encrypted else ()))
        return {name.upper(): getattr(self, name) for name in names}


class Broker:
    """One broker that is its own controller; `kill()`, `stop()` and `start()` keep its data and its ports.

    Attributes:
        address: where clients without credentials connect.
        sasl_address: where clients must show who they are (`app`, `app-secret`).
        ssl_address: encrypted, where clients must show a certificate.
        sasl_ssl_address: encrypted, where clients must show who they are.
    """

    def __init__(self, directory: Path, nodes: Sequence[Node], node: Node, authority: Authority | None = None) -> None:
        at = {name: f"127.0.0.1:{port}" for name, port in node.listeners(encrypted=True).items()}
        self.address, self.sasl_address = at["PLAINTEXT"], at["SASL_PLAINTEXT"]
        self.ssl_address, self.sasl_ssl_address = at["SSL"], at["SASL_SSL"]
        self.node = node
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        settings = _properties(directory, nodes, node, authority)
        self._file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def _file(self) -> Path:
        return self._directory / "server.properties"

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        options = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        with (self._directory / "broker.log").open("ab") as log:
            return subprocess.Popen(
                ["java", *options, "-cp", f"{jars()}/*", *arguments], cwd=self._directory, stdout=log, stderr=log
            )

    def format(self) -> None:
        """Makes its storage, once."""
        user, password = _ACCOUNT
        scram = f"SCRAM-SHA-256=[name={user},password={password}]"
        tool = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._file), "-S", scram)
        assert self._java(*tool).wait(_START_SECONDS) == 0, self.log()

    def launch(self) -> None:
        """Starts it, without waiting for anything."""
        self._process = self._java("kafka.Kafka", str(self._file))

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        self.launch()
        self.wait_until_listening()

    def wait_until_listening(self) -> None:
        """Until it takes connections; fails when it ends instead."""
        wait_until(lambda: self.is_listening() or self._has_ended(), _START_SECONDS)
        assert not self._has_ended(), self.log()

    def is_listening(self) -> bool:
        """Whether clients can connect."""
        host, _, port = self.address.rpartition(":")
        with socket.socket() as trying:
            return trying.connect_ex((host, int(port))) == 0

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator does: it hands over what it leads, then ends."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(_START_SECONDS)

    def close(self) -> None:
        """Ends it, whatever state it is in."""
        with suppress(AssertionError):
            self.kill()

    def log(self) -> str:
        """What it said."""
        return (self._directory / "broker.log").read_text("utf-8", "replace")[-5000:]

    def _has_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None


def _properties(directory: Path, nodes: Sequence[Node], node: Node, authority: Authority | None) -> dict[str, Any]:
    """Settings of a broker; what is waited for when one is gone is shorter than Kafka's defaults."""
    user, password = _ACCOUNT
    ports = {**node.listeners(encrypted=authority is not None), "CONTROLLER": node.controller}
    copies = min(3, len(nodes))
    jaas = "org.apache.kafka.common.security"
    plain = f'{jaas}.plain.PlainLoginModule required user_{user}="{password}";'
    return {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "controller.quorum.voters": ",".join(f"{each.number}@127.0.0.1:{each.controller}" for each in nodes),
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{_PROTOCOLS.get(name, name)}" for name in ports),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        **{f"listener.name.{name}.plain.sasl.jaas.config": plain for name in ("sasl_plaintext", "sasl_ssl")},
        **{
            f"listener.name.{name}.scram-sha-256.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;"
            for name in ("sasl_plaintext", "sasl_ssl")
        },
        **(_encryption(directory, authority) if authority else {}),
        "log.dirs": directory / "data",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 1,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": max(1, copies - 1),
        "min.insync.replicas": max(1, copies - 1),
        "group.initial.rebalance.delay.ms": 0,
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        "auto.create.topics.enable": "false",
        "num.network.threads": 2,
        "num.io.threads": 2,
    }


def _encryption(directory: Path, authority: Authority) -> dict[str, Any]:
    """Certificates as Kafka wants them: key and chain in one file, the key as PKCS #8."""
    issued = authority.issue(directory.name)
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    packed = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "keystore.pem"
    file.write_bytes(packed + issued.certificate.read_bytes())
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": file,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": authority.file,
        "listener.name.ssl.ssl.client.auth": "required",
    }


@contextmanager
def cluster(size: int, authority: Authority | None = None) -> Iterator[list[Broker]]:
    """So many running brokers of the test's own; encrypted ports too, where there is an authority."""
    directory = Path(tempfile.mkdtemp(prefix="otlp-kafka-"))
    ports = iter(free_ports(size * 5))
    nodes = [Node(number + 1, *(next(ports) for _ in range(5))) for number in range(size)]
    made = [Broker(directory / f"broker-{node.number}", nodes, node, authority) for node in nodes]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Broker.format, made))
        for each in made:
            each.launch()
        for each in made:
            each.wait_until_listening()
        yield made
    finally:
        for each in made:
            each.close()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def broker(authority: Authority | None = None) -> Iterator[Broker]:
    """A running broker of the test's own."""
    with cluster(1, authority) as (made,):
        yield made


def partitions(address: str, topic: str) -> list[dict[str, Any]]:
    """What a broker knows of a topic: leader and in-sync replicas of each partition."""
    admin = KafkaAdminClient(bootstrap_servers=[address])
    try:
        (described,) = admin.describe_topics([topic])
        return list(described["partitions"])
    finally:
        admin.close()
        gc.collect()  # see LEAVES_SOCKETS


@contextmanager
def brokers() -> Iterator[list[str]]:
    """Addresses of brokers that nobody kills: see `tests.support.containers`; else one of our own."""
    given = os.environ.get("KAFKA_BROKERS") or (containers.kafka() if containers.docker_runs() else "")
    if given:
        yield given.split(",")
        return
    with broker() as made:
        yield [made.address]


def kafka_settings(addresses: list[str], **changed: Any) -> dict[str, Any]:
    """Settings of a buffer on a topic of its own, as they stand in YAML."""
    unique = uuid.uuid4().hex[:12]
    return {
        "brokers": addresses,
        "topic": f"records_{unique}",
        "group_prefix": f"group_{unique}",
        "partitions": 2,
        "replication_factor": 1,
        "min_insync_replicas": 1,
        **changed,
    }


@contextmanager
def kafka_buffer(settings: dict[str, Any], *cursors: str) -> Iterator[KafkaBuffer]:
    """An open buffer with these cursors."""
    buffer = KafkaBuffer(KafkaBufferSettings.model_validate(settings), "kafka")
    buffer.open()
    buffer.keep_cursors(cursors)
    try:
        yield buffer
    finally:
        buffer.close()
        gc.collect()  # see LEAVES_SOCKETS: not in some later test
