"""The topics at start: made when they are missing, and checked for what the promise to senders rests on."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from config.kafka import KafkaBufferSettings
from pipelines.buffers.kafka_client import connection, named_errors, require_reachable, start
from pipelines.errors import Permanent, Retryable

_REQUEST_MS: Final = 5_000
_READY_MS: Final = 10_000
_UNKNOWN_TOPIC: Final = kafka_errors.UnknownTopicOrPartitionError.errno


def dead_letters_topic(settings: KafkaBufferSettings) -> str:
    """Where rows go that cannot be stored."""
    return f"{settings.topic}.dead_letters"


def prepare_topics(settings: KafkaBufferSettings) -> None:
    """Makes what is missing, if it may, and checks what is there.

    Raises:
        Permanent: a topic is not as it must be; the message names topic, setting and cure.
        Retryable: Kafka cannot be asked now.
    """
    require_reachable(settings)
    with named_errors(settings, "preparing topics"), closing(_admin(settings)) as admin:
        for topic in (settings.topic, dead_letters_topic(settings)):
            if _describe(admin, topic) is None:
                _create(admin, topic, settings)
            described = _describe(admin, topic)
            if described is None:
                raise Retryable(f"topic {topic} has been created but is not known to the brokers yet")
            problems = _problems(described, _configuration(admin, topic), settings)
            if problems:
                raise Permanent(f"Kafka topic {topic} cannot be used: {'; '.join(problems)}")


class TopicWatch:
    """Asks whether records are taken; one caller at a time."""

    def __init__(self, settings: KafkaBufferSettings) -> None:
        self._settings = settings
        self._admin: Any = None

    def require_writable(self) -> None:
        """Returns if every partition has a leader and enough in-sync replicas, as far as the brokers know.

        Raises:
            Permanent: the brokers refuse us.
            Retryable: records are not taken now; the message says why.
        """
        topic = self._settings.topic
        try:
            described = self._described()
        except (Permanent, Retryable):
            self.close()
            raise
        if described is None:
            raise Retryable(f"topic {topic} does not exist any more")
        short = [
            each["partition_index"]
            for each in described["partitions"]
            if each["leader_id"] < 0 or len(each["isr_nodes"]) < self._settings.min_insync_replicas
        ]
        if short:
            raise Retryable(
                f"{len(short)} of {len(described['partitions'])} partitions of Kafka topic {topic} have no leader or "
                f"fewer than {self._settings.min_insync_replicas} in-sync replicas (min_insync_replicas)"
            )

    def close(self) -> None:
        """May be called twice."""
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def _described(self) -> dict[str, Any] | None:
        if self._admin is None:
            require_reachable(self._settings)
        with named_errors(self._settings, "asking for topics"):
            self._admin = self._admin or _admin(self._settings)
            return _describe(self._admin, self._settings.topic)


def _admin(settings: KafkaBufferSettings) -> Any:
    return start(KafkaAdminClient, {**connection(settings), "request_timeout_ms": _REQUEST_MS})


def _describe(admin: Any, topic: str) -> dict[str, Any] | None:
    (described,) = admin.describe_topics([topic])
    if described["error_code"] == _UNKNOWN_TOPIC:
        return None
    if described["error_code"]:
        raise kafka_errors.for_code(described["error_code"])(topic)
    return dict(described)


def _create(admin: Any, topic: str, settings: KafkaBufferSettings) -> None:
    if not settings.create_topics:
        raise Permanent(f"Kafka topic {topic} does not exist: create it, or set `create_topics: true` under `buffers`")
    retention_ms = int(settings.retention * 1000) or -1
    wanted = {
        "num_partitions": settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": {
            "min.insync.replicas": str(settings.min_insync_replicas),
            "max.message.bytes": str(settings.max_message_bytes),
            "retention.ms": str(retention_ms),
            "cleanup.policy": "delete",
        },
    }
    try:
        admin.create_topics({topic: wanted}, timeout_ms=_REQUEST_MS)
    except kafka_errors.TopicAlreadyExistsError:  # another process of ours was first
        pass
    except (kafka_errors.InvalidReplicationFactorError, kafka_errors.InvalidPartitionsError) as error:
        raise Permanent(
            f"Kafka refuses to create topic {topic} with {settings.partitions} partitions and replication_factor "
            f"{settings.replication_factor}: {error}; set `partitions` and `replication_factor` to what it has room for"
        ) from error
    admin.wait_for_topics([topic], timeout_ms=_READY_MS)


def _configuration(admin: Any, topic: str) -> dict[str, str]:
    asked = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    return {name: config["value"] for name, config in asked["topic"][topic].items()}


def _problems(described: Mapping[str, Any], configs: Mapping[str, str], settings: KafkaBufferSettings) -> list[str]:
    """What falls short of the settings, each with its cure."""
    partitions = described["partitions"]
    measured = {
        "partitions": len(partitions),
        "replication_factor": min(len(partition["replica_nodes"]) for partition in partitions),
        "min_insync_replicas": int(configs.get("min.insync.replicas", settings.min_insync_replicas)),
        "max_message_bytes": int(configs.get("max.message.bytes", settings.max_message_bytes)),
    }
    problems = [
        f"{name} is {found}, wanted is {wanted} or more: alter the topic, or lower `{name}` under `buffers`"
        for name, found in measured.items()
        if found < (wanted := getattr(settings, name))
    ]
    if "compact" in configs.get("cleanup.policy", "delete"):
        problems.append("its cleanup.policy compacts, which deletes records: set it to delete")
    return problems
