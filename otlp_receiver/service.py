"""What happens to an export request, whichever socket it came from.

key → project → quota → admission → body → intake (durable on return) → outcome → metrics, in `Service.export`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Final, Literal, Protocol

import structlog
from prometheus_client import Counter

from otlp_receiver.admission import Admission, Lease
from otlp_receiver.authentication import Authenticate, let_everyone_in
from otlp_receiver.credentials import Headers
from otlp_receiver.other_signals import count_records, log_records_taken, metric_points_taken
from otlp_receiver.quotas import Quotas
from otlp_receiver.replies import (
    BAD_BODY,
    NOT_STORED,
    OUR_FAULT,
    SLOW_BODY,
    Refused,
    Signal,
    Taken,
    encode_taken,
)
from pipelines.errors import Retryable
from pipelines.ingest import Accepted, BadRequest, Encoding, Request, Stored
from pipelines.metrics import (
    ACCEPTED_LOG_RECORDS,
    ACCEPTED_SPANS,
    PARTIAL_SUCCESSES,
    PROJECT_BYTES,
    PROJECT_SPANS,
    REFUSED_LOG_RECORDS,
    REFUSED_SPANS,
    REQUESTS,
    UNSTORED_METRIC_POINTS,
)

Transport = Literal["grpc", "http"]
Read = Callable[[Lease], Awaitable[bytes]]
"""Reads one body, decompressed and `in_time`, its bytes covered by the lease. Raises Refused or BadRequest."""

_BODY_TIMEOUT_SECONDS: Final = 60.0
"""A body that trickles in holds its bytes of the admission; a sender that needs longer should send smaller batches."""
_COUNT_INLINE_BYTES: Final = 64 * 1024
"""Bodies up to here are counted in less time than it takes to hand them to a thread."""
_COUNT_TURN_SECONDS: Final = 2.0
"""After the wait for the intake there is no more left of the 10 s after which clients give up."""

_ACCEPTED: Final[dict[Stored, Counter]] = {"traces": ACCEPTED_SPANS, "logs": ACCEPTED_LOG_RECORDS}
_REFUSED: Final[dict[Stored, Counter]] = {"traces": REFUSED_SPANS, "logs": REFUSED_LOG_RECORDS}

_log = structlog.get_logger("receiver")


class Intake(Protocol):
    """Where requests go (`pipelines.ingest.Intake`)."""

    async def submit(self, request: Request) -> Accepted:
        """Returns when the usable spans are durable; raises BadRequest or Retryable, with nothing stored.

        When cancelled it lets go of the request's bytes, which are no longer admitted then.
        """
        ...


class Service:
    """The one path of all requests of one receiver and transport.

    Args:
        intake: where requests go whose records are stored.
        admission: shared by every service of the process.
        receiver: component id, a label of the metrics.
        transport: a label of the metrics.
        authenticate: whose request it is.
        quotas: what projects may send; shared by every service of the process. Without them, all they like.
        may_hold_events: False for the body of a logs request without GenAI events: it is counted, not decoded.

    Attributes:
        limit_bytes: most bytes that the admission lets requests hold.
    """

    def __init__(
        self,
        intake: Intake,
        admission: Admission,
        receiver: str,
        transport: Transport,
        *,
        authenticate: Authenticate = let_everyone_in,
        quotas: Quotas | None = None,
        may_hold_events: Callable[[bytes], bool] = lambda _body: False,
    ) -> None:
        self._intake = intake
        self._authenticate = authenticate
        self._quotas = quotas or Quotas()
        self._may_hold_events = may_hold_events
        self._admission = admission
        self.limit_bytes: Final = admission.limit_bytes
        self._labels = (receiver, transport)
        self._counting = asyncio.Lock()

    async def export(self, signal: Signal, encoding: Encoding, read: Read, headers: Headers) -> bytes:
        """Take one export request in; without a good key not a byte of its body is read.

        Returns:
            The export response in the request's encoding, once every usable span is durable.

        Raises:
            Refused: with the situation that the sender is told; whatever goes wrong ends as one.
        """
        try:
            outcome = await self._outcome(signal, encoding, read, headers)
        except asyncio.CancelledError:
            self.count(signal, "cancelled")  # by the sender, or by the deadline of a shutdown
            raise
        if isinstance(outcome, Taken):
            self.count(signal, "ok")
            return encode_taken(signal, encoding, outcome)
        self.count(signal, outcome.situation.outcome)
        try:
            raise outcome
        finally:
            del outcome  # it refers to this frame now

    async def _outcome(self, signal: Signal, encoding: Encoding, read: Read, headers: Headers) -> Taken | Refused:
        try:
            project_id = await self._authenticate(headers)
            self._quotas.check(project_id)
            with self._admission.lease() as lease:
                body = await read(lease)
                self._quotas.pay(project_id, size_bytes=len(body))
                return await self._take(signal, Request(body, encoding, project_id, time.time_ns()))
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the sender gets a row of the reply table
            refused = self._as_refused(error)
            # Their frames hold the body, which would wait for the collector of cycles, no longer admitted.
            error.__traceback__ = error.__context__ = None
            return refused

    async def project_id(self, headers: Headers) -> str:
        """The project that a request with these headers would be taken for; raises Refused as `export` would."""
        try:
            return await self._authenticate(headers)
        except Exception as error:  # noqa: BLE001 - as in `_outcome`
            raise self._as_refused(error) from None

    def count(self, signal: Signal | Literal["unknown"], outcome: str) -> None:
        """Count a request that has been answered."""
        _child(REQUESTS, *self._labels, signal, outcome).inc()

    async def _take(self, signal: Signal, request: Request) -> Taken:
        if signal == "traces":
            return await self._take_in(request)
        if signal == "logs" and self._may_hold_events(request.body):
            return await self._take_in(replace(request, signal="logs"))
        records = await self._count_records(signal, request)
        if signal == "logs":
            _child(REFUSED_LOG_RECORDS, *self._labels).inc(records)
            return log_records_taken(records)
        _child(UNSTORED_METRIC_POINTS, *self._labels).inc(records)
        return metric_points_taken(records)

    async def _take_in(self, request: Request) -> Taken:
        try:
            accepted = await self._intake.submit(request)
        except Retryable:
            with suppress(BadRequest, Retryable):  # not this count's business: the sender gets the intake's answer
                records = await self._count_records(request.signal, request)
                _child(_REFUSED[request.signal], *self._labels).inc(records)
            raise
        self._count_accepted(request, accepted)
        return Taken(accepted.rejected_spans, accepted.message)

    def _count_accepted(self, request: Request, accepted: Accepted) -> None:
        _child(_ACCEPTED[request.signal], *self._labels).inc(accepted.spans)
        refused = _child(_REFUSED[request.signal], *self._labels)  # there from the start, at 0
        if accepted.rejected_spans:
            refused.inc(accepted.rejected_spans)
        _child(PROJECT_BYTES, request.project_id).inc(len(request.body))
        if request.signal == "traces":
            _child(PROJECT_SPANS, request.project_id).inc(accepted.spans)
            self._quotas.pay(request.project_id, spans=accepted.spans)
            if accepted.rejected_spans:
                _child(PARTIAL_SUCCESSES, *self._labels).inc()

    async def _count_records(self, signal: Signal, request: Request) -> int:
        if len(request.body) <= _COUNT_INLINE_BYTES:
            return count_records(signal, request.encoding, request.body)
        await self._turn_to_count()
        try:
            return await asyncio.to_thread(count_records, signal, request.encoding, request.body)
        finally:
            self._counting.release()

    async def _turn_to_count(self) -> None:
        """One at a time, since parsed JSON takes many times its size."""
        try:
            async with asyncio.timeout(_COUNT_TURN_SECONDS):
                await self._counting.acquire()
        except TimeoutError:
            raise Retryable("too many large requests at once; send again") from None

    def _as_refused(self, error: Exception) -> Refused:
        """Decide who is at fault: the sender (never again), the buffer (later), or we (later, and a traceback)."""
        match error:
            case Refused():
                return error
            case BadRequest():
                return Refused(BAD_BODY, str(error))
            case Retryable():
                return Refused(NOT_STORED, str(error))
        _log.error(
            "Request failed inside the receiver; its sender was told to try again.",
            transport=self._labels[1],
            exc_info=error,
        )
        return Refused(OUR_FAULT, "the receiver failed; nothing of the request was stored, try again")


async def in_time(reading: Awaitable[bytes]) -> bytes:
    """Await a body that has not arrived yet; raises Refused when it takes too long."""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_SECONDS):
            return await reading
    except TimeoutError:
        raise Refused(SLOW_BODY, f"the body did not arrive within {_BODY_TIMEOUT_SECONDS:.0f} s") from None


@cache
def _child(metric: Counter, *labels: str) -> Counter:
    """`metric.labels(...)`, which takes a lock and builds a key each time it is asked."""
    return metric.labels(*labels)
