"""The disk under the local buffer is full while ClickHouse is away: senders are told, and it recovers by itself."""

import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
import requests

from tests.support.fault_service import Shape, of_role, settle, shape
from tests.support.load import Load, ids_of, new_spans
from tests.support.memory import MIB
from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.reporting import Report
from tests.support.senders import post
from tests.support.waiting import wait_until

_TEXT_BYTES: Final = 20_000


@pytest.fixture
def playing() -> Iterator[Shape]:
    """A service before its server, not started."""
    with shape() as made:
        yield made


@pytest.fixture
def small_disk(playing: Shape) -> Iterator[Path]:
    """A file system of 64 MiB for the buffer; the test of the limit stands in where that is not allowed."""
    directory = playing.service.directory / "buffer"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(directory)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems may not be mounted here")
    yield directory
    playing.service.kill_all()
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _large(spans: list[Span]) -> list[Span]:
    """With texts that no compression helps with."""
    return [
        span({**dict(each.attributes), "text": random.randbytes(_TEXT_BYTES // 2).hex()},
             trace_id=each.trace_id, span_id=each.span_id)
        for each in spans
    ]  # fmt: skip


def _send(playing: Shape, load: Load) -> int:
    """The status of one request."""
    spans = _large(new_spans())
    load.note(ids_of(spans), acknowledged=False)
    answer = post(playing.service, to_protobuf(export(*spans)))
    load.note(ids_of(spans) if answer.ok else set(), acknowledged=True)
    return answer.status_code


def _fill(playing: Shape, load: Load) -> None:
    """Until senders are told to come again; nothing is exported meanwhile."""
    playing.between.refuses = True
    playing.between.cut()
    statuses = {200}
    while statuses == {200}:
        statuses.add(_send(playing, load))
    assert statuses == {200, 503}


def _recover(playing: Shape, load: Load, report: Report, what: str) -> None:
    """Space is back: the next requests are taken, by the same process, and everything is stored."""
    refused = len(load.sent) - len(load.acknowledged)
    wait_until(lambda: _send(playing, load) == 200, 60)
    wait_until(playing.service.is_ready, 60)
    playing.heal()
    report(f"{what}: {refused} spans refused at first; {settle(playing, load)}")
    assert refused > 0
    assert "ended unasked" not in playing.service.log()
    assert playing.service.stop() == 0, playing.service.log()


def _reason(playing: Shape) -> str:
    answer = requests.get(playing.service.url("health") + "/ready", timeout=10)
    return "" if answer.ok else str(answer.json()["reason"])


@pytest.mark.parametrize("cure", ["space is freed", "ClickHouse is back"])
def test_disk_full(playing: Shape, small_disk: Path, report: Report, cure: str) -> None:
    """On a full file system readiness names the cure; with space, or the store, back nothing is lost."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(32 * MIB))
    playing.service.start()
    load = playing.load()
    _fill(playing, load)
    wait_until(lambda: "the disk is full; free space on it" in _reason(playing), 60)
    if cure == "space is freed":
        ballast.unlink()
    else:
        playing.heal()
    _recover(playing, load, report, f"disk full until {cure}")


def test_file_that_may_not_grow(playing: Shape, report: Report) -> None:
    """The same where a quota or limit keeps the buffer's files from growing."""
    playing.service.start()
    load = playing.load()
    assert _send(playing, load) == 200
    (ingest,) = of_role(playing.service, "ingest")
    _, most = _limit(ingest)
    ingest.rlimit(resource.RLIMIT_FSIZE, (6 * MIB, most))
    _fill(playing, load)
    wait_until(lambda: "check free space" in _reason(playing), 60)
    ingest.rlimit(resource.RLIMIT_FSIZE, (most, most))
    _recover(playing, load, report, "files that may not grow")


def _limit(process: psutil.Process) -> tuple[int, int]:
    limits: tuple[int, int] = process.rlimit(resource.RLIMIT_FSIZE)
    return limits
