"""Substitution in values: `${env:VAR}`, `${VAR}`, `${env:VAR:-fallback}`, `${file:path}`, and `$$` for one `$`.

A value that is one reference and nothing else is parsed as YAML, so it may become a number, a list or a mapping; where
text is wanted it stays the text that it was. Within longer text, only text is put in. References may stand inside
references and inside what was substituted; there `$$` is left alone, for a password may hold it. All of it is bounded.
"""

import os
import re
from dataclasses import dataclass, replace
from typing import Final

from config.errors import ConfigError, did_you_mean, join_path
from config.sources import UnreadableError, read_text
from config.yaml_parser import MAX_DEPTH, MAX_NODES, parse
from config.yaml_tree import Broken, Mapping, Node, Scalar, Sequence, count, relocated

MAX_REFERENCES: Final = 1000
MAX_NESTING: Final = 20
MAX_CHARACTERS: Final = 1 << 20

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!-)")
_ESCAPE_OR_OPEN: Final = re.compile(r"\$\$|\$\{")
_OPEN_CLOSE_OR_FALLBACK: Final = re.compile(r"\$\{|\}|:-")


def expand(root: Node, problems: list[ConfigError]) -> Node:
    """The tree with every reference replaced; one that cannot be is reported and leaves a `Broken` value.

    Reads the environment and the named files, and nothing else.
    """
    return _Expander(problems, _References()).node(root, [])


class _FaultError(Exception):
    """Why a reference cannot be replaced."""


@dataclass(slots=True)
class _Expander:
    """Walks the tree; the limits hold for all of it together."""

    problems: list[ConfigError]
    references: "_References"
    values_left: int = MAX_NODES

    def node(self, node: Node, path: list[str | int]) -> Node:
        """The node with its references replaced."""
        if isinstance(node, Mapping):
            return replace(node, entries={key: self.node(value, [*path, key]) for key, value in node.entries.items()})
        if isinstance(node, Sequence):
            return replace(node, items=tuple(self.node(item, [*path, at]) for at, item in enumerate(node.items)))
        if isinstance(node, Broken) or "$" not in node.text:
            return node
        try:
            return self._scalar(node, path)
        except _FaultError as fault:
            self.problems.append(node.mark.error(join_path(path), str(fault)))
            return Broken(node.mark, node.origin)

    def _scalar(self, scalar: Scalar, path: list[str | int]) -> Node:
        origin = scalar.origin or ", ".join(_names(scalar.text))
        if _end(scalar.text) == len(scalar.text):
            return self._whole_value(scalar, origin, path)
        text = self.references.replaced(scalar.text, unescape=not scalar.origin)
        return replace(scalar, text=text, value=text, origin=origin)

    def _whole_value(self, scalar: Scalar, origin: str, path: list[str | int]) -> Node:
        """What a lone reference stands for, read as YAML; text that is no YAML is text."""
        retrieved, text = self.references.resolved(scalar.text[2:-1])
        # References inside a list or a mapping are replaced in its values, where they cannot break its syntax.
        for source, settled in ((retrieved, retrieved == text), (text, True)):
            parsed = relocated(parse(source, origin, []), scalar.mark, origin)
            if isinstance(parsed, Mapping | Sequence):
                self._spend(parsed, path)
                inner = parsed if settled else self.node(parsed, path)
                assert isinstance(inner, Mapping | Sequence)
                return replace(inner, text=text)
        return Scalar(scalar.mark, text, parsed.value if isinstance(parsed, Scalar) else text, origin, loose=True)

    def _spend(self, parsed: Node, path: list[str | int]) -> None:
        self.values_left -= count(parsed)
        if self.values_left < 0:
            raise _FaultError(f"substitutions give more than {MAX_NODES} values")
        if len(path) > MAX_DEPTH:
            raise _FaultError(f"substitutions nest values deeper than {MAX_DEPTH} levels")


@dataclass(slots=True)
class _References:
    """Replaces references in text, within limits that hold for one whole load."""

    references_left: int = MAX_REFERENCES
    characters_left: int = MAX_CHARACTERS

    def replaced(self, text: str, *, unescape: bool, nesting: int = 0) -> str:
        """The text with its references replaced, and `$$` made `$` where the author of the file wrote it."""
        parts: list[str] = []
        start = 0
        while match := _ESCAPE_OR_OPEN.search(text, start):
            parts.append(text[start : match.start()])
            if match.group() == "$$":
                parts.append("$" if unescape else "$$")
                start = match.end()
            else:
                end = _end(text, match.start())
                parts.append(self.resolved(text[match.end() : end - 1], nesting)[1])
                start = end
        return "".join([*parts, text[start:]])

    def resolved(self, body: str, nesting: int = 0) -> tuple[str, str]:
        """What `${body}` stands for: as it was retrieved, and with the references inside it replaced too."""
        self._spend(references=1, nesting=nesting)
        scheme, rest = _scheme(body)
        if scheme == "file":
            retrieved = _file(self.replaced(rest, unescape=True, nesting=nesting + 1), shown=rest)
        else:
            shown, fallback = _split_fallback(rest)
            found = _variable(self.replaced(shown, unescape=True, nesting=nesting + 1), shown=shown)
            if found is None:
                text = self._fallback(shown, fallback, nesting + 1)
                return text, text
            retrieved = found
        self._spend(characters=len(retrieved))
        return retrieved, self.replaced(retrieved, unescape=False, nesting=nesting + 1)

    def _fallback(self, name: str, fallback: str | None, nesting: int) -> str:
        if fallback is None:
            raise _FaultError(f"environment variable {name} is not set; set it, or write ${{env:{name}:-fallback}}")
        return self.replaced(fallback, unescape=True, nesting=nesting)

    def _spend(self, *, references: int = 0, characters: int = 0, nesting: int = 0) -> None:
        self.references_left -= references
        self.characters_left -= characters
        if nesting > MAX_NESTING:
            raise _FaultError(f"references nest deeper than {MAX_NESTING}; does one of them lead back to itself?")
        if self.references_left < 0:
            raise _FaultError(f"more than {MAX_REFERENCES} references")
        if self.characters_left < 0:
            raise _FaultError(f"substituted text is longer than {MAX_CHARACTERS} characters in all")


def _end(text: str, start: int = 0) -> int:
    """Just behind the reference that opens at *start*; 0 when none opens there."""
    if not text.startswith("${", start):
        return 0
    nesting = 0
    for match in _OPEN_CLOSE_OR_FALLBACK.finditer(text, start):
        nesting += {"${": 1, "}": -1}.get(match.group(), 0)
        if nesting == 0:
            return match.end()
    raise _FaultError("${ is never closed; add the }, or write $${ for the characters themselves")


def _names(text: str) -> list[str]:
    """The references in the text as messages call them, without their fallbacks."""
    names: list[str] = []
    start = 0
    while match := _ESCAPE_OR_OPEN.search(text, start):
        start = _end(text, match.start()) or match.end()
        if match.group() == "${":
            scheme, rest = _scheme(text[match.end() : start - 1])
            names.append(f"${{{scheme}:{rest if scheme == 'file' else _split_fallback(rest)[0]}}}")
    return names


def _scheme(body: str) -> tuple[str, str]:
    """Where a reference points to and the rest of it; without a scheme, to the environment."""
    match = _SCHEME.match(body)
    if match is None:
        return "env", body
    if match[1] not in ("env", "file"):
        raise _FaultError(
            f"${{{match[1]}:...}} is not supported, only env and file are{did_you_mean(match[1], ('env', 'file'))}"
        )
    return match[1], body[match.end() :]


def _split_fallback(body: str) -> tuple[str, str | None]:
    """The name, and what stands behind the first `:-` outside of nested references."""
    nesting = 0
    for match in _OPEN_CLOSE_OR_FALLBACK.finditer(body):
        nesting += {"${": 1, "}": -1}.get(match.group(), 0)
        if match.group() == ":-" and nesting == 0:
            return body[: match.start()], body[match.end() :]
    return body, None


def _variable(name: str, shown: str) -> str | None:
    if not _NAME.fullmatch(name):
        raise _FaultError(f"'{shown}' is not the name of an environment variable (letters, digits and _)")
    return os.environ.get(name)


def _file(path: str, shown: str) -> str:
    """The text of a file without its last line break, which editors and secret stores add."""
    try:
        return read_text(path).removesuffix("\n").removesuffix("\r")
    except UnreadableError as error:
        raise _FaultError(f"cannot read {shown} for ${{file:...}}: {error}") from error
