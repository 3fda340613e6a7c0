"""The two words that decide everything downstream: try again, or never.

Exception
├── Retryable          back off and try again, for ever by default
│   └── BufferFull     the buffer's size limit is reached; the sender must wait
└── Permanent          these rows will never be accepted: dead-letter them with the reason
"""


class Retryable(Exception):
    """The sink or the disk cannot take it now; the same call may succeed later."""


class BufferFull(Retryable):
    """The buffer has reached its size limit; nothing of the append was stored."""


class Permanent(Exception):
    """The sink will never take these rows; the message says why."""
