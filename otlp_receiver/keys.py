"""API keys as texts: made, recognised, hashed.

    public   pk- and 24 characters: names the key, is no secret
    secret   sk- and 40 characters in base32: 168 random bits and their CRC-32

The check sum lets mistyped keys and plain garbage be refused without asking anybody. Secrets are stored as HMAC-SHA256:
they are random, so a slow hash would protect nothing, and whoever copies the database lacks the hash key.
"""

import base64
import binascii
import hmac
import secrets
import zlib
from dataclasses import dataclass, field
from functools import cache
from typing import Final

_PUBLIC: Final = "pk-"
_SECRET: Final = "sk-"  # noqa: S105 - a prefix
_PUBLIC_BYTES: Final = 15
_RANDOM_BYTES: Final = 21
_CHECK_BYTES: Final = 4
_SUFFIX_CHARS: Final = 4


@dataclass(frozen=True, slots=True)
class Key:
    """What a valid key stands for.

    Attributes:
        public_key: what Basic authentication must name beside the secret.
        project_id: whose records it sends and reads.
        scopes: `ingest`, `read`.
        valid_seconds: until it expires, counted from when it was looked up; None = it does not.
    """

    public_key: str
    project_id: str
    scopes: frozenset[str]
    valid_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; the only place where its secret is.

    Attributes:
        public_key: names it.
        secret: to be shown once.
    """

    public_key: str
    secret: str = field(repr=False)

    @property
    def display_suffix(self) -> str:
        """The end of the secret, by which its owner knows it again."""
        return self.secret[-_SUFFIX_CHARS:]

    def hash(self, hash_key: bytes) -> bytes:
        """What is stored of the secret."""
        return hash_secret(hash_key, self.secret)


def generate_key() -> NewKey:
    """A new key; two are never equal."""
    random = secrets.token_bytes(_RANDOM_BYTES)
    return NewKey(_PUBLIC + _text(secrets.token_bytes(_PUBLIC_BYTES)), _SECRET + _text(random + _check(random)))


def is_well_formed(secret: str) -> bool:
    """Whether it could be a secret that `generate_key` has made."""
    try:
        content = base64.b32decode(secret.removeprefix(_SECRET).upper())
    except (binascii.Error, ValueError):
        return False
    random, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    return secret == _SECRET + _text(content) and len(random) == _RANDOM_BYTES and check == _check(random)


def hash_secret(hash_key: bytes, secret: str) -> bytes:
    """HMAC-SHA256 of the secret, 32 bytes."""
    # Not `hmac.digest`, which lets go of the GIL for a microsecond's work: getting it back from a busy intake costs a
    # gRPC request a tenth of its time.
    found = _keyed(hash_key).copy()
    found.update(secret.encode())
    return found.digest()


@cache
def _keyed(hash_key: bytes) -> hmac.HMAC:
    """What every hash under this key begins with: half of the work."""
    return hmac.new(hash_key, digestmod="sha256")


def _text(content: bytes) -> str:
    return base64.b32encode(content).decode().lower()


def _check(random: bytes) -> bytes:
    return zlib.crc32(random).to_bytes(_CHECK_BYTES, "big")
