"""Langfuse's own Python client against our service; runs in the environment of the live tests."""
