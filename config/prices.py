"""Settings of the cost processor: a project's own prices."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from config.settings import PositiveInt, Settings
from config.values import Expression, Spelling

_PRICE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?")


def parse_price(value: Any) -> Decimal:
    """A price in US dollars per million tokens, exact; no float comes in between."""
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    if not _PRICE.fullmatch(text):
        raise ValueError("expected a price such as 2.50: US dollars below a million, with 12 decimals at most")
    return Decimal(text)


def parse_date(value: Any) -> date:
    """A day, written 2026-01-31."""
    try:
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError("expected a date such as 2026-01-31") from error


Price = Annotated[
    Decimal,
    BeforeValidator(parse_price),
    PlainSerializer(lambda price: f"{price:f}", when_used="json"),
    Spelling("price"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "examples": [2.5]}),
]
"""US dollars per million tokens; decimal, never binary."""

Day = Annotated[
    date, BeforeValidator(parse_date), Spelling("date"), WithJsonSchema({"type": "string", "format": "date"})
]
"""A day in UTC."""


class BucketPrices(Settings):
    """Prices by usage bucket; the buckets are those of `usage_details` in docs/record.md."""

    input: Price | None = None
    """Input tokens that no other bucket counts."""
    input_cached_tokens: Price | None = None
    """Read from the provider's cache; absent = as `input`."""
    input_cache_creation: Price | None = None
    """Written to the provider's cache; absent = as `input`."""
    input_cache_creation_5m: Price | None = None
    """Written for five minutes; absent = as `input_cache_creation`."""
    input_cache_creation_1h: Price | None = None
    """Written for an hour; absent = as `input_cache_creation`."""
    input_audio_tokens: Price | None = None
    """Audio in; absent = as `input`."""
    output: Price | None = None
    """Output tokens that no other bucket counts."""
    output_reasoning_tokens: Price | None = None
    """Reasoning; absent = as `output`."""
    output_audio_tokens: Price | None = None
    """Audio out; absent = as `output`."""


class PriceTier(Settings):
    """Prices of calls with a long input."""

    above_input_tokens: PositiveInt
    """Holds for all tokens of a call whose input, cached tokens included, is larger than this."""
    usd_per_million_tokens: BucketPrices
    """Prices then; a bucket that is absent keeps its price."""


class PriceSettings(Settings):
    """What one model costs. The last that came into force wins, a project's before those for all projects."""

    model: Expression
    """Regular expression (RE2) for the whole model name as sent, in upper or lower case."""
    provider: Annotated[str, Field(min_length=1)] | None = None
    """Only for this provider, as the record names it; absent = any."""
    project: Annotated[str, Field(min_length=1)] | None = None
    """Only for this project's id; absent = any."""
    valid_from: Day | None = None
    """First day (UTC) of these prices; absent = always."""
    usd_per_million_tokens: BucketPrices
    """Prices by bucket; what has no price is left out of the sum, 0 says free."""
    tiers: tuple[PriceTier, ...] = ()
    """Other prices for long inputs."""

    @model_validator(mode="after")
    def _some_price(self) -> "PriceSettings":
        if not self.usd_per_million_tokens.model_dump(exclude_none=True):
            raise ValueError("usd_per_million_tokens needs the price of one bucket at least, such as {input: 2.50}")
        return self


class CostSettings(Settings):
    """Fills in what model calls cost, where the span does not say: from `prices`, else from public price lists."""

    prices: tuple[PriceSettings, ...] = ()
    """Own prices; they come before the public ones."""
