"""What is sent to a server, what a profile says of it, and how a real one (llama.cpp's) takes it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.errors import ContextOverflow, NotAuthorised, TaskError
from scaffold.vocabulary.models import FREE, Prices
from scaffold_backends.http.dialects.chat import Chat, ChatOptions
from scaffold_backends.http.presets import http as connect_url
from scaffold_backends.http.presets import openai as connect

from .conftest import ask, gather, texts, usage
from .replay import DONE, END, STREAM, USAGE, Replay, Step, good, said

if TYPE_CHECKING:
    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Delta, Request

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for OpenAI, and no other base URL."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def body(request: Request, **options: Any) -> dict[str, Any]:
    """Give what a request looks like to a server."""

    async def inner() -> dict[str, Any]:
        async with Replay([good()]) as server:
            backend = connect_url(f"{server.url}#m", **options)
            await gather(backend, request)
            await backend.close()
            return server.requests[0][1]

    return asyncio.run(inner())


def test_every_part_of_a_request_is_sent() -> None:
    """Seed, stops, limits and a trailing assistant turn reach the server as they are."""
    sent = body(ask("hi", "Sure", seed=4, stop=("\n",), max_tokens=9, temperature=0.0), extra={"top_k": 3})
    assert sent["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Sure"}]
    assert (sent["seed"], sent["stop"], sent["max_tokens"], sent["temperature"]) == (4, ["\n"], 9, 0.0)
    assert (sent["model"], sent["top_k"], sent["stream_options"]) == ("m", 3, {"include_usage": True})


def test_a_schema_is_sent_in_strict_form() -> None:
    """Objects are closed and complete, which only narrows what was asked for; `schema: false` sends none."""
    sent = body(ask("hi", json_schema=SCHEMA))["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["additionalProperties"] is False
    assert sent["schema"]["required"] == ["name", "age"]
    assert "response_format" not in body(ask("hi", json_schema=SCHEMA), schema=False)


def test_a_schema_with_free_keys_is_not_strict() -> None:
    """Strict mode knows no maps, so such a schema is sent without it rather than changed."""
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    sent = body(ask("hi", json_schema=schema))["response_format"]["json_schema"]
    assert (sent["strict"], sent["schema"]) == (False, schema)


def test_a_schema_of_no_object_is_sent_only_to_servers_that_know_grammars() -> None:
    """OpenAI refuses the whole request for such a schema, so the prompt alone asks for the form there."""
    schema = {"type": "array", "items": {"type": "string"}}
    assert "response_format" not in body(ask("hi", json_schema=schema))
    sent = body(ask("hi", json_schema=schema), grammar="vllm")["response_format"]["json_schema"]
    assert sent["schema"] == schema


def test_choices_are_sent_only_to_servers_that_know_grammars() -> None:
    """OpenAI refuses the field, so a grammar is sent only if the task says that the server takes it."""
    assert "grammar" not in body(ask("hi", choices=("yes", "no")))
    assert body(ask("hi", choices=("yes", "no")), grammar=True)["grammar"] == 'root ::= "yes" | "no"'


def test_openai_reasoners_are_spoken_to_in_their_dialect() -> None:
    """OpenAI's reasoning models refuse temperature and stop texts, and name the limit differently."""
    request = ask("hi", stop=("x",))
    sent = {}
    for model in ("gpt-5-mini", "gpt-4o-mini"):
        sent[model] = Chat(model, ChatOptions(), official=True).body(request)
    assert not sent["gpt-5-mini"].keys() & {"temperature", "stop", "max_tokens"}
    assert sent["gpt-5-mini"]["max_completion_tokens"] == 512
    assert sent["gpt-4o-mini"].keys() >= {"temperature", "stop", "max_completion_tokens"}


def test_openai_takes_four_stop_texts_and_no_more() -> None:
    """Four are sent to OpenAI, and the others are found here; other servers get them all."""
    stops = ("1", "2", "3", "4", "END")
    official = Chat("gpt-4o-mini", ChatOptions(), official=True)
    request = ask("hi", stop=stops)
    assert official.body(request)["stop"] == ["1", "2", "3", "4"]
    assert body(request)["stop"] == list(stops)
    reader = official.reader(request, None)
    choice = {"index": 0, "delta": {"content": "one END two"}, "finish_reason": "length"}
    reader.read({"choices": [choice]})
    assert (reader.end().text, reader.end().finish) == ("one ", "stop")


@pytest.mark.parametrize("omit", [["stop"], []])
def test_stops_are_found_here_where_the_server_does_not(omit: list[str]) -> None:
    """Whether it is not told of them or does not heed them, a sample ends at one that comes in pieces."""

    async def inner() -> list[Delta]:
        stream: list[Step] = [
            STREAM,
            said("one E"),
            said("N"),
            said("D two"),
            said("", finish="length"),
            USAGE,
            DONE,
            END,
        ]
        async with Replay([stream]) as server:
            backend = connect_url(f"{server.url}#m", omit=omit)
            deltas = await gather(backend, ask("hi", stop=("END", "")))
            await backend.close()
            return deltas

    deltas = asyncio.run(inner())
    assert texts(deltas) == ["one "]
    assert deltas[-1].finish == "stop"
    assert usage(deltas).output == 2


def test_profiles_know_prices_and_context() -> None:
    """A listed model has its list price, an unlisted one none; our own server is free, as a guess."""
    profile = connect("gpt-5-mini").profile
    assert profile.prices == Prices(0.25, 2.0, cached=0.025)
    assert profile.context == 400_000
    assert (profile.reasoning, profile.guessed) == ("absent", ())
    assert connect("gpt-unheard-of-0").profile.prices is None
    own = connect_url("http://127.0.0.1:8000/v1#m", reasoning="full").profile
    assert (own.prices, own.guessed, own.reasoning) == (FREE, ("prices", "can"), "full")
    assert connect_url("https://llm.example.com/v1#m").profile.prices is None
    assert connect("x", prices={"input": 1, "output": 2}, context=9).profile.prices == Prices(1.0, 2.0)


def test_profiles_say_what_the_server_can() -> None:
    """Abilities follow the options; samples asked for one by one share nothing, so `n` is not among them."""
    assert connect("gpt-4o-mini").profile.can == {"schema", "seed", "n"}
    every = connect_url("http://localhost:1/v1", grammar=True, logprobs=True, n=False, schema=False).profile
    assert every.can == {"choices", "seed", "logprobs"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keyenv": "MY_KEY"}, "did you mean 'key_env'"),
        ({"atempts": 3}, "did you mean 'attempts'"),
        ({"attempts": 0}, "attempts"),
        ({"prices": {"input": 1}}, "prices.output"),
        ({"reasoning": "some"}, "reasoning"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    """An option that is not known, or whose value does not fit, is named, with the nearest known one."""
    with pytest.raises(TaskError, match=message):
        connect("gpt-5-mini", **options)


def test_wrong_addresses_are_refused() -> None:
    """What is no URL, and a missing model, are said at once; a password in a URL is never shown."""
    for url in ("localhost:8000", "ftp://host/v1", "http://", "http://h:99999/v1", "http://[::1"):
        with pytest.raises(TaskError, match="URL"):
            connect_url(url)
    with pytest.raises(TaskError, match="needs a model"):
        connect("")
    backend = connect_url("http://me:secret@127.0.0.1:9/v1#m", attempts=1)
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9") as caught:
        asyncio.run(gather(backend, ask("hi")))
    assert "secret" not in str(caught.value)


@pytest.fixture
def real(tiny_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A backend for llama.cpp's HTTP server."""
    url, secret = tiny_server
    monkeypatch.setenv("LLAMA_KEY", secret)
    return connect_url(f"{url}#tiny", key_env="LLAMA_KEY", grammar=True, logprobs=True)


def test_a_real_server_gives_samples_and_their_true_cost(real: Backend) -> None:
    """Two samples of one prompt: every token of both is counted, though llama.cpp counts one at a time."""
    deltas = asyncio.run(gather(real, ask("Say hi", n=2, max_tokens=5, temperature=1.0, seed=1)))
    assert all(texts(deltas))
    assert usage(deltas).output == 10
    assert usage(deltas).usd == 0.0
    assert all(delta.logprob < 0 for delta in deltas if delta.logprob is not None)
    assert sum(delta.logprob is not None for delta in deltas) >= 8


def test_a_real_server_goes_on_from_a_prefill_and_keeps_choices(real: Backend) -> None:
    """A trailing assistant turn is gone on from, and only the new text comes back."""
    deltas = asyncio.run(gather(real, ask("Count.", "1, 2, 3,", max_tokens=8, choices=(" 4, 5", " 9"))))
    assert texts(deltas)[0] in {" 4, 5", " 9"}


def test_a_real_server_keeps_a_schema(real: Backend) -> None:
    """An answer held to a schema is JSON that fits it."""
    schema = {"type": "object", "properties": {"happy": {"type": "boolean"}}}
    deltas = asyncio.run(gather(real, ask("Are you happy? Answer in JSON.", json_schema=schema, max_tokens=60)))
    assert isinstance(json.loads(texts(deltas)[0])["happy"], bool)


def test_a_real_server_refuses_long_prompts_and_wrong_keys(real: Backend, tiny_server: tuple[str, str]) -> None:
    """llama.cpp's refusals become our errors, with its numbers."""
    with pytest.raises(ContextOverflow, match=r"\d+ tokens.*512 tokens"):
        asyncio.run(gather(real, ask("word " * 600)))
    with pytest.raises(NotAuthorised, match="key_env"):
        asyncio.run(gather(connect_url(f"{tiny_server[0]}#m"), ask("hi")))
