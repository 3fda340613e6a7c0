"""docs/conventions.md, written from the convention files: for each field, per dialect, which keys in which order.

`python -m config.conventions_docs` writes the page; a test holds it to the files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from config.conventions import Convention, Sources, load_conventions

PAGE: Final = Path("docs/conventions.md")

_HEAD: Final = """\
# Conventions

Generated from `config/conventions/*.yaml` by `make docs`; do not edit.

Every field of an observation is resolved on its own over all dialects that a span speaks: conventions in the order of
this page, keys in the order of the table, keys marked *legacy* after every current one. An empty value is no candidate.
What fills no field is kept in `metadata`. `otlp-receiver explain FILE` shows it for a recorded request.
"""


def conventions_markdown() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for each in load_conventions() for line in _convention(each))])


def _convention(convention: Convention) -> Iterator[str]:
    prefixes = ", ".join(f"`{prefix}*`" for prefix in convention.recognise.attribute_prefixes)
    yield f"## {convention.title}\n"
    yield f"Shown as `{convention.name}`; known by {prefixes}.\n" if prefixes else "Applies to every span.\n"
    yield "| field | attribute keys, best first |\n|---|---|"
    for field, sources in convention.fields.items():
        yield f"| `{field}` | {_keys(sources)} |"
    for field, sources in convention.resource_fields.items():
        yield f"| `{field}` | resource: {_keys(sources)} |"
    for parameter, key in sorted((name, key) for key, name in convention.parameters.keys.items()):
        yield f"| `model_parameters['{parameter}']` | `{key}` |"
    for prefix in convention.parameters.prefixes:
        yield f"| `model_parameters[...]` | every other `{prefix}*` |"
    yield ""
    yield from _types(convention)
    yield from _events(convention)


def _keys(sources: Sources) -> str:
    return " · ".join(f"`{source.key}`" + (" *legacy*" if source.legacy else "") for source in sources)


def _types(convention: Convention) -> Iterator[str]:
    for key, values in convention.types.items():
        yield f"`type` by `{key}`:\n"
        by_type: dict[str, list[str]] = {}
        for value, kind in values.items():
            by_type.setdefault(kind, []).append(f"`{value}`")
        yield "\n".join(f"- {kind}: {', '.join(names)}" for kind, names in by_type.items()) + "\n"


def _events(convention: Convention) -> Iterator[str]:
    lines = [f"- attributes of `{name}` count as the span's own" for name in convention.lifted_events]
    lines += [
        f"- `{name}` is a message of the {event.side}, role {event.role} unless it says another"
        for name, event in convention.message_events.items()
    ]
    lines += [f"- `{name}` is an evaluation result, stored in `scores`" for name in convention.score_events]
    if lines:
        yield "Span events:\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(conventions_markdown(), "utf-8")
