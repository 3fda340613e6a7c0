"""A process of the service and the line between it and its supervisor.

Down the line (standard input): the configuration, then nothing; its end says that the supervisor is gone. Up the line
(an inherited descriptor): one JSON object a line, `{"ready": true}` or `{"problem": "..."}` whenever that changes.
"""

import asyncio
import gc
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from config import Config
from config.conventions import Convention
from otlp_receiver.lean import give_back_code
from otlp_receiver.logs import configure_logs
from otlp_receiver.metadata_access import MetadataAccess

# One exit code for whatever keeps the service from starting, so that a service manager need not try for ever.
START_FAILURE: Final = 3

_REPORT_INTERVAL_SECONDS: Final = 0.2
# Without a supervisor the next start waits for our ports and our store; what is not exported yet lies in the buffer.
_ORPHAN_SECONDS: Final = 1.0


class StartFailure(Exception):
    """A part of the service cannot start; the message names why."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a child process is to do.

    Attributes:
        role: "ingest" or "export".
        name: for logs and health.
        config: all of it.
        conventions: for ingest.
        first: whether it is the one of its role that serves what processes cannot share: unix sockets.
        metadata: where projects and keys are; None when there is no Postgres.
    """

    role: str
    name: str
    config: Config
    conventions: tuple[Convention, ...] = ()
    first: bool = True
    metadata: MetadataAccess | None = None


class Part(Protocol):
    """The part of the service that a child runs."""

    async def start(self) -> None:
        """Return when working; raises OSError or Permanent for what keeps it from starting."""

    async def shutdown(self, deadline_seconds: float) -> None:
        """Finish within the deadline."""

    def problem(self) -> str:
        """Why it cannot do its work at the moment, empty when it can."""


def receive_assignment() -> Assignment:
    """Read the assignment from standard input, where the supervisor put it."""
    length = int(sys.stdin.buffer.readline())
    assignment = pickle.loads(sys.stdin.buffer.read(length))  # noqa: S301 - written by our own supervisor
    assert isinstance(assignment, Assignment)
    return assignment


def run_child(compose: Callable[[Assignment], Part], status_descriptor: int) -> int:
    """Run the assigned part until SIGTERM or the end of the supervisor; returns the exit code."""
    assignment = receive_assignment()
    configure_logs(assignment.config.service.telemetry.logs, process=assignment.name)
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:  # not on Windows
        runner = asyncio.Runner()
    with runner:
        return runner.run(_live(compose, assignment, status_descriptor))


async def _live(compose: Callable[[Assignment], Part], assignment: Assignment, status_descriptor: int) -> int:
    log = structlog.get_logger(assignment.name)
    stop: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    _listen_for_the_end(stop, assignment.config.service.shutdown_timeout)
    try:
        part = compose(assignment)
        await part.start()
    except Exception as error:
        _report(status_descriptor, {"failed": str(error) or type(error).__name__})
        log.debug("The start failed.", exc_info=True)
        return START_FAILURE
    # What is here now stays to the end: a full collection looks through new objects alone, for 7 ms instead of 45.
    gc.freeze()
    give_back_code()
    reporting = asyncio.create_task(_report_changes(part, status_descriptor))
    deadline_seconds = await stop
    reporting.cancel()
    await part.shutdown(deadline_seconds)
    return 0


def _listen_for_the_end(stop: "asyncio.Future[float]", timeout_seconds: float) -> None:
    """Resolves `stop` to the seconds that are left: all of them on SIGTERM, few when the supervisor is gone."""
    loop = asyncio.get_running_loop()

    def end(deadline_seconds: float) -> None:
        if not stop.done():
            stop.set_result(deadline_seconds)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            end(min(timeout_seconds, _ORPHAN_SECONDS))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, timeout_seconds)
    loop.add_reader(sys.stdin.fileno(), read)


async def _report_changes(part: Part, status_descriptor: int) -> None:
    last: str | None = None
    while True:
        problem = part.problem()
        if problem != last:
            _report(status_descriptor, {"problem": problem} if problem else {"ready": True})
            last = problem
        await asyncio.sleep(_REPORT_INTERVAL_SECONDS)


def _report(status_descriptor: int, status: dict[str, object]) -> None:
    try:
        os.write(status_descriptor, json.dumps(status).encode() + b"\n")
    except OSError:  # the supervisor is gone; the end of standard input says so too
        return
