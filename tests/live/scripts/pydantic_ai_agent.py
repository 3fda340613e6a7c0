"""A Pydantic AI agent, which sends spans itself once it is told to, and runs the tool itself."""

import asyncio

from openai import AsyncOpenAI
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.live import conversation as said
from tests.live.conversation import Scenario
from tests.live.telemetry import telemetry


def get_weather(city: str, days: int) -> str:
    """Weather of a city."""
    assert {"city": city, "days": days} == said.ARGUMENTS
    return said.RESULT


async def _talk(scenario: Scenario) -> None:
    model = OpenAIChatModel(said.OPENAI_MODEL, provider=OpenAIProvider(openai_client=AsyncOpenAI(max_retries=0)))
    agent = Agent(model, name="weather", system_prompt=said.SYSTEM)
    with scenario("chat"):
        await agent.run(said.QUESTION, conversation_id=said.SESSION)
    with scenario("stream"):
        async with agent.run_stream(said.QUESTION, conversation_id=said.SESSION) as answer:
            assert await answer.get_output() == said.ANSWER
    with scenario("tools"):
        equipped = Agent(model, name="weather", system_prompt=said.SYSTEM, tools=[get_weather])
        await equipped.run(said.QUESTION, conversation_id=said.SESSION)
    with scenario("error"):
        try:
            await Agent(model, name="weather").run(said.PROVOKING, conversation_id=said.SESSION)
        except ModelHTTPError:
            return
        raise AssertionError("the model server did not refuse")


with telemetry() as scenario:
    Agent.instrument_all()
    asyncio.run(_talk(scenario))
