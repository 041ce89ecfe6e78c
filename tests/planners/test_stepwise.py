"""Stepwise: sound decompositions only, each question after those it needs and shown only their answers."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.testing import Driver, Scripted
from scaffold.vocabulary.moves import Think, Thought
from scaffold.vocabulary.references import NOWHERE
from scaffold.vocabulary.task import Task
from scaffold_planners.levels import Circle, levels
from scaffold_planners.stepwise import Decomposition, Question, fault_in, stepwise


def split(*questions: tuple[str, list[int]]) -> Decomposition:
    """A decomposition."""
    return Decomposition(questions=[Question(question=text, needs=needs) for text, needs in questions])


TWO_AND_ONE = split(("Price of a pen?", []), ("Price of a cup?", []), ("Sum?", [1, 2]))


def seen(move: Any) -> str:
    """All that a step is shown."""
    assert isinstance(move, Think)
    return "\n".join(str(each.value) for each in move.inputs)


def test_independent_questions_wait_for_nothing() -> None:
    """Both prices are asked for before either is known; their sum only once both are."""
    driver = Driver(stepwise(Task(prompt="What do a pen and a cup cost?", answer="integer")))
    driver.next()
    driver.reply(TWO_AND_ONE)
    first, second = driver.next(), driver.next()
    assert "Price of a pen" in seen(first)
    assert "Price of a cup" in seen(second)
    assert driver.next() is None
    driver.reply("3", key=driver.waiting[1])
    driver.reply("2")
    assert seen(driver.next()).endswith(
        "Question: Price of a pen?\nAnswer: 2\nQuestion: Price of a cup?\nAnswer: 3\nQuestion: Sum?"
    )
    driver.reply("5")
    combine = driver.next()
    assert isinstance(combine, Think)
    assert (combine.kind, combine.returns) == ("combine", int)
    assert "Sum?\nAnswer: 5" in seen(combine)
    driver.reply(5)
    assert driver.result == 5


@pytest.mark.parametrize(("finer", "shown", "split"), [
    (True, "absent", True), (True, "full", False), (True, "summary", False), (False, "absent", False),
])  # fmt: skip
def test_where_nothing_could_be_read_each_question_is_split_once_more(*, finer: bool, shown: Any, split: bool) -> None:
    """Where the task wants finer steps: each question is answered by questions of its own, and these are not split."""
    task = Task.model_validate({"prompt": "Cost?", "oversight": {"unread": {"finer": finer}}})
    driver = Driver(stepwise(task))
    asked: list[str] = []

    def answer(key: str, move: Any) -> Any:
        asked.append(move.kind)
        if move.kind != "decompose":
            return f"{move.kind} {key}"
        parts = TWO_AND_ONE if len(asked) == 1 else Decomposition(questions=[Question(question="Smaller?")])
        return Thought(parts, NOWHERE, key=key, shown=shown)

    assert driver.run(answer).startswith("combine")
    one = ["decompose", "solve", "combine"] if split else ["solve"]
    assert sorted(asked) == sorted(["decompose", *one * 3, "combine"])


def test_a_question_sees_no_answer_that_it_does_not_need() -> None:
    """Context is what a question names: here only the second answer."""
    driver = Driver(stepwise(Task(prompt="?")))
    driver.next()
    driver.reply(split(("A?", []), ("B?", []), ("C?", [2])))
    driver.next()
    driver.next()
    driver.reply("first")
    driver.reply("second")
    shown = seen(driver.next())
    assert "second" in shown
    assert "first" not in shown


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (split(), "there are 0 questions"),
        (split(*[("?", [])] * 4), "there are 4 questions, but there should be 1 to 3"),
        (split(("A", [7])), "question 1 needs question 7, which does not exist"),
        (split(("A", [0])), "question 1 needs question 0"),
        (split(("A", [1])), "circle: 1 -> 1"),
        (split(("A", [2]), ("B", [1])), "circle"),
    ],
)
def test_what_is_wrong_with_a_decomposition_is_said(parts: Decomposition, said: str) -> None:
    """Every way in which a decomposition can be unsound has words of its own."""
    assert said in fault_in(parts, most=3)


def test_an_unsound_decomposition_is_drawn_again(solve: Any) -> None:
    """Circles and unknown numbers are red flags, not errors: the next sound sample is taken."""
    said = [
        '{"questions": [{"question": "A", "needs": [2]}, {"question": "B", "needs": [1]}]}',
        '{"questions": [{"question": "A", "needs": [9]}]}',
        "no idea",
        json.dumps(TWO_AND_ONE.model_dump()),
    ]
    script = {
        "smaller questions": said,
        "You put answers together": "5",
        "Question: Sum?": "5",
        "Question": "2",
    }
    outcome = solve("stepwise", Task(prompt="Pen and cup?", answer="integer"), Scripted(script))
    assert (outcome.status, outcome.answer, outcome.steps) == ("solved", 5, 5)


def test_no_sound_decomposition_fails_and_says_why(solve: Any) -> None:
    """Draws are capped, and the reason names the last flag."""
    unsound = '{"questions": [{"question": "A", "needs": [1]}]}'
    outcome = solve("stepwise", Task(prompt="?"), Scripted(unsound), options={"tries": 2})
    assert outcome.status == "failed"
    assert "2 samples" in outcome.reason
    assert "circle: 1 -> 1" in outcome.reason


def test_votes_settle_answers(solve: Any) -> None:
    """With `votes`, each answer is that of more than half of its samples."""
    script = {
        "smaller questions": '{"questions": [{"question": "Two and two?"}]}',
        "You put answers together": ["4", "3", "4"],
        "Question": ["4", "5", "4"],
    }
    outcome = solve("stepwise", Task(prompt="?", answer="integer"), Scripted(script), options={"votes": 3})
    assert outcome.answer == 4


@st.composite
def dags(draw: st.DrawFn) -> dict[int, list[int]]:
    """Needs that form no circle, in an order that says nothing about them."""
    count = draw(st.integers(1, 12))
    needs = {node: draw(st.lists(st.integers(0, node - 1), unique=True)) if node else [] for node in range(count)}
    return {node: needs[node] for node in draw(st.permutations(range(count)))}


@given(dags())
def test_levels_hold_each_node_once_right_after_what_it_needs(needs: dict[int, list[int]]) -> None:
    """A node stands in the first level after all that it needs, and in a level nodes keep their order."""
    level_of = {node: number for number, level in enumerate(levels(needs)) for node in level}
    assert sum(map(len, levels(needs))) == len(needs) == len(level_of)
    for level in levels(needs):
        assert level == [node for node in needs if node in level]
    for node, before in needs.items():
        assert level_of[node] == 1 + max((level_of[each] for each in before), default=-1)


@given(dags(), st.data())
def test_a_circle_is_named(needs: dict[int, list[int]], data: st.DataObject) -> None:
    """Closing a circle anywhere is found, and what is named is a circle of these needs."""
    node = data.draw(st.sampled_from(sorted(needs)))
    looped = {each: [*before, node] if each == node or node in before else before for each, before in needs.items()}
    with pytest.raises(Circle) as caught:
        levels(looped)
    nodes = caught.value.nodes
    assert nodes[0] == nodes[-1]
    for before, after in pairwise(nodes):
        assert before in looped[int(after)]
