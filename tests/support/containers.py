"""Servers in containers, for machines where a Docker engine runs; started when first asked for, once a process.

The order in which a test finds its server: an address of the environment (KAFKA_BROKERS, CLICKHOUSE_URL, POSTGRES_URL),
a container, a server that the test starts itself. Tests that kill servers always start their own.
"""

import atexit
import os
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import docker
from docker.errors import DockerException
from testcontainers.community.clickhouse import ClickHouseContainer
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

_CLICKHOUSE: Final = "clickhouse/clickhouse-server:26.9"
_KAFKA: Final = "confluentinc/cp-kafka:8.1.0"
_POSTGRES: Final = "postgres:18"
_SOCKET: Final = Path("/var/run/docker.sock")
_ANSWER_SECONDS: Final = 5

C = TypeVar("C", bound=DockerContainer)


@cache
def docker_runs() -> bool:
    """Whether a Docker engine answers; asked once."""
    if not (os.environ.get("DOCKER_HOST") or _SOCKET.exists()):
        return False
    try:
        docker.from_env(timeout=_ANSWER_SECONDS).close()  # asks for its version
    except DockerException:
        return False
    return True


@cache
def clickhouse() -> str:
    """`clickhouse://user:password@host:port/database`."""
    return _started(ClickHouseContainer(_CLICKHOUSE)).get_connection_url()


@cache
def kafka() -> str:
    """`host:port` of one broker."""
    return _started(KafkaContainer(_KAFKA).with_kraft()).get_bootstrap_server()


@cache
def postgres() -> str:
    """`postgresql://user:password@host:port/database`."""
    return _started(PostgresContainer(_POSTGRES, driver=None)).get_connection_url()


def _started(container: C) -> C:
    container.start()
    atexit.register(container.stop)
    return container
