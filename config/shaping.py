"""From nodes to the plain values that a settings model is built from, guided by the model.

Here unknown keys are found, a key without a value comes to mean its default, and substituted text stays text where
text is wanted.
"""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import SecretStr

from config.annotations import declared, is_secret, is_spelled, is_text, item_type, model_of
from config.errors import ConfigError, did_you_mean, join_path
from config.settings import Settings
from config.yaml_tree import Broken, Mapping, Node, Scalar, Sequence, is_empty

BROKEN: Final = object()
"""Stands for a value whose fault has been reported."""

_COLLECTOR_KEYS: Final = {
    "connectors": "this receiver has one signal and needs none",
    "sending_queue": "the pipeline's buffer is the queue, and it is durable",
}
"""Keys that people bring from the Collector, and what takes their place."""


Path = tuple[str | int, ...]


def shape(node: Node, target: Any, path: Path, problems: list[ConfigError]) -> Any:
    """Plain values for *target*; `BROKEN` where there are none."""
    if isinstance(node, Broken):
        return BROKEN
    if is_spelled(target):
        return _text(node, target)
    model = model_of(target)
    if model is not None and (isinstance(node, Mapping) or is_empty(node)):
        return _fields(node, model, path, problems)
    if isinstance(node, Mapping):
        return _values(node, target, path, problems)
    if isinstance(node, Sequence):
        kind = item_type(target)
        items = [shape(item, kind, (*path, index), problems) for index, item in enumerate(node.items)]
        return BROKEN if any(item is BROKEN for item in items) else items
    return node.value


def unknown_key(key: str, valid: Iterable[str]) -> str:
    """What to say of a key that is none of the valid ones."""
    if key in _COLLECTOR_KEYS:
        return f"unknown key: {_COLLECTOR_KEYS[key]}"
    names = list(valid)
    return "unknown key" + (did_you_mean(key, names) or f" (valid keys: {', '.join(names)})")


def _text(node: Node, target: Any) -> Any:
    """Text as it was written where its author could not quote it, and for numbers that are written as text."""
    if isinstance(node, Scalar):
        loose = node.loose or not is_text(target) or is_secret(target)
        value = node.text if loose else node.value
    else:
        value = _plain(node)
    return SecretStr(value) if is_secret(target) and isinstance(value, str) else value


def _plain(node: Node) -> Any:
    return getattr(node, "text", None) or ([] if isinstance(node, Sequence) else {})


def _fields(node: Node, model: type[Settings], path: Path, problems: list[ConfigError]) -> dict[str, Any]:
    """The model's fields; keys without a value are left out, so that they take their defaults."""
    shaped: dict[str, Any] = {}
    if not isinstance(node, Mapping):
        return shaped
    for key, value in node.entries.items():
        field = model.model_fields.get(key)
        if field is None:
            problems.append(node.keys[key].error(join_path([*path, key]), unknown_key(key, model.model_fields)))
        elif not _means_default(value, declared(field)):
            shaped[key] = shape(value, declared(field), (*path, key), problems)
    return {key: value for key, value in shaped.items() if value is not BROKEN}


def _means_default(node: Node, target: Any) -> bool:
    """An empty value does, except where empty text was substituted, or where a model's presence is the setting."""
    if not is_empty(node) or model_of(target) is not None:
        return False
    return not (isinstance(node, Scalar) and node.loose and is_text(target))


def _values(node: Mapping, target: Any, path: Path, problems: list[ConfigError]) -> dict[str, Any]:
    shaped = {key: shape(value, item_type(target), (*path, key), problems) for key, value in node.entries.items()}
    return {key: value for key, value in shaped.items() if value is not BROKEN}
