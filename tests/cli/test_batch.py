"""Many tasks with one runner: what is written down, what is passed over, what goes on, and who is refused."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Scaffold, command, environment, events_of

ASKING = """
prompt: What is the capital?
planner: direct
backends: {default: {use: scripted, replies: {France: Paris, Italy: Rome, "": unknown}}}
monitors: []
"""
PAYING = """
prompt: Pay the invoice
planner: many:pay_one
actions: [tools:pay]
monitors: [rules]
backends: {default: {use: scripted, replies: ok, delay: DELAY}}
goals:
  - constraint: no payment over ten dollars
    rule: action.name != 'pay' || args.cents <= 1000
"""
PLANNERS = """
from scaffold import GaveUp, Planning, Task, act, think


def pay_one(task: Task) -> Planning[str]:
    yield from act("pay", {"invoice": task.inputs["invoice"], "cents": task.inputs.get("cents", 100)})
    yield from think("verify", task.prompt)
    return "paid"


def sometimes(task: Task) -> Planning[str]:
    yield from think("solve", task.prompt)
    if task.inputs["number"] % 2:
        raise GaveUp("an odd number")
    return "even"
"""


@pytest.fixture
def lines(folder: Path) -> Callable[..., Path]:
    """Write lines of inputs, and the tasks and planners they are for."""
    (folder / "many.py").write_text(PLANNERS)
    (folder / "ask.yaml").write_text(ASKING)
    (folder / "slow.yaml").write_text(PAYING.replace("DELAY", "1"))
    (folder / "quick.yaml").write_text(PAYING.replace("DELAY", "0"))
    (folder / "odd.yaml").write_text("prompt: Odd?\nplanner: many:sometimes\nbackends: scripted\nmonitors: []\n")

    def write(*rows: Any, name: str = "in.jsonl") -> Path:
        path = folder / name
        path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return path

    return write


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of a results file."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_each_line_gives_one_result(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """Every line is solved once, under its id, with its input and the fields of `solve --json`."""
    lines({"country": "France"}, {"id": "it", "country": "Italy"}, {"inputs": {"id": "x"}, "prompt": "Who? France"})
    ran = here("batch", "ask.yaml", "--inputs", "in.jsonl")
    assert ran.status == 0
    found = {row["id"]: row for row in rows(folder, "ask.results.jsonl")}
    assert {name: row["answer"] for name, row in found.items()} == {"1": "Paris", "it": "Rome", "3": "Paris"}
    assert found["3"]["input"] == {"prompt": "Who? France", "id": "x"}
    wanted = {"run", "status", "answer", "usage", "steps", "actions", "verdicts", "saved", "trace", "id", "input"}
    assert wanted <= set(found["it"])
    assert not (folder / "ask.results.jsonl.open").exists()


def test_inputs_come_from_a_pipe(lines: Callable[..., Path], folder: Path) -> None:
    """What can be read only once is solved too, not counted and then found empty."""
    given = lines({"country": "France"}, {"country": "Italy"})
    asked = command("batch", "ask.yaml", "--inputs", "/dev/stdin", "-j", "1")
    with subprocess.Popen(["cat", given], stdout=subprocess.PIPE) as sender:
        ran = subprocess.run(
            asked, cwd=folder, env=environment(folder), stdin=sender.stdout, capture_output=True, check=False
        )
    assert ran.returncode == 0
    assert b"1/? 1 solved" in ran.stderr
    assert [row["answer"] for row in rows(folder, "ask.results.jsonl")] == ["Paris", "Rome"]


def test_what_is_done_is_passed_over(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """The same command again begins nothing; lines that were added since are solved."""
    lines({"country": "France"})
    here("batch", "ask.yaml", "--inputs", "in.jsonl")
    before = (folder / "ask.results.jsonl").read_text()
    again = here("batch", "ask.yaml", "--inputs", "in.jsonl")
    assert (again.status, (folder / "ask.results.jsonl").read_text()) == (0, before)
    assert "1 done before" in again.err
    lines({"country": "France"}, {"country": "Italy"})
    here("batch", "ask.yaml", "--inputs", "in.jsonl")
    assert [row["answer"] for row in rows(folder, "ask.results.jsonl")] == ["Paris", "Rome"]
    assert len(list((folder / ".scaffold/runs").glob("*/"))) == 2


def test_a_bad_line_is_named_and_stops_no_other(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """A line that is no task is told with its number; the others are solved, and the status says so."""
    half, large, long = '{"a": "\\ud800"}\n', '{"a": 1e999}\n', '{"a": 1%s}\n' % ("0" * 5000)
    odd = ['{"a": 1, "a": 2}\n', '{"a": NaN}\n', "[1]\n", half, large, long]
    lines({"country": "France"}, "nonsense\n", {"country": "Italy"}, *odd)
    ran = here("batch", "ask.yaml", "--inputs", "in.jsonl")
    assert ran.status == 2
    assert len(rows(folder, "ask.results.jsonl")) == 2
    for said in (
        "in.jsonl:2: is not JSON",
        "in.jsonl:4: 'a' appears twice",
        "in.jsonl:5: NaN",
        "in.jsonl:6: should be",
        "in.jsonl:7: contains half of a surrogate pair",
        "inputs.a: inf is not a number",
        "in.jsonl:9: has a number with too many digits",
    ):
        assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_line_that_does_not_fit_the_template_is_named(
    here: Scaffold, lines: Callable[..., Path], folder: Path
) -> None:
    """A line without an input that the template calls untrusted names both places."""
    (folder / "ask.yaml").write_text(ASKING + "untrusted: [mail]\n")
    lines({"mail": "France"}, {"male": "Italy"}, {"id": "mail", "mail": "x"}, {"id": "mail", "mail": "y"}, {"id": ""})
    ran = here("batch", "ask.yaml", "--inputs", "in.jsonl")
    assert ran.status == 2
    assert "in.jsonl:2: ask.yaml:6: untrusted.0: there is no input 'mail'; did you mean 'male'?" in ran.err
    assert "in.jsonl:4: the id 'mail' is also on line 3: ids must be unique" in ran.err
    assert "in.jsonl:5: `id` should be a name or a number" in ran.err
    assert {row["id"] for row in rows(folder, "ask.results.jsonl")} == {"1", "mail"}


def test_fail_fast_stops_at_the_first(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """With --fail-fast the first fault, or the first run that is not solved, is the last."""
    lines("nonsense\n", {"number": 2})
    ran = here("batch", "odd.yaml", "--inputs", "in.jsonl", "--fail-fast", "-j", "1")
    assert ran.status == 2
    assert rows(folder, "odd.results.jsonl") == []
    lines({"number": 1}, {"number": 2})
    ran = here("batch", "odd.yaml", "--inputs", "in.jsonl", "--fail-fast", "-j", "1")
    assert ran.status == 1
    assert [row["status"] for row in rows(folder, "odd.results.jsonl")] == ["failed"]


def test_what_failed_is_tried_again_only_on_request(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """A failed task stays failed until --retry begins it anew; what was solved is left alone."""
    lines({"number": 1}, {"number": 2})
    assert here("batch", "odd.yaml", "--inputs", "in.jsonl").status == 1
    assert here("batch", "odd.yaml", "--inputs", "in.jsonl").status == 1
    assert len(rows(folder, "odd.results.jsonl")) == 2
    assert here("batch", "odd.yaml", "--inputs", "in.jsonl", "--retry").status == 1
    found = rows(folder, "odd.results.jsonl")
    assert sorted(row["id"] for row in found) == ["1", "1", "2"]
    assert len({row["run"] for row in found}) == 3


def test_results_of_another_batch_are_refused(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """A results file made with another task, other inputs under its ids, or no results at all is not written to."""
    lines({"country": "France"})
    here("batch", "ask.yaml", "--inputs", "in.jsonl", "--results", "r.jsonl")
    before = (folder / "r.jsonl").read_text()
    (folder / "other.yaml").write_text(ASKING.replace("capital", "largest town"))
    ran = here("batch", "other.yaml", "--inputs", "in.jsonl", "--results", "r.jsonl")
    assert ran.status == 2
    assert "holds the results of another batch" in ran.err
    ran = here("batch", "ask.yaml", "--inputs", "in.jsonl", "--results", "r.jsonl", "--input", "more=1")
    assert "holds the results of another batch" in ran.err
    lines({"country": "Italy"})
    ran = here("batch", "ask.yaml", "--inputs", "in.jsonl", "--results", "r.jsonl")
    assert ran.status == 2
    assert "in.jsonl:1: r.jsonl has the id '1' with other inputs" in ran.err
    assert (folder / "r.jsonl").read_text() == before


@pytest.mark.parametrize("content", ['{"country": "France"}', '{"country": "France"}\n', "notes\nmore", "notes"])
def test_a_file_that_is_no_results_is_left_alone(
    here: Scaffold, lines: Callable[..., Path], folder: Path, content: str
) -> None:
    """Naming the inputs, or any other file, as results changes nothing in it."""
    lines(content)
    (folder / "two.jsonl").write_text('{"country": "Italy"}\n')
    ran = here("batch", "ask.yaml", "--inputs", "two.jsonl", "--results", "in.jsonl")
    assert ran.status == 2
    assert "in.jsonl:1 is not a result of a batch" in ran.err
    assert (folder / "in.jsonl").read_text() == content


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_is_done_again_from_its_trace(
    here: Scaffold, lines: Callable[..., Path], folder: Path, cut: int
) -> None:
    """A line that was being written when the machine died is given again, from its run, and nothing is paid twice."""
    lines({"invoice": "A"}, {"invoice": "B"})
    here("batch", "quick.yaml", "--inputs", "in.jsonl", "-j", "1")
    path = folder / "quick.results.jsonl"
    whole = rows(folder, path.name)
    path.write_bytes(path.read_bytes()[:-cut])
    noted = {name: whole[1][name] for name in ("batch", "id", "run", "asked")}
    (folder / "quick.results.jsonl.open").write_text(json.dumps(noted) + "\n" + '{"torn')
    assert here("batch", "quick.yaml", "--inputs", "in.jsonl").status == 0
    assert [row["run"] for row in rows(folder, path.name)] == [row["run"] for row in whole]
    assert (folder / "paid.txt").read_text() == "A 100\nB 100\n"


def test_several_task_files_have_one_backend(here: Scaffold, folder: Path) -> None:
    """Task files with equal backends share one, whose replies then come in turn; a bad file stops no other."""
    task = "prompt: Say\nmonitors: []\nbackends: {default: {use: scripted, replies: [one, two]}}\n"
    (folder / "a.yaml").write_text(task)
    (folder / "b.yaml").write_text(task)
    (folder / "bad.yaml").write_text("promt: x\n")
    ran = here("batch", "a.yaml", "bad.yaml", "b.yaml", "-j", "1", "--results", "r.jsonl")
    assert ran.status == 2
    assert "bad.yaml:1: promt: is not known; did you mean 'prompt'?" in ran.err
    assert [(row["id"], row["answer"]) for row in rows(folder, "r.jsonl")] == [("a.yaml", "one"), ("b.yaml", "two")]


def test_the_status_is_the_gravest(here: Scaffold, lines: Callable[..., Path]) -> None:
    """Stopped by oversight comes before failed; what is done before counts as well."""
    lines({"invoice": "A"}, {"invoice": "B", "cents": 5000})
    ran = here("batch", "quick.yaml", "--inputs", "in.jsonl")
    assert ran.status == 3
    assert "block 1 times" in ran.err
    assert here("batch", "quick.yaml", "--inputs", "in.jsonl").status == 3


def begun(folder: Path, *arguments: str, paid: int) -> "subprocess.Popen[str]":
    """A batch of which so many payments are made and whose models think."""
    process = subprocess.Popen(
        command("batch", *arguments),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        ledger = folder / "paid.txt"
        if ledger.exists() and len(ledger.read_text().splitlines()) >= paid:
            break
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_batch_that_was_cut_off_goes_on(
    here: Scaffold, lines: Callable[..., Path], folder: Path, how: signal.Signals
) -> None:
    """Interrupted or killed, its runs go on where they were: every invoice is paid once, in one run."""
    lines(*({"invoice": name} for name in "ABCD"))
    process = begun(folder, "slow.yaml", "--inputs", "in.jsonl", "-j", "2", paid=2)
    # Killed between an effect and its record, a run could not tell whether it has paid, and would rightly say so.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(
        "action.outcome" in events_of(run) for run in (folder / ".scaffold/runs").glob("*/")
    ):
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=30)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "run it again to continue" in err
    assert len(rows(folder, "slow.results.jsonl")) < 4
    assert here("batch", "slow.yaml", "--inputs", "in.jsonl", "-j", "4").status == 0
    assert sorted((folder / "paid.txt").read_text().splitlines()) == ["A 100", "B 100", "C 100", "D 100"]
    assert len(list((folder / ".scaffold/runs").glob("*/"))) == 4
    assert sorted(row["id"] for row in rows(folder, "slow.results.jsonl")) == ["1", "2", "3", "4"]
    assert not (folder / "slow.results.jsonl.open").exists()


def test_an_interrupt_pauses_what_is_under_way(lines: Callable[..., Path], folder: Path) -> None:
    """Runs whose model would think for a minute are paused, in order, and nothing more is begun."""
    (folder / "stuck.yaml").write_text(PAYING.replace("DELAY", "60"))
    lines(*({"invoice": name} for name in "ABCD"))
    process = begun(folder, "stuck.yaml", "--inputs", "in.jsonl", "-j", "2", paid=2)
    time.sleep(0.3)
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "pausing; press Ctrl-C once more to leave at once" in err) == (130, True)
    assert time.monotonic() - before < 10
    runs = list((folder / ".scaffold/runs").glob("*/"))
    assert [events_of(run)[-1] for run in runs] == ["run.paused"] * 2
    assert rows(folder, "stuck.results.jsonl") == []


def test_a_second_interrupt_leaves_at_once(lines: Callable[..., Path], folder: Path) -> None:
    """Nothing is waited for after the second signal."""
    (folder / "stuck.yaml").write_text(PAYING.replace("DELAY", "60"))
    tools = folder / "tools.py"
    tools.write_text(tools.read_text().replace('return f"paid', 'import time; time.sleep(20); return f"paid'))
    lines({"invoice": "A"})
    process = begun(folder, "stuck.yaml", "--inputs", "in.jsonl", paid=1)
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("how", ["lines", "files"])
def test_a_batch_goes_on_with_another_backend(
    here: Scaffold, lines: Callable[..., Path], folder: Path, how: str
) -> None:
    """What was left when a backend went away is asked of the one that the command names, into the same results."""
    task = "prompt: What is the capital of France?\nplanner: direct\n"
    (folder / "gone.yaml").write_text(task + "backends: {default: {use: 'http://127.0.0.1:9/v1#m', attempts: 1}}\n")
    lines({"country": "France"})
    command = ("gone.yaml", *(("--inputs", "in.jsonl") if how == "lines" else ()), "--results", "r.jsonl")
    assert here("batch", *command).status == 5
    ran = here("batch", *command, "--backend", "scripted:Paris")
    assert ran.status == 0, ran.err
    first, second = map(json.loads, (folder / "r.jsonl").read_text().splitlines())
    assert (first["status"], second["status"], first["run"]) == ("unavailable", "solved", second["run"])


def test_what_spent_its_budget_is_given_more(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """Only runs that spent theirs get it, under the name of whoever gives it; what is given must be more."""
    (folder / "ask.yaml").write_text(ASKING + "budget: {tokens: 1}\n")
    lines({"country": "France"}, {"country": "Italy"})
    command_line = ("batch", "ask.yaml", "--inputs", "in.jsonl")
    assert here(*command_line).status == 4
    wrong = here(*command_line, "--budget", "tokens=1")
    assert (wrong.status, "the run's limit on tokens is already 1" in wrong.err) == (2, True)
    assert "budget token: " in here(*command_line, "--budget", "token=5").err
    given = here(*command_line, "--budget", "tokens=90000")
    assert given.status == 0, given.err
    ended = [row for row in rows(folder, "ask.results.jsonl") if row["status"] == "solved"]
    assert sorted(row["answer"] for row in ended) == ["Paris", "Rome"]
    assert "raises the budget: tokens up to 90,000" in here("audit", "show", ended[0]["run"]).out
    assert here(*command_line, "--budget", "tokens=90000").status == 0


def test_two_batches_on_one_file(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """While one batch writes the results, a second one is refused."""
    lines({"invoice": "A"})
    process = begun(folder, "slow.yaml", "--inputs", "in.jsonl", paid=1)
    try:
        ran = here("batch", "slow.yaml", "--inputs", "in.jsonl")
        assert ran.status == 2
        assert "slow.results.jsonl is being written by another batch" in ran.err
    finally:
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_what_waits_for_a_person_is_resumed(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """A run that waits has a line that says so; once approved, the same command finishes that very run."""
    (folder / "quick.yaml").write_text(PAYING.replace("DELAY", "0").replace("[rules]", "[rules, asker]"))
    lines({"invoice": "A"})
    assert here("batch", "quick.yaml", "--inputs", "in.jsonl").status == 6
    (row,) = rows(folder, "quick.results.jsonl")
    assert row["status"] == "waiting"
    assert here("batch", "quick.yaml", "--inputs", "in.jsonl").status == 6
    assert len(rows(folder, "quick.results.jsonl")) == 1
    asked = here("approvals", "list", "--json").json
    here("approvals", "approve", row["run"], asked[0]["id"])
    assert here("batch", "quick.yaml", "--inputs", "in.jsonl").status == 0
    assert [(each["status"], each["run"]) for each in rows(folder, "quick.results.jsonl")] == [
        ("waiting", row["run"]),
        ("solved", row["run"]),
    ]


def test_a_backend_that_is_gone_stops_the_batch(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """Not every one of many tasks has to find out by itself; run again, it goes on."""
    (folder / "gone.yaml").write_text(
        "prompt: x\nmonitors: []\nbackends: {default: {use: 'http://127.0.0.1:9/v1', patience_s: 0.1}}\n"
    )
    lines(*({"number": number} for number in range(20)))
    ran = here("batch", "gone.yaml", "--inputs", "in.jsonl", "-j", "2")
    if ran.status == 2:
        pytest.fail(ran.err)
    assert ran.status == 5
    assert "found their backend unavailable" in ran.err
    assert len(rows(folder, "gone.results.jsonl")) < 8


def test_files_that_are_missing_or_named_twice_are_told(here: Scaffold, folder: Path) -> None:
    """Each is a fault of its own, and the others are solved."""
    ran = here("batch", "think.yaml", "think.yaml", "none.yaml")
    assert ran.status == 2
    assert "think.yaml: is given twice" in ran.err
    assert "none.yaml: no such file" in ran.err
    assert [row["id"] for row in rows(folder, "think.results.jsonl")] == ["think.yaml"]


def test_inputs_are_for_one_template(here: Scaffold, lines: Callable[..., Path]) -> None:
    """--inputs with two task files, or a file that is not there, is bad input."""
    lines({})
    assert "one TASK.yaml" in here("batch", "ask.yaml", "odd.yaml", "--inputs", "in.jsonl").err
    ran = here("batch", "ask.yaml", "--inputs", "no.jsonl")
    assert (ran.status, ran.err) == (2, "error: cannot read inputs from no.jsonl: No such file or directory\n")


def test_a_run_that_is_gone_is_begun_anew_on_request(here: Scaffold, lines: Callable[..., Path], folder: Path) -> None:
    """A task that waits, and whose run was deleted, is a fault that names the cure."""
    (folder / "quick.yaml").write_text(PAYING.replace("DELAY", "0").replace("[rules]", "[rules, asker]"))
    lines({"invoice": "A"})
    here("batch", "quick.yaml", "--inputs", "in.jsonl")
    shutil.rmtree(folder / ".scaffold/runs")
    ran = here("batch", "quick.yaml", "--inputs", "in.jsonl")
    assert ran.status == 2
    assert "--retry starts it again" in ran.err
    assert here("batch", "quick.yaml", "--inputs", "in.jsonl", "--retry").status == 6
    assert len({row["run"] for row in rows(folder, "quick.results.jsonl")}) == 2


def test_a_source_of_ones_own_is_closed_once_all_tasks_are_done(here: Scaffold, folder: Path) -> None:
    """However many of them name it: what it holds is freed, and what it still has to write is written."""
    (folder / "source.py").write_text(
        """
from pathlib import Path

class Desk:
    def actions(self):
        return ()

    async def prepare(self, say=None):
        pass

    async def close(self):
        with Path(__file__).with_name("closed.txt").open("a") as file:
            file.write("closed\\n")

desk = Desk()
"""
    )
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(f"prompt: {name}\nbackends: 'scripted:ok'\nactions: ['source:desk']\n")
    assert here("batch", "one.yaml", "two.yaml").status == 0
    assert (folder / "closed.txt").read_text() == "closed\n"
