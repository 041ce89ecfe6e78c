"""What a person sees of a model's words, live or cleared; the planner is sent whole thoughts either way."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Plan, Planned, Planning, Task, Thought, Verdict, majority, once, propose, think
from scaffold.cli.overhearing import Overheard
from scaffold.errors import StepFailed, StepRefused, TaskError
from scaffold.streaming import Piece
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Delta, Profile, Usage
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.core.conftest import Watcher, World

    from scaffold.vocabulary.models import Request


class Pieces:
    """A backend whose samples come in pieces, each sample a list of (reasoning, text)."""

    profile = Profile(backend="pieces", model="pieces", reasoning="full", can=frozenset({"n"}))

    def __init__(self, *samples: Sequence[tuple[str, str]]) -> None:
        self.samples = list(samples)
        self.closed: list[bool] = []

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Give the next samples, piece by piece, in turns."""
        mine = [self.samples.pop(0) for _ in range(request.n)]
        whole = False
        try:
            for place in range(max(map(len, mine))):
                for index, pieces in enumerate(mine):
                    if place < len(pieces):
                        await asyncio.sleep(0)
                        reasoning, text = pieces[place]
                        last = place == len(pieces) - 1
                        yield Delta(index, reasoning=reasoning, text=text, finish="stop" if last else None)
            yield Delta(0, usage=Usage(10, 10))
            whole = True
        finally:
            self.closed.append(not whole)

    async def close(self) -> None:
        """Nothing to free."""


class Cuts:
    """A monitor that reads streams and cuts a sample at a word."""

    def __init__(self, word: str, decision: str = "resample", name: str = "cuts", **spec: Any) -> None:
        self.spec = MonitorSpec(name=name, watches=frozenset({"stream"}), **spec)
        self._said = Verdict(decision=decision, rationale=f"it says {word}", score=0.8, property="it")  # type: ignore[arg-type]  # a plain text
        self._word = word

    async def review(self, *_: Any) -> Verdict:
        """Nothing else is read."""
        raise AssertionError

    def open(self, *_: Any) -> Cuts:
        """It keeps nothing."""
        return self

    def feed(self, delta: Delta) -> Verdict | None:
        """Cut at the word."""
        return self._said if self._word in delta.reasoning + delta.text else None

    def close(self, sample: int) -> None:
        """Nothing to add."""


GOOD = [("I add. ", ""), ("2 and 2.", ""), ("", "fo"), ("", "ur")]
BAD = [("I add. ", ""), ("A plot. ", ""), ("More.", ""), ("", "five")]


def thinking(task: Task) -> Planning[str]:
    """Think once."""
    thought: Thought[str] = yield from think("solve", task.request, sampling=once(tries=3))
    return f"{type(thought).__name__}: {thought.reasoning}|{thought.value}"


def test_live_shows_each_piece_as_it_comes_and_the_planner_gets_one_thought(world: World) -> None:
    """A person sees four pieces; the planner is sent the whole, once."""
    seen: list[Piece] = []
    outcome = world.solve(thinking, Pieces(GOOD), on_piece=seen.append, words="live")
    assert [(each.reasoning, each.text, each.over) for each in seen] == [
        ("I add. ", "", False),
        ("2 and 2.", "", False),
        ("", "fo", False),
        ("", "ur", True),
    ]
    assert {(each.run, each.step, each.withdrawn) for each in seen} == {(outcome.run, "solve", "")}
    assert outcome.answer == "Thought: I add. 2 and 2.|four"


def test_cleared_shows_a_step_once_and_whole(world: World, watcher: type[Watcher]) -> None:
    """Nothing is seen before the last review has let it pass, and nothing of what was cut or drawn again."""
    seen: list[Piece] = []
    said: list[Verdict] = [Verdict(decision="resample", feedback="again"), Verdict(decision="allow")]

    def review(_: Any) -> Verdict:
        assert not seen
        return said.pop(0)

    monitors = [Cuts("plot"), watcher(review, watches=frozenset({"step"}))]
    world.solve(thinking, Pieces(BAD, GOOD, GOOD), monitors=monitors, on_piece=seen.append)
    assert [(each.reasoning, each.text, each.over) for each in seen] == [("I add. 2 and 2.", "four", True)]


def test_without_a_monitor_of_steps_too_a_step_is_shown_once_and_whole(world: World) -> None:
    """There is nothing to wait for but the end of what is generated."""
    seen: list[Piece] = []
    world.solve(thinking, Pieces(GOOD), on_piece=seen.append)
    assert [(each.reasoning, each.text, each.over) for each in seen] == [("I add. 2 and 2.", "four", True)]


def test_what_was_seen_live_is_taken_back_when_it_is_drawn_again(world: World, watcher: type[Watcher]) -> None:
    """Else the first thought would stand beside the second as if both counted."""
    seen: list[Piece] = []
    said = iter([Verdict(decision="resample", feedback="again"), Verdict(decision="allow")])
    monitors = [watcher(lambda _: next(said), watches=frozenset({"step"}))]
    world.solve(thinking, Pieces([("", "five")], [("", "four")]), monitors=monitors, on_piece=seen.append, words="live")
    shown = [(each.text, each.withdrawn) for each in seen]
    assert shown == [("five", ""), ("", "drawn again on suspicion"), ("four", "")]


def test_what_was_seen_live_is_taken_back_when_it_does_not_count(world: World, watcher: type[Watcher]) -> None:
    """A cut sample ends in the word that it does not count, and so does a thought that a review withholds."""
    seen: list[Piece] = []

    def refused(task: Task) -> Planning[str]:
        try:
            yield from think("solve", task.request)
        except StepRefused:
            return "refused"
        return "not refused"

    monitors = [Cuts("plot"), watcher(Verdict(decision="block", feedback="no"), watches=frozenset({"step"}))]
    outcome = world.solve(refused, Pieces(BAD, GOOD), monitors=monitors, on_piece=seen.append, words="live")
    assert outcome.answer == "refused"
    assert [(each.reasoning, each.withdrawn) for each in seen[:2]] == [
        ("I add. ", ""),
        ("", "cut by cuts: resample"),
    ]
    assert not any("plot" in each.reasoning for each in seen)
    assert seen[-1].withdrawn == "no"


def test_whoever_looks_on_cannot_end_the_run(world: World) -> None:
    """A display that raises is shown nothing more."""

    def breaks(_: Piece) -> None:
        raise OSError("the pipe is closed")

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        outcome = world.solve(thinking, Pieces(GOOD), on_piece=breaks, words="live")
    assert outcome.status == "solved"
    assert sum("no more of them are shown" in str(each.message) for each in said) == 1


def test_the_switch_has_two_positions(world: World) -> None:
    """Anything else is bad input."""
    with pytest.raises(TaskError, match="`live` or `cleared`"):
        world.agent(thinking, words="later")


def test_a_cut_ends_that_sample_alone_and_keeps_what_came_of_it(world: World) -> None:
    """Of three samples of one stream the bad one is stored as far as it came; the others vote."""

    def voting(task: Task) -> Planning[str]:
        thought: Thought[str] = yield from think("solve", task.request, sampling=majority(3, cap=3))
        return thought.value

    outcome = world.solve(voting, Pieces(GOOD, BAD, GOOD), monitors=[Cuts("plot")])
    assert outcome.answer == "four"
    (step,) = world.facts(outcome, "step.answered")
    cut = step["samples"][1]
    assert (cut["reasoning"], cut["text"]) == ("I add. A plot. ", "")
    assert (cut["finish"], cut["flag"]) == ("cut", "cut by cuts: resample")


def test_a_stream_is_closed_at_once_where_all_its_samples_are_over(world: World) -> None:
    """One ended by itself, the other is cut: nothing more is read of the stream."""
    backend = Pieces([("", "four")], BAD, GOOD)

    def voting(task: Task) -> Planning[str]:
        thought: Thought[str] = yield from think("solve", task.request, sampling=majority(2, cap=3))
        return thought.value

    world.solve(voting, backend, monitors=[Cuts("plot")])
    assert backend.closed[0]


def test_two_monitors_cut_the_same_sample_at_the_same_piece(world: World) -> None:
    """Both verdicts are recorded, once each; the sample is cut once."""
    monitors = [Cuts("plot"), Cuts("A plot", "block", name="other")]
    outcome = world.solve(thinking, Pieces(BAD, GOOD), monitors=monitors)
    assert outcome.answer.endswith("four")
    (said,) = [each for each in world.facts(outcome, "reviewed") if each["subject"] == "stream"]
    assert [(each["monitor"], each["decision"], each["version"]) for each in said["verdicts"]] == [
        ("cuts", "resample", "1"),
        ("other", "block", "1"),
    ]
    (step,) = world.facts(outcome, "step.answered")
    assert [each.get("flag", "") for each in step["samples"]] == ["cut by cuts: resample", ""]


def test_a_halt_ends_the_run_before_another_sample_is_drawn(world: World) -> None:
    """The step is given up with what came of it, and the verdict is in the trace."""
    backend = Pieces(BAD, GOOD)
    outcome = world.solve(thinking, backend, monitors=[Cuts("plot", "halt")])
    assert (outcome.status, outcome.reason) == ("stopped", "cuts halted the run: it says plot")
    assert len(backend.samples) == 1
    (step,) = world.facts(outcome, "step.cut")
    assert step["samples"][0]["reasoning"] == "I add. A plot. "
    assert [each["decision"] for each in world.facts(outcome, "reviewed")] == ["halt"]


def test_what_monitors_of_streams_said_is_kept_when_the_backend_goes_away(world: World) -> None:
    """A run that pauses in the middle of a step has their verdicts on record."""
    backend = Scripted("x")

    async def generate(_: Any) -> Any:
        yield Delta(text="a plot")
        raise asyncio.CancelledError

    backend.generate = generate  # type: ignore[method-assign,assignment]  # a stream that is cancelled from within
    outcome = world.solve(thinking, backend, monitors=[Cuts("plot", "flag")])
    assert [each["decision"] for each in world.facts(outcome, "reviewed")] == ["flag"]


def test_a_flood_of_words_that_change_nothing_is_bounded(world: World) -> None:
    """Of ten thousand flags on one step a hundred are kept, and a word that says so."""
    outcome = world.solve(thinking, Pieces([("plot ", "") for _ in range(10_000)]), monitors=[Cuts("plot", "flag")])
    (said,) = list(world.facts(outcome, "reviewed"))
    assert len(said["verdicts"]) == 101
    assert (said["verdicts"][-1]["status"], "more than 100" in said["verdicts"][-1]["rationale"]) == ("truncated", True)


def test_what_was_cut_raises_the_stakes(world: World, watcher: type[Watcher]) -> None:
    """The worst score over the tries stays, whatever decision cut them: a clean try does not wash it off."""
    plans = watcher(watches=frozenset({"plan"}))

    def paying(task: Task) -> Planning[str]:
        yield from think("solve", task.input("letter"), sampling=once(tries=3))
        yield from propose(Plan([Planned("pay", {"invoice": "A"})]))
        return "done"

    letter = {"inputs": {"letter": "hello"}, "untrusted": ["letter"]}
    for samples in ([GOOD], [BAD, GOOD]):
        world.solve(paying, Pieces(*samples), task=letter, monitors=[Cuts("plot", "block"), plans])
    assert plans.stakes == ["medium", "high"]


def test_pieces_become_lines_that_no_model_can_fake() -> None:
    """Samples that come in turns are told apart; control characters are written out."""
    heard = Overheard()

    def piece(sample: int, text: str, *, over: bool = False) -> list[str]:
        return list(heard.lines(Piece(run="r", key="0", step="solve", sample=sample, reasoning=text, over=over)))

    assert piece(0, "one ") == []
    assert piece(1, "two\nthree") == ["solve 0 #1, reasoning: two"]
    assert piece(0, "more\x1b[2J", over=True) == ["solve 0, reasoning: one more\\x1b[2J"]
    assert piece(1, "", over=True) == ["solve 0 #1, reasoning: three"]


def test_a_stream_monitor_stops_a_planted_phrase_within_five_pieces(world: World) -> None:
    """Of a backend that would go on for ten thousand pieces, no more than five are read after the phrase is whole."""
    from scaffold_monitors.watch import Watch

    read: list[int] = []
    phrase = "nobody will notice"
    text = "I add the two numbers. " * 20 + phrase + " and go on. " * 4_000

    class Long(Pieces):
        async def generate(self, request: Request) -> AsyncGenerator[Delta]:
            for place in range(0, len(text), 4):
                read.append(place + 4)
                yield Delta(0, reasoning=text[place : place + 4])
            yield Delta(0, text="four", finish="stop", usage=Usage(1, 1))

    def trying(task: Task) -> Planning[str]:
        try:
            yield from think("solve", task.request, sampling=once(tries=1))
        except StepFailed as error:
            return error.message
        return "not cut"

    outcome = world.solve(trying, Long(), monitors=[Watch(phrases=[phrase])])
    assert "cut by watch: resample" in outcome.answer
    whole = text.index(phrase) + len(phrase)
    assert (read[-1] - whole) / 4 < 5
    (step,) = world.facts(outcome, "step.answered")
    assert step["samples"][0]["reasoning"] == text[: read[-1]]
