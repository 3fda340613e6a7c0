"""`run`: starts the processes of the service, replaces those that crash, serves health and metrics, and ends it all.

Start: metadata store, then export (it owns the embedded store) and ingest side by side; the buffer stands between them,
so neither waits for the other. End: ingest first, so that nothing more comes in, then export with what is left of the
deadline, then the metadata store. A second signal hurries.
"""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import psutil
import structlog

from config import Config, ConfigErrors
from config.conventions import load_conventions
from otlp_receiver.child import START_FAILURE, Assignment, StartFailure
from otlp_receiver.logs import configure_logs
from otlp_receiver.metadata_watch import MetadataWatch
from otlp_receiver.preflight import (
    check_certificates,
    check_endpoints,
    enabled_extensions,
    endpoints,
    give_hints,
    uses_api_keys,
)
from pipelines.errors import Permanent, Retryable

if TYPE_CHECKING:
    from otlp_receiver.child_handle import ChildHandle

Role = Literal["ingest", "export"]
Reload = Callable[[], Config]

_LEAST_SECONDS: Final = 1.0
_METRICS_PREFIX: Final = "otlp-receiver-metrics-"

_log = structlog.get_logger("supervisor")


def run(config: Config, *, only: Role | None = None, reload: Reload | None = None) -> int:
    """Run the service until SIGTERM or SIGINT.

    Args:
        config: what to run.
        only: one half of it; None for both.
        reload: gives a new configuration on SIGHUP; raises ConfigErrors when that is not valid.

    Returns:
        0 after an orderly end, 1 when something was cut short, 3 when the service could not start.
    """
    configure_logs(config.service.telemetry.logs, process="supervisor")
    # The metrics library decides at its import how it keeps its values; so nothing imports it before this is set.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_directory()
    try:
        while True:
            outcome = asyncio.run(_Supervisor(config, only, reload).run())
            if isinstance(outcome, int):
                return outcome
            config = outcome
    finally:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def _metrics_directory() -> str:
    """A new directory for the metrics of all processes; those of supervisors that were killed are removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{_METRICS_PREFIX}*"):
        pid = old.name.removeprefix(_METRICS_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_METRICS_PREFIX}{os.getpid()}-")


class _Supervisor:
    """One run of one configuration."""

    def __init__(self, config: Config, only: Role | None, reload: Reload | None) -> None:
        from otlp_receiver.telemetry import Health, TelemetryServer

        self._config = config
        self._only = only
        self._reload = reload
        self._health = Health()
        self._telemetry = TelemetryServer(self._health, self._pids)
        self._metadata = MetadataWatch(config.metadata, self._health, with_keys=uses_api_keys(config))
        self._children: dict[str, ChildHandle] = {}
        self._ended = asyncio.Event()
        self._next: Config | None = None

    async def run(self) -> int | Config:
        """Returns an exit code, or the configuration to run next."""
        self._handle_signals()
        keeping: asyncio.Task[None] | None = None
        try:
            await self._start()
            keeping = asyncio.create_task(self._keep_children())
            await self._wait(keeping)
        except (OSError, Permanent, Retryable, StartFailure) as error:
            return self._say_why(error)
        finally:
            orderly = await self._stop()
            if keeping is not None:
                keeping.cancel()
        return self._next or (0 if orderly else 1)

    async def _start(self) -> None:
        settings = self._config.service
        give_hints(self._config, self._only)
        await asyncio.to_thread(check_certificates, self._config, self._only)
        await asyncio.to_thread(check_endpoints, self._config, self._only)
        await asyncio.to_thread(self._metadata.start)
        health = next((body for name, body in enabled_extensions(self._config).items()
                       if name.startswith("health_check")), None)  # fmt: skip
        await self._telemetry.start(settings.telemetry.metrics.address, health.endpoint if health else None)

    def _assignments(self) -> Iterator[Assignment]:
        if self._only != "ingest":
            yield Assignment("export", "export", self._config, metadata=self._metadata.access)
        if self._only != "export":
            conventions = load_conventions()
            for number in range(self._config.service.workers):
                yield Assignment("ingest", f"ingest-{number}", self._config, conventions, first=number == 0,
                                 metadata=self._metadata.access)  # fmt: skip

    async def _keep_children(self) -> None:
        """Raises StartFailure when one of them cannot start."""
        from otlp_receiver.child_handle import ChildHandle

        self._children = {each.name: ChildHandle(each, self._health) for each in self._assignments()}
        async with asyncio.TaskGroup() as group:
            for child in self._children.values():
                group.create_task(child.keep())
            group.create_task(self._announce())
            group.create_task(self._metadata.keep())

    async def _announce(self) -> None:
        """Say when everything works, and where; a slow start says what it waits for."""
        began = time.monotonic()
        patience_seconds = 10.0
        while self._health.reason():
            await asyncio.sleep(0.05)
            if time.monotonic() - began > patience_seconds:
                _log.warning("Not ready yet.", waiting_for=self._health.reason())
                patience_seconds += 10.0
        where = {path.rsplit("::", 2)[-2]: endpoint for path, endpoint in endpoints(self._config, self._only)}
        _log.info("Ready.", **where, seconds=round(time.monotonic() - began, 1))

    async def _wait(self, keeping: asyncio.Task[None]) -> None:
        ended = asyncio.create_task(self._ended.wait())
        await asyncio.wait({keeping, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if keeping.done():
            error = keeping.exception()
            raise error.exceptions[0] if isinstance(error, ExceptionGroup) else error or OSError("all processes ended")

    def _say_why(self, error: Exception) -> int:
        _log.error(f"Cannot start: {error}")
        return START_FAILURE

    async def _stop(self) -> bool:
        """End everything in order within the shutdown timeout; True when nothing was cut short."""
        deadline = time.monotonic() + self._config.service.shutdown_timeout
        orderly = True
        for role in ("ingest", "export"):
            children = [child for name, child in self._children.items() if name.startswith(role)]
            remaining_seconds = max(_LEAST_SECONDS, deadline - time.monotonic())
            results = await asyncio.gather(*(child.stop(remaining_seconds) for child in children))
            orderly = orderly and all(results)
        await asyncio.to_thread(self._metadata.close)
        await self._telemetry.shutdown()
        return orderly

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        with suppress(AttributeError):  # there is no SIGHUP on Windows
            loop.add_signal_handler(signal.SIGHUP, self._load_next)

    def _end(self, number: int) -> None:
        if self._ended.is_set():
            _log.warning("Second signal: ending at once.", signal=signal.Signals(number).name)
            for child in self._children.values():
                child.kill()
            return
        _log.info("Shutting down.", signal=signal.Signals(number).name)
        self._health.problems["service"] = "shutting down"
        self._ended.set()

    def _load_next(self) -> None:
        """SIGHUP: validate first; a bad configuration leaves the old one running."""
        if self._reload is None or self._ended.is_set():
            return
        try:
            self._next = self._reload()
        except ConfigErrors as error:
            _log.error(f"The new configuration is not valid; the old one goes on.\n{error}")
            return
        _log.info("Restarting with the new configuration.")
        self._health.problems["service"] = "restarting"
        self._ended.set()

    def _pids(self) -> Iterator[int]:
        yield os.getpid()
        for child in self._children.values():
            if child.pid is not None:
                yield child.pid
