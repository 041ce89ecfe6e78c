"""Sampling: votes count by sample index, what is flagged is drawn again, no winner means no answer."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import Planning, Task, Thought, ahead_by, majority, once, several, shorter_than, think, verified
from scaffold.errors import NoWinner, StepFailed
from scaffold.testing import Noisy, Scripted
from scaffold.vocabulary.models import Delta, Request, Sample, Usage
from scaffold.vocabulary.sampling import Draw, Lost, Sampling, Vote, Votes, Won

if TYPE_CHECKING:
    from tests.core.conftest import World

letters = st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=30)


def settle(policy: Sampling, texts: list[bytes]) -> tuple[Won | Lost | None, int]:
    """Feed a policy the votes one by one until it decides; None when it asks for more than there are."""
    votes = [Vote(text) for text in texts]
    for drawn in range(len(votes) + 1):
        said = policy.decide(votes[:drawn])
        if not isinstance(said, Draw):
            return said, drawn
        assert said.n >= 1
        assert drawn + said.n <= policy.cap
    return None, len(votes)


@given(st.integers(1, 4), letters)
def test_ahead_by_takes_the_first_to_lead_by_k_counted_by_index(k: int, votes: list[bytes]) -> None:
    """The winner is the first answer that, reading samples in their order, leads every other by k."""
    said, drawn = settle(ahead_by(k, cap=30), votes)
    tally: Counter[bytes] = Counter()
    expected = None
    for place, vote in enumerate(votes[: min(drawn, 30)]):
        tally[vote] += 1
        others = [count for other, count in tally.items() if other != vote]
        if tally[vote] - max(others, default=0) >= k:
            expected = (vote, place + 1)
            break
    if isinstance(said, Won):
        assert (votes[said.place], said.counted) == expected
        assert said.place == votes.index(votes[said.place])
        assert said.share == tally[votes[said.place]] / said.counted
    else:
        assert expected is None


@given(st.integers(1, 7), letters)
def test_majority_takes_what_has_more_than_half_of_n(n: int, votes: list[bytes]) -> None:
    """An answer wins with more than half of n votes, out of the first n; otherwise nothing does."""
    said, _ = settle(majority(n), votes)
    if isinstance(said, Won):
        assert votes[:n].count(votes[said.place]) * 2 > n
    elif isinstance(said, Lost):
        assert all(votes[:n].count(vote) * 2 <= n for vote in votes)
    else:
        assert all(votes.count(vote) * 2 <= n for vote in votes)


@pytest.mark.parametrize(
    ("policy", "votes", "more"),
    [
        (majority(5), "", 3),
        (majority(5), "aa", 1),
        (majority(5), "ab", 2),
        (majority(5), "abb", 1),
        (majority(5, batch=4), "aab", 2),
        (majority(3, cap=4, batch=3), "--", 2),
        (majority(4), "abc", None),
        (majority(3, cap=4), "---", None),
        (ahead_by(3), "", 3),
        (ahead_by(3), "aa", 1),
        (ahead_by(3), "aab", 2),
        (ahead_by(3, cap=4), "aab", None),
        (ahead_by(2, cap=4, batch=3), "ab", 2),
    ],
)
def test_as_many_are_drawn_as_could_decide_it_and_no_more(policy: Sampling, votes: str, more: int | None) -> None:
    """Samples are paid for: none is drawn beyond the cap, nor where no answer can win any more; `-` was no answer."""
    said = policy.decide([None if each == "-" else Vote(each.encode()) for each in votes])
    assert (said.n if isinstance(said, Draw) else None) == more
    assert not isinstance(said, Won)


@pytest.mark.parametrize("make", [lambda: once(tries=0), lambda: majority(0), lambda: ahead_by(0)])
def test_a_policy_of_nothing_is_refused(make: Callable[[], Sampling]) -> None:
    """At least one sample has to be drawn, and the message says so."""
    with pytest.raises(ValueError, match="should be at least 1"):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ahead_by(10**9), "k should be 10,000 at most, not 1000000000"),
        (lambda: majority(2.5), "n should be a whole number, not 2.5"),  # type: ignore[arg-type]  # that is the point
        (lambda: once(tries=10_001), "tries should be 10,000 at most, not 10001"),
        (lambda: majority(5, cap=3), "cap should be at least 5: no fewer samples can decide, so not 3"),
        (lambda: ahead_by(3, cap=2), "cap should be at least 3: no fewer samples can decide, so not 2"),
        (lambda: several(2, cap=-1), "cap should be at least 1, not -1"),
    ],
)
def test_a_policy_that_nothing_could_carry_out_is_refused(make: Callable[[], Sampling], said: str) -> None:
    """It would fill the memory with samples, or draw more than its cap; half a vote does not exist."""
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_what_is_no_check_is_refused_before_anything_is_asked() -> None:
    """A check by itself in place of a tuple of them, or what is none, is an error where the policy is made."""
    with pytest.raises(TypeError, match=re.escape("`flags` should be a tuple of checks, such as (shorter_than(750),)")):
        majority(3, flags=shorter_than(9))  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="`flags` should be a tuple of checks"):
        once(flags=("short",))  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="`critic` should be a function of a sample's value, not 3"):
        verified(3)  # type: ignore[arg-type]  # that is the point


# --- through the engine


class OutOfOrder(Scripted):
    """Sends the pieces of its samples in an order of its own."""

    def __init__(self, texts: list[str], order: random.Random) -> None:
        super().__init__("")
        self.texts = texts
        self.order = order
        self.given = 0

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answer each sample, in a shuffled order, in two pieces."""
        self.requests.append(request)
        texts = self.texts[self.given : self.given + request.n]
        self.given += request.n
        places = [place for place in range(request.n) for _ in range(2)]
        self.order.shuffle(places)
        begun: set[int] = set()
        for number, place in enumerate(places):
            ended = place in begun
            begun.add(place)
            half = texts[place][1:] if ended else texts[place][:1]
            usage = Usage(1, 1) if number == len(places) - 1 else None
            yield Delta(index=place, text=half, finish="stop" if ended else None, usage=usage)


def voting(policy: Sampling, *, returns: Any = str) -> Callable[[Task], Planning[Any]]:
    """A planner of one step."""

    def planner(task: Task) -> Planning[Any]:
        thought: Thought[Any] = yield from think("solve", task.request, returns=returns, sampling=policy)
        return [thought.value, round(thought.confidence, 6)]

    return planner


@pytest.mark.parametrize("seed", range(5))
def test_arrival_does_not_decide_a_vote(world: World, seed: int) -> None:
    """The same samples in every order of arrival give the same winner, confidence and record."""
    texts = ["one", "two", "two", "one", "one", "two", "one", "one", "one"]
    backend = OutOfOrder(texts, random.Random(seed))
    outcome = world.solve(voting(ahead_by(3)), backend)
    assert outcome.answer == ["one", round(6 / 9, 6)]
    (step,) = world.facts(outcome, "step.answered")
    assert [sample["text"] for sample in step["samples"]] == texts[: len(step["samples"])]
    assert [sample["index"] for sample in step["samples"]] == list(range(len(step["samples"])))


@pytest.mark.parametrize(
    ("policy", "script", "reason"),
    [
        (majority(4, cap=4), ["a", "b", "a", "b"], "no answer has more than half of 4 votes"),
        (ahead_by(2, cap=4), ["a", "b", "a", "b"], "no answer leads by 2 after 4 samples"),
        (ahead_by(3, cap=3), ["a", "a", "b"], "no answer leads by 3 after 3 samples"),
    ],
)
def test_without_a_winner_within_the_cap_the_step_fails(
    world: World, policy: Sampling, script: list[str], reason: str
) -> None:
    """No winner is an error that says how the votes fell; the first candidate is never taken instead."""
    caught: list[NoWinner] = []

    def planner(task: Task) -> Planning[str]:
        try:
            yield from think("solve", task.request, sampling=policy)
        except NoWinner as error:
            caught.append(error)
        return "unsolved"

    outcome = world.solve(planner, script)
    assert outcome.answer == "unsolved"
    assert caught[0].message == reason
    assert caught[0].data["votes"] == {f'"{vote}"': script.count(vote) for vote in script}


def test_red_flags_are_discarded_and_drawn_again_never_repaired(world: World) -> None:
    """What is malformed, over-long, cut or flagged does not vote, and stands in the trace with the reason."""
    script = [
        "The answer is 42.",
        "42 ",
        Sample(index=0, text="42", finish="length"),
        Sample(index=0, text="42", finish="error"),
        "1000000",
        "41",
        "42",
        "42",
    ]
    outcome = world.solve(voting(ahead_by(2, cap=9, flags=(shorter_than(6),)), returns=int), script)
    assert outcome.answer == [42, 0.75]
    (step,) = world.facts(outcome, "step.answered")
    flags = [sample.get("flag", "") for sample in step["samples"]]
    assert [bool(flag) for flag in flags] == [True, False, True, True, True, False, False, False]
    assert flags[0] == "malformed: not a whole number"
    assert flags[2] == "not finished within 512 tokens (max_tokens)"
    assert flags[4] == "it has 7 characters; the limit is below 6"
    assert (step["samples"][0]["text"], step["samples"][1]["text"]) == ("The answer is 42.", "42 ")
    assert step["discarded"] == 4
    assert step["winner"] == 1


def test_answers_that_are_alike_are_checked_once(world: World) -> None:
    """A check may cost much: it reads each of the texts that a step's samples give one time, refused or not."""
    seen: list[str] = []

    def even(value: str) -> str:
        seen.append(value)
        return "" if int(value) % 2 == 0 else "odd"

    outcome = world.solve(voting(ahead_by(3, cap=9, flags=(even,))), ["7", "8", "7", "8", "6", "8", "8"])
    assert outcome.answer == ["8", 0.8]
    assert seen == ["7", "8", "6"]
    (step,) = world.facts(outcome, "step.answered")
    assert [sample.get("flag", "") for sample in step["samples"]] == ["odd", "", "odd", "", "", "", ""]


def test_a_check_that_failed_is_made_again(world: World) -> None:
    """That a check failed says nothing of the answer: the next sample that gives it may pass."""
    times = iter([TimeoutError("busy"), None])

    def sometimes(_value: str) -> None:
        fault = next(times)
        if fault is not None:
            raise fault

    outcome = world.solve(voting(once(tries=2, flags=(sometimes,))), ["yes", "yes"])
    assert outcome.answer == ["yes", 1.0]


def test_when_all_is_discarded_the_step_fails_and_says_why_of_the_last(world: World) -> None:
    """A step of which no sample is acceptable gives an error, with the flags, and no value."""
    outcome = world.solve(voting(once(tries=2), returns=int), ["forty", "two"])
    assert outcome.status == "failed"
    assert "no acceptable answer in 2 samples; the last was discarded: malformed" in outcome.reason
    (step,) = world.facts(outcome, "step.answered")
    assert len(step["samples"]) == 2
    assert "value" not in step


def test_verified_takes_the_first_that_the_critic_accepts(world: World) -> None:
    """Samples are drawn until a check in code says yes; each rejected one is kept with the critic's words."""
    policy = verified(lambda value: value % 7 == 0 or f"{value} is no multiple of 7")
    outcome = world.solve(voting(policy, returns=int), ["1", "2", "21", "28"])
    assert outcome.answer == [21, 1.0]
    (step,) = world.facts(outcome, "step.answered")
    assert [sample.get("flag", "") for sample in step["samples"]] == [
        "1 is no multiple of 7",
        "2 is no multiple of 7",
        "",
    ]


@pytest.mark.parametrize("silent", [None, 0, "", [], False], ids=repr)
def test_a_critic_that_does_not_say_yes_has_not_accepted(world: World, silent: Any) -> None:
    """A critic that finds nothing, as `re.match` does, has verified nothing."""
    outcome = world.solve(voting(verified(lambda _value: silent, tries=2)), ["a", "b"])
    assert outcome.status == "failed"


@pytest.mark.parametrize("said", [["too long"], [], 0, 1], ids=repr)
def test_a_red_flag_that_says_something_else_has_flagged(world: World, said: Any) -> None:
    """A check says True, nothing, or why not; what it says otherwise is no acceptance."""
    outcome = world.solve(voting(once(tries=1, flags=(lambda _value: said,))))
    assert outcome.status == "failed"


def test_a_check_that_raises_has_not_accepted(world: World) -> None:
    """A critic or red flag that fails discards the sample: a failed check is never a pass."""
    outcome = world.solve(voting(verified(lambda value: 1 / (value - 1) > 0), returns=int), ["1", "2"])
    assert outcome.answer == [2, 1.0]
    (step,) = world.facts(outcome, "step.answered")
    assert step["samples"][0]["flag"] == "check failed: ZeroDivisionError: division by zero"


@pytest.mark.parametrize("left", [SystemExit(0), ValueError("x")], ids=repr)
def test_a_check_that_runs_what_a_model_wrote_is_not_ended_by_it(world: World, left: BaseException) -> None:
    """`exit()` in an answer would end the process, with the status of success."""

    def check(value: str) -> bool:
        exec(value, {"left": left})  # noqa: S102 - as a user may
        return True

    outcome = world.solve(voting(once(flags=(check,))), ["raise left", "pass"])
    assert outcome.answer == ["pass", 1.0]


@pytest.mark.parametrize("place", [-1, 0, 2])
def test_a_policy_of_a_strangers_making_cannot_take_what_has_no_vote(world: World, place: int) -> None:
    """Neither a sample that was discarded, nor one that was never drawn."""

    class Takes(msgspec.Struct, frozen=True):
        cap: int = 8
        flags: tuple[Any, ...] = ()

        def decide(self, votes: Votes) -> Draw | Won:
            return Won(place, 1.0, 1) if len(votes) > 1 else Draw(2 - len(votes))

    outcome = world.solve(voting(Takes(), returns=int), ["malformed", "2"])
    assert outcome.status == "failed"
    said = f"the sampling of the step at 0 cannot be followed: Takes takes sample {place}, which has no vote"
    assert outcome.reason.startswith(said)


@pytest.mark.parametrize("said", [Draw(0), Draw(-1), Draw(9), None, 1], ids=repr)
def test_a_policy_of_a_strangers_making_cannot_draw_forever_or_beyond_its_cap(world: World, said: Any) -> None:
    """A policy that asks for nothing, or for more than it said, ends the run with an error that names it."""

    class Endless(msgspec.Struct, frozen=True):
        cap: int = 8
        flags: tuple[Any, ...] = ()

        def decide(self, votes: Votes) -> Any:
            return said

    outcome = world.solve(voting(Endless()), "x")
    assert outcome.status == "failed"
    assert "cannot be followed: Endless" in outcome.reason


def test_votes_make_a_model_that_errs_reliable(world: World) -> None:
    """With one sample in five wrong, a vote by 4 answers right where a single sample does not always."""

    def planner(_: Task) -> Planning[list[int]]:
        answers: list[int] = []
        for number in range(30):
            thought: Thought[int] = yield from think("solve", number, returns=int, sampling=ahead_by(4, cap=60))
            answers.append(thought.value)
        return answers

    noisy = Noisy(Scripted("1234"), 0.2, seed=7)
    assert world.solve(planner, noisy, task={"budget": {"tokens": 10_000_000}}).answer == [1234] * 30


def test_an_unsettled_step_is_caught_as_a_failed_step() -> None:
    """NoWinner is a StepFailed, so planners need one clause for both."""
    assert issubclass(NoWinner, StepFailed)
