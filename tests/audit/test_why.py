"""`scaffold audit why`: the reasons for one action, from the goal to the outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Plan, Planned, Planning, Reference, Scaffold, Task, Verdict, act, action, carry_out, propose, think
from scaffold.cli import main
from scaffold.errors import ActionError, BadInput
from scaffold.interfaces import Answer
from scaffold.planning import together
from scaffold.projections.why import Why, why
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.trace.reading import links
from scaffold.vocabulary.review import MonitorSpec
from scaffold.vocabulary.sampling import majority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@action(effect="read")
async def look(at: str) -> str:
    """Look something up."""
    return f"DE02 belongs to {at}"


@action(effect="irreversible", cost=2.0)
async def pay(account: str, cents: int) -> str:
    """Pay."""
    return f"paid {cents} to {account}"


@action(effect="irreversible")
async def shout(text: str) -> str:
    """Say something to everybody."""
    return f"said {text}"


class Careful:
    """Has a person see payments, and lets nobody shout."""

    spec = MonitorSpec(name="careful", watches=frozenset({"action", "plan"}))

    async def review(self, subject: Any, view: Any, context: Any) -> Verdict:
        """Read one plan or call."""
        names = {each.action for each in subject.plan}
        if "shout" in names:
            return Verdict(decision="block", rationale="nobody shouts", score=0.9)
        return Verdict(decision="escalate" if "pay" in names else "allow", rationale="it is money", score=0.4)


def paying(task: Task) -> Planning[str]:
    """Look, think by votes, pay by a plan, and shout in vain."""
    seen = yield from act("look", {"at": task.input("name")})
    amounts = yield from together(*(think("propose", seen, sampling=majority(3)) for _ in range(2)))
    chosen: Reference[str] = yield from think("decide", amounts, instruction="how much")
    plan = Plan([Planned("pay", {"account": seen, "cents": 900}, because=(chosen,))], reason="it is due")
    review = yield from propose(plan)
    yield from carry_out(plan, review)
    try:
        yield from act("shout", {"text": "done"})
    except ActionError:
        return "paid"
    return "shouted"


class Ann:
    """Approves."""

    async def ask(self, question: Any) -> Answer:
        """Say yes."""
        return Answer(id=question.id, digest=question.digest, granted=True, by="Ann", comment="fine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that looked, thought, asked a person, paid, and was refused."""
    journal = FileJournal(tmp_path_factory.mktemp("why") / "runs")
    agent = Scaffold(
        paying,
        backends={"default": Scripted("nine hundred")},
        actions=[look, pay, shout],
        monitors=[Careful()],
        approvers=[Ann()],
        journal=journal,
    )
    goal = {"constraint": "pay nobody twice"}
    task = Task.model_validate({"prompt": "Pay Bob", "inputs": {"name": "Bob"}, "untrusted": ["name"], "goals": [goal]})
    outcome = agent.solve_sync(task)
    assert outcome.answer == "paid"
    return journal.folder(outcome.run)


@pytest.fixture
def ask(folder: Path) -> Callable[..., Why]:
    """Ask why."""
    return lambda which, **more: why(lambda: links(folder), which, **more)


def test_an_action_is_followed_from_the_goal_to_its_outcome(ask: Callable[..., Why]) -> None:
    """Goal, provenance of each argument, the plan, verdicts, approval, clearance and outcome are all there."""
    found = ask("pay")
    assert (found.prompt, found.goals, found.became) == ("Pay Bob", ["constraint: pay nobody twice"], "performed")
    account, cents = found.arguments
    assert (account.value, account.tainted) == ("DE02 belongs to Bob", True)
    assert account.sources == ["action:0"]
    assert cents.sources[0].startswith("history:")
    assert (found.plan["reason"], found.plan["allowed"]) == ("it is due", True)
    assert {(each.monitor, each.decision) for each in found.verdicts} == {("careful", "escalate")}
    assert found.verdicts[0].reason == "it is money"
    assert (found.approval["by"], found.approval["granted"], found.approval["comment"]) == (["Ann"], True, "fine")
    assert found.clearance["approval"] or found.plan["decision"] == "allow"
    assert (found.outcome["value"], found.outcome["attempts"]) == ("paid 900 to DE02 belongs to Bob", 1)


def test_the_steps_and_votes_it_rests_on_are_told(ask: Callable[..., Why]) -> None:
    """Steps say who answered, how they voted and what they rest on in turn, also those of branches."""
    found = ask("pay")
    steps = {each.name: each for each in found.rests_on if each.what == "step"}
    assert steps["propose"].votes == "3 of 3" or steps["propose"].votes == "2 of 2"
    assert steps["propose"].sources == ["action:0"]
    assert steps["decide"].said == "nine hundred"
    assert {each.key for each in found.rests_on} >= {"0", "1/0/0", "1/1/0", "2"}
    assert ask("pay", most=1).left_out == len(found.rests_on) - 1


def test_what_was_refused_says_who_refused_it(ask: Callable[..., Why]) -> None:
    """A refused action has its verdict and no clearance."""
    found = ask("shout")
    assert (found.became, found.clearance, found.outcome["status"]) == ("refused", {}, "refused")
    assert found.verdicts[-1].reason == "nobody shouts"


def test_what_is_no_action_of_the_run_is_bad_input(ask: Callable[..., Why]) -> None:
    """An unknown name says which there are."""
    with pytest.raises(BadInput, match="no action 'pya'; did you mean 'pay'"):
        ask("pya")


def test_what_only_refused_plans_held_names_the_plans(tmp_path: Path) -> None:
    """Such a call was never an action of its own: the reason is the plan's, so its place is told."""

    def planner(_: Task) -> Planning[None]:
        for text in ("hear", "hear me"):
            yield from propose(Plan([Planned("shout", {"text": text}, id="cry"), Planned("look", {"at": "x"})]))

    journal = FileJournal(tmp_path)
    agent = Scaffold(planner, actions=[look, shout], monitors=[Careful()], journal=journal)
    folder = journal.folder(agent.solve_sync(Task(prompt="Shout")).run)
    for name in ("shout", "cry"):
        said = f"'{name}' was in no plan that was let through: `scaffold audit show RUN --at 0` shows why not"
        with pytest.raises(BadInput, match=f"{said}; see also the keys 1"):
            why(lambda: links(folder), name)


def test_the_nth_of_a_name_is_never_another(ask: Callable[..., Why]) -> None:
    """`pay#1` is the first; where there is no second, `pay#2` is none rather than the first."""
    assert ask("pay#1").key == ask("pay").key
    with pytest.raises(BadInput, match="no action 'pay#2'; did you mean 'pay'"):
        ask("pay#2")


def test_the_command_tells_it_as_text_and_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both hold the same; text from the trace cannot move the cursor."""
    where = ("--runs", str(folder.parent))
    assert main(["audit", "why", "last", "pay", *where]) == 0
    text = capsys.readouterr().out
    for said in (
        "performed",
        "asked: Pay Bob",
        "goal, constraint: pay nobody twice",
        "argument account = DE02 belongs to Bob, from action:0, untrusted",
        "samples agreed",
        "verdict of careful",
        "Ann approved it: fine",
    ):
        assert said in text
    assert main(["audit", "why", "last", "pay", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["became"] == "performed"
    assert main(["audit", "why", "last", "nothing", *where]) == 2


def test_without_content_the_spine_still_tells(folder: Path, tmp_path: Path) -> None:
    """Decisions, verdicts' facts and the outcome stand in the spine."""
    spine = tmp_path / folder.name
    spine.mkdir()
    (spine / "trace.jsonl").write_bytes((folder / "trace.jsonl").read_bytes())
    found = why(lambda: links(spine), "pay")
    assert (found.withheld, found.became, found.arguments) == (True, "performed", [])
    assert found.verdicts[0].decision == "escalate"
