"""YAML text to nodes with their places. Anchors, aliases and merge keys work.

The tree is built from the parser's events, so that its depth and its size, aliases counted in full, are bounded before
anything is built.
"""

from dataclasses import dataclass, replace
from typing import Final, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from config.errors import ConfigError, Mark, join_path
from config.yaml_tree import Broken, Mapping, Node, Scalar, Sequence, is_empty, plain_value

MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000

_TAGS: Final[dict[str | None, str]] = {
    None: "",
    "!": "str",
    "tag:yaml.org,2002:str": "str",
    "tag:yaml.org,2002:seq": "seq",
    "tag:yaml.org,2002:map": "map",
}


def parse(text: str, file: str, problems: list[ConfigError]) -> Node:
    """The document of *text*; what is wrong with it is added to *problems*, named by *file*.

    An empty document is a null scalar, and one that cannot be parsed is `Broken`.
    """
    try:
        return _Builder(file, text, problems).document()
    except _RefusedError as refusal:
        problems.append(refusal.mark.error("", refusal.message))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file, 1, 1)
        problems.append(place.error("", _syntax_message(error, text)))
    except ReaderError as error:
        message = f"not valid YAML: control character {chr(error.character)!a}"
        problems.append(Mark(file, *position(text, error.position)).error("", message))
    except (YAMLError, ValueError, AssertionError) as error:  # the parser's own faults on impossible escapes, versions
        problems.append(Mark(file, 1, 1).error("", f"not valid YAML: {error}"))
    return Broken(Mark(file, 1, 1))


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of a character offset, from 1."""
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


class _RefusedError(Exception):
    """The document is YAML, but not one that a configuration can be."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def _syntax_message(error: MarkedYAMLError, text: str) -> str:
    """The parser's reason on one line, with the cure where it is known."""
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    line = text.splitlines()[error.problem_mark.line : error.problem_mark.line + 1] if error.problem_mark else []
    if "'\\t'" in reason:
        reason += "; indent with spaces"
    elif line and "${" in line[0] and "flow" in reason:
        reason += '; inside {} and [] write "${...}" in quotes'
    return f"not valid YAML: {reason}"


@dataclass(frozen=True, slots=True)
class _Built:
    """A node with what the limits need to know of it."""

    node: Node
    size: int
    height: int


class _Builder:
    """Turns the events of one document into its tree."""

    def __init__(self, file: str, text: str, problems: list[ConfigError]) -> None:
        self._file = file
        self._problems = problems
        self._events = iter(YAML(typ="safe", pure=True).parse(text))
        self._anchors: dict[str, _Built] = {}
        self._path: list[str | int] = []
        self._size = 0

    def document(self) -> Node:
        """The only document; null when there is none."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent) and root is not None:
                self._refuse(event, "expected one YAML document, found another: give them as several --config")
            if isinstance(event, NodeEvent):
                root = self._build(event).node
        return root or Scalar(Mark(self._file, 1, 1), "", None)

    def _build(self, event: NodeEvent) -> _Built:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        self._count(event, size=1, height=1)
        if isinstance(event, SequenceStartEvent):
            built = self._sequence(event)
        elif isinstance(event, MappingStartEvent):
            built = self._mapping(event)
        else:
            assert isinstance(event, ScalarEvent)
            built = _Built(self._scalar(event), 1, 1)
        if event.anchor:
            self._anchors[event.anchor] = built
        return built

    def _child(self, event: NodeEvent, name: str | int) -> _Built:
        self._path.append(name)
        built = self._build(event)
        self._path.pop()
        return built

    def _count(self, event: NodeEvent, *, size: int, height: int) -> None:
        """An alias costs what it stands for, so that a few lines cannot unfold into gigabytes."""
        self._size += size
        if len(self._path) + height > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if self._size > MAX_NODES:
            self._refuse(event, f"more than {MAX_NODES} values, aliases counted in full")

    def _alias(self, event: AliasEvent) -> _Built:
        built = self._anchors.get(event.anchor)
        if built is None:
            self._refuse(event, f"alias *{event.anchor} has no anchor &{event.anchor} before it")
        self._count(event, size=built.size, height=built.height)
        return built

    def _scalar(self, event: ScalarEvent) -> Scalar:
        plain = self._tag(event) != "str" and event.implicit[0]
        return Scalar(self._mark(event), event.value, plain_value(event.value) if plain else event.value)

    def _sequence(self, start: SequenceStartEvent) -> _Built:
        self._tag(start)
        items: list[_Built] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._child(event, len(items)))
        return _measured(Sequence(self._mark(start), tuple(item.node for item in items)), items)

    def _mapping(self, start: MappingStartEvent) -> _Built:
        self._tag(start)
        mapping = Mapping(self._mark(start))
        merged: list[Mapping] = []
        values: list[_Built] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event)
            values.append(self._child(next(self._events), key.text))
            if start.flow_style and event.implicit[0] and is_empty(values[-1].node):
                # YAML 1.2 reads `{grpc:, http:}` as two keys; the scanner takes their colons for text.
                key = replace(key, text=key.text.removesuffix(":"))
            if key.text == "<<" and event.implicit[0]:
                merged += self._merged(values[-1].node)
            else:
                self._add(mapping, key, values[-1].node)
        for source in merged:
            _fill(mapping, source)
        return _measured(mapping, values)

    def _add(self, mapping: Mapping, key: Scalar, value: Node) -> None:
        if key.text in mapping.entries:
            path = join_path([*self._path, key.text])
            first = mapping.keys[key.text].line
            self._problems.append(key.mark.error(path, f"duplicate key, first given on line {first}"))
            return
        mapping.entries[key.text], mapping.keys[key.text] = value, key.mark

    def _key(self, event: NodeEvent) -> Scalar:
        node = self._child(event, "?").node
        if not isinstance(node, Scalar):
            self._refuse(event, "a key must be a single value, not a list or a mapping")
        return node

    def _merged(self, node: Node) -> list[Mapping]:
        sources = node.items if isinstance(node, Sequence) else (node,)
        mappings = [source for source in sources if isinstance(source, Mapping)]
        if len(mappings) < len(sources):
            raise _RefusedError(node.mark, "<< merges mappings: give it the alias of one, or a list of such aliases")
        return mappings

    def _tag(self, event: ScalarEvent | SequenceStartEvent | MappingStartEvent) -> str:
        name = _TAGS.get(event.tag)
        if name is None:
            self._refuse(event, f"tag {event.tag} is not supported, only !!str, !!seq and !!map are")
        return name

    def _mark(self, event: NodeEvent | DocumentStartEvent) -> Mark:
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _refuse(self, event: NodeEvent | DocumentStartEvent, message: str) -> NoReturn:
        raise _RefusedError(self._mark(event), message)


def _fill(mapping: Mapping, source: Mapping) -> None:
    """A merge key adds what is not there; what is written out wins."""
    for name, value in source.entries.items():
        if name not in mapping.entries:
            mapping.entries[name], mapping.keys[name] = value, source.keys[name]


def _measured(node: Node, children: list[_Built]) -> _Built:
    return _Built(
        node, 1 + sum(child.size for child in children), 1 + max((child.height for child in children), default=0)
    )
