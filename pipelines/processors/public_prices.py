"""Public prices: from the names that spans carry to entries of the `genai-prices` package.

One model goes by many names: who sells it may stand before it (`openrouter/`, `azure/`, an ARN), its maker too, and
what a span calls its provider may be a framework. Names are only ever cut from the left; which names are one model is
the package's word. Its data come with it, nothing is fetched. Its own lookup is not used, since that remembers every
name that it was ever asked for.
"""

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from pipelines.processors.cost_rates import REQUESTS, Rates, rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

Period = tuple[Callable[[datetime], bool], Rates | None]
"""Whether prices are in force at a time, and the prices; None when tokens have none."""
_Forms = list[tuple[str, tuple[str, ...]]]
"""A name and its shorter forms, longest first, each with what was cut off, outermost first."""

LONGEST_NAME: Final = 256
"""Characters; longer names are no model's."""
_MOST_CUTS: Final = 8

# Bucket → the package's key. All are per million but the fee per call, which is per thousand.
_PRICE_KEYS: Final = {
    "input": "input_mtok",
    "input_cached_tokens": "cache_read_mtok",
    "input_cache_creation": "cache_write_mtok",
    "input_cache_creation_5m": "cache_write_5m_mtok",
    "input_cache_creation_1h": "cache_write_1h_mtok",
    "input_audio_tokens": "input_audio_mtok",
    "output": "output_mtok",
    "output_reasoning_tokens": "output_reasoning_mtok",
    "output_audio_tokens": "output_audio_mtok",
}
_REQUEST_KEY: Final = "requests_kcount"
_ALWAYS: Final = -1
_FREE: Final = {_ALWAYS: {"input": Decimal(0), "output": Decimal(0)}}

# Spellings of sellers that the package does not know.
_SELLERS: Final = {"az": "azure", "moonshot": "moonshotai", "togetherai": "together", "x_ai": "x-ai"}
# What runs on one's own machines has no public price, whatever it is called.
_SELF_HOSTED: Final = frozenset(
    {"hosted_vllm", "llama_cpp", "llamacpp", "llamafile", "lm_studio", "lmstudio", "localai", "ollama", "vllm"}
)
# Whose names these are, where the package's own rules do not say it.
_MAKERS: Final = (
    (re.compile(r"arn:aws|([a-z-]+\.)?(amazon|anthropic|cohere|deepseek|meta|mistral|openai|qwen)\.[a-z]"), "aws"),
    (re.compile(r"ft:|chatgpt-|text-embedding-(3|ada)|omni-moderation"), "openai"),
    (re.compile(r"sonar"), "perplexity"),
)
# `seller/model` and `seller:model`; the colons of an ARN, of a fine-tune and of a version or size are none of these.
_CUT: Final = re.compile(r"(?!arn:|ft:)([a-z_-]+):(?=[a-z])|([^/]*)/")
_VERSION_MARK: Final = re.compile(r"(?<=.)@(?:(?:default|latest)$)?")
"""Vertex's, as in claude-sonnet-4@20250514."""


def public_prices(provider: str, model: str) -> tuple[Period, ...]:
    """Prices of a model, the first that is in force being the one that holds; empty when the model is unknown.

    Args:
        provider: who serves it, as the span has it; may be anything.
        model: its name, as the span has it.
    """
    found = find_model(provider, model)
    return _periods(found) if found else ()


def find_model(provider: str, model: str) -> "ModelInfo | None":
    """The package's entry: of who sells the model, else of who makes it, else of all its sellers if they agree."""
    if len(model) > LONGEST_NAME:
        return None
    forms = _forms(_VERSION_MARK.sub("-", model.strip().lower()).removesuffix("-"))
    given = provider.strip().lower()
    if any(_is_self_hosted(seller) for seller in (given, *forms[-1][1])):
        return None
    return _of_sellers(forms, given) or _of_makers(forms) or _of_all(forms)


def _forms(name: str) -> _Forms:
    forms: _Forms = [(name, ())]
    while len(forms) <= _MOST_CUTS and (cut := _CUT.match(name)):
        name = name[cut.end() :]
        forms.append((name, (*forms[-1][1], cut[1] or cut[2])))
    return forms


def _is_self_hosted(seller: str) -> bool:
    return seller in _SELF_HOSTED or _first_word(seller) in _SELF_HOSTED


def _first_word(seller: str) -> str:
    return re.split(r"[._:-]", seller, maxsplit=1)[0]


def _of_sellers(forms: _Forms, given: str) -> "ModelInfo | None":
    tried = ((name, _seller(each)) for name, cut in forms for each in (*cut, given))
    return next(filter(None, (_sold(seller, name) for name, seller in tried if seller)), None)


def _of_makers(forms: _Forms) -> "ModelInfo | None":
    tried = ((name, maker) for name, _ in forms for maker in _makers(name))
    return next(filter(None, (_sold(maker, name) for name, maker in tried)), None)


def _of_all(forms: _Forms) -> "ModelInfo | None":
    """The entry of a name that every seller has at one price; where they differ, nobody knows who was paid."""
    offers: list[ModelInfo] = next(filter(None, (_offers().get(name) for name, _ in forms)), [])
    return offers[0] if offers and all(offer.prices == offers[0].prices for offer in offers) else None


def _sold(seller: "Provider", name: str) -> "ModelInfo | None":
    return seller.find_model(name, all_providers=_providers())


@lru_cache(maxsize=1024)
def _seller(name: str) -> "Provider | None":
    """The package's provider for what a span or a prefix calls it, such as `az.ai.inference` or `openai.chat`."""
    from genai_prices.data_snapshot import find_provider_by_id

    candidates = (_by_id().get(_SELLERS.get(word, word)) for word in (name, _first_word(name)))
    return next(filter(None, candidates), None) or find_provider_by_id(_providers(), name)


def _makers(name: str) -> "list[Provider]":
    own = [_by_id()[maker] for pattern, maker in _MAKERS if pattern.match(name)]
    return own + [each for each in _providers() if each.model_match and each.model_match.is_match(name)]


@cache
def _providers() -> "list[Provider]":
    # 5 MB and 50 ms, which a process that prices nothing need not spend.
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot().providers


@cache
def _by_id() -> "dict[str, Provider]":
    return {each.id: each for each in _providers()}


@cache
def _offers() -> "dict[str, list[ModelInfo]]":
    offers: dict[str, list[ModelInfo]] = {}
    for provider in _providers():
        for model in provider.models:
            offers.setdefault(model.id.lower(), []).append(model)
    return offers


_known_periods: Final[dict[int, tuple[Period, ...]]] = {}
"""By the identity of the package's entries, of which there are as many as it brings."""


def _periods(model: "ModelInfo") -> tuple[Period, ...]:
    if id(model) not in _known_periods:
        _known_periods[id(model)] = _made_periods(model)
    return _known_periods[id(model)]


def _made_periods(model: "ModelInfo") -> tuple[Period, ...]:
    """The package's order: the last that is in force holds, the first where none is."""
    if not isinstance(model.prices, list):
        return ((_always, _rates(model.prices)),)
    periods = [
        (each.constraint.active if each.constraint else _always, _rates(each.prices)) for each in model.prices[::-1]
    ]
    return (*periods, (_always, periods[-1][1]))


def _always(_moment: datetime) -> bool:
    return True


def _rates(prices: "ModelPrice") -> Rates | None:
    """Rates; None for what is priced by pages, seconds or characters only."""
    if not vars(prices):
        return rates(_FREE)  # so the package writes it
    given = {bucket: price for bucket, key in _PRICE_KEYS.items() if (price := getattr(prices, key)) is not None}
    if not given:
        return None
    starts = {_ALWAYS, *(tier.start for price in given.values() for tier in getattr(price, "tiers", ()))}
    steps = {start: {bucket: _price_at(price, start) for bucket, price in given.items()} for start in starts}
    fee = getattr(prices, _REQUEST_KEY)
    return rates({start: step | ({REQUESTS: fee * 1000} if fee else {}) for start, step in steps.items()})


def _price_at(price: Any, start: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if tier.start <= start]
    return Decimal(reached[-1] if reached else price.base)
