"""What the applications say, what the model server answers and what that uses: the one truth of all live tests.

Standard library only, since the applications import it in an environment of their own.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

OPENAI_MODEL: Final = "gpt-5-mini"
OPENAI_ANSWERING: Final = "gpt-5-mini-2025-08-07"
ANTHROPIC_MODEL: Final = "claude-haiku-4-5"
ANTHROPIC_ANSWERING: Final = "claude-haiku-4-5-20251001"
EMBEDDING_MODEL: Final = "text-embedding-3-small"

USER: Final = "user-7"
SESSION: Final = "session-42"

SYSTEM: Final = "You are a terse weather bot."
QUESTION: Final = "How warm is it in Paris? ☀️"
ANSWER: Final = "Paris: 21 °C — sunny ☀️"
PROVOKING: Final = "Please fail."
FAILURE: Final = "Rate limit reached for this organization."

TOOL: Final = "get_weather"
TOOL_TEXT: Final = "Weather of a city."
TOOL_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
ARGUMENTS: Final[dict[str, Any]] = {"city": "Paris", "days": 2}
CALL_ID: Final = "call_9f3c"
RESULT: Final = '{"celsius": 21, "sky": "sunny"}'

OPENAI_TOOLS: Final = [
    {"type": "function", "function": {"name": TOOL, "description": TOOL_TEXT, "parameters": TOOL_SCHEMA}}
]
ANTHROPIC_TOOLS: Final = [{"name": TOOL, "description": TOOL_TEXT, "input_schema": TOOL_SCHEMA}]

Scenario = Callable[[str], AbstractContextManager[Any]]
"""Opens the trace of one scenario by its name: chat, stream, tools, embeddings or error."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, in disjoint numbers."""

    input: int
    cached: int = 0
    cache_creation: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def all_input(self) -> int:
        """What OpenAI calls prompt_tokens."""
        return self.input + self.cached + self.cache_creation

    @property
    def all_output(self) -> int:
        """What OpenAI calls completion_tokens."""
        return self.output + self.reasoning


OPENAI_USAGE: Final = {
    "answer": Usage(input=176, cached=1024, output=26, reasoning=64),
    "tool call": Usage(input=60, output=20),
    "answer to result": Usage(input=100, output=15),
    "embeddings": Usage(input=9),
}
ANTHROPIC_USAGE: Final = {
    "answer": Usage(input=22, cached=2051, cache_creation=1187, output=40),
    "tool call": Usage(input=65, output=25),
    "answer to result": Usage(input=110, output=16),
}


def kind_of_answer(body: dict[str, Any]) -> str:
    """A key of the usage tables, by what was asked."""
    if not body.get("tools"):
        return "answer"
    last = body["messages"][-1]
    is_result = last["role"] == "tool" or "tool_result" in json.dumps(last)
    return "answer to result" if is_result else "tool call"
