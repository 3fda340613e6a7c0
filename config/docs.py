"""Writes what is derived from the settings models: docs/configuration.md and docs/config.schema.json.

`python -m config.docs` after a change to the models; a test says when it is due.
"""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from config.annotations import declared, item_type, marker, model_of, parts
from config.conventions import Convention
from config.json_schema import json_schema
from config.models import SECTIONS, Config
from config.printing import printed_default
from config.settings import Settings
from config.values import Spelling

_DOCS: Final = Path(__file__).parent.parent / "docs"

_INTRODUCTION: Final = """\
# Configuration

<!-- Written by `python -m config.docs` from the models in config/models.py. Change those. -->

One YAML file in the manner of the OpenTelemetry Collector: components are configured in their section under an id
`type[/name]`, and run when `service` names them. Editors complete and check it with
[config.schema.json](config.schema.json):

```yaml
# yaml-language-server: $schema=config.schema.json
```

`otlp-receiver validate --config FILE` checks without starting anything or opening a socket; `otlp-receiver
print-config` shows the outcome with every default. Without `--config` the embedded defaults run:

```yaml
{default}```

Examples: [embedded.yaml](../config/examples/embedded.yaml) for a laptop,
[sidecar.yaml](../config/examples/sidecar.yaml) for a volume beside an application,
[production.yaml](../config/examples/production.yaml) for gateways and exporters, driven by the environment.

## Sources

`--config` may be repeated: mappings are merged from left to right, lists and values are replaced, and an empty value
wipes what stood before. A source is a path, `file:path`, `env:NAME` (the variable holds the YAML) or
`yaml:a::b: value`. `--set a.b.c=value` has the last word; its value is YAML.

A key without a value takes its default; `grpc:`, `http:` and component ids without a value switch the thing on with
every default. Duplicate keys are errors; anchors, aliases and merge keys (`<<`) work. Scalars are those of YAML 1.2.

## Substitution

| written | becomes |
|---|---|
| `${env:VAR}`, `${VAR}` | the environment variable; not set is an error that names it |
| `${env:VAR:-fallback}` | the same, or the fallback (which may be empty) when it is not set |
| `${file:path}` | the text of the file, without its last line break |
| `$$` | one `$` |

A value that is one reference and nothing else is read as YAML, so it may become a number, a list or a mapping; where
text is wanted it stays text (`0123` stays `0123`). References may be nested. Inside `{}` and `[]` write them in quotes.

## Errors

All problems are reported at once, each with its place and the nearest valid name:

```text
my.yaml:5:7: receivers::otlp::protocols::htttp: unknown key (did you mean 'http'?)
my.yaml:17:5: service::pipelines::traces: references exporter "chbd" which is not configured (did you mean 'chdb'?)
--set service.workers: service::workers: expected a whole number, got 'many'
```

Secrets, and whatever came from the environment or a file, are never part of a message.

Where keys and defaults differ from the OpenTelemetry Collector's, [collector-differences.md](collector-differences.md)
says so, and why.
"""

_PLAIN: Final = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def configuration_markdown() -> str:
    """The page docs/configuration.md: how a configuration is read, then every key with type, default and meaning."""
    default = resources.files("config").joinpath("default.yaml").read_text("utf-8")
    page = [_INTRODUCTION.replace("{default}", default)]
    for name, field in Config.model_fields.items():
        page.append(f"## {name}\n\n{field.description}\n")
        for component_type, model in SECTIONS.get(name, {}).items():
            page.append(f"### {component_type}\n\n{model.__doc__}\n\n{_table(model)}")
        single = model_of(declared(field))
        if single is not None:
            page.append(_table(single))
    return "\n".join(page)


def config_schema_json() -> str:
    """The file docs/config.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _table(model: type[Settings]) -> str:
    rows = "".join(f"| {' | '.join(row)} |\n" for row in _rows(model, ""))
    return f"| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _rows(model: type[Settings], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        target = declared(field)
        yield f"`{prefix}{name}`", _type(target), _default(field), field.description or ""
        inner = model_of(target)
        if inner is not None:
            yield from _rows(inner, f"{prefix}{name}.")
        elif item_type(target) is Convention:
            continue  # docs/conventions.md says what one may say
        elif (listed := model_of(item_type(target))) and get_origin(field.annotation) is tuple:
            yield from _rows(listed, f"{prefix}{name}[].")
        elif get_origin(field.annotation) is dict:
            inner = model_of(item_type(target))
            assert inner is not None, f"a mapping of {item_type(target)} has no page"
            yield from _rows(inner, f"{prefix}{name}.<id>.")


def _type(target: Any) -> str:
    """The type in words."""
    spelling = marker(target, Spelling)
    kinds = list(parts(target))
    if model_of(target) is not None or any(get_origin(kind) is dict for kind in kinds):
        return "mapping"
    if any(get_origin(kind) is tuple for kind in kinds):
        return f"list of {_type(item_type(target))}s"
    if spelling is not None or get_origin(target) is Literal:
        return spelling.name if spelling else " \\| ".join(f"`{value}`" for value in get_args(target))
    return next(_PLAIN[kind] for kind in kinds if kind in _PLAIN)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    default = printed_default(field)
    if default is None or isinstance(default, dict):
        return "off" if default is None and model_of(declared(field)) else ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def main() -> None:
    """Writes both files."""
    (_DOCS / "configuration.md").write_text(configuration_markdown(), "utf-8")
    (_DOCS / "config.schema.json").write_text(config_schema_json(), "utf-8")


if __name__ == "__main__":
    main()
