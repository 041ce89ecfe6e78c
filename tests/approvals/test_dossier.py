"""What a person is shown with a question: what differs from before, the thoughts behind it, and what was found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.core.conftest import Watcher

from scaffold import Plan, Planned, Planning, Task, Verdict, act, carry_out, propose, think
from scaffold.approvals.dossier import Dossier, dossier
from scaffold.approvals.queue import waiting
from scaffold.approvals.saying import answer_to
from scaffold.testing import Scripted
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from tests.approvals.conftest import Office

    from scaffold.vocabulary.outcome import Outcome

ACTIONS = Watcher(Verdict(decision="escalate", rationale="much"), name="careful", watches=frozenset({"action"}))


def asked(office: Office, planner: Any, questions: int = 1, **more: Any) -> list[Dossier]:
    """What is shown with each question of a run, while the earlier ones are approved."""
    agent = office.agent(planner, **{"monitors": [ACTIONS], **more})
    outcome: Outcome = agent.solve_sync(Task(prompt="Pay"))
    shown: list[Dossier] = []
    while True:
        (each,) = waiting(office.journal, outcome.run)
        shown.append(dossier(office.journal, outcome.run, each.question.id))
        if len(shown) == questions:
            return shown
        asyncio.run(office.journal.post(outcome.run, answer_to(each, granted=True, by="ann")))
        outcome = agent.resume_sync(outcome.run)


def changed(shown: Dossier) -> tuple[str, list[str]]:
    """Since when something is other than before, and the lines that are."""
    assert shown.change is not None
    return shown.change.since, [mark + line for mark, line in shown.change.lines if mark != " "]


def test_a_call_is_held_against_its_place_in_the_plan(office: Office) -> None:
    """Not against another of the plan's calls, nor against what was asked before."""

    def planner(_: Task) -> Planning[Any]:
        plan = Plan(
            [Planned("pay", {"invoice": "i1"}, id="one"), Planned("pay", {"invoice": "i2"}, id="two", after=["one"])],
            reason="They are due.",
        )
        return str((yield from carry_out(plan, (yield from propose(plan)))))

    shown = asked(office, planner, 2)
    assert [each.change.since for each in shown if each.change] == ["the planned call"] * 2
    for each, invoice in zip(shown, ("i1", "i2"), strict=True):
        assert each.change is not None
        text = "\n".join(line for _, line in each.change.lines)
        assert f'"invoice": "{invoice}"' in text
        assert not [line for mark, line in each.change.lines if mark == "-"]


def test_a_call_is_held_against_the_last_one_of_its_kind_that_was_asked_about(office: Office) -> None:
    """The first of its kind, and one of another action, are new."""

    def planner(_: Task) -> Planning[str]:
        yield from act("pay", {"invoice": "i1", "cents": 990})
        yield from act("pay", {"invoice": "i2", "cents": 990})
        yield from act("post", {"text": "paid"})
        yield from act("pay", {"invoice": "i3", "cents": 990})
        return "done"

    first, second, other, third = asked(office, planner, 4)
    assert (first.change, other.change) == (None, None)
    assert changed(second) == ("the previous question", ['-  "invoice": "i1"', '+  "invoice": "i2"'])
    assert changed(third) == ("the previous question", ['-  "invoice": "i2"', '+  "invoice": "i3"'])


class Thoughtful:
    """Has a judge think before it says what it thinks."""

    spec = MonitorSpec(name="thoughtful", watches=frozenset({"action"}))

    async def review(self, subject: Any, view: Any, context: Any) -> Verdict:
        """Think, and flag."""
        await context.think("evaluate", "Is it fine?")
        return Verdict(decision="flag", rationale="hm")


def test_the_last_thoughts_are_shown_and_the_strictest_verdicts_first(office: Office) -> None:
    """Those of the agent, oldest first, each cut at a length; what judges thought is not among them."""

    def planner(_: Task) -> Planning[str]:
        for number in range(8):
            yield from think("solve" if number else "understand", f"part {number}")
        yield from act("pay", {"invoice": "i1"})
        return "done"

    backends = {"default": Scripted("x" * 30_000), "judge": Scripted("a judge's thought")}
    (shown,) = asked(office, planner, monitors=[Thoughtful(), ACTIONS], backends=backends)
    assert [(each.step, each.key) for each in shown.thoughts] == [("solve", str(number)) for number in range(2, 8)]
    assert {each.text[:20_000] for each in shown.thoughts} == {"x" * 20_000}
    assert all("cut here" in each.text[20_000:] for each in shown.thoughts)
    assert [(each["monitor"], each["decision"]) for each in shown.verdicts] == [
        ("careful", "escalate"),
        ("thoughtful", "flag"),
    ]


def test_nothing_is_shown_of_a_question_that_there_is_not(office: Office) -> None:
    """An empty dossier, and no error."""
    assert dossier(office.journal, office.wait().run, "none") == Dossier()
