"""The same conversation on the clients of two providers. Runs in the environment of the applications."""

from typing import Any

from tests.live import conversation as said
from tests.live.conversation import Scenario

_ATTEMPTS: Any = {"max_retries": 0}
"""One span for one failed call: retries are the client's own business."""


def talk_to_openai(scenario: Scenario) -> None:
    """Every scenario on the OpenAI client, which reads address and key from the environment."""
    import openai

    talk_with_openai_client(openai.OpenAI(**_ATTEMPTS), scenario, openai.RateLimitError)


def talk_with_openai_client(client: Any, scenario: Scenario, refusal: type[Exception]) -> None:
    asked = [{"role": "system", "content": said.SYSTEM}, {"role": "user", "content": said.QUESTION}]
    known = {"model": said.OPENAI_MODEL, "user": said.USER}
    with scenario("chat"):
        client.chat.completions.create(**known, messages=asked)
    with scenario("stream"):
        stream = client.chat.completions.create(
            **known, messages=asked, stream=True, stream_options={"include_usage": True}
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == said.ANSWER
    with scenario("tools"):
        first = client.chat.completions.create(**known, messages=asked, tools=said.OPENAI_TOOLS)
        call = first.choices[0].message.model_dump(exclude_none=True)
        result = {"role": "tool", "tool_call_id": said.CALL_ID, "content": said.RESULT}
        client.chat.completions.create(**known, messages=[*asked, call, result], tools=said.OPENAI_TOOLS)
    with scenario("embeddings"):
        client.embeddings.create(
            model=said.EMBEDDING_MODEL, input=said.QUESTION, user=said.USER, encoding_format="float"
        )
    with scenario("error"):
        _expect(refusal, lambda: client.chat.completions.create(**known, messages=_provoking()))


def talk_to_anthropic(scenario: Scenario) -> None:
    """Every scenario but embeddings, which Anthropic has none of."""
    import anthropic

    _anthropic_conversation(anthropic.Anthropic(**_ATTEMPTS), scenario, anthropic.RateLimitError)


def _anthropic_conversation(client: Any, scenario: Scenario, refusal: type[Exception]) -> None:
    asked = [{"role": "user", "content": said.QUESTION}]
    model = {"model": said.ANTHROPIC_MODEL, "max_tokens": 500, "metadata": {"user_id": said.USER}}
    known = {**model, "system": said.SYSTEM}
    with scenario("chat"):
        client.messages.create(**known, messages=asked)
    with scenario("stream"):
        events = client.messages.create(**known, messages=asked, stream=True)
        texts = [event.delta.text for event in events if event.type == "content_block_delta"]
        assert "".join(texts) == said.ANSWER
    with scenario("tools"):
        first = client.messages.create(**known, messages=asked, tools=said.ANTHROPIC_TOOLS)
        call = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]}
        result = {"type": "tool_result", "tool_use_id": said.CALL_ID, "content": said.RESULT}
        told = [*asked, call, {"role": "user", "content": [result]}]
        client.messages.create(**known, messages=told, tools=said.ANTHROPIC_TOOLS)
    with scenario("error"):
        _expect(refusal, lambda: client.messages.create(**model, messages=_provoking()))


def _provoking() -> list[dict[str, str]]:
    return [{"role": "user", "content": said.PROVOKING}]


def _expect(refusal: type[Exception], call: Any) -> None:
    try:
        call()
    except refusal:
        return
    raise AssertionError("the model server did not refuse")
