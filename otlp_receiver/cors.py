"""Which web pages may send: cross-origin resource sharing (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from typing import Final

from aiohttp import hdrs, web

from config.transports import CorsSettings

_ALWAYS_ALLOWED: Final = ("accept", "content-type", "x-requested-with")
_ALWAYS_EXPOSED: Final = "Retry-After"
_ANY: Final = "*"
_WHAT_DECIDES: Final = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


class Cors:
    """Decides about web pages; everybody else is not concerned."""

    def __init__(self, settings: CorsSettings) -> None:
        self._origins = settings.allowed_origins
        self._allowed = {*_ALWAYS_ALLOWED, *(name.lower() for name in settings.allowed_headers)}
        self._exposed = ", ".join((_ALWAYS_EXPOSED, *settings.exposed_headers))
        self._max_age_seconds = settings.max_age

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a browser that asks before it sends, which it does without credentials; None to others."""
        if request.method != hdrs.METH_OPTIONS or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return None
        response = web.Response(status=204, headers={"Server": "otlp-receiver", "Vary": _WHAT_DECIDES})
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        origin = self._allowed_origin(request)
        if origin is not None and self._allows_headers(asked):
            response.headers.update(_origin_headers(origin))
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = hdrs.METH_POST
            if asked:
                response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
            if self._max_age_seconds:
                response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(self._max_age_seconds)
        return response

    def permit(self, request: web.BaseRequest, response: web.Response) -> None:
        """Let the page that sent the request read its reply, when its origin is allowed."""
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        origin = self._allowed_origin(request)
        if origin is not None:
            response.headers.update(_origin_headers(origin))
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = self._exposed

    def _allowed_origin(self, request: web.BaseRequest) -> str | None:
        """What to answer to the page: its origin, `*` where every one is allowed, or None."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return None
        if _ANY in self._origins:
            return _ANY
        return origin if any(_matches(origin.lower(), pattern.lower()) for pattern in self._origins) else None

    def _allows_headers(self, asked: str) -> bool:
        names = (name.strip().lower() for name in asked.split(","))
        return _ANY in self._allowed or all(name in self._allowed for name in names if name)


def _matches(origin: str, pattern: str) -> bool:
    start, star, end = pattern.partition(_ANY)
    if not star:
        return origin == pattern
    return len(origin) >= len(start) + len(end) and origin.startswith(start) and origin.endswith(end)


def _origin_headers(origin: str) -> dict[str, str]:
    """A page may send cookies and the like to an origin that names it, never to `*`: beacons of browsers do."""
    headers: dict[str, str] = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin}
    if origin != _ANY:
        headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
    return headers
