"""What each API's servers send, byte for byte as their documentation shows it, and what they are asked with.

Sources, by dialect:
    chat       https://platform.openai.com/docs/api-reference/chat-streaming,
               https://openrouter.ai/docs/use-cases/reasoning-tokens (`reasoning_details`)
    responses  https://platform.openai.com/docs/api-reference/responses-streaming,
               https://platform.openai.com/docs/guides/reasoning (summaries, encrypted items)
    messages   https://docs.claude.com/en/docs/build-with-claude/streaming,
               https://docs.claude.com/en/docs/build-with-claude/extended-thinking (redacted blocks),
               https://docs.claude.com/en/api/errors
    gemini     https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent,
               https://ai.google.dev/gemini-api/docs/thought-signatures,
               https://ai.google.dev/gemini-api/docs/troubleshooting (errors)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .replay import DONE, END, STREAM, Step, answer, part

if TYPE_CHECKING:
    from collections.abc import Callable


def named(**data: Any) -> bytes:
    """Write an event that has a name, which is its data's type too."""
    return part(f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode())


def unnamed(**data: Any) -> bytes:
    """Write an event of data only; Google ends lines as the web does."""
    return part(f"data: {json.dumps(data)}\r\n\r\n".encode())


# --- OpenAI chat completions


def chunk(text: str, finish: str | None = None, **delta: Any) -> bytes:
    """Write one chunk of sample 0."""
    choice = {"index": 0, "delta": {"content": text, **delta}, "logprobs": None, "finish_reason": finish}
    frame = {"id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-4o-mini"}
    return part(f"data: {json.dumps({**frame, 'choices': [choice]})}\n\n".encode())


CHAT_END = [
    chunk("", "stop"),
    part(
        b'data: {"id":"chatcmpl-123","object":"chat.completion.chunk","choices":[],'
        b'"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
    ),
    DONE,
    END,
]


# --- Anthropic Messages

MESSAGE_START = named(
    type="message_start",
    message={
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-opus-4-1-20250805",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
    },
)
PING = named(type="ping")
TEXT_START = named(type="content_block_start", index=0, content_block={"type": "text", "text": ""})


def text_delta(text: str, index: int = 0) -> bytes:
    """Write a piece of text."""
    return named(type="content_block_delta", index=index, delta={"type": "text_delta", "text": text})


def block_stop(index: int = 0) -> bytes:
    """End a block."""
    return named(type="content_block_stop", index=index)


def message_delta(reason: str = "end_turn", **usage: Any) -> bytes:
    """Say why the message ended, and what it cost."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return named(type="message_delta", delta=delta, usage={"output_tokens": 2, **usage})


MESSAGE_STOP = named(type="message_stop")
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


# --- OpenAI Responses


def response(status: str, **more: Any) -> dict[str, Any]:
    """Write the response that the first and last events carry."""
    return {
        "id": "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654",
        "object": "response",
        "created_at": 1741290958,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "gpt-5-mini",
        "output": [],
        "store": False,
        "usage": None,
        **more,
    }


RESPONSE_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 9,
}
CREATED = named(type="response.created", sequence_number=0, response=response("in_progress"))
IN_PROGRESS = named(type="response.in_progress", sequence_number=1, response=response("in_progress"))


def output_text(text: str) -> bytes:
    """Write a piece of text."""
    place = {"item_id": "msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654", "output_index": 0, "content_index": 0}
    return named(type="response.output_text.delta", **place, delta=text, logprobs=[])


def completed(**more: Any) -> bytes:
    """End a response."""
    return named(type="response.completed", response=response("completed", **{"usage": RESPONSE_USAGE, **more}))


# --- Google Gemini


def candidate(text: str, finish: str | None = None, index: int = 0, **part_of_it: Any) -> dict[str, Any]:
    """Write one candidate's piece."""
    found: dict[str, Any] = {"content": {"parts": [{"text": text, **part_of_it}], "role": "model"}, "index": index}
    return found | ({"finishReason": finish} if finish else {})


def gemini(*candidates: dict[str, Any], **usage: int) -> bytes:
    """Write one event."""
    counts = {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9, **usage}
    return unnamed(
        candidates=list(candidates), usageMetadata=counts, modelVersion="gemini-2.5-flash", responseId="mAitaLmkHPPlz7I"
    )


def google_error(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    """Write an error as all of Google's APIs do."""
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


# --- the same of each


@dataclass(frozen=True)
class Wire:
    """One API, for tests that hold for all.

    Attributes:
        name: of the dialect.
        begin: what comes before any text.
        piece: writes a piece of text.
        end: what follows the last piece: 7 tokens of prompt, 2 of answer.
        error: writes the body of an error of a status.
        overflow: what is said to a prompt that is too long, with status 400.
        busy: an event that says, inside a stream, that there is no room now.
        auth: the header that holds the key, and what stands before the key.
    """

    name: str
    begin: list[Step]
    piece: Callable[[str], bytes]
    end: list[Step]
    error: Callable[[int, str], dict[str, Any]]
    overflow: str
    busy: bytes
    auth: tuple[str, str]

    def good(self, text: str = "hello") -> list[Step]:
        """A whole, well-formed stream."""
        return [STREAM, *self.begin, self.piece(text), *self.end]

    def refused(self, status: str, message: str = "no", **headers: str) -> list[Step]:
        """An error instead of a stream."""
        return answer(status, json.dumps(self.error(int(status[:3]), message)).encode(), **headers)


def _openai_error(_status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "param": None, "code": None}}


_CLAUDE_TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}

CHAT = Wire(
    "chat",
    [chunk("", role="assistant")],
    chunk,
    list(CHAT_END),
    _openai_error,
    "This model's maximum context length is 8192 tokens.",
    part(b'data: {"error":{"code":503,"message":"loading the model"}}\n\n'),
    ("authorization", "Bearer "),
)
RESPONSES = Wire(
    "responses",
    [CREATED, IN_PROGRESS],
    output_text,
    [completed(), END],
    _openai_error,
    "Your input exceeds the context window of this model.",
    named(type="error", code="server_error", message="try again", param=None, sequence_number=2),
    ("authorization", "Bearer "),
)
MESSAGES = Wire(
    "messages",
    [MESSAGE_START, TEXT_START, PING],
    text_delta,
    [block_stop(), message_delta(), MESSAGE_STOP, END],
    lambda status, message: {
        "type": "error",
        "error": {"type": _CLAUDE_TYPES.get(status, "api_error"), "message": message},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    },
    "prompt is too long: 210000 tokens > 200000 maximum",
    named(**OVERLOADED),
    ("x-api-key", ""),
)
GEMINI = Wire(
    "gemini",
    [],
    lambda text: gemini(candidate(text)),
    [gemini(candidate("", "STOP")), END],
    lambda status, message: google_error(status, "INVALID_ARGUMENT", message),
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    unnamed(**google_error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")),
    ("x-goog-api-key", ""),
)
WIRES = [CHAT, RESPONSES, MESSAGES, GEMINI]
