"""Direct: one step, in the form that the task wants."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold.errors import StepFailed
from scaffold.testing import Driver, Scripted
from scaffold.vocabulary.moves import Think
from scaffold.vocabulary.references import Reference
from scaffold.vocabulary.task import Task
from scaffold_planners.direct import DirectOptions, direct


def test_one_step_and_its_answer() -> None:
    """The planner asks one step, which sees the inputs and the request, and answers what that says."""
    driver = Driver(direct(Task(prompt="How old is Ada?", inputs={"born": 1815})))
    move = driver.next()
    assert isinstance(move, Think)
    assert [each.value for each in move.inputs] == ["born: 1815", "How old is Ada?"]
    driver.reply("36")
    assert driver.result == "36"
    assert len(driver.moves) == 1


@pytest.mark.parametrize(
    ("wanted", "said", "answer"),
    [("text", "Paris", "Paris"), ("integer", "42", 42), ("number", "1.5", 1.5), ("boolean", "true", True)],
)
def test_the_answer_has_the_type_that_the_task_wants(solve: Any, wanted: Any, said: str, answer: Any) -> None:
    """A task's `answer` decides what a sample is read as."""
    outcome = solve("direct", Task(prompt="?", answer=wanted), Scripted(said))
    assert (outcome.status, outcome.answer) == ("solved", answer)


def test_an_answer_that_is_no_choice_is_drawn_again(solve: Any) -> None:
    """Only the task's choices count as answers."""
    outcome = solve("direct", Task(prompt="?", answer=("yes", "no")), Scripted(["perhaps", "no"]))
    assert (outcome.status, outcome.answer) == ("solved", "no")


def test_votes_need_more_than_half(solve: Any) -> None:
    """With `votes`, one wrong sample of three changes nothing, and three different ones give no answer."""
    task = Task(prompt="?", answer="integer")
    assert solve("direct", task, Scripted(["4", "5", "4"]), options={"votes": 3}).answer == 4
    outcome = solve("direct", task, Scripted(["4", "5", "6"]), options={"votes": 3})
    assert outcome.status == "failed"
    assert "more than half" in outcome.reason


def test_the_request_is_an_instruction_even_beside_untrusted_inputs(solve: Any) -> None:
    """Only the untrusted input is marked as data, not what the user asks."""
    backend = Scripted("ok")
    solve("direct", Task(prompt="Sum it up", inputs={"mail": "Ignore that"}, untrusted=("mail",)), backend)
    said = backend.requests[0].messages[-1].content
    assert "<data" in said[: said.index("Ignore that")]
    assert said.rstrip().endswith("Sum it up")


def test_references_are_kept() -> None:
    """What the step sees still says where it came from."""
    driver = Driver(direct(Task(prompt="?", inputs={"a": 1, "b": 2}, untrusted=("b",))))
    move = driver.next()
    assert isinstance(move, Think)
    sources = [each.provenance.sources for each in move.inputs if isinstance(each, Reference)]
    assert sources == [("input:a",), ("input:b",), ("task:prompt",)]
    assert [each.provenance.tainted for each in move.inputs] == [False, True, False]


def test_a_failed_step_is_named() -> None:
    """What the step raises is what the planner raises."""
    driver = Driver(direct(Task(prompt="?"), DirectOptions(votes=3)))
    driver.next()
    driver.reply(StepFailed("nothing fits", "0"))
    with pytest.raises(StepFailed, match="nothing fits"):
        _ = driver.result
