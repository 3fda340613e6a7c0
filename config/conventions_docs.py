"""docs/conventions.md, written from the convention files and from the models that say what may stand in one.

`python -m config.conventions_docs` writes the page; a test holds it to the files. What each recorded source was seen to
send stands in the page between two marks and is left as it is here; `python -m tests.support.coverage`, which is what
`make docs` runs, writes that as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from config.conventions import Convention, load_conventions
from config.conventions_own import own_conventions
from config.conventions_tables import dialect, field_tables, type_table

PAGE: Final = Path(__file__).parent.parent / "docs" / "conventions.md"
COVERAGE_MARKS: Final = (
    "<!-- coverage: written by `python -m tests.support.coverage` from tests/golden -->\n",
    "<!-- end of coverage -->\n",
)

_HEAD: Final = """\
# Conventions

<!-- Written by `make docs` from config/conventions. Change the files there. -->

Which attributes fill which field of [the record](record.md), whatever instrumentation sent them. A *dialect* is what
one SDK or semantic convention writes; each is a YAML file, and the engine that reads them is the same for all.

- [How a field is resolved](#how-a-field-is-resolved)
- [What each source sends](#what-each-source-sends), as recorded
- [Fields](#fields): for each field, per dialect, which keys in which order
- [Types](#types): what makes an observation a GENERATION, a TOOL ...
- [Dialects](#dialects): how each is recognised, its parameters, metadata, events and counting
- [Your own conventions](#your-own-conventions)

`otlp-receiver explain FILE` shows all of it for one recorded request.

## How a field is resolved

1. **Every field on its own**, over all dialects that a span speaks: spans mix them. The source with the smallest
   *place* that has a value wins; in one dialect, the first. An empty text is no value, and a zero gives way to a count.
2. The **place** is the dialect's precedence: 10 for what the user said explicitly (Langfuse), 20 for OTel GenAI, 30 to
   39 for frameworks, 50 and more for what describes any span. A *legacy* source stands 90 later, behind every current
   one; one marked *first* stands at 15, before OTel GenAI.
3. A source is an attribute key (`a.b`), a place in an attribute's JSON (`a.b` → `c.0.d`), or a family of numbered
   attributes (`a.N.*` stands for `a.0.role`, `a.0.content`, `a.1.role` ...) that is put together to a list.
   *Own scopes* restricts one to spans of the dialect's instrumentation scopes, *when* to spans with that attribute.
4. A span's own attribute beats its resource's.
5. **Nothing is dropped.** What no column shows is in `metadata` under its key: what fills no field, and what lost to
   another value. What lost to an equal value counts as shown, and so do messages, tools, vectors and
   reasons spelled otherwise.
6. Input and output: `input` and `output` first, then on a tool its `tool_*`, on a search its `retrieval_*`, then
   `*_messages`, message events, the pieces of one message, at last `*_value`.
"""


def conventions_markdown(coverage: str) -> str:
    """The whole page, around what was seen of the recorded sources."""
    conventions = load_conventions()
    sections = [
        [_HEAD, "## What each source sends\n", COVERAGE_MARKS[0] + coverage + COVERAGE_MARKS[1]],
        field_tables(conventions),
        type_table(conventions),
        _dialects(conventions),
        own_conventions(),
    ]
    return "\n".join(line for section in sections for line in section)


def coverage_of(page: str) -> str:
    """What stands between the marks of a page, empty when they are not there."""
    return page.partition(COVERAGE_MARKS[0])[2].partition(COVERAGE_MARKS[1])[0]


def _dialects(conventions: tuple[Convention, ...]) -> Iterator[str]:
    yield "## Dialects\n"
    yield "By precedence. Which keys fill which fields is said above.\n"
    for convention in conventions:
        yield from dialect(convention)


def main() -> None:
    """Writes the page."""
    PAGE.write_text(conventions_markdown(coverage_of(PAGE.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
