"""Settings of a receiver's connections: certificates, origins of web pages, and how long they live."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from config.settings import Count, Settings, Switch, Wait
from config.values import Duration, Spelling, parse_origin

PemFile = Annotated[str, Field(min_length=1), Spelling("path")]
Origin = Annotated[str, AfterValidator(parse_origin), Spelling("origin")]


class TlsSettings(Settings):
    """Encrypted connections."""

    cert_file: PemFile
    """PEM file of the certificate, followed by the certificates between it and its authority."""
    key_file: PemFile
    """PEM file of the private key, without a password."""
    client_ca_file: PemFile | None = None
    """PEM file of authorities; when set, clients must show a certificate that one of them has signed."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest version of TLS that is spoken; every gRPC receiver with `tls` must have the same."""
    reload_interval: Duration = 5.0
    """How often changed files are looked for, to be used for new connections without a restart; 0 = never."""

    @field_validator("min_version", mode="before")
    @classmethod
    def _unquoted(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value


class CorsSettings(Settings):
    """Which web pages may send; others are kept out by their browsers."""

    allowed_origins: tuple[Origin, ...] = ()
    """Origins such as https://app.example.com; one `*` stands for any text, alone for every origin."""
    allowed_headers: tuple[str, ...] = ()
    """Request headers beside Accept, Content-Type and X-Requested-With, such as Authorization; `*` allows any."""
    exposed_headers: tuple[str, ...] = ()
    """Reply headers that pages may read beside Retry-After."""
    max_age: Count = 0
    """Seconds for which browsers remember the permission; 0 = as long as they do by themselves (5 s)."""


class KeepaliveServerParameters(Settings):
    """How long connections live, and when their clients are asked whether they are still there."""

    max_connection_idle: Duration = 0.0
    """A connection without requests for so long is closed; 0 = never."""
    max_connection_age: Duration = 300.0
    """A connection is closed after so long (a tenth more or less), so that balancers can rebalance; 0 = never."""
    max_connection_age_grace: Duration = 60.0
    """What requests in flight get to end then; 0 = as long as they need."""
    time: Wait = 7200.0
    """A client that has been silent for so long is pinged; one without a request in flight only if it may ping too."""
    timeout: Wait = 20.0
    """A client that has not answered the ping after so long is gone."""


class KeepaliveEnforcementPolicy(Settings):
    """What clients may ask of the server."""

    min_time: Duration = 300.0
    """Clients that ping more often are disconnected."""
    permit_without_stream: Switch = False
    """Whether clients without a request in flight may ping, and are pinged."""


class KeepaliveSettings(Settings):
    """Life of gRPC connections, in the words of gRPC."""

    server_parameters: KeepaliveServerParameters = KeepaliveServerParameters()
    """How long connections live, and when their clients are asked whether they are still there."""
    enforcement_policy: KeepaliveEnforcementPolicy = KeepaliveEnforcementPolicy()
    """What clients may ask of the server."""
