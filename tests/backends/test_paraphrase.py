"""Paraphrase: nobody reads the reasoning but in another model's words, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from scaffold.errors import BackendUnavailable, BadRequest, BadResponse, ContextOverflow, TaskError
from scaffold.registry import backend_of
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Delta, Prices, Profile, ReasoningBlock, Request, Sample, Usage
from scaffold_backends.wrappers.paraphrase import Paraphrase

from .conftest import ask, gather, texts, usage
from .stage import PLAIN, Stage, said

SECRET = "the answer is forty two"


def thoughts(deltas: list[Delta], index: int = 0) -> str:
    """The reasoning that was handed on of a sample."""
    return "".join(delta.reasoning for delta in deltas if delta.index == index)


def reasoning(*more: Any) -> list[Any]:
    """A stream that reasons in two pieces and answers."""
    return [Delta(reasoning=SECRET[:9]), Delta(reasoning=SECRET[9:], logprob=-1.0), *more, *said("42", Usage(9, 8, 5))]


def upside_down(request: Request) -> str:
    """A rewriting, for tests: the words in another order."""
    return " ".join(reversed(request.messages[-1].content.split()))


def run(backend: Any, **more: Any) -> list[Delta]:
    """Ask it."""
    return asyncio.run(gather(backend, ask("Go.", **more)))


def test_the_reasoning_comes_in_other_words_and_the_answer_as_it_is() -> None:
    """The rewriting stands where the reasoning stood, before the answer; both models' usage is counted."""
    by = Scripted(upside_down)
    deltas = run(Paraphrase(Stage(reasoning()), by))
    assert thoughts(deltas) == "two forty is answer the"
    assert texts(deltas) == ["42"]
    assert [bool(delta.reasoning) for delta in deltas] == [True, False]
    (asked,) = by.requests
    assert asked.messages[-1].content == SECRET
    spent = usage(deltas)
    assert spent.output == 8 + 5
    assert spent.input > 9
    assert spent.reasoning == 5
    assert not any(delta.logprob for delta in deltas)


def test_a_piece_that_holds_both_is_taken_apart() -> None:
    """Reasoning that comes with its answer in one piece is rewritten as well."""
    inner = Scripted(lambda _: Sample(0, "42", reasoning=SECRET))
    deltas = run(Paraphrase(inner, Scripted(upside_down)))
    assert [(delta.reasoning, delta.text) for delta in deltas] == [("two forty is answer the", ""), ("", "42")]


def test_sealed_originals_and_invisible_letters_are_dropped() -> None:
    """Neither blocks, which hold the original, nor what no reader sees in a rewriting is handed on."""
    block = ReasoningBlock(kind="text", text=SECRET, signature="seal")
    stage = Stage(reasoning(Delta(block=block), Delta(block=ReasoningBlock(kind="redacted", data="x"))))
    deltas = run(Paraphrase(stage, Scripted("so it\u200b is\u2060\x07 known")))
    assert not any(delta.block for delta in deltas)
    assert thoughts(deltas) == "so it is known"


@pytest.mark.parametrize(
    ("rewriter", "kind", "said_"),
    [
        (Scripted(SECRET), BadResponse, "returned the original"),
        (Scripted(SECRET.replace(" ", "\u200b \n")), BadResponse, "returned the original"),
        (Scripted(""), BadResponse, "returned nothing"),
        (Scripted("\u200b\u200d"), BadResponse, "returned nothing"),
        (Scripted(lambda _: Sample(0, "so it", finish="length")), BadResponse, "its answer was incomplete"),
        (Scripted(lambda _: BadResponse("nonsense")), BadResponse, "nonsense"),
        (Scripted(lambda _: ContextOverflow("too long")), BadResponse, "too long"),
        (Scripted(lambda _: BadRequest("wrong")), BadResponse, "wrong"),
        (Scripted(lambda _: BackendUnavailable("down")), BackendUnavailable, "down"),
    ],
    ids=["same", "same but for what is unseen", "empty", "unseen", "cut", "nonsense", "too long", "wrong", "down"],
)
def test_without_a_rewriting_nothing_of_the_original_slips_through(
    rewriter: Scripted, kind: type[Exception], said_: str
) -> None:
    """Whatever the rewriter does wrong, the sample fails, and not a piece of the reasoning was handed on before."""
    handed_on: list[Delta] = []

    async def inner() -> None:
        async for delta in Paraphrase(Stage(reasoning()), rewriter).generate(ask("Go.")):
            handed_on.append(delta)  # noqa: PERF401 - what came before an error counts

    with pytest.raises(kind, match=said_) as caught:
        asyncio.run(inner())
    assert handed_on == []
    assert SECRET not in str(caught.value)


def test_a_rewriter_gets_another_try() -> None:
    """A first failure is made good by the second try, with another seed; both are paid."""
    by = Scripted(["", "in other words"])
    deltas = run(Paraphrase(Stage(reasoning()), by), seed=4)
    assert thoughts(deltas) == "in other words"
    assert [request.seed for request in by.requests] == [4, 5]
    assert usage(deltas).input == 9 + 2 * sum(len(turn.content.split()) for turn in by.requests[0].messages)


def test_samples_are_rewritten_each_for_itself() -> None:
    """Interleaved samples get each its own rewriting; one that does not reason has none, and costs none."""
    pieces = [
        Delta(0, reasoning="a b"),
        Delta(1, reasoning="c d"),
        Delta(0, text="A"),
        Delta(2, text="plain", finish="stop"),
        Delta(1, text="C", finish="stop"),
        Delta(0, reasoning=" and e f"),
        Delta(0, text="E", finish="stop", usage=Usage(1, 9)),
    ]
    by = Scripted(upside_down)
    deltas = run(Paraphrase(Stage(pieces), by), n=3)
    assert [thoughts(deltas, index) for index in range(3)] == ["b af e and", "d c", ""]
    assert texts(deltas) == ["AE", "C", "plain"]
    assert len(by.requests) == 3


def test_reasoning_without_an_answer_is_rewritten_too() -> None:
    """A sample that ends in the middle of its reasoning hands on none of it as it was."""
    stage = Stage([Delta(reasoning=SECRET), Delta(finish="length", usage=Usage(1, 5, 5))])
    assert thoughts(run(Paraphrase(stage, Scripted(upside_down)))) == "two forty is answer the"


def test_closing_stops_both() -> None:
    """Closed while the rewriter is at work, neither goes on."""
    stage, by = Stage(reasoning(5.0)), Stage([5.0, *said("late")])

    async def inner() -> None:
        stream = Paraphrase(stage, by).generate(ask("Go."))
        listening = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.02)
        listening.cancel()
        await asyncio.wait([listening])
        await stream.aclose()
        assert (stage.under_way, by.under_way) == (0, 0)

    asyncio.run(inner())


def test_the_profile_says_that_it_is_an_account() -> None:
    """Readable at best as a summary, never guessed; trusted if both are; dearer; a seed only if both take one."""
    inner = Profile(
        backend="a",
        model="m",
        prices=Prices(1.0, 2.0),
        trust="trusted",
        reasoning="full",
        can=frozenset({"n", "seed", "logprobs", "schema"}),
        guessed=("reasoning",),
    )
    by = Profile(backend="b", model="r", prices=Prices(0.5, 0.25))
    profile = Paraphrase(Stage([], profile=inner), Stage([], profile=by), tries=2).profile
    assert (profile.backend, profile.model) == ("paraphrase(a)", "m")
    assert (profile.reasoning, profile.trust, profile.guessed) == ("summary", "untrusted", ())
    assert profile.prices == Prices(1.0, 3.5)
    assert profile.can == {"n", "schema"}
    hidden = msgspec.structs.replace(inner, reasoning="redacted")
    assert Paraphrase(Stage([], profile=hidden), Stage([], profile=PLAIN)).profile.reasoning == "redacted"


def test_tasks_name_both() -> None:
    """`by` is a spec or a table; without it there is nobody to rewrite."""
    table = {"use": "paraphrase", "backend": "scripted:42", "by": {"use": "scripted", "replies": "so"}}
    assert texts(run(backend_of(table))) == ["42"]
    with pytest.raises(TaskError, match="by: paraphrase needs `by`"):
        backend_of("paraphrase:scripted")
    with pytest.raises(TaskError, match="by: needs `use`"):
        backend_of({**table, "by": {}})
