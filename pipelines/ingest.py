"""The ingest half: requests wait in the intake, are transformed and appended as one batch, then all answered.

Group commit without timers: one thread takes everything that is waiting. Idle, a request is taken at once; busy,
batches grow by themselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.batch import Batch
from pipelines.errors import Permanent

Encoding = Literal["protobuf", "json"]


@dataclass(frozen=True, slots=True)
class Request:
    """One export request, decompressed.

    Attributes:
        body: the message as sent.
        encoding: how it is encoded.
        project_id: what the request's key belongs to.
        received_at_ns: Unix nanoseconds.
    """

    body: bytes
    encoding: Encoding
    project_id: str
    received_at_ns: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request whose usable spans are durable.

    Attributes:
        spans: number stored.
        rejected_spans: number that can never be stored.
        message: why, naming each place; empty when none was rejected.
    """

    spans: int
    rejected_spans: int = 0
    message: str = ""


class BadRequest(Permanent):
    """The body cannot be decoded; the message names what is wrong and where."""


Outcome = Accepted | BadRequest
Transform = Callable[[Sequence[Request]], tuple[list[Batch], list[Outcome]]]
"""Decode and map: the batches of all requests together, and one outcome a request, in order. Never raises on input."""
