"""Tree of thoughts: bounded, what says the same counts once, models rank, only critics in code prune."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from scaffold import registry
from scaffold.errors import NoOptions, StepFailed, TaskError
from scaffold.planning import think
from scaffold.testing import Driver, Scripted
from scaffold.vocabulary.moves import Planning, Think
from scaffold.vocabulary.task import Goal, Task
from scaffold_planners.tree import TreeOptions, grow, tree

from .thinking import Mind

TASK = Task(prompt="Spell a word")


def growing(letters: str, worth: Callable[[str], str], asked: list[Think] | None = None) -> Callable[[str, Any], Any]:
    """A model that proposes letters in turn, rates what is spelt so far, and answers with it."""
    count = iter(range(10_000))

    def answer(_key: str, move: Any) -> Any:
        if asked is not None:
            asked.append(move)
        spelt = "".join(each.value.partition(": ")[2] for each in move.inputs if each.value.startswith("Thought"))
        match move.kind:
            case "propose":
                return letters[next(count) % len(letters)]
            case "evaluate":
                return worth(spelt)
            case "decide":
                options = [each.value for each in move.inputs if each.value.startswith("Option")]
                best = max(options, key=lambda option: option.count("a"))
                return best.partition(": ")[0].removeprefix("Option ")
            case _:
                return spelt

    return answer


def likes(letter: str) -> Callable[[str], str]:
    """Rates what is spelt by its last letter."""
    return lambda spelt: "sure" if spelt.endswith(letter) else "impossible"


@pytest.mark.parametrize("judge", ["value", "vote"])
def test_the_most_promising_path_leads_to_the_answer(judge: Any) -> None:
    """By rating each, or by vote, the best thought of each level is gone on from."""
    options = TreeOptions(depth=3, proposals=3, breadth=1, judge=judge, votes=3)
    assert Driver(tree(TASK, options)).run(growing("bac", likes("a"))) == "aaa"


def test_a_step_sees_its_own_path_and_no_other() -> None:
    """Thoughts of other branches are not shown to who proposes, rates or answers."""
    asked: list[Think] = []
    Driver(tree(TASK, TreeOptions(depth=2, proposals=2, breadth=2))).run(growing("ab", likes("a"), asked))
    for move in asked:
        shown = [each.value for each in move.inputs]
        assert len(shown) == 1 + sum(text.startswith("Thought") for text in shown) <= 3
    assert [sum(move.kind == kind for move in asked) for kind in ("propose", "evaluate", "answer")] == [6, 6, 1]


@pytest.mark.parametrize(("breadth", "kept"), [(1, 1), (2, 2), (None, 3)])
def test_breadth_bounds_each_level_and_none_keeps_all(breadth: int | None, kept: int) -> None:
    """A beam goes on from so many states; without breadth the search is complete to its depth."""
    asked: list[Think] = []
    options = TreeOptions(depth=2, proposals=3, breadth=breadth)
    Driver(tree(TASK, options)).run(growing("abc", likes("a"), asked))
    assert sum(move.kind == "propose" for move in asked) == 3 + 3 * kept


def test_what_says_the_same_counts_once() -> None:
    """Thoughts that differ in white space only are one state; a single state is not rated."""
    asked: list[Think] = []
    said = iter(["go  left", "go left", " go\nleft "])
    answer = growing("-", likes("t"), asked)
    options = TreeOptions(depth=1, proposals=3)
    Driver(tree(TASK, options)).run(lambda key, move: next(said) if move.kind == "propose" else answer(key, move))
    assert not [move for move in asked if move.kind == "evaluate"]


def test_a_state_that_cannot_be_rated_is_worth_nothing() -> None:
    """A failed check is no pass: the other state is gone on from."""
    answer = growing("ab", likes("b"))

    def failing(key: str, move: Any) -> Any:
        said = answer(key, move)
        return StepFailed("?", key) if move.kind == "evaluate" and said == "sure" else said

    assert Driver(tree(TASK, TreeOptions(depth=1, proposals=2, breadth=1))).run(failing) == "a"


def test_each_voter_sees_the_options_in_another_order() -> None:
    """A model that always takes what stands first does not decide the vote by places."""
    orders: list[list[str]] = []

    def answer(_key: str, move: Any) -> Any:
        if move.kind == "propose":
            return f"thought {len(driver.moves)}"
        if move.kind == "decide":
            orders.append([each.value.partition(":")[0] for each in move.inputs[1:]])
            return orders[-1][0].removeprefix("Option ")
        return "x"

    driver = Driver(tree(TASK, TreeOptions(depth=1, proposals=3, judge="vote", votes=3)))
    driver.run(answer)
    assert len({order[0] for order in orders}) == 3


# --- critics


def vowels_only(path: list[str]) -> bool | str:
    """A sound critic of paths."""
    return path[-1] in "aeiou" or f"{''.join(path)} ends with no vowel"


def starts_with_o(answer: str) -> bool | str:
    """A sound critic of answers."""
    return answer.startswith("o") or "starts with something else"


def test_a_sound_critic_prunes(solve: Any) -> None:
    """What a critic in code refuses is drawn again, and never rated or gone on from."""
    letters = iter("xayobecu" * 9)
    backend = Scripted(lambda request: _said(request.messages[0].content, letters))
    outcome = solve("tree", TASK, backend, options={"depth": 2, "proposals": 2, "tries": 2, "prunes": [vowels_only]})
    assert outcome.status == "solved"
    prompts = [request.messages[-1].content for request in backend.requests]
    assert not [prompt for prompt in prompts if any(f"Thought {n}: {x}" in prompt for n in (1, 2) for x in "xybc")]


def _said(system: str, letters: Any) -> str:
    if "propose how" in system:
        return str(next(letters))
    return "maybe" if "hold one thing" in system else "o"


def test_an_answer_that_critics_refuse_is_sought_on_the_next_path(solve: Any) -> None:
    """The best path's answer does not pass; the next best one's does."""
    backend = Scripted({"You answer": ["ax", "ax", "ob"], "Can the task": "sure", "Spell": ["a", "o"]})
    options = {"depth": 1, "proposals": 2, "breadth": 2, "tries": 2, "accepts": [starts_with_o]}
    assert solve("tree", TASK, backend, options=options).answer == "ob"


def test_a_critic_that_raises_ends_the_search(solve: Any) -> None:
    """It has pruned nothing: the run fails with the critic's fault, and the step's key."""
    outcome = solve("tree", TASK, Scripted("a"), options={"prunes": [lambda path: path[9]]})
    assert outcome.status == "failed"
    assert "check failed: IndexError" in outcome.reason
    assert "(at 0/0/0)" in outcome.reason


def test_a_critic_that_hangs_ends_the_search(solve: Any) -> None:
    """Nothing of the run waits for it longer than its time; the critic and the step are named."""
    hanging = threading.Event()

    def stuck(_path: list[str]) -> bool:
        return hanging.wait(60)

    options = {"prunes": [stuck], "critic_timeout_s": 0.05, "proposals": 1, "tries": 1}
    outcome = solve("tree", TASK, Scripted("a"), options=options)
    hanging.set()
    assert outcome.status == "failed"
    assert "stuck took longer than 0.05 s (at 0/0/0)" in outcome.reason


# --- bounds and faults


def test_no_thought_left_is_an_error_that_says_why(solve: Any) -> None:
    """When a level has nothing to choose among, the error names the level, the reason and the step."""
    outcome = solve("tree", TASK, Scripted("x"), options={"prunes": [vowels_only], "tries": 1})
    assert (outcome.status, outcome.answer) == ("failed", None)
    assert "no thought is left at level 1 of the tree" in outcome.reason
    assert "x ends with no vowel (at 0/0/0)" in outcome.reason
    with pytest.raises(NoOptions, match="level 1"):
        Driver(tree(TASK)).run(lambda key, _move: StepFailed("no", key))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"proposals": 0}, "planner.options.proposals: should be greater than or equal to 1, not 0"),
        ({"depth": 0}, "planner.options.depth: "),
        ({"depth": 21}, "planner.options.depth: "),
        ({"breadth": 0}, "planner.options.breadth: "),
        ({"breadth": None, "proposals": 10, "depth": 4}, "a level could have 10000 states"),
        ({"tries": 10_001}, "planner.options.tries: should be less than or equal to 10000"),
        ({"prunes": ["checks"]}, "planner.options.prunes.0: 'checks' does not name code"),
    ],
)
def test_options_without_bounds_are_refused_before_anything_begins(options: dict[str, Any], said: str) -> None:
    """An option list of zero, and a tree without end, are faults of the task file."""
    with pytest.raises(TaskError, match="options") as caught:
        registry.planner(tree, options)
    assert said in str(caught.value)


# --- composed with others


def test_a_planner_hands_a_part_to_it_and_taint_goes_along() -> None:
    """A part's request keeps where it came from, and the tree's answer depends on it."""

    def planner(task: Task) -> Planning[Any]:
        question = yield from think("understand", task.input("mail"))
        found = yield from grow(task.part(question, answer=("yes", "no")), TreeOptions(depth=1, proposals=1))
        return found.provenance.tainted, found.value

    driver = Driver(planner(Task(prompt="?", inputs={"mail": "x"}, untrusted=("mail",))), tainted=True)
    shown: list[Any] = []

    def answer(_key: str, move: Any) -> Any:
        shown.append([(each.value, each.provenance.tainted) for each in move.inputs])
        return "yes"

    assert driver.run(answer) == (True, "yes")
    assert shown[1] == [("mail: x", True), ("Task: yes", True)]


def test_deliberate_hands_the_search_for_answers_to_it(solve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without actions, ways may be found by a tree each; they are then weighed like any other."""
    mind = Mind(["think", "think"], {("Option: cheap", "be honest"): "breaks"}, answer="")
    answers = iter(["cheap", "fair", "fair"])
    monkeypatch.setattr(mind, "_final", lambda _prompt: next(answers))
    task = Task(
        prompt="What do we charge?", answer=("cheap", "fair"), goals=(Goal(kind="principle", statement="be honest"),)
    )
    options = {"ways": 2, "tree": {"depth": 1, "proposals": 1}}
    outcome = solve("deliberate", task, Scripted(mind), options=options)
    assert (outcome.status, outcome.answer) == ("solved", "fair")
