"""What one item of a list of messages holds, and how the items of a list become its messages."""

from dataclasses import dataclass

from otlp_receiver.mapping.messages import Message
from otlp_receiver.mapping.parts import given, same


@dataclass(frozen=True, slots=True)
class Item:
    """The messages of one item.

    Attributes:
        messages: in the one shape.
        goes_on: the next message of the same role continues the last one: the API sends an answer in pieces.
    """

    messages: list[Message]
    goes_on: bool = False


def joined(items: list[Item]) -> list[Message]:
    """The messages of all items; an answer that came in pieces is one."""
    found: list[Message] = []
    goes_on = False
    for item in items:
        for message in item.messages:
            if goes_on and found and _continues(found[-1], message):
                found[-1]["parts"] += message["parts"]
                found[-1].update(given(message, "role", "parts"))
            else:
                found.append(message)
        goes_on = item.goes_on
    return found


def _continues(message: Message, following: Message) -> bool:
    """Whether two pieces are one message: of one role, and neither hides what the other says."""
    both = message.keys() & following.keys() - {"role", "parts"}
    return message["role"] == following["role"] and all(same(message[key], following[key]) for key in both)
