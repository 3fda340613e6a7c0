"""Value types of conventions: what can match nothing, or would match everything, is refused where it is written.

Parsers raise ValueError saying what was expected. The bounds keep a convention small enough that what the engine
compiles from it fits its tables, whoever wrote it.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

LONGEST_NAME: Final = 500
"""Characters of a key, a prefix, a pattern or a path."""
MOST_SOURCES: Final = 100
"""Sources of one field; also names in any other list."""
MOST_ENTRIES: Final = 1000
"""Entries of one mapping."""
MOST_STEPS: Final = 15
"""Steps of a path, and parts of the name of a family of numbered attributes."""
EVERYTHING: Final = "."
"""The path that is all of a value."""

_ANY_SCOPE: Final = "*"


def parse_path(value: str) -> str:
    """Names and positions with dots between, or one dot."""
    if value not in ("", EVERYTHING):
        _check_steps(value, "a path such as usage.input_tokens or choices.0.message")
    return value


def parse_family(value: str) -> str:
    """What stands before the number and its dot."""
    if value:
        _check_steps(value, "what stands before a number, such as llm.input_messages")
    return value


def _check_steps(value: str, expected: str) -> None:
    steps = value.split(".")
    if "" in steps:
        raise ValueError(f"expected {expected}, with one dot between two names and none at the ends")
    if len(steps) > MOST_STEPS:
        raise ValueError(f"expected {expected}, of {MOST_STEPS} steps at most")


def parse_scope(value: str) -> str:
    """A scope's name, or one with `*` at its end or start."""
    if value == _ANY_SCOPE:
        raise ValueError("expected the name of a scope, with * at its end at most; * alone would be every span's")
    return value


def parse_lower(value: str) -> str:
    """Lower case."""
    if value != value.lower():
        raise ValueError(f"expected lower case, such as {value.lower()!r}: providers are compared so")
    return value


Key = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
OptionalKey = Annotated[str, Field(max_length=LONGEST_NAME)]
ScopeName = Annotated[Key, AfterValidator(parse_scope)]
LowerName = Annotated[Key, AfterValidator(parse_lower)]
Path = Annotated[OptionalKey, AfterValidator(parse_path)]
Family = Annotated[OptionalKey, AfterValidator(parse_family)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Names = Annotated[tuple[Key, ...], Field(max_length=MOST_SOURCES)]
Scopes = Annotated[tuple[ScopeName, ...], Field(max_length=MOST_SOURCES)]
