"""Where a configuration comes from: files, the environment, inline YAML and `--set`, merged in this order."""

import os
from collections.abc import Sequence as SequenceOf
from dataclasses import replace
from functools import reduce
from importlib import resources
from pathlib import Path
from typing import Final

from config.errors import ConfigError, Mark
from config.yaml_parser import MAX_DEPTH, parse
from config.yaml_tree import Broken, Mapping, Node, is_empty, relocated

MAX_BYTES: Final = 1 << 20

DEFAULTS: Final = "config/default.yaml"
"""What messages call the embedded defaults."""


_SECTIONS: Final = "expected a mapping with the sections receivers, buffers, exporters and service"


class UnreadableError(ValueError):
    """A file that cannot be read as configuration text; the message is the reason, without the name."""


def read_text(path: str | Path) -> str:
    """The UTF-8 text of a file of at most `MAX_BYTES`.

    Raises:
        UnreadableError: missing, not permitted, a directory, too large or not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError((error.strerror or "unreadable").lower()) from error
    except ValueError as error:
        raise UnreadableError(str(error)) from error
    if len(body) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES} bytes")
    return _decoded(body)


def merged_sources(
    sources: SequenceOf[str | Path], overrides: SequenceOf[str], problems: list[ConfigError]
) -> Mapping | None:
    """One tree of all sources and, over it, all overrides; the embedded defaults when there are no sources.

    Mappings merge, lists and values replace, and a null wipes what stood before. What cannot be read or parsed is added
    to *problems*, and the answer is None.
    """
    trees = [_source(str(source), problems) for source in sources] or [_defaults(problems)]
    trees += [_override(override, problems) for override in overrides]
    told = [tree for tree in trees if not is_empty(tree)]
    mappings = [tree for tree in told if isinstance(tree, Mapping)]
    if not told:
        problems.append(trees[0].mark.error("", f"empty configuration: {_SECTIONS}"))
    problems += [tree.mark.error("", _SECTIONS) for tree in told if not isinstance(tree, Mapping | Broken)]
    return reduce(_merge, mappings) if mappings and len(mappings) == len(told) else None


def override_name(override: str) -> str:
    """What messages call an override."""
    return f"--set {override.partition('=')[0]}"


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"not UTF-8: byte 0x{body[error.start]:02x} on line {line}") from error


def _defaults(problems: list[ConfigError]) -> Node:
    return parse(resources.files("config").joinpath("default.yaml").read_text("utf-8"), DEFAULTS, problems)


def _source(location: str, problems: list[ConfigError]) -> Node:
    """A path, or as in the Collector `file:path`, `env:NAME` (its value is YAML) or `yaml:a::b: value`."""
    scheme, _, rest = location.partition(":")
    if scheme == "yaml":
        return _unflattened(parse(rest, location, problems))
    try:
        text = _variable(rest) if scheme == "env" else read_text(_path(location))
    except UnreadableError as error:
        problems.append(Mark(location).error("", f"cannot be read: {error}"))
        return Broken(Mark(location))
    return parse(text, location, problems)


def _path(location: str) -> str:
    if location.startswith(("http://", "https://")):
        raise UnreadableError("only files, env: and yaml: are read")
    return location.removeprefix("file:")


def _variable(name: str) -> str:
    if name not in os.environ:
        raise UnreadableError(f"environment variable {name} is not set")
    return os.environ[name]


def _unflattened(tree: Node) -> Node:
    """`a::b: value` means a mapping b in a."""
    if not isinstance(tree, Mapping):
        return tree
    result = Mapping(tree.mark)
    for key, value in tree.entries.items():
        result = _merge(result, _nested(key.split("::"), value, tree.keys[key]))
    return result


def _override(override: str, problems: list[ConfigError]) -> Node:
    """`a.b.c=value` as a tree; the value is YAML."""
    key, equals, text = override.partition("=")
    mark = Mark(override_name(override))
    path = key.strip().split(".")
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        problems.append(mark.error("", "expected key.key=value, such as service.workers=2"))
        return Broken(mark)
    found: list[ConfigError] = []
    value = parse(text, mark.file, found)
    problems += [mark.error(error.path, error.message) for error in found]
    return _nested(path, relocated(value, mark), mark)


def _nested(path: SequenceOf[str], value: Node, mark: Mark) -> Mapping:
    for key in reversed(path[1:]):
        value = Mapping(mark, {key: value}, {key: mark})
    return Mapping(mark, {path[0]: value}, {path[0]: mark})


def _merge(base: Mapping, overlay: Mapping) -> Mapping:
    entries, keys = dict(base.entries), dict(base.keys)
    for key, value in overlay.entries.items():
        before = entries.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            entries[key] = _merge(before, value)
        else:
            entries[key], keys[key] = value, overlay.keys[key]
    return replace(base, entries=entries, keys=keys)
