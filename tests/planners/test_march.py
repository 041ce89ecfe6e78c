"""March: a step sees its state and nothing else, votes decide, red flags are redrawn, and nothing grows."""

from __future__ import annotations

import json
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scaffold import registry
from scaffold.errors import GaveUp, StepFailed, StepRefused, TaskError
from scaffold.testing import Driver, Noisy, Scripted
from scaffold.vocabulary.models import Request
from scaffold.vocabulary.moves import Note, Think
from scaffold.vocabulary.task import Budget, Task
from scaffold_planners.march import MarchOptions, march

LARGE = Budget(tokens=None, steps=None, seconds=None)


class Counting:
    """Counts up to a number; a decision is the next number."""

    returns = int

    def start(self, task: Task) -> int:
        """Begin with nothing."""
        return 0

    def __init__(self, goal: int = 5) -> None:
        self.goal = goal

    def done(self, state: int) -> bool:
        """Whether the goal is reached."""
        return state >= self.goal

    def show(self, state: int) -> str:
        """The number reached."""
        return f"{state} is reached"

    def fault(self, state: int, decision: int) -> str:
        """More than ten ahead is against the rules."""
        return f"{decision} is far from {state}" if abs(decision - state) > 10 else ""

    def next(self, state: int, decision: int) -> int:
        """Go there."""
        return decision


class Telling(Counting):
    """Counts, and has an answer."""

    def answer(self, state: int) -> int:
        """The number reached."""
        return state


def right(request: Request) -> str:
    """A model that counts right."""
    return str(int(request.messages[-1].content.split(" is reached")[0]) + 1)


def test_a_step_sees_its_state_and_nothing_else() -> None:
    """Neither the request nor what was decided before is shown."""
    options = MarchOptions(domain=Counting(3), instruction="Next?", stop=("\n",), temperature=0.5, max_tokens=9)
    driver = Driver(march(Task(prompt="Count"), options))
    driver.run(lambda _key, move: int(move.inputs[0].split()[0]) + 1)
    asked = [move for _, move in driver.moves]
    assert {(move.options.stop, move.options.temperature, move.options.max_tokens) for move in asked} == {
        (("\n",), 0.5, 9)
    }
    assert [(move.inputs, move.instruction) for move in asked] == [((f"{n} is reached",), "Next?") for n in range(3)]


def test_the_answer_counts_and_seals_the_decisions() -> None:
    """It has as many bytes for a million decisions as for three; the digest can be recomputed from the trace."""
    marched = Driver(march(Task(prompt="Count"), MarchOptions(domain=Counting(3)))).run(_counts)
    assert (marched.steps, marched.digest) == (3, sha256(b"1\n2\n3\n").hexdigest())


def _counts(_key: str, move: Any) -> Any:
    return None if isinstance(move, Note) else int(move.inputs[0].split()[0]) + 1


def test_a_typed_answer_is_read_off_the_last_state(solve: Any) -> None:
    """A task that wants a number gets what the domain says; a domain that says none is found before the first step."""
    task = Task(prompt="Count", answer="integer")
    assert solve("march", task, Scripted(right), options={"domain": Telling(3)}).answer == 3
    failed = solve("march", task, Scripted(right), options={"domain": Counting(3)})
    assert (failed.status, failed.steps, "no `answer(state)`" in failed.reason) == ("failed", 0, True)


def test_a_fault_that_says_true_is_no_permission(solve: Any) -> None:
    """A domain that answers yes to the question whether something is wrong accepts nothing."""

    class Yes(Counting):
        def fault(self, state: int, decision: int) -> Any:
            """Whether it is far ahead, which words should say."""
            return decision - state > 10

    wild = solve("march", Task(prompt="Count"), Scripted("99"), options={"domain": Yes(3), "cap": 4})
    assert (wild.status, "`fault` should return a text" in wild.reason) == ("failed", True)


@pytest.mark.parametrize(
    ("method", "said"), [("fault", "the check "), ("next", "the planner "), ("show", "the planner ")]
)
def test_rules_that_never_give_back_control_end_with_the_runs_time(solve: Any, method: str, said: str) -> None:
    """Whichever of them hangs, the run has an end, which says what held it up; the check is named."""

    def hangs(*_: Any) -> Any:
        while True:
            pass

    domain = type("Stuck", (Counting,), {method: hangs})(3)
    task = Task(prompt="Count", budget=Budget(seconds=0.2))
    outcome = solve("march", task, Scripted(right), options={"domain": domain})
    assert (outcome.status, outcome.reason.startswith(said)) == ("failed", True)
    assert "did not give back control before the run's time was over" in outcome.reason
    assert ("Stuck.fault" in outcome.reason) is (method == "fault")


def test_a_text_that_ends_a_decision_is_not_empty() -> None:
    """It would end each before it begins."""
    with pytest.raises(ValidationError, match="at least 1 character"):
        MarchOptions(domain=Counting(3), stop=("",))


def test_votes_make_the_march_sure(solve: Any) -> None:
    """With one decision in five wrong, forty steps that lead by four are all right; single ones are not."""
    exact = sha256(b"".join(b"%d\n" % n for n in range(1, 41))).hexdigest()
    sure = solve(
        "march",
        Task(prompt="Count", budget=LARGE),
        Noisy(Scripted(right), 0.2, seed=3),
        options={"domain": Counting(40), "ahead": 4},
    )
    assert (sure.status, sure.answer["digest"]) == ("solved", exact)
    single = solve(
        "march",
        Task(prompt="Count", budget=LARGE),
        Noisy(Scripted(right), 0.2, seed=3),
        options={"domain": Counting(40), "ahead": 1},
    )
    assert single.answer["digest"] != exact


def test_red_flags_are_drawn_again_never_repaired(solve: Any) -> None:
    """What is against the rules, malformed or over-long does not vote; the trace says why."""
    said = ["99", "one", "2000000000", "1", "1", "2", "2"]
    options = {"domain": Counting(2), "ahead": 2, "shorter_than": 8}
    outcome = solve("march", Task(prompt="Count"), Scripted(said), options=options)
    assert outcome.status == "solved"
    content = Path(outcome.trace).with_name("content.jsonl").read_text(encoding="utf-8")
    for flag in ("99 is far from 0", "malformed: not a whole number", "it has 10 characters; the limit is below 8"):
        assert flag in content


def test_checkpoints_are_what_a_cut_march_answers() -> None:
    """Now and then the count and digest are noted; a step without a winner notes them too and is named."""
    driver = Driver(march(Task(prompt="Count"), MarchOptions(domain=Counting(9), note_every=2)))

    def answer(key: str, move: Any) -> Any:
        if isinstance(move, Think) and move.inputs[0].startswith("5"):
            return StepFailed("no answer leads by 3", key)
        return _counts(key, move)

    with pytest.raises(GaveUp, match=r"step 6 of the march: no answer leads by 3 \(at 7\)"):
        driver.run(answer)
    notes = [move.partial.steps for _, move in driver.moves if isinstance(move, Note)]
    assert notes == [2, 4, 5]


def test_what_oversight_withheld_keeps_its_name() -> None:
    """A refused decision is no failed vote."""
    with pytest.raises(StepRefused):
        Driver(march(Task(prompt="Count"), MarchOptions(domain=Counting(9)))).run(lambda key, _: StepRefused("no", key))


def test_nothing_grows_with_the_number_of_steps() -> None:
    """Ten times as many steps keep no more memory."""

    def peak(steps: int) -> int:
        planning = march(Task(prompt="Count"), MarchOptions(domain=Counting(steps), note_every=100))
        driver = Driver(planning)
        tracemalloc.start()
        while (move := driver.next()) is not None:
            key = driver.moves.pop()[0]
            driver.reply(_counts(key, move), key=key)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(6_000) < peak(600) + 20_000  # four bytes a step would be more


def test_a_march_goes_on_where_it_was_cut(tmp_path: Any) -> None:
    """After a stop in the middle the rest is asked, and the digest is that of an uncut march."""
    from scaffold import Scaffold
    from scaffold.trace.files import FileJournal

    journal = FileJournal(tmp_path)
    calls = iter(range(10**6))

    def agent(limit: int) -> Scaffold:
        def said(request: Request) -> str:
            if next(calls) >= limit:
                from scaffold.errors import BackendUnavailable

                raise BackendUnavailable("gone")
            return right(request)

        options = {"domain": Counting(30), "ahead": 1}
        return Scaffold(march, options=options, backends={"default": Scripted(said)}, monitors=[], journal=journal)

    cut = agent(12).solve_sync(Task(prompt="Count"))
    assert cut.status == "unavailable"
    whole = agent(10**6).resume_sync(cut.run)
    assert whole.answer["digest"] == sha256(b"".join(b"%d\n" % n for n in range(1, 31))).hexdigest()
    events = [json.loads(line)["kind"] for line in (tmp_path / cut.run / "trace.jsonl").read_text().splitlines()]
    assert events.count("step.answered") == 30


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("rules", "does not name code: write MODULE:NAME"),
        ("no_such_module_here:Rules", "no module 'no_such_module_here'"),
        ("math:pi", "'math:pi' has no done, fault, next, returns, show, start"),
        ("fractions:Fraction", "has no done"),
        (3, "has no done"),
    ],
)
def test_rules_that_are_none_are_a_fault_of_the_task(domain: Any, said: str) -> None:
    """What `domain` names is found, and has all that a march asks of it, before anything begins."""
    with pytest.raises(TaskError) as caught:
        registry.planner(march, {"domain": domain})
    assert caught.value.path == ("planner", "options", "domain")
    assert said in str(caught.value)
    assert not str(caught.value).endswith(f", not {domain!r}")  # said once is enough


def test_a_cap_below_the_lead_is_a_fault_of_the_task() -> None:
    """No decision could lead by more than all of its samples."""
    with pytest.raises(TaskError, match="`cap` should be at least 9, as `ahead` is") as caught:
        registry.planner(march, {"domain": Counting(3), "ahead": 9, "cap": 8})
    assert caught.value.path == ("planner", "options")


@pytest.mark.parametrize("broken", ["start", "done", "show", "next"])
def test_rules_that_raise_fail_the_run_with_their_error(solve: Any, broken: str) -> None:
    """The run ends as failed, says what was raised, and its trace is whole."""
    domain = Counting(3)

    def raises(*_: Any) -> Any:
        raise KeyError("state")

    setattr(domain, broken, raises)
    outcome = solve("march", Task(prompt="Count"), Scripted(right), options={"domain": domain})
    assert outcome.status == "failed"
    assert outcome.reason.startswith("the planner raised KeyError: 'state'")
