"""What an agent does, step by step, in the words of the OpenTelemetry GenAI conventions; not yet spans, no clock.

https://opentelemetry.io/docs/specs/semconv/gen-ai/: messages, tools and results are JSON in attributes, tokens are
inclusive of what was cached or spent on reasoning.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

AttributeValue = str | bool | int | float | Sequence[str]
Message = dict[str, Any]

_CHARS_PER_TOKEN: Final = 4
_CACHE_BLOCK_TOKENS: Final = 128  # providers cache whole blocks of a prompt


@dataclass(frozen=True, slots=True)
class Event:
    """A span event; `at` is the share of the step's duration after which it happens."""

    name: str
    attributes: Mapping[str, AttributeValue]
    at: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """A span to be: its children run one after the other, `seconds` is what it needs besides them."""

    name: str
    seconds: float
    attributes: Mapping[str, AttributeValue]
    children: tuple["Step", ...] = ()
    events: tuple[Event, ...] = ()
    error: str = ""
    is_remote: bool = False
    """Whether it calls another service (span kind CLIENT)."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its prices in US dollars per million tokens, and its pace."""

    provider: str
    name: str
    answers_as: str
    input_price: float
    cached_price: float
    output_price: float
    tokens_per_second: float
    reasons: bool = False


@dataclass(slots=True)
class Conversation:
    """What a model was told so far; grows with every step."""

    model: Model
    system: str
    tools: Sequence[Message]
    rng: Random
    messages: list[Message] = field(default_factory=list)
    cached_tokens: int = 0

    def say(self, role: str, *parts: Message) -> None:
        """Add a message."""
        self.messages.append({"role": role, "parts": list(parts)})


def text(content: str) -> Message:
    """A part that is text."""
    return {"type": "text", "content": content}


def tool_call(rng: Random, name: str, **arguments: Any) -> Message:
    """A part in which a model asks for a tool."""
    return {"type": "tool_call", "id": f"call_{rng.getrandbits(64):016x}", "name": name, "arguments": arguments}


def tool_response(call_id: str, response: Any) -> Message:
    """A part with what a tool answered."""
    return {"type": "tool_call_response", "id": call_id, "response": response}


def chat(conversation: Conversation, *answer: Message, streamed: bool = False) -> Step:
    """A model call over all that was said so far; its answer becomes part of the conversation."""
    model, rng = conversation.model, conversation.rng
    finish_reason = "tool_call" if any(part["type"] == "tool_call" for part in answer) else "stop"
    output = [{"role": "assistant", "parts": list(answer), "finish_reason": finish_reason}]
    usage = _usage(conversation, output)
    seconds = rng.uniform(0.25, 0.9) + usage["gen_ai.usage.output_tokens"] / model.tokens_per_second
    attributes: dict[str, AttributeValue] = {
        **_model_call("chat", model, rng),
        **usage,
        **_prompt(conversation),
        "gen_ai.usage.cost": _cost(model, usage),
        "gen_ai.response.finish_reasons": [finish_reason],
        "gen_ai.output.messages": _json(output),
    }
    if streamed:
        attributes["gen_ai.request.stream"] = True
        attributes["gen_ai.response.time_to_first_chunk"] = round(rng.uniform(0.15, 0.4) * seconds, 3)
    conversation.say("assistant", *answer)
    return Step(f"chat {model.name}", seconds, attributes, is_remote=True)


def _prompt(conversation: Conversation) -> dict[str, AttributeValue]:
    prompt: dict[str, AttributeValue] = {
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 2048,
        "gen_ai.system_instructions": _json([text(conversation.system)]),
        "gen_ai.input.messages": _json(conversation.messages),
    }
    if conversation.tools:
        prompt["gen_ai.tool.definitions"] = _json(conversation.tools)
    return prompt


def _usage(conversation: Conversation, output: list[Message]) -> dict[str, int]:
    """Tokens that fit the texts; what was said in the call before is cached."""
    prompt = _json([conversation.system, conversation.tools, conversation.messages])
    input_tokens, output_tokens = (len(each) // _CHARS_PER_TOKEN for each in (prompt, _json(output)))
    reasoning = conversation.rng.randrange(40, 400) if conversation.model.reasons else 0
    cached = min(conversation.cached_tokens, input_tokens)
    conversation.cached_tokens = input_tokens // _CACHE_BLOCK_TOKENS * _CACHE_BLOCK_TOKENS
    usage = {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens + reasoning}
    if cached:
        usage["gen_ai.usage.cache_read.input_tokens"] = cached
    if reasoning:
        usage["gen_ai.usage.reasoning.output_tokens"] = reasoning
    return usage


def _cost(model: Model, usage: Mapping[str, int]) -> float:
    cached = usage.get("gen_ai.usage.cache_read.input_tokens", 0)
    uncached = usage["gen_ai.usage.input_tokens"] - cached
    output = usage["gen_ai.usage.output_tokens"]
    return round((uncached * model.input_price + cached * model.cached_price + output * model.output_price) / 1e6, 9)


def rate_limited(conversation: Conversation) -> Step:
    """A model call that the provider refuses."""
    message = f"Rate limit reached for {conversation.model.name}: please try again in 1.2 s."
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": conversation.model.provider,
        "gen_ai.request.model": conversation.model.name,
        "gen_ai.input.messages": _json(conversation.messages),
        "error.type": "RateLimitError",
        "http.response.status_code": 429,
    }
    events = (_exception("RateLimitError", message),)
    name = f"chat {conversation.model.name}"
    return Step(name, conversation.rng.uniform(0.1, 0.3), attributes, events=events, error=message, is_remote=True)


def tool(
    conversation: Conversation, call: Message, result: Any, *, seconds: float, children: tuple[Step, ...] = ()
) -> Step:
    """A tool that answers; the answer becomes part of the conversation."""
    conversation.say("tool", tool_response(call["id"], result))
    attributes = {**_tool_attributes(call), "gen_ai.tool.call.result": _json(result)}
    return Step(f"execute_tool {call['name']}", seconds, attributes, children)


def failing_tool(call: Message, error_type: str, message: str, *, seconds: float) -> Step:
    """A tool that raises."""
    attributes = {**_tool_attributes(call), "error.type": error_type}
    name = f"execute_tool {call['name']}"
    return Step(name, seconds, attributes, events=(_exception(error_type, message),), error=message)


def _tool_attributes(call: Message) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call["name"],
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call["id"],
        "gen_ai.tool.call.arguments": _json(call["arguments"]),
    }


def search_tool(conversation: Conversation, call: Message, source: str, documents: Sequence[Message]) -> Step:
    """A tool that answers with what a retrieval found."""
    steps = retrieval(source, call["arguments"]["query"], documents, conversation.rng)
    return tool(conversation, call, documents, seconds=0.004, children=steps)


def retrieval(source: str, query: str, documents: Sequence[Message], rng: Random) -> tuple[Step, Step, Step]:
    """Embed the query, search a collection of documents, put the best on top."""
    return _embed(query, rng), _search(source, query, documents, rng), _rerank(query, documents, rng)


def _embed(query: str, rng: Random) -> Step:
    tokens = len(query) // _CHARS_PER_TOKEN
    attributes = {
        **_model_call("embeddings", EMBEDDER, rng),
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.cost": round(tokens * EMBEDDER.input_price / 1e6, 9),
        "gen_ai.embeddings.dimension.count": 1536,
    }
    return Step(f"embeddings {EMBEDDER.name}", rng.uniform(0.03, 0.12), attributes, is_remote=True)


def _search(source: str, query: str, documents: Sequence[Message], rng: Random) -> Step:
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": source,
        "gen_ai.request.top_k": len(documents),
        "gen_ai.retrieval.query.text": query,
        "gen_ai.retrieval.documents": _json(documents),
    }
    return Step(f"retrieval {source}", rng.uniform(0.01, 0.06), attributes, is_remote=True)


def _rerank(query: str, documents: Sequence[Message], rng: Random) -> Step:
    attributes = {
        **_model_call("rerank", RERANKER, rng),
        "gen_ai.usage.input_tokens": len(_json(documents)) // _CHARS_PER_TOKEN,
        "gen_ai.retrieval.query.text": query,
        "gen_ai.retrieval.documents": _json(sorted(documents, key=lambda document: -float(document["score"]))[:2]),
    }
    return Step(f"rerank {RERANKER.name}", rng.uniform(0.05, 0.2), attributes, is_remote=True)


EMBEDDER: Final = Model("openai", "text-embedding-3-small", "text-embedding-3-small", 0.02, 0.02, 0, 1)
RERANKER: Final = Model("cohere", "rerank-v3.5", "rerank-v3.5", 0, 0, 0, 1)


def _model_call(operation: str, model: Model, rng: Random) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": model.provider,
        "gen_ai.request.model": model.name,
        "gen_ai.response.model": model.answers_as,
        "gen_ai.response.id": f"resp_{rng.getrandbits(96):024x}",
    }


def agent(name: str, question: str, answer: str, steps: Sequence[Step], *events: Event) -> Step:
    """A run that ends with an answer."""
    output = [{"role": "assistant", "parts": [text(answer)], "finish_reason": "stop"}]
    attributes = {**_agent_attributes(name, question), "gen_ai.output.messages": _json(output)}
    return Step(f"invoke_agent {name}", 0.01, attributes, tuple(steps), events)


def failed_agent(name: str, question: str, steps: Sequence[Step]) -> Step:
    """A run that ends with the error of its last step."""
    attributes = {**_agent_attributes(name, question), "error.type": "AgentError"}
    return Step(f"invoke_agent {name}", 0.01, attributes, tuple(steps), error=f"the run stopped: {steps[-1].error}")


def _agent_attributes(name: str, question: str) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": name,
        "gen_ai.input.messages": _json([{"role": "user", "parts": [text(question)]}]),
    }


def evaluation(name: str, value: float, label: str, explanation: str) -> Event:
    """A judgement about a step."""
    return Event(
        "gen_ai.evaluation.result",
        {
            "gen_ai.evaluation.name": name,
            "gen_ai.evaluation.score.value": value,
            "gen_ai.evaluation.score.label": label,
            "gen_ai.evaluation.explanation": explanation,
        },
    )


def _exception(error_type: str, message: str) -> Event:
    stack = f'Traceback (most recent call last):\n  File "agent/client.py", line 88, in call\n{error_type}: {message}\n'
    attributes = {"exception.type": error_type, "exception.message": message, "exception.stacktrace": stack}
    return Event("exception", attributes)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
