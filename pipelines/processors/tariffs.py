"""Which prices hold for a call: the project's own, else the public ones."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from config.prices import BucketPrices, PriceSettings
from pipelines.errors import Permanent
from pipelines.processors.cost_rates import Rates, rates
from pipelines.processors.public_prices import LONGEST_NAME, Period, public_prices

OwnPrices = Callable[[], Sequence[PriceSettings]]
"""The own prices at this moment; the same object for as long as they stay the same."""

_MOST_REMEMBERED: Final = 4096
_MOST_NEW: Final = 128
"""Names of one project that are looked up in one batch: a flood of made-up models must not stop the intake."""
_ALWAYS: Final = -1


class Called(NamedTuple):
    """What decides about prices, as the record has it; names too long to be true may be cut."""

    project: str
    provider: str
    model: str


class Tariffs:
    """Finds prices and remembers them; for one thread."""

    def __init__(self, own: OwnPrices) -> None:
        self._own = own
        self._seen: Sequence[PriceSettings] = ()
        self._ordered: list[PriceSettings] = []
        self._remembered: dict[Called, tuple[Period, ...]] = {}

    def periods(self, calls: Iterable[Called]) -> dict[Called, tuple[Period, ...]]:
        """For each call all prices that it may have, the first that is in force being the one that holds."""
        distinct = list(dict.fromkeys(calls))
        self._keep_current(len(distinct))
        unseen = [call for call in distinct if call not in self._remembered and len(call.model) <= LONGEST_NAME]
        new = _most_per_project(unseen)
        for call, own in zip(new, self._own_periods(new), strict=True):
            self._remembered[call] = (*own, *public_prices(call.provider, call.model))
        return {call: self._remembered.get(call, ()) for call in distinct}

    def _keep_current(self, coming: int) -> None:
        current = self._own()
        if current is not self._seen:
            self._seen, self._ordered = current, sorted(current, key=_precedence)
            self._remembered.clear()
        if len(self._remembered) + coming > _MOST_REMEMBERED:
            self._remembered.clear()

    def _own_periods(self, calls: Sequence[Called]) -> list[list[Period]]:
        found: list[list[Period]] = [[] for _ in calls]
        models = pa.array([call.model for call in calls], pa.string())
        for price in self._ordered if calls else ():
            period = _period(price)
            for index in pc.indices_nonzero(_matches(models, price)).to_pylist():
                if _concerns(price, calls[index]):
                    found[index].append(period)
        return found


def check_prices(prices: Sequence[PriceSettings]) -> None:
    """Find out whether own prices can be used.

    Raises:
        Permanent: an expression becomes too large; the message names it.
    """
    for index, price in enumerate(prices):
        try:
            _matches(pa.array([""]), price)
        except pa.ArrowInvalid as error:
            raise Permanent(f"prices[{index}]::model: {price.model[:200]!r} cannot be used: {error}") from error


def _matches(models: pa.StringArray, price: PriceSettings) -> pa.BooleanArray:
    return pc.match_substring_regex(models, f"^(?:{price.model})$", ignore_case=True)


def _concerns(price: PriceSettings, call: Called) -> bool:
    of_provider = price.provider is None or price.provider.lower() == call.provider.lower()
    return of_provider and price.project in (None, call.project)


def _precedence(price: PriceSettings) -> tuple[bool, int]:
    """A project's own first, then the latest; what remains equal stays as it is listed."""
    return price.project is None, -(price.valid_from or date.min).toordinal()


def _period(price: PriceSettings) -> Period:
    return partial(_is_since, price.valid_from or date.min), _rates(price)


def _is_since(start: date, moment: datetime) -> bool:
    return moment.date() >= start


def _rates(price: PriceSettings) -> Rates:
    steps = {_ALWAYS: _by_bucket(price.usd_per_million_tokens)}
    for tier in sorted(price.tiers, key=lambda tier: tier.above_input_tokens):
        steps[tier.above_input_tokens] = {**steps[max(steps)], **_by_bucket(tier.usd_per_million_tokens)}
    return rates(steps)


def _by_bucket(prices: BucketPrices) -> dict[str, Decimal]:
    return prices.model_dump(exclude_none=True)


def _most_per_project(calls: list[Called]) -> list[Called]:
    taken: Counter[str] = Counter()
    chosen = []
    for call in calls:
        taken[call.project] += 1
        if taken[call.project] <= _MOST_NEW:
            chosen.append(call)
    return chosen
