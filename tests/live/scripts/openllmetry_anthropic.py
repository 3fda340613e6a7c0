"""OpenLLMetry around the Anthropic client, which sends spans of its own beside: each call arrives twice."""

from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

from tests.live.applications import talk_to_anthropic
from tests.live.telemetry import telemetry

with telemetry() as scenario:
    AnthropicInstrumentor().instrument()
    talk_to_anthropic(scenario)
