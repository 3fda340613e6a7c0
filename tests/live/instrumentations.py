"""The instrumentations that run live, and where what they send differs from the truth."""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.live import conversation as said
from tests.live.truth import SCENARIOS, Facts, Provider, cost, facts

_NO_EMBEDDINGS: Final = tuple(scenario for scenario in SCENARIOS if scenario != "embeddings")


@dataclass(frozen=True, slots=True)
class Differs:
    """One aspect that an instrumentation sends otherwise, or not at all (None).

    Attributes:
        reason: why, so that a reader can tell it from a gap of ours.
        value: what the store shows instead; a release that mends it fails the test and takes the entry away.
    """

    reason: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """One application of tests/live/scripts.

    Attributes:
        script: its name.
        scope: whose calls are looked at; other scopes may report the same calls.
        differs: by `scenario.aspect`, or by aspect for all scenarios.
    """

    script: str
    scope: str
    provider: Provider = "openai"
    scenarios: tuple[str, ...] = SCENARIOS
    differs: dict[str, Differs] = field(default_factory=dict)

    def expected(self) -> Facts:
        """The truth, but for what differs; every entry of `differs` has to say something new."""
        truth = facts(self.provider, self.scenarios)
        for name, entry in self.differs.items():
            known = [key for key in truth if name in (key, key.partition(".")[2])]
            assert known, f"{self.script}: no such aspect: {name}"
            assert any(truth[key] != entry.value for key in known), f"{self.script}: {name} is the truth already"
            truth |= dict.fromkeys(known, entry.value)
        return truth


_NO_IDENTITY: Final = {
    "user": Differs("it has no attribute for the end user"),
    "session": Differs("it has no attribute for the session, and this client has no conversation id"),
}
_NO_CONTENT: Final = "the client records no content"
_ALSO_REPORTED: Final = Differs("the client's own span failed too, and errors are counted by observation", 2)
_NOT_IN_LANGFUSE: Final = {
    aspect: Differs("Langfuse's model of an observation has no field for it")
    for aspect in ("provider", "request_model", "response_id")
}
_ONE_TOO_MANY: Final = "it adds the output tokens of the first event of a stream to the sum in the last"
_RAN_BY_AGENT: Final = {
    "name": said.TOOL,
    "id": said.CALL_ID,
    "arguments": said.ARGUMENTS,
    "result": said.RESULT,
}

INSTRUMENTATIONS: Final = (
    Instrumentation("openinference_openai", "openinference.instrumentation.openai"),
    Instrumentation(
        "openinference_langchain",
        "openinference.instrumentation.langchain",
        scenarios=_NO_EMBEDDINGS,
        differs={
            "stream.model": Differs(
                "llm.model_name is the model asked for; the one that answered is in the dump of the output alone",
                [said.OPENAI_MODEL],
            ),
            "stream.response_id": Differs("LangChain puts an id of its own in its place when it streams"),
        },
    ),
    Instrumentation(
        "openllmetry_openai",
        "opentelemetry.instrumentation.openai.v1",
        differs={
            "session": Differs("only the Traceloop SDK sets association properties"),
            "stream.usage": Differs(
                "it leaves the reasoning tokens out when it streams",
                [{"input": 176, "input_cached_tokens": 1024, "output": 90, "total": 1290}],
            ),
        },
    ),
    Instrumentation(
        "openllmetry_anthropic",
        "opentelemetry.instrumentation.anthropic",
        "anthropic",
        _NO_EMBEDDINGS,
        {
            **_NO_IDENTITY,
            "stream.usage": Differs(
                _ONE_TOO_MANY,
                [{"input": 22, "input_cached_tokens": 2051, "input_cache_creation": 1187, "output": 41, "total": 3301}],
            ),
            "stream.output_tokens": Differs(_ONE_TOO_MANY, 41),
            "stream.cost": Differs(_ONE_TOO_MANY, cost("anthropic", "stream", extra_output=1)),
            "error.errors": _ALSO_REPORTED,
            "error.calls": Differs("its span and the client's are siblings, and a refused call has no response id", 2),
        },
    ),
    Instrumentation(
        "otel_openai",
        "opentelemetry.instrumentation.genai.openai",
        differs={**_NO_IDENTITY, "embeddings.input": Differs("it records no content of embeddings")},
    ),
    Instrumentation(
        "otel_anthropic",
        "opentelemetry.instrumentation.genai.anthropic",
        "anthropic",
        _NO_EMBEDDINGS,
        {**_NO_IDENTITY, "error.errors": _ALSO_REPORTED},
    ),
    Instrumentation(
        "anthropic_sdk",
        "com.anthropic.sdk.python",
        "anthropic",
        _NO_EMBEDDINGS,
        {
            **_NO_IDENTITY,
            "input": Differs(_NO_CONTENT),
            "output": Differs(_NO_CONTENT),
            "tool_calls": Differs(_NO_CONTENT),
            "tool_definitions": Differs(_NO_CONTENT),
            "error.status_message": Differs("it sends the kind of the error instead", ["rate_limit_error"]),
        },
    ),
    Instrumentation(
        "langfuse_openai",
        "langfuse-sdk",
        differs={
            **_NOT_IN_LANGFUSE,
            "stream.output": Differs("it sends the text alone when it streams", [said.ANSWER]),
        },
    ),
    Instrumentation(
        "pydantic_ai_agent",
        "pydantic-ai",
        scenarios=_NO_EMBEDDINGS,
        differs={
            "user": Differs("it has no attribute for the end user"),
            "tools.tools_run": Differs("it runs the tool itself", [_RAN_BY_AGENT]),
            "error.input": Differs("it writes the messages of a call when that has succeeded"),
            "error.errors": Differs("the agent's span failed too, and errors are counted by observation", 2),
        },
    ),
)
