"""Settings of the Kafka buffer; names follow Kafka's own where it has one."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from config.settings import PositiveInt, Settings, Switch
from config.transports import PemFile
from config.values import Duration, Spelling, parse_tcp_endpoint

_NAME: Final = r"^[A-Za-z0-9._-]{1,200}$"

Broker = Annotated[str, AfterValidator(parse_tcp_endpoint), Spelling("endpoint")]
KafkaName = Annotated[str, Field(pattern=_NAME)]
Secret = Annotated[SecretStr, Field(min_length=1), Spelling("secret")]


class KafkaTlsSettings(Settings):
    """Encrypted connections to the brokers; `tls: {}` trusts what the system trusts."""

    ca_file: PemFile | None = None
    """PEM file of the authorities that may sign a broker's certificate; absent = those of the system."""
    cert_file: PemFile | None = None
    """PEM file of a certificate to show to the brokers."""
    key_file: PemFile | None = None
    """PEM file of its private key, without a password."""
    verify_hostname: Switch = True
    """Whether a broker's certificate must bear the name by which it is reached."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "KafkaTlsSettings":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or none")
        return self


class KafkaSaslSettings(Settings):
    """Who we are to the brokers."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    """PLAIN sends the password as it is: use it with `tls` alone."""
    username: Annotated[str, Field(min_length=1)]
    """Name of the account."""
    password: Secret
    """Its password; take it from the environment: `${env:KAFKA_PASSWORD}`."""


class KafkaBufferSettings(Settings):
    """Durable buffer in Apache Kafka: acknowledged by all in-sync replicas before a request is answered."""

    brokers: Annotated[tuple[Broker, ...], Field(min_length=1)]
    """Some of the brokers, as host:port; the others are learnt from them."""
    topic: KafkaName = "genai_records"
    """Where records go; created when missing. Undeliverable rows go to the same name with `.dead_letters`."""
    group_prefix: KafkaName = "otlp-receiver"
    """Every exporter reads as the consumer group `<group_prefix>.<exporter>`."""
    encoding: Literal["arrow", "json"] = "arrow"
    """arrow: many rows a message, as an Arrow IPC stream; json: a row a message, its key the trace id."""
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    """Of messages: Arrow ones each by itself, JSON ones many together by Kafka's own."""
    max_message_bytes: Annotated[int, Field(strict=True, ge=65536, le=64 << 20)] = 1_000_000
    """Largest message before compression; a row that alone is larger is shortened, the whole is a dead letter."""
    create_topics: Switch = True
    """Whether missing topics are created; existing ones are checked, never changed."""
    partitions: PositiveInt = 12
    """Partitions of the topic: the most export processes that can share an exporter's work."""
    replication_factor: Annotated[int, Field(strict=True, ge=1, le=32767)] = 3
    """Copies of every record."""
    min_insync_replicas: Annotated[int, Field(strict=True, ge=1, le=32767)] = 2
    """Copies that must be written before a request is answered."""
    retention: Duration = 604800.0
    """How long a topic made by us keeps records, exported or not; 0 = for ever."""
    tls: KafkaTlsSettings | None = None
    """Encrypted connections."""
    sasl: KafkaSaslSettings | None = None
    """Authentication."""

    @model_validator(mode="after")
    def _enough_replicas(self) -> "KafkaBufferSettings":
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError("min_insync_replicas is larger than replication_factor: nothing could ever be written")
        return self
