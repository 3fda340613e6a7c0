"""What is refused is forgotten at once: no body waits in a cycle of frames and errors for the garbage collector."""

import gc
from collections.abc import Iterator

import pytest

from otlp_receiver.admission import Admission, Lease
from otlp_receiver.replies import TOO_LARGE, Refused
from otlp_receiver.service import Service
from pipelines.errors import BufferFull
from pipelines.ingest import Accepted, BadRequest, Intake, Outcome, Request
from tests.support.receivers import MIB, on_uvloop


class Body(bytes):
    """Bytes whose end is seen."""

    forgotten = 0

    def __del__(self) -> None:
        Body.forgotten += 1


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Only what nothing refers to is freed."""
    gc.collect()
    gc.disable()
    Body.forgotten = 0
    yield
    gc.enable()


class _NoBuffer:
    def append(self, batches: object) -> None:
        """Never called: there are no batches."""

    def check(self) -> None:
        """Nobody asks."""


def _transform(error: Exception) -> object:
    def transform(requests: list[Request]) -> tuple[list[object], list[Outcome]]:
        if isinstance(error, BadRequest):
            return [], [error] * len(requests)
        raise error

    return transform


@pytest.mark.parametrize(
    "error", [BadRequest("no OTLP"), BufferFull("full"), ZeroDivisionError("a fault of ours")], ids=repr
)
@on_uvloop
async def test_refused_by_the_intake(error: Exception) -> None:
    """Whatever the intake answers, the body is gone when the sender has its answer."""
    intake = Intake(_transform(error), [], _NoBuffer())  # type: ignore[arg-type]  # simpler than the real one
    intake.start()

    async def read(_: Lease) -> bytes:
        return Body(b"x" * 100)

    service = Service(intake, Admission(MIB), "otlp", "http")
    with pytest.raises(Refused):
        await service.export("traces", "protobuf", read, {})
    intake.shutdown()

    assert Body.forgotten == 1


@on_uvloop
async def test_refused_while_it_arrives() -> None:
    """The same for a body that its own reading refuses."""

    async def read(_: Lease) -> bytes:
        body = Body(b"x" * 100)
        raise Refused(TOO_LARGE, f"{len(body)} bytes")

    class NoIntake:
        async def submit(self, request: Request) -> Accepted:
            raise AssertionError(request)

    with pytest.raises(Refused):
        await Service(NoIntake(), Admission(MIB), "otlp", "http").export("traces", "protobuf", read, {})

    assert Body.forgotten == 1
