"""Prices of a real Postgres in the cost processor: read at the start, changed while it runs, kept through an outage."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from config.prices import PriceSettings
from otlp_receiver import price_book
from otlp_receiver.metadata import model_prices, projects
from otlp_receiver.metadata_store import MetadataStore
from otlp_receiver.price_book import PriceBook
from pipelines.errors import Permanent
from pipelines.processors.cost import cost_from
from tests.support.postgres import fresh_database, postgres_server
from tests.support.receivers import on_uvloop, until
from tests.support.records import from_rows


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as started:
        yield started


@pytest.fixture
def dsn(server: str) -> str:
    return fresh_database(server)


@pytest.fixture
def store(dsn: str) -> Iterator[MetadataStore]:
    """Migrated, with the project `a`."""
    opened = MetadataStore(dsn)
    opened.open()
    opened.migrate()
    with opened.transaction() as connection:
        projects.create_project(connection, "a", "A", organization_id="default", actor="test")
    yield opened
    opened.close()


def _price(model: str, dollars: str, **fields: Any) -> PriceSettings:
    return PriceSettings.model_validate({"model": model, "usd_per_million_tokens": {"input": dollars}, **fields})


def _put(store: MetadataStore, *prices: PriceSettings) -> None:
    with store.transaction() as connection:
        model_prices.put(connection, prices, "test")


def _cost(processor: Any, project_id: str = "default") -> Decimal | None:
    row = {"project_id": project_id, "type": "GENERATION", "model": "acme-1", "usage_details": [("input", 1_000_000)]}
    total: Decimal | None = processor(from_rows("observations", [row])).records["total_cost"][0].as_py()
    return total


def test_prices_come_back_as_they_were(store: MetadataStore) -> None:
    """What is put is what is read: exact prices, days, tiers, and whose they are."""
    tier = {"above_input_tokens": 200_000, "usd_per_million_tokens": {"input": "0.000000000001"}}
    given = [
        _price("acme-.*", "1.10", project="a", provider="acme", valid_from=date(2026, 1, 31), tiers=[tier]),
        _price("acme-.*", "999999"),
    ]
    _put(store, *given)

    with store.transaction() as connection:
        assert list(model_prices.prices(connection).values()) == given


def test_the_processor_uses_them(store: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there from the first batch on, a project's before all projects', and changes come by themselves."""
    monkeypatch.setattr(price_book, "_REFRESH_SECONDS", 0.05)
    _put(store, _price("acme-1", "2"), _price("acme-1", "3", project="a"))
    book = PriceBook(store)
    processor = cost_from(book.before([_price("acme-1", "7"), _price("acme-2", "7")]))

    @on_uvloop
    async def run() -> None:
        await book.start()
        assert (_cost(processor), _cost(processor, "a")) == (Decimal(2), Decimal(3))
        _put(store, _price("acme-1", "4"))
        await until(lambda: _cost(processor) == Decimal(4))
        await book.close()

    run()


def test_an_outage_leaves_them(dsn: str, store: MetadataStore) -> None:
    """When they cannot be read, or one is not ours, those read last stay."""
    _put(store, _price("acme-1", "2"))
    reading = MetadataStore(dsn)
    reading.open()
    book = PriceBook(reading)
    own = book.before([])
    book.refresh()
    before = own()
    with store.transaction() as connection:
        connection.execute("INSERT INTO model_prices (model, usd_per_million_tokens) VALUES ('x(', '{}')")

    book.refresh()
    reading.close()
    book.refresh()

    assert own() is before
    assert [price.model for price in before] == ["acme-1"]


def test_a_foreign_price_is_named(store: MetadataStore) -> None:
    """A row that nobody of us wrote is told by its number."""
    with store.transaction() as connection:
        connection.execute("INSERT INTO model_prices (model, usd_per_million_tokens) VALUES ('a', '{}')")
        with pytest.raises(Permanent, match="price 1 of table model_prices cannot be used"):
            model_prices.prices(connection)
