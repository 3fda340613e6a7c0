"""What a request shows of a key, in any of three ways; found out without asking anybody.

Authorization: Basic base64(public:secret)     Langfuse and its forks (RFC 7617)
Authorization: Bearer secret                   Collectors (RFC 6750)
x-api-key: secret
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from otlp_receiver.replies import UNAUTHENTICATED, Refused

Headers = Mapping[str, str | bytes]
"""A request's headers, or gRPC metadata; asked in lower case."""

_EXPECTED: Final = "expected `Basic base64(public key:secret key)` or `Bearer secret key`"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was shown.

    Attributes:
        secret: as it was sent.
        public_key: None when the way that was chosen has no place for it.
    """

    secret: str = field(repr=False)
    public_key: str | None = None


def read_credentials(headers: Headers) -> Credentials:
    """The key that a request shows.

    Raises:
        Refused: it shows none, or in a way that cannot be read. The text never quotes what was sent.
    """
    authorization = _text(headers.get("authorization", ""))
    if authorization:
        return _authorized(authorization)
    secret = _text(headers.get("x-api-key", ""))
    if not secret:
        raise _refused(f"the request has neither an Authorization nor an x-api-key header; {_EXPECTED}")
    return Credentials(secret)


def _authorized(header: str) -> Credentials:
    scheme, _, rest = header.partition(" ")
    match scheme.lower():
        case "basic":
            return _basic(rest.strip())
        case "bearer" if rest.strip():
            return Credentials(rest.strip())
        case "bearer":
            raise _refused("the Authorization header has no key after Bearer")
    raise _refused(f"the Authorization header has no scheme that is known here; {_EXPECTED}")


def _basic(encoded: str) -> Credentials:
    try:
        padded = encoded + "=" * (-len(encoded) % 4)  # some senders cut the end off
        public_key, separator, secret = base64.b64decode(padded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _refused(f"what follows Basic in the Authorization header is no base64 of text; {_EXPECTED}") from None
    if not separator:
        raise _refused(f"what follows Basic in the Authorization header holds no colon; {_EXPECTED}")
    return Credentials(secret, public_key)


def _text(value: str | bytes) -> str:
    """As text; what is none can be no key."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    return text.strip() if text.isascii() else "?"


def _refused(message: str) -> Refused:
    return Refused(UNAUTHENTICATED, message)
