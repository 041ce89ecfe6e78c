"""LLM-Modulo: only what every sound critic accepted is answered; each proposal knows what stood against the last."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold import registry
from scaffold.errors import BadRequest, TaskError
from scaffold.testing import Scripted
from scaffold.vocabulary.task import Task
from scaffold_planners.llm_modulo import llm_modulo

TASK = Task(prompt="Name a number", answer="integer")


def even(number: int) -> bool | str:
    """A sound critic."""
    return number % 2 == 0 or f"{number} is odd"


def small(number: int) -> bool | str:
    """Another."""
    return number < 100 or f"{number} is not small"


async def not_four(number: int) -> bool:
    """One that has to be awaited, and gives no reason."""
    return number != 4


CRITICS = [even, small, not_four]


def prompts(backend: Scripted, words: str = "Propose a solution") -> list[str]:
    """What was asked of who proposes, or of others."""
    return [each.messages[-1].content for each in backend.requests if words in each.messages[-1].content]


def test_a_proposal_that_every_critic_accepts_is_the_answer(solve: Any) -> None:
    """One round, and no word of critics in the prompt."""
    backend = Scripted(["8"])
    outcome = solve("llm_modulo", TASK, backend, options={"critics": CRITICS})
    assert (outcome.status, outcome.answer, outcome.steps) == ("solved", 8, 1)


def test_all_critiques_go_into_the_next_proposal(solve: Any) -> None:
    """Every critic reads each proposal, and what any of them says is shown with the proposal it is about."""
    backend = Scripted(["101", "4", "many", "2"])
    outcome = solve("llm_modulo", TASK, backend, options={"critics": CRITICS})
    assert outcome.answer == 2
    _, second, third, fourth = prompts(backend)
    assert "Refused: 101\n101 is odd\n101 is not small" in second
    assert "Refused: 4\nrefused by " in third
    assert "not_four" in third
    assert "Refused: malformed: not a whole number" in fourth
    assert "101 is odd" in fourth


def test_only_the_latest_critiques_are_remembered(solve: Any) -> None:
    """Prompts stay bounded over many rounds."""
    backend = Scripted(["1", "3", "5", "2"])
    solve("llm_modulo", TASK, backend, options={"critics": CRITICS, "remembers": 2})
    assert "1 is odd" not in prompts(backend)[3]
    assert "5 is odd" in prompts(backend)[3]


def test_rounds_are_bounded(solve: Any) -> None:
    """When nothing was accepted there is no answer; the reason says what stood against the last."""
    outcome = solve("llm_modulo", TASK, Scripted("3"), options={"critics": CRITICS, "rounds": 3})
    assert (outcome.status, outcome.answer, outcome.steps) == ("failed", None, 3)
    assert outcome.reason == "none of 3 proposals was accepted by every critic; the last (at 2): 3\n3 is odd"


def test_without_a_proposal_there_is_nothing_to_criticise(solve: Any) -> None:
    """A backend that calls the prompt wrong is not asked again in other words."""
    outcome = solve("llm_modulo", TASK, Scripted(lambda _: BadRequest("no such option")), options={"critics": CRITICS})
    assert (outcome.status, outcome.steps) == ("failed", 1)
    assert "cannot answer: no such option" in outcome.reason


ADVISED = {"critics": CRITICS, "advisers": [{"asks": "Is it round?", "backend": "judge"}], "rounds": 3}


def advice(text: str = "") -> str:
    """What an adviser says."""
    return json.dumps({"fine": not text, "advice": text})


def test_models_advise_and_do_not_decide(solve: Any) -> None:
    """Advice asks for another proposal; when rounds run out, the last that was sound is the answer."""
    backend, judge = Scripted(["2", "3", "20"]), Scripted([advice("take a round one"), advice("rounder")])
    backends = {"default": backend, "judge": judge}
    outcome = solve("llm_modulo", TASK, backend, options=ADVISED, backends=backends)
    assert (outcome.status, outcome.answer) == ("solved", 20)
    assert "Proposed: 2" in prompts(backend)[1]
    assert "Advice: take a round one" in prompts(backend)[1]
    assert len(prompts(judge, "Proposed: ")) == 2


def test_an_adviser_that_cannot_answer_says_nothing(solve: Any) -> None:
    """Soft critics are no gate: the sound proposal stands."""
    backend = Scripted(["2"])
    backends = {"default": backend, "judge": Scripted("no idea")}
    assert solve("llm_modulo", TASK, backend, options=ADVISED, backends=backends).answer == 2


def test_a_critic_that_hangs_ends_the_run(solve: Any) -> None:
    """After its time the run goes on without it, and names it with the step."""
    hanging = threading.Event()

    def stuck(_: int) -> bool:
        return hanging.wait(60)

    outcome = solve("llm_modulo", TASK, Scripted("2"), options={"critics": [even, stuck], "critic_timeout_s": 0.05})
    hanging.set()
    assert outcome.status == "failed"
    assert "stuck took longer than 0.05 s (at 0)" in outcome.reason


def test_a_critic_that_raises_ends_the_run(solve: Any) -> None:
    """It has refused nothing and accepted nothing; who proposes is not bothered with it."""

    def broken(_: int) -> bool:
        raise LookupError("no table")

    outcome = solve("llm_modulo", TASK, Scripted("2"), options={"critics": [even, broken]})
    assert (outcome.status, outcome.steps) == ("failed", 1)
    assert "check failed: LookupError: no table (at 0)" in outcome.reason


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "critics: is missing"),
        ({"critics": []}, "critics: Tuple should have at least 1 item"),
        ({"critics": ["math:pi"]}, "critics.0: 'math:pi' is a float, which cannot be called"),
        ({"critics": [even], "rounds": 0}, "rounds: "),
    ],
)
def test_without_a_critic_there_is_no_soundness(options: dict[str, Any], said: str) -> None:
    """At least one is needed, and it has to be code that can be called."""
    with pytest.raises(TaskError) as caught:
        registry.planner(llm_modulo, options)
    assert said in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 205), min_size=1, max_size=6))
def test_the_answer_is_only_ever_one_that_all_critics_accepted(
    tmp_path_factory: pytest.TempPathFactory, said: list[int]
) -> None:
    """Whatever a model proposes, in whatever order, advised or not."""
    from scaffold import Scaffold
    from scaffold.trace.files import FileJournal

    backend = Scripted([str(number) for number in said])
    judge = Scripted([advice("another"), advice("yet another"), *[advice()] * 9])
    agent = Scaffold(
        llm_modulo,
        options={**ADVISED, "rounds": len(said)},
        backends={"default": backend, "judge": judge},
        monitors=[],
        journal=FileJournal(tmp_path_factory.mktemp("runs")),
    )
    outcome = agent.solve_sync(TASK)
    sound = [number for number in said if number % 2 == 0 and number < 100 and number != 4]
    assert (outcome.status == "solved") == bool(sound)
    assert outcome.answer in sound or not sound
