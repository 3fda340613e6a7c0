"""What a bad configuration is told: every problem at once, each with its place and the nearest valid name."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

_LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a source; lines and columns count from 1, 0 means that the source has no lines (`--set`)."""

    file: str
    line: int = 0
    column: int = 0

    def error(self, path: str, message: str) -> "ConfigError":
        """A problem at this place."""
        return ConfigError(self.file, self.line, self.column, path, message)


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One problem; `path` is `section::id::key`, empty when the whole source is meant.

    `str()` is one printable line, `file:line:column: path: message`, whatever the source contains.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return printable(": ".join(part for part in (place, self.path, self.message) if part))


class ConfigErrors(Exception):
    """The configuration cannot be used; `errors` are all problems found, in the order of the sources.

    `str()` gives one line per problem. Secrets and values from `${env:...}` and `${file:...}` are never part of it.
    """

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors: tuple[ConfigError, ...] = tuple(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def join_path(parts: Sequence[str | int]) -> str:
    """`section::id::key`, with list items as `key[0]`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f"::{part}"
    return text.removeprefix("::")


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest valid name, or nothing when none is near."""
    # Comparing is slow: very long names are no typing errors, and nobody has so many components.
    candidates = list(islice(valid, 100)) if len(name) <= _LONGEST_NAME else []
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def printable(text: str) -> str:
    """The text on one line, without control characters that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
