"""`scaffold audit actions`: what all runs did, filtered, and who approved it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from scaffold import Plan, Planned, Planning, Scaffold, Task, Verdict, act, action, carry_out, propose
from scaffold.cli import main
from scaffold.errors import ActionError
from scaffold.interfaces import Answer
from scaffold.trace.files import FileJournal
from scaffold.trace.pruning import prune_content
from scaffold.trace.sealing import VARIABLE
from scaffold.vocabulary.review import MonitorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scaffold.interfaces import KeptRuns
    from scaffold.testing.cluster import Cluster


@action(effect="read")
async def look(at: str) -> str:
    """Look something up."""
    return at


@action(effect="irreversible", cost=0.5)
async def pay(account: str, cents: int) -> str:
    """Pay."""
    if account == "LOST":
        raise TimeoutError
    return f"paid {cents}"


class Careful:
    """Has a person see plans, and payments of more than five dollars."""

    spec = MonitorSpec(name="careful", watches=frozenset({"action", "plan"}))

    async def review(self, subject: Any, view: Any, context: Any) -> Verdict:
        """Read one plan or call."""
        large = any(each.arguments.get("cents", 0) > 500 for each in subject.plan)
        return Verdict(decision="escalate" if large else "allow", rationale="it is much")


class Ann:
    """Approves, but for Eve."""

    async def ask(self, question: Any) -> Answer:
        """Say yes or no."""
        granted = "EVE" not in json.dumps(question.detail)
        return Answer(id=question.id, digest=question.digest, granted=granted, by="Ann")


def paying(task: Task) -> Planning[str]:
    """Look, and pay as the inputs say."""
    yield from act("look", {"at": "x"})
    for account, cents in task.inputs["due"]:
        with contextlib.suppress(ActionError):
            yield from act("pay", {"account": account, "cents": cents})
    return "done"


def made(journal: KeptRuns, *due: tuple[str, int]) -> str:
    """Make a run that pays; return its id."""
    agent = Scaffold(paying, actions=[look, pay], monitors=[Careful()], approvers=[Ann()], journal=journal)
    return agent.solve_sync(Task(prompt="Pay", inputs={"due": due})).run


class Said(NamedTuple):
    """What the command says."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run `scaffold audit actions`."""

    def ask(place: object, *words: str) -> Said:
        capsys.readouterr()
        status = main(["audit", "actions", *words, "--runs", str(place)])
        return Said(status, *capsys.readouterr())

    return ask


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with two runs, and their ids."""
    journal = FileJournal(tmp_path_factory.mktemp("actions") / "runs")
    first = made(journal, ("BOB", 300), ("BOB", 900), ("EVE", 900))
    return journal.root, first, made(journal, ("LOST", 700), ("BOB", 501))


def test_payments_are_found_over_all_runs_with_who_approved_them(
    stored: tuple[Path, str, str], ask: Callable[..., Said]
) -> None:
    """By name, by an expression over arguments, and by time; as text and as JSON lines."""
    root, first, second = stored
    said = ask(root, "pay", "--where", "args.account == 'BOB' && args.cents > 500", "--since", "7d")
    assert (said.status, said.err) == (0, "")
    assert {line.split("  ", 1)[1] for line in said.out.splitlines()} == {
        f'{first}  2       performed  pay(account="BOB", cents=900), approved by Ann',
        f'{second}  2       performed  pay(account="BOB", cents=501), approved by Ann',
    }
    denied = ask(root, "--where", "'Ann' in denied_by", "--json").rows
    assert [(each["run"], each["key"], each["status"], each["arguments"]) for each in denied] == [
        (first, "3", "refused", {"account": "EVE", "cents": 900})
    ]
    [unknown] = ask(root, "--where", "status == 'unknown'", "--json").rows
    assert (unknown["action"], unknown["approved_by"], unknown["cost"]) == ("pay", ["Ann"], 0.5)
    assert len(ask(root).out.splitlines()) == 7
    assert abs(unknown["at"] - time.time()) < 3600
    assert ask(root, "--until", "1h").out == "no such action\n"


def test_an_approved_plans_calls_name_its_approver(tmp_path: Path, ask: Callable[..., Said]) -> None:
    """Also where the plan alone was seen by a person."""

    def planned(_: Task) -> Planning[None]:
        plan = Plan([Planned("pay", {"account": "BOB", "cents": 900})])
        yield from carry_out(plan, (yield from propose(plan)))

    class Once(Careful):
        spec = MonitorSpec(name="once", watches=frozenset({"plan"}))

    agent = Scaffold(planned, actions=[pay], monitors=[Once()], approvers=[Ann()], journal=FileJournal(tmp_path))
    assert agent.solve_sync(Task(prompt="Pay")).status == "solved"
    assert ask(tmp_path).out.endswith('performed  pay(account="BOB", cents=900), approved by Ann\n')


def test_what_was_not_begun_is_told_so(tmp_path: Path, ask: Callable[..., Said]) -> None:
    """A call that waits for a person is in the list, and so is what is planned only."""
    agent = Scaffold(paying, actions=[look, pay], monitors=[Careful()], journal=FileJournal(tmp_path))
    assert agent.solve_sync(Task(prompt="Pay", inputs={"due": [("BOB", 900)]})).status == "waiting"
    assert ask(tmp_path, "pay").out.endswith('not begun  pay(account="BOB", cents=900)\n')


def test_withheld_arguments_hide_no_action(
    tmp_path: Path, ask: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pruned or encrypted run's actions are listed where --where asks for arguments, not where it excludes them."""
    journal = FileJournal(tmp_path)
    prune_content(journal.folder(made(journal, ("BOB", 300))), dry=False)
    monkeypatch.setenv(VARIABLE, base64.b64encode(os.urandom(32)).decode())
    made(journal, ("BOB", 300))
    assert len(ask(tmp_path, "pay", "--where", "args.cents == 300").out.splitlines()) == 2
    monkeypatch.delenv(VARIABLE)
    said = ask(tmp_path, "pay", "--where", "args.cents > 500")
    assert said.out.count("performed  pay (withheld)\n") == 2
    assert said.err == "the arguments of 2 actions listed are withheld\n"
    assert ask(tmp_path, "--where", "effect != 'read' && status != 'performed' && args.cents > 500").out == (
        "no such action\n"
    )


def test_a_damaged_run_is_named_and_the_others_listed(tmp_path: Path, ask: Callable[..., Said]) -> None:
    """What comes before the damage is listed too; the exit status says that not all was read."""
    journal = FileJournal(tmp_path)
    damaged, whole = made(journal, ("BOB", 300), ("BOB", 400)), made(journal, ("ANN", 100))
    trace = journal.folder(damaged) / "trace.jsonl"
    lines = trace.read_bytes().splitlines(keepends=True)
    lines[-2] = lines[-2].replace(b'"', b"'", 1)
    trace.write_bytes(b"".join(lines))
    said = ask(tmp_path, "pay", "--json")
    assert said.status == 1
    assert {(each["run"], each["arguments"]["cents"]) for each in said.rows} >= {(damaged, 300), (whole, 100)}
    assert said.err.startswith(f"run {damaged} cannot be read to its end: line ")


def test_what_an_expression_does_not_fit_is_counted(stored: tuple[Path, str, str], ask: Callable[..., Said]) -> None:
    """An action without that argument is left out, and the first one is named: a typing error finds nothing."""
    root, *_ = stored
    said = ask(root, "pay", "--where", "args.cent > 500")
    assert said.out == "no such action\n"
    assert re.fullmatch(
        r"--where does not fit 5 actions, left out, such as pay at \d of [\w-]+: it has no 'cent'\n", said.err
    )
    assert "it gives 1, neither true nor false" in ask(root, "--where", "size(run) - size(run) + 1").err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--where", "args.x >"), "is not a CEL expression: at character 9, mismatched input '<EOF>'"),
        (("--where", "cents > 4"), "there is no 'cents': an argument is `args.cents`; else there are run, key, at, "),
        (("--since", "soon"), "'soon' is neither an age, such as 7d or 12h, nor a date or time, such as 2026-11-17"),
    ],
)
def test_what_is_mistyped_is_told(tmp_path: Path, ask: Callable[..., Said], words: tuple[str, ...], told: str) -> None:
    """In one line, with what to write."""
    said = ask(tmp_path, *words)
    assert (said.status, told in said.err) == (2, True), said.err


def test_runs_of_a_database_are_read_too(cluster: Cluster, ask: Callable[..., Said]) -> None:
    """With the same rows."""
    from scaffold.trace.postgres import PostgresJournal

    url = cluster.fresh(f"actions_{os.getpid()}")
    assert main(["database", "migrate", url]) == 0
    run = made(PostgresJournal(url), ("BOB", 900))
    assert [(each["run"], each["action"], each["approved_by"]) for each in ask(url, "--json").rows] == [
        (run, "look", []),
        (run, "pay", ["Ann"]),
    ]
