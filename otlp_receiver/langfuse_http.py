"""What Langfuse's clients ask beside sending: whether the server is up, and whether their key is good.

    GET /api/public/health      no key needed
    GET /api/public/projects    `auth_check()` of the Python client; the one project of the key

Shapes: Langfuse's public API, `HealthResponse` and `Projects`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import hdrs, web

from otlp_receiver import __version__
from otlp_receiver.credentials import Headers
from otlp_receiver.http_replies import HEADERS, refusal
from otlp_receiver.replies import Refused
from otlp_receiver.service import Service

_Answer = Callable[[Service, Headers], Awaitable[dict[str, Any]]]


async def answer(service: Service, request: web.BaseRequest) -> web.Response | None:
    """The answer to a question of a Langfuse client, None when the request is none."""
    find = _ANSWERS.get(request.path) if request.method == hdrs.METH_GET else None
    if find is None:
        return None
    try:
        return web.json_response(await find(service, request.headers), headers={"Server": HEADERS["json"]["Server"]})
    except Refused as refused:
        service.count("unknown", refused.situation.outcome)
        return refusal(refused, "json")


async def _health(_service: Service, _headers: Headers) -> dict[str, Any]:
    return {"status": "OK", "version": __version__}


async def _projects(service: Service, headers: Headers) -> dict[str, Any]:
    """Names are ids here: names are in Postgres only, and this must work without it."""
    project_id = await service.project_id(headers)
    organization = {"id": "default", "name": "default"}
    return {"data": [{"id": project_id, "name": project_id, "organization": organization, "metadata": {}}]}


_ANSWERS: Final[dict[str, _Answer]] = {"/api/public/health": _health, "/api/public/projects": _projects}
