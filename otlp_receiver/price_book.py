"""The prices of the metadata store for the cost processor: read at the start, and again in the background."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from config.prices import PriceSettings
from otlp_receiver.metadata.model_prices import prices
from otlp_receiver.metadata_store import MetadataStore
from pipelines.errors import Permanent, Retryable
from pipelines.processors.tariffs import OwnPrices, check_prices

_REFRESH_SECONDS: Final = 30.0
_FIRST_WAIT_SECONDS: Final = 5.0

_log = structlog.get_logger("prices")


class PriceBook:
    """Prices as they were read last; while the store cannot be read they stay.

    Args:
        store: open, and closed by whoever opened it.
    """

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._prices: tuple[PriceSettings, ...] = ()
        self._refreshing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read once, waiting some seconds at most, and go on in the background."""
        await asyncio.to_thread(self.refresh)
        self._refreshing = asyncio.create_task(self._refresh_for_ever())

    async def close(self) -> None:
        """End what runs in the background."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    def refresh(self) -> None:
        """Read the prices; when that fails, say so and keep the last ones."""
        try:
            with self._store.transaction(_FIRST_WAIT_SECONDS) as connection:
                found = tuple(prices(connection).values())
            check_prices(found)
        except (Permanent, Retryable) as error:
            _log.warning("Prices cannot be read from Postgres; those known stay.", known=len(self._prices), error=error)
        else:
            if found != self._prices:
                self._prices = found
                _log.info("Prices were read from Postgres.", prices=len(found))

    def before(self, configured: Sequence[PriceSettings]) -> OwnPrices:
        """These prices before those of the configuration, where both are of the same rank."""
        read: tuple[PriceSettings, ...] = ()
        together: tuple[PriceSettings, ...] = tuple(configured)

        def own() -> Sequence[PriceSettings]:
            nonlocal read, together
            if self._prices is not read:
                read, together = self._prices, (*self._prices, *configured)
            return together

        return own

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await asyncio.to_thread(self.refresh)
