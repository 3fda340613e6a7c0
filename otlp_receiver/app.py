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
from config.access import AuthSettings, is_open
from config.conventions import Convention, in_order
from config.models import PipelineSettings
from config.prices import CostSettings
from config.values import UNIX
from otlp_receiver.child import Assignment, Part
from otlp_receiver.lean import give_back_when_idle
from otlp_receiver.metadata_access import MetadataAccess, SharedStore
from otlp_receiver.preflight import enabled_extensions
from pipelines.batch import Batch
from pipelines.buffers import Buffer, open_buffer
from pipelines.ingest import Intake, Outcome, Request, Stored, Transform
from pipelines.processors import Processor, build_processor
from pipelines.processors.cost import cost_from

_MIB: Final = 2**20
_LEAST_SECONDS: Final = 0.5
_PROBE_SECONDS: Final = 1.0


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

    def __init__(
        self,
        config: Config,
        conventions: Sequence[Convention],
        metadata: MetadataAccess | None,
        *,
        serves_unix_sockets: bool,
    ) -> None:
        self._config = config
        self._serves_unix_sockets = serves_unix_sockets
        self._conventions = conventions
        self._buffers: list[Buffer] = []
        self._intakes: list[Intake] = []
        self._receivers: list[Any] = []
        self._store = SharedStore(metadata)
        self._authenticators: Any = None
        self._prices: Any = None
        self._quotas: Any = None
        self._exchange: Any = None
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Downstream first: buffers, intakes, keys, then the sockets."""
        from otlp_receiver.authenticators import Authenticators

        self._authenticators = Authenticators(self._config, self._store)
        await self._read_prices()
        await self._settle_quotas()
        for pipeline in self._config.service.pipelines.values():
            conventions = in_order([*self._conventions, *pipeline.conventions])
            intake = self._start_intake(pipeline, conventions)
            for receiver_id in pipeline.receivers:
                self._receivers.extend(self._build_receivers(receiver_id, intake, conventions))
        await self._authenticators.start()
        await self._probe()
        for receiver in self._receivers:
            await receiver.start()
        self._running = [asyncio.create_task(give_back_when_idle()), asyncio.create_task(self._keep_probing())]

    def _start_intake(self, pipeline: PipelineSettings, conventions: tuple[Convention, ...]) -> Intake:
        buffer = open_buffer(pipeline.buffer, self._config.buffers[pipeline.buffer])
        self._buffers.append(buffer)
        processors = [self._build_processor(each, self._config.processors[each]) for each in pipeline.processors]
        intake = Intake(transform(conventions), processors, buffer)
        intake.start()
        self._intakes.append(intake)
        return intake

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            await self._probe()

    async def _probe(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(intake.probe) for intake in self._intakes))

    def _build_processor(self, processor_id: str, settings: Any) -> Processor:
        if self._prices is None or not isinstance(settings, CostSettings):
            return build_processor(processor_id, settings)
        build_processor(processor_id, settings)  # says what is wrong with the prices of the configuration
        return cost_from(self._prices.before(settings.prices))

    async def _read_prices(self) -> None:
        """Prices of the metadata store, where there is one and something is priced."""
        used = {each for pipeline in self._config.service.pipelines.values() for each in pipeline.processors}
        if not self._store.exists or not any(isinstance(self._config.processors[each], CostSettings) for each in used):
            return
        from otlp_receiver.price_book import PriceBook

        self._prices = PriceBook(self._store.opened())
        await self._prices.start()

    async def _settle_quotas(self) -> None:
        """Quotas are in the metadata store; without one everybody may send all they like."""
        from otlp_receiver.quotas import Quotas

        self._quotas = Quotas()
        if not self._store.exists:
            return
        from otlp_receiver.quota_exchange import QuotaExchange

        self._exchange = QuotaExchange(self._store.opened(), self._quotas)
        await self._exchange.start()

    def _build_receivers(self, receiver_id: str, intake: Intake, conventions: tuple[Convention, ...]) -> list[Any]:
        from otlp_receiver.admission import Admission
        from otlp_receiver.grpc_server import GrpcServer
        from otlp_receiver.http_server import HttpServer
        from otlp_receiver.mapping.log_events import EventNames
        from otlp_receiver.service import Service

        settings = self._config.receivers[receiver_id]
        admission = Admission(settings.max_inflight_mib * _MIB)
        may_hold_events = EventNames(conventions).may_be_in
        service = partial(Service, intake, admission, receiver_id, quotas=self._quotas, may_hold_events=may_hold_events)
        grpc, http = settings.protocols.grpc, settings.protocols.http
        receivers: list[Any] = []
        if grpc is not None and self._serves(grpc.endpoint):
            authenticate = self._authenticators.named(grpc.auth, "ingest")
            receivers.append(GrpcServer(grpc, service("grpc", authenticate=authenticate)))
        if http is not None and self._serves(http.endpoint):
            authenticate = self._authenticators.named(http.auth, "ingest")
            receivers.append(HttpServer(http, service("http", authenticate=authenticate)))
        return receivers

    def _serves(self, endpoint: str) -> bool:
        return self._serves_unix_sockets or not endpoint.startswith(UNIX)

    async def shutdown(self, deadline_seconds: float) -> None:
        """Upstream first: sockets, then what waits in the intakes, then the buffers."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*(receiver.shutdown(deadline_seconds) for receiver in self._receivers))
        for each in filter(None, (self._authenticators, self._prices)):
            await each.close()
        for intake in self._intakes:
            await asyncio.to_thread(intake.shutdown)
        for buffer in self._buffers:
            buffer.close()
        if self._exchange is not None:
            await self._exchange.close()
        self._store.close()

    def problem(self) -> str:
        """Why requests are refused, empty when they are taken."""
        return "; ".join(intake.problem for intake in self._intakes if intake.problem)


class ExportPart:
    """Buffer to sinks, and SQL over the embedded store."""

    def __init__(self, config: Config, metadata: MetadataAccess | None) -> None:
        self._config = config
        self._store = SharedStore(metadata)
        self._authenticators: Any = None
        self._buffers: list[Buffer] = []
        self._exporters: dict[str, Any] = {}
        self._loops: list[Any] = []
        self._sql: Any = None
        self._retention: Any = None

    async def start(self) -> None:
        """Downstream first: sinks, then the loops that fill them, then SQL."""
        for pipeline in self._config.service.pipelines.values():
            await asyncio.to_thread(self._start_pipeline, pipeline)
        for extension_id, settings in enabled_extensions(self._config).items():
            if extension_id.startswith("sql_http"):
                await self._start_sql(settings)
        self._keep_retention()

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

    def _keep_retention(self) -> None:
        """How long projects keep their records is in the metadata store; without one the tables' own rule is all."""
        from exporters.retention import Keeper

        keepers = {name: exporter for name, exporter in self._exporters.items() if isinstance(exporter, Keeper)}
        if not self._store.exists or not keepers:
            return
        from otlp_receiver.retention import Retention  # brings a Postgres client along: some MB

        self._retention = Retention(self._store.opened(), keepers)
        self._retention.start()

    async def _start_sql(self, settings: Any) -> None:
        from otlp_receiver.sql_http import SqlHttpServer

        exporter = next(exporter for name, exporter in self._exporters.items() if name.startswith("chdb"))
        self._sql = SqlHttpServer(settings, exporter, await self._readers(settings.auth))
        await self._sql.start()

    async def _readers(self, auth: AuthSettings | None) -> Any:
        """What settles whose rows a question is about; None when everyone reads all."""
        if is_open(auth):
            return None
        from otlp_receiver.authenticators import Authenticators  # brings gRPC along: some MB

        self._authenticators = Authenticators(self._config, self._store)
        authenticate = self._authenticators.named(auth, "read")
        await self._authenticators.start()
        return authenticate

    async def shutdown(self, deadline_seconds: float) -> None:
        """Flush what the buffer holds until the deadline; the rest stays there for the next start."""
        deadline = time.monotonic() + deadline_seconds
        threads = [*self._loops, *filter(None, [self._retention])]
        ended = await asyncio.gather(*(asyncio.to_thread(each.shutdown, deadline_seconds) for each in threads))
        if self._sql is not None:
            await self._sql.shutdown(max(_LEAST_SECONDS, deadline - time.monotonic()))
        if self._authenticators is not None:
            await self._authenticators.close()
        self._store.close()
        if all(ended):  # an export that hangs still uses them
            for each in (*self._exporters.values(), *self._buffers):
                each.close()

    def problem(self) -> str:
        """Why no exporter gets anything; a sink that is away is no reason, since the buffer holds the data."""
        return "; ".join(loop.problem for loop in self._loops if loop.problem)


def compose(assignment: Assignment) -> Part:
    """The part that a child process is to run."""
    if assignment.role == "export":
        return ExportPart(assignment.config, assignment.metadata)
    if assignment.first:
        from otlp_receiver.decode.native import announce

        announce()
    return IngestPart(
        assignment.config, assignment.conventions, assignment.metadata, serves_unix_sockets=assignment.first
    )
