"""A request sent many times, each time as other spans: the ids in its bytes are changed in place."""

from typing import Final

import numpy as np
import numpy.typing as npt
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_CHANGED_BYTES: Final = 6


class FreshIds:
    """Copies of one serialized request whose trace and span ids never repeat, at memcpy cost."""

    def __init__(self, body: bytes, seed: int) -> None:
        self._template = np.frombuffer(body, np.uint8)
        self._places = _id_places(body)
        self._random = np.random.default_rng(seed)

    def next(self) -> bytes:
        """The next copy; parents still name their spans, traces still hold theirs."""
        body = self._template.copy()
        nonce = self._random.integers(0, 256, _CHANGED_BYTES, np.uint8)
        body[self._places] ^= nonce
        return body.tobytes()


def _id_places(body: bytes) -> npt.NDArray[np.int64]:
    """Where each id starts, as rows of the positions to change."""
    request = ExportTraceServiceRequest.FromString(body)
    spans = request.resource_spans[0].scope_spans[0].spans
    ids = {span.trace_id for span in spans} | {span.span_id for span in spans}
    starts = [place for each in ids for place in _occurrences(body, each)]
    return np.asarray(starts)[:, None] + np.arange(_CHANGED_BYTES)


def _occurrences(body: bytes, part: bytes) -> list[int]:
    places, place = [], body.find(part)
    while place >= 0:
        places.append(place)
        place = body.find(part, place + 1)
    return places
