"""Requests of a known shape: small, chat (~2.3 KB) and large (~20 KB) spans, made from a seed."""

import random
import time
from typing import Final

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SHAPES: Final = ("small", "chat", "large")
_PROMPT_WORDS: Final = {"chat": 160, "large": 2600}
_ANSWER_WORDS: Final = {"chat": 70, "large": 700, "agent": 40}
_MODELS: Final = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash")


class Generator:
    """Makes requests whose ids never repeat within one generator; equal seeds give equal requests."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        self._words = ["".join(self._random.choices(letters, k=self._random.randint(2, 9))) for _ in range(4000)]
        self._history: list[dict[str, object]] = []
        instructions = self._text(400)
        self._instructions = {"role": "system", "parts": [{"type": "text", "content": instructions}]}

    def request(self, shape: str, spans: int) -> bytes:
        """One serialized export request of `spans` spans, eight to a trace."""
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.extend(
            [_text("service.name", "checkout-assistant"), _text("deployment.environment.name", "production")]
        )
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.name = "opentelemetry.instrumentation.openai_v2"
        scope_spans.scope.version = "2.3b0"
        for index in range(spans):
            if index % 8 == 0:
                trace_id, parent_id = self._random.randbytes(16), b""
                self._history.clear()
            span = self._span(shape, trace_id, parent_id)
            parent_id = parent_id or span.span_id
            scope_spans.spans.append(span)
        return request.SerializeToString()

    def _span(self, shape: str, trace_id: bytes, parent_id: bytes) -> Span:
        start = time.time_ns() - self._random.randrange(10**9)
        span = Span(
            trace_id=trace_id,
            span_id=self._random.randbytes(8),
            parent_span_id=parent_id,
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=start,
            end_time_unix_nano=start + self._random.randrange(10**8, 10**9),
        )
        if shape == "small":
            span.name = "retrieve"
            span.attributes.extend([_text("gen_ai.operation.name", "retrieval"), _int("top_k", 5)])
        else:
            self._add_chat(span, shape)
        return span

    def _add_chat(self, span: Span, shape: str) -> None:
        model = self._random.choice(_MODELS)
        tokens_in, tokens_out = self._random.randrange(100, 3000), self._random.randrange(10, 500)
        answer = self._text(_ANSWER_WORDS[shape])
        asked = self._conversation(answer) if shape == "agent" else _messages("user", self._text(_PROMPT_WORDS[shape]))
        span.name = f"chat {model}"
        span.attributes.extend(
            [
                _text("gen_ai.operation.name", "chat"),
                _text("gen_ai.provider.name", "openai"),
                _text("gen_ai.request.model", model),
                _text("gen_ai.response.model", f"{model}-2025-07-18"),
                _text("gen_ai.response.id", f"chatcmpl-{self._random.randbytes(12).hex()}"),
                _int("gen_ai.usage.input_tokens", tokens_in),
                _int("gen_ai.usage.output_tokens", tokens_out),
                _int("gen_ai.usage.cache_read.input_tokens", tokens_in // 2),
                KeyValue(key="gen_ai.request.temperature", value=AnyValue(double_value=0.7)),
                _int("gen_ai.request.max_tokens", 1024),
                _text("gen_ai.conversation.id", f"session-{self._random.randrange(5000)}"),
                _text("user.id", f"user-{self._random.randrange(2000)}"),
                _text("server.address", "api.openai.com"),
                _int("server.port", 443),
                _text("app.feature", "checkout"),
                KeyValue(
                    key="gen_ai.response.finish_reasons",
                    value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="stop")])),
                ),
                _text("gen_ai.input.messages", asked),
                _text("gen_ai.output.messages", _messages("assistant", answer)),
            ]
        )

    def _conversation(self, answer: str) -> str:
        """What an agent sends again with every step: its instructions, and all that was said so far."""
        self._history.append({"role": "user", "parts": [{"type": "text", "content": self._text(30)}]})
        asked = orjson.dumps([self._instructions, *self._history]).decode()
        self._history.append({"role": "assistant", "parts": [{"type": "text", "content": answer}]})
        return asked

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(self._words, k=words))


def _messages(role: str, text: str) -> str:
    return orjson.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}]).decode()


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _int(key: str, value: int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value))
