"""Definitions of tools, whichever API spelled them → `[{"type": "function", "name", "description", "parameters"}]`.

The shape of gen_ai.tool.definitions in the GenAI semantic conventions; `parameters` is a JSON schema. What comes with a
definition stays beside it. A tool of the provider's own (web search) keeps its type, and one that is not understood
stays as it was sent.
"""

from typing import Any, Final

from otlp_receiver.mapping.json_text import parse_json
from otlp_receiver.mapping.parts import given, opened

Tool = dict[str, Any]

_SCHEMAS: Final = (
    "parameters",
    "parameters_json_schema",  # Pydantic AI, Gemini
    "parametersJsonSchema",
    "input_schema",  # Anthropic
    "inputSchema",  # AI SDK, Genkit, Bedrock, MCP
    "json_schema",  # OpenInference with name and description beside it
)
_NAMES: Final = ("name", "toolName")
# Objects that hold a definition: OpenAI, Bedrock, Haystack.
_WRAPPERS: Final = ("function", "toolSpec", "data", "custom")
# Objects that hold a list of them: Gemini, among tools of another kind; Pydantic AI, requests, among other things.
_DECLARATIONS: Final = ("function_declarations", "functionDeclarations")
_LISTS: Final = ("function_tools", "output_tools", "tools")
_FUNCTION_TYPES: Final = ("function", "custom", "haystack.tools.tool.Tool", "tool")
_MAX_LEVELS: Final = 4


def canonical_tools(value: Any) -> list[Any] | None:
    """The definitions in a value, None when it holds none: a list, one definition, or JSON texts of them.

    Of an object that holds lists of them beside other things, `beside_tools` tells the other things.
    """
    found = _tools(value, 0)
    return found or None


def beside_tools(value: Any) -> dict[str, Any] | None:
    """What an object that holds lists of definitions says beside them (Bedrock: the tool choice), None for nothing."""
    lists = [name for name in _LISTS if isinstance(value.get(name), list)] if isinstance(value, dict) else []
    return (given(value, *lists) or None) if lists else None


def _tools(value: Any, level: int) -> list[Any] | None:
    """None when anything in the value is no definition, so that nothing is lost."""
    if level > _MAX_LEVELS:
        return None
    if isinstance(value, list):
        found = [_tools(item, level + 1) for item in value]
        return None if None in found else [tool for tools in found for tool in tools or ()]
    if isinstance(value, str):
        return _named(value, level)
    return _of_object(value, level) if isinstance(value, dict) else None


def _of_object(value: Tool, level: int) -> list[Any] | None:
    """One definition, or those in its lists; Gemini keeps tools of another kind beside those that it declares."""
    lists = [value[name] for name in _LISTS if isinstance(value.get(name), list)]
    if lists:
        return None if level and beside_tools(value) else _tools(lists, level + 1)
    declared = next((name for name in _DECLARATIONS if isinstance(value.get(name), list)), None)
    if declared is None:
        tool = _tool(value)
        return None if tool is None else [tool]
    tools, others = _tools(value[declared], level + 1), given(value, declared)
    return None if tools is None else [*tools, *([others] if others else [])]


def _named(text: str, level: int) -> list[Any] | None:
    """A definition as JSON (AI SDK), or a tool's name alone (Genkit, Mastra, Strands)."""
    if text.startswith(("{", "[")):
        parsed = parse_json(text)
        return None if parsed is None else _tools(parsed, level + 1)
    return [{"type": "function", "name": text}] if text else None


def _tool(value: Tool) -> Tool | None:
    rest = _with_parsed_schema(opened(value, "tool"))
    rest = dict(opened(rest, "json_schema" if _holds_definition(rest) else "", *_WRAPPERS))
    name = next((rest.pop(key) for key in _NAMES if isinstance(rest.get(key), str)), None)
    if name is None:
        return value if isinstance(value.get("type"), str) else None
    schema = _take_schema(rest)
    kind = rest.pop("type", "function")
    tool = {"type": "function" if kind in _FUNCTION_TYPES else kind, "name": name}
    if rest.get("description") is not None:
        tool["description"] = rest.pop("description")
    return tool | ({} if schema is None else {"parameters": schema}) | given(rest)


def _with_parsed_schema(value: Tool) -> Tool:
    """A definition whose schema came as JSON text (OpenInference, LiteLLM)."""
    texts = {key: parse_json(value[key]) for key in _SCHEMAS if isinstance(value.get(key), str)}
    return value | {key: parsed for key, parsed in texts.items() if isinstance(parsed, dict)}


def _holds_definition(value: Tool) -> bool:
    """OpenInference: `json_schema` is the whole definition, or its parameters where the name stands beside it."""
    return isinstance(value.get("json_schema"), dict) and not isinstance(value.get("name"), str)


def _take_schema(rest: Tool) -> Any:
    name = next((name for name in _SCHEMAS if rest.get(name) is not None), None)
    schema = None if name is None else rest.pop(name)
    return schema["json"] if isinstance(schema, dict) and schema.keys() == {"json"} else schema
