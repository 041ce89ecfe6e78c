"""What becomes of faults, in every dialect: bytes on a real socket."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import time
import zlib
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from scaffold import Budget, Scaffold, Task
from scaffold.errors import (
    BackendUnavailable,
    BadRequest,
    BadResponse,
    BrokenOff,
    ContextOverflow,
    NotAuthorised,
    ScaffoldError,
)
from scaffold.registry import make_backend
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Usage

from .conftest import ask, gather, texts, usage
from .replay import DONE, END, STREAM, Replay, Step, answer, part
from .wire import CHAT, GEMINI, MESSAGES, WIRES, Wire, google_error

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.vocabulary.models import Delta

KEY = "sK-secret-of-the-test"

every = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


def run(wire: Wire, *answers: list[Step], **options: Any) -> tuple[list[Delta], Replay]:
    """Ask a replaying server once."""

    async def inner() -> tuple[list[Delta], Replay]:
        async with Replay(list(answers)) as server:
            backend = make_backend(f"{server.url}#m", {"dialect": wire.name, "backoff_s": 0.02, **options})
            try:
                return await gather(backend, ask("hi", max_tokens=16)), server
            finally:
                await backend.close()

    return asyncio.run(inner())


def fails(error: type[ScaffoldError], wire: Wire, *answers: list[Step], **options: Any) -> str:
    """Ask once, and give the message of the error that must come."""
    with pytest.raises(error) as caught:
        run(wire, *answers, **options)
    assert type(caught.value) is error
    return str(caught.value)


@every
def test_a_good_answer_is_read(wire: Wire) -> None:
    """Text, ending and usage arrive, with the price of our own server."""
    deltas, server = run(wire, wire.good("hello"))
    assert texts(deltas) == ["hello"]
    assert deltas[-1].finish == "stop"
    assert usage(deltas) == Usage(input=7, output=2, usd=0.0)
    assert len(server.requests) == 1


@every
def test_a_server_that_is_down(wire: Wire) -> None:
    """A refused connection says the URL and what to do, after the bounded attempts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"dialect": wire.name, "attempts": 2, "backoff_s": 0.01}
    backend = make_backend(f"http://127.0.0.1:{port}/v1#m", options)
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{port}/v1 could not be reached in 2 attempts") as caught:
        asyncio.run(gather(backend, ask("hi")))
    assert not caught.value.reached


def test_waiting_for_a_server_that_is_down_costs_nothing(tmp_path: Path) -> None:
    """However often a run is resumed: nothing was begun, so the budget is whole; one that hangs up is paid."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    down = {"use": f"http://127.0.0.1:{port}/v1#m", "attempts": 2, "backoff_s": 0.01}
    task = Task(prompt="hi", budget=Budget(tokens=2000))

    def agent(said: Any) -> Scaffold:
        return Scaffold("direct", backends={"default": said}, journal=FileJournal(tmp_path), monitors=[])

    for said in (down, {"use": "fallback", "backends": [down, down]}):
        outcome = agent(said).solve_sync(task)
        for _ in range(3):
            assert (outcome.status, outcome.usage["model"].tokens) == ("unavailable", 0)
            outcome = agent(said).resume_sync(outcome.run)

    async def refused(status: str) -> int:
        async with Replay([CHAT.refused(status)]) as server:
            outcome = await agent({**down, "use": f"{server.url}#m"}).solve(task)
            assert outcome.status == "unavailable"
            return outcome.usage["model"].tokens

    for status in ("429 Too Many Requests", "401 Unauthorized", "402 Payment Required"):
        assert asyncio.run(refused(status)) == 0
    assert asyncio.run(refused("504 Gateway Timeout")) > 0  # who knows what stands behind it
    with socket.create_server(("127.0.0.1", 0)) as hasty:
        told: list[int] = []

        def hang_up() -> None:
            for _ in range(2):
                connection, _address = hasty.accept()
                told.append(len(connection.recv(100)))
                connection.close()

        thread = Thread(target=hang_up)
        thread.start()
        said = {**down, "use": f"http://127.0.0.1:{hasty.getsockname()[1]}/v1#m"}
        outcome = agent(said).solve_sync(task)
        thread.join()
    assert told[0]
    assert (outcome.status, outcome.usage["model"].tokens > 0) == ("unavailable", True)


@every
def test_a_key_echoed_by_a_server_is_shown_nowhere(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key's message names its variable; the key is in no message, no cause, no repr, though it was sent."""
    monkeypatch.setenv("MY_KEY", KEY)
    echoes: list[list[Step]] = [
        wire.refused("401 Unauthorized", f"bad key {KEY}"),
        wire.refused("400 Bad Request", f"bad key {KEY}"),
        wire.refused("500 Oops", f"bad key {KEY}"),
        [STREAM, part(f"data: {{{KEY}\n\n".encode()), END],
        [STREAM, part(b'data: {"error": {"message": "' + KEY.encode() + b'"}}\n\n'), END],
        answer("200 OK", KEY.encode(), "text/plain"),
        [STREAM, part(b"data: " + b"x" * 190 + KEY.encode() + b"\n\n"), END],
        [f"HTTP/1.1 200 OK\r\nContent-Type: {KEY}\r\nContent-Length: 0\r\n\r\n".encode()],
        [f"HTTP/1.1 {KEY}\r\n\r\n".encode()],
    ]
    for echo in echoes:

        async def inner(echo: list[Step] = echo) -> Replay:
            async with Replay([echo]) as server:
                options = {"dialect": wire.name, "key_env": "MY_KEY", "attempts": 1}
                backend = make_backend(f"{server.url}#m", options)
                with pytest.raises(ScaffoldError) as caught:
                    await gather(backend, ask("hi"))
                error: BaseException | None = caught.value
                while error is not None:
                    assert KEY[:4].lower() not in f"{error} {error!r} {vars(error)}".lower()
                    assert not hasattr(error, "request")
                    error = error.__cause__ or error.__context__
                assert KEY not in f"{vars(backend)} {vars(getattr(backend, '_inner', backend))} {backend.profile}"
                return server

        server = asyncio.run(inner())
        name, before = wire.auth
        assert server.requests[0][0][name] == before + KEY


def test_a_key_is_hidden_however_a_server_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that comes back as part of a URL, in JSON, in base 64 or across the end of what is told, is not told."""
    key = 'sk-S3/CR+3T="x"'
    monkeypatch.setenv("MY_KEY", key)
    told = [quote(key, safe=""), json.dumps(key), base64.b64encode(key.encode()).decode(), "x" * 495 + key]
    for text in told:
        body = answer("400 Bad Request", json.dumps({"error": {"message": text}}).encode())
        said = fails(BadRequest, CHAT, body, key_env="MY_KEY")
        assert "***" in said
        assert text[-12:-3] not in said
        assert "sk-" not in said


def test_secrets_in_a_url_are_hidden_where_a_server_says_them() -> None:
    """A page that repeats the address, a redirect and a refused login say neither the query nor the password."""
    login = base64.b64encode(b"me:pass word").decode()
    answers = [
        answer("404 Not Found", b"Cannot POST /v1/chat/completions?key=S3CR3T%2BS3CR3T", "text/plain"),
        answer("308 Moved", b"", Location="https://x.example/v1/chat/completions?key=S3CR3T%2BS3CR3T"),
        answer("400 Bad Request", f"who is {login}, 'me:pass word'?".encode(), "text/plain"),
    ]
    for each in answers:

        async def inner(each: list[Step] = each) -> str:
            async with Replay([each]) as server:
                url = f"http://me:pass%20word@127.0.0.1:{server.port}/v1?key=S3CR3T%2BS3CR3T#m"
                with pytest.raises(BadRequest) as caught:
                    await gather(make_backend(url, {}), ask("hi"))
                assert server.requests[0][0]["authorization"] == f"Basic {login}"
                return str(caught.value)

        said = asyncio.run(inner())
        assert "***" in said
        assert not [secret for secret in ("S3CR3T", "word", login) if secret in said]


@pytest.mark.parametrize("status", ["300 Choose", "302 Found", "304 Not Modified"])
def test_a_redirect_to_nowhere_is_a_bad_request(status: str) -> None:
    """A status of the 300s that names no other place is said as it is."""
    assert status[:3] in fails(BadRequest, CHAT, answer(status, b"moved", "text/plain"))


@pytest.mark.parametrize("wait", ["\xb2", "1" * 5000, "-5", "soon"])
def test_a_wait_that_makes_no_sense_is_no_wait(wait: str) -> None:
    """Milliseconds that are no number are passed over, and the request is sent again as without them."""
    lines = f"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After-Ms: {wait}\r\n\r\n"
    deltas, server = run(CHAT, [lines.encode("latin-1")], CHAT.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)


@every
def test_a_refused_key_names_its_variable(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 is not asked again, and says where the key came from."""
    monkeypatch.setenv("MY_KEY", KEY)
    refused = wire.refused("401 Unauthorized", "no such key")
    assert "MY_KEY" in fails(NotAuthorised, wire, refused, wire.good(), key_env="MY_KEY")


def test_gemini_says_400_to_a_wrong_key() -> None:
    """Google answers a key that is none with status 400, and that is not taken for a bad request."""
    body = json.dumps(google_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."))
    fails(NotAuthorised, GEMINI, answer("400 Bad Request", body.encode()))


@every
def test_retry_after_is_kept(wire: Wire) -> None:
    """A 429 with Retry-After is asked again, and not before the time that the server asked for."""
    begin = time.monotonic()
    deltas, server = run(wire, wire.refused("429 Too Many Requests", Retry_After="0.5"), wire.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)
    assert time.monotonic() - begin >= 0.5


def test_google_says_in_the_body_how_long_to_wait() -> None:
    """Gemini's `retryDelay` is kept like Retry-After."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600s"}
    body = json.dumps(google_error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", info)).encode()
    assert "3600 s" in fails(BackendUnavailable, GEMINI, answer("429 Too Many Requests", body), GEMINI.good())


@every
@pytest.mark.parametrize("status", ["500 Oops", "529 Overloaded"])
def test_passing_errors_are_asked_again(wire: Wire, status: str) -> None:
    """500, then 200; and 529, which is Anthropic's for overloaded."""
    deltas, server = run(wire, wire.refused(status), wire.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)


@every
def test_an_overload_inside_a_stream(wire: Wire) -> None:
    """An error event before any text is asked again, also when the work had begun; after text it spoils the sample."""
    deltas, server = run(wire, [STREAM, wire.busy, END], wire.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)
    preamble = wire.begin[:1]  # of Gemini's answer, text is the first that comes
    deltas, server = run(wire, [STREAM, *preamble, wire.busy, END], wire.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)
    fails(BrokenOff, wire, [STREAM, *wire.begin, wire.piece("hel"), wire.busy, END], wire.good())


@every
def test_an_error_behind_a_status_of_success_is_an_error(wire: Wire) -> None:
    """Gateways answer 200 before they know: what their error says of itself counts, whether it can pass included."""
    for code, error in ((401, NotAuthorised), (400, BadRequest)):
        body = json.dumps({"error": {"code": code, "message": "because of this"}}).encode()
        assert "because of this" in fails(error, wire, answer("200 OK", body), wire.good())
    busy = answer("200 OK", b'{"error": {"code": 429, "message": "slow down"}}')
    deltas, server = run(wire, busy, wire.good())
    assert (texts(deltas), len(server.requests)) == (["hello"], 2)


@every
@pytest.mark.parametrize(
    "kind", ["", "Content-Type: application/json\r\n", "Content-Type: text/plain; charset=utf-8\r\n"]
)
def test_a_stream_is_known_by_its_look(wire: Wire, kind: str) -> None:
    """Servers send streams as JSON, as plain text or as nothing at all; official clients read them all the same."""
    head = f"HTTP/1.1 200 OK\r\n{kind}Content-Encoding: None\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for before in (b"", b"\n\n", b": still here\n\n", b"\xef\xbb\xbf"):
        first = [part(before)] if before else []
        deltas, _ = run(wire, [head, *first, *wire.begin, wire.piece("hello"), *wire.end])
        assert texts(deltas) == ["hello"]


def test_a_compressed_refusal_is_read() -> None:
    """A proxy that compresses all it passes on makes no riddle of an error; what only says that it is, is shown."""
    said = json.dumps({"error": {"message": "prompt is too long"}}).encode()
    for packed, packing in ((gzip.compress(said), "gzip"), (zlib.compress(said), "deflate"), (said, "gzip")):
        fails(ContextOverflow, CHAT, answer("400 Bad Request", packed, Content_Encoding=packing))
    bomb = gzip.compress(b"x" * 10_000_000)
    assert len(fails(BadRequest, CHAT, answer("400 Bad Request", bomb, Content_Encoding="gzip"))) < 700
    assert "compressed its stream ('br')" in fails(
        BadResponse, CHAT, answer("200 OK", b"data: x", "text/event-stream", Content_Encoding="br")
    )


@every
def test_a_stream_cut_in_the_middle_is_not_asked_again(wire: Wire) -> None:
    """Once text has been handed on, a lost connection or an early end spoils the sample, and nothing is sent twice."""
    cut: list[Step] = [STREAM, *wire.begin, wire.piece("hel")]
    assert "cut" in fails(BrokenOff, wire, cut, wire.good())
    assert "ended before" in fails(BadResponse, wire, [*cut, END], wire.good())


@every
def test_invalid_utf8_is_replaced(wire: Wire) -> None:
    """Bytes that are no UTF-8, and lone surrogates, become U+FFFD; what stands around them is kept."""
    raw = wire.piece("aXb Y c Z")
    data = raw.partition(b"\r\n")[2].removesuffix(b"\r\n")
    data = data.replace(b"X", b"\xff\xfe").replace(b"Y", b"\\ud83d").replace(b"Z", b"\\ud83d\\ude00")
    deltas, _ = run(wire, [STREAM, *wire.begin, part(data), *wire.end])
    assert texts(deltas) == ["a\ufffd\ufffdb \ufffd c \U0001f600"]


@every
def test_a_character_cut_in_two_is_one_again(wire: Wire) -> None:
    """A surrogate pair whose halves come in two events is one character; what is left of another is U+FFFD."""

    def written(text: str) -> Step:
        data = wire.piece("aXb").partition(b"\r\n")[2].removesuffix(b"\r\n")
        return part(data.replace(b"aXb", text.encode()))

    cut = [written("a\\ud83d"), written("\\ude00b\\ud83d"), written("c\\ud83d")]
    deltas, _ = run(wire, [STREAM, *wire.begin, *cut, *wire.end])
    assert "".join(texts(deltas)) == "a\U0001f600b\ufffdc\ufffd"


@every
def test_an_answer_of_ten_megabytes_is_broken_off(wire: Wire) -> None:
    """An answer of 10 MB to a request of 16 tokens is read to the limit only, in many events or in one line."""
    for piece in (wire.piece("x" * 65_000), part(b"x" * 65_000)):
        message = fails(BadResponse, wire, [STREAM, *wire.begin, wire.piece("x"), *[piece] * 160, END])
        assert "more than 1081344 bytes" in message


@every
def test_a_prompt_over_the_context(wire: Wire) -> None:
    """Each API says in its own words that the prompt is too long; each becomes a ContextOverflow."""
    assert wire.overflow in fails(ContextOverflow, wire, wire.refused("400 Bad Request", wire.overflow), wire.good())


@every
def test_a_stream_that_never_ends(wire: Wire) -> None:
    """A stream that goes on for ever ends after `total_s`, whether it says something or only that it is alive."""
    alive = wire.piece("a") if wire is not MESSAGES else MESSAGES.begin[2]
    assert isinstance(alive, bytes)
    for repeated in (alive, part(b": still here\n\n")):
        steps: list[Step] = [repeated, 0.05]
        trickle: list[Step] = [STREAM, *wire.begin, wire.piece("a"), *steps * 2000]
        begin = time.monotonic()
        fails(BrokenOff, wire, trickle, total_s=0.4)
        assert time.monotonic() - begin < 60


@every
def test_comments_for_ever_before_an_answer(wire: Wire) -> None:
    """A server that only ever says that it is alive is given up after `total_s`."""
    steps: list[Step] = [part(b": still here\n\n"), 0.05]
    fails(BackendUnavailable, wire, [STREAM, *steps * 200], total_s=0.4)


@every
def test_broken_events_are_bad_responses(wire: Wire) -> None:
    """An event that is no JSON, or of no shape that the API has, is a BadResponse and not a crash."""
    for data in (b"{not json", b"[1]", b'{"choices": 3, "type": 4, "candidates": 5}', b"[" * 100_000):
        message = fails(
            BadResponse, wire, [STREAM, *wire.begin, wire.piece("a"), part(b"data: " + data + b"\n\n"), END]
        )
        assert len(message) < 700


SPOKEN = {
    "chat": "openai:MODEL",
    "responses": "responses:MODEL",
    "messages": "anthropic:MODEL",
    "gemini": "gemini:MODEL",
}


@every
@pytest.mark.parametrize("other", WIRES, ids=lambda wire: wire.name)
def test_the_wrong_dialect_is_recognised(wire: Wire, other: Wire) -> None:
    """A server that answers in another API's stream is said to, and the right backend is named."""
    if wire is other:
        return
    message = fails(BadResponse, wire, other.good())
    assert SPOKEN[other.name] in message
    assert f"dialect: {other.name}" in message


@every
def test_a_whole_answer_instead_of_a_stream_is_recognised(wire: Wire) -> None:
    """A JSON body names the API that it is of, Ollama's own included; a web page is said to be one."""
    bodies = {
        "openai:MODEL": {"object": "chat.completion", "choices": []},
        "responses:MODEL": {"object": "response", "output": []},
        "anthropic:MODEL": {"type": "message", "content": []},
        "gemini:MODEL": [{"candidates": []}],
        "ollama:MODEL": {"model": "m", "message": {"content": "hi"}, "done": True},
    }
    for name, body in bodies.items():
        message = fails(BadResponse, wire, answer("200 OK", json.dumps(body).encode()))
        assert name in message or "sent a whole answer" in message
        assert ("sent a whole answer" in message) == (name == SPOKEN[wire.name])
    assert "text/html" in fails(BadResponse, wire, answer("200 OK", b"<html>Welcome</html>", "text/html"))


def test_a_path_that_another_api_does_not_have_is_recognised() -> None:
    """The 404 of another API's server is told apart from a wrong model's name."""
    not_found = {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}
    message = fails(BadRequest, CHAT, answer("404 Not Found", json.dumps(not_found).encode()))
    assert "anthropic:MODEL" in message
    message = fails(BadRequest, CHAT, answer("404 Not Found", json.dumps(google_error(404, "NOT_FOUND", "")).encode()))
    assert "gemini:MODEL" in message
    assert "speaks" not in fails(BadRequest, MESSAGES, answer("404 Not Found", json.dumps(not_found).encode()))


@every
def test_closing_the_iterator_closes_the_connection(wire: Wire) -> None:
    """A reader that stops reading stops the server's work at once."""

    async def inner() -> None:
        async with Replay([[STREAM, *wire.begin, wire.piece("a"), 30.0]]) as server:
            backend = make_backend(f"{server.url}#m", {"dialect": wire.name})
            stream = backend.generate(ask("hi"))
            assert (await anext(stream)).text == "a"
            await stream.aclose()
            await asyncio.wait_for(server.gone.wait(), 60)
            await backend.close()

    asyncio.run(inner())


@every
def test_connections_are_used_again(wire: Wire) -> None:
    """Requests one after the other go over one connection, whatever ends an answer in that dialect."""

    async def inner() -> int:
        async with Replay([wire.good()]) as server:
            backend = make_backend(f"{server.url}#m", {"dialect": wire.name})
            for _ in range(3):
                await gather(backend, ask("hi"))
            await backend.close()
            return server.connections

    assert asyncio.run(inner()) == 1


def test_a_server_that_keeps_its_stream_open_after_the_end_costs_no_time() -> None:
    """After `[DONE]` the answer is whole, whether or not the server closes."""
    begin = time.monotonic()
    deltas, _ = run(CHAT, [*CHAT.good()[:-1], 30.0])
    assert texts(deltas) == ["hello"]
    assert time.monotonic() - begin < 28
    assert CHAT.good()[-2] == DONE
