"""What becomes of a server's faults: bytes on a real socket, as such servers send them."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import gc
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.errors import (
    BackendUnavailable,
    BadRequest,
    BadResponse,
    BrokenOff,
    ContextOverflow,
    NotAuthorised,
    ScaffoldError,
)
from scaffold.vocabulary.models import Usage
from scaffold_backends.http.presets import http as connect_url
from scaffold_backends.http.presets import openai as connect

from .conftest import ask, gather, texts, usage
from .replay import DONE, END, STREAM, USAGE, Replay, Step, answer, event, good, part, said

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Delta

KEY = "sk-secret-of-the-test"


def run(*answers: list[Step], samples: int = 1, **options: Any) -> tuple[list[Delta], Replay]:
    """Ask a replaying server once."""

    async def inner() -> tuple[list[Delta], Replay]:
        async with Replay(list(answers)) as server:
            backend = connect_url(f"{server.url}#m", **{"backoff_s": 0.02, **options})
            try:
                return await gather(backend, ask("hi", n=samples, max_tokens=16)), server
            finally:
                await backend.close()

    return asyncio.run(inner())


def fails(error: type[ScaffoldError], *answers: list[Step], **options: Any) -> str:
    """Ask once, and give the message of the error that must come."""
    with pytest.raises(error) as caught:
        run(*answers, **options)
    assert type(caught.value) is error
    return str(caught.value)


def refused(status: str, message: str = "no", code: str = "", **headers: str) -> list[Step]:
    """Write an error as OpenAI does."""
    return answer(status, json.dumps({"error": {"message": message, "code": code, "type": code}}).encode(), **headers)


def test_retry_after_in_seconds_is_kept() -> None:
    """A 429 with Retry-After is asked again, and not before the time that the server asked for."""
    begin = time.monotonic()
    deltas, server = run(refused("429 Too Many Requests", Retry_After="1"), good())
    assert texts(deltas) == ["hello"]
    assert len(server.requests) == 2
    assert time.monotonic() - begin >= 1


def test_retry_after_as_a_date_is_kept() -> None:
    """A Retry-After that is an HTTP date is read as such."""
    date = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2), usegmt=True)
    begin = time.monotonic()
    run(refused("503 Service Unavailable", Retry_After=date), good())
    assert time.monotonic() - begin >= 0.9


def test_a_long_retry_after_is_not_waited_for() -> None:
    """A server that asks for more patience than there is gets no second request; the user is told."""
    begin = time.monotonic()
    message = fails(BackendUnavailable, refused("429 Too Many Requests", Retry_After="3600"))
    assert "3600 s" in message
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("status", ["408 Timeout", "500 Oops", "502 Bad Gateway", "503 Busy", "529 Overloaded"])
def test_passing_errors_are_asked_again(status: str) -> None:
    """An error that may pass is asked again."""
    deltas, server = run(refused(status), good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)


def test_attempts_are_bounded() -> None:
    """A server that only ever fails is asked as often as `attempts` says."""
    with pytest.raises(BackendUnavailable, match="after 3 attempts"):
        run(refused("500 Oops"), attempts=3)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("400 Bad Request", BadRequest),
        ("404 Not Found", BadRequest),
        ("422 Unprocessable", BadRequest),
        ("401 Unauthorized", NotAuthorised),
        ("403 Forbidden", NotAuthorised),
        ("307 Temporary Redirect", BadRequest),
    ],
)
def test_lasting_errors_are_not_asked_again(status: str, error: type[ScaffoldError]) -> None:
    """What will be refused again is not asked again: the good second answer stays unread."""
    fails(error, refused(status, "because", location="http://example.com/"), good())


def test_a_spent_quota_is_not_asked_again() -> None:
    """OpenAI sends 429 for an empty account too, which waiting does not fill."""
    message = fails(BackendUnavailable, refused("429 Too Many", "spent", "insufficient_quota"), good())
    assert "billing" in message
    said = "Your credit balance is too low to access the API."  # Anthropic's words, with status 400
    assert "billing" in fails(BackendUnavailable, refused("400 Bad Request", said, "invalid_request_error"), good())


def test_refused_key_names_the_variable_and_not_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key's message says where the key came from, and hides it even if the server does not."""
    monkeypatch.setenv("MY_KEY", KEY)
    message = fails(NotAuthorised, refused("401 Unauthorized", f"bad key {KEY}"), key_env="MY_KEY")
    assert "MY_KEY" in message
    assert KEY not in message


def test_no_key_leaves_for_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL out of a task file is not sent the user's OpenAI key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, server = run(good())
    assert "authorization" not in server.requests[0][0]


def test_missing_key_is_said_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key for OpenAI itself nothing is sent; the error names the variable to set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(NotAuthorised, match="OPENAI_API_KEY"):
        connect("gpt-5-mini")


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "request (3031 tokens) exceeds the available context size (512 tokens), try increasing it",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The decoder prompt (length 9000) is longer than the maximum model length of 4096",
        "The input (9000 tokens) is longer than the model's context length (4096 tokens).",
        "Input length (9000 tokens) exceeds the maximum allowed length (4096 tokens)",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
        "The prompt (total length 9000) is too long to fit into the model (context length 4096).",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens",
        "Trying to keep the first 6402 tokens, but the model is loaded with context length of only 4096 tokens",
    ],
)
def test_long_prompts_are_known_by_their_words(message: str) -> None:
    """Servers say in different words that the prompt is too long; each becomes a ContextOverflow."""
    assert message in fails(ContextOverflow, refused("400 Bad Request", message))


def test_long_prompts_are_known_by_their_code() -> None:
    """OpenAI's code for a prompt that is too long becomes a ContextOverflow."""
    fails(ContextOverflow, refused("400 Bad Request", "too much", "context_length_exceeded"))


@pytest.mark.parametrize(
    ("error", "option"),
    [
        ({"message": "Unsupported value: temperature", "param": "temperature"}, "omit: [temperature]"),
        ({"message": "It is not supported.", "param": "response_format"}, "schema: false"),
        ({"message": "n above 1 is not supported", "param": "n"}, "n: false"),
        (
            {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]}},
            "omit: [seed]",
        ),
        ({"message": "The model is not supported", "param": "model"}, ""),
        ({"message": "It is below 0", "param": "temperature"}, ""),
        ({"message": "It is not supported", "param": "messages.[0].content"}, ""),
        ({"message": "It is not supported", "detail": [{"loc": ["body", 3]}], "param": ["seed"]}, ""),
    ],
)
def test_a_field_that_a_server_does_not_take_is_told_with_its_option(error: dict[str, Any], option: str) -> None:
    """Models refuse a temperature, a seed, a schema: the option that leaves the field out is named."""
    body = json.dumps({"error": error}).encode()
    message = fails(BadRequest, answer("400 Bad Request", body), good())
    assert (f"Set option '{option}'" in message) if option else ("Set option" not in message)


def test_a_stream_cut_in_the_middle_is_not_asked_again() -> None:
    """Once text has been handed on, a lost connection breaks it off, and nothing is sent twice."""
    message = fails(BrokenOff, [STREAM, said("hel")], good())
    assert "cut" in message


def test_a_stream_that_ends_early_is_no_answer() -> None:
    """A stream that ends in good order before its sample did is not taken for a whole one."""
    fails(BadResponse, [STREAM, said("hel"), DONE, END])
    fails(BadResponse, [STREAM, said("hel"), END])


def test_samples_that_never_come_are_told_with_the_option() -> None:
    """A server that passes over `n` gives one sample where several were asked for."""
    assert "'n: false'" in fails(BadResponse, good(), samples=3)
    assert "'n: false'" not in fails(BadResponse, [STREAM, said("a"), DONE, END], samples=3)


def test_a_server_that_calls_each_piece_the_last_is_read_to_its_end() -> None:
    """What comes after a finish is part of the sample; where its end was passed on, the stream is no good."""
    pieces = [said("a", finish="stop"), said("b", finish="stop"), said("", finish="stop")]
    deltas, _ = run([STREAM, *pieces, USAGE, DONE, END])
    assert texts(deltas) == ["ab"]
    deltas, _ = run([STREAM, said("x", 1, "stop"), *pieces[:1], said("b", finish="length"), DONE, END], samples=2)
    assert texts(deltas) == ["ab", "x"]
    assert deltas[-1].finish == "length"
    fails(BadResponse, [STREAM, *pieces, said("x", 1, "stop"), DONE, END], samples=2)


@pytest.mark.parametrize(
    ("said_so", "finish"),
    [("eos_token", "stop"), ("STOP", "stop"), ("model_length", "length"), ("MAX_TOKENS", "length"), ("abort", "error")],
)
def test_servers_have_words_of_their_own_for_an_end(said_so: str, finish: str) -> None:
    """Such as text-generation-inference, Mistral, and proxies in front of Gemini."""
    deltas, _ = run([STREAM, said("a", finish=said_so), USAGE, DONE, END])
    assert deltas[-1].finish == finish


def test_content_in_parts_is_text_and_thinking() -> None:
    """As Mistral's models that think send it."""
    parts = [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "let "}], "closed": False}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "me see"}, {"type": "reference"}]}],
        [{"type": "text", "text": "4"}, {"type": "reference", "reference_ids": [1]}, {"type": "text"}],
    ]
    deltas, _ = run([STREAM, *(said(each) for each in parts), said("!", finish="stop"), USAGE, DONE, END])  # type: ignore[arg-type]
    assert texts(deltas) == ["4!"]
    assert "".join(delta.reasoning for delta in deltas) == "let me see"


def test_the_end_of_a_stream_may_have_spaces() -> None:
    """`[DONE]` is no JSON, however it is written out."""
    deltas, _ = run([STREAM, said("a", finish="stop"), part(b"data: [DONE] \n\n"), END])
    assert texts(deltas) == ["a"]


def test_a_connection_lost_before_the_first_event_is_asked_again() -> None:
    """Nothing had been handed on, so asking again is safe."""
    deltas, server = run([STREAM], [b""], good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 3)


def test_an_error_inside_a_stream_is_an_error() -> None:
    """Some servers answer 200 and send their error as an event."""
    overflow = event(error={"code": 400, "message": "too long", "type": "exceed_context_size_error"})
    fails(ContextOverflow, [STREAM, overflow, END])
    busy = event(error={"code": 503, "message": "loading the model"})
    plain = event(object="error", message="the engine is dead", type="InternalServerError", code=500)
    assert "the engine is dead" in fails(BackendUnavailable, [STREAM, plain, DONE, END], attempts=2)
    deltas, server = run([STREAM, busy, END], good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)
    fails(BrokenOff, [STREAM, said("hel"), busy, END], good())


def test_invalid_utf8_is_replaced() -> None:
    """Bytes that are no UTF-8, and lone surrogates, become U+FFFD; what stands around them is kept."""
    raw = b'data: {"choices":[{"index":0,"delta":{"content":"a\xff\xfeb \\ud83d c \\ud83d\\ude00"}}]}\n\n'
    deltas, _ = run([STREAM, part(raw), said("", finish="stop"), USAGE, DONE, END])
    assert texts(deltas) == ["a\ufffd\ufffdb \ufffd c \U0001f600"]
    assert "".join(texts(deltas)).encode()


@pytest.mark.parametrize("newlines", [True, False])
def test_an_endless_answer_is_broken_off(*, newlines: bool) -> None:
    """An answer of 10 MB to a request of 16 tokens is read to the limit only, in one line or in many."""
    piece = said("x" * 65_000) if newlines else part(b"x" * 65_000)
    message = fails(BadResponse, [STREAM, said("x"), *[piece] * 160, END])
    assert "more than 1081344 bytes" in message


def test_a_web_page_is_no_answer() -> None:
    """A web page, the usual answer of a wrong URL, is said to be one."""
    message = fails(BadResponse, answer("200 OK", b"<html>Welcome</html>", "text/html"))
    assert "text/html" in message
    assert "/v1" in message
    page = b"<HTML><style>h1 {color: red}</STYLE><script>let x\n</script><h1>Welcome</h1>"
    message = fails(BadRequest, answer("404 Not Found", page, "text/html"))
    assert "answered 404: Welcome. Check" in message


@pytest.mark.parametrize("data", [b"data: {not json\n\n", b"data: [1]\n\n", b'data: {"choices": 3}\n\n'])
def test_broken_events_are_bad_responses(data: bytes) -> None:
    """An event that is no JSON, or no chunk, is a BadResponse and not a crash."""
    fails(BadResponse, [STREAM, part(data), END])


def test_a_sample_nobody_asked_for_is_a_bad_response() -> None:
    """A chunk of a sample that was not asked for is refused."""
    fails(BadResponse, [STREAM, said("a", index=1), END])


def test_a_server_that_is_down() -> None:
    """A refused connection says the URL and what to do, after the bounded attempts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = connect_url(f"http://127.0.0.1:{port}/v1#m", attempts=2, backoff_s=0.01)
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{port}/v1 could not be reached in 2 attempts"):
        asyncio.run(gather(backend, ask("hi")))


def test_a_silent_server_is_not_waited_for_for_ever() -> None:
    """Silence before an answer ends after `read_s`, and in the middle of one too."""
    message = fails(BackendUnavailable, [10.0], read_s=0.2, attempts=2)
    assert "attempt" in message
    assert "'read_s'" in message
    assert "address" not in message
    message = fails(BrokenOff, [STREAM, said("a"), 10.0], read_s=0.2)
    assert "cut" in message
    assert "'read_s'" in message


def test_an_answer_that_trickles_ends_at_the_total() -> None:
    """A stream that never ends and is never silent ends after `total_s`."""
    begin = time.monotonic()
    trickle: list[Step] = [STREAM]
    for _ in range(2000):
        trickle += [said("a"), 0.05]
    assert "'total_s'" in fails(BrokenOff, trickle, total_s=0.5)
    assert 0.4 < time.monotonic() - begin < 60


def test_closing_the_iterator_closes_the_connection() -> None:
    """A reader that stops reading stops the server's work at once."""

    async def inner() -> None:
        async with Replay([[STREAM, said("a"), 30.0]]) as server:
            backend = connect_url(f"{server.url}#m")
            stream = backend.generate(ask("hi"))
            assert (await anext(stream)).text == "a"
            await stream.aclose()
            await asyncio.wait_for(server.gone.wait(), 60)
            await backend.close()

    asyncio.run(inner())


def test_connections_are_used_again() -> None:
    """Requests one after the other go over one connection."""

    async def inner() -> int:
        async with Replay([good()]) as server:
            backend = connect_url(f"{server.url}#m")
            for _ in range(3):
                await gather(backend, ask("hi"))
            await backend.close()
            await backend.close()
            return server.connections

    assert asyncio.run(inner()) == 1


def test_an_event_nested_without_end_is_a_bad_response() -> None:
    """What is nested too deeply to be read is the server's fault, wherever in an event it stands."""
    deep = b'{"a": ' * 100_000 + b"1" + b"}" * 100_000  # Python 3.14 reads what its stack holds
    data = b'{"choices": [{"index": 0, "delta": {"reasoning_details": [' + deep + b"]}}]}"
    assert "an event that is not JSON" in fails(BadResponse, [STREAM, part(b"data: " + data + b"\n\n"), END])


def test_one_backend_serves_several_event_loops() -> None:
    """A backend that nobody closes serves one event loop after another, and leaves no socket open behind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = connect_url(f"http://127.0.0.1:{port}/v1#m")

    async def inner() -> list[str]:
        async with Replay([good()], port=port):
            return texts(await gather(backend, ask("hi")))

    assert [asyncio.run(inner()) for _ in range(3)] == [["hello"]] * 3
    gc.collect()  # an open socket would warn now


def test_event_loops_of_two_threads_keep_to_their_own_connections() -> None:
    """A backend used by two event loops at the same time gives neither the other's connection."""

    async def inner() -> int:
        async with Replay([good()]) as server:
            backend = connect_url(f"{server.url}#m")

            async def elsewhere() -> list[str]:
                return texts(await gather(backend, ask("hi")))

            assert await elsewhere() == ["hello"]
            assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == ["hello"]
            assert await elsewhere() == ["hello"]
            await backend.close()
            return server.connections

    assert asyncio.run(inner()) == 2


def test_usage_that_is_not_told_is_a_guess_and_says_so() -> None:
    """Without a count from the server, tokens are guessed from the texts, and marked as guessed."""
    deltas, _ = run([STREAM, said("abcdefgh"), said("ijkl", finish="stop"), DONE, END])
    assert usage(deltas) == Usage(input=1, output=3, usd=0.0, guessed=True)


@pytest.mark.parametrize("counts", [{}, {"total_tokens": 9}, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_a_count_of_nothing_is_none(counts: dict[str, int]) -> None:
    """A budget is not kept by a server that says of every answer that it cost nothing."""
    stream: list[Step] = [STREAM, said("abcdefgh", finish="stop"), event(choices=[], usage=counts), DONE, END]
    deltas, _ = run(stream, prices={"input": 1_000_000, "output": 1_000_000})
    assert usage(deltas) == Usage(input=1, output=2, usd=3.0, guessed=True)


@pytest.mark.parametrize(
    ("counts", "counted"),
    [
        ({"prompt_tokens": 3.0, "completion_tokens": "5"}, Usage(input=3, output=5)),
        ({"prompt_tokens": "some", "completion_tokens": 5}, Usage(input=1, output=1, usd=0.0, guessed=True)),
        ([], Usage(input=1, output=1, usd=0.0, guessed=True)),
    ],
)
def test_a_count_of_another_form_does_not_spoil_the_answer(counts: Any, counted: Usage) -> None:
    """Whole numbers are read however they are written; what is none is as if nothing had been told."""
    deltas, _ = run([STREAM, said("a", finish="stop"), event(choices=[], usage=counts), DONE, END])
    assert (texts(deltas), usage(deltas)) == (["a"], counted)


@pytest.mark.parametrize("told", [{"message": {"role": "assistant", "content": "hello"}}, {"text": "hello"}])
def test_an_answer_that_is_in_no_delta_is_refused(told: dict[str, Any]) -> None:
    """It would read as an empty answer; beside what was streamed it says nothing new."""
    choice = {"index": 0, "finish_reason": "stop", **told}
    assert "its answer is in no `delta`" in fails(BadResponse, [STREAM, event(choices=[choice]), DONE, END])
    deltas, _ = run([STREAM, said("hello"), event(choices=[choice]), DONE, END])
    assert texts(deltas) == ["hello"]


def test_a_count_under_other_names_stands_and_is_not_taken_back() -> None:
    """Some servers count as Responses does, and some end with a count of nothing."""
    counts = [{"input_tokens": 11, "output_tokens": 5}, {"prompt_tokens": 0}, {}]
    events = [event(choices=[], usage=each) for each in counts]
    deltas, _ = run([STREAM, said("a", finish="stop"), *events, DONE, END])
    assert usage(deltas) == Usage(input=11, output=5)


def test_usage_is_what_the_server_counted() -> None:
    """Reasoning and cached tokens are told apart, and the price is that of the profile."""
    counts = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 400},
    }
    stream: list[Step] = [STREAM, said("a", finish="stop"), event(choices=[], usage=counts), DONE, END]
    deltas, _ = run(stream, prices={"input": 1, "output": 2})
    assert usage(deltas) == Usage(input=1000, output=500, reasoning=400, cached=600, usd=0.002)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart(name: str) -> None:
    """Both spellings of readable reasoning arrive as reasoning, not as text."""
    thought = event(choices=[{"index": 0, "delta": {name: "let me see"}}])
    deltas, _ = run([STREAM, thought, said("4", finish="stop"), USAGE, DONE, END])
    assert deltas[0].reasoning == "let me see"
    assert texts(deltas) == ["4"]


def test_samples_are_told_apart() -> None:
    """Interleaved chunks go to their samples; a filtered sample is cut, an unknown ending is an error."""
    chunks = [
        said("a", 0),
        said("b", 1),
        said("A", 0, "stop"),
        said("B", 1, "content_filter"),
        said("c", 2, "?"),
    ]
    deltas, server = run([STREAM, *chunks, USAGE, DONE, END], samples=3)
    assert texts(deltas) == ["aA", "bB", "c"]
    assert {delta.index: delta.finish for delta in deltas if delta.finish} == {
        0: "stop",
        1: "cut",
        2: "error",
    }
    assert server.requests[0][1]["n"] == 3


def test_a_server_without_n_is_asked_n_times() -> None:
    """With `n: false` every sample is a request of its own, renumbered; the usage is their sum."""
    deltas, server = run(good("x"), good("y"), good("z"), samples=3, n=False)
    assert sorted(texts(deltas)) == ["x", "y", "z"]
    assert [body.get("n") for _, body in server.requests] == [None] * 3
    assert usage(deltas) == Usage(input=21, output=6)


def test_the_first_error_ends_all_samples() -> None:
    """With `n: false` one refused sample fails the request, and the others' connections are closed."""

    async def inner() -> None:
        async with Replay([[STREAM, said("a"), 30.0], refused("400 Bad Request")]) as server:
            backend = connect_url(f"{server.url}#m", n=False)
            with pytest.raises(BadRequest):
                await asyncio.wait_for(gather(backend, ask("hi", n=2)), 60)
            await asyncio.wait_for(server.gone.wait(), 60)
            await backend.close()

    asyncio.run(inner())
