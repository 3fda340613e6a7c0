"""One dialect's mapping as data: what a convention file may say, and the files of this package."""

from importlib.resources import files
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ObservationType = Literal[
    "SPAN",
    "GENERATION",
    "EMBEDDING",
    "RETRIEVER",
    "RERANKER",
    "TOOL",
    "AGENT",
    "CHAIN",
    "EVALUATOR",
    "GUARDRAIL",
    "EVENT",
]
TextField = Literal[
    "operation", "provider", "request_model", "response_model", "response_id", "user_id", "session_id", "environment",
    "release", "version", "service_name", "trace_name", "tool_name", "tool_call_id", "agent_name", "prompt_name",
    "prompt_version", "tool_definitions", "input_messages", "output_messages", "system_instructions", "tool_input",
    "tool_output", "retrieval_input", "retrieval_output", "input", "output",
]  # fmt: skip
CountField = Literal[
    "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens",
    "input_audio_tokens", "output_audio_tokens",
]  # fmt: skip
ListField = Literal["finish_reasons", "tags"]
NumberField = Literal["total_cost", "seconds_to_first_token"]
FieldName = TextField | CountField | ListField | NumberField

LEGACY_PRECEDENCE: Final = 90


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Data):
    """One attribute key that can fill a field."""

    key: str
    """Attribute key, exact."""
    legacy: bool = False
    """True: any convention's current spelling comes first."""


def _plain_key(value: object) -> object:
    return {"key": value} if isinstance(value, str) else value


Sources = tuple[Annotated[Source, BeforeValidator(_plain_key)], ...]


class Recognition(_Data):
    """How a span of the dialect is known."""

    attribute_prefixes: tuple[str, ...] = ()
    """A span with an attribute under one of them speaks the dialect."""


class Parameters(_Data):
    """What goes to model_parameters."""

    prefixes: tuple[str, ...] = ()
    """The rest of the key names the parameter."""
    keys: dict[str, str] = {}
    """Key → name of the parameter."""


class MessageEvent(_Data):
    """A span event that is one message."""

    side: Literal["input", "output"]
    """Which half it belongs to."""
    role: Literal["system", "user", "assistant", "tool"]
    """Role when the event says none."""


class Convention(_Data):
    """One dialect. Every field of an observation is resolved on its own over all conventions present.

    A source's place is decided by (legacy, the convention's precedence, its position in the list).
    """

    name: str
    """As shown in the column `convention`."""
    title: str
    """For people."""
    precedence: Annotated[int, Field(ge=0, lt=LEGACY_PRECEDENCE)]
    """Smaller comes first; 10 what the user said explicitly, 20 OTel GenAI, 30 frameworks, 50 general."""
    recognise: Recognition = Recognition()
    types: dict[str, dict[str, ObservationType]] = {}
    """Attribute key → its values → observation type; the first rule that knows the value decides."""
    fields: dict[FieldName, Sources] = {}
    """Field → attribute keys, best first."""
    resource_fields: dict[FieldName, Sources] = {}
    """The same for resource attributes; a span's own attribute beats them."""
    parameters: Parameters = Parameters()
    lifted_events: tuple[str, ...] = ()
    """Names of span events whose attributes count as the span's own."""
    message_events: dict[str, MessageEvent] = {}
    """Names of span events that are one message each."""
    score_events: tuple[str, ...] = ()
    """Names of span events that are evaluation results."""


def load_conventions() -> tuple[Convention, ...]:
    """All conventions of this package, by precedence."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    texts = [file.read_text("utf-8") for file in files(__name__).iterdir() if file.name.endswith(".yaml")]
    conventions = [Convention.model_validate(yaml.load(text)) for text in texts]
    return tuple(sorted(conventions, key=lambda convention: (convention.precedence, convention.name)))
