"""Anthropic Messages: what is sent, and what is made of what comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from scaffold.errors import BadResponse, TaskError
from scaffold.registry import make_backend
from scaffold.vocabulary.models import Delta, Message, Prices, ReasoningBlock, Request, Usage
from scaffold_backends.http.dialects.messages import Messages, MessagesOptions

from .conftest import ask, gather, texts, usage
from .replay import END, STREAM, Replay, Step
from .wire import (
    MESSAGE_START,
    MESSAGE_STOP,
    MESSAGES,
    TEXT_START,
    block_stop,
    message_delta,
    named,
    text_delta,
)

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"
REDACTED = "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"


def run(
    *answers: list[Step], model: str = "m", request: Request | None = None, **options: Any
) -> tuple[list[Delta], Replay]:
    """Ask a replaying server once."""

    async def inner() -> tuple[list[Delta], Replay]:
        async with Replay(list(answers)) as server:
            backend = make_backend(f"anthropic:{server.url}#{model}", options)
            try:
                return await gather(backend, request or ask("hi", max_tokens=16)), server
            finally:
                await backend.close()

    return asyncio.run(inner())


def body(request: Request, model: str = "claude-sonnet-4-5", **options: Any) -> dict[str, Any]:
    """Give what a request looks like to Anthropic."""
    return Messages(model, MessagesOptions(**options), official=True).body(request)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[Step]:
    """Write a whole block."""
    pieces = [named(type="content_block_delta", index=index, delta=delta) for delta in deltas]
    return [named(type="content_block_start", index=index, content_block=start), *pieces, block_stop(index)]


THINKING = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Let me solve this step by step:\n\n"},
    {"type": "thinking_delta", "thinking": "1. First break down 27 * 453"},
    {"type": "signature_delta", "signature": SIGNATURE},
)
ANSWER = block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "27 * 453 = 12,231"})
REASONED: list[Step] = [
    STREAM,
    MESSAGE_START,
    *THINKING,
    *block(1, {"type": "redacted_thinking", "data": REDACTED}),
    *ANSWER,
    message_delta(),
    MESSAGE_STOP,
    END,
]


def test_thinking_is_reasoning_and_its_blocks_are_kept() -> None:
    """Thinking streams as reasoning; each block arrives once it is over, the signature and what is redacted in it."""
    deltas, _ = run(REASONED)
    assert texts(deltas) == ["27 * 453 = 12,231"]
    thought = "Let me solve this step by step:\n\n1. First break down 27 * 453"
    assert "".join(delta.reasoning for delta in deltas) == thought
    assert [delta.block for delta in deltas if delta.block] == [
        ReasoningBlock(kind="text", text=thought, signature=SIGNATURE),
        ReasoningBlock(kind="redacted", data=REDACTED),
    ]


def test_claude_shows_a_summary_since_version_4() -> None:
    """What Claude models since 4 show of their thinking is a summary; version 3.7 shows all of it."""
    for model, kind in [("claude-sonnet-4-5", "summary"), ("claude-3-7-sonnet-20250219", "text")]:
        deltas, _ = run(REASONED, model=model)
        assert next(delta.block.kind for delta in deltas if delta.block) == kind


def test_thinking_that_is_not_shown_is_redacted() -> None:
    """With `display: omitted` only a signature comes: the block is kept, and cannot be read."""
    hidden = block(0, {"type": "thinking", "thinking": ""}, {"type": "signature_delta", "signature": SIGNATURE})
    deltas, _ = run([STREAM, MESSAGE_START, *hidden, *ANSWER, message_delta(), MESSAGE_STOP, END])
    assert [delta.block for delta in deltas if delta.block] == [ReasoningBlock(kind="redacted", signature=SIGNATURE)]


def test_blocks_go_back_as_they_came() -> None:
    """On a next turn the assistant's blocks stand before its text, unchanged; those of other APIs are left out."""
    deltas, _ = run(REASONED)
    foreign = ReasoningBlock(kind="summary", text="s", data='{"type":"reasoning"}')
    signed = ReasoningBlock(kind="redacted", signature="sig", data="gemini")
    turns = (
        Message("user", "27 * 453?"),
        Message("assistant", texts(deltas)[0], (*(delta.block for delta in deltas if delta.block), foreign, signed)),
        Message("user", "And twice that?"),
    )
    assert body(Request(messages=turns))["messages"][1] == {
        "role": "assistant",
        "content": [
            {
                "type": "thinking",
                "thinking": "Let me solve this step by step:\n\n1. First break down 27 * 453",
                "signature": SIGNATURE,
            },
            {"type": "redacted_thinking", "data": REDACTED},
            {"type": "text", "text": "27 * 453 = 12,231"},
        ],
    }


def test_a_request_is_written_as_the_api_wants_it() -> None:
    """The system's words go apart, a prefill loses its trailing white space, a temperature is at most 1; no seed."""
    turns = (Message("system", "Be brief."), Message("user", "hi"), Message("assistant", "Sure: "))
    sent = body(Request(messages=turns, temperature=1.5, stop=("END",), seed=3, max_tokens=9))
    assert sent == {
        "model": "claude-sonnet-4-5",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Sure:"}]},
        ],
        "stream": True,
        "max_tokens": 9,
        "temperature": 1.0,
        "stop_sequences": ["END"],
    }
    _, server = run(MESSAGES.good())
    headers = server.requests[0][0]
    assert headers["anthropic-version"] == "2023-06-01"
    assert server.paths == ["/v1/messages"]


def test_a_stop_text_of_white_space_is_found_here() -> None:
    """The API refuses one: it is not sent, and ends the sample all the same."""
    stream = [*MESSAGES.good("one")[:-4], text_delta(" END\ntwo"), *MESSAGES.end]
    deltas, server = run(stream, request=ask("hi", stop=("\n", "STOP")))
    assert texts(deltas) == ["one END"]
    assert server.requests[0][1]["stop_sequences"] == ["STOP"]


def test_samples_cannot_be_asked_for_together() -> None:
    """The API has no n, and an option that says otherwise is refused."""
    with pytest.raises(TaskError, match="n"):
        make_backend("anthropic:http://127.0.0.1:1/v1#m", {"n": True})


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-haiku-20241022", True),
        ("claude-sonnet-4-20250514", True),
        ("claude-opus-4-6", True),
        ("claude-opus-4-7", False),
        ("claude-sonnet-5", False),
        ("anthropic/claude-opus-4.6", True),
        ("qwen3", True),
    ],
)
def test_a_temperature_is_sent_to_those_that_take_one(model: str, *, takes: bool) -> None:
    """Claude models since Opus 4.7 answer 400 to a temperature."""
    assert ("temperature" in body(ask("hi"), model)) is takes


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 2}, "age": {"type": "integer", "maximum": 150}},
}


def test_a_schema_is_kept_by_structured_outputs() -> None:
    """The native way, without a tool: objects closed and complete, without the keywords that it refuses."""
    sent = body(ask("hi", json_schema=SCHEMA), effort="low")
    assert sent["output_config"] == {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                "additionalProperties": False,
                "required": ["name", "age"],
            },
        },
    }
    assert "tools" not in sent


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        ("claude-sonnet-4-20250514", SCHEMA),
        ("claude-sonnet-4-5", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("claude-sonnet-4-5", {"type": "array", "items": {"type": "string"}}),
    ],
)
def test_a_schema_that_cannot_be_kept_is_asked_for(model: str, schema: dict[str, Any]) -> None:
    """An older model, or a schema that structured outputs do not know, gets the schema in words."""
    sent = body(ask("hi", json_schema=schema), model)
    assert "output_config" not in sent
    assert json.dumps(schema) in sent["system"][-1]["text"]
    assert "system" not in body(ask("hi", json_schema=schema), model, schema=False)
    assert Messages(model, MessagesOptions(), official=True).can == ({"schema"} if "4-5" in model else frozenset())


def test_thinking_is_asked_for() -> None:
    """Adaptive thinking, or a budget that leaves room for an answer; a temperature goes with neither."""
    adaptive = body(ask("hi"), "claude-opus-4-8", thinking={"display": "summarized"}, effort="high")
    assert adaptive["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert adaptive["output_config"] == {"effort": "high"}
    budget = {"type": "enabled", "budget_tokens": 4000}
    sent = body(ask("hi", max_tokens=8000), thinking=budget)
    assert sent["thinking"] == budget
    assert "temperature" not in sent
    assert body(ask("hi", max_tokens=3000), thinking=budget)["thinking"]["budget_tokens"] == 2744
    small = body(ask("hi", max_tokens=512), thinking=budget)
    assert (small["thinking"], small["temperature"]) == ({"type": "disabled"}, 0.7)
    with pytest.raises(TaskError, match="1024"):
        make_backend("anthropic:http://127.0.0.1:1/v1#m", {"thinking": {"budget_tokens": 3}})


def test_usage_counts_what_the_cache_held() -> None:
    """The API counts cached tokens apart; here they are part of the prompt, and each is paid for at its own price."""
    start = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 1000,
        "output_tokens": 1,
    }
    begin = named(type="message_start", message={"type": "message", "usage": start})
    end = message_delta(output_tokens=50, output_tokens_details={"thinking_tokens": 30})
    stream: list[Step] = [STREAM, begin, *ANSWER, end, MESSAGE_STOP, END]
    deltas, _ = run(stream, prices={"input": 1, "output": 2, "cached": 0.1})
    assert usage(deltas).usd == pytest.approx((10 + 200 + 1000 * 0.1 + 50 * 2) / 1e6)
    assert usage(deltas) == Usage(input=1210, output=50, reasoning=30, cached=1000, usd=usage(deltas).usd)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "cut"),
        ("tool_use", "error"),
    ],
)
def test_endings_are_told_apart(reason: str, finish: str) -> None:
    """Each reason to stop is one of ours."""
    deltas, _ = run([STREAM, MESSAGE_START, TEXT_START, text_delta("a"), message_delta(reason), MESSAGE_STOP, END])
    assert deltas[-1].finish == finish


def test_a_message_may_end_without_its_last_event() -> None:
    """Where the reason for the end was told and the stream ends in good order, proxies leave out `message_stop`."""
    begun: list[Step] = [STREAM, MESSAGE_START, TEXT_START, text_delta("hello"), block_stop()]
    deltas, _ = run([*begun, message_delta("max_tokens"), END])
    assert (texts(deltas), deltas[-1].finish, usage(deltas).output) == (["hello"], "length", 2)
    with pytest.raises(BadResponse):
        run([*begun, END])
    with pytest.raises(BadResponse):
        run([*begun, message_delta()])


def test_profiles_say_what_claude_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary where thinking is on, nothing where it is off; for a model that may think by itself that is a guess."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-0")
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    quiet = make_backend("anthropic:claude-sonnet-4-5", {}).profile
    assert (quiet.reasoning, quiet.guessed, quiet.context) == ("absent", ("reasoning",), 200_000)
    assert quiet.prices is not None
    assert quiet.prices.cached is not None
    assert quiet.prices.cached < quiet.prices.input
    shown = make_backend("anthropic:claude-sonnet-4-5", {"thinking": {"type": "adaptive"}}).profile
    assert (shown.reasoning, shown.guessed) == ("summary", ())
    hidden = make_backend("anthropic:claude-opus-4-7", {"thinking": {"display": "omitted"}}).profile
    assert hidden.reasoning == "redacted"
    assert make_backend("anthropic:claude-3-7-sonnet-latest", {"thinking": {}}).profile.reasoning == "full"
    assert "n" not in quiet.can
    elsewhere = make_backend("anthropic:http://127.0.0.1:1/v1#m", {}).profile
    assert elsewhere.guessed == ("prices", "reasoning", "can")


def test_samples_of_one_prompt_share_the_cache() -> None:
    """With `cache` the prompt is marked, and the other samples are sent only once the first is being answered."""

    async def inner() -> None:
        slow: list[Step] = [0.3, *MESSAGES.good("first")]
        async with Replay([slow, MESSAGES.good("other")]) as server:
            backend = make_backend(f"anthropic:{server.url}#m", {"cache": True})
            request = Request(messages=(Message("system", "s"), Message("user", "hi")), n=3)
            asking = asyncio.ensure_future(gather(backend, request))
            while not server.requests:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0)
            await asyncio.sleep(0.1)  # by the same loop as the server's pause, so it is over before that is
            assert len(server.requests) == 1
            assert sorted(texts(await asking)) == ["first", "other", "other"]
            marked = server.requests[0][1]["messages"][0]["content"][0]
            assert marked["cache_control"] == {"type": "ephemeral"}
            assert len(server.requests) == 3
            await backend.close()

    asyncio.run(inner())


def test_a_first_that_fails_holds_nobody_up() -> None:
    """When the request that would have written the cache is refused, those that waited for it are sent."""

    async def inner() -> None:
        async with Replay([MESSAGES.refused("400 Bad Request"), MESSAGES.good()]) as server:
            backend = make_backend(f"anthropic:{server.url}#m", {"cache": True})
            both = [gather(backend, ask("hi")) for _ in range(2)]
            first, second = await asyncio.wait_for(asyncio.gather(*both, return_exceptions=True), 60)
            assert isinstance(first, Exception)
            assert isinstance(second, list)
            await backend.close()

    asyncio.run(inner())


def test_budgets_reckon_with_the_price_of_writing_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `cache` a prompt may cost a quarter more, and the profile's price says so."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-0")
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    prices = [make_backend("anthropic:claude-haiku-4-5", {"cache": cache}).profile.prices for cache in (False, True)]
    assert isinstance(prices[0], Prices)
    assert isinstance(prices[1], Prices)
    assert prices[1].input == pytest.approx(1.25 * prices[0].input)
