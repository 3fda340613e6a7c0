"""What the store has to show of the conversation, by `scenario.aspect`: the same for every instrumentation."""

from decimal import Decimal
from typing import Any, Final, Literal

import genai_prices

from tests.live import conversation as said
from tests.live.conversation import Usage

Provider = Literal["openai", "anthropic"]
Facts = dict[str, Any]
"""By `scenario.aspect`; an empty value is None. Aspects of calls are lists, an item per call."""

SCENARIOS: Final = ("chat", "stream", "tools", "embeddings", "error")

_KINDS: Final = {
    "chat": ["answer"],
    "stream": ["answer"],
    "tools": ["tool call", "answer to result"],
    "embeddings": ["embeddings"],
    "error": [],
}
_CALL: Final = {"id": said.CALL_ID, "name": said.TOOL, "arguments": said.ARGUMENTS}
_USAGES: Final = {"openai": said.OPENAI_USAGE, "anthropic": said.ANTHROPIC_USAGE}
_MODELS: Final = {
    "openai": (said.OPENAI_MODEL, said.OPENAI_ANSWERING),
    "anthropic": (said.ANTHROPIC_MODEL, said.ANTHROPIC_ANSWERING),
}


def facts(provider: Provider, scenarios: tuple[str, ...]) -> Facts:
    """All that holds of these scenarios on the client of a provider."""
    return {
        f"{scenario}.{aspect}": plain(value)
        for scenario in scenarios
        for aspect, value in {**_calls(provider, scenario), **_trace(provider, scenario)}.items()
    }


def plain(value: Any) -> Any:
    """None for what is empty, and for a list of nothing else."""
    is_empty = not any(value) if isinstance(value, list) else not value
    return None if is_empty else value


def _calls(provider: Provider, scenario: str) -> Facts:
    count = len(_KINDS[scenario]) or 1
    asked, answering = (said.EMBEDDING_MODEL,) * 2 if scenario == "embeddings" else _MODELS[provider]
    failed = scenario == "error"
    return {
        "type": ["EMBEDDING" if scenario == "embeddings" else "GENERATION"] * count,
        "provider": [provider] * count,
        "request_model": [asked] * count,
        "model": [asked if failed else answering] * count,
        "response_id": None if failed or scenario == "embeddings" else ["as answered"] * count,
        "usage": [_buckets(usage) for usage in _used(provider, scenario)],
        "level": ["ERROR" if failed else "DEFAULT"] * count,
        "status_message": [said.FAILURE] if failed else None,
        **_content(scenario),
    }


def _content(scenario: str) -> Facts:
    """Messages, and what is found in them."""
    if scenario == "embeddings":
        return {"input": [said.QUESTION]}
    if scenario == "error":
        return {"input": [[_text("user", said.PROVOKING)]], "output": None}
    asked = [_text("system", said.SYSTEM), _text("user", said.QUESTION)]
    answer = _text("assistant", said.ANSWER)
    if scenario != "tools":
        return {"input": [asked], "output": [[answer]], "tool_calls": None}
    call = {"role": "assistant", "parts": [{"type": "tool_call", **_CALL}]}
    told = {"type": "tool_call_response", "id": said.CALL_ID, "response": said.RESULT}
    return {
        "input": [asked, [*asked, call, {"role": "tool", "parts": [told]}]],
        "output": [[call], [answer]],
        "tool_calls": [[_CALL], None],
        "tool_definitions": [[said.TOOL]] * 2,
    }


def _text(role: str, text: str) -> Facts:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _trace(provider: Provider, scenario: str) -> Facts:
    """Sums and identity; tools that ran are none, since only agents run them."""
    used = _used(provider, scenario)
    return {
        "calls": len(used) or 1,
        "errors": 1 if scenario == "error" else 0,
        "input_tokens": sum(usage.all_input for usage in used),
        "output_tokens": sum(usage.all_output for usage in used),
        "cost": cost(provider, scenario),
        "user": said.USER,
        "session": said.SESSION,
        "tools_run": None,
    }


def cost(provider: Provider, scenario: str, *, extra_output: int = 0) -> str | None:
    """US dollars of a scenario, from the same price list as the service's, and of output tokens more in each call."""
    model = said.EMBEDDING_MODEL if scenario == "embeddings" else _MODELS[provider][1]
    prices = [_price(provider, model, usage, extra_output) for usage in _used(provider, scenario)]
    return dollars(sum(prices)) if prices else None


def dollars(amount: Decimal | int) -> str:
    """Without zeros at the end; text, so that a cost of 0 is not taken for none."""
    return f"{Decimal(amount).normalize():f}"


def _price(provider: Provider, model: str, usage: Usage, extra_output: int) -> Decimal:
    tokens = genai_prices.Usage(
        input_tokens=usage.all_input,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_creation,
        output_tokens=usage.all_output + extra_output,
    )
    return genai_prices.calc_price(tokens, model, provider_id=provider).total_price


def _used(provider: Provider, scenario: str) -> list[Usage]:
    return [_USAGES[provider][kind] for kind in _KINDS[scenario]]


def _buckets(usage: Usage) -> dict[str, int]:
    buckets = {
        "input": usage.input,
        "input_cached_tokens": usage.cached,
        "input_cache_creation": usage.cache_creation,
        "output": usage.output,
        "output_reasoning_tokens": usage.reasoning,
        "total": usage.all_input + usage.all_output,
    }
    return {name: count for name, count in buckets.items() if count}
