"""Prices of models, of one project or of all: what the cost processor takes before the public lists."""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from config.prices import PriceSettings
from otlp_receiver.metadata import audit
from pipelines.errors import Permanent

_COLUMNS: Final = "id, project_id, model, provider, valid_from, usd_per_million_tokens, tiers"


def prices(connection: psycopg.Connection) -> dict[int, PriceSettings]:
    """All of them, by id; raises Permanent when one cannot be read, which then was not written by us."""
    with connection.cursor(row_factory=dict_row) as cursor:
        query = f"SELECT {_COLUMNS} FROM model_prices ORDER BY id"  # noqa: S608 - our own names
        return {row["id"]: _price(row) for row in cursor.execute(query)}


def put(connection: psycopg.Connection, new: Sequence[PriceSettings], actor: str) -> None:
    """Add prices; each takes the place of the one of the same project, model, provider and first day."""
    for price in new:
        written = price.model_dump(mode="json", exclude_none=True)
        connection.execute(
            "INSERT INTO model_prices (project_id, model, provider, valid_from, usd_per_million_tokens, tiers)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (project_id, model, provider, valid_from)"
            " DO UPDATE SET usd_per_million_tokens = excluded.usd_per_million_tokens, tiers = excluded.tiers",
            [price.project, price.model, price.provider, price.valid_from,
             Jsonb(written["usd_per_million_tokens"]), Jsonb(written["tiers"])],
        )  # fmt: skip
        audit.record(connection, actor, "prices.put", price.model, **written)


def delete(connection: psycopg.Connection, price_id: int, actor: str) -> None:
    """Remove one; raises Permanent when there is none of this id."""
    gone = connection.execute("DELETE FROM model_prices WHERE id = %s RETURNING model", [price_id]).fetchone()
    if gone is None:
        raise Permanent(f"there is no price {price_id}: `prices list` shows those that are there")
    audit.record(connection, actor, "prices.delete", gone[0], id=price_id)


def _price(row: dict[str, Any]) -> PriceSettings:
    fields = {name: value for name, value in row.items() if name not in ("id", "project_id") and value is not None}
    try:
        return PriceSettings.model_validate({**fields, "project": row["project_id"]})
    except ValueError as error:
        raise Permanent(f"price {row['id']} of table model_prices cannot be used: {error}") from error
