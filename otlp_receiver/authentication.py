"""From a request's headers to the project that it belongs to. Only the key decides, whatever else the request says."""

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from config.access import DEFAULT_PROJECT, Scope
from otlp_receiver.credentials import Credentials, Headers, read_credentials
from otlp_receiver.keys import Key
from otlp_receiver.replies import FORBIDDEN, KEYS_UNAVAILABLE, UNAUTHENTICATED, Refused
from pipelines.errors import Retryable

Authenticate = Callable[[Headers], Awaitable[str]]
"""The project that a request belongs to, settled before its body is read. Raises Refused."""

# One text for keys that are unknown, expired, revoked or do not match: a guesser learns nothing.
_REFUSED: Final = "the key is not valid: check public and secret key, and whether it was revoked or has expired"


class Authenticator(Protocol):
    """Knows keys; one `start`, one `close`."""

    async def start(self) -> None:
        """Return when keys can be asked for; raises Permanent naming what is wrong."""

    async def close(self) -> None:
        """Give up what it holds."""

    async def find(self, secret: str) -> Key | None:
        """The valid key with this secret, None when there is none. Raises Retryable when nobody can say now."""


def authenticate_by(authenticator: Authenticator, scope: Scope) -> Authenticate:
    """Lets in who shows a key with this scope."""
    return partial(_project_of, authenticator, scope)


async def let_everyone_in(_headers: Headers) -> str:
    """Without keys there is only the project `default`."""
    return DEFAULT_PROJECT


async def _project_of(authenticator: Authenticator, scope: Scope, headers: Headers) -> str:
    credentials = read_credentials(headers)
    try:
        key = await authenticator.find(credentials.secret)
    except Retryable as error:
        raise Refused(KEYS_UNAVAILABLE, f"{error}; try again") from None
    if key is None or not _matches(credentials, key):
        raise Refused(UNAUTHENTICATED, _REFUSED)
    if scope not in key.scopes:
        raise Refused(FORBIDDEN, f"the key lacks the scope {scope}: it has {', '.join(sorted(key.scopes))}")
    return key.project_id


def _matches(credentials: Credentials, key: Key) -> bool:
    """Whether the public key that was shown is the secret's own; compared in constant time."""
    if credentials.public_key is None:
        return True
    return hmac.compare_digest(credentials.public_key.encode(), key.public_key.encode())
