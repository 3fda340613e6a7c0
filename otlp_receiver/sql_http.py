"""Read-only SQL over ClickHouse's HTTP interface (https://clickhouse.com/docs/interfaces/http), for the embedded store.

    GET or POST /?query=...&database=otel&default_format=JSON&param_name=value, the query also in the body
    GET /ping

Users and passwords are the public and secret keys of a project, by Basic authentication or in ClickHouse's own headers,
where the extension asks for them; else they are ignored. Sessions are, and settings other than those that shape the
answer.
"""

import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog
from aiohttp import web

from config.models import SqlHttpSettings
from exporters.clickhouse_errors import error_code
from otlp_receiver.sockets import address, bind
from otlp_receiver.sql_access import Unauthorized, sql_project
from otlp_receiver.sql_guard import Refused
from otlp_receiver.sql_query import Answer, Question, Questions, Summary
from otlp_receiver.sql_replies import content_type, error_text, late_error, status_of
from pipelines.errors import Retryable

if TYPE_CHECKING:
    from otlp_receiver.authentication import Authenticate

_MOST_WAITING: Final = 64
_BODY_SECONDS: Final = 30.0
_DATABASES: Final = ("", "otel", "default")
_GREETINGS: Final = ("/ping", "/replicas_status")
_TRUE: Final = ("1", "true")
_BODY_ENCODINGS: Final = ("identity", "gzip", "deflate")

_log = structlog.get_logger("sql")
_Value = TypeVar("_Value")


class Store(Protocol):
    """What is asked, such as `exporters.chdb_store.ChdbExporter`."""

    def reader(self, settings: Mapping[str, str], project_id: str = "") -> Any:
        """A connection that can only read, one project's rows or all, with these settings for good."""


class SqlHttpServer:
    """Serves SQL; one `start`, one `shutdown`.

    Args:
        settings: of the extension.
        store: what is asked.
        authenticate: whose rows a question is about; None = everyone sees all.

    Attributes:
        endpoints: `host:port` of every address it listens on, known once started.
    """

    def __init__(self, settings: SqlHttpSettings, store: Store, authenticate: "Authenticate | None" = None) -> None:
        self.endpoints: list[str] = []
        self._authenticate = authenticate
        self._endpoint = settings.endpoint
        self._questions = Questions(store.reader, settings.max_execution_time, shared=authenticate is not None)
        self._answer_seconds = settings.max_execution_time
        self._threads = ThreadPoolExecutor(settings.max_concurrent_queries, thread_name_prefix="sql")
        self._slots = asyncio.Semaphore(settings.max_concurrent_queries)
        self._waiting = 0
        self._runner = web.ServerRunner(web.Server(self._respond, access_log=None))

    async def start(self) -> None:
        """Listen; raises OSError naming the address when that is not possible."""
        sockets = bind(self._endpoint, shared=False)
        await self._runner.setup()
        for bound in sockets:
            await web.SockSite(self._runner, bound).start()
            self.endpoints.append(address(bound))

    async def shutdown(self, deadline_seconds: float) -> None:
        """Stop accepting, let answers end by the deadline; queries left then end when the store is closed."""
        self._runner._shutdown_timeout = deadline_seconds  # noqa: SLF001 - aiohttp takes it in the constructor only
        await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Server": "otlp-receiver"}
        if request.path in _GREETINGS:
            return web.Response(text="Ok.\n", headers=headers)
        if request.path != "/":
            return web.Response(status=404, text="There is nothing here; queries go to /\n", headers=headers)
        headers |= {"X-ClickHouse-Query-Id": _query_id(request), "X-ClickHouse-Timezone": "UTC"}
        try:
            return await self._reply(request, headers)
        except Unauthorized as error:
            headers |= error.headers
            return web.Response(status=error.status, headers=headers, text=f"{error}\n")
        except Retryable as error:
            return web.Response(status=503, text=f"{error}\n", headers=headers)
        except (Refused, RuntimeError) as error:
            text = error_text(error)
            headers["X-ClickHouse-Exception-Code"] = str(error_code(text))
            return web.Response(status=status_of(text), headers=headers, text=f"{text}\n")

    async def _reply(self, request: web.BaseRequest, headers: dict[str, str]) -> web.StreamResponse:
        question = await _question(request, await self._project_id(request))
        if not question.query.strip():
            return web.Response(text="Ok.\n", headers=headers)
        async with self._turn():
            return await self._answer(request, question, headers)

    async def _project_id(self, request: web.BaseRequest) -> str:
        """The project that may be asked about, empty for all; settled before the body is read."""
        return "" if self._authenticate is None else await sql_project(self._authenticate, request.headers)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= _MOST_WAITING:
            raise Refused("Code: 202. DB::Exception: Too many queries are waiting. (TOO_MANY_SIMULTANEOUS_QUERIES)")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _answer(
        self, request: web.BaseRequest, question: Question, headers: dict[str, str]
    ) -> web.StreamResponse:
        answer = await self._in_thread(lambda: self._questions.ask(question))
        try:
            headers |= {"X-ClickHouse-Format": answer.format, "Content-Type": content_type(answer.format)}
            if answer.summary:
                headers["X-ClickHouse-Summary"] = _summary_text(answer.summary)
            response = web.StreamResponse(headers=headers)
            if request.query.get("enable_http_compression") in _TRUE and _takes_gzip(request):
                response.enable_compression(web.ContentCoding.gzip)
            await self._send(request, response, answer)
        finally:
            await self._in_thread(answer.close)
        return response

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse, answer: Answer) -> None:
        """An answer that cannot be finished is cut off, so that nobody takes it for a whole one."""
        tag = response.headers["X-ClickHouse-Exception-Tag"] = secrets.token_hex(8)
        await response.prepare(request)
        end = asyncio.get_running_loop().time() + self._answer_seconds
        try:
            while piece := await self._in_thread(answer.next_piece):
                async with asyncio.timeout_at(end):  # the engine watches its own time, this is the client's
                    await response.write(piece)
            await response.write_eof()
        except (RuntimeError, TimeoutError) as error:
            text = error_text(error) or "Code: 209. DB::Exception: The client reads too slowly. (SOCKET_TIMEOUT)"
            if isinstance(error, RuntimeError):
                await response.write(late_error(text, tag))
            _log.info("An answer was cut off.", code=error_code(text))
            if request.transport is not None:
                request.transport.close()

    async def _in_thread(self, work: Callable[[], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _question(request: web.BaseRequest, project_id: str) -> Question:
    fields = request.query
    for name in ("compress", "decompress"):
        if fields.get(name) in _TRUE:
            raise Refused(
                f"Code: 48. DB::Exception: {name}=1 is not supported; use HTTP compression. (NOT_IMPLEMENTED)"
            )
    database = fields.get("database") or request.headers.get("X-ClickHouse-Database", "")
    if database not in _DATABASES:
        raise Refused(f"Code: 81. DB::Exception: Database {database} does not exist. (UNKNOWN_DATABASE)")
    return Question(
        query=_joined(fields.get("query", ""), await _body(request)),
        default_format=fields.get("default_format", "") or request.headers.get("X-ClickHouse-Format", ""),
        parameters={name.removeprefix("param_"): text for name, text in fields.items() if name.startswith("param_")},
        settings=dict(fields),
        project_id=project_id,
    )


async def _body(request: web.BaseRequest) -> str:
    if request.content_type.startswith("multipart/"):
        raise Refused("Code: 48. DB::Exception: Forms and external tables are not supported. (NOT_IMPLEMENTED)")
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in _BODY_ENCODINGS:
        raise Refused(f"Code: 48. DB::Exception: Content-Encoding {encoding} is not supported. (NOT_IMPLEMENTED)")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise Refused(f"Code: 62. DB::Exception: The query is not UTF-8: {error.reason}. (SYNTAX_ERROR)") from error
    except TimeoutError as error:
        raise Refused("Code: 209. DB::Exception: The query did not arrive in time. (SOCKET_TIMEOUT)") from error


def _joined(query: str, body: str) -> str:
    return f"{query}\n{body}" if query and body else query + body


def _query_id(request: web.BaseRequest) -> str:
    """What the client chose, unless it could break out of a header."""
    chosen = request.query.get("query_id", "")
    return chosen if chosen.isascii() and chosen.isprintable() and chosen else str(uuid.uuid4())


def _takes_gzip(request: web.BaseRequest) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def _summary_text(summary: Summary) -> str:
    return json.dumps({name: str(value) for name, value in asdict(summary).items()})
