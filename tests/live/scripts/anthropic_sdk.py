"""The Anthropic client alone: it sends spans as soon as there is somebody to take them."""

from tests.live.applications import talk_to_anthropic
from tests.live.telemetry import telemetry

with telemetry() as scenario:
    talk_to_anthropic(scenario)
