"""Agent runs to send: a trip that is planned, a booking that is refunded, a question about a city."""

from collections.abc import Callable
from random import Random
from typing import Final

from otlp_receiver.cli.sample_steps import (
    Conversation,
    Message,
    Model,
    Step,
    agent,
    call_id,
    chat,
    evaluation,
    failed_agent,
    failing_tool,
    rate_limited,
    retrieval,
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


def trip(rng: Random, model: Model) -> Step:
    """Everything once: streaming, parallel tools, retrieval, a tool that times out and is tried again, cached text."""
    (origin, (origin_code, _)), (city, (code, guide)) = rng.sample(sorted(CITIES.items()), 2)
    nights, guests, budget = rng.randrange(2, 6), rng.randrange(1, 4), rng.randrange(8, 25) * 100
    question = (
        f"We are {guests} and want to go from {origin} to {city} for {nights} nights in October, for at most {budget} "
        "euros in all. We like walking and good food. What do you suggest?"
    )
    talk = Conversation(model, TRAVEL_SYSTEM, TRAVEL_TOOLS, rng)
    talk.say("user", text(question))
    flights = tool_call(
        call_id(rng), "search_flights", {"origin": origin_code, "destination": code, "day": "2026-10-09"}
    )
    guides = tool_call(call_id(rng), "search_guides", {"query": f"{city}: walks and food, opening times"})
    hotel = tool_call(call_id(rng), "find_hotel", {"city": city, "nights": nights, "guests": guests})
    fare, rate, house = rng.randrange(60, 240), rng.randrange(70, 190), rng.choice(HOTELS)
    total = fare * guests + rate * nights
    passages = _passages(city, guide, rng)
    answer = (
        f"{nights} nights in {city}. Fly out of {origin} on 9 October at 07:40 ({fare} euros each). Stay at {house}, "
        f"{rate} euros a night, breakfast included. Day one: {guide} Keep the second afternoon free for a long lunch. "
        f"In all {total} euros, {'within' if total <= budget else 'above'} your budget of {budget} euros."
    )
    steps = (
        chat(talk, text("I look up flights and our guides first."), flights, guides, streamed=True),
        tool(
            talk, flights, [{"flight": f"WL{rng.randrange(100, 999)}", "departs": "07:40", "euros": fare}], seconds=0.31
        ),
        tool(
            talk, guides, passages, seconds=0.004, children=retrieval(str(guides["arguments"]["query"]), passages, rng)
        ),
        chat(talk, hotel),
        failing_tool(hotel, "TimeoutError", "no answer from hotels.example.com within 2 s", seconds=2.0),
        tool(talk, hotel, {"hotel": house, "euros_per_night": rate, "rooms_left": rng.randrange(1, 6)}, seconds=0.42),
        chat(talk, text(answer), streamed=True),
    )
    verdict = evaluation("helpfulness", round(rng.uniform(0.7, 1), 2), "good", "Concrete, priced, within the dates.")
    return agent("trip-planner", question, answer, steps, verdict)


def _passages(city: str, guide: str, rng: Random) -> list[Message]:
    others = rng.sample([name for name in sorted(CITIES) if name != city], 2)
    found = [(city, guide, 0.9), *((name, CITIES[name][1], 0.5) for name in others)]
    return [
        {"id": f"guide-{name.lower()}", "score": round(score - rng.uniform(0, 0.2), 3), "content": content}
        for name, content, score in found
    ]


def refund(rng: Random, model: Model) -> Step:
    """A support case; one in five ends in an error of the payment service."""
    number, euros = f"WL-{rng.randrange(10_000, 99_999)}", rng.randrange(80, 480)
    question = f"My flight of booking {number} was cancelled by the airline. I want my money back."
    talk = Conversation(model, SUPPORT_SYSTEM, SUPPORT_TOOLS, rng)
    talk.say("user", text(question))
    booking = tool_call(call_id(rng), "get_booking", {"number": number})
    policy = tool_call(call_id(rng), "search_policies", {"query": "carrier cancels flight, refund"})
    payment = tool_call(call_id(rng), "refund", {"number": number, "euros": euros})
    policies = [{"id": name, "score": round(rng.uniform(0.4, 0.95), 3), "content": body} for name, body in POLICIES]
    steps = [
        chat(talk, booking),
        tool(talk, booking, {"number": number, "status": "cancelled by carrier", "euros": euros}, seconds=0.05),
        chat(talk, policy),
        tool(
            talk, policy, policies, seconds=0.003, children=retrieval("carrier cancels flight, refund", policies, rng)
        ),
        chat(talk, payment),
    ]
    if rng.random() < _SHARE_OF_FAILED_REFUNDS:
        steps.append(failing_tool(payment, "PaymentError", "payment service answered 502", seconds=rng.uniform(0.5, 3)))
        return failed_agent("support", question, steps)
    answer = (
        f"I am sorry about the cancelled flight. By policy-17 you may choose a full refund, so {euros} euros are on "
        "their way to your card and arrive within seven working days (policy-31)."
    )
    steps += [
        tool(talk, payment, {"status": "accepted", "euros": euros}, seconds=rng.uniform(0.2, 0.9)),
        chat(talk, text(answer), streamed=True),
    ]
    return agent("support", question, answer, steps)


def question(rng: Random, model: Model) -> Step:
    """Retrieval and one answer; now and then the provider refuses the first attempt."""
    city, (_, guide) = rng.choice(sorted(CITIES.items()))
    asked = f"What should I know before my first morning in {city}?"
    passages = _passages(city, guide, rng)
    talk = Conversation(model, GUIDE_SYSTEM, (), rng)
    talk.say("user", text(asked))
    talk.say("user", text("\n".join(str(passage["content"]) for passage in passages)))
    refused = [rate_limited(talk)] if rng.random() < _SHARE_OF_RATE_LIMITS else []
    answer = f"{guide} (guide-{city.lower()})"
    steps = [
        *retrieval(asked, passages, rng),
        *refused,
        chat(talk, text(answer), streamed=rng.random() < _SHARE_STREAMED),
    ]
    return agent("city-guide", asked, answer, steps)


_SHARE_OF_FAILED_REFUNDS: Final = 0.2
_SHARE_OF_RATE_LIMITS: Final = 0.1
_SHARE_STREAMED: Final = 0.5
_RUNS: Final[tuple[Callable[[Random, Model], Step], ...]] = (trip, refund, question)
_WEIGHTS: Final = (3, 3, 4)


def sample_run(rng: Random, number: int) -> Step:
    """The run of that number: the first is the trip, which shows everything."""
    run = trip if number == 0 else rng.choices(_RUNS, _WEIGHTS)[0]
    return run(rng, MODELS[0] if number == 0 else rng.choice(MODELS))
