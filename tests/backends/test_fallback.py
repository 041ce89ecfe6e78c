"""The fallback: the first that can answers, it is known who it was, and two models never make one answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from scaffold import Scaffold, Task
from scaffold.errors import (
    BackendUnavailable,
    BadInput,
    BadRequest,
    BadResponse,
    BrokenOff,
    ContextOverflow,
    ModelFileError,
    NotAuthorised,
    TaskError,
)
from scaffold.registry import backend_of
from scaffold.vocabulary.models import Delta, Origin, Prices, Profile
from scaffold.wrapping import Noisy
from scaffold_backends.wrappers.fallback import Fallback, weakest
from scaffold_backends.wrappers.fan_out import FanOut

from .conftest import ask, gather, texts
from .stage import PLAIN, Stage, said


def named(name: str, *acts: list[Any]) -> Stage:
    """A backend whose model has a name."""
    return Stage(*acts, profile=msgspec.structs.replace(PLAIN, model=name))


def run(backend: Any, **more: Any) -> list[Delta]:
    """Ask it."""
    return asyncio.run(gather(backend, ask("Go.", **more)))


@pytest.mark.parametrize(
    "error", [BackendUnavailable("down"), NotAuthorised("no key"), BadResponse("nonsense"), ModelFileError("no file")]
)
def test_the_next_is_asked_when_one_cannot_answer(error: Exception) -> None:
    """Down, without our credentials, nonsense or without its file: the next one answers, and the sample says so."""
    last = named("last", said("unasked"))
    deltas = run(Fallback(named("first", [error]), named("second", said("here")), last))
    assert texts(deltas) == ["here"]
    assert deltas[-1].origin == Origin(backend="stage", model="second")
    assert last.requests == []


@pytest.mark.parametrize("error", [BadRequest("wrong"), ContextOverflow("too long")])
def test_what_is_the_requests_own_fault_is_not_asked_elsewhere(error: Exception) -> None:
    """A request that is wrong or too long is refused as such."""
    second = named("second", said("here"))
    with pytest.raises(type(error)):
        run(Fallback(named("first", [error]), second))
    assert second.requests == []


def test_two_models_never_make_one_answer() -> None:
    """After its first piece a model's failure is the answer's: nobody else goes on from there."""
    second = named("second", said("other"))
    with pytest.raises(BackendUnavailable, match="cut"):
        run(Fallback(named("first", [Delta(text="half"), BackendUnavailable("cut")]), second))
    assert second.requests == []


def test_when_all_fail_each_of_them_is_heard() -> None:
    """The error says what every member said; credentials that all refuse are told as that."""
    down, strange = named("a", [BackendUnavailable("is down")]), named("b", [BadResponse("talks nonsense")])
    with pytest.raises(BadResponse, match=r"stage:a: is down; stage:b: talks nonsense; openai:x: no key"):
        run(Fallback(down, strange, without={"openai:x": "no key"}))
    refused = named("c", [NotAuthorised("no")])
    with pytest.raises(NotAuthorised, match="every member"):
        run(Fallback(refused, refused))
    with pytest.raises(BackendUnavailable, match="no member") as caught:
        run(Fallback(refused, down))
    assert not isinstance(caught.value, NotAuthorised)
    with pytest.raises(BackendUnavailable, match="a: is down; stage:e: was lost"):
        run(Fallback(down, named("e", [BrokenOff("was lost")])))
    with pytest.raises(BadResponse, match="ended without an answer"):
        run(Fallback(named("d", [])))


def test_the_profile_is_that_of_the_weakest() -> None:
    """Smallest context, common abilities, dearest prices, least trust, least readable reasoning."""
    strong = Profile(
        backend="a",
        model="x",
        context=9000,
        prices=Prices(1.0, 9.0),
        trust="trusted",
        reasoning="full",
        can=frozenset({"n", "seed", "schema"}),
        guessed=("reasoning", "prices"),
    )
    weak = Profile(
        backend="b",
        model="y",
        context=500,
        prices=Prices(2.0, 3.0),
        reasoning="redacted",
        can=frozenset({"n", "logprobs"}),
    )
    assert weakest([strong, weak]) == Profile(
        backend="fallback",
        model="a:x, b:y",
        context=500,
        prices=Prices(2.0, 9.0),
        trust="untrusted",
        reasoning="redacted",
        can=frozenset({"n"}),
        guessed=("prices",),
    )
    unknown = msgspec.structs.replace(weak, prices=None, context=None)
    whole = weakest([strong, unknown])
    assert (whole.prices, whole.context) == (None, 9000)
    assert "context" in whole.guessed
    assert "reasoning" in weakest([strong, strong]).guessed


def test_one_that_cannot_be_made_ready_is_passed_over() -> None:
    """What a member lacks to get ready is a warning while another is ready, and the error when none is."""

    class Lacking(Stage):
        async def prepare(self, say: Any) -> None:
            raise ModelFileError("the disk is full")

    lacking, ready = Lacking(said("unasked")), named("b", said("here"))
    backend = Fallback(lacking, ready)

    with pytest.warns(UserWarning, match="continues without stage:m: the disk is full"):
        asyncio.run(_prepared(backend))
    assert texts(run(backend)) == ["here"]
    assert (ready.prepared, lacking.requests) == (1, [])
    with pytest.warns(UserWarning, match="continues without"), pytest.raises(ModelFileError, match="disk is full"):
        asyncio.run(_prepared(Fallback(lacking)))


def test_a_member_that_knows_more_once_it_is_ready_changes_the_whole() -> None:
    """A model that was loaded knows its context, and what is made around it says so from then on."""

    class Loading(Stage):
        async def prepare(self, say: Any) -> None:
            self.profile = msgspec.structs.replace(self.profile, context=77)

    around = [Fallback(Loading(said("x"))), FanOut(Loading(said("x"))), Noisy(Loading(said("x")), 0.5)]
    for backend in around:
        assert backend.profile.context == PLAIN.context
        asyncio.run(_prepared(backend))
        assert backend.profile.context == 77


async def _prepared(backend: Any) -> None:
    await backend.prepare(lambda _what, _fraction: None)


def test_all_are_closed_whatever_one_does() -> None:
    """One that fails to close does not keep the others open."""

    class Stuck(Stage):
        async def close(self) -> None:
            raise OSError("stuck")

    other = Stage(said("x"))
    with pytest.raises(OSError, match="stuck"):
        asyncio.run(Fallback(Stuck(said("x")), other).close())
    assert other.closed == 1


def test_the_trace_says_who_answered(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run's trace each sample holds the model that gave it."""
    monkeypatch.setenv("SCAFFOLD_RUNS", str(tmp_path))
    backend = Fallback(named("first", [BackendUnavailable("down")]), named("second", said("here")))
    outcome = Scaffold("direct", backends={"default": backend}, monitors=[]).solve_sync(Task(prompt="Go."))
    assert outcome.answer == "here"
    (content,) = tmp_path.glob("*/content.jsonl")
    answered = [msgspec.json.decode(line) for line in content.read_bytes().splitlines() if b'"samples"' in line]
    held = str(answered)
    assert "'origin': {'backend': 'stage', 'model': 'second'}" in held


def test_tasks_name_them_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are specs or tables; one without its key is left out with a warning, unless it is all there is."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.warns(UserWarning, match="continues without openai:gpt-5-mini: .*OPENAI_API_KEY"):
        backend = backend_of(
            {"use": "fallback", "backends": ["openai:gpt-5-mini", {"use": "scripted", "replies": "Paris"}]}
        )
    assert texts(run(backend)) == ["Paris"]
    with pytest.raises(BadInput, match="OPENAI_API_KEY"):
        backend_of({"use": "fallback", "backends": ["openai:gpt-5-mini"]})
    with pytest.raises(BadInput, match="no backend named 'scriptd'"):
        backend_of({"use": "fallback", "backends": ["scriptd", "scripted"]})
    with pytest.raises(TaskError, match=r"backends\.1: needs `use`"):
        backend_of({"use": "fallback", "backends": ["scripted", {"model": "x"}]})
    with pytest.raises(TaskError, match="takes a list"):
        backend_of("fallback:smollm2")
    with pytest.raises(TaskError, match="backends"):
        backend_of({"use": "fallback", "backends": []})
