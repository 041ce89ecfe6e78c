"""Policies around a policy, and best-of-n: who is asked, in which way, who pays, and what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from scaffold import (
    Confidence,
    Options,
    Planning,
    Task,
    Thought,
    Way,
    ahead_by,
    best_of,
    cascade,
    in_rotation,
    majority,
    once,
    several,
    shorter_than,
    think,
    unless_sure,
)
from scaffold.errors import BackendError, TaskError
from scaffold.machinery.asking.drawing import NOT_COUNTED
from scaffold.sampling_setting import read_sampling
from scaffold.testing import Driver, Scripted
from scaffold.vocabulary.composed import oversampled
from scaffold.vocabulary.confidence import Calibration, Curve, confidence_field
from scaffold.vocabulary.models import Prices, Profile, Request
from scaffold.vocabulary.sampling import Draw, Lost, Vote, Won

if TYPE_CHECKING:
    from tests.core.conftest import World

    from scaffold.vocabulary.sampling import Sampling

CHEAP = Profile(
    backend="cheap", model="c", context=9000, prices=Prices(0.0, 1.0), reasoning="full", can=frozenset({"n"})
)
DEAR = msgspec.structs.replace(CHEAP, backend="dear", model="d", prices=Prices(0.0, 1000.0))


def voting(policy: Sampling, **more: Any) -> Any:
    """A planner of one step."""

    def planner(task: Task) -> Planning[Any]:
        thought: Thought[Any] = yield from think(
            "solve", task.request, sampling=policy, options=Options(max_tokens=50), **more
        )
        return thought.value

    return planner


# --- a stronger backend where votes split


@pytest.mark.parametrize(
    ("cheap", "answer", "asked_of_dear"), [(["a", "a"], "a", 0), (["a", "b", "c"], "z", 1), (["a", "b", "b"], "b", 0)]
)
def test_a_stronger_backend_is_asked_only_where_the_cheap_ones_votes_split(
    world: World, cheap: list[str], answer: str, asked_of_dear: int
) -> None:
    """Agreement of the cheap one is enough; without it the strong one is asked, and the cheap votes do not count."""
    strong = Scripted(lambda _: "z", profile=DEAR)
    outcome = world.solve(
        voting(cascade(ahead_by(2, cap=3) if len(cheap) == 2 else majority(3, cap=3), to="strong")),
        backends={"default": Scripted(cheap, profile=CHEAP), "strong": strong},
    )
    assert (outcome.answer, len(strong.requests)) == (answer, asked_of_dear)


def test_each_backend_is_charged_by_its_own_prices_and_stands_in_the_trace(world: World) -> None:
    """Three cheap words and one dear one cost what each backend asks; the trace says who gave which sample."""
    outcome = world.solve(
        voting(cascade(majority(3, cap=3, batch=3), to="strong")),
        backends={
            "default": Scripted(["a", "b", "c"], profile=CHEAP),
            "strong": Scripted(["z"], profile=DEAR),
        },
    )
    assert outcome.usage["model"].usd == pytest.approx((3 * 1.0 + 1 * 1000.0) / 1e6)
    (asked,) = world.facts(outcome, "step.asked")
    (more,) = world.facts(outcome, "step.reserved")
    (step,) = world.facts(outcome, "step.answered")
    assert (asked["backend"], asked["sampling"]) == ("cheap", "cascade(majority(3, cap=3), to=strong, then=once)")
    assert more["ways"] == [{"way": {"to": "strong"}, "backend": "dear", "model": "d"}]
    assert more["usd"] == pytest.approx(50 * 1000.0 / 1e6)
    assert more["spent"]["usd"] == pytest.approx(3.0 / 1e6)
    assert [sample.get("way", 0) for sample in step["samples"]] == [0, 0, 0, 1]
    assert [sample.get("origin") for sample in step["samples"]] == [None] * 3 + [{"backend": "dear", "model": "d"}]
    assert (step["winner"], step.get("votes", 1)) == (3, 1)


def test_cheap_samples_still_running_are_stopped_when_the_strong_one_is_asked(world: World) -> None:
    """Four of five that differ are enough to know: the fifth has no vote among those of the strong backend."""
    strong = Scripted(["y", "z"], profile=DEAR)
    outcome = world.solve(
        voting(cascade(majority(5, cap=5), to="strong", then=ahead_by(1, cap=1))),
        backends={"default": Scripted(["a", "b", "c", "d", "z"], profile=CHEAP), "strong": strong},
    )
    assert outcome.answer == "y"
    (step,) = world.facts(outcome, "step.answered")
    assert [sample.get("flag", "") for sample in step["samples"]] == ["", "", "", "", NOT_COUNTED, ""]
    assert (step["winner"], step.get("votes", 1)) == (5, 1)


def test_a_role_that_sampling_asks_has_to_be_there(world: World) -> None:
    """The default backend never stands in for the stronger one: without it a run ends, or does not begin."""
    policy = cascade(majority(2, cap=2), to="strong")
    outcome = world.solve(voting(policy), Scripted(["a", "b"]))
    assert outcome.status == "unavailable"
    assert "needs a backend for the role 'strong', and there is none" in outcome.reason
    with pytest.raises(TaskError, match="there is no backend for the role 'strong'"):
        world.solve(voting(once()), sampling=policy)


# --- rotation


def test_rotation_asks_each_way_in_turn_with_seeds_of_their_own(world: World) -> None:
    """Five samples in three ways are three requests: prompts, temperatures and backends as each way says."""
    seen: list[Request] = []

    def say(request: Request) -> str:
        seen.append(request)
        return "a"

    other = Scripted(say, profile=DEAR)
    outcome = world.solve(
        voting(
            in_rotation(majority(5, batch=5), Way(), Way(temperature=1.0, instruction="Think again."), Way(to="other"))
        ),
        backends={"default": Scripted(say, profile=CHEAP), "other": other},
    )
    assert outcome.answer == "a"
    asked = {request.seed: request for request in seen}
    assert len(asked) == len(seen) == 5  # no two samples share their random numbers
    assert sorted({request.temperature for request in seen}) == [0.7, 1.0]
    assert any("Think again." in message.content for request in seen for message in request.messages)
    assert [request.n for request in other.requests] == [1]
    (step,) = world.facts(outcome, "step.answered")
    assert [sample.get("way", 0) for sample in step["samples"]] == [0, 1, 2, 0, 1]
    (opening,) = world.facts(outcome, "step.asked")
    assert ["messages" in way for way in opening["ways"]] == [True, False]


def test_rotation_goes_on_where_it_was(world: World) -> None:
    """What is drawn later takes the turns that follow."""
    outcome = world.solve(
        voting(in_rotation(ahead_by(2, cap=9), Way(), Way(temperature=1.0))),
        Scripted(["a", "b", "a", "b", "b", "b"], profile=CHEAP),
    )
    (step,) = world.facts(outcome, "step.answered")
    ways = [sample.get("way", 0) for sample in step["samples"]]
    assert ways == [place % 2 for place in range(len(ways))]
    assert outcome.status == "solved"


@pytest.mark.parametrize("ways", [(), (Way(),), (Way(), Way())])
def test_one_way_is_no_rotation(ways: tuple[Way, ...]) -> None:
    """Fewer than two different ways are refused, with an example."""
    with pytest.raises(ValueError, match="two different ways"):
        in_rotation(once(), *ways)


# --- one sample where sure


class Guess(BaseModel):
    """An answer that says how sure it is."""

    word: str
    sure: Confidence


def said(word: str, sure: float) -> str:
    """A guess as a model writes it."""
    return Guess(word=word, sure=sure).model_dump_json()


SEEN = Calibration((Curve(backend="cheap", model="c", step="solve", seen=100, stated=(0.5, 0.9), right=(0.4, 0.97)),))


def guessing(policy: Sampling) -> Any:
    """A planner whose step states its confidence."""

    def planner(task: Task) -> Planning[str]:
        thought = yield from think("solve", task.request, returns=Guess, sampling=policy)
        return thought.value.word

    return planner


@pytest.mark.parametrize(
    ("texts", "calibration", "answer", "samples"),
    [
        ([said("a", 0.9)], SEEN, "a", 1),
        ([said("a", 0.6), said("b", 0.99), said("b", 0.6)], SEEN, "b", 3),
        ([said("a", 0.99), said("b", 0.5), said("b", 0.5)], None, "b", 3),
    ],
    ids=["sure", "not sure", "nothing is known"],
)
def test_one_sample_is_enough_where_its_corrected_confidence_is(
    world: World, texts: list[str], calibration: Calibration | None, answer: str, samples: int
) -> None:
    """What was stated counts only as far as such statements were right before; votes are on the rest of the value."""
    outcome = world.solve(
        guessing(unless_sure(majority(3), sure=0.95)), Scripted(texts, profile=CHEAP), calibration=calibration
    )
    assert outcome.answer == answer
    (step,) = world.facts(outcome, "step.answered")
    assert len(step["samples"]) == samples
    if samples == 1:
        assert step["confidence"] == 0.97


def test_a_run_keeps_to_the_calibration_of_its_first_event(world: World) -> None:
    """Resumed with another calibration, or none, a run samples by the one that it was started with."""

    def planner(task: Task) -> Planning[str]:
        yield from think("answer", "first")
        return (yield from guessing(unless_sure(majority(3), sure=0.95))(task))  # type: ignore[no-any-return]  # a str

    from scaffold.errors import BackendUnavailable

    first = world.agent(planner, Scripted(["x", BackendUnavailable("down")], profile=CHEAP), calibration=SEEN)
    outcome = first.solve_sync(Task(prompt="x"))
    assert outcome.status == "unavailable"
    again = world.agent(planner, Scripted([said("a", 0.9)], profile=CHEAP)).resume_sync(outcome.run)
    assert (again.status, again.answer) == ("solved", "a")
    (opening,) = world.facts(outcome, "run.started")
    assert opening["calibration"]["curves"][0]["right"] == [0.4, 0.97]


@given(st.floats(0, 1))
def test_a_curve_never_decreases_and_stays_within_what_was_seen(stated: float) -> None:
    """More confidence stated is never less confidence corrected."""
    curve = Curve(backend="b", model="m", step="solve", seen=9, stated=(0.2, 0.5, 0.9), right=(0.1, 0.1, 0.8))
    assert 0.1 <= curve.correct(stated) <= curve.correct(min(1.0, stated + 0.1)) <= 0.8


def test_confidence_is_found_in_models_only_where_it_is_stated() -> None:
    """A field of the type Confidence is the statement; a float of the same name is not."""

    class Plain(BaseModel):
        sure: float

    assert (confidence_field(Guess), confidence_field(Plain), confidence_field(str)) == ("sure", "", "")


# --- best of n


def choosing(n: int = 3, **more: Any) -> Any:
    """A planner that takes the best of some answers."""

    def planner(task: Task) -> Planning[Any]:
        thought = yield from best_of(n, "propose", task.request, rubric="Short is beautiful.", **more)
        return [thought.value, thought.confidence]

    return planner


def marks(*texts: str, **of: str | BackendError) -> dict[str, Scripted]:
    """Backends: one that proposes these texts, and one that marks them."""

    def mark(request: Request) -> str | BackendError:
        shown = request.messages[-1].content
        return next(said for word, said in of.items() if word in shown)

    return {"default": Scripted(list(texts), profile=CHEAP), "judge": Scripted(mark, profile=DEAR)}


def test_the_best_is_what_the_judge_marks_highest(world: World) -> None:
    """Answers come from one step; each different one is marked once; of equal marks the first counts."""
    backends = marks("bad", "good", "bad", "fine", bad="2", good="9", fine="9")
    outcome = world.solve(choosing(4), backends=backends)
    assert outcome.answer == ["good", 0.9]
    assert [request.n for request in backends["default"].requests] == [4]
    assert len(backends["judge"].requests) == 3
    again = marks("good", "fine", "good", good="9", fine="9")
    assert world.solve(choosing(3), backends=again).answer == ["good", 0.9]


def test_a_judge_that_fails_is_never_a_pass(world: World) -> None:
    """An answer whose judge fails, or says nonsense, is out; when that is every answer, there is none."""
    backends = marks("good", "fine", "fine", good=BackendError("odd"), fine="4")
    assert world.solve(choosing(), backends=backends).answer == ["fine", 0.4]
    backends = marks("good", "good", "good", good="excellent")
    outcome = world.solve(choosing(), backends=backends)
    assert outcome.status == "failed"
    assert "none of 1 answers was marked 1 or higher: the judge failed" in outcome.reason


def test_what_is_marked_too_low_is_not_taken(world: World) -> None:
    """The best of bad answers is no answer."""
    outcome = world.solve(choosing(least=5), backends=marks("bad", "bad", "worse", bad="4", worse="1"))
    assert outcome.status == "failed"
    assert "marked 5 or higher: 4, 1" in outcome.reason


def test_several_gives_every_accepted_answer_live_and_replayed(world: World) -> None:
    """Candidates are what was accepted, in the order of samples; fewer when the cap holds no more."""
    told: list[list[int]] = []

    def planner(task: Task) -> Planning[int]:
        drafts = yield from think("propose", task.request, returns=int, sampling=several(3, cap=4))
        told.append([candidate.value for candidate in drafts.candidates])
        yield from think("answer", "x", to="gone")
        return 0

    backends = {"default": Scripted(["1", "x", "2", "y"], profile=CHEAP), "gone": Scripted([], profile=DEAR)}
    outcome = world.solve(planner, backends=backends)
    assert told == [[1, 2]]
    assert outcome.status == "failed"


def test_best_of_is_driven_by_hand_too() -> None:
    """A list in reply to the drafts is the candidates; then each is marked."""
    driver = Driver(choosing()(Task(prompt="x")))
    assert driver.next() is not None
    driver.reply(["bad", "good"])
    for mark in (2, 9):
        driver.next()
        driver.reply(mark)
    assert driver.result == ["good", 0.9]


# --- measuring


def test_measuring_gives_the_planner_no_more_candidates(world: World) -> None:
    """Eight samples are drawn where three were wanted; the planner is sent three."""
    told: list[int] = []

    def planner(task: Task) -> Planning[int]:
        drafts = yield from think("propose", task.request, sampling=several(3))
        told.append(len(drafts.candidates))
        return 0

    outcome = world.solve(planner, Scripted(lambda _: "x", profile=CHEAP), oversample=8)
    (step,) = world.facts(outcome, "step.answered")
    assert (told, len(step["samples"])) == ([3], 8)


@given(st.lists(st.sampled_from([b"a", b"b", None]), max_size=12))
def test_oversampling_decides_as_the_policy_would(letters: list[bytes | None]) -> None:
    """More samples are drawn, and what is decided is decided by those that would have been drawn anyway."""
    policy, more = majority(3), oversampled(majority(3), 8)
    votes = [None if letter is None else Vote(letter) for letter in letters]
    decided = more.decide(votes)
    if len(votes) < 8:
        assert isinstance(decided, Draw)
    elif not isinstance(decided, Draw):
        first = next(policy.decide(votes[:n]) for n in range(13) if not isinstance(policy.decide(votes[:n]), Draw))
        assert decided == first


# --- in a task file


@pytest.mark.parametrize(
    ("file", "votes", "expected"),
    [
        ({"ahead_by": 2, "cascade": "strong"}, "ab" * 8, Draw(1, (Way(to="strong"),))),
        ({"majority": 2, "cap": 2, "cascade": {"to": "strong", "majority": 3}}, "ab", Draw(2, (Way(to="strong"),))),
        ({"majority": 3, "rotate": [{}, {"temperature": 1.0}]}, "", Draw(2, (Way(), Way(temperature=1.0)))),
        ({"ahead_by": 2, "sure": 0.9, "calibration": "x"}, "", Draw(1)),
        ({"ahead_by": 2, "batch": 5}, "", Draw(5)),
    ],
)
def test_a_task_file_can_say_it(file: dict[str, Any], votes: str, expected: Draw | Won | Lost) -> None:
    """Each key builds the policy that its name says."""
    policy = read_sampling(file)
    assert policy is not None
    assert policy.decide([Vote(letter.encode()) for letter in votes]) == expected


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"best_of": 3}, "needs a judge, which only a planner can give: use `scaffold.best_of`"),
        ({"majority": 3, "rotate": [{}]}, "two different ways"),
        ({"majority": 3, "rotate": {"to": "x"}}, "should be a list of ways"),
        ({"majority": 3, "rotate": [{}, {"temprature": 1}]}, "did you mean 'temperature'"),
        ({"majority": 3, "rotate": [{}, {"temperature": "hot"}]}, "should be a number, not 'hot'"),
        ({"majority": 3, "cascade": 4}, "should be the role of a stronger backend"),
        ({"majority": 3, "cascade": {"to": "x", "majority": 0}}, "should be a whole number of at least 1"),
        ({"majority": 3, "cascade": {"to": "x", "mayority": 2}}, "did you mean 'majority'"),
        ({"majority": 3, "sure": 95}, "should be a probability above 0.5"),
        ({"once": None, "batch": 4}, "can only be used with `majority` or `ahead_by`"),
        ({"cascade": "strong"}, "should have exactly one of"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(file: dict[str, Any], message: str) -> None:
    """Errors name the key and the cure."""
    with pytest.raises(TaskError, match=message.replace("(", r"\(")):
        read_sampling(file)


def test_flags_of_a_cascade_hold_for_all_its_samples(world: World) -> None:
    """A red flag of the cheap policy flags an answer of the strong backend too."""
    outcome = world.solve(
        voting(cascade(majority(2, cap=2, flags=(shorter_than(4),)), to="strong", then=once(tries=2))),
        backends={
            "default": Scripted(["a", "b"], profile=CHEAP),
            "strong": Scripted(["too long", "ok"], profile=DEAR),
        },
    )
    assert outcome.answer == "ok"
