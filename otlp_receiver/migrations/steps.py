"""Which steps there are, which a database has, and which it lacks."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import psycopg

from pipelines.errors import Permanent

_FILE: Final = re.compile(r"(\d{4})_\w+\.sql")
_APPLIED_TABLE: Final = """
    CREATE TABLE schema_migrations (
        number     integer PRIMARY KEY,
        name       text NOT NULL,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration.

    Attributes:
        number: steps are applied in this order.
        name: of its file.
        sql: statements, run together in one transaction.
    """

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements, hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_steps() -> list[Step]:
    """The steps of this release, in order."""
    found = [(entry, _FILE.fullmatch(entry.name)) for entry in files("otlp_receiver.migrations").iterdir()]
    steps = [Step(int(match[1]), entry.name, entry.read_text(encoding="utf-8")) for entry, match in found if match]
    return sorted(steps, key=lambda step: step.number)


def read_applied(connection: psycopg.Connection) -> dict[int, tuple[str, str]]:
    """Name and checksum of every step that the database has, by number; makes the table of them when missing."""
    # Asked first, so that a user who may not create tables can start on a schema that is up to date.
    exists = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
    if exists != (True,):
        connection.execute(_APPLIED_TABLE)
    rows = connection.execute("SELECT number, name, checksum FROM schema_migrations").fetchall()
    return {number: (name, checksum) for number, name, checksum in rows}


def find_missing(steps: Sequence[Step], applied: Mapping[int, tuple[str, str]], where: str) -> list[Step]:
    """The steps that are not applied, in order.

    Raises:
        Permanent: the database has steps that this release does not know, or applied another text of one.
    """
    newer = sorted(applied[number][0] for number in applied.keys() - {step.number for step in steps})
    if newer:
        raise Permanent(
            f"{where} was migrated by a newer release ({', '.join(newer)}): install that release or a later one"
        )
    for step in steps:
        if step.number in applied and applied[step.number] != (step.name, step.checksum):
            raise Permanent(
                f"migration {step.name} is not the one that was applied to {where} as {applied[step.number][0]}: "
                "put back the file as it was released, and make changes in a new migration"
            )
    return [step for step in steps if step.number not in applied]
