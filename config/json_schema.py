"""The JSON Schema of a configuration file, for editors: completion, descriptions and typing errors as one writes."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from config.annotations import declared, item_type, model_of
from config.models import SECTIONS, Config, ServiceSettings
from config.printing import printed_default
from config.settings import Settings

_HEAD: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "otlp-receiver configuration",
}
_SUBSTITUTION: Final = {"type": "string", "pattern": r"\$\{.+\}", "description": "Replaced when the file is loaded."}
_BESIDE: Final = ("description", "default", "examples")


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one configuration file.

    Every value may also be empty, which means its default, or a substitution such as `${env:X}`. Sections and the keys
    of `service` are not required, because a file may be one of several that are merged.
    """
    models = _models([Config, *(model for section in SECTIONS.values() for model in section.values())])
    definitions = models_json_schema([(model, "validation") for model in models.values()])[1]["$defs"]
    for name, model in models.items():
        definitions[name] = _definition(definitions[name], model)
    root: dict[str, Any] = definitions.pop(Config.__name__)
    for section, types in SECTIONS.items():
        root["properties"][section] |= _by_id(types)
    pipeline = item_type(declared(ServiceSettings.model_fields["pipelines"]))
    definitions[ServiceSettings.__name__]["properties"]["pipelines"] |= _by_id({"traces": pipeline})
    return _HEAD | root | {"$defs": {"Substitution": _SUBSTITUTION, **definitions}}


def _models(roots: Iterable[type[Settings]]) -> dict[str, type[Settings]]:
    """The models and all that their fields ask for, by name."""
    found: dict[str, type[Settings]] = {}
    for model in roots:
        found[model.__name__] = model
        inner = _asked_for(model)
        found |= _models(inner)
    return found


def _asked_for(model: type[Settings]) -> Iterator[type[Settings]]:
    for field in model.model_fields.values():
        inner = model_of(declared(field)) or model_of(item_type(declared(field)))
        if inner is not None:
            yield inner


def _definition(schema: dict[str, Any], model: type[Settings]) -> dict[str, Any]:
    """One model: defaults as they are written in YAML, values open to substitution."""
    for name, field in model.model_fields.items():
        described = _open(schema["properties"][name]) | {"description": field.description}
        described.pop("default", None)
        if not field.is_required() and field.default is not None:
            described["default"] = printed_default(field)
        schema["properties"][name] = described
    if model in (Config, ServiceSettings):
        schema.pop("required", None)
    schema.pop("title", None)
    return schema


def _open(schema: dict[str, Any], *, empty: bool = True) -> dict[str, Any]:
    """The schema, or a substitution, or nothing written at all."""
    kept = {key: schema[key] for key in _BESIDE if key in schema}
    bare = {key: value for key, value in schema.items() if key not in (*_BESIDE, "title")}
    if "items" in bare:
        bare["items"] = _open(bare["items"], empty=False)
    choices = bare["anyOf"] if set(bare) == {"anyOf"} else [bare]
    if {"type": "string"} not in choices:
        choices = [*choices, {"$ref": "#/$defs/Substitution"}]
    if empty and {"type": "null"} not in choices:
        choices = [*choices, {"type": "null"}]
    return kept | {"anyOf": choices}


def _by_id(types: dict[str, type[Settings]]) -> dict[str, Any]:
    """A mapping of ids `type[/name]`, whose type decides what the body must be."""
    bodies = {f"^{name}(/.+)?$": _open({"$ref": f"#/$defs/{model.__name__}"}) for name, model in types.items()}
    return _open({"type": "object", "patternProperties": bodies, "additionalProperties": False})
