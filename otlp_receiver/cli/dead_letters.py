"""`dead-letters`: rows that no exporter could store, to be looked at, replayed and deleted."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides, Since, load_config, since_seconds
from otlp_receiver.cli.output import console, count_text, fail, one_line, program, safe_text

if TYPE_CHECKING:
    from pipelines.dead_letters import DeadLetterStore, Summary

_HELP: Final = """Rows that no exporter could store.

They are kept with the reason, beside the local buffer or in the Kafka
topic [bold]<topic>.dead_letters[/]. The service may run meanwhile.
"""
_MOST_NAMED: Final = 10

app: Final = typer.Typer(name="dead-letters", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")

BufferId = Annotated[
    str, typer.Option("--buffer", metavar="ID", help="Whose dead letters, where the configuration has several buffers.")
]
Origin = Annotated[str, typer.Option("--origin", metavar="ID", help="Only those of this exporter.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name, or enough of its end to be unique.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names, or enough of their ends to be unique.")]


@app.command("list")
def list_letters(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    origin: Origin = "",
    since: Since = "",
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those that were replayed.")] = False,
    as_json: AsJson = False,
    buffer: BufferId = "",
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """List dead letters, newest first.

    Those that were replayed are left out, unless --replayed asks for them.

    For example:

      otlp-receiver dead-letters list --config receiver.yaml
      otlp-receiver dead-letters list --origin clickhouse --since 1h
      otlp-receiver dead-letters list --json | jq -r .reason
    """
    from otlp_receiver.cli.dead_letters_view import listed, table

    since_ns = time.time_ns() - int(since_seconds(since) * 1e9) if since else 0

    def is_wanted(letter: "Summary") -> bool:
        return (replayed or not letter.was_replayed) and origin in ("", letter.origin) and letter.time_ns >= since_ns

    with _letters(config, overrides, buffer) as letters:
        found = list(islice(filter(is_wanted, letters.summaries()), limit + 1))
        shown = found[:limit]
        if as_json:
            for letter in shown:
                typer.echo(json.dumps(listed(letter, letters)))
        elif shown:
            screen = console()
            screen.print(table(shown, screen.width))
        else:
            typer.echo(
                f"No dead letters{' like that' * bool(origin or since)} in {safe_text(letters.where)}.", err=True
            )
        if len(found) > limit:
            typer.echo("There are more; --limit shows them.", err=True)


@app.command()
def show(
    name: Name,
    *,
    as_json: AsJson = False,
    buffer: BufferId = "",
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Show one dead letter: the whole reason, and its rows as JSON.

    Of bytes that could not be read as rows their number is shown.

    For example:

      otlp-receiver dead-letters show 4fd0a1c2 --config receiver.yaml
      otlp-receiver dead-letters show 4fd0a1c2 --json | jq '.records[].id'
    """
    from otlp_receiver.cli.dead_letters_view import json_pieces, text_pieces

    with _letters(config, overrides, buffer) as letters:
        (summary,) = _named(letters, [name])
        for _, letter in letters.read_all([summary.name]):
            for piece in (json_pieces if as_json else text_pieces)(summary, letter, letters):
                typer.echo(piece, nl=False)


@app.command()
def replay(
    names: Names = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    origin: Origin = "",
    buffer: BufferId = "",
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Put the rows of dead letters back into the buffer.

    The exporters then try them again; what is refused again becomes a new
    dead letter. Do it when the cause is gone. To do it twice is harmless:
    rows replace themselves.

    For example:

      otlp-receiver dead-letters replay 4fd0a1c2 --config receiver.yaml
      otlp-receiver dead-letters replay --all --origin clickhouse
    """
    if bool(names) == every:
        raise typer.BadParameter("give names or --all", param_hint="NAME...")
    if origin and not every:
        raise typer.BadParameter("goes with --all only", param_hint="--origin")

    def is_wanted(letter: "Summary") -> bool:
        return letter.has_rows and not letter.was_replayed and origin in ("", letter.origin)

    with _letters(config, overrides, buffer) as letters:
        chosen = list(filter(is_wanted, letters.summaries())) if every else _named(letters, names or [])
        if not chosen:
            typer.echo(f"No dead letters to replay in {safe_text(letters.where)}.", err=True)
        elif not _replay(letters, [letter.name for letter in reversed(chosen)], config, overrides, buffer):
            raise typer.Exit(1)


@app.command()
def delete(
    names: Names = None,
    *,
    replayed: Annotated[bool, typer.Option("--replayed", help="All that were replayed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    buffer: BufferId = "",
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Delete dead letters, with the rows in them.

    In a Kafka topic they are only shown no more: Kafka deletes by time.

    For example:

      otlp-receiver dead-letters delete 4fd0a1c2 --config receiver.yaml
      otlp-receiver dead-letters delete --replayed --yes
    """
    if bool(names) == replayed:
        raise typer.BadParameter("give names or --replayed", param_hint="NAME...")
    with _letters(config, overrides, buffer) as letters:
        chosen = (
            [each for each in letters.summaries() if each.was_replayed] if replayed else _named(letters, names or [])
        )
        rows = sum(letter.rows for letter in chosen if not letter.was_replayed)
        lost = f" with {_counted(rows, 'row')} that were never replayed" * bool(rows)
        if chosen and not yes:
            typer.confirm(f"Delete {_counted(len(chosen), 'dead letter')}{lost}?", abort=True)
        for letter in chosen:
            letters.delete(letter.name)
        typer.echo(f"{_counted(len(chosen), 'dead letter')} deleted.")


def _replay(
    letters: "DeadLetterStore", names: Sequence[str], config: list[str] | None, overrides: list[str] | None, buffer: str
) -> bool:
    """Whether all of them are in the buffer again; each is reported as soon as it is."""
    from pipelines.buffers import open_buffer
    from pipelines.replay import replay as replay_letters

    opened = open_buffer(*_chosen_buffer(config, overrides, buffer))
    rows = done = 0
    try:
        for each in replay_letters(letters, names, opened):
            rows += each.rows
            done += not each.problem
            result = f"stays: {one_line(each.problem, 500)}" if each.problem else f"{_counted(each.rows, 'row')}"
            typer.echo(f"{one_line(each.name)}  {result}", err=bool(each.problem))
    finally:
        opened.close()
    typer.echo(f"{_counted(done, 'dead letter')} with {_counted(rows, 'row')} back in buffer {opened.name}.")
    return done == len(names)


@contextmanager
def _letters(sources: list[str] | None, overrides: list[str] | None, buffer: str) -> "Iterator[DeadLetterStore]":
    """Where the dead letters are; whatever goes wrong with them ends the command."""
    from pipelines.buffers import dead_letters_of
    from pipelines.errors import Permanent, Retryable

    letters = dead_letters_of(*_chosen_buffer(sources, overrides, buffer))
    try:
        yield letters
    except (Permanent, Retryable) as error:
        fail(str(error))
    finally:
        letters.close()


def _chosen_buffer(sources: list[str] | None, overrides: list[str] | None, wanted: str) -> tuple[str, Any]:
    """Id and settings of the buffer that is meant."""
    config = load_config(sources, overrides)
    used = dict.fromkeys(pipeline.buffer for pipeline in config.service.pipelines.values())
    if wanted and wanted not in used:
        fail(f"no pipeline of the configuration has a buffer {wanted!r}; there is {', '.join(used)}")
    if not wanted and len(used) > 1:
        fail(f"the configuration has several buffers ({', '.join(used)}); say with --buffer which is meant")
    buffer_id = wanted or next(iter(used))
    return buffer_id, config.buffers[buffer_id]


def _named(letters: "DeadLetterStore", wanted: Sequence[str]) -> "list[Summary]":
    """The letters that are meant, each once, newest first; a path, as the log has it, is as good as a name."""
    from otlp_receiver.cli.dead_letters_view import stem

    known = list(letters.summaries())
    chosen: dict[str, Summary] = {}
    for each in wanted:
        end = stem(each.rpartition("/")[2])
        found = [letter for letter in known if end and stem(letter.name).endswith(end)]
        if len(found) != 1:
            fail(_not_one(each, [letter.name for letter in found], letters.where))
        chosen[found[0].name] = found[0]
    return [letter for letter in known if letter.name in chosen]


def _not_one(wanted: str, found: list[str], where: str) -> str:
    if not found:
        return f"no dead letter in {where} is named {wanted!r}; for those that are there: {program()} dead-letters list"
    names = "".join(f"\n  {one_line(name)}" for name in found[:_MOST_NAMED])
    more = "\n  ..." if len(found) > _MOST_NAMED else ""
    return f"several dead letters end in {wanted!r}; give more of the name:{names}{more}"


def _counted(count: int, noun: str) -> str:
    return f"{count_text(count)} {noun}{'s' * (count != 1)}"
