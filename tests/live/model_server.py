"""A model provider on loopback: the chat completions and embeddings of OpenAI, the messages of Anthropic."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.live import conversation as said
from tests.live.conversation import Usage

Json = dict[str, Any]

_VECTOR: Final = [0.25, -0.5, 0.125, 0.0]
_CREATED: Final = 1_760_000_000


@dataclass(frozen=True, slots=True)
class ModelServer:
    """Where it listens, and the id of every answer it gave."""

    url: str
    answered: set[str] = field(default_factory=set)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server on a free port, until the end of the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as listening:
        listening.daemon_threads = True
        made = ModelServer(f"http://127.0.0.1:{listening.server_address[1]}")
        listening.answered = made.answered  # type: ignore[attr-defined] # the handler knows its server only
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield made
        listening.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0, so that the end of a stream is the end of its connection."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = {
            "/v1/chat/completions": self._chat,
            "/v1/embeddings": self._embeddings,
            "/v1/messages": self._messages,
        }
        if said.PROVOKING in json.dumps(body, ensure_ascii=False):
            error = {"message": said.FAILURE, "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
            self._reply({"type": "error", "error": error}, status=429)
        else:
            answers[self.path](body)

    def _chat(self, body: Json) -> None:
        completion = _completion(body, self._new_id("chatcmpl-"))
        if body.get("stream"):
            self._stream((None, chunk) for chunk in _completion_chunks(completion))
        else:
            self._reply(completion)

    def _embeddings(self, body: Json) -> None:
        tokens = said.OPENAI_USAGE["embeddings"].all_input
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        data = [{"object": "embedding", "index": 0, "embedding": _VECTOR}]
        self._reply({"object": "list", "model": body["model"], "data": data, "usage": usage})

    def _messages(self, body: Json) -> None:
        message = _message(body, self._new_id("msg_"))
        if body.get("stream"):
            self._stream((event["type"], event) for event in _message_events(message))
        else:
            self._reply(message)

    def _new_id(self, prefix: str) -> str:
        id_ = prefix + uuid.uuid4().hex
        self.server.answered.add(id_)  # type: ignore[attr-defined] # see model_server
        return id_

    def _reply(self, content: Json, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for name, data in events:
            text = data if isinstance(data, str) else json.dumps(data)
            self.wfile.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the output belongs to the tests."""


# --- OpenAI ---


def _completion(body: Json, id_: str) -> Json:
    kind = said.kind_of_answer(body)
    message: Json = {"role": "assistant", "content": None if kind == "tool call" else said.ANSWER, "refusal": None}
    if kind == "tool call":
        function = {"name": said.TOOL, "arguments": json.dumps(said.ARGUMENTS)}
        message["tool_calls"] = [{"id": said.CALL_ID, "type": "function", "function": function}]
    reason = "tool_calls" if kind == "tool call" else "stop"
    return {
        "id": id_,
        "object": "chat.completion",
        "created": _CREATED,
        "model": said.OPENAI_ANSWERING,
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": _openai_usage(said.OPENAI_USAGE[kind]),
    }


def _openai_usage(usage: Usage) -> Json:
    """Inclusive of what the details say."""
    return {
        "prompt_tokens": usage.all_input,
        "completion_tokens": usage.all_output,
        "total_tokens": usage.all_input + usage.all_output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def _completion_chunks(completion: Json) -> Iterator[Json | str]:
    """A letter each, then the reason, then the usage without a choice; text answers only."""
    chunk = {**completion, "object": "chat.completion.chunk", "usage": None}
    for position, letter in enumerate(completion["choices"][0]["message"]["content"]):
        role = {"role": "assistant"} if position == 0 else {}
        delta = {**role, "content": letter}
        yield {**chunk, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    yield {**chunk, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    yield {**chunk, "choices": [], "usage": completion["usage"]}
    yield "[DONE]"


# --- Anthropic ---


def _message(body: Json, id_: str) -> Json:
    kind = said.kind_of_answer(body)
    text = {"type": "text", "text": said.ANSWER}
    call = {"type": "tool_use", "id": said.CALL_ID, "name": said.TOOL, "input": said.ARGUMENTS}
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": said.ANTHROPIC_ANSWERING,
        "content": [call if kind == "tool call" else text],
        "stop_reason": "tool_use" if kind == "tool call" else "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(said.ANTHROPIC_USAGE[kind]),
    }


def _anthropic_usage(usage: Usage) -> Json:
    """Exclusive: input_tokens is what was neither read from nor written to the cache."""
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_creation, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.all_output,
        "service_tier": "standard",
    }


def _message_events(message: Json) -> Iterator[Json]:
    """A letter each; the final count of output comes last; text answers only."""
    at_start = {**message["usage"], "output_tokens": 1}
    begun = {**message, "content": [], "stop_reason": None, "usage": at_start}
    yield {"type": "message_start", "message": begun}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for letter in message["content"][0]["text"]:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": letter}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": message["usage"]["output_tokens"]},
    }
    yield {"type": "message_stop"}
