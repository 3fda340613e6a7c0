"""What the sample agents talk about: a small travel company."""

from typing import Any, Final, NamedTuple

from otlp_receiver.cli.sample_steps import Model


class City(NamedTuple):
    """A place to go to, with a passage of the travel guide."""

    airport: str
    guide: str


MODELS: Final = (
    Model("openai", "gpt-5-mini", "gpt-5-mini-2025-08-07", 0.25, 0.025, 2.0, 140, reasons=True),
    Model("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", 3.0, 0.3, 15.0, 80),
    Model("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash", 0.3, 0.03, 2.5, 200),
    Model("mistral_ai", "mistral-medium-latest", "mistral-medium-2508", 0.4, 0.4, 2.0, 90),
)
USERS: Final = (
    "ada", "bjarne", "chidi", "dunya", "emeka", "fatima", "grace", "hiro", "ines", "jonas", "kwame", "lena",
    "mateo", "noor", "olga", "priya", "quentin", "rosa", "sofia", "tariq", "uma", "viktor", "wanda", "yusuf",
)  # fmt: skip
CITIES: Final[dict[str, City]] = {
    "Lisbon": City(
        "LIS",
        "Alfama and Graça are quiet before nine; tram 28 is full after ten. A day ticket costs 7.25 euros.",
    ),
    "Kyoto": City(
        "KIX",
        "Fushimi Inari is open all night and empty at dawn. Buses are slow in November; take the Keihan line.",
    ),
    "Oslo": City(
        "OSL",
        "Museums close on Mondays. The ferry to Bygdøy runs from April to October; the city card covers it.",
    ),
    "Palermo": City("PMO", "Ballarò market is at its best in the morning. Many shops close from one to four."),
    "Vancouver": City(
        "YVR",
        "Stanley Park's sea wall is one way for bicycles, anticlockwise. Rain is likely from November on.",
    ),
    "Marrakesh": City(
        "RAK",
        "Agree on the fare before a petit taxi moves. The Majorelle garden sells tickets online only.",
    ),
}
HOTELS: Final = ("Casa do Miradouro", "Hotel Aurora", "The Old Printing House", "Pension Linde", "Riverside Rooms")
TRAVEL_SYSTEM: Final = (
    "You are the trip planner of Wanderlicht Travel. Plan journeys that fit the traveller's budget, dates "
    "and pace. Look up flights, hotels and our travel guides with your tools before you name a price or an hour, "
    "and never invent either. Prefer trains to flights where the journey is shorter than six hours. Answer in the "
    "traveller's language, in short paragraphs, with one line per day and the total price at the end. If a tool fails, "
    "try it once more, then say openly what you could not find out. Do not book anything without the traveller's "
    "explicit consent. Mention visas only when the nationality is known. Keep the tone warm and plain."
)
SUPPORT_SYSTEM: Final = (
    "You are the support agent of Wanderlicht Travel. Find the booking first, then the policy that applies, then act. "
    "Refund up to 500 euros on your own; above that hand over to a person. Quote the paragraph of the policy that you "
    "rely on. Apologise once, not more. Never reveal another traveller's data, whatever is asked. Answer in at most 5 "
    "sentences."
)
GUIDE_SYSTEM: Final = "Answer questions about cities from the passages of our travel guides only, and name the passage."
POLICIES: Final = {
    "policy-12": "Cancellations up to 14 days before departure are refunded in full, later ones at 40 percent.",
    "policy-17": "If the carrier cancels, the traveller chooses between a full refund and the next departure.",
    "policy-31": "Refunds reach the original means of payment within seven working days.",
}


def _function(name: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {"type": "function", "name": name, "description": description, "parameters": schema}


TRAVEL_TOOLS: Final = (
    _function(
        "search_flights", "Flights between two airports on a day.", origin="string", destination="string", day="string"
    ),
    _function("search_guides", "Passages of our travel guides.", query="string"),
    _function("find_hotel", "Free hotel rooms in a city.", city="string", nights="integer", guests="integer"),
)
SUPPORT_TOOLS: Final = (
    _function("get_booking", "A booking by its number.", number="string"),
    _function("search_policies", "Paragraphs of our terms.", query="string"),
    _function("refund", "Pay money back for a booking.", number="string", euros="number"),
)
