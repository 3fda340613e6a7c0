"""Settings of who may send and read: what a listener asks for, and where keys come from."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from config.settings import Settings
from config.values import ComponentId, Duration, Spelling

DEFAULT_PROJECT: Final = "default"
"""Whose everything is as long as no keys are in use."""
NOBODY: Final = "none"
"""In the place of an authenticator: whoever reaches the listener may use it, as project `default`."""
LEAST_SECRET_CHARS: Final = 27
"""160 bits in base64; fewer characters cannot hold them."""

Scope = Literal["ingest", "read"]


class AuthSettings(Settings):
    """Who may use a listener; `auth: ID` is short for `auth: {authenticator: ID}`."""

    authenticator: ComponentId
    """Id of an extension api_keys or static_keys; `none` lets everyone in who reaches the endpoint."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"authenticator": value} if isinstance(value, str) else value


def is_open(auth: AuthSettings | None) -> bool:
    """Whether a listener lets everyone in who reaches it."""
    return auth is None or auth.authenticator == NOBODY


def _absent(value: Any) -> Any:
    return None if value in ("", {}) else value  # what `auth: ${env:NAME:-}` becomes


Auth = Annotated[
    AuthSettings | None,
    BeforeValidator(_absent),
    WithJsonSchema({"anyOf": [{"$ref": f"#/$defs/{AuthSettings.__name__}"}, {"type": "string"}]}),
]
"""Written as a mapping, or as the authenticator's id alone; nothing is as good as absent."""


class ApiKeysSettings(Settings):
    """Keys of the metadata store, as `otlp-receiver keys` makes them; revoked ones are refused within 30 s."""

    grace: Duration = 3600.0
    """While Postgres does not answer, keys seen before work for so long after they were last found valid."""


class StaticKeySettings(Settings):
    """One key. Its secret comes from `secret_key` or from `secret_key_file`."""

    public_key: Annotated[str, Field(min_length=1)]
    """User name of Basic authentication."""
    secret_key: Annotated[SecretStr, Spelling("secret")] | None = None
    """Secret of 27 characters or more, from the environment: `${env:NAME}`."""
    secret_key_file: Annotated[str, Field(min_length=1), Spelling("path")] | None = None
    """File that holds the secret, read at the start."""
    project: Annotated[str, Field(min_length=1)] = DEFAULT_PROJECT
    """Id of the project that it sends to and reads from."""
    scopes: tuple[Scope, ...] = ("ingest",)
    """What it may do: `ingest`, `read`."""

    @model_validator(mode="after")
    def _one_secret(self) -> "StaticKeySettings":
        if (self.secret_key is None) == (self.secret_key_file is None):
            raise ValueError("needs either secret_key, such as ${env:OTLP_SECRET_KEY}, or secret_key_file")
        if self.secret_key is not None and len(self.secret_key.get_secret_value()) < LEAST_SECRET_CHARS:
            raise ValueError(f"secret_key must have {LEAST_SECRET_CHARS} characters or more: openssl rand -hex 20")
        if not self.scopes:
            raise ValueError("needs one scope at least: ingest, read")
        return self


class StaticKeysSettings(Settings):
    """Keys from the configuration, for receivers without Postgres."""

    keys: tuple[StaticKeySettings, ...]
    """All of them; no public key and no secret twice."""

    @model_validator(mode="after")
    def _distinct(self) -> "StaticKeysSettings":
        names = [key.public_key for key in self.keys]
        if not names:
            raise ValueError("needs one key at least: keys: [{public_key: ..., secret_key: ${env:OTLP_SECRET_KEY}}]")
        if len(set(names)) != len(names):
            raise ValueError("two keys have the same public_key")
        return self
