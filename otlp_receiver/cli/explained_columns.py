"""Which column of the record each field of the conventions fills, for `explain`."""

from typing import Final

from pipelines.schema import OBSERVATIONS

COLUMN_OF_FIELD: Final = {
    "response_model": "model",
    "display_name": "name",
    "bare_name": "name",
    "name_object": "name",
    "error": "status_message",
    "system_instructions": "input",
    "input_messages": "input",
    "input_text": "input",
    "tool_input": "input",
    "retrieval_input": "input",
    "input_value": "input",
    "run_messages": "input",
    "output_messages": "output",
    "output_text": "output",
    "output_reasoning": "output",
    "output_tool_calls": "output",
    "tool_output": "output",
    "retrieval_output": "output",
    "output_value": "output",
    "uncached_input_tokens": "usage_details[input]",
    "cache_read_tokens": "usage_details[input_cached_tokens]",
    "cache_creation_tokens": "usage_details[input_cache_creation]",
    "cache_creation_5m_tokens": "usage_details[input_cache_creation_5m]",
    "cache_creation_1h_tokens": "usage_details[input_cache_creation_1h]",
    "reasoning_tokens": "usage_details[output_reasoning_tokens]",
    "input_audio_tokens": "usage_details[input_audio_tokens]",
    "output_audio_tokens": "usage_details[output_audio_tokens]",
    "first_token_time": "completion_start_time",
    "seconds_to_first_token": "completion_start_time",
    "milliseconds_to_first_token": "completion_start_time",
    "input_cost": "cost_details[input]",
    "output_cost": "cost_details[output]",
    "trace_input": "trace[input]",
    "trace_output": "trace[output]",
    "public": "trace[public]",
}
"""Those that are not called like their column."""

ORDER: Final = {column.name: index for index, column in enumerate(OBSERVATIONS.columns)}
"""Place of a column in the record."""


def column_of(field: str) -> str:
    """Column, or one entry of a column as `column[entry]`; those of the trace as `trace[column]`."""
    return COLUMN_OF_FIELD.get(field, field)
