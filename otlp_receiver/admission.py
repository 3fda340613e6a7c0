"""Request bytes are admitted before they are held: memory is bounded, whatever arrives, on however many connections."""

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog

from otlp_receiver.replies import MEMORY_FULL, TOO_LARGE, Refused
from pipelines.metrics import INFLIGHT_BYTES

LEAST_LEASE_BYTES: Final = 16 * 1024
"""What a request costs beside its body (task, headers, socket buffers), so that many tiny ones are bounded too."""

_log = structlog.get_logger("receiver")


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """The most that one request may be, decompressed.

    Attributes:
        setting: that says so.
        size_bytes: what it says.
    """

    setting: str
    size_bytes: int

    def check(self, size_bytes: int, peer: str | None) -> None:
        """Raise Refused, and tell the operator who sent it, when a request has more."""
        if size_bytes <= self.size_bytes:
            return
        _log.warning(
            f"Request is larger than {self.setting} and was refused; its sender drops it.",
            peer=peer,
            size_bytes=size_bytes,
            limit_bytes=self.size_bytes,
        )
        raise Refused(
            TOO_LARGE,
            f"the request has {size_bytes} bytes or more, after decompression, of {self.size_bytes} allowed: "
            f"send smaller batches, or raise {self.setting}",
        )


class Admission:
    """The bytes that all receivers of a process hold; used from one event loop.

    Args:
        limit_bytes: most bytes held at once.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes: Final = limit_bytes
        self.held_bytes = 0
        self._shown_mib = 0

    def lease(self) -> "Lease":
        """A place for one request, to be used as a context manager; entering raises Refused when there is none."""
        return Lease(self)

    def change(self, by_bytes: int) -> None:
        """Take bytes, or give them back; raises Refused, with nothing taken, when they are not there."""
        if by_bytes > 0 and self.held_bytes + by_bytes > self.limit_bytes:
            raise Refused(MEMORY_FULL, "the receiver holds as many request bytes as max_inflight_mib allows; try again")
        self.held_bytes += by_bytes
        self._show()

    def _show(self) -> None:
        """The gauge moves in steps of a MiB: setting it costs more than everything else here."""
        held_mib = self.held_bytes >> 20
        if held_mib != self._shown_mib:
            self._shown_mib = held_mib
            INFLIGHT_BYTES.set(held_mib << 20)


class Lease:
    """The bytes of one request; they only grow, and are given back when the request has been answered."""

    __slots__ = ("_admission", "_held_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Cover `size_bytes` in all, announced or arrived.

        Raises:
            Refused: there is no room now, or (too large) could never be.
        """
        if size_bytes > self._admission.limit_bytes:
            raise Refused(
                TOO_LARGE, f"the request is larger than max_inflight_mib ({self._admission.limit_bytes} bytes)"
            )
        more_bytes = size_bytes - self._held_bytes
        if more_bytes > 0:
            self._admission.change(more_bytes)
            self._held_bytes = size_bytes

    def __enter__(self) -> Self:
        self.hold(LEAST_LEASE_BYTES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.change(-self._held_bytes)
        self._held_bytes = 0
