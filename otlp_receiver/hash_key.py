"""The key of the hashes that secrets are stored as: from the configuration, else a file of the embedded Postgres."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from config.models import MetadataSettings
from config.values import EMBEDDED
from pipelines.errors import Permanent

_FILE: Final = "hash.key"
_KEY_BYTES: Final = 32


def find_hash_key(settings: MetadataSettings) -> bytes:
    """The key; made now when the embedded Postgres has none yet.

    Raises:
        Permanent: there is none, or its file cannot be used; the message names the cure.
    """
    if settings.hash_key is not None:
        return settings.hash_key.get_secret_value().encode()
    if settings.postgres.get_secret_value() != EMBEDDED:
        raise Permanent("metadata.hash_key is not set: use the one that the service has, from its environment")
    path = Path(settings.directory).resolve() / _FILE
    try:
        _make_once(path)
        return path.read_bytes()
    except OSError as error:
        reason = f"cannot keep the key of the hashes in {path}: {error.strerror}"
        raise Permanent(f"{reason}; make that writable, or set metadata.hash_key") from error


def _make_once(path: Path) -> None:
    """Make the file whole or not at all; of several processes at once one wins."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f"{_FILE}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_KEY_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        Path(aside).unlink()
