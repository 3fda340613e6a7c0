"""OpenLLMetry around the OpenAI client."""

from opentelemetry.instrumentation.openai import OpenAIInstrumentor

from tests.live.applications import talk_to_openai
from tests.live.telemetry import telemetry

with telemetry() as scenario:
    OpenAIInstrumentor().instrument()
    talk_to_openai(scenario)
