"""The composition root: from a configuration to working parts, and the only place that knows them all.

ingest:  receivers → Intake(decode, map, processors) → buffer
export:  buffer → ExportLoop → exporter, one loop per exporter; read-only SQL over the embedded store
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from config import Config
from config.conventions import Convention, in_order
from config.models import PipelineSettings
from config.values import UNIX
from otlp_receiver.child import Assignment, Part
from otlp_receiver.lean import give_back_when_idle
from otlp_receiver.preflight import enabled_extensions
from pipelines.batch import Batch
from pipelines.buffers import Buffer, open_buffer
from pipelines.ingest import Intake, Outcome, Request, Stored, Transform
from pipelines.processors import build_processor

_MIB: Final = 2**20
_LEAST_SECONDS: Final = 0.5


def transform(conventions: tuple[Convention, ...]) -> Transform:
    """Requests → batches: decode, then map."""
    from otlp_receiver.decode import decode, decode_logs
    from otlp_receiver.mapping import Plan, map_spans
    from otlp_receiver.mapping.log_events import EventNames, map_log_events

    plan, names = Plan(conventions), EventNames(conventions)

    def spans(requests: Sequence[Request]) -> tuple[list[Batch], list[Outcome]]:
        table, outcomes = decode(requests)
        return map_spans(plan, table, requests), outcomes

    def logs(requests: Sequence[Request]) -> tuple[list[Batch], list[Outcome]]:
        table, outcomes = decode_logs(requests, names.__contains__)
        return map_log_events(plan, table, requests), outcomes

    return by_signal({"traces": spans, "logs": logs})


def by_signal(transforms: Mapping[Stored, Transform]) -> Transform:
    """Hands the requests of each signal to its own transform."""

    def transform_all(requests: Sequence[Request]) -> tuple[list[Batch], list[Outcome]]:
        batches: list[Batch] = []
        outcomes: dict[int, Outcome] = {}
        for signal, transform_some in transforms.items():
            numbers = [number for number, request in enumerate(requests) if request.signal == signal]
            if numbers:
                made, answers = transform_some([requests[number] for number in numbers])
                batches += made
                outcomes |= zip(numbers, answers, strict=True)
        return batches, [outcomes[number] for number in range(len(requests))]

    return transform_all


class IngestPart:
    """Sockets to buffer."""

    def __init__(self, config: Config, conventions: Sequence[Convention], *, serves_unix_sockets: bool) -> None:
        self._config = config
        self._serves_unix_sockets = serves_unix_sockets
        self._conventions = conventions
        self._buffers: list[Buffer] = []
        self._intakes: list[Intake] = []
        self._receivers: list[Any] = []
        self._giving_back: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Downstream first: buffers, intakes, then the sockets."""
        for pipeline in self._config.service.pipelines.values():
            conventions = in_order([*self._conventions, *pipeline.conventions])
            intake = self._start_intake(pipeline, conventions)
            for receiver_id in pipeline.receivers:
                self._receivers.extend(self._build_receivers(receiver_id, intake, conventions))
        for receiver in self._receivers:
            await receiver.start()
        self._giving_back = asyncio.create_task(give_back_when_idle())

    def _start_intake(self, pipeline: PipelineSettings, conventions: tuple[Convention, ...]) -> Intake:
        buffer = open_buffer(pipeline.buffer, self._config.buffers[pipeline.buffer])
        self._buffers.append(buffer)
        processors = [build_processor(each, self._config.processors[each]) for each in pipeline.processors]
        intake = Intake(transform(conventions), processors, buffer)
        intake.start()
        self._intakes.append(intake)
        return intake

    def _build_receivers(self, receiver_id: str, intake: Intake, conventions: tuple[Convention, ...]) -> list[Any]:
        from otlp_receiver.admission import Admission
        from otlp_receiver.grpc_server import GrpcServer
        from otlp_receiver.http_server import HttpServer
        from otlp_receiver.mapping.log_events import EventNames
        from otlp_receiver.service import Service

        settings = self._config.receivers[receiver_id]
        admission = Admission(settings.max_inflight_mib * _MIB)
        service = partial(Service, intake, admission, receiver_id, may_hold_events=EventNames(conventions).may_be_in)
        grpc, http = settings.protocols.grpc, settings.protocols.http
        receivers: list[Any] = []
        if grpc is not None and self._serves(grpc.endpoint):
            receivers.append(GrpcServer(grpc, service("grpc")))
        if http is not None and self._serves(http.endpoint):
            receivers.append(HttpServer(http, service("http")))
        return receivers

    def _serves(self, endpoint: str) -> bool:
        return self._serves_unix_sockets or not endpoint.startswith(UNIX)

    async def shutdown(self, deadline_seconds: float) -> None:
        """Upstream first: sockets, then what waits in the intakes, then the buffers."""
        if self._giving_back is not None:
            self._giving_back.cancel()
        await asyncio.gather(*(receiver.shutdown(deadline_seconds) for receiver in self._receivers))
        for intake in self._intakes:
            await asyncio.to_thread(intake.shutdown)
        for buffer in self._buffers:
            buffer.close()

    def problem(self) -> str:
        """Why requests are refused, empty when they are taken."""
        return "; ".join(intake.problem for intake in self._intakes if intake.problem)


class ExportPart:
    """Buffer to sinks, and SQL over the embedded store."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._buffers: list[Buffer] = []
        self._exporters: dict[str, Any] = {}
        self._loops: list[Any] = []
        self._sql: Any = None

    async def start(self) -> None:
        """Downstream first: sinks, then the loops that fill them, then SQL."""
        for pipeline in self._config.service.pipelines.values():
            await asyncio.to_thread(self._start_pipeline, pipeline)
        for extension_id, settings in enabled_extensions(self._config).items():
            if extension_id.startswith("sql_http"):
                await self._start_sql(settings)

    def _start_pipeline(self, pipeline: PipelineSettings) -> None:
        from exporters import build_exporter
        from pipelines.export import ExportLoop

        buffer = open_buffer(pipeline.buffer, self._config.buffers[pipeline.buffer])
        self._buffers.append(buffer)
        buffer.keep_cursors(pipeline.exporters)
        for exporter_id in pipeline.exporters:
            settings = self._config.exporters[exporter_id]
            exporter = build_exporter(exporter_id, settings)
            loop = ExportLoop(exporter_id, exporter, buffer, settings, buffer.dead_letters)
            loop.start()
            self._exporters[exporter_id] = exporter
            self._loops.append(loop)

    async def _start_sql(self, settings: Any) -> None:
        from otlp_receiver.sql_http import SqlHttpServer

        exporter = next(exporter for name, exporter in self._exporters.items() if name.startswith("chdb"))
        self._sql = SqlHttpServer(settings, exporter)
        await self._sql.start()

    async def shutdown(self, deadline_seconds: float) -> None:
        """Flush what the buffer holds until the deadline; the rest stays there for the next start."""
        deadline = time.monotonic() + deadline_seconds
        ended = await asyncio.gather(*(asyncio.to_thread(loop.shutdown, deadline_seconds) for loop in self._loops))
        if self._sql is not None:
            await self._sql.shutdown(max(_LEAST_SECONDS, deadline - time.monotonic()))
        if all(ended):  # an export that hangs still uses them
            for each in (*self._exporters.values(), *self._buffers):
                each.close()

    def problem(self) -> str:
        """Exporters retry for ever and the buffer holds the data: that is no reason to send nothing more."""
        return ""


def compose(assignment: Assignment) -> Part:
    """The part that a child process is to run."""
    if assignment.role == "export":
        return ExportPart(assignment.config)
    return IngestPart(assignment.config, assignment.conventions, serves_unix_sockets=assignment.first)
