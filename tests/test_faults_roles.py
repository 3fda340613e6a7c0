"""`run --only ingest` and `run --only export` of one machine, side by side on one local buffer."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Final

import pytest

from tests.support.fault_service import Shape, settle, shape
from tests.support.load import senders
from tests.support.reporting import Report
from tests.support.service import Service, service

_INGEST: Final = ("--only", "ingest")
_EXPORT: Final = ("--only", "export")


@pytest.fixture
def playing() -> Iterator[Shape]:
    """Its service receives."""
    with shape() as made:
        yield made


@pytest.fixture
def exporting(playing: Shape) -> Iterator[Service]:
    """The same configuration, but for the ports that two supervisors of one machine cannot share."""
    with service() as made:
        at = {name: f"127.0.0.1:{port}" for name, port in made.ports.items()}
        made.config = deepcopy(playing.service.config)
        made.config["extensions"]["health_check"]["endpoint"] = at["health"]
        made.config["service"]["telemetry"]["metrics"]["address"] = at["metrics"]
        yield made


def test_roles_share_a_local_buffer(playing: Shape, exporting: Service, report: Report) -> None:
    """Each is ready without the other, either may be killed or stopped, and nothing is lost between them."""
    receiving, load = playing.service, playing.load()
    receiving.start(*_INGEST)
    with senders(load, receiving):
        load.allow(2_000)
        load.wait_for_acknowledged(500)
        exporting.start(*_EXPORT)
        load.wait_for_acknowledged(1_000)
        exporting.kill_all()
        assert receiving.is_ready()
        exporting.start(*_EXPORT)
        receiving.kill_all()
        assert exporting.is_ready()
        receiving.start(*_INGEST)
        load.wait_for_acknowledged(2_000)
    assert receiving.stop() == 0, receiving.log()
    report(f"roles on one buffer, each killed once: {settle(playing, load)}")
    assert exporting.stop() == 0, exporting.log()


def test_roles_have_their_own_processes(playing: Shape, exporting: Service) -> None:
    """Who receives has no exporter, and who exports does not listen for spans."""
    playing.service.start(*_INGEST)
    exporting.start(*_EXPORT)

    assert [process.cmdline()[-1] for process in playing.service.children()] == ["ingest"]
    assert [process.cmdline()[-1] for process in exporting.children()] == ["export"]
