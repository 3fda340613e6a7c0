"""What the fault tests on Kafka share: when all is stored, and how much memory it took."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import requests

from tests.support.load import Load, check
from tests.support.memory import MIB
from tests.support.reporting import Report
from tests.support.service import Service
from tests.support.waiting import wait_until

# docs/operations.md, Memory: with the defaults of `max_inflight_mib` (256) and of chDB (`max_memory_mib`).
_MOST_MIB = {"ingest": 200 + 3 * 256 + 768, "export": 2048 + 1024}


def settle(made: Service, load: Load) -> None:
    """Until nothing is on its way any more; of what was not acknowledged Kafka may have a part."""
    made.wait_until_ready()
    wait_until(lambda: _has_enough(made, load), 120)
    wait_until(lambda: _is_stored(made, load), 60)
    assert made.value("SELECT count() = uniq(id) AS each_once FROM traces")


def _has_enough(made: Service, load: Load) -> bool:
    """Cheap to ask, unlike what follows it."""
    return made.listens("sql") and bool(made.value("SELECT count() FROM observations") >= len(load.acknowledged))


def _is_stored(made: Service, load: Load) -> bool:
    spans = {(row["trace_id"], row["id"]) for row in made.sql("SELECT trace_id, id FROM observations")}
    traces = {row["id"] for row in made.sql("SELECT id FROM traces")}
    return load.acknowledged <= spans and {trace_id for trace_id, _ in load.acknowledged} <= traces


def settle_and_check(made: Service, load: Load, what: str, report: Report) -> None:
    """Waits for what is on its way, holds it against what was sent, and reports the figures."""
    settle(made, load)
    report(f"{what}: {check(made, load)}; peak RSS {peaks(made)}")


def peaks(made: Service) -> str:
    """The most memory that each role's process has had, which is below the documented bound."""
    found = {process.cmdline()[-1]: _peak_mib(process) for process in made.children()}
    assert found
    for role, mib in found.items():
        assert mib < _MOST_MIB[role], f"{role}: {mib} MiB"
    return ", ".join(f"{role} {mib} MiB" for role, mib in found.items())


def _peak_mib(process: psutil.Process) -> int:
    with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123 - no file, but a view of a process
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 // MIB


def reason(made: Service) -> str:
    """Why it says that it is not ready; empty when it is, or does not answer yet."""
    try:
        answer = requests.get(made.url("health") + "/ready", timeout=10)
    except requests.ConnectionError:
        return ""
    return "" if answer.ok else answer.text


@contextmanager
def not_ready(made: Service, because: str) -> Iterator[None]:
    """Inside the block the service has said so by itself; after it it becomes ready by itself."""
    wait_until(lambda: because in reason(made), 60)
    yield
    made.wait_until_ready()
