"""The monitor `policy` and `scaffold policy`: what may be done, as a file that many tasks share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.monitors.simple_tools import spec

from scaffold import Scaffold, taskfile
from scaffold.errors import BadInput, TaskError
from scaffold.interfaces import ChecksTask, Describes, Folds, Monitor
from scaffold.registry import make_monitor
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.review import Verdict
from scaffold.vocabulary.task import Goal, Task
from scaffold_monitors.dataflow import Dataflow
from scaffold_monitors.entailment.tools import read_tool
from scaffold_monitors.policy import Policy, kinds_of

ACTIONS = {
    each.name: each
    for each in (
        spec("list_bills", "Lists the bills.", "read", month="string"),
        spec("fetch_page", "Fetches a web page.", "read", url="string"),
        spec("pay_bill", "Pays a bill.", account="string", cents="integer"),
        spec("send_email", "Sends an email.", recipients="array", body="string"),
        spec("delete_file", "Deletes a file.", file_id="string"),
        spec("grant_access", "Grants a user access to a folder.", user="string", folder="string"),
        spec("reset_password", "Sets a new password.", password="string"),
        spec("rename_note", "Renames a note.", "reversible", note_id="string", title="string"),
        spec("frobnicate", "Does it.", dest="string", x="string"),
    )
}
FILE = """\
decisions: {send: allow}
actions:
  frobnicate:
    kinds: [send]
    roles: {dest: principal}
  delete_file:
    decision: block
    because: files are kept for ten years
rules:
  - rule: only('pay_bill', 'account', inputs.accounts)
    statement: pay only to accounts on the list
  - rule: at_most('pay_bill', 'cents', 1000)
  - {rule: "args.body.size() < 100", statement: letters are short, for: [send_email]}
tests:
  - {call: send_email, arguments: {body: hello}, wants: allow}
  - {call: pay_bill, arguments: {account: A, cents: 10}, inputs: {accounts: [A]}, wants: escalate}
  - {call: pay_bill, arguments: {account: B, cents: 10}, inputs: {accounts: [A]}, wants: block, because: on the list}
  - call: pay_bill
    arguments: {account: A, cents: 10}
    inputs: {accounts: [A]}
    before: [{pay_bill: {account: A, cents: 991}}]
    wants: block
  - {call: delete_file, arguments: {file_id: f1}, wants: block, because: ten years}
"""


def policy(folder: Path, text: str = FILE) -> Policy:
    """A policy from a file."""
    (folder / "policy.yaml").write_text(text, encoding="utf-8")
    made = make_monitor("policy", {"file": "policy.yaml"}, folder)
    assert isinstance(made, Policy)
    return made


def call(name: str, node: str = "a0", **arguments: Any) -> ActionCall:
    """A call."""
    return ActionCall(id=node, action=name, arguments=arguments)


def said(kit: Any, monitor: Any, *calls: ActionCall, **inputs: Any) -> Verdict:
    """The verdict on a plan."""
    described = {name: monitor.describe(each) for name, each in ACTIONS.items()}
    view = kit.View(Task(prompt="Pay", inputs=inputs), monitor, actions=described)
    verdict: Verdict = view.plan(*calls)
    return verdict


def test_is_a_monitor() -> None:
    """It keeps to the interfaces that it claims to keep to, and is not on by default."""
    monitor = make_monitor("policy", {"file": ""})
    for interface in (Monitor, ChecksTask, Folds, Describes):
        assert isinstance(monitor, interface)
    assert not monitor.spec.default


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("list_bills", ("read",)),
        ("fetch_page", ("fetch",)),
        ("pay_bill", ("pay", "send")),
        ("send_email", ("send",)),
        ("delete_file", ("destroy",)),
        ("grant_access", ("send", "empower")),
        ("reset_password", ("credential",)),
        ("rename_note", ("change",)),
        ("frobnicate", ("other",)),
    ],
)
def test_kinds_follow_from_the_specification(name: str, kinds: tuple[str, ...]) -> None:
    """What it does, at what, with what."""
    each = ACTIONS[name]
    found = kinds_of(read_tool(name, each.description, each.parameters, effect=each.effect != "read"), each)
    assert set(kinds) <= set(found), found


def test_the_default_policy_asks_about_what_cannot_be_taken_back(kit: Any) -> None:
    """Reads and changes pass, whatever reaches somebody or is destroyed asks a person."""
    monitor = Policy()
    decided = {name: said(kit, monitor, call(name)).decision for name in ACTIONS}
    assert decided == {
        "list_bills": "allow",
        "fetch_page": "flag",
        "pay_bill": "escalate",
        "send_email": "escalate",
        "delete_file": "escalate",
        "grant_access": "escalate",
        "reset_password": "escalate",
        "rename_note": "allow",
        "frobnicate": "escalate",
    }


def test_a_file_decides(kit: Any, tmp_path: Path) -> None:
    """By kinds, by action and by rule; the strictest counts, each with its line, and the planner is told no more."""
    monitor = policy(tmp_path)
    letter = call("send_email", recipients=["a@x.example"], body="hello")
    assert said(kit, monitor, letter).decision == "allow"
    assert said(kit, monitor, call("frobnicate", dest="x")).decision == "allow"
    kept = said(kit, monitor, letter, call("delete_file", "a1", file_id="f"))
    assert kept.decision == "block"
    assert "policy.yaml:7" in kept.rationale
    assert "ten years" not in kept.feedback
    assert [each.node for each in kept.objections] == ["a1"]
    asked = said(kit, monitor, call("pay_bill", account="A", cents=5), accounts=["A"])
    assert asked.decision == "escalate"
    broken = said(kit, monitor, call("pay_bill", account="B", cents=5), accounts=["A"])
    assert broken.decision == "block"
    assert "pay only to accounts on the list" in broken.feedback
    assert said(kit, monitor, call("send_email", body="x" * 100)).decision == "block"


def test_a_rule_that_cannot_be_checked_blocks(kit: Any, tmp_path: Path) -> None:
    """An input that the task does not have is no pass, where the rule is about the call."""
    verdict = said(kit, policy(tmp_path), call("pay_bill", account="A", cents=5))
    assert (verdict.decision, verdict.status) == ("block", "error")


def test_goals_of_the_task_are_left_to_the_monitor_of_rules(kit: Any) -> None:
    """They are not checked twice."""
    view = kit.View(Task(prompt="x", goals=(Goal(statement="no", rule="args.x == 1"),)), Policy(), actions=ACTIONS)
    assert view.plan(call("rename_note", note_id="n")).decision == "allow"


def test_roles_of_the_file_are_what_other_monitors_read(kit: Any, tmp_path: Path) -> None:
    """An argument that is said to be a principal is judged as one by `dataflow`."""
    monitor = policy(tmp_path)
    described = monitor.describe(ACTIONS["frobnicate"])
    tool = read_tool("frobnicate", "Does it.", described.parameters, effect=True)
    assert tool.roles["dest"] == "principal"
    assert monitor.describe(ACTIONS["pay_bill"]) is ACTIONS["pay_bill"]
    made = call("frobnicate", dest="evil", x="y")
    for actions, least in ((ACTIONS, "allow"), ({**ACTIONS, "frobnicate": described}, "block")):
        view = kit.View(Task(prompt="Do frobnicate for me with y"), Dataflow(), actions=actions)
        verdict = view.plan(made)
        assert ("a result names dest" in verdict.feedback) == (least == "block"), verdict


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("decisoins: {}", 1, "did you mean 'decisions'"),
        ("decisions: {sned: allow}", 1, "did you mean 'send'"),
        ("decisions:\n  send: alow", 2, "did you mean 'allow'"),
        ("decisions: {send: resample}", 1, "should be one of"),
        ("rules: {rule: 'true'}", 1, "rules: should be a list"),
        ("actions:\n  pay:\n    role: {}", 3, "did you mean 'roles'"),
        ("actions:\n  pay:\n    roles: {account: princpal}", 3, "did you mean 'principal'"),
        ("actions: {pay: {effect: reverisble}}", 1, "did you mean 'reversible'"),
        (
            "actions:\n  pay: escalate",
            2,
            "actions.pay: should be a mapping with any of decision, because, kinds, effect, roles",
        ),
        ("rules:\n  - statement: x", 2, "lacks `rule`"),
        ("rules:\n  - rule: args.x ==", 2, "is not a CEL expression"),
        ("rules:\n  - rule: 'true'\n  - rule: onyl('pay', 'x', [])", 3, "did you mean 'only'"),
        ("rules:\n  - {rule: count('pay') < 2, for: [pay]}", 2, "'for' is for rules about single calls"),
        ("tests:\n  - {call: pay}", 2, "lacks `wants`"),
        ("tests:\n  - {call: pay(cents=1), wants: block}", 2, "write `call: pay`, and `arguments: {...}`"),
        ("tests:\n  - {call: pay, wants: alow}", 2, "did you mean 'allow'"),
        ("- a list", 1, "a policy should be a mapping"),
        ("decisions: [", 1, "is not YAML"),
        ("", 1, "is empty"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """And with the nearest name where one was meant."""
    with pytest.raises(TaskError) as caught:
        policy(tmp_path, text)
    assert problem in str(caught.value)
    assert f"policy.yaml:{line}" in str(caught.value)


def test_names_are_checked_once_there_are_actions(tmp_path: Path) -> None:
    """Arguments of known actions, and names of unknown ones, which another task may have."""
    text = "actions:\n  pay_bil: {decision: block}\n  pay_bill: {roles: {acount: principal}}\n"
    monitor = policy(tmp_path, text + "rules:\n  - rule: count('pay_bil') < 2\n")
    assert [str(each).partition(": ")[2] for each in monitor.unknown(ACTIONS)] == [
        "actions.pay_bil: there is no action 'pay_bil'; did you mean 'pay_bill'?",
        "rules.0.rule: there is no action 'pay_bil'; did you mean 'pay_bill'?",
    ]
    with pytest.raises(TaskError, match=r"policy\.yaml:3.*did you mean 'account'"):
        monitor.check(Task(prompt="x"), ACTIONS)
    ruled = policy(tmp_path, "rules:\n  - rule: only('pay_bill', 'account', inputs.acounts)\n")
    with pytest.raises(TaskError, match=r"policy\.yaml:2"):
        ruled.check(Task(prompt="x", inputs={"accounts": []}), ACTIONS)
    ruled.check(Task(prompt="x"), {"send_email": ACTIONS["send_email"]})


def test_bad_settings_are_told(tmp_path: Path) -> None:
    """A file that is not there, and settings that are none."""
    with pytest.raises(TaskError, match="no such file"):
        make_monitor("policy", {"file": "absent.yaml"}, tmp_path)
    with pytest.raises(BadInput, match="should be text"):
        make_monitor("policy", {"file": 3}, tmp_path)
    with pytest.raises(TaskError, match="did you mean 'file'"):
        make_monitor("policy", {"fiel": "x"}, tmp_path)
    with pytest.raises(TaskError, match="no setting 'base'"):
        make_monitor("policy", {"base": "x"}, tmp_path)


def test_the_settings_digest_follows_the_file(tmp_path: Path) -> None:
    """A policy that was changed is another one; its table of tests is no part of it."""
    first = policy(tmp_path).spec.settings
    assert policy(tmp_path, FILE.replace("wants: allow", "wants: block")).spec.settings == first
    assert policy(tmp_path, FILE.replace("1000", "2000")).spec.settings != first


# --- the table, and the command


def test_the_table_of_calls_is_run(tmp_path: Path) -> None:
    """With specifications and without; what comes out otherwise is told with its line."""
    assert policy(tmp_path).failures(ACTIONS) == []
    assert policy(tmp_path).failures() == []
    wrong = FILE.replace("wants: allow", "wants: block").replace("because: ten years", "because: twenty years")
    told = [str(each) for each in policy(tmp_path, wrong).failures(ACTIONS)]
    assert len(told) == 2
    assert "policy.yaml:15" in told[0]
    assert "expected block, but got allow: send_email is of kind 'send' (policy.yaml:1)" in told[0]
    assert "twenty years" in told[1]
    missing = FILE.replace("call: send_email", "call: send_emial")
    assert "did you mean 'send_email'" in str(policy(tmp_path, missing).failures(ACTIONS)[0])


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder."""
    whole = [sys.executable, "-m", "scaffold.cli", "policy", *arguments]
    return subprocess.run(whole, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("call: pay_bil, arguments: {}", "no action 'pay_bil'; did you mean 'pay_bill'"),
        ("call: pay_bill, arguments: {acount: A}", "'acount' is not an argument of 'pay_bill'; did you mean 'account'"),
        ("call: pay_bill, arguments: {account: A}, tainted: [acount]", "'acount' is not an argument of the call"),
        ("call: pay_bill, before: [{pay_bil: {}}]", "no action 'pay_bil'"),
        ("call: pay_bill, before: [{pay_bill: {acount: A}}]", "'acount' is not an argument of 'pay_bill'"),
        ("call: pay_bill, at: noon", "'noon' is not a time"),
    ],
)
def test_a_name_in_the_table_that_does_not_exist_is_a_failure(tmp_path: Path, case: str, problem: str) -> None:
    """Such a row would show nothing, and pass where it wants to."""
    (told,) = policy(tmp_path, f"tests:\n  - {{{case}, wants: escalate}}\n").failures(ACTIONS)
    assert problem in str(told)
    assert "policy.yaml:2" in str(told)


def test_what_was_done_before_counts_in_rules_over_all_runs_too(tmp_path: Path) -> None:
    """A day's limit can be tested like a run's."""
    rules = "rules: [{rule: \"at_most_in('pay_bill', 'cents', 1, 100)\"}]\ntests:\n"
    row = "  - {{call: pay_bill, before: [{{pay_bill: {{cents: {}}}}}], arguments: {{cents: 5}}, wants: {}}}\n"
    table = row.format(99, "block") + row.format(95, "escalate")
    assert policy(tmp_path, rules + table).failures(ACTIONS) == []


def test_the_command_checks_tests_and_explains(tmp_path: Path) -> None:
    """Exit status 0 when all is right, 1 when a line of the table is not."""
    policy(tmp_path)
    done = command(tmp_path, "check", "policy.yaml")
    assert (done.returncode, done.stdout) == (0, "policy.yaml: 3 rules, 5 tests: all passed\n"), done.stderr
    done = command(tmp_path, "test", "policy.yaml")
    assert (done.returncode, done.stdout) == (0, "5 passed, 0 failed\n")
    asked = ("explain", "pay_bill(account=B, cents=10)", "--policy", "policy.yaml", "--input", 'accounts=["A"]')
    done = command(tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first == "block: pay_bill is pay, send"
    assert "pay only to accounts on the list" in second
    assert "(policy.yaml:10)" in second
    told = json.loads(command(tmp_path, *asked, "--json").stdout)
    assert told["decision"] == "block"
    assert told["roles"] == {"account": "principal", "cents": "amount"}
    (tmp_path / "policy.yaml").write_text(FILE.replace("wants: allow", "wants: block"), encoding="utf-8")
    for name in ("check", "test"):
        done = command(tmp_path, name, "policy.yaml")
        assert done.returncode == 1
        assert "policy.yaml:15" in done.stderr


@pytest.mark.parametrize("named", ["policy: policy.yaml", "monitors: [{policy: {file: policy.yaml}}]"])
def test_a_task_brings_the_policy_by_which_its_calls_are_explained(tmp_path: Path, named: str) -> None:
    """It is the one that would decide about them; another one can be given."""
    (tmp_path / "policy.yaml").write_text("actions: {pay: {decision: block, because: paid by hand}}", encoding="utf-8")
    (tmp_path / "other.yaml").write_text("decisions: {pay: allow, send: allow}", encoding="utf-8")
    (tmp_path / "tools.py").write_text(
        "from scaffold import action\n\n@action(effect='irreversible')\ndef pay(account: str, cents: int) -> None:\n"
        "    'Pay an account.'\n",
        encoding="utf-8",
    )
    (tmp_path / "task.yaml").write_text(f"prompt: Pay\nactions: ['tools:pay']\n{named}\n", encoding="utf-8")
    asked = ("explain", "pay(account=A, cents=5)", "--task", "task.yaml")
    assert "paid by hand  (policy.yaml:1)" in command(tmp_path, *asked).stdout
    assert command(tmp_path, *asked, "--policy", "other.yaml").stdout.startswith("allow")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (("check", "absent.yaml"), "no such file"),
        (("explain", "pay("), "is not a call"),
        (("explain", "pay(5)"), "is not an argument"),
        (("explain", "pay(a=1, a=2)"), "gives a twice"),
        (("explain", '{"pay": 3}'), "is not a call"),
        (("explain", "pay(a=1)", "--at", "noon"), "is not a time"),
        (("test", "policy.yaml", "--action", "nowhere:pay"), "no module 'nowhere'"),
    ],
)
def test_the_command_tells_what_it_cannot_read(bad: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    """Exit status 2, and the problem in words; never a traceback."""
    policy(tmp_path)
    done = command(tmp_path, *bad)
    assert done.returncode == 2, done
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


TASK = """\
prompt: Pay the bills
inputs: {accounts: [A]}
policy: policy.yaml
actions: [tools:pay_bill]
"""
TOOLS = '''\
from scaffold import action

@action(effect="irreversible")
async def pay_bill(account: str, cents: int) -> str:
    """Pays a bill."""
    return "paid"
'''


def test_a_task_names_its_policy(tmp_path: Path) -> None:
    """Beside the monitors that are on by default, or those that it names; faults are told in the policy's own lines."""
    policy(tmp_path)
    (tmp_path / "tools.py").write_text(TOOLS, encoding="utf-8")
    (tmp_path / "task.yaml").write_text(TASK, encoding="utf-8")
    built = taskfile.build(tmp_path / "task.yaml")
    assert built.config["monitors"] == ["budget", "rules", {"policy": {"file": "policy.yaml"}}]
    built.agent.check(built.task)
    assert isinstance(taskfile.rebuild(built.config), Scaffold)
    done = command(tmp_path, "check", "policy.yaml", "--task", "task.yaml")
    assert "there is no action 'frobnicate'" in done.stderr
    for text, problem in (
        (TASK.replace("policy.yaml", "polcy.yaml"), "task.yaml:3: policy: there is no file 'polcy.yaml'"),
        (TASK.replace("policy.yaml", "[a]"), "task.yaml:3: policy: should be a file"),
        (TASK + "monitors: [policy]\n", "already has a `policy`"),
    ):
        (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(TaskError, match=problem.replace("[", ".")):
            taskfile.build(tmp_path / "task.yaml")
