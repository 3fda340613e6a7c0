"""What each recorded source was seen to send, for docs/conventions.md: counted in its golden records.

`python -m tests.support.coverage` writes the table between its marks in the page.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from config.conventions_docs import PAGE, conventions_markdown
from tests.support.golden import FOLDER, read

Observation = dict[str, Any]
Test = Callable[[Observation], bool]

_HEAD: Final = """\
From the recorded requests of the test suite, as `tests/golden` has them: each scenario was held against what the model
server really answered. **calls** are model calls (GENERATION, EMBEDDING, RERANKER). Under *model* to *output tokens* ✓
says that every call has it, 3/5 that three of five have; tokens are expected of calls that did not fail, output of
those that generate text. Under the rest ✓ says that it was seen on any observation. What is empty was not sent by this
source, or not asked of it.
"""
_CALLS: Final = ("GENERATION", "EMBEDDING", "RERANKER")
_SEEN: Final = "✓"


def _has(name: str, observation: Observation) -> bool:
    return name in observation


def _has_bucket(name: str, observation: Observation) -> bool:
    return any(name in bucket for bucket in observation.get("usage_details", ()))


def _is(kind: str, observation: Observation) -> bool:
    return str(observation["observation"]).split(" ", 2)[1] == kind


def _is_call(observation: Observation) -> bool:
    return any(_is(kind, observation) for kind in _CALLS)


def _failed(observation: Observation) -> bool:
    return observation.get("level") == "ERROR"


_OF_EVERY_CALL: Final[dict[str, Test]] = {"model": partial(_has, "model"), "input": partial(_has, "input")}
_OF_EVERY_ANSWER: Final[dict[str, Test]] = {"input tokens": partial(_has, "input_tokens")}
_OF_EVERY_TEXT: Final[dict[str, Test]] = {
    "output": partial(_has, "output"),
    "output tokens": partial(_has, "output_tokens"),
}
_ANYWHERE: Final[dict[str, Test]] = {
    "cached": partial(_has_bucket, "cached"),
    "cache written": partial(_has_bucket, "cache_creation"),
    "reasoning": partial(_has_bucket, "reasoning"),
    "audio": partial(_has_bucket, "audio"),
    "cost": partial(_has, "cost_details"),
    "tool calls": partial(_has, "tool_calls"),
    "tools offered": partial(_has, "tools"),
    "tool runs": partial(_is, "TOOL"),
    "searches": partial(_is, "RETRIEVER"),
    "agents": partial(_is, "AGENT"),
    "parameters": partial(_has, "model_parameters"),
    "finish reason": partial(_has, "finish_reasons"),
    "first token": partial(_has, "first_token_seconds"),
    "response id": partial(_has, "response_id"),
    "user": partial(_has, "user_id"),
    "session": partial(_has, "session_id"),
    "tags": partial(_has, "tags"),
    "prompt": partial(_has, "prompt_name"),
    "errors": _failed,
}


def coverage_table() -> str:
    """Source by source what is present, a table a language."""
    return "\n".join([_HEAD, *(_language(path) for path in sorted(FOLDER.iterdir()) if path.is_dir())])


def _language(folder: Path) -> str:
    head = ("source", "calls", *_OF_EVERY_CALL, *_OF_EVERY_ANSWER, *_OF_EVERY_TEXT, *_ANYWHERE)
    rows = [[file.stem, *_cells(f"{folder.name}/{file.stem}")] for file in sorted(folder.glob("*.yaml"))]
    lines = [head, ["---"] * len(head), *rows]
    return f"**{folder.name}**\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(source: str) -> Iterator[str]:
    seen: list[Observation] = [each for scenario in (read(source) or {}).values() for each in scenario]
    calls = [each for each in seen if _is_call(each)]
    answers = [each for each in calls if not _failed(each)]
    yield str(len(calls) or "")
    texts = [each for each in answers if _is("GENERATION", each)]
    for tests, of in ((_OF_EVERY_CALL, calls), (_OF_EVERY_ANSWER, answers), (_OF_EVERY_TEXT, texts)):
        yield from (_share(test, of) for test in tests.values())
    for test in _ANYWHERE.values():
        yield _SEEN if any(map(test, seen)) else ""


def _share(test: Test, observations: list[Observation]) -> str:
    count = sum(map(test, observations))
    if count == len(observations):
        return _SEEN if count else ""
    return f"{count}/{len(observations)}" if count else ""


if __name__ == "__main__":
    PAGE.write_text(conventions_markdown(coverage_table()), "utf-8")
