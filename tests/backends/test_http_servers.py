"""Servers known by name, how a spec finds them, and what real ones make of each dialect."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Options, Scaffold, Task, think
from scaffold.entries import installed
from scaffold.errors import BackendUnavailable, BadInput, ContextOverflow, MissingKey, NotAuthorised, TaskError
from scaffold.registry import backend_of, make_backend
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Message, Request
from scaffold_backends.http import presets
from scaffold_backends.http.preset import Preset

from .conftest import ask, gather, texts, usage
from .replay import STREAM, Replay, Step
from .wire import CHAT, MESSAGES, RESPONSES, WIRES, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import BaseModel

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.moves import Planning

KEY = "sk-secret-of-the-test"
PRESETS = [found for found in vars(presets).values() if isinstance(found, Preset)]

every = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing says where servers are, or holds a key."""
    for preset in PRESETS:
        for name in (preset.url_env, *preset.key_env):
            if name:
                monkeypatch.delenv(name, raising=False)


def asked(
    spec: str, wire: Wire, options: dict[str, Any], *, named: str = ""
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Ask a replaying server, whose URL takes the place of `{url}`; give path, headers and body of what it got."""

    async def inner() -> Replay:
        async with Replay([wire.good()]) as server:
            url = f"http://127.0.0.1:{server.port}"
            if named:
                os.environ[named] = os.environ[named].replace("{url}", url)
            backend = make_backend(
                spec.replace("{url}", url),
                {
                    name: value.replace("{url}", url) if isinstance(value, str) else value
                    for name, value in options.items()
                },
            )
            await gather(backend, ask("hi", max_tokens=16))
            await backend.close()
            return server

    server = asyncio.run(inner())
    return server.paths[0], *server.requests[0]


def test_every_server_in_the_table_can_be_named_in_a_spec() -> None:
    """Each preset is an entry point under its own name."""
    for preset in PRESETS:
        assert installed("backend")[preset.name].load() is preset


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("ollama:qwen3", "http://localhost:11434/v1"),
        ("vllm:qwen3", "http://localhost:8000/v1"),
        ("sglang:", "http://localhost:30000/v1"),
        ("lmstudio:qwen3", "http://localhost:1234/v1"),
        ("llama-server:", "http://localhost:8080/v1"),
        ("http://127.0.0.1:9/v1#m", "http://127.0.0.1:9/v1"),
    ],
)
def test_local_servers_are_where_they_usually_are(spec: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server needs no key and no address; its price is a guess, and how much it reasons too."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody, should one of them be running here
    backend = make_backend(spec, {"attempts": 1})
    with pytest.raises(BackendUnavailable, match=f"{place} could not be reached"):
        asyncio.run(gather(backend, ask("hi")))
    assert {"prices", "reasoning"} <= set(backend.profile.guessed)
    assert backend.profile.backend == spec.partition(":")[0]


@pytest.mark.parametrize(
    ("spec", "place", "variable"),
    [
        ("openai:m", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("responses:m", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("anthropic:m", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
        ("gemini:m", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY"),
        ("openrouter:m", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    ],
)
def test_a_missing_key_is_said_before_any_request(spec: str, place: str, variable: str) -> None:
    """Whoever embeds is told each vendor's variable: what was given cannot be used, since it is not authorised."""
    said = f"^{place} needs a key: set the environment variable {variable}$"
    with pytest.raises(NotAuthorised, match=said) as caught:
        Scaffold(backends={"default": spec})
    assert isinstance(caught.value, MissingKey)
    assert isinstance(caught.value, BadInput)
    assert caught.value.variable == variable


def test_what_cannot_be_named_by_a_spec_is_said() -> None:
    """A model that is missing, an Azure without an address, an unknown dialect, an option of another dialect."""
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("anthropic:", {}, "anthropic:MODEL"),
        ("azure:gpt-5", {}, "AZURE_OPENAI_ENDPOINT"),
        ("ollama:m", {"dialect": "ollama"}, "dialect"),
        ("ollama:m", {"thinking": {}}, "no option 'thinking'"),
        ("anthropic:http://127.0.0.1:1/v1#m", {"grammar": True}, "no option 'grammar'"),
        ("ollama:http://127.0.0.1:1/v1#m", {"base_url": "http://127.0.0.1:2"}, "base_url"),
        ("ollama:http://#m", {}, "URL"),
        ("openai:ftp://x#m", {}, "'ftp://x' is not the URL of a server"),
        ("openai:WS://host", {}, "'WS://host' is not the URL of a server"),
        (
            "vllm:localhost:8000/v1#m",
            {},
            "'localhost:8000/v1' is not the URL of a server: it should begin with http://",
        ),
    ]
    for spec, options, message in wrong:
        with pytest.raises(TaskError, match=message):
            make_backend(spec, options)


def test_a_variable_says_where_a_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """OLLAMA_HOST may be a bare host and port, as Ollama has it; a key in the usual variable is sent there."""
    monkeypatch.setenv("OLLAMA_HOST", "{url}")
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    path, headers, body = asked("ollama:qwen3", CHAT, {}, named="OLLAMA_HOST")
    assert (path, headers["authorization"], body["model"]) == ("/v1/chat/completions", f"Bearer {KEY}", "qwen3")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match=r"http://127\.0\.0\.1:9/v1 could"):
        asyncio.run(gather(make_backend("ollama:qwen3", {"attempts": 1}), ask("hi")))


@pytest.mark.parametrize(
    ("spec", "variable", "told", "place"),
    [
        ("ollama:m", "OLLAMA_HOST", "127.0.0.1", "http://127.0.0.1:11434/v1"),
        ("ollama:m", "OLLAMA_HOST", ":9", "http://localhost:9/v1"),
        ("ollama:m", "OLLAMA_HOST", "[::1]", "http://[::1]:11434/v1"),
        ("ollama:m", "OLLAMA_HOST", "http://localhost", "http://localhost/v1"),
        ("ollama:m", "OLLAMA_HOST", "gpu/ollama/", "http://gpu:11434/ollama/v1"),
        ("ollama:m", "OLLAMA_HOST", "me:pw@gpu:9", "http://gpu:9/v1"),
        ("openai:m", "OPENAI_BASE_URL", "proxy.example/v1", "https://proxy.example/v1"),
        ("openai:m", "OPENAI_BASE_URL", "localhost:4000/v1", "http://localhost:4000/v1"),
        ("openai:m", "OPENAI_BASE_URL", "https://api.example/v1/chat/completions", "https://api.example/v1"),
        ("azure:m", "AZURE_OPENAI_ENDPOINT", "a.example", "https://a.example/openai/v1"),
        ("azure:m", "AZURE_OPENAI_ENDPOINT", "https://a.example/openai/v1/?v=2", "https://a.example/openai/v1"),
        (
            "azure:m",
            "AZURE_OPENAI_ENDPOINT",
            "https://a.example/openai/deployments/d/chat/completions?v=2",
            "https://a.example/openai/deployments/d",
        ),
    ],
)
def test_a_variable_may_say_less_or_more_than_the_base(
    spec: str, variable: str, told: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host alone is taken as its server takes it, and never with a key in the clear; an endpoint says its base."""
    for name, value in (("OPENAI_API_KEY", KEY), ("AZURE_OPENAI_API_KEY", KEY), (variable, told)):
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody
    with pytest.raises(BackendUnavailable, match=f"^{re.escape(place)} could not be reached"):
        asyncio.run(gather(make_backend(spec, {"attempts": 1}), ask("hi")))


def test_the_address_of_an_endpoint_may_be_the_option() -> None:
    """`base_url` takes what people paste, as a spec does."""
    path, _, _ = asked("ollama:m", CHAT, {"base_url": "{url}/v1/chat/completions"})
    assert path == "/v1/chat/completions"


def test_azure_is_found_by_its_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The v1 API, with the key in Azure's header, in both of OpenAI's dialects; a dated version by its address."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "{url}")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    path, headers, body = asked("azure:my-gpt", CHAT, {}, named="AZURE_OPENAI_ENDPOINT")
    assert (path, headers["api-key"], body["model"]) == ("/openai/v1/chat/completions", KEY, "my-gpt")
    assert "authorization" not in headers
    assert "max_completion_tokens" in body
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "{url}/")
    path, headers, body = asked("azure:gpt-5", RESPONSES, {"dialect": "responses"}, named="AZURE_OPENAI_ENDPOINT")
    assert (path, headers["api-key"]) == ("/openai/v1/responses", KEY)
    assert body["include"] == ["reasoning.encrypted_content"]
    dated = {"base_url": "{url}/openai/deployments/my-gpt?api-version=2024-10-21"}
    path, headers, _ = asked("azure:my-gpt", CHAT, dated)
    assert path == "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == KEY


@every
def test_a_url_in_a_spec_gets_no_key_that_was_not_meant_for_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a spec names the URL, only `key_env` sends a key."""
    name = {"chat": "openai", "responses": "responses", "messages": "anthropic", "gemini": "gemini"}[wire.name]
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    _, headers, _ = asked(f"{name}:{{url}}/v1#m", wire, {})
    assert KEY not in str(headers)
    _, headers, _ = asked(f"{name}:{{url}}/v1#m", wire, {"key_env": "OPENAI_API_KEY"})
    assert headers[wire.auth[0]] == wire.auth[1] + KEY


@pytest.mark.parametrize(
    ("path", "wire"), [("chat/completions", CHAT), ("responses", RESPONSES), ("messages", MESSAGES)]
)
def test_the_address_of_an_endpoint_says_what_is_spoken_there(path: str, wire: Wire) -> None:
    """A pasted endpoint is as good as the base of its API, and needs no option."""
    assert asked(f"{{url}}/v1/{path}#m", wire, {})[0] == f"/v1/{path}"


def test_choices_are_kept_in_each_servers_own_way() -> None:
    """llama.cpp takes a grammar, vLLM a list, SGLang a pattern; what a server is not known to take is not sent."""
    request = ask("hi", choices=("a.b", "c"), max_tokens=16)
    for name, expected in [
        ("llama-server", {"grammar": 'root ::= "a.b" | "c"'}),
        ("vllm", {"structured_outputs": {"choice": ["a.b", "c"]}}),
        ("sglang", {"regex": r"(a\.b|c)"}),
        ("lmstudio", {}),
    ]:

        async def inner(name: str = name) -> tuple[bool, dict[str, Any]]:
            async with Replay([CHAT.good()]) as server:
                backend = make_backend(f"{name}:{server.url}#m", {})
                await gather(backend, request)
                await backend.close()
                return "choices" in backend.profile.can, server.requests[0][1]

        can, sent = asyncio.run(inner())
        assert can == bool(expected)
        found = {field: sent[field] for field in ("grammar", "structured_outputs", "regex") if field in sent}
        assert found == expected


def test_think_tags_of_a_local_server_are_taken_out() -> None:
    """Servers that pass on what a model writes do so by default; others when the option says so."""

    async def inner(spec: str, options: dict[str, Any]) -> tuple[str, list[str]]:
        stream: list[Step] = [STREAM, *(CHAT.piece(text) for text in ("<thi", "nk>so</th", "ink>\n\n4")), *CHAT.end]
        async with Replay([stream]) as server:
            backend = make_backend(spec.replace("{url}", server.url), options)
            deltas = await gather(backend, ask("hi", max_tokens=16))
            await backend.close()
            return "".join(delta.reasoning for delta in deltas), texts(deltas)

    assert asyncio.run(inner("ollama:{url}#m", {})) == ("so", ["4"])
    assert asyncio.run(inner("{url}#m", {"think_tags": "tags"})) == ("so", ["4"])
    assert asyncio.run(inner("{url}#m", {})) == ("", ["<think>so</think>\n\n4"])
    assert asyncio.run(inner("ollama:{url}#m", {"think_tags": "none"})) == ("", ["<think>so</think>\n\n4"])


def test_effort_is_asked_for() -> None:
    """Chat completions take a word, OpenRouter a table."""
    assert asked("{url}/v1#m", CHAT, {"effort": "low"})[2]["reasoning_effort"] == "low"
    table = {"reasoning_option": {"max_tokens": 2000}}
    assert asked("openrouter:{url}/v1#m", CHAT, table)[2]["reasoning"] == {"max_tokens": 2000}


# --- answers that do not fit are found out, whatever the server promised


def answering(returns: Any) -> Any:
    """Plan one step with a typed answer."""

    def planner(task: Task) -> Planning[Any]:
        thought = yield from think("answer", task.prompt, returns=returns, options=Options(max_tokens=16))
        return thought.value

    return planner


@every
def test_answers_are_checked_by_us_in_every_dialect(wire: Wire, tmp_path: Path) -> None:
    """An answer that breaks its schema is no answer, though the server was told to keep to it; one that fits is."""
    from pydantic import create_model

    sized: type[BaseModel] = create_model("Sized", size=(int, ...))

    async def inner(said: str) -> Any:
        async with Replay([wire.good(said)]) as server:
            backend = make_backend(f"{server.url}#m", {"dialect": wire.name})
            journal = FileJournal(tmp_path)
            agent = Scaffold(planner=answering(sized), backends={"default": backend}, monitors=[], journal=journal)
            outcome = await agent.solve(Task(prompt="How large?"))
            await backend.close()
            return outcome

    assert asyncio.run(inner('{"size": 3}')).answer == {"size": 3}
    for wrong in ('{"size": "large"}', '{"colour": 3}', "It is 3.", '{"size": 3'):
        outcome = asyncio.run(inner(wrong))
        assert (outcome.status, outcome.answer) == ("failed", None)
        assert "malformed" in outcome.reason


@every
def test_a_key_is_in_no_trace(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a run that went well nor one whose server echoed the key has it in any of its files."""
    monkeypatch.setenv("MY_KEY", KEY)

    async def inner(answer: list[Step]) -> tuple[str, str]:
        async with Replay([answer]) as server:
            table = {"use": f"{server.url}#m", "dialect": wire.name, "key_env": "MY_KEY", "attempts": 1}
            journal = FileJournal(tmp_path)
            agent = Scaffold(planner=answering(str), backends={"default": table}, monitors=[], journal=journal)
            outcome = await agent.solve(Task(prompt="Hello?"))
            return outcome.status, server.requests[0][0][wire.auth[0]]

    echoes = wire.refused("401 Unauthorized", f"bad key {KEY}"), wire.refused("400 Bad Request", f"bad key {KEY}")
    assert asyncio.run(inner(wire.good())) == ("solved", wire.auth[1] + KEY)
    assert [asyncio.run(inner(echo))[0] for echo in echoes] == ["unavailable", "failed"]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 6
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


# --- a real server


@pytest.fixture(params=["chat", "responses", "messages"])
def real(request: pytest.FixtureRequest, llama_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A backend for llama.cpp's HTTP server, in each dialect that it speaks."""
    url, secret = llama_server
    monkeypatch.setenv("LLAMA_KEY", secret)
    return backend_of({"use": f"{url}#smollm2", "dialect": request.param, "key_env": "LLAMA_KEY"})


def test_a_real_server_answers_in_every_dialect(real: Backend) -> None:
    """Two samples of one prompt, cut at the limit, every token counted."""
    deltas = asyncio.run(gather(real, ask("Tell me a story.", n=2, max_tokens=5, temperature=1.0)))
    assert all(texts(deltas))
    assert [delta.finish for delta in deltas if delta.finish] == ["length"] * 2
    assert usage(deltas).output == 10
    assert usage(deltas).input >= 30
    assert not usage(deltas).guessed


def test_a_real_server_takes_a_conversation_and_a_stop_text(real: Backend) -> None:
    """A system's words, earlier turns and a stop text arrive in every dialect."""
    turns = (
        Message("system", "You count."),
        Message("user", "Count to five."),
        Message("assistant", "1, 2, 3, 4, 5"),
        Message("user", "Count to five again."),
    )
    deltas = asyncio.run(gather(real, Request(messages=turns, temperature=0.0, max_tokens=12, stop=("4",))))
    assert "1, 2, 3" in texts(deltas)[0]
    assert "4" not in texts(deltas)[0]
    assert deltas[-1].finish == "stop"


def test_a_real_server_refuses_in_every_dialect(
    real: Backend, llama_server: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    """A prompt over the context and a missing key become our errors."""
    with pytest.raises(ContextOverflow, match=r"\d+ tokens.*512 tokens"):
        asyncio.run(gather(real, ask("word " * 600)))
    dialect = request.node.callspec.params["real"]
    with pytest.raises(NotAuthorised, match="key_env"):
        asyncio.run(gather(backend_of({"use": f"{llama_server[0]}#m", "dialect": dialect}), ask("hi")))


def test_a_real_server_keeps_schemas_and_choices_in_responses(
    llama_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp's Responses take its chat completions' constraints."""
    monkeypatch.setenv("LLAMA_KEY", llama_server[1])
    url = llama_server[0]
    options = {"use": f"llama-server:{url}#m", "dialect": "responses", "key_env": "LLAMA_KEY"}
    backend = backend_of(options)
    schema = {"type": "object", "properties": {"happy": {"type": "boolean"}}}
    deltas = asyncio.run(gather(backend, ask("Are you happy?", json_schema=schema, max_tokens=60)))
    assert isinstance(json.loads(texts(deltas)[0])["happy"], bool)
    deltas = asyncio.run(gather(backend, ask("Left or right?", choices=("left", "right"), max_tokens=8)))
    assert texts(deltas)[0] in {"left", "right"}


THINKING_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m.get('reasoning_content') %}<think>\n{{ m['reasoning_content'] }}\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
# What a reasoning model of this size would say, if there were one.
SAYS_SO = 'root ::= "I think" " so.\\n" "</think>\\n\\n" "Yes"'


@pytest.fixture(scope="module")
def thinking_server(tiny_llama: str) -> Iterator[str]:
    """A tiny model under a template that has it think, with DeepSeek's way of telling it apart; gives the URL."""
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = tiny_llama
    params.n_ctx, params.n_parallel, params.port, params.verbosity = 512, 1, 0, -1
    params.chat_template, params.use_jinja = THINKING_TEMPLATE, True
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_DEEPSEEK
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_a_real_servers_reasoning_is_kept_apart(thinking_server: str, dialect: str) -> None:
    """`reasoning_content`, and the text of a reasoning item, arrive as reasoning; the item goes back on a next turn."""
    options = {"dialect": dialect, "grammar": "llamacpp", "extra": {"grammar": SAYS_SO}}
    backend = make_backend(f"{thinking_server}#m", options)
    deltas = asyncio.run(gather(backend, ask("Is it?", max_tokens=48)))
    assert "".join(delta.reasoning for delta in deltas).strip() == "I think so."
    assert texts(deltas)[0].strip() == "Yes"
    blocks = tuple(delta.block for delta in deltas if delta.block)
    assert [block.kind for block in blocks] == (["text"] if dialect == "responses" else [])
    turns = (Message("user", "Is it?"), Message("assistant", "Yes", blocks), Message("user", "Sure?"))
    again = asyncio.run(gather(backend, Request(messages=turns, max_tokens=48)))
    assert texts(again)[0].strip() == "Yes"


def test_a_real_servers_thinking_blocks_are_reasoning(thinking_server: str) -> None:
    """In Messages what is thought comes as thinking blocks, unsigned here."""
    backend = make_backend(f"anthropic:{thinking_server}#m", {})
    deltas = asyncio.run(gather(backend, ask("Is it?", max_tokens=6)))
    assert "".join(delta.reasoning for delta in deltas)
    assert texts(deltas) == [""]
    assert deltas[-1].finish == "length"
    assert [delta.block.kind for delta in deltas if delta.block] == ["text"]
