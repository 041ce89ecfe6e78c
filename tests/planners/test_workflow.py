"""Workflow: faults found when it is loaded, each step after its needs and blind to everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold import registry
from scaffold.errors import GaveUp, StepFailed, StepRefused, TaskError
from scaffold.testing import Driver, Scripted
from scaffold.vocabulary.moves import Think
from scaffold.vocabulary.references import Reference
from scaffold.vocabulary.sampling import ahead_by
from scaffold.vocabulary.task import Task
from scaffold_planners.steps import WorkflowOptions
from scaffold_planners.workflow import workflow


def steps(*each: dict[str, Any], **more: Any) -> WorkflowOptions:
    """Options whose steps need no instruction of their own."""
    return WorkflowOptions.model_validate({"steps": [{"instruction": step["id"], **step} for step in each], **more})


def test_a_step_sees_what_it_names_and_nothing_else() -> None:
    """Outputs and inputs that a step names are shown under their names; what it only waits for is not."""
    options = steps(
        {"id": "a"},
        {"id": "b", "inputs": ["year"]},
        {"id": "c", "needs": ["a"], "after": ["b"], "inputs": ["prompt"]},
    )
    driver = Driver(workflow(Task(prompt="Now?", inputs={"year": 1815, "secret": "x"}), options))
    first, second = driver.next(), driver.next()
    assert isinstance(first, Think)
    assert isinstance(second, Think)
    assert first.inputs == ()
    assert [each.value for each in second.inputs] == ["year: 1815"]
    assert driver.next() is None
    driver.reply("A")
    driver.reply("B")
    third = driver.next()
    assert isinstance(third, Think)
    assert [each.value for each in third.inputs] == ["prompt: Now?", "a: A"]
    assert third.instruction == "c"
    driver.reply("C")
    assert driver.result == "C"


def test_outputs_keep_where_they_came_from() -> None:
    """Only the step that saw the untrusted input passes taint on."""
    options = steps(
        {"id": "a", "inputs": ["mail"]}, {"id": "b", "inputs": ["prompt"]}, {"id": "c", "needs": ["a", "b"]}
    )
    driver = Driver(workflow(Task(prompt="?", inputs={"mail": "x"}, untrusted=("mail",)), options), tainted=True)
    driver.next()
    driver.next()
    driver.reply("A")
    driver.reply("B")
    move = driver.next()
    assert isinstance(move, Think)
    assert [(each.value, each.provenance.tainted) for each in move.inputs] == [
        ("a: A", True),
        ("b: B", False),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": []}, "planner.options.steps: "),
        ({"steps": [{"id": "a", "instruction": "x", "needs": ["b"]}]}, "steps.0.needs.0: step 'a' names 'b'"),
        ({"steps": [{"id": "alpha", "instruction": "x", "after": ["alpa"]}]}, "did you mean 'alpha'?"),
        (
            {"steps": [{"id": "a", "instruction": "x", "needs": ["a"]}]},
            "steps.0: step 'a' depends on itself: a -> a",
        ),
        ({"steps": [{"id": "a", "instruction": "x"}] * 2}, "steps.1.id: two steps have the id 'a'"),
        (
            {"steps": [{"id": "a", "instruction": "x", "sampling": {"cap": 10_001}}]},
            "steps.0.sampling.cap: should be less than or equal to 10000",
        ),
        (
            {
                "steps": [
                    {"id": "note", "instruction": "x"},
                    {"id": "b", "instruction": "y", "needs": ["note"], "inputs": ["prompt", "note"]},
                ]
            },
            "steps.1.inputs.1: step 'b' sees 'note' twice, as an input and as a step: give that step another id",
        ),
        (
            {"steps": [{"id": "a", "instruction": "x"}], "answer": "b"},
            "planner.options.answer: there is no step 'b'",
        ),
        ({"steps": [{"id": "a", "instruction": "x", "returns": "txt"}]}, "steps.0.returns: should be one of text"),
        ({"steps": [{"id": "a", "instruction": "x", "returns": []}]}, "steps.0.returns: is an empty list"),
        (
            {"steps": [{"id": "a", "instruction": "x", "sampling": "most"}]},
            "steps.0.sampling: should be one of once",
        ),
        (
            {"steps": [{"id": "a", "instruction": "x", "sampling": {"majority": 3, "ahead_by": 2}}]},
            "steps.0.sampling: should be either",
        ),
        ({"steps": [{"id": "a", "instruction": "x", "kind": "guess"}]}, "steps.0.kind: "),
        (
            {"steps": [{"id": "a", "instruction": "x", "returns": "int"}]},
            "integer, number, boolean, list, or a list of choices, not 'int'; did you mean 'integer'?",
        ),
        (
            {"steps": [{"id": "a", "instruction": "x", "returns": ["1", 2]}]},
            "steps.0.returns: should be a list of texts to choose from: put 2 in quotes",
        ),
        ({"steps": [{"id": "a"}]}, "steps.0.instruction: is missing"),
        (
            {"steps": [{"id": "a", "instruktion": "x"}]},
            "steps.0.instruktion: is not known; did you mean 'instruction'?",
        ),
        (
            {"steps": [{"id": "a", "instruction": "x", "nedds": ["a"]}]},
            "steps.0.nedds: is not known; did you mean 'needs'?",
        ),
        ({"steps": [{"id": "a", "instruction": "x", "needs": "b"}]}, "steps.0.needs: should be a list, not 'b'"),
        (
            {"steps": [{"id": "a", "instruction": "x", "sampling": {"majority": 5, "cap": 3}}]},
            "steps.0.sampling: `cap` should be at least 5: no fewer samples can decide",
        ),
        (
            {"steps": [{"id": "a", "instruction": "x", "sampling": {"majorty": 3}}]},
            "steps.0.sampling.majorty: is not known; did you mean 'majority'?",
        ),
        (
            {"steps": [{"id": "a", "instruction": "x", "each": "b"}]},
            "steps.0.each: step 'a' is for each of 'b'",
        ),
        (
            {
                "steps": [
                    {"id": "a", "instruction": "x"},
                    {"id": "b", "instruction": "x", "needs": ["a"], "each": "a"},
                ]
            },
            "steps.1.each: step 'b' is for each of 'a', which does not return a list",
        ),
    ],
)
def test_a_fault_is_found_when_it_is_loaded_and_says_where(options: dict[str, Any], said: str) -> None:
    """Nothing has begun: the error is the task's, with the path of the step and the step's name."""
    with pytest.raises(TaskError) as caught:
        registry.planner(workflow, options)
    assert said in str(caught.value)
    assert caught.value.path[:2] == ("planner", "options")


def test_the_circle_names_its_steps() -> None:
    """A circle through several steps says which."""
    circle = {"steps": [{"id": each, "instruction": "x", "needs": [other]} for each, other in ("ab", "bc", "ca")]}
    with pytest.raises(TaskError, match=r"depends on itself: (a -> c -> b -> a|a -> b -> c -> a)$"):
        registry.planner(workflow, circle)


def test_an_input_that_the_task_has_not_is_named(solve: Any) -> None:
    """Inputs are known only with the task: no run is begun, and it is said which step and input."""
    options = {"steps": [{"id": "a", "instruction": "x", "inputs": ["mial"]}]}
    said = "step 'a' sees 'mial', which is not an input of the task; did you mean 'mail'"
    with pytest.raises(TaskError, match=said):
        solve("workflow", Task(prompt="?", inputs={"mail": "x"}), Scripted(), options=options)
    with pytest.raises(TaskError, match=said):
        next(workflow(Task(prompt="?", inputs={"mail": "x"}), WorkflowOptions.model_validate(options)))


def test_each_does_a_step_for_every_item(solve: Any) -> None:
    """A list fans out, in order, and comes back as a list that a later step can see or fan out again."""
    options = {
        "steps": [
            {"id": "names", "instruction": "LIST", "returns": "list"},
            {
                "id": "length",
                "instruction": "COUNT",
                "needs": ["names"],
                "each": "names",
                "returns": "integer",
            },
            {"id": "sum", "kind": "combine", "instruction": "SUM", "needs": ["length"]},
        ],
    }
    backend = Scripted({"LIST": '["Ada", "Bo"]', "names: Ada": "3", "names: Bo": "2", "length: [3,2]": "5"})
    outcome = solve("workflow", Task(prompt="?", answer="integer"), backend, options=options)
    assert (outcome.status, outcome.answer) == ("solved", 5)


def test_each_of_an_empty_list_asks_nothing() -> None:
    """No items, no steps, and still an output."""
    options = steps({"id": "a", "inputs": ["xs"], "each": "xs"})
    assert Driver(workflow(Task(prompt="?", inputs={"xs": []}), options)).result == []


def test_sampling_role_form_and_kind_reach_the_step() -> None:
    """What the task file says of a step is how it is asked."""
    options = steps(
        {
            "id": "a",
            "kind": "verify",
            "returns": ["yes", "no"],
            "sampling": {"ahead_by": 2},
            "backend": "judge",
            "max_tokens": 7,
        }
    )
    move = Driver(workflow(Task(prompt="?"), options)).next()
    assert isinstance(move, Think)
    assert (move.kind, move.to, move.options.choices, move.options.max_tokens) == (
        "verify",
        "judge",
        ("yes", "no"),
        7,
    )
    assert move.sampling == ahead_by(2)


@pytest.mark.parametrize("said", ["majority 3", {"majority": 3}])
def test_votes_of_one_step(solve: Any, said: Any) -> None:
    """A step's own sampling decides, whichever way it is written."""
    options = {"steps": [{"id": "a", "instruction": "x", "returns": "integer", "sampling": said}]}
    assert solve("workflow", Task(prompt="?"), Scripted(["4", "5", "4"]), options=options).answer == 4


def test_the_answer_is_the_named_step_and_has_the_tasks_form(solve: Any) -> None:
    """`answer` may name any step; that one returns what the task wants unless it says otherwise."""
    options = {
        "steps": [{"id": "a", "instruction": "FIRST"}, {"id": "b", "instruction": "SECOND"}],
        "answer": "a",
    }
    backend = Scripted({"FIRST": "7", "SECOND": "whatever"})
    assert solve("workflow", Task(prompt="?", answer="integer"), backend, options=options).answer == 7


def test_a_step_without_an_answer_is_named() -> None:
    """The planner gives up by the step's id; what oversight withheld keeps its own name."""
    driver = Driver(workflow(Task(prompt="?"), steps({"id": "facts"})))
    driver.next()
    driver.reply(StepFailed("no acceptable answer", "0/0/0"))
    with pytest.raises(GaveUp, match="step 'facts': no acceptable answer"):
        _ = driver.result
    driver = Driver(workflow(Task(prompt="?"), steps({"id": "facts"})))
    driver.next()
    driver.reply(StepRefused("withheld", "0/0/0"))
    with pytest.raises(StepRefused):
        _ = driver.result


@st.composite
def workflows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps of a random DAG, written in a random order."""
    count = draw(st.integers(1, 8))
    made = []
    for node in range(count):
        before = [f"s{each}" for each in range(node)]
        some = st.lists(st.sampled_from(before), unique=True) if before else st.just([])
        made.append({"id": f"s{node}", "needs": draw(some), "after": draw(some)})
    return draw(st.permutations(made))


@given(workflows(), st.data())
def test_any_dag_does_each_step_once_after_its_needs_and_shows_it_just_those(
    made: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Whatever the DAG, the order it is written in and the order of replies."""
    driver = Driver(workflow(Task(prompt="?"), steps(*made)))
    done: list[str] = []
    asked: dict[str, str] = {}
    while not driver.done:
        while (move := driver.next()) is not None:
            assert isinstance(move, Think)
            step = next(each for each in made if each["id"] == move.instruction)
            assert {*step["needs"], *step["after"]} <= set(done)
            shown = [each.value for each in move.inputs if isinstance(each, Reference)]
            assert shown == [f"{name}: out of {name}" for name in step["needs"]]
            asked[driver.moves[-1][0]] = move.instruction
        if not driver.waiting:
            break
        key = data.draw(st.sampled_from(driver.waiting))
        driver.reply(f"out of {asked[key]}", key=key)
        done.append(asked[key])
    assert sorted(done) == sorted(each["id"] for each in made)
    assert driver.result == f"out of {made[-1]['id']}"
