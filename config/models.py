"""Settings as typed, frozen models; every docstring under a field is its line in docs/configuration.md.

A component's id is `type[/name]`; its type picks the model from the tables at the end of this file.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, model_validator

from config.access import ApiKeysSettings, Auth, StaticKeysSettings
from config.clickhouse import ClickHouseSettings
from config.conventions import Convention
from config.conventions.values import MOST_SOURCES
from config.kafka import KafkaBufferSettings
from config.prices import CostSettings
from config.settings import Count, PositiveInt, Settings, Wait
from config.transports import CorsSettings, KeepaliveSettings, TlsSettings
from config.values import (
    EMBEDDED,
    UNIX,
    ComponentId,
    Duration,
    Endpoint,
    Expression,
    HashKey,
    OwnedPath,
    PostgresDsn,
    TcpEndpoint,
)

NO_PROTOCOL: Final = "must specify at least one protocol when using the OTLP receiver: grpc or http"


# --- receivers -------------------------------------------------------------------------------------------------------


class ServerSettings(Settings):
    """What both protocols take."""

    endpoint: Endpoint
    """Address to listen on, or the path of a unix socket, which one worker serves however many there are."""
    transport: Literal["tcp", "unix"] = "tcp"
    """`unix` demands that the endpoint is a path; a path needs no `transport`."""
    tls: TlsSettings | None = None
    """Encrypted connections, and only those."""
    auth: Auth = None
    """Who may send. Absent, everyone on this machine may; an endpoint that others can reach must have it."""

    @model_validator(mode="after")
    def _path_of_a_socket(self) -> "ServerSettings":
        if self.transport == "unix" and not self.endpoint.startswith(UNIX):
            raise ValueError("transport unix needs the path of a socket as endpoint, such as /run/otlp.sock")
        return self


class GrpcServerSettings(ServerSettings):
    """OTLP over gRPC."""

    endpoint: Endpoint = "127.0.0.1:4317"
    """Address to listen on, or the path of a unix socket, which one worker serves however many there are."""
    max_recv_msg_size_mib: PositiveInt = 64
    """Largest request, counted after decompression; larger ones are refused with RESOURCE_EXHAUSTED."""
    max_concurrent_streams: Count = 0
    """Most requests in flight on one connection, further ones wait in their client; 0 = no limit."""
    keepalive: KeepaliveSettings = KeepaliveSettings()
    """Life of connections."""


class HttpServerSettings(ServerSettings):
    """OTLP over HTTP."""

    endpoint: Endpoint = "127.0.0.1:4318"
    """Address to listen on, or the path of a unix socket, which one worker serves however many there are."""
    max_request_body_size_mib: PositiveInt = 64
    """Largest request, counted after decompression too; larger ones are refused with 413."""
    cors: CorsSettings | None = None
    """Which web pages may send."""
    read_header_timeout: Duration = 10.0
    """What a request's headers may take from their first byte on, and a TLS handshake; 0 = as long as they need."""
    idle_timeout: Duration = 120.0
    """A connection without requests for so long is closed; 0 = never. Balancers in front should be the first to."""
    max_connection_age: Duration = 300.0
    """A connection is closed with the first reply after so long (a tenth more or less); 0 = never."""


class OtlpProtocols(Settings):
    """Presence switches a protocol on."""

    grpc: GrpcServerSettings | None = None
    """OTLP/gRPC; `grpc:` alone takes every default."""
    http: HttpServerSettings | None = None
    """OTLP/HTTP, protobuf and JSON; `http:` alone takes every default."""

    @model_validator(mode="after")
    def _at_least_one(self) -> "OtlpProtocols":
        if self.grpc is None and self.http is None:
            raise ValueError(NO_PROTOCOL)
        return self


class OtlpReceiverSettings(Settings):
    """The OTLP receiver."""

    protocols: OtlpProtocols
    """Which protocols to serve."""
    max_inflight_mib: PositiveInt = 256
    """Request bytes held in memory at once; beyond it requests are refused with 503/UNAVAILABLE, to be retried."""


# --- processors ------------------------------------------------------------------------------------------------------


class RedactionSettings(Settings):
    """Masks what matches in input, output, metadata, status messages and event attributes."""

    blocked_values: tuple[Expression, ...] = ()
    """Regular expressions (RE2); matching parts are replaced by `mask`."""
    mask: str = "****"
    """What stands in for a masked part."""


# --- buffers ---------------------------------------------------------------------------------------------------------


class LocalBufferSettings(Settings):
    """Durable buffer on local disk: fsynced before a request is answered."""

    directory: OwnedPath = "./data/buffer"
    """Where it lives; created when missing."""
    max_size_mib: PositiveInt = 4096
    """Size limit; when reached, requests are refused with 503/UNAVAILABLE until exporters have caught up."""


# --- exporters -------------------------------------------------------------------------------------------------------


class RetrySettings(Settings):
    """Back-off after a retryable failure."""

    initial_interval: Wait = 1.0
    """First wait."""
    max_interval: Wait = 30.0
    """Longest wait."""
    multiplier: Annotated[float, Field(strict=True, ge=1)] = 1.5
    """Growth from one wait to the next."""
    randomization_factor: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    """Share of a wait that is random."""
    max_elapsed_time: Duration = 0.0
    """Give up and dead-letter after so long; 0 = never give up, the default: the buffer holds the data."""


class BlockSettings(Settings):
    """How much one insert takes from the buffer."""

    max_rows: PositiveInt = 16384
    """Most observations in one insert."""
    max_size_mib: PositiveInt = 64
    """Most uncompressed bytes in one insert."""
    flush_interval: Duration = 0.2
    """How long to wait for more rows when fewer than half of max_rows are there; bounds the time to queryable."""


class ExporterSettings(Settings):
    """What every exporter takes."""

    retry_on_failure: RetrySettings = RetrySettings()
    """Back-off after a retryable failure."""
    block: BlockSettings = BlockSettings()
    """How much one insert takes from the buffer."""


class ChdbExporterSettings(ExporterSettings):
    """ClickHouse embedded in the export process (needs the `embedded` extra)."""

    path: OwnedPath = "./data/chdb"
    """Database directory; one process at a time may open it."""
    ttl_days: Count = 90
    """Rows are dropped so many days after they were stored; 0 = keep for ever."""
    max_memory_mib: PositiveInt = 2048
    """Memory that ClickHouse may use for inserts, merges and queries together."""


class ClickHouseExporterSettings(ClickHouseSettings, ExporterSettings):
    """A ClickHouse server or cluster over its native protocol."""


class DebugExporterSettings(ExporterSettings):
    """Writes what arrives to the log."""

    verbosity: Literal["basic", "normal", "detailed"] = "basic"
    """basic: a line per batch; normal: a line per observation; detailed: every field."""


class FileRotation(Settings):
    """When to start a new file and which old ones to keep."""

    max_megabytes: PositiveInt = 100
    """Size at which a new file is started."""
    max_days: Count = 0
    """Age at which old files are removed; 0 = never."""
    max_backups: Count = 100
    """Old files kept; 0 = all."""


class FileExporterSettings(ExporterSettings):
    """JSON lines, one record a line, fsynced per batch."""

    path: OwnedPath
    """File to append to."""
    rotation: FileRotation = FileRotation()
    """When to start a new file."""


# --- the rest --------------------------------------------------------------------------------------------------------


class MetadataSettings(Settings):
    """Where projects, keys, prices and quotas are kept."""

    postgres: PostgresDsn = SecretStr(EMBEDDED)
    """`embedded`: a Postgres of our own, started and stopped with the service; a DSN (postgresql://...); `none`."""
    directory: OwnedPath = "./data/postgres"
    """Data directory of the embedded Postgres."""
    hash_key: HashKey = None
    """Key of the hashes that secrets are stored as; absent, the embedded Postgres has one in its directory."""


class HealthCheckSettings(Settings):
    """Health over HTTP: `/` and `/ready` (200 when requests are accepted), `/live`."""

    endpoint: TcpEndpoint = "127.0.0.1:13133"
    """Address to listen on."""


class SqlHttpSettings(Settings):
    """Read-only SQL over ClickHouse's HTTP interface, for the embedded store."""

    endpoint: TcpEndpoint = "127.0.0.1:8123"
    """Address to listen on."""
    auth: Auth = None
    """Who may read, and then only the rows of the key's project. Absent, everyone on this machine may read all."""
    max_execution_time: Duration = 60.0
    """Longest a query may run."""
    max_concurrent_queries: PositiveInt = 4
    """Queries at once; more wait their turn."""


class PipelineSettings(Settings):
    """receivers → processors → buffer → exporters."""

    receivers: Annotated[tuple[ComponentId, ...], Field(min_length=1)]
    """Ids from the receivers section."""
    processors: tuple[ComponentId, ...] = ()
    """Ids from the processors section, in the order in which they run."""
    buffer: ComponentId
    """Id from the buffers section; a buffer serves one pipeline."""
    exporters: Annotated[tuple[ComponentId, ...], Field(min_length=1)]
    """Ids from the exporters section; each has its own cursor on the buffer."""
    conventions: Annotated[tuple[Convention, ...], Field(max_length=MOST_SOURCES)] = ()
    """Dialects of your own, beside those of docs/conventions.md; of two of the same name yours counts."""


class MetricsSettings(Settings):
    """Prometheus metrics over HTTP."""

    address: TcpEndpoint = "127.0.0.1:8888"
    """Address to listen on."""


class LogsSettings(Settings):
    """The service's own log."""

    level: Literal["debug", "info", "warn", "error"] = "info"
    """Least severe level written."""
    encoding: Literal["console", "json"] = "console"
    """console for people, json for machines."""


class TelemetrySettings(Settings):
    """What the service says about itself."""

    metrics: MetricsSettings = MetricsSettings()
    """Prometheus metrics."""
    logs: LogsSettings = LogsSettings()
    """Log."""


class ServiceSettings(Settings):
    """What runs, and how."""

    pipelines: Annotated[dict[str, PipelineSettings], Field(min_length=1)]
    """By id `traces[/name]`."""
    extensions: tuple[ComponentId, ...] | None = None
    """Extensions to start; absent = all that are configured."""
    workers: Annotated[int, Field(strict=True, ge=1, le=256)] = 1
    """Ingest processes sharing the ports."""
    shutdown_timeout: Duration = 25.0
    """How long SIGTERM may take: stop accepting, finish, flush."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Metrics and logs."""


# --- explicit registration: component type → its model ---------------------------------------------------------------

RECEIVERS: Final[dict[str, type[Settings]]] = {"otlp": OtlpReceiverSettings}
PROCESSORS: Final[dict[str, type[Settings]]] = {"cost": CostSettings, "redaction": RedactionSettings}
BUFFERS: Final[dict[str, type[Settings]]] = {"kafka": KafkaBufferSettings, "local": LocalBufferSettings}
EXPORTERS: Final[dict[str, type[Settings]]] = {
    "chdb": ChdbExporterSettings,
    "clickhouse": ClickHouseExporterSettings,
    "debug": DebugExporterSettings,
    "file": FileExporterSettings,
}
EXTENSIONS: Final[dict[str, type[Settings]]] = {
    "api_keys": ApiKeysSettings,
    "health_check": HealthCheckSettings,
    "sql_http": SqlHttpSettings,
    "static_keys": StaticKeysSettings,
}

SECTIONS: Final[dict[str, dict[str, type[Settings]]]] = {
    "receivers": RECEIVERS,
    "processors": PROCESSORS,
    "buffers": BUFFERS,
    "exporters": EXPORTERS,
    "extensions": EXTENSIONS,
}


class Config(Settings):
    """A whole configuration; every id that a pipeline names exists in its section.

    The values of the five component sections are instances of the models in `SECTIONS`, chosen by the id's type;
    `config.load` builds them.
    """

    receivers: dict[ComponentId, Any]
    """Sockets that spans come in by; each belongs to one pipeline."""
    processors: dict[ComponentId, Any] = {}  # noqa: RUF012 - pydantic copies it
    """What is done to records on their way into the buffer, in the order in which the pipeline lists them."""
    buffers: dict[ComponentId, Any]
    """Durable logs between receiving and exporting; each belongs to one pipeline."""
    exporters: dict[ComponentId, Any]
    """Sinks for the records; each has its own cursor on the buffer."""
    extensions: dict[ComponentId, Any] = {}  # noqa: RUF012 - pydantic copies it
    """What runs beside the pipelines."""
    metadata: MetadataSettings = MetadataSettings()
    """Where projects, keys, prices and quotas are kept."""
    service: ServiceSettings
    """What runs, and how."""
