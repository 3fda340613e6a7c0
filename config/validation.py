"""Nodes to settings models: every fault becomes one `ConfigError` at its place, in plain words."""

import re
from typing import Any, Final, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from config.errors import ConfigError, Mark, did_you_mean, join_path
from config.models import NO_PROTOCOL, SECTIONS
from config.settings import Settings
from config.shaping import BROKEN, shape, unknown_key
from config.values import parse_component_id
from config.yaml_tree import Broken, Mapping, Node, Scalar, find, is_broken, is_empty

Model = TypeVar("Model", bound=Settings)

_SHOWN_LENGTH: Final = 60

_EXPECTED: Final = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "finite_number": "must be finite",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "expected a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "missing": "is required",
    "model_type": "expected a mapping",
    "string_pattern_mismatch": "must be letters, digits and _.- only, 63 at most",
    "string_too_long": "must have {max_length} characters at most",
    "string_too_short": "must not be empty",
    "string_type": "expected text",
    "string_unicode": "expected text that is valid Unicode",
    "too_long": "must have {max_length} entries at most",
    "too_short": "must not be empty",
    "tuple_type": "expected a list",
    "value_error": "{error}",
}
"""Wording by pydantic's error type; anything else keeps pydantic's own."""

_KINDS: Final = {
    dict: "a mapping",
    list: "a list",
    tuple: "a list",
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
}
_VALUE: Final = re.compile(r"'([^']*)'")

_REQUIRED: Final = {
    "buffer": "must have a buffer: name one of the buffers section",
    "exporters": "must have at least one exporter",
    "pipelines": "service must have at least one pipeline",
    "protocols": NO_PROTOCOL,
    "receivers": "must have at least one receiver",
}
"""Wording for keys that are missing or empty, as the Collector has it."""

_COLLECTOR_COMPONENTS: Final = {
    "batch": "not needed: exporters take large blocks from the durable buffer",
    "memory_limiter": "not needed: receivers refuse what is beyond max_inflight_mib",
}
"""Components that people bring from the Collector, and what takes their place."""


def components(section: str, node: Node, problems: list[ConfigError]) -> dict[str, Settings]:
    """The components of one section by id; those with faults are left out and reported."""
    if not isinstance(node, Mapping):
        if not is_empty(node) and not isinstance(node, Broken):
            given = node.value if isinstance(node, Scalar) else []
            problems.append(node.mark.error(section, f"expected a mapping of component ids{_got(given, node)}"))
        return {}
    found = {
        component_id: _component(section, component_id, body, node.keys[component_id], problems)
        for component_id, body in node.entries.items()
    }
    return {component_id: settings for component_id, settings in found.items() if settings is not None}


def validated(
    model: type[Model], node: Node, mark: Mark, path: tuple[str, ...], problems: list[ConfigError]
) -> Model | None:
    """The node as an instance of *model*; None when it has faults, which are reported. *mark* is its key's place."""
    values = shape(node, model, path, problems)
    if values is BROKEN:
        return None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _report(detail, node, mark, path, problems)
    return None


def _component(section: str, component_id: str, body: Node, mark: Mark, problems: list[ConfigError]) -> Settings | None:
    path = (section, component_id)
    fault = _component_fault(section, component_id)
    if fault:
        problems.append(mark.error(join_path(path), fault))
        return None
    return validated(SECTIONS[section][component_id.partition("/")[0]], body, mark, path, problems)


def _component_fault(section: str, component_id: str) -> str:
    """What is wrong with the id of a component; empty when nothing is."""
    try:
        component_type = parse_component_id(component_id).partition("/")[0]
    except ValueError as error:
        return str(error)
    valid = SECTIONS[section]
    if component_type in valid:
        return ""
    if component_type in _COLLECTOR_COMPONENTS:
        return f'unknown type: "{component_type}": {_COLLECTOR_COMPONENTS[component_type]}'
    known = f"(valid values: [{', '.join(valid)}])"
    return f'unknown type: "{component_type}" for id: "{component_id}" {known}{did_you_mean(component_type, valid)}'


def unknown_sections(root: Mapping, valid: list[str], problems: list[ConfigError]) -> None:
    """Reports every top-level key that is no section."""
    unknown = root.entries.keys() - set(valid)
    problems += [root.keys[key].error(key, unknown_key(key, valid)) for key in unknown]


_OF_A_KEY: Final = "[key]"
"""What pydantic puts behind a key that is wrong itself."""


def _report(
    detail: ErrorDetails, root: Node, root_mark: Mark, path: tuple[str, ...], problems: list[ConfigError]
) -> None:
    """One of pydantic's errors in our words; what follows from a fault that was reported is not."""
    location = [part for part in detail["loc"] if part != _OF_A_KEY]
    place = find(root, root_mark, location)
    if is_broken(place.node):
        return
    message = _message(detail, place.node)
    problems.append(place.mark.error(join_path([*path, *location]), message))


def _message(detail: ErrorDetails, node: Node) -> str:
    kind, given = detail["type"], detail["input"]
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    source = f" (from {node.origin})" if is_empty(node) and node.origin else ""
    if kind in ("missing", "too_short"):
        return _REQUIRED.get(key, _EXPECTED[kind]) + source
    template = _EXPECTED.get(kind)
    message = template.format(**_context(detail)) if template else detail["msg"]
    if kind == "literal_error":
        return message + _got(given, node) + did_you_mean(str(given), _VALUE.findall(message))
    if kind == "value_error" and isinstance(given, dict):
        return message + source
    return message + _got(given, node) + _cure(kind, given)


def _context(detail: ErrorDetails) -> dict[str, Any]:
    """What pydantic adds to an error; a bound of 1.0 is written 1."""
    return {name: f"{value:g}" if isinstance(value, float) else value for name, value in detail.get("ctx", {}).items()}


def _cure(kind: str, given: Any) -> str:
    if kind == "string_type" and isinstance(given, bool | int | float):
        return " (write it in quotes)"
    return f" (write [{given}])" if kind == "tuple_type" and isinstance(given, str) else ""


def _got(given: Any, node: Node) -> str:
    """What was found instead; never a secret, nor the value of a substitution, which may be one."""
    if isinstance(given, SecretStr):
        return ""
    kind = _KINDS.get(type(given), "text") if given != "" else "nothing"
    if node.origin:
        return f", got {kind} (from {node.origin})"
    if not isinstance(given, bool | int | float | str):
        return f", got {kind}"
    shown = repr(given) if isinstance(given, str) else str(given).lower()
    return f", got {shown if len(shown) <= _SHOWN_LENGTH else shown[:_SHOWN_LENGTH] + '...'}"
