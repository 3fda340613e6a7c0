"""Tool definitions of every API: one shape comes out of all."""

import json
from typing import Any

import pytest

from otlp_receiver.mapping.conversations import canonical_tools

_SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}}}
_TOOL = {"type": "function", "name": "get_weather", "description": "Now.", "parameters": _SCHEMA}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([_TOOL], id="OTel"),
        pytest.param(_TOOL, id="one"),
        pytest.param(
            [{"type": "function", "function": {"name": "get_weather", "description": "Now.", "parameters": _SCHEMA}}],
            id="OpenAI",
        ),
        pytest.param([{"name": "get_weather", "description": "Now.", "input_schema": _SCHEMA}], id="Anthropic"),
        pytest.param(
            [
                {
                    "function_declarations": [
                        {"name": "get_weather", "description": "Now.", "parameters_json_schema": _SCHEMA}
                    ]
                }
            ],
            id="Gemini",
        ),
        pytest.param(
            [json.dumps({"type": "function", "name": "get_weather", "description": "Now.", "inputSchema": _SCHEMA})],
            id="AI SDK",
        ),
        pytest.param(
            {"tools": [{"toolSpec": {"name": "get_weather", "description": "Now.", "inputSchema": {"json": _SCHEMA}}}]},
            id="Bedrock",
        ),
        pytest.param(
            [
                {
                    "tool": {
                        "json_schema": json.dumps(
                            {
                                "type": "function",
                                "function": {"name": "get_weather", "description": "Now.", "parameters": _SCHEMA},
                            }
                        )
                    }
                }
            ],
            id="OpenInference",
        ),
        pytest.param(
            [{"tool": {"name": "get_weather", "description": "Now.", "json_schema": json.dumps(_SCHEMA)}}],
            id="OpenInference on Pydantic AI",
        ),
        pytest.param(
            {
                "function_tools": [{"name": "get_weather", "description": "Now.", "parameters_json_schema": _SCHEMA}],
                "output_tools": [],
            },
            id="Pydantic AI",
        ),
        pytest.param(
            [{"name": "get_weather", "description": "Now.", "parameters": json.dumps(_SCHEMA)}],
            id="LiteLLM's indexed keys",
        ),
        pytest.param(
            [
                {
                    "type": "haystack.tools.tool.Tool",
                    "data": {"name": "get_weather", "description": "Now.", "parameters": _SCHEMA},
                }
            ],
            id="Haystack",
        ),
    ],
)
def test_tool_definitions(sent: Any) -> None:
    """A definition of any API has one shape."""
    assert canonical_tools(sent) == [_TOOL]


@pytest.mark.parametrize(
    ("sent", "tools"),
    [
        (["get_weather"], [{"type": "function", "name": "get_weather"}]),
        (
            [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
            [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
        ),
        ([{"type": "code_interpreter"}], [{"type": "code_interpreter"}]),
        (
            [{"functionDeclarations": [{"name": "f"}], "googleSearch": {}}],
            [{"type": "function", "name": "f"}, {"googleSearch": {}}],
        ),
        ([], None),
        ([1], None),
        ([{"google_search": {}}], None),
        ("[cut", None),
        ({"name": "f", "parameters": None, "strict": True}, [{"type": "function", "name": "f", "strict": True}]),
    ],
)
def test_other_tools(sent: Any, tools: Any) -> None:
    """Names alone and the provider's own tools are kept; what is no tool gives none."""
    assert canonical_tools(sent) == tools
