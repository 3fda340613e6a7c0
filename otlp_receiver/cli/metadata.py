"""The metadata store as commands use it: the service's own, whether the service runs or not."""

import getpass
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.options import load_config, since_seconds
from otlp_receiver.cli.output import console, fail, one_line

if TYPE_CHECKING:
    import psycopg

    from config import Config

_OPEN_SECONDS: Final = 5.0
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_GAP: Final = 2
_WHOLE: Final = ("id", "public_key", "project_id")  # to be copied

NewId = Annotated[
    str, typer.Option("--id", metavar="ID", help="Its id, which never changes. Default: made from the name.")
]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The store while a command uses it.

    Attributes:
        connection: in one transaction, committed when the command succeeds.
        config: whose store it is.
        actor: who makes changes, for the audit log.
    """

    connection: "psycopg.Connection"
    config: "Config"
    actor: str

    def hash_key(self) -> bytes:
        """What secrets are hashed under; raises Permanent when it is not that of the store."""
        from otlp_receiver.hash_key import find_hash_key
        from otlp_receiver.metadata.api_keys import check_hash_key

        key = find_hash_key(self.config.metadata)
        check_hash_key(self.connection, key)
        return key


@contextmanager
def opened(sources: list[str] | None, overrides: list[str] | None) -> Iterator[Metadata]:
    """The store of the configuration; an embedded Postgres is started unless the service has it running.

    Nothing is changed when the block fails; what the store refuses ends the command with one line.
    """
    from config.models import LogsSettings
    from otlp_receiver.logs import configure_logs
    from pipelines.errors import Permanent, Retryable

    config = load_config(sources, overrides)
    configure_logs(LogsSettings(level="warn"))
    try:
        with ExitStack() as closing:
            connection = closing.enter_context(_transaction(config, closing))
            yield Metadata(connection, config, f"cli:{getpass.getuser()}")
    except (Permanent, Retryable) as error:
        fail(str(error))


def _transaction(config: "Config", closing: ExitStack) -> Any:
    from config.values import EMBEDDED, NO_POSTGRES
    from otlp_receiver.embedded_postgres import EmbeddedPostgres
    from otlp_receiver.metadata_store import MetadataStore

    dsn = config.metadata.postgres.get_secret_value()
    if dsn == NO_POSTGRES:
        fail("metadata.postgres is `none`: there is no store for projects and keys; name one, or use static_keys")
    if dsn == EMBEDDED:
        server = EmbeddedPostgres(config.metadata.directory)
        dsn = server.start()
        closing.callback(server.stop)
    store = MetadataStore(dsn)
    closing.callback(store.close)
    store.open(_OPEN_SECONDS)
    store.migrate()
    return store.transaction()


def checked_id(given: str, name: str) -> str:
    """The id that was given, else one made from the name; wrong usage ends the command."""
    made = given or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not _ID.fullmatch(made):
        raise typer.BadParameter(
            f"expected letters, digits and ._- only, 63 at most, got {made!r}: give one with --id", param_hint="--id"
        )
    return made


def duration(text: str, option: str) -> timedelta:
    """What an option says of a time span, such as 24h or 90d; wrong usage ends the command."""
    try:
        return timedelta(seconds=since_seconds(text))
    except (typer.BadParameter, OverflowError):
        raise typer.BadParameter(f"expected a duration such as 24h or 90d, got {text!r}", param_hint=option) from None


def print_json(record: Any) -> None:
    """A line of JSON for programs: a dictionary, or a record with every field."""
    import json

    fields = record if isinstance(record, dict) else asdict(record)
    typer.echo(json.dumps(fields, default=_plain, ensure_ascii=False))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """A line a row; columns that say nothing are left out."""
    from rich.table import Table
    from rich.text import Text

    cells = [{name: one_line(_shown(value)) for name, value in row.items()} for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    names = [name for name in cells[0] if any(row[name] for row in cells)] if cells else []
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in _WHOLE)
    for row in cells:
        table.add_row(*(Text(row[name]) for name in names))
    screen = console()
    screen.print(table)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
