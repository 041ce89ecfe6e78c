"""OpenAI Responses: what is sent, and what is made of what comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from scaffold.errors import BackendUnavailable, BadRequest, BadResponse, ContextOverflow
from scaffold.registry import make_backend
from scaffold.vocabulary.models import Delta, Message, ReasoningBlock, Request, Usage
from scaffold_backends.http.dialects.responses import Responses, ResponsesOptions

from .conftest import ask, gather, texts, usage
from .replay import END, STREAM, Replay, Step
from .wire import CREATED, IN_PROGRESS, RESPONSE_USAGE, RESPONSES, completed, named, output_text, response

ITEM = {
    "id": "rs_6876cf02e0bc8192b74af0fb64b715ff06fa2fcced15a5ac",
    "type": "reasoning",
    "encrypted_content": "gAAAAABofPEcmLsVR9tmVNpBT_bW3iBQ",
    "summary": [
        {"type": "summary_text", "text": "**Considering arithmetic**"},
        {"type": "summary_text", "text": "**Checking**"},
    ],
}


def run(*answers: list[Step], request: Request | None = None, **options: Any) -> tuple[list[Delta], Replay]:
    """Ask a replaying server once."""

    async def inner() -> tuple[list[Delta], Replay]:
        async with Replay(list(answers)) as server:
            backend = make_backend(f"responses:{server.url}#m", {"backoff_s": 0.02, **options})
            try:
                return await gather(backend, request or ask("hi", max_tokens=16)), server
            finally:
                await backend.close()

    return asyncio.run(inner())


def body(request: Request, model: str = "gpt-5-mini", *, official: bool = True, **options: Any) -> dict[str, Any]:
    """Give what a request looks like to OpenAI."""
    return Responses(model, ResponsesOptions(**options), official=official).body(request)


def summary(text: str, part: int) -> bytes:
    """Write a piece of a summary."""
    place = {"item_id": ITEM["id"], "output_index": 0, "summary_index": part}
    return named(type="response.reasoning_summary_text.delta", **place, delta=text)


REASONED: list[Step] = [
    STREAM,
    CREATED,
    IN_PROGRESS,
    named(type="response.output_item.added", output_index=0, item={**ITEM, "summary": []}),
    summary("**Considering ", 0),
    summary("arithmetic**", 0),
    summary("**Checking**", 1),
    named(type="response.output_item.done", output_index=0, item=ITEM),
    named(type="response.output_item.added", output_index=1, item={"type": "message", "content": []}),
    output_text("12,"),
    output_text("231"),
    named(type="response.output_text.done", item_id="msg_1", output_index=1, content_index=0, text="12,231"),
    named(type="response.output_item.done", output_index=1, item={"type": "message", "content": []}),
    completed(usage={**RESPONSE_USAGE, "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 10}}),
    END,
]


def test_summaries_are_reasoning_and_their_item_is_kept() -> None:
    """A summary streams as reasoning, its parts apart; the item arrives once it is over, with what is encrypted."""
    deltas, _ = run(REASONED)
    assert texts(deltas) == ["12,231"]
    assert "".join(delta.reasoning for delta in deltas) == "**Considering arithmetic**\n\n**Checking**"
    (block,) = [delta.block for delta in deltas if delta.block]
    assert (block.kind, block.text) == ("summary", "**Considering arithmetic**\n\n**Checking**")
    assert json.loads(block.data) == ITEM
    assert usage(deltas) == Usage(input=7, output=12, reasoning=10, usd=0.0)


def test_encrypted_reasoning_without_a_summary_is_redacted() -> None:
    """An item of which nothing can be read is kept as redacted."""
    item = {**ITEM, "summary": []}
    done = named(type="response.output_item.done", output_index=0, item=item)
    deltas, _ = run([STREAM, CREATED, done, output_text("a"), completed(), END])
    assert [delta.block.kind for delta in deltas if delta.block] == ["redacted"]


def test_items_go_back_as_they_came() -> None:
    """On a next turn the reasoning item stands before the assistant's message, unchanged; others' are left out."""
    foreign = ReasoningBlock(kind="text", text="t", signature="of another API")
    deltas, _ = run(REASONED)
    turns = (
        Message("user", "27 * 453?"),
        Message("assistant", "12,231", (*(delta.block for delta in deltas if delta.block), foreign)),
        Message("user", "And twice that?"),
    )
    assert body(Request(messages=turns))["input"] == [
        {"role": "user", "content": "27 * 453?"},
        ITEM,
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "12,231", "annotations": []}],
        },
        {"role": "user", "content": "And twice that?"},
    ]


def test_nothing_is_kept_by_the_server() -> None:
    """`store` is false, and a reasoning model's reasoning is asked for in encrypted form; other models refuse that."""
    sent = body(ask("hi", max_tokens=9), effort="low", summary="auto")
    assert sent == {
        "model": "gpt-5-mini",
        "input": [{"role": "user", "content": "hi"}],
        "stream": True,
        "store": False,
        "max_output_tokens": 9,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    plain = body(ask("hi"), "gpt-4o-mini")
    assert (plain["store"], plain["temperature"]) == (False, 0.7)
    assert not plain.keys() & {"include", "reasoning"}
    assert "include" not in body(ask("hi"), "gpt-5", official=False)
    assert body(ask("hi"), "qwen3", official=False, encrypted=True)["include"] == ["reasoning.encrypted_content"]


def test_a_schema_is_kept_by_the_text_format() -> None:
    """Structured output goes under `text`, strictly; llama.cpp's server reads the field of chat completions only."""
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    asked = body(ask("hi", json_schema=schema))["text"]["format"]
    assert (asked["type"], asked["strict"], asked["schema"]["required"]) == ("json_schema", True, ["age"])
    assert "text" not in body(ask("hi", json_schema=schema), schema=False)
    assert "text" not in body(ask("hi", json_schema={"type": "array"}))  # refused by OpenAI
    local = body(ask("hi", json_schema=schema), "m", official=False, grammar=True)
    assert local["response_format"]["json_schema"]["schema"]["required"] == ["age"]
    assert body(ask("hi", choices=("a",)), "m", official=False, grammar=True)["grammar"] == 'root ::= "a"'


def test_log_probabilities_are_added_up() -> None:
    """With `logprobs` each piece has the sum of its tokens'."""
    scored = [{"token": "a", "logprob": -0.5, "top_logprobs": []}, {"token": "b", "logprob": -0.25}]
    piece = named(type="response.output_text.delta", item_id="m", delta="ab", logprobs=scored)
    deltas, server = run([STREAM, CREATED, piece, completed(), END], logprobs=True)
    assert deltas[0].logprob == -0.75
    assert server.requests[0][1]["include"] == ["message.output_text.logprobs"]


def test_endings_are_told_apart() -> None:
    """An incomplete response says why; one of a server that does not say is known by its tokens."""

    def finish(kind: str, **more: Any) -> str | None:
        last = named(type=f"response.{kind}", response=response(kind, usage=RESPONSE_USAGE, **more))
        return run([STREAM, CREATED, output_text("a"), last, END])[0][-1].finish

    assert finish("incomplete", incomplete_details={"reason": "max_output_tokens"}) == "length"
    assert finish("incomplete", incomplete_details={"reason": "content_filter"}) == "cut"
    assert finish("completed") == "stop"
    spent = completed(usage={**RESPONSE_USAGE, "output_tokens": 16})
    assert run([STREAM, CREATED, output_text("a"), spent, END])[0][-1].finish == "length"


def test_refusals_are_text() -> None:
    """What a model says instead of an answer is its answer, which then is not what was asked for."""
    piece = named(type="response.refusal.delta", item_id="m", delta="I'm sorry", output_index=0, content_index=0)
    assert texts(run([STREAM, CREATED, piece, completed(), END])[0]) == ["I'm sorry"]


def test_a_response_without_pieces_is_read_at_its_end() -> None:
    """A server that sends no pieces of text has said all in the last event."""
    said = [{"type": "message", "content": [{"type": "output_text", "text": "whole"}]}]
    assert texts(run([STREAM, CREATED, completed(output=said), END])[0]) == ["whole"]


def test_stop_texts_are_found_here() -> None:
    """The API has none: a sample ends at a stop text that comes in pieces, and its usage is known."""
    stream: list[Step] = [STREAM, CREATED, output_text("one E"), output_text("ND two"), completed(), END]
    deltas, server = run(stream, request=ask("hi", stop=("END",)))
    assert (texts(deltas), deltas[-1].finish) == (["one "], "stop")
    assert "stop" not in server.requests[0][1]


def test_a_response_that_fails() -> None:
    """An error of a failed response is what its code says, asked again where that can help and nothing was said yet."""

    def failed(code: str, message: str) -> bytes:
        error = {"code": code, "message": message}
        return named(type="response.failed", response=response("failed", error=error))

    deltas, server = run([STREAM, CREATED, failed("server_error", "oops"), END], RESPONSES.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)
    with pytest.raises(ContextOverflow):
        run([STREAM, CREATED, failed("context_length_exceeded", "too long"), END])
    with pytest.raises(BadResponse, match="oops"):
        run([STREAM, CREATED, output_text("a"), failed("server_error", "oops"), END])
    with pytest.raises(BadRequest):
        run([STREAM, CREATED, failed("invalid_prompt", "flagged"), END])
    with pytest.raises(BackendUnavailable, match="billing"):
        run([STREAM, CREATED, failed("insufficient_quota", "spent"), END])


def test_profiles_say_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's reasoning comes as a summary if one is asked for, else encrypted; other servers are guessed at."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    profile = make_backend("responses:gpt-5-mini", {}).profile
    assert (profile.backend, profile.reasoning, profile.guessed) == ("responses", "redacted", ())
    assert profile.can == {"schema"}
    assert make_backend("responses:gpt-5-mini", {"summary": "auto"}).profile.reasoning == "summary"
    assert make_backend("responses:gpt-4o-mini", {}).profile.reasoning == "absent"
    assert "reasoning" in make_backend("responses:http://localhost:1/v1#m", {}).profile.guessed
