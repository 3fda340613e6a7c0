"""OpenTelemetry's own instrumentation of the OpenAI client, whose content comes as log records alone."""

from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from tests.live.applications import talk_to_openai
from tests.live.telemetry import telemetry

with telemetry() as scenario:
    OpenAIInstrumentor().instrument()
    talk_to_openai(scenario)
