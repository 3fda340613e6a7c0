"""The supervisor's end of a child process."""

import asyncio
import json
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from typing import Final

import structlog
from prometheus_client.multiprocess import mark_process_dead

from otlp_receiver.child import START_FAILURE, Assignment, StartFailure
from otlp_receiver.telemetry import Health
from otlp_receiver.tls import grpc_environment
from pipelines.metrics import WORKER_RESTARTS

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 10.0
_SETTLED_SECONDS: Final = 60.0  # a process that ran for so long is not one of a row of crashes
# A process that was killed while it started deserves another try; one that never starts does not.
_MOST_EARLY_ENDS: Final = 5

_log = structlog.get_logger("supervisor")


class ChildHandle:
    """One process of the service, replaced when it ends unasked.

    Its problems stand in `health` under its name.
    """

    def __init__(self, assignment: Assignment, health: Health) -> None:
        self._assignment = assignment
        self._health = health
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._was_ready = False
        self._failure = ""
        self._early_ends = 0
        health.problems[assignment.name] = "starting"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def keep(self) -> None:
        """Run the process and its successors until `stop`; raises StartFailure when the first cannot start."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not self._stopping:
            began = time.monotonic()
            code = await self._run_once()
            if self._stopping:
                return
            if time.monotonic() - began > _SETTLED_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            self._early_ends += not self._was_ready
            if not self._was_ready and (code == START_FAILURE or self._early_ends == _MOST_EARLY_ENDS):
                raise StartFailure(self._failure or f"{self._assignment.name} ended with {code} before it was ready")
            self._health.problems[self._assignment.name] = "restarting"
            WORKER_RESTARTS.labels(self._assignment.role).inc()
            _log.error("A process ended unasked and is replaced.", process=self._assignment.name, exit_code=code,
                       reason=self._failure)  # fmt: skip
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    async def stop(self, deadline_seconds: float) -> bool:
        """Ask it to end; kill it when the deadline has passed. True when it ended by itself."""
        self._stopping = True
        self._health.problems[self._assignment.name] = "stopping"
        process = self._process
        if process is None or process.returncode is not None:
            return True
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(deadline_seconds):
                return await process.wait() == 0
        except TimeoutError:
            _log.error("A process did not end in time and is killed.", process=self._assignment.name)
            self.kill()
            return False

    def kill(self) -> None:
        """End it at once."""
        self._stopping = True
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def _run_once(self) -> int:
        read_end, write_end = os.pipe()
        try:
            # -P: the user's working directory must not hide our packages. A session of its own: Ctrl-C in the
            # terminal reaches the supervisor alone, which then ends its children in order.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "otlp_receiver.process", str(write_end), self._assignment.role,
                stdin=asyncio.subprocess.PIPE, pass_fds=(write_end,), start_new_session=True,
                env={**os.environ, **grpc_environment(self._assignment.config)},
            )  # fmt: skip
        finally:
            os.close(write_end)
        pid = self._process.pid
        listening = asyncio.create_task(self._listen(read_end))
        await self._assign(self._process)
        code = await self._process.wait()
        await listening
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library lacks annotations
        return code

    async def _assign(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        payload = pickle.dumps(self._assignment)
        with suppress(ConnectionError):  # it died at once; its exit code says so
            process.stdin.write(b"%d\n" % len(payload) + payload)
            await process.stdin.drain()

    async def _listen(self, read_end: int) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            while line := await reader.readline():
                self._note(json.loads(line))
        finally:
            transport.close()

    def _note(self, status: dict[str, str]) -> None:
        self._failure = status.get("failed", "")
        problem = status.get("problem", self._failure)
        if self._stopping:
            return
        if problem:
            self._health.problems[self._assignment.name] = problem
        else:
            self._was_ready = True
            self._health.problems.pop(self._assignment.name, None)
