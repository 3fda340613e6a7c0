"""Keys that others have made, which `otlp-receiver keys import` takes over: what may be one, and what may not.

Secrets of our own have a check sum (`otlp_receiver.keys`); these have any shape, such as Langfuse's `sk-lf-` with a
UUID, or what `openssl rand` gave for static keys. How random they are cannot be seen: as of static keys the length is
asked for that can hold 160 bits, and what nobody would call random is refused.
"""

import re
from typing import Final

from config.access import LEAST_SECRET_CHARS
from otlp_receiver.keys import is_well_formed

_MOST_CHARS: Final = 200
_LEAST_DIFFERENT_CHARS: Final = 8
_VISIBLE: Final = re.compile(r"[!-~]*")
_PUBLIC: Final = re.compile(rf"[!-9;-~]{{1,{_MOST_CHARS}}}")
_SHAPE_OF_OURS: Final = re.compile(r"sk-[a-z2-7]{40}")


def secret_fault(secret: str) -> str:
    """Why a secret cannot be taken over, empty when it can; never quotes it."""
    if not LEAST_SECRET_CHARS <= len(secret) <= _MOST_CHARS:
        return f"must have {LEAST_SECRET_CHARS} to {_MOST_CHARS} characters: make a new key with `keys create`"
    if not _VISIBLE.fullmatch(secret):
        return "must have visible ASCII characters only, without spaces: others cannot be sent in a header"
    if len(set(secret)) < _LEAST_DIFFERENT_CHARS:
        return f"has fewer than {_LEAST_DIFFERENT_CHARS} different characters: it can be guessed"
    if _SHAPE_OF_OURS.fullmatch(secret) and not is_well_formed(secret):
        return "looks like a secret of this service, but its check sum is wrong: it was mistyped"
    return ""


def public_fault(public_key: str) -> str:
    """Why a public key cannot be taken over, empty when it can."""
    if _PUBLIC.fullmatch(public_key):
        return ""
    return f"must have visible ASCII characters only, no colon, {_MOST_CHARS} at most: it is a user name of HTTP"


def may_be_secret(text: str) -> bool:
    """Whether a key with this secret can be in the store; what cannot is not worth a query."""
    return not secret_fault(text)
