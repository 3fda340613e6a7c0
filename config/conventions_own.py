"""The part of docs/conventions.md for those who write a convention: every key of the models, and an example."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from config.conventions import Convention, Entries, MessageEvent, Parameters, Recognition, Source, Usage
from config.settings import Settings

EXAMPLE: Final = Path(__file__).parent / "examples" / "own-conventions.yaml"

_INTRODUCTION: Final = """\
## Your own conventions

`service.pipelines.<id>.conventions` is a list of dialects beside those of this page; one with the name of a dialect of
this page takes its place, as a whole. `otlp-receiver validate --config FILE` tells what is wrong in one, with line,
column and the nearest valid name; `otlp-receiver explain REQUEST --config FILE` shows what it makes of a request.

A plain key fills one field: that of the convention with the smaller precedence. To give it to a second field write it
with the path `.`, which is all of its value. Spans of a scope that several conventions name belong to all of them, and
are shown as the one that comes first.

This whole configuration is [config/examples/own-conventions.yaml](../config/examples/own-conventions.yaml), and a test
runs it:
"""
_PARTS: Final[tuple[tuple[str, str, type[Settings]], ...]] = (
    ("A convention", "", Convention),
    ("How it is recognised", "`recognise`", Recognition),
    (
        "A source",
        "`fields`, `resource_fields`, `parameters.values` and every `objects`; a plain key may be written as text",
        Source,
    ),
    ("Parameters", "`parameters`", Parameters),
    ("Metadata", "`metadata` and `trace_metadata`", Entries),
    ("Counting", "`usage`", Usage),
    ("A message event", "`message_events`, by name", MessageEvent),
)


def own_conventions() -> Iterator[str]:
    """How to write one: an example, then every key."""
    yield _INTRODUCTION
    yield f"```yaml\n{EXAMPLE.read_text('utf-8')}```\n"
    for title, where, model in _PARTS:
        yield f"### {title}\n"
        if where:
            yield f"Under {where}.\n"
        yield _keys(model)


def _keys(model: type[Settings]) -> str:
    rows = (f"| `{name}` | {_meaning(field)} |\n" for name, field in model.model_fields.items())
    return f"| key | meaning |\n|---|---|\n{''.join(rows)}"


def _meaning(field: FieldInfo) -> str:
    required = "*Required.* " if field.is_required() else ""
    return required + " ".join((field.description or "").split()).replace("|", "\\|")
