"""Google Gemini: what is sent, and what is made of what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scaffold.registry import make_backend
from scaffold.vocabulary.models import Delta, Message, ReasoningBlock, Request, Usage
from scaffold_backends.http.dialects.gemini import Gemini, GeminiOptions

from .conftest import ask, gather, texts, usage
from .replay import END, STREAM, Replay, Step
from .wire import GEMINI, candidate, gemini, unnamed

SIGNATURE = "CpwBAdHtim9A0S2zQ5kJ4oZ1"


def run(*answers: list[Step], request: Request | None = None, **options: Any) -> tuple[list[Delta], Replay]:
    """Ask a replaying server once."""

    async def inner() -> tuple[list[Delta], Replay]:
        async with Replay(list(answers)) as server:
            url = server.url.removesuffix("/v1") + "/v1beta"
            backend = make_backend(f"gemini:{url}#gemini-2.5-flash", {"backoff_s": 0.02, **options})
            try:
                return await gather(backend, request or ask("hi", max_tokens=16)), server
            finally:
                await backend.close()

    return asyncio.run(inner())


def body(request: Request, **options: Any) -> dict[str, Any]:
    """Give what a request looks like to Google."""
    return Gemini("gemini-2.5-flash", GeminiOptions(**options), official=True).body(request)


REASONED: list[Step] = [
    STREAM,
    gemini(candidate("**Breaking it down**\n\n", thought=True), thoughtsTokenCount=20),
    gemini(candidate("I multiply.", thought=True), thoughtsTokenCount=40),
    gemini(candidate("12,"), thoughtsTokenCount=40, candidatesTokenCount=1),
    gemini(
        candidate("231", "STOP", thoughtSignature=SIGNATURE),
        thoughtsTokenCount=40,
        candidatesTokenCount=4,
        cachedContentTokenCount=3,
    ),
    END,
]


def test_thoughts_are_reasoning_and_are_kept_with_their_signature() -> None:
    """Thought parts stream as reasoning; summary and signature arrive as one block at the end."""
    deltas, _ = run(REASONED)
    assert texts(deltas) == ["12,231"]
    thought = "**Breaking it down**\n\nI multiply."
    assert "".join(delta.reasoning for delta in deltas) == thought
    (block,) = [delta.block for delta in deltas if delta.block]
    assert (block.kind, block.text, block.signature) == ("summary", thought, SIGNATURE)


def test_thoughts_are_part_of_what_was_written() -> None:
    """Google counts thoughts beside the answer; here they are a part of the output, and paid for."""
    deltas, _ = run(REASONED, prices={"input": 1, "output": 2, "cached": 0.5})
    cost = (4 * 1 + 3 * 0.5 + 44 * 2) / 1e6
    assert usage(deltas).usd == pytest.approx(cost)
    assert usage(deltas) == Usage(input=7, output=44, reasoning=40, cached=3, usd=usage(deltas).usd)


def test_a_signature_alone_is_redacted_reasoning() -> None:
    """Where thoughts are not shown, their signature, in a last part without text, still says that there were some."""
    last = gemini(candidate("", "STOP", thoughtSignature=SIGNATURE))
    deltas, _ = run([STREAM, gemini(candidate("a")), last, END])
    (block,) = [delta.block for delta in deltas if delta.block]
    assert (block.kind, block.signature) == ("redacted", SIGNATURE)


def test_signatures_go_back_as_they_came() -> None:
    """On a next turn the signature follows the model's text, in a part of its own; those of other APIs are left out."""
    deltas, _ = run(REASONED)
    foreign = ReasoningBlock(kind="text", text="t", signature="of another API")
    turns = (
        Message("system", "Be brief."),
        Message("user", "27 * 453?"),
        Message("assistant", "12,231", (*(delta.block for delta in deltas if delta.block), foreign)),
        Message("user", "And twice that?"),
    )
    sent = body(Request(messages=turns))
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert sent["contents"] == [
        {"role": "user", "parts": [{"text": "27 * 453?"}]},
        {"role": "model", "parts": [{"text": "12,231"}, {"text": "", "thoughtSignature": SIGNATURE}]},
        {"role": "user", "parts": [{"text": "And twice that?"}]},
    ]


def test_a_request_is_written_as_the_api_wants_it() -> None:
    """The model stands in the path, everything else in `generationConfig`."""
    request = ask("hi", seed=3, stop=("END",), temperature=0.0, max_tokens=9)
    sent = body(request, logprobs=True, thinking={"budget": 100})
    assert sent["generationConfig"] == {
        "temperature": 0.0,
        "maxOutputTokens": 9,
        "seed": 3,
        "stopSequences": ["END"],
        "responseLogprobs": True,
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 100},
    }
    leveled = body(ask("hi"), thinking={"level": "low", "include": False})["generationConfig"]["thinkingConfig"]
    assert leveled == {"includeThoughts": False, "thinkingLevel": "low"}
    assert "seed" not in body(request, omit=["seed"])["generationConfig"]
    _, server = run(GEMINI.good())
    assert server.paths == ["/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"]


def test_schemas_and_choices_are_kept() -> None:
    """A schema goes as JSON Schema, without the keywords that are not known; choices as an enum of plain texts."""
    schema = {
        "type": "object",
        "properties": {"kind": {"const": "a"}, "name": {"type": "string", "minLength": 2, "pattern": "x"}},
        "required": ["kind"],
    }
    config = body(ask("hi", json_schema=schema))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == {
        "type": "object",
        "properties": {"kind": {"enum": ["a"]}, "name": {"type": "string"}},
        "required": ["kind"],
    }
    config = body(ask("hi", choices=("yes", "no")))["generationConfig"]
    assert (config["responseMimeType"], config["responseSchema"]["enum"]) == ("text/x.enum", ["yes", "no"])
    assert "responseMimeType" not in body(ask("hi", json_schema=schema), schema=False)["generationConfig"]


def test_more_stop_texts_than_the_api_takes_are_found_here() -> None:
    """Five are sent, and the sixth ends a sample all the same."""
    stops = ("1", "2", "3", "4", "5", "END")
    stream: list[Step] = [STREAM, gemini(candidate("one EN")), gemini(candidate("D two", "MAX_TOKENS")), END]
    deltas, server = run(stream, request=ask("hi", stop=stops))
    assert (texts(deltas), deltas[-1].finish) == (["one "], "stop")
    assert server.requests[0][1]["generationConfig"]["stopSequences"] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "cut"), ("RECITATION", "cut"), ("OTHER", "error")],
)
def test_endings_are_told_apart(reason: str, finish: str) -> None:
    """Each reason to stop is one of ours."""
    deltas, _ = run([STREAM, gemini(candidate("a")), gemini(candidate("", reason)), END])
    assert deltas[-1].finish == finish


def test_a_prompt_that_is_blocked_has_no_answer() -> None:
    """A blocked prompt gives a sample that was cut, with what was counted."""
    blocked = unnamed(promptFeedback={"blockReason": "PROHIBITED_CONTENT"}, usageMetadata={"promptTokenCount": 7})
    deltas, _ = run([STREAM, blocked, END])
    assert (deltas[-1].finish, usage(deltas).input) == ("cut", 7)


def test_candidates_are_told_apart() -> None:
    """With `n: true` candidates are samples of one request; without, each is a request of its own."""
    both = gemini(candidate("a", "STOP"), candidate("b", "STOP", 1))
    deltas, server = run([STREAM, both, END], request=ask("hi", n=2), n=True)
    assert texts(deltas) == ["a", "b"]
    assert server.requests[0][1]["generationConfig"]["candidateCount"] == 2
    deltas, server = run(GEMINI.good("x"), GEMINI.good("y"), request=ask("hi", n=2))
    assert sorted(texts(deltas)) == ["x", "y"]
    assert len(server.requests) == 2


def test_log_probabilities_are_added_up() -> None:
    """Each piece has the sum of its tokens'."""
    scored = candidate("ab", "STOP")
    scored["logprobsResult"] = {"chosenCandidates": [{"token": "a", "logProbability": -0.5}, {"logProbability": -0.25}]}
    assert run([STREAM, gemini(scored), END], logprobs=True)[0][0].logprob == -0.75


def test_profiles_say_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary if it is asked for; else a signature of what was thought, since version 3; the key may be Google's."""
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GEMINI_BASE_URL", raising=False)
    monkeypatch.setenv("GOOGLE_API_KEY", "key")
    profile = make_backend("gemini:gemini-2.5-flash", {}).profile
    assert (profile.reasoning, profile.guessed, profile.context) == ("absent", (), 1_048_576)
    assert profile.can == {"schema", "choices", "seed"}
    assert make_backend("gemini:gemini-3-pro-preview", {}).profile.reasoning == "redacted"
    assert make_backend("gemini:gemini-2.5-flash", {"thinking": {}}).profile.reasoning == "summary"
    assert make_backend("gemini:gemini-2.5-flash", {"thinking": {"budget": 0}}).profile.reasoning == "absent"
    assert make_backend("gemini:gemini-2.0-flash", {}).profile.reasoning == "absent"
