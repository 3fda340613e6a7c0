"""The log of changes: who changed what, written in the transaction of the change, so that neither is there alone."""

from typing import Any

import psycopg
from psycopg.types.json import Jsonb


def record(connection: psycopg.Connection, actor: str, action: str, changed: str, **detail: Any) -> None:
    """Add a line.

    Args:
        connection: in the transaction of the change.
        actor: who did it.
        action: noun and verb, such as `keys.create`.
        changed: id of what was changed.
        detail: what else is worth knowing, as JSON; no secrets.
    """
    connection.execute(
        "INSERT INTO audit_log (actor, action, object, detail) VALUES (%s, %s, %s, %s)",
        [actor, action, changed, Jsonb(detail)],
    )
