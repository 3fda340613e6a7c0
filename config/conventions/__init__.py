"""One dialect's mapping as data: what a convention file may say, and the files of this package."""

# ruff: noqa: RUF012 - pydantic copies mutable defaults

from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from config.conventions.values import (
    MOST_ENTRIES,
    MOST_SOURCES,
    Family,
    Key,
    LowerName,
    Name,
    Names,
    OptionalKey,
    Path,
    Scopes,
)
from config.errors import did_you_mean
from config.settings import Settings

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
    "prompt_version", "tool_definitions", "display_name", "bare_name", "name_object", "level", "status_message",
    "error", "first_token_time", "usage_details", "cost_details",
    "input", "output", "input_messages", "output_messages", "run_messages", "system_instructions", "input_text",
    "output_text", "output_reasoning", "output_tool_calls", "tool_input", "tool_output", "retrieval_input",
    "retrieval_output", "input_value", "output_value", "trace_input", "trace_output", "public", "is_root",
]  # fmt: skip
CountField = Literal[
    "input_tokens", "uncached_input_tokens", "output_tokens", "total_tokens", "cache_read_tokens",
    "cache_creation_tokens", "cache_creation_5m_tokens", "cache_creation_1h_tokens", "reasoning_tokens",
    "input_audio_tokens", "output_audio_tokens",
]  # fmt: skip
ListField = Literal["finish_reasons", "tags"]
NumberField = Literal[
    "total_cost", "input_cost", "output_cost", "seconds_to_first_token", "milliseconds_to_first_token"
]
FIELD_NAMES: Final[tuple[str, ...]] = tuple(
    name for group in (TextField, CountField, ListField, NumberField) for name in get_args(group)
)


def _known_field(name: str) -> str:
    if name not in FIELD_NAMES:
        hint = did_you_mean(name, FIELD_NAMES) or "; docs/conventions.md names them"
        raise ValueError(f"no such field{hint}")
    return name


FieldName = Annotated[str, AfterValidator(_known_field), WithJsonSchema({"type": "string", "enum": [*FIELD_NAMES]})]

LEGACY_PRECEDENCE: Final = 90
FIRST_PRECEDENCE: Final = 15
ANY_VALUE: Final = "*"
SAME_AS: Final = "="
PLACE: Final = "#"


class Source(Settings):
    """Where a field's value can be found: one attribute, a place in its JSON, or a family of numbered attributes."""

    key: OptionalKey = ""
    """Attribute key, exact."""
    path: Path = ""
    """Where in the attribute's JSON the value is: names and list positions, with dots between; "." is all of it."""
    indexed: Family = ""
    """Instead of a key: `llm.input_messages` stands for `llm.input_messages.0.message.role` and its like, put together
    to a list."""
    legacy: bool = False
    """True: any convention's current spelling comes first."""
    first: bool = False
    """True: comes before OTel GenAI's own attributes; for a dialect that knows better than what it puts there."""
    scoped: bool = False
    """True: counts only on spans of the convention's own scopes; for names that others use too."""
    when: dict[Key, str] = {}
    """Counts only on spans whose attributes have these values; for one attribute that means several things. `*` is any
    value, `=x` that of the attribute x."""
    whole: bool = False
    """True: what lies at the path is all that the attribute says, which then need not stay in metadata."""
    json_texts: bool = False
    """True: the value is a text, or a list of texts, that are JSON once more and are to be opened; so is Python's own
    spelling of a list or dict."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.key) == bool(self.indexed):
            raise ValueError("a source names either a key or a prefix of indexed attributes")
        odd = sorted(self.model_fields_set & _WITH_A_KEY) if self.indexed else []
        if odd:
            raise ValueError(f"`{odd[0]}` goes with a key, not with a prefix of indexed attributes")
        return self


_WITH_A_KEY: Final = {"path", "when", "whole", "json_texts"}


def _plain_key(value: object) -> object:
    return {"key": value} if isinstance(value, str) else value


def _only(place: str, *properties: str) -> AfterValidator:
    """Refuses what the engine does not look at in this place."""

    def check(source: Source) -> Source:
        odd = sorted(source.model_fields_set - {*properties})
        if odd:
            raise ValueError(f"`{odd[0]}` does not go with {place}, which take {', '.join(properties)}")
        return source

    return AfterValidator(check)


_Source = Annotated[Source, BeforeValidator(_plain_key, json_schema_input_type=str | Source)]
Sources = Annotated[tuple[_Source, ...], Field(max_length=MOST_SOURCES)]
ResourceSources = Annotated[
    tuple[Annotated[_Source, _only("resource fields", "key", "legacy", "first")], ...], Field(max_length=MOST_SOURCES)
]
Objects = Annotated[
    tuple[Annotated[_Source, _only("objects", "key", "path", "scoped", "when")], ...], Field(max_length=MOST_SOURCES)
]


class Recognition(Settings):
    """How a span of the dialect is known."""

    scopes: Scopes = ()
    """Names of instrumentation scopes; one that ends in `*` stands for all that begin so."""
    attribute_prefixes: Names = ()
    """A span with an attribute under one of them speaks the dialect."""
    last: bool = False
    """True: only when no other dialect is spoken, as for the common ground of many."""


class Parameters(Settings):
    """What goes to model_parameters."""

    prefixes: Names = ()
    """The rest of the key names the parameter."""
    keys: dict[Key, Key] = {}
    """Key → name of the parameter."""
    own_keys: dict[Key, Key] = {}
    """The same on spans of the convention's own scopes only; texts that are JSON are opened."""
    values: dict[Key, Sources] = {}
    """Name of a parameter → where it is found, for what has neither a key nor an object of its own."""
    objects: Objects = ()
    """JSON objects of parameters."""
    names: dict[Key, str] = {}
    """Member of such an object → name of the parameter; empty for what is none because a field shows it."""


class Entries(Settings):
    """Key-value pairs that the application set, under a prefix or as one JSON object."""

    prefixes: Names = ()
    """The rest of the key names the entry."""
    json_texts: bool = False
    """True: an entry under a prefix that is a JSON string is the text in it."""
    objects: Objects = ()
    """JSON objects of entries."""


class Usage(Settings):
    """How the dialect counts: lists of providers; `*` is all, `model:*x*` those of the models named so."""

    input_without_cache: Names = ()
    """Providers (`*`: all) for whom spans of the dialect's scopes send input_tokens without the cached ones."""
    total_without_cache: Names = ()
    """Providers (`*`: all) for whom they send total_tokens without them as well."""
    output_without_reasoning: Names = ()
    """Providers (`*`: all) for whom spans of the dialect's scopes send output_tokens without the reasoning ones."""


class MessageEvent(Settings):
    """A span event that is one message."""

    side: Literal["input", "output"]
    """Which half it belongs to."""
    role: Literal["system", "user", "assistant", "tool"]
    """Role when the event says none."""


class Convention(Settings):
    """One dialect. Every field of an observation is resolved on its own over all conventions present.

    A source's place is decided by (legacy, first, the convention's precedence, its position in the list).
    """

    name: Name
    """As shown in the column `convention`."""
    title: Key
    """For people."""
    precedence: Annotated[int, Field(ge=0, lt=LEGACY_PRECEDENCE)]
    """Smaller comes first; 10 what the user said explicitly, 20 OTel GenAI, 30 frameworks, 50 general."""
    type_precedence: Annotated[int, Field(ge=0, lt=LEGACY_PRECEDENCE)] | None = None
    """The same for `types` and `span_types`; precedence when absent."""
    recognise: Recognition = Recognition()
    """How a span of the dialect is known."""
    types: Annotated[dict[Key, dict[str, ObservationType]], Field(max_length=MOST_SOURCES)] = {}
    """Attribute key → its values → observation type; the first rule that knows the value decides. `*` is any value,
    `*x` one that ends so and `x*` one that begins so; letter case and JSON quotes around a value do not matter. A key
    with `#` and a path names a place in the attribute's JSON."""
    span_types: Annotated[dict[Key, ObservationType], Field(max_length=MOST_ENTRIES)] = {}
    """Span name → observation type, on spans of the dialect's scopes; a name that ends in `*` stands for all that
    begin so, one that starts with `*` for all that end so. They decide before `types` do."""
    fields: dict[FieldName, Sources] = {}
    """Field → where it is found, best first."""
    resource_fields: dict[FieldName, ResourceSources] = {}
    """The same for resource attributes, by plain key; a span's own attribute beats them."""
    parameters: Parameters = Parameters()
    """What goes to model_parameters."""
    metadata: Entries = Entries()
    """Entries of the observation's metadata that are shown without their prefix."""
    trace_metadata: Entries = Entries()
    """Entries of the trace's metadata."""
    provider_names: Annotated[dict[LowerName, Key], Field(max_length=MOST_ENTRIES)] = {}
    """Provider as sent, in lower case → its name in the semantic conventions."""
    usage: Usage = Usage()
    """How the dialect counts."""
    ignored: dict[Key, str] = {}
    """Attribute key → value that says nothing on spans that speak the dialect, such as `resp_*`: it fills no field and
    decides no type."""
    json_in_texts: bool = False
    """True: on spans of the dialect's scopes, a message's text that is JSON of messages or parts is those."""
    lifted_events: Names = ()
    """Names of span events whose attributes count as the span's own."""
    message_events: dict[Key, MessageEvent] = {}
    """Names of span events that are one message each."""
    first_token_events: Names = ()
    """Names of span events whose time is that of the first token."""
    score_events: Names = ()
    """Names of span events that are evaluation results."""

    @model_validator(mode="after")
    def _all_of_it_can_apply(self) -> Self:
        fault = next(faults(self), "")
        if fault:
            raise ValueError(fault)
        return self


def faults(convention: Convention) -> Iterator[str]:
    """What a convention says that could never apply, with the cure."""
    known = convention.recognise
    if not known.scopes:
        for place_of_it in _owned(convention):
            yield f"{place_of_it} counts on spans of the convention's own scopes only: name them in recognise::scopes"
    if convention.ignored and not (known.scopes or known.attribute_prefixes):
        yield "ignored counts on spans of the convention only: say in recognise how they are known"
    fields: dict[str, str] = {}
    for name, sources in convention.fields.items():
        for key in (source.key for source in sources if source.model_fields_set <= {"key", "legacy", "first"}):
            if fields.setdefault(key, name) != name:
                yield f"{key} fills {fields[key]} already; write {{key: {key}, path: .}} to fill {name} with it too"


def _owned(convention: Convention) -> Iterator[str]:
    """What counts on spans of the convention's own scopes only."""
    yield from (name for name in ("span_types", "usage", "json_in_texts") if name in convention.model_fields_set)
    sections = {"fields": convention.fields, "parameters::values": convention.parameters.values}
    for section in ("parameters", "metadata", "trace_metadata"):
        sections[section] = {"objects": getattr(convention, section).objects}
    for section, sources_of in sections.items():
        yield from (f"{section}::{name}" for name, found in sources_of.items() if any(each.scoped for each in found))
    if convention.parameters.own_keys:
        yield "parameters::own_keys"


def place(convention: Convention, source: Source) -> int:
    """Where a source stands among those of all conventions, smaller first; a legacy one after every current one."""
    own = min(convention.precedence, FIRST_PRECEDENCE) if source.first else convention.precedence
    return own + LEGACY_PRECEDENCE * source.legacy


def load_conventions() -> tuple[Convention, ...]:
    """All conventions of this package, by precedence."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    texts = [file.read_text("utf-8") for file in files(__name__).iterdir() if file.name.endswith(".yaml")]
    return in_order([Convention.model_validate(yaml.load(text)) for text in texts])


def in_order(conventions: Iterable[Convention]) -> tuple[Convention, ...]:
    """By precedence, then name; of two with one name the later takes the earlier's place."""
    named = {convention.name: convention for convention in conventions}
    return tuple(sorted(named.values(), key=lambda convention: (convention.precedence, convention.name)))
