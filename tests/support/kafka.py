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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from config.kafka import KafkaBufferSettings
from pipelines.buffers.kafka import KafkaBuffer
from tests.support.service import free_ports
from tests.support.waiting import wait_until

_ROOT: Final = Path(__file__).parent.parent.parent
_JARS: Final = _ROOT / "build/kafka/jars"
_POM: Final = Path(__file__).with_name("kafka.xml")
_CLUSTER_ID: Final = "MkU3OEVBNTcwNTJENDM2Qg"
_START_SECONDS: Final = 90.0
_ACCOUNT: Final = ("app", "app-secret")
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


class Broker:
    """One broker that is its own controller; `kill()` and `start()` keep its data and its ports.

    Attributes:
        address: where clients without credentials connect.
        sasl_address: where clients must show who they are (`app`, `app-secret`).
    """

    def __init__(self, directory: Path) -> None:
        plain, sasl, controller = free_ports(3)
        self.address, self.sasl_address = f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(plain, sasl, controller)
        user, password = _ACCOUNT
        scram = f"SCRAM-SHA-256=[name={user},password={password}]"
        self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._file), "-S", scram).wait(90)

    def _configure(self, plain: int, sasl: int, controller: int) -> None:
        user, password = _ACCOUNT
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain."
            f'PlainLoginModule required user_{user}="{password}";',
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram."
            "ScramLoginModule required;",
            "log.dirs": self._directory / "data",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
            "num.network.threads": 2,
            "num.io.threads": 2,
        }
        self._file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    @property
    def _file(self) -> Path:
        return self._directory / "server.properties"

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        options = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        with (self._directory / "broker.log").open("ab") as log:
            return subprocess.Popen(
                ["java", *options, "-cp", f"{jars()}/*", *arguments], cwd=self._directory, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        self._process = self._java("kafka.Kafka", str(self._file))
        wait_until(lambda: self.is_listening() or self._has_ended(), _START_SECONDS)
        assert not self._has_ended(), self.log()

    def is_listening(self) -> bool:
        """Whether clients can connect."""
        host, _, port = self.address.rpartition(":")
        with socket.socket() as trying:
            return trying.connect_ex((host, int(port))) == 0

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

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


@contextmanager
def broker() -> Iterator[Broker]:
    """A running broker of the test's own."""
    directory = Path(tempfile.mkdtemp(prefix="otlp-kafka-"))
    made = Broker(directory)
    try:
        made.start()
        yield made
    finally:
        made.close()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def brokers() -> Iterator[list[str]]:
    """Addresses of brokers that nobody kills: those of the environment, else one of our own."""
    given = os.environ.get("KAFKA_BROKERS")
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
