"""gRPC messages that have begun to arrive: what gRPC collects of them is memory that no lease covers yet.

gRPC hands over whole messages and tells neither their length nor how much has come. So what is known decides: a few
reads may always go on, as many as could all grow to the size limit within the bound; more of them (slow senders, mostly
of little) go on only while the process is small.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Final

from otlp_receiver.lean import resident_bytes
from otlp_receiver.replies import MEMORY_FULL, Refused

STREAM_BYTES: Final = 64 * 1024
"""What a stream takes in before it is read: the initial window of HTTP/2, to which gRPC keeps as long as it does not
probe the bandwidth (with `bdp_probe` it was 2.5 MB)."""
_LOOK_SECONDS: Final = 0.01
"""Some 10 MB arrive meanwhile, from senders on the same machine."""


class Unfinished:
    """The reads that go on in one server; used from one event loop.

    Args:
        limit_bytes: what the messages may always grow to together; when the process has grown by twice as much since
            it started to listen, no other message may grow.
        message_bytes: the size limit of one message.
        memory: resident bytes of the process.
    """

    def __init__(self, limit_bytes: int, message_bytes: int, memory: Callable[[], int] = resident_bytes) -> None:
        self._always = max(1, limit_bytes // message_bytes)
        self._enough_bytes = memory() + 2 * limit_bytes
        self._memory = memory
        self._reads: dict[asyncio.Future[Any], None] = {}
        self._looking = self._is_large = False

    async def read(self, context: Any) -> Any:
        """The message of a call, or what gRPC gives for none; raises Refused when there is no memory for it.

        May be cancelled; the read of gRPC then goes on to the end of the call.
        """
        if len(self._reads) >= self._always:
            self._admit()
        message = _read(context)
        self._reads[message] = None
        try:
            return await message
        finally:
            del self._reads[message]

    def _admit(self) -> None:
        if not self._looking:  # else it was looked a moment ago
            self._is_large = self._memory() > self._enough_bytes
            self._look_later()
        if self._is_large:
            raise _refused()

    def _look_later(self) -> None:
        self._looking = True
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = False
        if len(self._reads) <= self._always:
            return
        self._is_large = self._memory() > self._enough_bytes
        if self._is_large:
            for message in islice(self._reads, self._always, None):  # the oldest have come the farthest
                if not message.done():
                    message.set_exception(_refused())
        self._look_later()


def _read(context: Any) -> "asyncio.Future[Any]":
    """`context.read()`, to be cancelled without harm: gRPC loses the memory of a message that nobody takes over."""
    message: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.ensure_future(context.read()).add_done_callback(partial(_hand_over, message))
    return message


def _hand_over(message: "asyncio.Future[Any]", reading: "asyncio.Future[Any]") -> None:
    if reading.cancelled():
        message.cancel()
        return
    error = reading.exception()
    if message.done():
        return
    if error is not None:
        message.set_exception(error)
    else:
        message.set_result(reading.result())


def _refused() -> Refused:
    return Refused(MEMORY_FULL, "too many large messages arrive at once for the memory of the receiver; try again")
