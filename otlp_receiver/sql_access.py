"""Who asks in SQL: keys as ClickHouse's clients send user and password, refusals as ClickHouse words them."""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otlp_receiver.authentication import Authenticate

_USER: Final = "X-ClickHouse-User"
_PASSWORD: Final = "X-ClickHouse-Key"  # noqa: S105 - name of a header
_AUTHENTICATION_FAILED: Final = 516
_ACCESS_DENIED: Final = 497
_NETWORK_ERROR: Final = 210


class Unauthorized(Exception):
    """The question is not heard; the text reads like ClickHouse's own errors.

    Attributes:
        status: of the HTTP reply.
        headers: of the HTTP reply.
    """

    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


async def sql_project(authenticate: "Authenticate", headers: Mapping[str, str]) -> str:
    """The project that the key of a request stands for; raises Unauthorized."""
    from otlp_receiver.http_replies import refusal_headers  # these bring gRPC along: some MB
    from otlp_receiver.replies import FORBIDDEN, UNAUTHENTICATED, Refused

    codes = {
        UNAUTHENTICATED: (_AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED"),
        FORBIDDEN: (_ACCESS_DENIED, "ACCESS_DENIED"),
    }
    try:
        return await authenticate(_as_basic(headers))
    except Refused as refused:
        code, name = codes.get(refused.situation, (_NETWORK_ERROR, "NETWORK_ERROR"))
        reply = refusal_headers(refused) | {"X-ClickHouse-Exception-Code": str(code)}
        text = f"Code: {code}. DB::Exception: {refused.message}. ({name})"
        raise Unauthorized(refused.situation.http, reply, text) from None


def _as_basic(headers: Mapping[str, str]) -> Mapping[str, str]:
    """ClickHouse's own headers as Basic authentication, which those who send both mean too."""
    if _PASSWORD not in headers:
        return headers
    pair = f"{headers.get(_USER, '')}:{headers[_PASSWORD]}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode('utf-8', 'replace')).decode()}"}
