"""OpenInference around the OpenAI client; user and session by its own context manager."""

from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor

from tests.live import conversation as said
from tests.live.applications import talk_to_openai
from tests.live.telemetry import telemetry

with telemetry() as scenario, using_attributes(user_id=said.USER, session_id=said.SESSION):
    OpenAIInstrumentor().instrument()
    talk_to_openai(scenario)
