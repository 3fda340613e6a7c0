"""OpenTelemetry's own instrumentation of the Anthropic client, over the spans that the client sends itself."""

from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor

from tests.live.applications import talk_to_anthropic
from tests.live.telemetry import telemetry

with telemetry() as scenario:
    AnthropicInstrumentor().instrument()
    talk_to_anthropic(scenario)
