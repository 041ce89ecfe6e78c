"""Ready rules and rules across runs: what they stand for, when they hold, and what they look up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.powerless import powerless

from scaffold import Scaffold, action
from scaffold.errors import BadInput, NotPerformed, TaskError
from scaffold.interfaces import Elsewhere, Surroundings
from scaffold.planning import act
from scaffold.trace.elsewhere import INDEX, elsewhere
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.review import Verdict
from scaffold.vocabulary.task import Goal, Task
from scaffold_monitors.cel.expressions import read
from scaffold_monitors.cel.reading import Fault
from scaffold_monitors.cel.ready import expand
from scaffold_monitors.rules import Rules

MONDAY_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
DAY = 86_400.0


def task(rule: str, **inputs: Any) -> Task:
    """A task with one rule."""
    return Task(prompt="Pay", inputs=inputs, goals=(Goal(statement="keep to it", rule=rule),))


def viewed(kit: Any, rule: str, *, now: float = MONDAY_NOON, others: Sequence[Elsewhere] = (), **inputs: Any) -> Any:
    """A view that tells the time and what other runs did."""

    class Around(kit.View):  # type: ignore[misc] # the kit's types are Any
        def now(self) -> float:
            return now

        async def elsewhere(self, since: float) -> Sequence[Elsewhere]:
            return [each for each in others if each.at >= since]

    view = Around(task(rule, **inputs), Rules())
    view.monitor.check(view.task, view.actions)
    return view


def said(kit: Any, rule: str, *calls: Any, **around: Any) -> Verdict:
    """The verdict on a plan."""
    verdict: Verdict = viewed(kit, rule, **around).plan(*calls)
    assert verdict.status in ("ok", "abstain"), verdict.rationale
    return verdict


def paid(cents: int, account: str = "A", *, ago: float = 3600.0, run: str = "other", key: str = "0") -> Elsewhere:
    """A payment of another run."""
    arguments = {"invoice": f"{run}{key}", "account": account, "cents": cents}
    return Elsewhere(run, key, MONDAY_NOON - ago, "pay", arguments)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("only('pay', 'account', ['A', 'B'])", [("pay", {"account": "A"})], [("pay", {"account": "C"})]),
        ("only('pay', 'account', inputs.accounts)", [("pay", {"account": "A"})], [("pay", {"account": "C"})]),
        ("each_at_most('pay', 'cents', 100 + 1)", [("pay", {"cents": 101})] * 3, [("pay", {"cents": 102})]),
        ("at_most('pay', 'cents', 100)", [("pay", {"cents": 50})] * 2, [("pay", {"cents": 50})] * 3),
        ("at_most_times('pay', 2)", [("pay", {})] * 2, [("pay", {})] * 3),
        ("at_most_in('pay', 'cents', 1, 100)", [("pay", {"cents": 50})], [("pay", {"cents": 101})]),
        ("at_most_times_in('pay', 7, 1)", [("pay", {})], [("pay", {})] * 2),
        ("at_most_times_to('pay', 'account', 1, 1)", [("pay", {"account": "A"}), ("pay", {"account": "B"})],
         [("pay", {"account": "A"})] * 2),
        ("at_most_times_to('pay', 'account', 1, 1)", [("pay", {"account": "A"}), ("pay", {"account": "a"})],
         [("pay", {"account": "\u00c5"}), ("pay", {"account": "A\u030a "})]),
        ("never_both('pay', 'delete')", [("pay", {}), ("pay", {})], [("pay", {}), ("delete", {})]),
        ("business_hours('pay', 'Europe/Berlin')", [("pay", {})], []),
        ("within_hours('pay', '13:00', '13:01', 'Europe/Berlin')", [("pay", {})], []),
        ("within_hours('pay', '13:01', '24:00', 'Europe/Berlin')", [("delete", {})], [("pay", {})]),
        ("within_hours('pay', '22:00', '13:01', 'Europe/Berlin')", [("pay", {})], []),
        ("within_hours('pay', '22:00', '13:00', 'Europe/Berlin')", [("delete", {})], [("pay", {})]),
        ("untainted('pay', 'account')", [("pay", {"account": "A"})], [("pay", {"account": "A", "tainted": True})]),
        ("only('pay', 'account', ['A']) && each_at_most('pay', 'cents', 9)", [("pay", {"account": "A", "cents": 9})],
         [("pay", {"account": "A", "cents": 10})]),
    ],
)  # fmt: skip
def test_each_ready_rule_holds_and_breaks(kit: Any, rule: str, good: list[Any], bad: list[Any]) -> None:
    """As its line in the table says."""
    inputs = {"accounts": ["A", "B"]}
    for calls, decision in ((good, "allow"), (bad, "block")):
        if calls:
            made = [kit.call(name, f"a{number}", **args) for number, (name, args) in enumerate(calls)]
            assert said(kit, rule, *made, **inputs).decision == decision, decision


def test_order_is_kept(kit: Any) -> None:
    """One only after another, and never after another."""
    backup, delete = kit.call("backup", "a0"), kit.call("delete", "a1", after=("a0",))
    assert said(kit, "in_order('backup', 'delete')", backup, delete).decision == "allow"
    assert said(kit, "in_order('backup', 'delete')", kit.call("delete")).decision == "block"
    assert said(kit, "never_after('delete', 'backup')", backup, delete).decision == "block"
    assert (
        said(kit, "never_after('delete', 'backup')", kit.call("delete"), kit.call("backup", "a1")).decision == "allow"
    )


def test_each_item_is_on_the_list(kit: Any) -> None:
    """Of an argument with several values; an object is no list, whatever its keys are."""
    given: list[tuple[object, str]] = [
        (["x", "y"], "allow"),
        (["x", "z"], "block"),
        ([], "allow"),
        ({"x": "z"}, "block"),
    ]
    for items, decision in given:
        verdict = said(kit, "only_each('delete', 'paths', ['x', 'y'])", kit.call("delete", paths=items))
        assert verdict.decision == decision


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("only('pay', 'account')", "only(action, argument, allowed) takes 3 arguments, but is given 2"),
        ("only()", "takes 3 arguments, but is given 0"),
        ("onyl('pay', 'account', [])", "'onyl' is not a function; did you mean 'only'"),
        ("only(pay, 'account', ['A'])", "action of only() should be in quotes"),
        ("only('pya', 'account', ['A'])", "there is no action 'pya'; did you mean 'pay'"),
        ("only('pay', 'acount', ['A'])", "'acount' is not an argument of any action; did you mean 'account'"),
        ("only('pay', 'account', inputs.acounts)", "the task has no input 'acounts'"),
        ("at_most_in('pay', 'cents', 0, 5)", "a number from 1 to 366"),
        ("at_most_in('pay', 'cents', inputs.n, 5)", "a number from 1 to 366"),
        ("at_most_in('pay', 'memo', 1, 5)", "has type 'string'"),
        ("count_to('pay', 'acount', 1, 'A') < 3", "did you mean 'account'"),
        ("count_in('pay') < 3", "a number from 1 to 366"),
        ("within_hours('pay', '9', '17:00', 'UTC')", "should be a time of day in quotes"),
        ("within_hours('pay', '09:00', '24:01', 'UTC')", "should be a time of day in quotes"),
        ("business_hours('pay', 'Europe/Belrin')", "did you mean 'Europe/Berlin'"),
        ("weekday(inputs.n) < 5", "a time zone must be written in the rule itself"),
        ("only('pay', 'account', ['A']", "is not a CEL expression"),
    ],
)
def test_a_fault_points_at_its_place(kit: Any, rule: str, problem: str) -> None:
    """With the nearest name where one was meant, before the run begins."""
    with pytest.raises(TaskError) as caught:
        viewed(kit, rule, n=1, accounts=[])
    assert problem in str(caught.value)
    assert str(caught.value).rstrip().endswith("^")
    assert caught.value.path == ("goals", 0, "rule")


def test_what_a_rule_stands_for_can_be_read() -> None:
    """An ordinary expression is left as it is, in quotes too."""
    assert expand("at_most('pay', 'cents', 9)") == "(total('pay', 'cents') <= (9))"
    for source in ("args.x == 'only(1)'", "plan.only", "a.only(1)", "true"):
        assert expand(source) == source
    assert read("at_most('pay', 'cents', 9)").source == "at_most('pay', 'cents', 9)"


@given(st.text(alphabet="only('payt_m,s)[]{}1 .\"", max_size=60))
def test_expanding_never_fails_otherwise(text: str) -> None:
    """Whatever it is given, it gives an expression or a fault."""
    with contextlib.suppress(Fault):
        expand(text)


def test_what_other_runs_did_counts(kit: Any) -> None:
    """Of the last days only; what it came to is written down."""
    others = [paid(4000), paid(500, "B", key="1"), paid(9000, ago=2 * DAY, key="2")]
    rule = "at_most_in('pay', 'cents', 1, 5000)"
    good = said(kit, rule, kit.call("pay", cents=500), others=others)
    assert good.decision == "allow"
    assert [each.quote for each in good.evidence] == ["total_in('pay', 'cents', 1) = 4500"]
    assert "total_in('pay', 'cents', 1) = 4500" in good.rationale
    assert said(kit, rule, kit.call("pay", cents=501), others=others).decision == "block"
    assert said(kit, "at_most_in('pay', 'cents', 3, 5000)", kit.call("pay", cents=1), others=others).decision == "block"
    once = "at_most_times_to('pay', 'account', 1, 1)"
    assert said(kit, once, kit.call("pay", account="B"), others=others).decision == "block"
    assert said(kit, once, kit.call("pay", account=" B\u200b"), others=others).decision == "block"
    assert said(kit, once, kit.call("pay", account="C"), others=others).decision == "allow"


def test_what_cannot_be_known_is_no_pass(kit: Any) -> None:
    """Arguments that are withheld, or a view that knows of no other runs."""
    withheld = Elsewhere("other", "0", MONDAY_NOON, "pay", None)
    for rule in ("at_most_in('pay', 'cents', 1, 50)", "at_most_times_to('pay', 'account', 1, 5)"):
        view = viewed(kit, rule, others=[withheld])
        verdict = view.plan(kit.call("pay", cents=1, account="A"))
        assert (verdict.decision, verdict.status) == ("block", "error"), rule
    assert said(kit, "at_most_times_in('pay', 1, 2)", kit.call("pay"), others=[withheld]).decision == "allow"
    alone = kit.View(task("at_most_in('pay', 'cents', 1, 50)"), Rules())
    assert alone.plan(kit.call("pay", cents=1)).status == "error"
    assert alone.act(kit.call("pay", cents=1)).status == "error"


def test_the_weekend_is_no_business_time(kit: Any) -> None:
    """Nor are early morning and evening, where the clock of the zone says so."""
    rule = "business_hours('pay', 'America/New_York')"
    for hours, decision in ((0, "block"), (2, "allow"), (9.99, "allow"), (10, "block"), (2 - 24, "block")):
        verdict = said(kit, rule, kit.call("pay"), now=MONDAY_NOON + hours * 3600)
        assert verdict.decision == decision, hours
        assert "now in America/New_York = 2026-11-2" in verdict.rationale


# --- real runs


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.at = now

    def now(self) -> float:
        """The time."""
        return self.at

    def monotonic(self) -> float:
        """The time."""
        return self.at


@action(effect="irreversible")
async def pay(cents: int, how: str = "") -> str:
    """Pays something."""
    if how == "fails":
        raise NotPerformed("no money")
    return f"paid {cents}"


def paying(*amounts: int, fails: bool = False) -> Any:
    """A planner that pays some amounts."""

    def planner(_task: Task) -> Any:
        for cents in amounts:
            yield from act("pay", {"cents": cents, "how": "fails" if fails else ""})
        return "done"

    return planner


def run(root: Path, planner: Any, rule: str = "at_most_in('pay', 'cents', 1, 1000)", now: float | None = None) -> Any:
    """Solve a task; gives run and status."""
    surroundings = Surroundings() if now is None else Surroundings(clock=Clock(now))

    async def solve() -> Any:
        async with Scaffold(
            planner, monitors=["rules"], actions=[pay], journal=FileJournal(root), surroundings=surroundings
        ) as agent:
            outcome = await agent.solve(task(rule))
            return outcome.run, outcome.status, [each.status for each in outcome.actions]

    return asyncio.run(solve())


def test_a_days_spend_holds_across_runs(tmp_path: Path) -> None:
    """Each run counts what the others did; what failed or was refused does not count, another day is another day."""
    assert run(tmp_path, paying(600))[1:] == ("solved", ["performed"])
    assert run(tmp_path, paying(300, fails=True))[2] == ["failed"]
    assert run(tmp_path, paying(401))[2] == ["refused"]
    assert run(tmp_path, paying(200, 200))[2] == ["performed", "performed"]
    assert run(tmp_path, paying(1))[2] == ["refused"]
    later = datetime.now(tz=UTC).timestamp() + 1.1 * DAY
    assert run(tmp_path, paying(1000), now=later)[2] == ["performed"]


def test_what_was_looked_up_stands_in_the_trace(tmp_path: Path) -> None:
    """So that whoever reads it sees on what the verdict rests; and a resumed run decides the same."""
    run(tmp_path, paying(600))
    second, status, _ = run(tmp_path, paying(300))
    assert status == "solved"
    contents = (tmp_path / second / "content.jsonl").read_text().splitlines()
    (verdict,) = [each for line in contents for each in json.loads(line)["body"].get("verdicts", [])]
    (evidence,) = verdict["evidence"]
    assert evidence["quote"] == "total_in('pay', 'cents', 1) = 600"

    async def resume() -> Any:
        async with Scaffold(paying(300), monitors=["rules"], actions=[pay], journal=FileJournal(tmp_path)) as agent:
            return (await agent.resume(second)).status

    run(tmp_path, paying(100))
    assert asyncio.run(resume()) == "solved"


def test_the_index_is_read_on_and_can_be_thrown_away(tmp_path: Path) -> None:
    """It says the same whether it grew with the runs or was made at once, and ended runs are not opened again."""
    journal = FileJournal(tmp_path)
    grown: list[Elsewhere] = []
    for cents in (1, 2, 3):
        run(tmp_path, paying(cents))
        grown = elsewhere(journal, 0)
        assert [each.arguments for each in grown][-1] == {"cents": cents, "how": ""}
    (tmp_path / INDEX).unlink()
    assert elsewhere(journal, 0) == grown
    for folder in tmp_path.iterdir():
        if folder.is_dir():
            (folder / "trace.jsonl").write_text("not looked at")
    assert elsewhere(journal, 0) == grown
    assert elsewhere(journal, grown[0].at + 1e9) == []
    assert (tmp_path / INDEX).stat().st_mode & 0o077 == 0


def test_a_run_that_grows_is_read_on(tmp_path: Path) -> None:
    """Line by line, torn tails left for later, and from the start again when it was cut back."""
    run(tmp_path, paying(1, 2))
    journal = FileJournal(tmp_path)
    whole = elsewhere(journal, 0)
    (folder,) = (each for each in tmp_path.iterdir() if each.is_dir())
    spine = folder / "trace.jsonl"
    lines = spine.read_bytes().splitlines(keepends=True)
    (tmp_path / INDEX).unlink()
    found: list[Elsewhere] = []
    for number in range(len(lines) + 1):
        torn = lines[number][:20] if number < len(lines) else b""
        spine.write_bytes(b"".join(lines[:number]) + torn)
        found = elsewhere(journal, 0)
        assert len(found) <= len(whole)
    assert found == whole
    (tmp_path / INDEX).unlink()
    spine.write_bytes(b"".join(lines[:-1]))
    elsewhere(journal, 0)
    spine.write_bytes(b"".join(lines[:1]))
    assert elsewhere(journal, 0) == []


def test_a_damaged_run_and_a_damaged_index_are_said(tmp_path: Path) -> None:
    """Neither passes for a run that did nothing."""
    first, *_ = run(tmp_path, paying(600))
    spine = tmp_path / first / "trace.jsonl"
    spine.write_bytes(spine.read_bytes().replace(b'"pay"', b'"pax"', 1))
    (tmp_path / INDEX).unlink()
    assert run(tmp_path, paying(1))[2] == ["refused"]
    (tmp_path / INDEX).write_bytes(b"no database, but long enough to look like something" * 100)
    assert run(tmp_path, paying(1))[2] == ["refused"]


def test_a_run_that_may_not_be_looked_at_is_no_zero() -> None:
    """What it spent cannot be told, so nothing passes until it can; what is no run at all is passed over."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own lie where nobody but we may look
        root = Path(made)
        root.chmod(0o777)
        first, *_ = run(root, paying(600))
        (root / INDEX).unlink()
        (root / "lost+found").mkdir(0)
        (root / "a file").touch()
        (root / first).chmod(0)
        with powerless(), pytest.raises(BadInput, match="Permission denied"):
            elsewhere(FileJournal(root), 0)
        (root / INDEX).unlink(missing_ok=True)
        (root / first).chmod(0o777)
        for each in (root / first).iterdir():
            each.chmod(0o666)
        with powerless():
            (paid,) = elsewhere(FileJournal(root), 0)
        assert (paid.run, paid.arguments) == (first, {"cents": 600, "how": ""})


def test_a_withheld_content_is_no_zero(tmp_path: Path) -> None:
    """What a payment came to is not known, so no further one passes."""
    first, *_ = run(tmp_path, paying(600))
    (tmp_path / first / "content.jsonl").unlink()
    (tmp_path / INDEX).unlink()
    assert run(tmp_path, paying(1))[2] == ["refused"]
    assert run(tmp_path, paying(1), "at_most_times_in('pay', 1, 9)")[2] == ["performed"]
