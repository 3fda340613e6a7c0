"""Configuration as a tree of nodes that know their place: what YAML gives, before it is known what it should be.

Scalars follow the core schema of YAML 1.2 (`yes` and `12:30` are text, `010` is ten), plus `1_000` as YAML 1.1 and Go
have it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from config.errors import Mark


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value and the text that it was written as.

    `origin` names the substitutions that it came from (`${env:X}`). Such text, like that of `--set`, cannot be quoted
    by its author: it is `loose`, so it stays text wherever text is wanted.
    """

    mark: Mark
    text: str
    value: Any
    origin: str = ""
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list; `text` is what was substituted, when it came from a substitution."""

    mark: Mark
    items: tuple["Node", ...]
    origin: str = ""
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping; `keys` holds the place of every key, `text` what was substituted, as in `Sequence`."""

    mark: Mark
    entries: dict[str, "Node"] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)
    origin: str = ""
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands where a value could not be had; the reason has been reported."""

    mark: Mark
    origin: str = ""


Node: TypeAlias = Scalar | Sequence | Mapping | Broken


_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Longer digit strings are no numbers that any key takes, and Python refuses to convert them.
_NUMBERS: Final = (
    (re.compile(r"[-+]?[0-9][0-9_]{0,99}"), int),
    (re.compile(r"0x[0-9a-fA-F]{1,100}"), lambda text: int(text, 16)),
    (re.compile(r"0o[0-7]{1,100}"), lambda text: int(text, 8)),
    (re.compile(r"[-+]?(\.[0-9]{1,100}|[0-9]{1,100}(\.[0-9]{0,100})?)([eE][-+]?[0-9]{1,9})?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


def relocated(node: Node, mark: Mark, origin: str = "") -> Node:
    """The same tree, all of it at one place and loose: text that came from outside the file."""
    if isinstance(node, Mapping):
        entries = {key: relocated(value, mark, origin) for key, value in node.entries.items()}
        return Mapping(mark, entries, dict.fromkeys(entries, mark), origin)
    if isinstance(node, Sequence):
        return Sequence(mark, tuple(relocated(item, mark, origin) for item in node.items), origin)
    if isinstance(node, Scalar):
        return Scalar(mark, node.text, node.value, origin, loose=True)
    return Broken(mark, origin)


def count(node: Node) -> int:
    """How many values the tree holds, itself included."""
    if isinstance(node, Mapping):
        return 1 + sum(count(value) for value in node.entries.values())
    return 1 + sum(count(item) for item in node.items) if isinstance(node, Sequence) else 1


def plain_value(text: str) -> Any:
    """The value of an unquoted scalar: None, bool, int, float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            return convert(text.replace("_", ""))
    return text


@dataclass(frozen=True, slots=True)
class Place:
    """The deepest node on a path, its key's mark, and whether it is the path's end."""

    node: Node
    key: Mark
    complete: bool

    @property
    def mark(self) -> Mark:
        """Where to point: at the value, or where none was written at the key."""
        return self.node.mark if self.complete and not is_empty(self.node) else self.key


def find(root: Node, key: Mark, path: Iterable[str | int]) -> Place:
    """Follows *path* from *root*, whose own key stands at *key*, as far as it leads."""
    node = root
    for part in path:
        if isinstance(node, Mapping) and part in node.entries:
            key, node = node.keys[str(part)], node.entries[str(part)]
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            key = node.mark
        else:
            return Place(node, key, complete=False)
    return Place(node, key, complete=True)


def is_empty(node: Node) -> bool:
    """Whether nothing was written: `key:` alone, or null."""
    return isinstance(node, Scalar) and node.value is None


def is_broken(node: Node) -> bool:
    """Whether something in it could not be had."""
    if isinstance(node, Mapping):
        return any(is_broken(value) for value in node.entries.values())
    return any(is_broken(item) for item in node.items) if isinstance(node, Sequence) else isinstance(node, Broken)
