"""Sources to one checked configuration, or to every problem in them at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from config.errors import ConfigError, ConfigErrors
from config.expansion import expand
from config.exposure import check_access
from config.models import SECTIONS, Config, MetadataSettings, ServiceSettings
from config.resources import check_resources, check_tls_versions
from config.settings import Settings
from config.sources import DEFAULTS, merged_sources, override_name
from config.validation import components, unknown_sections, validated
from config.wiring import check_references, used_ids
from config.yaml_tree import Mapping, Scalar, find, is_empty

Part = TypeVar("Part", bound=Settings)

_NEEDED: Final = {"receivers": "receiver", "buffers": "buffer", "exporters": "exporter"}


def load(sources: Sequence[str | Path] = (), overrides: Sequence[str] = ()) -> Config:
    """The configuration of *sources*, merged from left to right, and *overrides* (`a.b.c=value`) over them.

    A source is a path, `file:path`, `env:NAME` or `yaml:a::b: value`; without sources the embedded defaults are taken.
    Reads the sources, the environment and what `${file:...}` names; opens no socket and creates nothing.

    Raises:
        ConfigErrors: the configuration cannot be used; holds every problem that was found.
    """
    problems: list[ConfigError] = []
    root = merged_sources(sources, overrides, problems)
    config = _checked(root, problems) if root else None
    if config is None or problems:
        order = [*(map(str, sources) if sources else [DEFAULTS]), *map(override_name, overrides)]
        raise ConfigErrors(sorted(dict.fromkeys(problems), key=lambda problem: _position(problem, order)))
    return config


def _checked(merged: Mapping, problems: list[ConfigError]) -> Config | None:
    root = expand(merged, problems)
    assert isinstance(root, Mapping)
    unknown_sections(root, list(Config.model_fields), problems)
    sections = {name: _section(root, name, problems) for name in SECTIONS}
    metadata = _part(MetadataSettings, root, "metadata", problems)
    service = _part(ServiceSettings, root, "service", problems)
    check_references(root, problems)
    running = _running(root, sections, metadata, service)
    check_resources(root, running, problems)
    check_tls_versions(root, running, problems)
    check_access(root, running, problems)
    if problems or metadata is None or service is None:
        return None
    return Config(**sections, metadata=metadata, service=service)


def _section(root: Mapping, name: str, problems: list[ConfigError]) -> dict[str, Settings]:
    place = find(root, root.mark, (name,))
    node = place.node if place.complete else _absent(root)
    if name in _NEEDED and (is_empty(node) or (isinstance(node, Mapping) and not node.entries)):
        problems.append(place.key.error(name, f"no {_NEEDED[name]} configuration specified in config"))
    return components(name, node, problems)


def _part(model: type[Part], root: Mapping, name: str, problems: list[ConfigError]) -> Part | None:
    place = find(root, root.mark, (name,))
    return validated(model, place.node if place.complete else _absent(root), place.key, (name,), problems)


def _absent(root: Mapping) -> Scalar:
    return Scalar(root.mark, "", None)


def _running(
    root: Mapping, sections: dict[str, dict[str, Settings]], *parts: Settings | None
) -> dict[tuple[str, ...], Settings]:
    """What claims endpoints and paths, by its place: the components in use, and the parts that always run."""
    used = used_ids(root)
    running: dict[tuple[str, ...], Settings] = {
        (section, component_id): found[component_id]
        for section, found in sections.items()
        for component_id in used.get(section, ())
        if component_id in found
    }
    names = {MetadataSettings: "metadata", ServiceSettings: "service"}
    return running | {(names[type(part)],): part for part in parts if part is not None}


def _position(problem: ConfigError, order: list[str]) -> tuple[int, int, int]:
    """Sources in the order given, then overrides."""
    return order.index(problem.file), problem.line, problem.column
