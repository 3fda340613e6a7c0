"""Replies over HTTP: headers by encoding, and refusals with a google.rpc.Status as their body."""

from typing import Final

from aiohttp import hdrs, web

from otlp_receiver.replies import CONTENT_TYPES, WRONG_METHOD, Refused, encode_refused
from pipelines.ingest import Encoding

HEADERS: Final[dict[Encoding, dict[str, str]]] = {
    encoding: {"Content-Type": content_type, "Server": "otlp-receiver"}
    for encoding, content_type in CONTENT_TYPES.items()
}


def refusal(refused: Refused, encoding: Encoding) -> web.Response:
    """The reply to a request that was not taken."""
    situation = refused.situation
    headers = dict(HEADERS[encoding])
    if situation.retry_after_seconds is not None:
        headers["Retry-After"] = str(situation.retry_after_seconds)
    if situation is WRONG_METHOD:
        headers["Allow"] = hdrs.METH_POST
    return web.Response(status=situation.http, body=encode_refused(refused, encoding), headers=headers)
