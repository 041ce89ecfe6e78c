"""Limits on actions hold in a run and over all runs of a day; they are goals with rules, and nothing else counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.core.conftest import Watcher, World

from scaffold import Planning, Scaffold, Task, Verdict, act, action
from scaffold.actions import FunctionAction
from scaffold.errors import ActionError, TaskError
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.task import Limits


def paying(**declared: Any) -> FunctionAction:
    """An action that pays some cents."""

    @action(effect="irreversible", **declared)
    async def pay(cents: int) -> int:
        return cents

    return pay


def test_a_call_counts_from_when_it_was_begun(tmp_path: Path) -> None:
    """What waited for a person most of a day was done today, however long ago it was proposed."""
    world = World(tmp_path)

    def planner(_: Task) -> Planning[str]:
        try:
            return str((yield from act("pay", {"invoice": "i1"})).value)
        except ActionError as error:
            return error.message

    asks = Watcher(Verdict(decision="escalate", rationale="much"))
    limits = {"limits": {"pay": {"day": 1}}}
    waiting = world.solve(planner, monitors=["rules", asks], task=limits)
    assert waiting.status == "waiting"
    world.clock.advance(20 * 3600)
    world.answer(waiting)
    assert world.agent(planner, monitors=["rules", asks]).resume_sync(waiting.run).answer == "paid i1"
    world.clock.advance(10 * 3600)
    assert "at most 1" in world.solve(planner, monitors=["rules"], task=limits).answer
    world.clock.advance(15 * 3600)
    assert world.solve(planner, monitors=["rules"], task=limits).answer == "paid i1"


def solve(root: Path, amounts: list[int], limits: Any = None, **declared: Any) -> str:
    """Pay some amounts one after another; gives `p` or `r` for each."""

    def planner(_: Task) -> Planning[str]:
        said = ""
        for cents in amounts:
            try:
                yield from act("pay", {"cents": cents})
            except ActionError:
                said += "r"
            else:
                said += "p"
        return said

    agent = Scaffold(
        planner,
        backends={"default": Scripted("ok")},
        actions=[paying(**declared)],
        monitors=["rules"],
        journal=FileJournal(root),
    )
    task = Task.model_validate({"prompt": "pay", "limits": {} if limits is None else {"pay": limits}})
    outcome = agent.solve_sync(task)
    assert outcome.status == "solved", outcome.reason
    return str(outcome.answer)


@pytest.mark.parametrize(
    ("limits", "first", "second"),
    [
        ({"run": 2}, "ppr", "ppr"),
        ({"day": 4}, "ppp", "prr"),
        ({"usd_run": 5}, "ppr", "ppr"),
        ({"usd_day": 9.5}, "ppp", "prr"),
        ({"usd_run": 1e30}, "ppp", "ppp"),
        ({"arguments": {"cents": {"each": 2}}}, "ppr", "ppr"),
        ({"arguments": {"cents": {"each": 1e20, "run": 1e20, "day": 1e20}}}, "ppp", "ppp"),
        ({"arguments": {"cents": {"run": 5}}}, "ppr", "ppr"),
        ({"arguments": {"cents": {"day": 7}}}, "ppp", "prr"),
    ],
)
@pytest.mark.parametrize("where", ["task", "action"])
def test_a_limit_holds(tmp_path: Path, limits: Any, first: str, second: str, where: str) -> None:
    """In the task or with the action, in times, dollars or an argument; those of a day over two runs."""
    said = {"limits": limits} if where == "task" else {}
    declared = {"limits": limits} if where == "action" else {}
    runs = [solve(tmp_path, [1, 2, 3], **said, cost=2.0, **declared) for _ in range(2)]
    assert runs == [first, second]


def test_of_two_limits_the_stricter_holds(tmp_path: Path) -> None:
    """A task cannot lift what the action declares."""
    agent = Scaffold("direct", actions=[paying(limits={"run": 1})], monitors=["rules"], journal=FileJournal(tmp_path))
    named = [goal.name for goal in agent._limited(Task(prompt="x", limits={"pay": Limits(run=5)})).goals]  # noqa: SLF001
    assert named == ["limit-pay-run", "declared-limit-pay-run"]


@pytest.mark.parametrize(
    ("limits", "said", "path"),
    [
        ({"pai": {"run": 1}}, "there is no action 'pai'; did you mean 'pay'?", ("limits", "pai")),
        ({"pay": {"usd_day": 1}}, "declares no cost", ("limits", "pay", "usd_day")),
        (
            {"pay": {"arguments": {"cent": {"day": 1}}}},
            "has no argument 'cent'; did you mean 'cents'?",
            ("limits", "pay", "arguments", "cent"),
        ),
    ],
)
def test_a_limit_that_cannot_be_kept_is_found_before_the_run(
    tmp_path: Path, limits: Any, said: str, path: tuple[str, ...]
) -> None:
    """The error says what is wrong, and where."""
    agent = Scaffold("direct", actions=[paying()], monitors=["rules"], journal=FileJournal(tmp_path))
    with pytest.raises(TaskError) as raised:
        agent.check(Task(prompt="x", limits=limits))
    assert said in str(raised.value)
    assert raised.value.path == path


def test_limits_need_somebody_who_keeps_to_them(tmp_path: Path) -> None:
    """Without a monitor that reads rules a limit would be nothing but words."""
    agent = Scaffold("direct", actions=[paying()], monitors=[], journal=FileJournal(tmp_path))
    with pytest.raises(TaskError, match="pay is done at most 1 times a run: no monitor checks this limit") as raised:
        agent.check(Task(prompt="x", limits={"pay": Limits(run=1)}))
    assert raised.value.path == ("limits",)


def test_limits_that_an_action_declares_wrongly_are_said(tmp_path: Path) -> None:
    """By the action's name and the key."""
    agent = Scaffold("direct", actions=[paying(limits={"week": 1})], monitors=["rules"], journal=FileJournal(tmp_path))
    with pytest.raises(TaskError, match="the limits that 'pay' declares are not valid: week"):
        agent.check(Task(prompt="x"))
