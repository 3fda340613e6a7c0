"""The authenticator `static_keys`: keys of the configuration."""

import secrets
from pathlib import Path

from config.access import LEAST_SECRET_CHARS, StaticKeySettings, StaticKeysSettings
from otlp_receiver.keys import Key, hash_secret
from pipelines.errors import Permanent


class StaticKeys:
    """Keys of the configuration; they change with a restart only."""

    def __init__(self, settings: StaticKeysSettings) -> None:
        self._settings = settings
        self._hash_key = secrets.token_bytes(32)
        self._keys: dict[bytes, Key] = {}

    async def start(self) -> None:
        """Read the secrets that are in files."""
        for each in self._settings.keys:
            digest = hash_secret(self._hash_key, read_secret(each))
            if digest in self._keys:
                raise Permanent(f"keys {self._keys[digest].public_key} and {each.public_key} have the same secret")
            self._keys[digest] = Key(each.public_key, each.project, frozenset(each.scopes))

    async def close(self) -> None:
        """There is nothing to give up."""

    async def find(self, secret: str) -> Key | None:
        """See `Authenticator.find`."""
        return self._keys.get(hash_secret(self._hash_key, secret))


def read_secret(settings: StaticKeySettings) -> str:
    """The secret of a key of the configuration; raises Permanent naming a file that cannot be used."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    path = settings.secret_key_file or ""
    try:
        secret = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise Permanent(f"the secret of key {settings.public_key} cannot be read from {path}: {reason}") from error
    if len(secret) < LEAST_SECRET_CHARS:
        raise Permanent(
            f"{path}, the secret of key {settings.public_key}, must have {LEAST_SECRET_CHARS} characters or more"
        )
    return secret
