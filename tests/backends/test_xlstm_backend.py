"""The backend `xlstm`: requests answered by the shipped models, in a thread, with their own vocabulary."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("numpy")
pytest.importorskip("safetensors")

from scaffold.errors import BackendUnavailable, BadRequest
from scaffold.registry import make_backend
from scaffold.vocabulary.models import Message, Request
from scaffold_backends.xlstm import generation, towers
from scaffold_backends.xlstm.backend import BeyondTraining, XLSTMBackend, load
from scaffold_backends.xlstm.model import XLSTM

from .conftest import ask, gather, texts, usage

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Delta

PROMPT, ANSWER = towers.best(7, 12)  # disk 3 moves


@pytest.fixture(scope="module")
def hanoi() -> XLSTMBackend:
    """The shipped model, with signals."""
    backend = make_backend("xlstm:hanoi", {"signals": True})
    assert isinstance(backend, XLSTMBackend)
    return backend


def run(backend: XLSTMBackend, request: Request) -> list[Delta]:
    """Answer on an event loop of its own, as `solve_sync` does."""
    return asyncio.run(gather(backend, request))


def test_a_prompt_is_answered(hanoi: XLSTMBackend) -> None:
    """The model answers a state with its move, in its own words, and stops by itself."""
    deltas = run(hanoi, ask(PROMPT, temperature=0))
    assert texts(deltas) == [ANSWER] == ["3 C B"]
    assert deltas[-1].finish == "stop"
    assert math.exp(sum(delta.logprob or 0 for delta in deltas)) > 0.5


def test_the_profile_says_what_it_can(hanoi: XLSTMBackend) -> None:
    """A recurrent model forks, seeds and keeps to choices; its reasoning cannot be read."""
    profile = hanoi.profile
    assert profile.can == {"n", "fork", "seed", "logprobs", "choices"}
    assert (profile.reasoning, profile.model, profile.trust) == ("absent", "hanoi", "untrusted")


def test_the_prompt_is_read_once(hanoi: XLSTMBackend) -> None:
    """Samples cost the prompt's tokens once and their own each; a prompt read before is said to be cached."""
    prompt, _ = towers.best(9, 77)
    tokens = len(prompt.split())
    first, second = usage(run(hanoi, ask(prompt, n=5))), usage(run(hanoi, ask(prompt, n=2)))
    assert (first.input, first.output, first.cached) == (tokens, 15, 0)
    assert (second.input, second.output, second.cached) == (tokens, 6, tokens)
    assert (first.usd, first.guessed) == (0.0, False)


def test_sample_i_has_seed_plus_i(hanoi: XLSTMBackend) -> None:
    """A request repeats, and its sample i is what seed + i gives alone: a vote can be replayed one by one."""
    hot: dict[str, Any] = {"temperature": 6.0}
    together = texts(run(hanoi, ask(PROMPT, n=6, seed=40, **hot)))
    assert len(set(together)) > 1
    assert together == texts(run(hanoi, ask(PROMPT, n=6, seed=40, **hot)))
    assert together == [texts(run(hanoi, ask(PROMPT, seed=40 + index, **hot)))[0] for index in range(6)]
    assert together != texts(run(hanoi, ask(PROMPT, n=6, seed=90, **hot)))
    assert len({tuple(texts(run(hanoi, ask(PROMPT, n=3, **hot)))) for _ in range(8)}) > 1  # without one: by chance


def test_temperature_flattens_what_is_drawn() -> None:
    """At a high temperature all words come up about as often; at a low one the likeliest alone."""
    parity = load("parity")
    drawn = texts(run(parity, ask("0 1 1", n=400, temperature=1e6, seed=1)))
    assert all(60 < drawn.count(word) < 140 for word in ("0", "1", "even", "odd"))
    assert set(texts(run(parity, ask("0 1 1", n=50, temperature=0.01, seed=1)))) == {"even"}


def test_choices_are_kept(hanoi: XLSTMBackend) -> None:
    """An answer is one of the choices, also where the model would never say them; they may differ in length."""
    choices = ("5 C B", "5 C", "1 A B C", "move")
    with pytest.raises(BadRequest, match="'5 C' is the beginning of the choice '5 C B'"):
        run(hanoi, ask(PROMPT, choices=choices))
    deltas = run(hanoi, ask(PROMPT, choices=choices[1:], n=300, temperature=30.0, seed=3))
    assert set(texts(deltas)) == set(choices[1:])
    with pytest.raises(BadRequest, match="a choice has words that the model does not know: 'go', 'left'"):
        run(hanoi, ask(PROMPT, choices=("5 C B", "go left")))


def test_stop_texts_and_limits_end_a_sample(hanoi: XLSTMBackend) -> None:
    """A stop text is cut off, and ends its sample; too few tokens end it as too long."""
    deltas = run(hanoi, ask(PROMPT, stop=(" C",), temperature=0, n=2))
    assert texts(deltas) == ["3", "3"]
    assert {delta.finish for delta in deltas if delta.finish} == {"stop"}
    assert usage(deltas).output == 4
    deltas = run(hanoi, ask(PROMPT, max_tokens=2, temperature=0))
    assert (texts(deltas), deltas[-1].finish) == (["3 C"], "length")


def test_an_answer_begun_is_gone_on_with(hanoi: XLSTMBackend) -> None:
    """A last message of the assistant is the beginning of the answer; what the system says is not read."""
    request = Request(
        messages=(Message("system", "Be brief."), Message("user", PROMPT), Message("assistant", "3 C")), temperature=0
    )
    assert texts(run(hanoi, request)) == [" B"]


def test_unknown_words_are_named(hanoi: XLSTMBackend) -> None:
    """Words outside of the vocabulary are an error that names them, and so are turns that the model cannot read."""
    with pytest.raises(BadRequest, match=r"the prompt has words that the model does not know: '7D', 'please'; did you"):
        run(hanoi, ask("disks:7 7D please move"))
    with pytest.raises(BadRequest, match="the prompt is empty"):
        run(hanoi, ask("  "))
    several = (Message("user", PROMPT), Message("assistant", "3 C B"), Message("user", PROMPT))
    with pytest.raises(BadRequest, match=r"one user message.*not user and assistant and user"):
        run(hanoi, Request(messages=several))


def test_prompts_longer_than_any_in_training_are_warned_about() -> None:
    """Beyond what was trained on there is a warning with both numbers, and an answer all the same."""
    parity = load("parity")
    with pytest.warns(
        BeyondTraining, match="the prompt has 41 tokens, and parity was trained on prompts of at most 40"
    ):
        deltas = run(parity, ask("1 " * 41, temperature=0))
    assert texts(deltas) == ["odd"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(parity, ask("1 " * 40))


def test_signals_come_with_the_last_piece_when_asked_for(hanoi: XLSTMBackend) -> None:
    """With `signals` each sample's last piece has its figures; what is less sure has the higher entropy."""
    sure = run(hanoi, ask(PROMPT, n=3))
    for delta in sure:
        assert (delta.signals is not None) == (delta.finish is not None)
    figures = sure[-1].signals
    assert figures is not None
    assert figures.keys() == {"entropy", "margin", "memory.0", "saturation.0", "memory.1", "saturation.1"}
    nonsense = run(hanoi, ask("disks:3 last:2 1A 1B 1C 1A 2B move"))[-1].signals
    assert nonsense is not None
    assert nonsense["entropy"] > figures["entropy"]
    assert nonsense["margin"] < figures["margin"]
    assert all(delta.signals is None for delta in run(load("hanoi"), ask(PROMPT, n=3)))


async def play(backend: XLSTMBackend, disks: int, votes: int) -> list[int]:
    """Move a tower by what most samples say, every move one that the rules allow; give where its disks end."""
    pegs, last = [0] * disks, 0
    for move in range(1, towers.moves(disks) + 1):
        request = ask(towers.prompt(pegs, last), n=votes, seed=move * votes, temperature=1.0)
        said = texts(await gather(backend, request))
        winner = max(set(said), key=said.count)
        disk, source, target = winner.split()
        last, to = int(disk), towers.PEGS.index(target)
        assert towers.PEGS.index(source) == pegs[last - 1] != to, (move, winner)
        assert all(peg not in {pegs[last - 1], to} for peg in pegs[: last - 1]), (move, winner)
        pegs[last - 1] = to
    return pegs


def test_a_tower_is_moved_without_a_fault(hanoi: XLSTMBackend) -> None:
    """Ten disks, 1,023 moves, each asked of the model by the state that its own moves have led to."""
    assert asyncio.run(play(hanoi, disks=10, votes=3)) == [2] * 10


def test_a_closed_stream_stops_the_work() -> None:
    """After closing a stream in the middle, the thread is free for the next request at once."""
    parity = load("parity")
    endless = ask("0 1", choices=("0 " * 200_000,), max_tokens=10**9, temperature=1.0)

    async def close_early() -> float:
        stream = parity.generate(endless)
        await anext(stream)
        await stream.aclose()
        begun = time.perf_counter()
        await gather(parity, ask("0 1"))
        return time.perf_counter() - begun

    assert asyncio.run(close_early()) < 60  # what was closed would take hours

    async def cancel() -> float:
        reading = asyncio.create_task(gather(parity, endless))
        await asyncio.sleep(0.2)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        begun = time.perf_counter()
        await gather(parity, ask("0 1"))
        return time.perf_counter() - begun

    assert asyncio.run(cancel()) < 60


def test_the_event_loop_goes_on_meanwhile() -> None:
    """While a long prompt is read, other tasks get their turn: none waits for as long as the reading takes."""
    parity = load("parity")
    asyncio.run(gather(parity, ask("0 1")))

    async def longest_wait() -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BeyondTraining)
            begun = time.perf_counter()
            reading = asyncio.create_task(gather(parity, ask("0 1 " * 5_000)))
            waits = []
            while not reading.done():
                before = time.perf_counter()
                await asyncio.sleep(0)
                waits.append(time.perf_counter() - before)
            await reading
        return max(waits), time.perf_counter() - begun

    waited, took = asyncio.run(longest_wait())
    assert took > 0.3
    assert waited < took / 3


def test_a_short_prompt_of_a_small_model_is_read_at_once(hanoi: XLSTMBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a few milliseconds is not handed to a thread: the loop has one turn, for others to ask as well."""
    monkeypatch.setattr(generation, "_BURST_S", 60)  # on a busy machine they may be many
    run(hanoi, ask(PROMPT))  # so that it is loaded

    async def turns_taken() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        assert texts(await gather(hanoi, ask(PROMPT, n=5, temperature=0))) == [ANSWER] * 5
        counting.cancel()
        return turns

    assert asyncio.run(turns_taken()) == 1


def test_requests_made_together_are_answered_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of several lengths, one of them twice, with settings of their own: one batch, and the same answers."""
    backend = load("hanoi", signals=True)
    asked = [
        ask(towers.best(disks, move)[0], seed=seed, n=n, temperature=temperature)
        for disks, move, seed, n, temperature in (
            (7, 12, 1, 5, 1.0),
            (12, 100, 2, 1, 0.0),
            (7, 13, 3, 3, 1.5),
            (7, 12, 4, 2, 1.0),
            (20, 99_999, 5, 4, 0.7),
        )
    ]
    alone = [run(load("hanoi", cache=0, signals=True), request) for request in asked]
    encoded = []
    encode = XLSTM.encode

    def noted(model: XLSTM, tokens: Any, state: Any = None) -> Any:
        encoded.append(tokens.shape)
        return encode(model, tokens, state)

    monkeypatch.setattr(XLSTM, "encode", noted)

    async def together() -> list[list[Delta]]:
        return await asyncio.gather(*(gather(backend, request) for request in asked))

    for several, one in zip(asyncio.run(together()), alone, strict=True):
        assert texts(several) == texts(one)
        assert (usage(several).input, usage(several).output) == (usage(one).input, usage(one).output)
        assert several[-1].signals == pytest.approx(one[-1].signals, abs=1e-4)
    assert sorted(encoded) == [(1, 15), (1, 23), (2, 10)]


def test_one_that_is_closed_leaves_the_others_their_answers() -> None:
    """Of requests in one batch each ends by itself: one that nobody wants any more, and one that is cancelled."""
    parity = load("parity")
    long = ask("0 1", choices=("0 " * 2_000,), max_tokens=10**6)

    async def close_one_and_cancel_another() -> str:
        cancelled = asyncio.create_task(gather(parity, long))
        other = asyncio.create_task(gather(parity, long))
        stream = parity.generate(long)
        await anext(stream)
        await stream.aclose()
        cancelled.cancel()
        (text,) = texts(await other)
        return text

    assert asyncio.run(close_one_and_cancel_another()).split() == ["0"] * 2_000


def test_what_cannot_be_asked_fails_alone(hanoi: XLSTMBackend) -> None:
    """A request that is refused does not touch those made at the same time."""

    async def together() -> list[Any]:
        requests = (ask(PROMPT, temperature=0), ask("zebra"), ask(PROMPT, temperature=0))
        return await asyncio.gather(*(gather(hanoi, request) for request in requests), return_exceptions=True)

    first, refused, last = asyncio.run(together())
    assert texts(first) == texts(last) == [ANSWER]
    assert isinstance(refused, BadRequest)


def test_closing_ends_what_runs() -> None:
    """Closing the backend ends an answer under way as unavailable; it may be done twice, and used again."""
    parity = load("parity")

    async def close_while_it_answers() -> list[str]:
        stream = parity.generate(ask("0 1", choices=("0 " * 200_000,), max_tokens=10**9))
        await anext(stream)
        await parity.close()
        with pytest.raises(BackendUnavailable, match="parity was closed while it answered"):
            async for _ in stream:
                pass
        await parity.close()
        return texts(await gather(parity, ask("0 1", temperature=0)))

    assert asyncio.run(close_while_it_answers()) == ["odd"]
    asyncio.run(parity.close())
