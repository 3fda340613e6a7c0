"""A configuration as YAML again: everything merged, every default spelled out, secrets masked."""

from io import StringIO
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from config.annotations import declared
from config.conventions import Convention
from config.models import Config


def print_config(config: Config) -> str:
    """The whole configuration as YAML; without secrets in it, loading it gives an equal `Config`.

    Secrets, and passwords within DSNs, are printed as `[REDACTED]`; durations as in Go (`1m30s`); keys that are off
    are left out. A literal `$` is printed as `$$`. Of conventions only what was written is printed: they are long, and
    what they leave out means that there is nothing.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as always None
    yaml.width = 120
    text = StringIO()
    document = config.model_dump(mode="json", exclude_none=True)
    for pipeline_id, pipeline in config.service.pipelines.items():
        written = [_written(convention) for convention in pipeline.conventions]
        document["service"]["pipelines"][pipeline_id]["conventions"] = written
    yaml.dump(_escaped(document), text)
    return text.getvalue()


def _written(convention: Convention) -> Any:
    return _plain_sources(convention.model_dump(mode="json", exclude_unset=True))


def _plain_sources(value: Any) -> Any:
    """Sources that are a key and nothing else as that key, as people write them."""
    if isinstance(value, list):
        return [item["key"] if isinstance(item, dict) and item.keys() == {"key"} else item for item in value]
    return {key: _plain_sources(item) for key, item in value.items()} if isinstance(value, dict) else value


def printed_default(field: FieldInfo) -> Any:
    """A field's default as it is written in YAML."""
    return TypeAdapter(declared(field)).dump_python(field.default, mode="json", exclude_none=True)


def _escaped(value: Any) -> Any:
    """Text that holds `$` reads back as it is."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
