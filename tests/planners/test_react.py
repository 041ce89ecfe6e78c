"""ReAct: actions are cleared, observations stay tainted, and every way of not getting on is bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scaffold.actions import action
from scaffold.errors import NotPerformed
from scaffold.testing import Scripted
from scaffold.vocabulary.review import ALLOW, MonitorSpec, Objection, Subject, Verdict
from scaffold.vocabulary.task import Oversight, Task
from scaffold_planners.memory import tokens_in

TASK = Task(prompt="Where is it?", oversight=Oversight(unmonitored=True, rounds=3))


@action(effect="read")
async def look(at: str) -> str:
    """Look somewhere."""
    return f"it is not at {at}" + "!" * (9000 if at == "length" else 0)


@action(effect="irreversible")
async def send(text: str, times: int = 1) -> str:
    """Send a text."""
    if text == "fail":
        raise NotPerformed("the line was busy")
    if text == "break":
        raise OSError("the line broke")
    return f"sent {times}"


def turn(name: str = "", answer: Any = None, thought: str = "hm", **arguments: Any) -> str:
    """A turn as a model writes it."""
    return json.dumps({"thought": thought, "action": name, "arguments": arguments, "answer": answer})


class Watch:
    """Keeps what it read; refuses to send `secret`."""

    spec = MonitorSpec(name="watch", watches=frozenset({"action"}))

    def __init__(self) -> None:
        self.read: list[Subject] = []

    async def review(self, subject: Subject, _view: Any, _context: Any) -> Verdict:
        self.read.append(subject)
        if any(call.arguments.get("text") == "secret" for call in subject.plan):
            return Verdict(decision="revise", objections=(Objection("send", "that is nobody's business"),))
        return ALLOW


@pytest.fixture
def react(solve: Any) -> Any:
    """Solve by these turns."""

    def run(*turns: str, task: Task = TASK, **more: Any) -> Any:
        run.backend = Scripted(list(turns))  # type: ignore[attr-defined]  # looked at by tests
        return solve("react", task, run.backend, **{"actions": [look, send], **more})  # type: ignore[attr-defined]  # as above

    return run


def prompts(react: Any) -> list[str]:
    """What each turn was shown."""
    return [request.messages[-1].content for request in react.backend.requests]


def test_think_act_observe_answer(react: Any) -> None:
    """Each turn is shown the actions there are and what was seen so far; an answer ends it."""
    outcome = react(turn("look", at="home"), turn(answer="at work"))
    assert (outcome.status, outcome.answer) == ("solved", "at work")
    first, second = prompts(react)
    assert "look(at: string) - Look somewhere. [read]" in first
    assert "send(text: string, times?: integer) - Send a text. [irreversible]" in first
    assert "Turn: hm\nAction: look" in second
    assert "it is not at home" in second


def test_observations_stay_tainted_and_so_does_what_follows(react: Any) -> None:
    """What came back is data in the prompt, and the arguments of the next call depend on it."""
    watch = Watch()
    outcome = react(turn("look", at="home"), turn("send", text="not home"), turn(answer="x"), monitors=[watch])
    assert _provenance(outcome, 1)[-1] == {"sources": ["action:1"], "tainted": True}
    assert "<data " in prompts(react)[1]
    calls = [subject.plan[0] for subject in watch.read]
    assert [call.provenance[name].tainted for call in calls for name in call.arguments if name in call.provenance] == [
        False,
        True,
    ]
    assert calls[1].provenance["text"].sources == ("step:2",)


def _provenance(outcome: Any, turn: int) -> list[Any]:
    """Where a turn's inputs came from, as recorded."""
    lines = Path(outcome.trace).with_name("content.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [body for body in (json.loads(line)["body"] for line in lines) if "messages" in body]
    return list(asked[turn]["provenance"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (turn("lok", at="x"), "lok was not called: there is no action 'lok'; did you mean 'look'?"),
        (turn("look"), "look was not called: 'look' needs the argument 'at'"),
        (turn("look", at="x", hard=True), "look was not called: 'look' has no argument 'hard'"),
    ],
)
def test_a_call_that_cannot_be_made_is_told_and_bounded(react: Any, call: str, said: str) -> None:
    """The planner answers it itself, nothing reaches the gate, and too many end the run."""
    outcome = react(call, turn(answer="x"))
    assert (outcome.status, outcome.actions) == ("solved", [])
    assert f"Observation: {said}" in prompts(react)[1]
    outcome = react(call, call, call, options={"faults": 2})
    assert (outcome.status, outcome.steps) == ("failed", 3)
    assert outcome.reason.startswith("3 calls could not be made; the last: ")


def test_what_the_gate_or_the_action_refuses_is_an_observation(react: Any) -> None:
    """The model is told why nothing happened, and may do something else."""
    outcome = react(
        turn("send", text="secret"),
        turn("send", text="fail"),
        turn("send", text="x", times="y"),
        turn(answer="no"),
        monitors=[Watch()],
    )
    assert (outcome.status, outcome.answer) == ("solved", "no")
    last = prompts(react)[-1]
    assert "action refused: that is nobody's business" in last
    assert "action failed: the line was busy" in last
    assert "action refused: its arguments are not valid: times: Input should be a valid integer" in last


def test_what_may_have_happened_ends_it(react: Any) -> None:
    """An unknown outcome is for a person to look at: the run fails and nothing more is done."""
    outcome = react(turn("send", text="break"), turn("send", text="again"))
    assert (outcome.status, [each.status for each in outcome.actions]) == ("failed", ["unknown"])


def test_it_stops_on_the_step_limit(react: Any) -> None:
    """So many turns and no more."""
    outcome = react(*(turn("look", at=str(number)) for number in range(9)), options={"steps": 3})
    assert (outcome.status, outcome.reason, outcome.steps) == (
        "failed",
        "no answer after 3 turns (the last at 4)",
        3,
    )


def test_it_stops_on_repetition_unless_something_changed(react: Any) -> None:
    """The same call with the same arguments ends the run, but a change in between makes it another."""
    outcome = react(*[turn("look", at="home")] * 9, options={"repeats": 2})
    assert (outcome.status, len(outcome.actions)) == ("failed", 2)
    assert "'look' was called again and again with the same arguments (at 4)" in outcome.reason
    home = turn("look", at="home")
    outcome = react(home, home, turn("send", text="a"), home, home, turn(answer="x"), options={"repeats": 2})
    assert outcome.status == "solved"


def test_a_turn_is_either_an_action_or_an_answer_of_the_wanted_kind(react: Any) -> None:
    """Anything else is discarded and drawn again."""
    task = TASK.model_copy(update={"answer": ("home", "work")})
    outcome = react(turn(), turn("look", answer="home", at="x"), turn(answer="home"), task=task)
    assert (outcome.status, outcome.answer) == ("solved", "home")
    outcome = react(turn(answer="attic"), turn(answer=3), turn(answer=True), task=task)
    assert "has an answer that is not one of home, work" in outcome.reason
    task = TASK.model_copy(update={"answer": "integer"})
    assert react(turn(answer="3"), turn(answer=True), turn(answer=3), task=task).answer == 3


def test_a_long_observation_is_cut_for_later_turns(react: Any) -> None:
    """Prompts stay bounded; how much there was is said."""
    react(turn("look", at="length"), turn(answer="x"), options={"longest": 100})
    assert "(9019 characters in all)" in prompts(react)[1]
    assert "!" * 101 not in prompts(react)[1]


def test_a_memory_bounds_what_turns_are_shown_and_gives_back_what_it_shortened(solve: Any) -> None:
    """No prompt grows beyond it however many turns there are; an old observation is had back word for word."""
    turns = iter(
        [
            *(turn("look", at=f"place {number} of 9, which is far away and has a long name") for number in range(20)),
            json.dumps({"thought": "hm", "recall": "m2"}),
            json.dumps({"thought": "hm", "recall": "m77"}),
            turn(answer="x"),
        ]
    )
    backend = Scripted(lambda request: "Many places." if "Shorten" in request.messages[-1].content else next(turns))
    options = {"memory": 700, "steps": 30, "repeats": 9}
    outcome = solve("react", TASK, backend, options=options, actions=[look, send], monitors=["selfmodel"])
    assert (outcome.status, outcome.answer) == ("solved", "x")
    assert len(outcome.actions) == 20
    shown = [
        each.messages[-1].content for each in backend.requests if "Say what you think" in each.messages[-1].content
    ]
    assert max(tokens_in(each) for each in shown) < 700 + 250  # and the instruction, with the form of a turn
    assert "not at place 0 of 9" not in shown[20]
    assert "Recalled: Observation: it is not at place 0 of 9, which is far away and has a long name" in shown[21]
    assert "nothing is remembered as 'm77'" in shown[22]
    assert all("You can have what was shortened back word for word" in each for each in shown)
    assert not [each for each in outcome.verdicts if each.decision == "flag"]


def test_without_a_memory_there_is_nothing_to_recall(react: Any) -> None:
    """All that was seen is shown, and a turn that wants something back is none."""
    outcome = react(*[json.dumps({"thought": "hm", "recall": "m2"})] * 3)
    assert outcome.status == "failed"
    assert "recall" in outcome.reason


def test_a_memory_without_room_is_told_before_anything_is_asked(solve: Any) -> None:
    """The task, its goals and its actions are never shortened."""
    outcome = solve("react", TASK, Scripted("x"), options={"memory": 60}, actions=[look, send])
    assert (outcome.status, outcome.steps) == ("failed", 0)
    assert outcome.reason.startswith("a memory of 60 tokens is too small")
    assert outcome.reason.endswith("(before its first move)")


def test_without_actions_there_is_nothing_to_do(react: Any) -> None:
    """The error says what is missing."""
    outcome = react(turn(answer="x"), actions=[])
    assert (outcome.status, outcome.steps) == ("failed", 0)
    assert "react needs actions, but the task has none" in outcome.reason
