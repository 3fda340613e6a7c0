"""How the parts of a configuration fit together: what pipelines name exists, and nothing is claimed twice.

References are read from the tree, so that their faults are found beside faults of other kinds.
"""

from collections.abc import Iterator
from typing import Final

from config.errors import ConfigError, did_you_mean, join_path
from config.values import parse_component_id
from config.yaml_tree import Mapping, Node, Scalar, Sequence, find, is_empty

_SECTION_OF: Final = {
    "receivers": "receivers",
    "processors": "processors",
    "buffer": "buffers",
    "exporters": "exporters",
}
"""The keys of a pipeline, and the sections that their ids come from."""

_ONE_PIPELINE: Final = ("receivers", "buffers")
"""A receiver's spans and a buffer's records have one way to go."""


def check_references(root: Mapping, problems: list[ConfigError]) -> None:
    """Reports pipelines that are none, ids that are not configured, and what is listed or claimed twice."""
    owners: dict[tuple[str, str], str] = {}
    for pipeline_id, body in _pipelines(root):
        path = f"service::pipelines::{pipeline_id}"
        if not _is_traces(pipeline_id):
            mark = find(root, root.mark, ("service", "pipelines", pipeline_id)).key
            near = did_you_mean(pipeline_id, ["traces"])
            problems.append(mark.error(path, f"a pipeline is named traces or traces/name{near}"))
        for key, section in _SECTION_OF.items():
            _check_ids(root, section, path, _ids(body, key), problems)
            if section in _ONE_PIPELINE:
                _check_owners(section, path, _ids(body, key), owners, problems)
        _check_conventions(path, body, problems)
    _check_ids(root, "extensions", "service::extensions", _ids(_at(root, "service"), "extensions"), problems)
    _check_sql_http(root, problems)


def used_ids(root: Mapping) -> dict[str, tuple[str, ...]]:
    """By section, the ids of the components that run: what is configured but named nowhere does not."""
    used: dict[str, tuple[str, ...]] = {}
    for _, body in _pipelines(root):
        for key, section in _SECTION_OF.items():
            used[section] = used.get(section, ()) + tuple(item.text for item in _ids(body, key))
    listed = _at(root, "service", "extensions")
    configured = _at(root, "extensions")
    if isinstance(listed, Sequence):
        used["extensions"] = tuple(item.text for item in _ids(_at(root, "service"), "extensions"))
    elif isinstance(configured, Mapping):
        used["extensions"] = tuple(configured.entries)
    return {section: tuple(dict.fromkeys(ids)) for section, ids in used.items()}


def _check_ids(root: Mapping, section: str, path: str, items: list[Scalar], problems: list[ConfigError]) -> None:
    body = _at(root, section)
    if body is not None and not isinstance(body, Mapping) and not is_empty(body):
        return  # reported already; what it would have held is not known
    configured = body.entries if isinstance(body, Mapping) else {}
    kind = section.removesuffix("s")
    seen: set[str] = set()
    for item in items:
        named = f"references {kind} {_shown(item)}"
        if item.text not in configured:
            near = did_you_mean(item.text, configured)
            problems.append(item.mark.error(path, f"{named} which is not configured{near}"))
        elif item.text in seen:
            problems.append(item.mark.error(path, f"{named} twice"))
        seen.add(item.text)


def _check_owners(
    section: str, path: str, items: list[Scalar], owners: dict[tuple[str, str], str], problems: list[ConfigError]
) -> None:
    kind = section.removesuffix("s")
    for item in items:
        owner = owners.setdefault((section, item.text), path)
        if owner != path:
            cure = f"a {kind} belongs to one pipeline, configure another such as {item.text.partition('/')[0]}/2"
            problems.append(item.mark.error(path, f"references {kind} {_shown(item)} which {owner} has: {cure}"))


def _check_conventions(path: str, body: Node, problems: list[ConfigError]) -> None:
    listed = _at(body, "conventions")
    names: set[str] = set()
    for index, item in enumerate(listed.items if isinstance(listed, Sequence) else ()):
        name = _at(item, "name")
        if isinstance(name, Scalar) and name.text in names:
            message = f"{_shown(name)} names another convention of this pipeline already"
            problems.append(name.mark.error(f"{path}::conventions[{index}]::name", message))
        elif isinstance(name, Scalar):
            names.add(name.text)


def _check_sql_http(root: Mapping, problems: list[ConfigError]) -> None:
    used = used_ids(root)
    if any(_type(exporter) == "chdb" for exporter in used.get("exporters", ())):
        return
    for extension in used.get("extensions", ()):
        if _type(extension) == "sql_http":
            mark = find(root, root.mark, ("extensions", extension)).key
            message = "needs a chdb exporter in a pipeline: it serves the embedded store"
            problems.append(mark.error(join_path(("extensions", extension)), message))


def _is_traces(pipeline_id: str) -> bool:
    try:
        return _type(parse_component_id(pipeline_id)) == "traces"
    except ValueError:
        return False


def _type(component_id: str) -> str:
    return component_id.partition("/")[0]


def _pipelines(root: Mapping) -> Iterator[tuple[str, Node]]:
    pipelines = _at(root, "service", "pipelines")
    if isinstance(pipelines, Mapping):
        yield from pipelines.entries.items()


def _ids(body: Node | None, key: str) -> list[Scalar]:
    """The ids under a key, of a list or a single one; what is no text is reported where types are checked."""
    node = _at(body, key)
    items = node.items if isinstance(node, Sequence) else (node,)
    return [item for item in items if isinstance(item, Scalar) and item.text]


def _shown(item: Scalar) -> str:
    """The id, or where it came from: what is substituted is never shown."""
    return item.origin or f'"{item.text}"'


def _at(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        node = node.entries.get(key) if isinstance(node, Mapping) else None
    return node
