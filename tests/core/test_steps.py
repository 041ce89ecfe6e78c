"""Steps: what a backend may do, and what becomes of it; every sample is paid for and stands in the trace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold import Options, Planning, Task, Thought, majority, once, think, together
from scaffold.errors import (
    BackendError,
    BackendUnavailable,
    BadRequest,
    BadResponse,
    BrokenOff,
    ContextOverflow,
    NotAuthorised,
    PromptTooLong,
    StepFailed,
)
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Delta, Prices, Profile, ReasoningBlock, Request, Sample, Usage

if TYPE_CHECKING:
    from tests.core.conftest import World

PLAIN = Profile(backend="plain", model="m", context=1000, prices=Prices(1.0, 1.0), reasoning="full")
MANY = msgspec.structs.replace(PLAIN, can=frozenset({"n"}))


class Streaming:
    """A backend whose stream is written by a test.

    Attributes:
        begun: set when a stream is opened.
        under_way: how many streams are open now.
        most: how many were at once.
    """

    def __init__(self, *deltas: Any, profile: Profile = PLAIN) -> None:
        self.profile = profile
        self.requests: list[Request] = []
        self.begun = asyncio.Event()
        self.under_way = 0
        self.most = 0
        self.closed = 0
        self._deltas = deltas

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Give the deltas; a number is a pause in seconds, an exception is raised."""
        self.requests.append(request)
        self.begun.set()
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for each in self._deltas:
                if isinstance(each, float):
                    await asyncio.sleep(each)
                elif isinstance(each, BaseException):
                    raise each
                else:
                    yield each
        finally:
            self.under_way -= 1
            self.closed += 1

    async def close(self) -> None:
        """Nothing to free."""


def thinking(**more: Any) -> Any:
    """A planner of one step, which says what went wrong with it."""

    def planner(task: Task) -> Planning[str]:
        try:
            thought: Thought[Any] = yield from think("solve", task.request, **{"sampling": once(tries=2), **more})
        except StepFailed as error:
            return f"{type(error).__name__}: {error.message}"
        return str(thought.value)

    return planner


def whole(text: str, index: int = 0, usage: Usage | None = None, **more: Any) -> Delta:
    """All of one sample."""
    return Delta(index=index, text=text, finish="stop", usage=usage or Usage(3, 4, usd=0.5), **more)


# --- what comes


def test_a_sample_is_the_sum_of_its_pieces(world: World) -> None:
    """Text and reasoning are joined in order; the thought has both, and the trace too."""
    told: list[Thought[str]] = []

    def planner(task: Task) -> Planning[str]:
        thought: Thought[str] = yield from think("solve", task.request)
        told.append(thought)
        return thought.value

    backend = Streaming(
        Delta(reasoning="hm "),
        Delta(reasoning="so", logprob=-1.0),
        Delta(text="4"),
        Delta(text="2", logprob=-2.0),
        whole(""),
    )
    outcome = world.solve(planner, backend)
    assert (told[0].value, told[0].reasoning, told[0].confidence) == ("42", "hm so", 1.0)
    (step,) = world.facts(outcome, "step.answered")
    assert step["samples"][0]["logprob"] == -3.0
    assert outcome.usage["model"] == Usage(3, 4, usd=0.5)


@pytest.mark.parametrize("profile", [PLAIN, MANY], ids=["one at a time", "n at once"])
def test_n_samples_are_asked_in_one_request_where_the_backend_can(world: World, profile: Profile) -> None:
    """A backend with `n` is asked once for three; one without three times, each with its own seed."""
    backend = Scripted(["yes", "no", "yes"], profile=profile)
    outcome = world.solve(thinking(sampling=majority(3, batch=3)), backend)
    assert outcome.answer == "yes"
    seeds = [request.seed for request in backend.requests]
    assert seeds[0] is not None
    if "n" in profile.can:
        assert [request.n for request in backend.requests] == [3]
    else:
        assert [request.n for request in backend.requests] == [1, 1, 1]
        assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]


def test_lone_surrogates_are_replaced(world: World) -> None:
    """What UTF-8 cannot hold is not recorded, not in blocks either; the run goes on."""
    block = ReasoningBlock(kind="text", text="\udfff", data="\ud800", signature="\ud83d\ude00")
    outcome = world.solve(thinking(), Streaming(Delta(reasoning="\udfff"), Delta(block=block), whole("a\ud800b")))
    assert outcome.answer == "a\ufffdb"
    (answered,) = world.facts(outcome, "step.answered")
    assert answered["samples"][0]["blocks"] == [
        {"kind": "text", "text": "\ufffd", "data": "\ufffd", "signature": "\U0001f600"}
    ]


def test_signals_that_are_no_numbers_are_left_out(world: World) -> None:
    """What cannot be recorded is not, and the others can be read again."""
    signals = {"entropy": float("nan"), "margin": 0.5, "odd": float("inf")}
    last = Delta(text="4", finish="stop", usage=Usage(), signals=signals, logprob=float("-inf"))
    outcome = world.solve(thinking(), Streaming(last))
    (answered,) = world.facts(outcome, "step.answered")
    assert (outcome.status, answered["samples"][0]["signals"]) == ("solved", {"margin": 0.5})


def test_a_character_cut_in_two_is_one_again(world: World) -> None:
    """A surrogate pair whose halves come in two pieces is whole for monitors, for the trace and for the planner."""
    pieces = Delta(text="a\ud83d", reasoning="\ud83d"), Delta(reasoning="\ude00"), Delta(text="\ude00b\ud83d")
    outcome = world.solve(thinking(), Streaming(*pieces, Delta(finish="stop", usage=Usage())))
    assert outcome.answer == "a\U0001f600b\ufffd"
    (answered,) = world.facts(outcome, "step.answered")
    assert answered["samples"][0]["reasoning"] == "\U0001f600"


# --- what goes wrong


@pytest.mark.parametrize(
    ("deltas", "flag"),
    [
        ((Delta(text="4"), BadResponse("cut in the middle")), "cut in the middle"),
        ((Delta(text="4"),), "or its stream ended without a reason"),
        ((Delta(text="4", finish="cut"),), "ended early: its provider's filter removed the rest"),
        (
            (Delta(text="4", finish="error"),),
            "ended early: the model stopped for another reason than its end or its length",
        ),
        ((Delta(text="4", finish="done"),), "ended early"),  # type: ignore[arg-type] # what a plug-in may send
        ((whole("4", index=1),), "a sample with the number 1 was sent, but 1 were asked for"),
        ((whole("4", index=-1),), "a sample with the number -1 was sent, but 1 were asked for"),
        ((Delta(text="x" * 5000), whole("x" * 5000)), "an answer of more than"),
        ((Delta(reasoning="x" * 9000), whole("4")), "an answer of more than"),
    ],
)
def test_a_bad_response_is_discarded_with_its_reason(world: World, deltas: Any, flag: str) -> None:
    """What is cut, malformed or over-long does not count; it is kept, and another is drawn."""
    outcome = world.solve(thinking(options=Options(max_tokens=8)), Streaming(*deltas))
    assert outcome.answer.startswith("StepFailed: no acceptable answer in 2 samples")
    (step,) = world.facts(outcome, "step.answered")
    assert all(flag in sample["flag"] for sample in step["samples"])
    assert step["samples"][0]["text"].startswith(("4", "x")) or "reasoning" in step["samples"][0] or "number" in flag


def test_a_script_may_be_one_sample_or_one_error(world: World) -> None:
    """As a text alone may be: it answers every request."""
    assert world.solve(thinking(), Scripted(Sample(0, "so", reasoning="hm"))).answer == "so"
    assert world.solve(thinking(), Scripted(BadRequest("no"))).answer == "StepFailed: scripted cannot answer: no"


def test_a_text_that_is_cut_off_counts_only_where_its_beginning_is_wanted(world: World) -> None:
    """Half a text is no answer, and the reason names the setting; a step that wants no more than that says so."""
    cut = Delta(text="Once upon a", finish="length", usage=Usage(3, 3))
    outcome = world.solve(thinking(options=Options(max_tokens=3)), Streaming(cut))
    assert outcome.answer.startswith("StepFailed")
    assert "not finished within 3 tokens (max_tokens)" in outcome.answer
    outcome = world.solve(thinking(options=Options(max_tokens=3, unfinished=True)), Streaming(cut))
    assert outcome.answer == "Once upon a"


def test_a_backend_that_is_lost_in_the_middle_of_every_answer_is_gone(world: World) -> None:
    """The run pauses, and is resumed when it is back; what came of the answers is kept and charged."""
    planner = thinking(options=Options(max_tokens=8))
    outcome = world.solve(planner, Streaming(Delta(text="4"), BrokenOff("the connection was lost")))
    assert outcome.status == "unavailable"
    assert outcome.reason == "each of 2 answers broke off: the connection was lost"
    (cut,) = world.facts(outcome, "step.cut")
    assert [sample["text"] for sample in cut["samples"]] == ["4", "4"]
    assert outcome.usage["model"].tokens > 0
    assert world.agent(planner, Streaming(whole("4"))).resume_sync(outcome.run).answer == "4"


def test_a_backend_that_also_gives_whole_answers_is_not_gone(world: World) -> None:
    """One that answers, if not acceptably, is there: the step has failed, and the planner is told."""
    sent = iter([(Delta(text="4"), BrokenOff("the connection was lost")), (Delta(text="4", finish="error"),)])

    class Both(Streaming):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            self._deltas = next(sent)
            async for delta in super().generate(request):
                yield delta

    outcome = world.solve(thinking(options=Options(max_tokens=8)), Both())
    assert outcome.answer.startswith("StepFailed: no acceptable answer in 2 samples")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ContextOverflow("9000 tokens, 4096 fit"), "PromptTooLong: 9000 tokens, 4096 fit"),
        (BadRequest("no such option"), "StepFailed: plain cannot answer: no such option"),
        (BackendError("odd"), "StepFailed: plain cannot answer: odd"),
    ],
)
def test_an_error_of_the_backend_fails_the_step(world: World, error: BackendError, said: str) -> None:
    """A prompt that is too long and a wrong request are the step's errors, which a planner can catch."""
    outcome = world.solve(thinking(), Streaming(error))
    assert outcome.answer == said
    assert issubclass(PromptTooLong, StepFailed)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (KeyError("x"), "KeyError: 'x' (test_steps.py, in generate)"),
        (5, "TypeError: a int was sent, not a Delta"),
        ("yes", "TypeError: a str was sent, not a Delta"),
        (whole(b"yes"), "TypeError: "),  # type: ignore[arg-type] # as all below: what a plug-in may send
        (whole("yes", reasoning=b"so"), "TypeError: "),
        (whole("yes", usage=Usage(1.5, 1)), "ValidationError: Expected `int`, got `float` - at `$.input`"),  # type: ignore[arg-type]
        (whole("yes", usage=Usage(1, 1, reasoning="2")), "ValidationError: Expected `int`, got `str`"),  # type: ignore[arg-type]
        (whole("yes", block=ReasoningBlock(kind="odd")), "ValidationError: Invalid enum value 'odd'"),  # type: ignore[arg-type]
        (whole("yes", origin={"model": 1}), "ValidationError: Expected `str`, got `int`"),
        (whole("yes", signals={"entropy": "2"}), "TypeError: must be real number, not str"),
    ],
)
def test_a_fault_in_a_backend_is_said_to_be_its_own(world: World, sent: Any, said: str) -> None:
    """What a plug-in raises, or sends instead of pieces, fails the step under its name, not the planner's."""
    outcome = world.solve(thinking(), Streaming(sent))
    expected = f"StepFailed: plain cannot answer: it has a bug, which its author should know about: {said}"
    assert outcome.answer.startswith(expected)
    assert list(world.facts(outcome, "run.ended"))  # its trace can be read


class Returning:
    """A backend whose author wrote `return` for `yield`."""

    profile = PLAIN

    async def generate(self, _: Request) -> str:
        return "yes"

    async def close(self) -> None:
        """Nothing is held."""


class Listing(Returning):
    """A backend whose author forgot `async`."""

    def generate(self, _: Request) -> Iterator[Delta]:  # type: ignore[override] # the point
        yield whole("yes")


@pytest.mark.parametrize(("backend", "gave"), [(Returning(), "coroutine"), (Listing(), "generator")])
def test_a_backend_that_gives_no_stream_is_told_how_one_is_written(world: World, backend: Any, gave: str) -> None:
    """The commonest slips of who writes a first backend; nothing is left that was never awaited."""
    outcome = world.solve(thinking(), backend)
    assert f"`generate` returned a {gave}, not a stream: it should be `async def` with `yield`" in outcome.answer


@pytest.mark.parametrize("usage", [Usage(-1, 1), Usage(1, -1), Usage(1, 1, usd=-0.1), Usage(1, 1, usd=math.nan)])
def test_a_cost_that_is_none_is_charged_at_its_worst(world: World, usage: Usage) -> None:
    """A budget is never given back what was not spent: below nothing, or no number, discards the sample."""
    outcome = world.solve(thinking(sampling=once(tries=1)), Streaming(whole("yes", usage=usage)))
    assert "it reports impossible usage:" in outcome.answer
    assert outcome.usage["model"].output == 512


@pytest.mark.parametrize("error", [BackendUnavailable("down"), NotAuthorised("401")])
def test_a_backend_that_is_gone_ends_the_run_as_unavailable(world: World, error: BackendError) -> None:
    """The run can be resumed when it is back, with what it had."""
    agent = world.agent(thinking(), Streaming(error))
    outcome = agent.solve_sync(Task(prompt="x"))
    assert (outcome.status, outcome.reason) == ("unavailable", str(error))
    again = world.agent(thinking(), "back").resume_sync(outcome.run)
    assert (again.status, again.answer) == ("solved", "back")


def test_what_was_drawn_before_an_error_stands_in_the_trace(world: World) -> None:
    """Samples that came before the backend gave up are recorded with the failed step, and paid for."""
    backend = Streaming(whole("one", usage=Usage(1, 1, usd=0.25)), BadRequest("no more"), profile=MANY)
    outcome = world.solve(thinking(sampling=majority(2)), backend)
    assert outcome.answer.startswith("StepFailed")
    (step,) = world.facts(outcome, "step.answered")
    assert [sample["text"] for sample in step["samples"]] == ["one", ""]
    assert outcome.usage["model"].usd == 0.25


# --- what it costs


@pytest.mark.parametrize(
    "deltas",
    [(Delta(text="4", finish="stop"),), (Delta(text="4"), BadResponse("cut"))],
    ids=["silent", "broken"],
)
@pytest.mark.parametrize("profile", [PLAIN, MANY], ids=["one at a time", "n at once"])
def test_what_was_not_counted_is_charged_at_its_worst(world: World, deltas: Any, profile: Profile) -> None:
    """A stream that ends without saying what it cost costs all that was reserved for it."""
    backend = Streaming(*deltas, profile=profile)
    outcome = world.solve(thinking(sampling=once(tries=1), options=Options(max_tokens=8)), backend)
    (asked,) = world.facts(outcome, "step.asked")
    assert outcome.usage["model"].tokens == asked["tokens"]
    assert outcome.usage["model"].usd == pytest.approx(asked["usd"])


def test_the_worst_is_charged_for_the_broken_one_of_several(world: World) -> None:
    """One of three separate streams breaks: two are charged as counted, one at its worst."""
    number = iter(range(3))

    class Third(Streaming):
        async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
            mine = next(number)
            yield Delta(text="4")
            await asyncio.sleep(0.01 * mine)
            if mine == 2:
                raise BadResponse("cut")
            yield whole("2", usage=Usage(1, 1, usd=0.0))

    outcome = world.solve(thinking(sampling=majority(3, cap=3, batch=3), options=Options(max_tokens=8)), Third())
    (asked,) = world.facts(outcome, "step.asked")
    assert outcome.usage["model"].tokens == 2 + 2 + asked["tokens"] // 3


def test_a_backend_that_leaves_the_sum_to_us_is_charged_by_its_prices(world: World) -> None:
    """Usage without dollars costs what the profile's prices say."""
    outcome = world.solve(thinking(), Streaming(whole("4", usage=Usage(1_000_000, 2_000_000, usd=None))))
    assert outcome.usage["model"].usd == pytest.approx(3.0)


# --- cancellation and limits


def test_cancelling_closes_the_stream_and_keeps_what_came(world: World) -> None:
    """An interrupted step leaves its partial samples and a worst-case charge; it is asked again on resume."""
    backend = Streaming(Delta(text="half"), 30.0, whole("never"))
    agent = world.agent(thinking(), backend)

    async def interrupted() -> Any:
        solving = asyncio.create_task(agent.solve(Task(prompt="x")))
        await backend.begun.wait()
        await asyncio.sleep(0.05)
        agent.interrupt()
        return await solving

    outcome = asyncio.run(interrupted())
    assert outcome.status == "interrupted"
    assert (backend.under_way, backend.closed) == (0, 1)
    (cut,) = world.facts(outcome, "step.cut")
    assert cut["samples"][0]["text"] == "half"
    (asked,) = world.facts(outcome, "step.asked")
    assert outcome.usage["model"].tokens == asked["tokens"]
    again = world.agent(thinking(), "done").resume_sync(outcome.run)
    assert (again.status, again.answer) == ("solved", "done")
    assert again.usage["model"].tokens > asked["tokens"]


def test_a_host_that_cancels_leaves_a_run_that_says_so(world: World) -> None:
    """Cancelling the task that solves closes the stream too, and the trace ends with a pause."""
    backend = Streaming(30.0)
    agent = world.agent(thinking(), backend)

    async def cancelled() -> None:
        solving = asyncio.create_task(agent.solve(Task(prompt="x")))
        await backend.begun.wait()
        solving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await solving

    asyncio.run(cancelled())
    (run,) = world.journal.runs()
    assert backend.under_way == 0
    assert world.story_of(run).events[-1]["status"] == "interrupted"


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_steps_run_at_once_than_the_task_allows(world: World, most: int) -> None:
    """The task's concurrency bounds the open streams, and is used."""
    backend = Streaming(0.01, whole("x"))

    def planner(_: Task) -> Planning[int]:
        thoughts: tuple[Thought[str], ...] = yield from together(*(think("solve", number) for number in range(10)))
        return len(thoughts)

    assert world.solve(planner, backend, task={"concurrency": most}).answer == 10
    assert backend.most == most


def test_a_step_for_a_role_that_nobody_fills_says_how_to_fill_it(world: World) -> None:
    """Without a backend the run is unavailable, and the reason names the cure."""
    outcome = world.agent(thinking(), backends={}).solve_sync(Task(prompt="x"))
    assert outcome.status == "unavailable"
    assert "add one under `backends:`" in outcome.reason


def test_roles_are_answered_by_their_own_backend_or_the_default(world: World) -> None:
    """A step goes to the backend of its role; a role that is not mapped goes to the default."""

    def planner(_: Task) -> Planning[list[str]]:
        thoughts: tuple[Thought[str], ...] = yield from together(
            *(think("solve", "x", to=role) for role in ("default", "expert", "x"))
        )
        return [thought.value for thought in thoughts]

    backends = {"default": Scripted("plain"), "expert": Scripted("wise")}
    assert world.solve(planner, backends=backends).answer == ["plain", "wise", "plain"]
