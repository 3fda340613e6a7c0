"""Cross-origin requests of web pages: who is permitted, what browsers are told, and that nobody else notices."""

from typing import Any, Final

import aiohttp
import pytest

from otlp_receiver.admission import Admission
from tests.support.http_client import BODY, JSON, PROTOBUF
from tests.support.receivers import MIB, RememberingIntake, http_server, on_uvloop

_PAGE: Final = "https://app.example.com"
_PREFIX: Final = "Access-Control-"
_ALLOWED: Final = {"Access-Control-Allow-Origin": _PAGE, "Access-Control-Allow-Credentials": "true"}


async def _ask(
    server: Any, method: str, origin: str | None, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Status, the headers of the protocol, and what the reply varies by."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = named if origin is None else {"Origin": origin, **named}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{server.endpoints[0]}/v1/traces", data=body, headers=sent) as reply,
    ):
        told = {name: value for name, value in reply.headers.items() if name.startswith(_PREFIX)}
        return reply.status, told, reply.headers.get("Vary", "")


async def _preflight(server: Any, origin: str, headers: str = "") -> tuple[int, dict[str, str], str]:
    asked = {"Access_Control_Request_Method": "POST"}
    if headers:
        asked["Access_Control_Request_Headers"] = headers
    return await _ask(server, "OPTIONS", origin, b"", **asked)


@pytest.mark.parametrize(
    ("pattern", "origin", "answer"),
    [
        (_PAGE, _PAGE, _PAGE),
        (_PAGE, "https://APP.example.com", "https://APP.example.com"),
        (_PAGE, "http://app.example.com", None),
        (_PAGE, f"{_PAGE}.evil.com", None),
        ("https://*.example.com", _PAGE, _PAGE),
        ("https://*.example.com", "https://example.com", None),
        ("https://*.example.com", "https://evil.com/.example.com.evil.com", None),
        ("https://a*a", "https://a", None),
        ("http://localhost:*", "http://localhost:3000", "http://localhost:3000"),
        ("*", "null", "*"),
    ],
)
@on_uvloop
async def test_origins(pattern: str, origin: str, answer: str | None) -> None:
    """An origin is permitted when a pattern is it, letter case aside, with text in the place of the star."""
    async with http_server(RememberingIntake(), cors={"allowed_origins": ["https://other", pattern]}) as server:
        status, told, _ = await _preflight(server, origin)

    assert status == 204
    assert told.get("Access-Control-Allow-Origin") == answer
    assert bool(told) == (answer is not None)
    assert ("Access-Control-Allow-Credentials" in told) == (answer not in (None, "*"))


@on_uvloop
async def test_preflight() -> None:
    """A browser that asks is told all that it wants to know, without a request being taken or counted."""
    intake = RememberingIntake()
    cors = {"allowed_origins": [_PAGE], "allowed_headers": ["Authorization"], "max_age": 600}
    async with http_server(intake, cors=cors) as server:
        status, told, varies = await _preflight(server, _PAGE, "content-type, authorization")
        refused = await _preflight(server, _PAGE, "content-type, x-secret")

    assert status == 204
    assert told == {
        **_ALLOWED,
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "content-type, authorization",
        "Access-Control-Max-Age": "600",
    }
    assert varies == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    assert refused[:2] == (204, {})
    assert not intake.consumed


@on_uvloop
async def test_any_header() -> None:
    """With `*` every header is allowed by its name, since browsers want Authorization named."""
    async with http_server(RememberingIntake(), cors={"allowed_origins": [_PAGE], "allowed_headers": ["*"]}) as server:
        _, told, _ = await _preflight(server, _PAGE, "authorization, x-any")

    assert told["Access-Control-Allow-Headers"] == "authorization, x-any"


@on_uvloop
async def test_replies() -> None:
    """The page may read its reply, refusals and their Retry-After among them; others get theirs without a word."""
    intake, admission = RememberingIntake(), Admission(MIB)
    allowed = {**_ALLOWED, "Access-Control-Expose-Headers": "Retry-After, X-More"}
    cors = {"allowed_origins": [_PAGE], "exposed_headers": ["X-More"]}
    async with http_server(intake, cors=cors, admission=admission) as server:
        for origin, told in ((_PAGE, allowed), ("https://evil.com", {}), (None, {})):
            assert await _ask(server, "POST", origin, BODY, Content_Type=PROTOBUF) == (200, told, "Origin")
            assert await _ask(server, "POST", origin, b"{", Content_Type="text/plain") == (415, told, "Origin")
            assert await _ask(server, "OPTIONS", origin) == (405, told, "Origin")
            with admission.lease() as others:
                others.hold(MIB)
                assert await _ask(server, "POST", origin, b"{}", Content_Type=JSON) == (503, told, "Origin")

    assert len(intake.consumed) == 3


@on_uvloop
async def test_not_configured() -> None:
    """Without `cors` nothing is said about origins, and OPTIONS is no method."""
    async with http_server(RememberingIntake()) as server:
        assert await _preflight(server, _PAGE) == (405, {}, "")
        assert await _ask(server, "POST", _PAGE, BODY, Content_Type=PROTOBUF) == (200, {}, "")


@on_uvloop
async def test_nobody_is_allowed_by_default() -> None:
    """A `cors` block without origins permits none."""
    async with http_server(RememberingIntake(), cors={}) as server:
        assert (await _preflight(server, _PAGE))[:2] == (204, {})
