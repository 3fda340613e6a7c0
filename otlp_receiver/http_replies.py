"""Replies over HTTP: headers by encoding, and refusals with a google.rpc.Status as their body."""

from typing import Final

from aiohttp import hdrs, web

from otlp_receiver.replies import CONTENT_TYPES, UNAUTHENTICATED, WRONG_METHOD, Refused, encode_refused
from pipelines.ingest import Encoding

HEADERS: Final[dict[Encoding, dict[str, str]]] = {
    encoding: {"Content-Type": content_type, "Server": "otlp-receiver"}
    for encoding, content_type in CONTENT_TYPES.items()
}
CHALLENGE: Final = 'Basic realm="otlp-receiver", charset="UTF-8", Bearer realm="otlp-receiver"'
"""Both ways to show a key (RFC 7235, section 4.1); x-api-key has no name of its own there."""


def refusal(refused: Refused, encoding: Encoding) -> web.Response:
    """The reply to a request that was not taken."""
    headers = HEADERS[encoding] | refusal_headers(refused)
    return web.Response(status=refused.situation.http, body=encode_refused(refused, encoding), headers=headers)


def refusal_headers(refused: Refused) -> dict[str, str]:
    """What a refusal says in headers: when to try again, how to show a key, which method to use."""
    headers = {}
    if refused.retry_after_seconds is not None:
        headers["Retry-After"] = str(refused.retry_after_seconds)
    if refused.situation is UNAUTHENTICATED:
        headers["WWW-Authenticate"] = CHALLENGE
    if refused.situation is WRONG_METHOD:
        headers["Allow"] = hdrs.METH_POST
    return headers
