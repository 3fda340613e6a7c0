"""Agent runs to send: a trip that is planned, a booking that is refunded, a question about a city."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from otlp_receiver.cli.sample_steps import (
    Conversation,
    Message,
    Model,
    Step,
    agent,
    chat,
    evaluation,
    failed_agent,
    failing_tool,
    rate_limited,
    retrieval,
    search_tool,
    text,
    tool,
    tool_call,
)
from otlp_receiver.cli.sample_texts import (
    CITIES,
    GUIDE_SYSTEM,
    HOTELS,
    MODELS,
    POLICIES,
    SUPPORT_SYSTEM,
    SUPPORT_TOOLS,
    TRAVEL_SYSTEM,
    TRAVEL_TOOLS,
)

_SHARE_OF_TIMEOUTS: Final = 0.3
_SHARE_OF_FAILED_REFUNDS: Final = 0.2
_SHARE_OF_RATE_LIMITS: Final = 0.1
_SHARE_STREAMED: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Journey:
    """What a traveller wants, and what there is."""

    origin: str
    city: str
    nights: int
    guests: int
    budget: int
    fare: int
    rate: int
    hotel: str

    @property
    def question(self) -> str:
        return (
            f"We are {self.guests} and want to go from {self.origin} to {self.city} for {self.nights} nights in "
            f"October, for at most {self.budget} euros in all. We like walking and good food. What do you suggest?"
        )

    @property
    def answer(self) -> str:
        total = self.fare * self.guests + self.rate * self.nights
        verdict = "within" if total <= self.budget else "above"
        return (
            f"{self.nights} nights in {self.city}. Fly out of {self.origin} on 9 October at 07:40 ({self.fare} euros "
            f"each). Stay at {self.hotel}, {self.rate} euros a night. Day one: {CITIES[self.city].guide} "
            f"Keep the second afternoon free for a long lunch. In all {total} euros, {verdict} your budget of "
            f"{self.budget} euros."
        )


def _journey(rng: Random) -> _Journey:
    origin, city = rng.sample(sorted(CITIES), 2)
    return _Journey(
        origin=origin,
        city=city,
        nights=rng.randrange(2, 6),
        guests=rng.randrange(1, 4),
        budget=rng.randrange(8, 25) * 100,
        fare=rng.randrange(60, 240),
        rate=rng.randrange(70, 190),
        hotel=rng.choice(HOTELS),
    )


def trip(rng: Random, model: Model, share_of_timeouts: float = _SHARE_OF_TIMEOUTS) -> Step:
    """Streaming, parallel tools, retrieval, cached text, and in that share of runs a tool that is tried again."""
    journey = _journey(rng)
    talk = Conversation(model, TRAVEL_SYSTEM, TRAVEL_TOOLS, rng)
    talk.say("user", text(journey.question))
    steps = [
        *_look_up(talk, journey),
        *_find_hotel(talk, journey, share_of_timeouts),
        chat(talk, text(journey.answer), streamed=True),
    ]
    verdict = evaluation("helpfulness", round(rng.uniform(0.7, 1), 2), "good", "Concrete, priced, within the dates.")
    return agent("trip-planner", journey.question, journey.answer, steps, verdict)


def _look_up(talk: Conversation, journey: _Journey) -> list[Step]:
    origin, destination = CITIES[journey.origin].airport, CITIES[journey.city].airport
    day = {"origin": origin, "destination": destination, "day": "2026-10-09"}
    flights = tool_call(talk.rng, "search_flights", **day)
    guides = tool_call(talk.rng, "search_guides", query=f"{journey.city}: walks and food, opening times")
    flight = {"flight": f"WL{talk.rng.randrange(100, 999)}", "departs": "07:40", "euros": journey.fare}
    return [
        chat(talk, text("I look up flights and our guides first."), flights, guides, streamed=True),
        tool(talk, flights, [flight], seconds=talk.rng.uniform(0.2, 0.9)),
        search_tool(talk, guides, "travel_guides", _passages(journey.city, talk.rng)),
    ]


def _find_hotel(talk: Conversation, journey: _Journey, share_of_timeouts: float) -> list[Step]:
    call = tool_call(talk.rng, "find_hotel", city=journey.city, nights=journey.nights, guests=journey.guests)
    timeout = failing_tool(call, "TimeoutError", "no answer from hotels.example.com within 2 s", seconds=2.0)
    room = {"hotel": journey.hotel, "euros_per_night": journey.rate, "rooms_left": talk.rng.randrange(1, 6)}
    return [
        chat(talk, call),
        *([timeout] if talk.rng.random() < share_of_timeouts else []),
        tool(talk, call, room, seconds=talk.rng.uniform(0.2, 0.9)),
    ]


def _passages(city: str, rng: Random) -> list[Message]:
    others = rng.sample([name for name in sorted(CITIES) if name != city], 2)
    scores = {city: rng.uniform(0.7, 0.95), **{name: rng.uniform(0.3, 0.6) for name in others}}
    return [
        {"id": f"guide-{name.lower()}", "score": round(score, 3), "content": CITIES[name].guide}
        for name, score in scores.items()
    ]


def refund(rng: Random, model: Model) -> Step:
    """A support case; some end in an error of the payment service."""
    number, euros = f"WL-{rng.randrange(10_000, 99_999)}", rng.randrange(80, 480)
    asked = f"My flight of booking {number} was cancelled by the airline. I want my money back."
    answer = (
        f"I am sorry about the cancelled flight. By policy-17 you may choose a full refund, so {euros} euros are on "
        "their way to your card and arrive within seven working days (policy-31)."
    )
    talk = Conversation(model, SUPPORT_SYSTEM, SUPPORT_TOOLS, rng)
    talk.say("user", text(asked))
    payment = tool_call(rng, "refund", number=number, euros=euros)
    steps = [*_find_booking(talk, number, euros), chat(talk, payment)]
    if rng.random() < _SHARE_OF_FAILED_REFUNDS:
        steps.append(failing_tool(payment, "PaymentError", "payment service answered 502", seconds=rng.uniform(0.5, 3)))
        return failed_agent("support", asked, steps)
    steps.append(tool(talk, payment, {"status": "accepted", "euros": euros}, seconds=rng.uniform(0.2, 0.9)))
    return agent("support", asked, answer, [*steps, chat(talk, text(answer), streamed=True)])


def _find_booking(talk: Conversation, number: str, euros: int) -> list[Step]:
    booking = tool_call(talk.rng, "get_booking", number=number)
    policy = tool_call(talk.rng, "search_policies", query="carrier cancels flight, refund")
    found = {"number": number, "status": "cancelled by carrier", "euros": euros}
    policies = [
        {"id": name, "score": round(talk.rng.uniform(0.4, 0.95), 3), "content": body} for name, body in POLICIES.items()
    ]
    return [
        chat(talk, booking),
        tool(talk, booking, found, seconds=talk.rng.uniform(0.02, 0.1)),
        chat(talk, policy),
        search_tool(talk, policy, "policies", policies),
    ]


def question(rng: Random, model: Model) -> Step:
    """Retrieval and one answer; now and then the provider refuses the first attempt."""
    city = rng.choice(sorted(CITIES))
    asked = f"What should I know before my first morning in {city}?"
    answer = f"{CITIES[city].guide} (guide-{city.lower()})"
    passages = _passages(city, rng)
    talk = Conversation(model, GUIDE_SYSTEM, (), rng)
    talk.say("user", text(asked), text("\n".join(str(passage["content"]) for passage in passages)))
    refused = [rate_limited(talk)] if rng.random() < _SHARE_OF_RATE_LIMITS else []
    reply = chat(talk, text(answer), streamed=rng.random() < _SHARE_STREAMED)
    return agent("city-guide", asked, answer, [*retrieval("travel_guides", asked, passages, rng), *refused, reply])


_RUNS: Final[tuple[Callable[[Random, Model], Step], ...]] = (trip, refund, question)
_WEIGHTS: Final = (3, 3, 4)


def sample_run(rng: Random, number: int) -> Step:
    """The run of that number; the first shows everything."""
    if number == 0:
        return trip(rng, MODELS[0], share_of_timeouts=1)
    return rng.choices(_RUNS, _WEIGHTS)[0](rng, rng.choice(MODELS))
