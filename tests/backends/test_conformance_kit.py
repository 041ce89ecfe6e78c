"""The kit itself: for every check there is a backend that is broken in just that, and the check finds it."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold.errors import BackendUnavailable, NotAuthorised
from scaffold.testing.backend_conformance import BackendConformance
from scaffold.vocabulary.models import Delta, Prices, Profile, Request, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from scaffold.errors import BackendError
    from scaffold.interfaces import Backend

ALL = frozenset({"schema", "choices", "logprobs", "seed", "n", "fork"})
SOUND = Profile(
    backend="toy",
    model="t",
    context=500,
    prices=Prices(1.0, 2.0),
    reasoning="full",
    can=ALL,  # type: ignore[arg-type]  # its members are abilities
)


class Toy:
    """A backend that does all it should, in as few lines as can be; each broken one is wrong in one of them."""

    def __init__(self) -> None:
        self.profile = SOUND
        self.working = 0

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer."""
        from scaffold.errors import ContextOverflow

        prompt = len(request.messages[-1].content.split())
        if prompt > 500:
            raise ContextOverflow(f"{prompt} words are more than 500")
        self.working += 1
        try:
            for delta in self.deltas(request, prompt):
                await asyncio.sleep(0.001)
                yield delta
        finally:
            self.working -= 1

    def deltas(self, request: Request, prompt: int) -> list[Delta]:
        """The whole stream."""
        deltas = [each for index in range(request.n) for each in self.sample(request, index)]
        output = sum(len(f"{each.text} {each.reasoning}".split()) for each in deltas)
        reasoning = sum(len(each.reasoning.split()) for each in deltas)
        deltas[-1] = msgspec.structs.replace(deltas[-1], usage=self.usage(prompt, output, reasoning))
        return deltas

    def usage(self, prompt: int, output: int, reasoning: int) -> Usage:
        """What it cost."""
        return Usage(prompt, output, reasoning, usd=SOUND.prices.cost(prompt, output) if SOUND.prices else None)

    def sample(self, request: Request, index: int) -> list[Delta]:
        """One sample."""
        text = self.text(request, (request.seed or 0) + index if request.temperature else 0)
        for stop in request.stop:
            text = text.partition(stop)[0]
        return [Delta(index, reasoning="so then"), Delta(index, text=text), Delta(index, finish="stop")]

    def text(self, request: Request, seed: int) -> str:
        """What it says."""
        source = random.Random(f"{request.messages[-1].content}{seed}")
        if request.json_schema is not None:
            return '{"sure": true, "size": "small"}'
        if request.choices:
            return source.choice(request.choices)
        return f"{source.randrange(10**6)} it is"

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Say that it is ready."""
        say("ready", 1.0)

    async def close(self) -> None:
        """Nothing to free."""


class Kit(BackendConformance):
    """The kit, on a backend that is given to it."""

    long_tokens = 16
    patience_s = 5.0
    stops_within_s = 1.0

    def __init__(self, kind: type[Toy]) -> None:
        self.kind = kind

    def make(self) -> Backend:
        return self.kind()

    def at_work(self, backend: Backend) -> int | None:
        return backend.working if isinstance(backend, Toy) else None


CHECKS = [name for name in vars(BackendConformance) if name.startswith("test_")]


@pytest.mark.parametrize("check", CHECKS)
def test_a_backend_that_does_all_it_should_passes(check: str) -> None:
    """The sound one passes each check, and none but that of its errors is skipped."""
    passing = Kit(Toy)
    if check == "test_errors_are_told_as_ours":
        with pytest.raises(pytest.skip.Exception):
            getattr(passing, check)()
    else:
        getattr(passing, check)()


class Changing(Toy):
    """Its profile changes with each request."""

    def deltas(self, request: Request, prompt: int) -> list[Delta]:
        self.profile = msgspec.structs.replace(self.profile, model=self.profile.model + "+")
        return super().deltas(request, prompt)


class Guessing(Toy):
    """It guesses what no profile has."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = msgspec.structs.replace(SOUND, guessed=("mood",))


class UsageFirst(Toy):
    """It says what it cost before it is done."""

    def deltas(self, request: Request, prompt: int) -> list[Delta]:
        first, *rest = super().deltas(request, prompt)
        return [msgspec.structs.replace(first, usage=Usage(1, 1)), *rest]


class WithoutUsage(Toy):
    """It never says what it cost."""

    def deltas(self, request: Request, prompt: int) -> list[Delta]:
        return [msgspec.structs.replace(delta, usage=None) for delta in super().deltas(request, prompt)]


class WithoutEnd(Toy):
    """Its samples have no end."""

    def deltas(self, request: Request, prompt: int) -> list[Delta]:
        return [msgspec.structs.replace(delta, finish=None) for delta in super().deltas(request, prompt)]


class EndedTwice(Toy):
    """It goes on after the end of a sample."""

    def sample(self, request: Request, index: int) -> list[Delta]:
        return [*super().sample(request, index), Delta(index, text="and more", finish="stop")]


class CountingFromOne(Toy):
    """It counts samples from 1."""

    def sample(self, request: Request, index: int) -> list[Delta]:
        return [msgspec.structs.replace(each, index=index + 1) for each in super().sample(request, index)]


class OneAtMost(Toy):
    """It gives one sample, however many are asked for."""

    def deltas(self, request: Request, prompt: int) -> list[Delta]:
        return super().deltas(msgspec.structs.replace(request, n=1), prompt)


class GoingOnInATask(Toy):
    """Its work goes on in a task of its own when nobody listens any more."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        self.task = asyncio.create_task(asyncio.sleep(30))
        async for delta in super().generate(request):
            yield delta
        self.task.cancel()


class GoingOnInAThread(Toy):
    """Its work goes on in a thread when nobody listens any more."""

    over = False

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        begun = time.monotonic()

        def work() -> None:
            while not self.over and time.monotonic() < begun + 60:  # on a busy machine it comes to little in a second
                pass

        threading.Thread(target=work).start()
        async for delta in super().generate(request):
            yield delta
        self.over = True

    async def close(self) -> None:
        self.over = True  # else it would be in the way of what is tested next
        await super().close()


class GoingOnInside(Toy):
    """Its work goes on where only it can see it."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        self.working += 1
        async for delta in super().generate(request):
            yield delta
        self.working -= 1


class Deaf(Toy):
    """It does not end when it is closed."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        for delta in self.deltas(request, 3):
            try:
                yield delta
            except GeneratorExit:
                yield delta


class Uncancellable(Toy):
    """It swallows cancellation."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        for delta in self.deltas(request, 3):
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
            yield delta


class Talkative(Toy):
    """It wraps its JSON, and its choices, in words."""

    def text(self, request: Request, seed: int) -> str:
        return f"Sure! {super().text(request, seed)}"


class Unstoppable(Toy):
    """It writes on through stop texts."""

    def sample(self, request: Request, index: int) -> list[Delta]:
        return super().sample(msgspec.structs.replace(request, stop=()), index)


class Cutting(Toy):
    """It cuts a prompt that is too long, and says nothing."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        turns = tuple(msgspec.structs.replace(turn, content=turn.content[:100]) for turn in request.messages)
        async for delta in super().generate(msgspec.structs.replace(request, messages=turns)):
            yield delta


class Crashing(Toy):
    """It raises what it finds when a prompt is too long."""

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        if len(request.messages[-1].content) > 1000:
            raise IndexError("list index out of range")
        async for delta in super().generate(request):
            yield delta


class Seedless(Toy):
    """It takes a seed and does not heed it."""

    counter = itertools.count()

    def text(self, request: Request, seed: int) -> str:
        return super().text(request, next(self.counter))


class Forking(Toy):
    """It gives n times the sample of the first seed."""

    def sample(self, request: Request, index: int) -> list[Delta]:
        first = super().sample(request, 0)
        return [msgspec.structs.replace(each, index=index) for each in first]


class Free(Toy):
    """It charges nothing."""

    def usage(self, prompt: int, output: int, reasoning: int) -> Usage:
        return Usage(0, 0)


class Constant(Toy):
    """It charges the same for every prompt."""

    def usage(self, prompt: int, output: int, reasoning: int) -> Usage:
        return Usage(7, output, reasoning)


class Dear(Toy):
    """It charges more than its list price."""

    def usage(self, prompt: int, output: int, reasoning: int) -> Usage:
        return Usage(prompt, output, reasoning, usd=1.0)


class LastOnly(Toy):
    """Of n samples it counts the last."""

    def usage(self, prompt: int, output: int, reasoning: int) -> Usage:
        return super().usage(prompt, min(output, 5), min(reasoning, 2))


class Hidden(Toy):
    """It declares its reasoning readable, and bills more than it shows."""

    def usage(self, prompt: int, output: int, reasoning: int) -> Usage:
        return Usage(prompt, output + 300, reasoning + 300)


class Thinking(Toy):
    """Its reasoning stands in the text."""

    def text(self, request: Request, seed: int) -> str:
        return f"<think>hm</think>{super().text(request, seed)}"


class Showing(Toy):
    """It shows reasoning, and declares that there is none to see."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = msgspec.structs.replace(SOUND, reasoning="absent")


class Mixing(Toy):
    """It keeps the seed that it answers with in itself."""

    seed: int | None = None

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        self.seed = request.seed
        await asyncio.sleep(0.05)
        async for delta in super().generate(msgspec.structs.replace(request, seed=self.seed)):
            yield delta


class OneLoop(Toy):
    """It works on the event loop that it was first used on."""

    loop: Any = None

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        here = asyncio.get_running_loop()
        self.loop = self.loop or here
        if self.loop is not here:
            raise RuntimeError("bound to a different event loop")
        async for delta in super().generate(request):
            yield delta


class Percent(Toy):
    """It tells how far it is in percent."""

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        say("half", 50)


class ClosedOnce(Toy):
    """It cannot be closed twice."""

    closed = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("already closed")
        self.closed = True


BROKEN: list[tuple[str, type[Toy], str]] = [
    ("test_the_profile_is_plain_data", Changing, "changed when the backend answered"),
    ("test_the_profile_is_plain_data", Guessing, "mood"),
    ("test_a_stream_is_in_order", UsageFirst, "only the last may"),
    ("test_a_stream_is_in_order", WithoutUsage, "no usage"),
    ("test_a_stream_is_in_order", WithoutEnd, "have no piece with a finish"),
    ("test_a_stream_is_in_order", EndedTwice, "after the end of its sample"),
    ("test_a_stream_is_in_order", CountingFromOne, "to sample 1, but the request asks for 1"),
    ("test_n_samples_are_n", OneAtMost, r"samples \[1, 2, 3, 4\] have no piece with a finish"),
    ("test_closing_stops_the_work", GoingOnInATask, "1 tasks"),
    ("test_closing_stops_the_work", GoingOnInAThread, "s of CPU"),
    ("test_closing_stops_the_work", GoingOnInside, "1 inside"),
    ("test_closing_stops_the_work", Deaf, "ignored GeneratorExit"),
    ("test_cancelling_stops_the_work", Uncancellable, "went on after it was cancelled"),
    ("test_schemas_are_kept", Talkative, "does not match the schema"),
    ("test_choices_are_kept", Talkative, "not among the choices"),
    ("test_a_sample_ends_before_a_stop_text", Unstoppable, "is in the answer"),
    ("test_a_prompt_that_is_too_long_is_told_as_such", Cutting, "expected ContextOverflow, but the backend answered"),
    ("test_a_prompt_that_is_too_long_is_told_as_such", Crashing, "expected ContextOverflow, but IndexError was raised"),
    ("test_a_seed_repeats_a_sample", Seedless, "the same seed gave"),
    ("test_samples_together_are_those_asked_one_by_one", Forking, "one by one"),
    ("test_usage_is_true", Free, "a prompt was charged 0 input tokens"),
    ("test_usage_is_true", Constant, "is not charged more input"),
    ("test_usage_is_true", Dear, "but the list price is"),
    ("test_usage_is_true", LastOnly, "tokens together"),
    ("test_usage_is_true", Hidden, "an answer of at most"),
    ("test_many_are_answered_at_once", Mixing, "other answers than alone"),
    ("test_several_event_loops_are_served", OneLoop, "different event loop"),
    ("test_reasoning_is_as_visible_as_it_says", Hidden, "shown is 'summary', but the profile says 'full'"),
    ("test_reasoning_is_as_visible_as_it_says", Thinking, "the text contains reasoning"),
    ("test_reasoning_is_as_visible_as_it_says", Showing, "the profile says 'absent'"),
    ("test_getting_ready_tells_how_far_it_is", Percent, "50"),
    ("test_closing_twice_does_no_harm", ClosedOnce, "already closed"),
]


@pytest.mark.parametrize(
    ("check", "kind", "said"), BROKEN, ids=[f"{check[5:]}-{kind.__name__}" for check, kind, _ in BROKEN]
)
def test_each_check_finds_what_is_broken(check: str, kind: type[Toy], said: str) -> None:
    """A backend that is wrong in one thing is found by the check of that thing, which says what it is."""
    with pytest.raises((AssertionError, RuntimeError), match=said):
        getattr(Kit(kind), check)()


def test_no_check_is_without_a_backend_that_it_finds() -> None:
    """Each check of the kit is known to be able to fail."""
    assert {check for check, _, _ in BROKEN} | {"test_errors_are_told_as_ours"} == set(CHECKS)


def test_errors_of_another_kind_are_found() -> None:
    """A failing backend that raises something else, or answers, is found."""

    class Failing(Kit):
        def failing(self) -> Mapping[type[BackendError], Backend]:
            return {NotAuthorised: self.kind()}

    class Down(Toy):
        async def generate(self, request: Request) -> AsyncGenerator[Delta]:
            raise BackendUnavailable("401 Unauthorized")
            yield Delta()

    with pytest.raises(AssertionError, match="expected NotAuthorised, but BackendUnavailable was raised: 401"):
        Failing(Down).test_errors_are_told_as_ours()
    with pytest.raises(AssertionError, match="expected NotAuthorised, but the backend answered"):
        Failing(Toy).test_errors_are_told_as_ours()


def test_what_does_not_apply_is_skipped_with_the_reason() -> None:
    """A backend that claims nothing is not asked for it."""

    class Plain(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.profile = msgspec.structs.replace(SOUND, can=frozenset(), context=None)

    for check, reason in {
        "test_schemas_are_kept": "'schema'",
        "test_choices_are_kept": "'choices'",
        "test_a_seed_repeats_a_sample": "'seed'",
        "test_a_prompt_that_is_too_long_is_told_as_such": "states no context length",
        "test_errors_are_told_as_ours": "gives no backend that fails",
    }.items():
        with pytest.raises(pytest.skip.Exception, match=reason):
            getattr(Kit(Plain), check)()


def test_one_that_never_answers_is_not_waited_for_for_ever() -> None:
    """A check ends after the kit's patience, and says so."""

    class Silent(Toy):
        async def generate(self, request: Request) -> AsyncGenerator[Delta]:
            await asyncio.sleep(30)
            yield Delta()

    kit = Kit(Silent)
    kit.patience_s = 0.1
    with pytest.raises(AssertionError, match=r"longer than 0\.1 s"):
        kit.test_a_stream_is_in_order()
