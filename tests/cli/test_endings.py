"""Exit statuses, and what stdout and stderr hold at the end."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pexpect
import pytest
from tests.cli.conftest import PAYING, THINKING, Scaffold, command, environment, events_of, lines_of, only_run


def test_a_solved_task_prints_its_answer_alone(scaffold: Scaffold) -> None:
    """The answer is all of stdout, progress and the way to the trace are on stderr, and the status is 0."""
    ran = scaffold("solve", "think.yaml")
    assert (ran.status, ran.out) == (0, "Paris\n")
    assert "trace: .scaffold/runs/" in ran.err


CHATTY = """
from scaffold import act, action

print("imported")


@action(effect="reversible")
def file(mail: str) -> str:
    print("filing", mail)
    return "filed"


def filing(task):
    print("on my way")
    done = yield from act("file", {"mail": "1"})
    return done.value
"""


def test_what_ones_own_code_prints_is_no_part_of_the_answer(scaffold: Scaffold, folder: Path) -> None:
    """It goes to stderr: the JSON on stdout can be read. Signed heads that are sent to stdout still go there."""
    (folder / "own.py").write_text(CHATTY)
    (folder / "own.yaml").write_text("prompt: x\nplanner: own:filing\nactions: [own:file]\n")
    ran = scaffold("solve", "own.yaml", "--json")
    assert ran.json["answer"] == "filed"
    assert ran.err.startswith("imported\n")
    assert "on my way\nfiling 1\n" in re.sub(r"^\[.*\n", "", ran.err, flags=re.MULTILINE)
    assert json.loads(scaffold("resume", "last", "--json").out)["answer"] == "filed"
    (folder / "in.jsonl").write_text("{}\n")
    assert scaffold("batch", "own.yaml", "--inputs", "in.jsonl").out == ""
    assert scaffold("audit", "key", "signing.key").status == 0
    ran = scaffold("solve", "own.yaml", "--key", "signing.key", "--heads-to", "stdout")
    assert ran.out.endswith("\nfiled\n")
    assert "\n— " in ran.out


def test_json_has_exactly_the_fields_promised(here: Scaffold) -> None:
    """`--json` prints one object with the fields that programs rely on."""
    said = here("solve", "pay.yaml", "--json").json
    assert set(said) == {"run", "status", "answer", "usage", "steps", "actions", "verdicts", "saved", "trace"}
    assert set(said["usage"]) == {"model", "oversight"}
    assert said["actions"] == [
        {"name": "pay", "arguments": {"invoice": "A-1", "cents": 900}, "status": "performed"},
        {"name": "pay", "arguments": {"invoice": "A-2", "cents": 99}, "status": "performed"},
    ]
    assert Path(said["trace"]).is_file()


def test_a_run_that_has_ended_says_so_and_loads_no_model(here: Scaffold, folder: Path) -> None:
    """`resume` gives its outcome again and makes nothing ready: the model's weights need not be there any more."""
    for name in ("parity.json", "parity.safetensors"):
        shutil.copy(str(files("scaffold_backends") / "xlstm" / "checkpoints" / name), folder)
    (folder / "pay.yaml").write_text(f"{PAYING}backends: xlstm:parity.safetensors\n")
    first = here("solve", "pay.yaml", "--json").json
    (folder / "parity.safetensors").write_bytes(b"")
    again = here("resume", "last", "--json")
    assert (again.status, again.json) == (0, first)
    assert f"run {first['run']} had already ended" in again.err


def test_a_verdict_is_told_in_json_with_its_reason(here: Scaffold, folder: Path) -> None:
    """What a monitor objects to stands in `verdicts`."""
    (folder / "pay.yaml").write_text(PAYING.replace("1000", "100"))
    said = here("solve", "pay.yaml", "--json").json
    assert [each["status"] for each in said["actions"]] == ["refused"]
    assert {"monitor", "decision", "subject", "reason"} == set(said["verdicts"][0])
    assert said["verdicts"][0]["decision"] == "block"


UNDOING = """
from scaffold import NotPerformed, act, action


@action(effect="irreversible")
def book(flight: str) -> str:
    return f"booked {flight}"


@book.undo(effect="irreversible")
def give_back(flight: str) -> str:
    return f"gave back {flight}"


@action(effect="irreversible")
def sleep(hotel: str) -> str:
    raise NotPerformed("it is full")


def trip(task):
    for flight in task.inputs["flights"]:
        yield from act("book", {"flight": flight})
    if task.inputs["hotel"]:
        yield from act("sleep", {"hotel": task.inputs["hotel"]})
    return "there and back"
"""

TRIP = """
prompt: Book a trip
planner: trips:trip
actions: [trips:book, trips:sleep]
monitors: [rules]
inputs: {flights: ["A\\e[2J", B], hotel: Ritz}
"""


def test_what_can_be_undone_is_told_at_the_end(here: Scaffold, folder: Path) -> None:
    """Where a later step failed: each action, where it stands, and what would undo it, the last first."""
    (folder / "trips.py").write_text(UNDOING)
    (folder / "trip.yaml").write_text(TRIP)
    ran = here("solve", "trip.yaml")
    assert ran.status == 1
    assert 'can be undone: book(flight="B") at 1, by give_back\n' in ran.err
    assert "at 0, by give_back\n" in ran.err
    assert ran.err.index('flight="B") at 1') < ran.err.index("at 0, by give_back")
    assert "\x1b[2J" not in ran.err
    (folder / "trip.yaml").write_text(TRIP.replace("Ritz", "''"))
    ran = here("solve", "trip.yaml")
    assert (ran.status, "can be undone" in ran.err) == (0, False)


@pytest.mark.parametrize(
    ("task", "status", "said"),
    [
        (THINKING.replace("thinking", "failing"), 1, "failed: the planner raised ValueError: no idea"),
        (PAYING.replace("paying", "insisting"), 3, "stopped: "),
        (THINKING + "budget: {steps: 1}\n", 4, " --budget steps=AMOUNT\n"),
        (
            THINKING.replace("{use: scripted, replies: Paris}", "{use: 'http://127.0.0.1:9/v1#none', attempts: 1}"),
            5,
            "unavailable",
        ),
        (THINKING.replace("thinking", "asking"), 6, "waiting: "),
    ],
    ids=["failed", "stopped", "exhausted", "unavailable", "waiting"],
)
def test_each_ending_has_its_status(here: Scaffold, folder: Path, task: str, status: int, said: str) -> None:
    """A script can tell from the status alone how a run ended, and a person from the words."""
    (folder / "task.yaml").write_text(task)
    ran = here("solve", "task.yaml")
    assert ran.status == status
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_run_that_used_up_its_budget_is_given_more(here: Scaffold, folder: Path) -> None:
    """It goes on with what it was given, which is written down as that person's word, and holds for later resumes."""
    (folder / "task.yaml").write_text(THINKING + "budget: {steps: 1}\n")
    run = here("solve", "task.yaml", "--json").json["run"]
    assert here("resume", run).status == 4
    given = here("resume", run, "--budget", "steps=2", "--json")
    assert (given.status, given.json["answer"], given.json["steps"]) == (0, "Paris", 2)
    shown = here("audit", "show", run).out
    assert "raises the budget: steps up to 2" in shown
    assert here("audit", "verify", run).status == 0


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("steps=1", "the run's limit on steps is already 1: a resumed run can be given more, not 1"),
        ("step=5", "budget step: "),
        ("steps=many", "budget steps: "),
        ("steps=null", "budget steps: give an amount"),
        ("usd=3", "the run has no limit on 'usd'"),
        ("oversight.tokens=5", "the run's limit on oversight.tokens is already 1,000,000"),
        ("steps", "'steps' is not name=value"),
    ],
)
def test_a_budget_that_raises_nothing_is_told(here: Scaffold, folder: Path, said: str, wrong: str) -> None:
    """One line, and the run stays as it was."""
    (folder / "task.yaml").write_text(THINKING + "budget: {steps: 1}\n")
    run = here("solve", "task.yaml", "--json").json["run"]
    before = (only_run(folder) / "trace.jsonl").read_bytes()
    refused = here("resume", run, "--budget", said)
    assert (refused.status, wrong in refused.err) == (2, True), refused.err
    assert (only_run(folder) / "trace.jsonl").read_bytes() == before


def test_plan_only_changes_nothing(here: Scaffold, folder: Path) -> None:
    """`--plan-only` says what would be done and does none of it."""
    ran = here("solve", "pay.yaml", "--plan-only", "--json")
    assert ran.status == 0
    assert [each["status"] for each in ran.json["actions"]] == ["planned", "planned"]
    assert not (folder / "paid.txt").exists()


def test_an_input_of_the_command_line_replaces_the_files(here: Scaffold) -> None:
    """`--input` takes JSON where it is JSON."""
    ran = here("solve", "pay.yaml", "--json", "--input", 'invoices=[{"invoice": "B-1", "cents": 5}]')
    assert [each["arguments"]["invoice"] for each in ran.json["actions"]] == ["B-1"]


def test_a_backend_of_the_command_line_replaces_the_files(here: Scaffold) -> None:
    """`--backend SPEC` is the default's, `--backend role=SPEC` the role's; the last one counts."""
    assert here("solve", "think.yaml", "--backend", "scripted:Rome").out == "Rome\n"
    assert here("solve", "think.yaml", "--backend", "default=scripted:Oslo").out == "Oslo\n"


def test_a_run_without_a_backend_goes_on_with_one_of_the_command_line(here: Scaffold, folder: Path) -> None:
    """The hint says how, and goes on saying what this command was told."""
    (folder / "think.yaml").write_text(THINKING.replace("default:", "solver:"))
    ran = here("solve", "think.yaml")
    assert ran.status == 5
    assert "--backend [ROLE=]SPEC" in ran.err
    again = here("resume", "last", "--backend", "http://127.0.0.1:9/v1#m")
    assert again.status == 5
    assert f"scaffold resume {only_run(folder).name} --backend 'default=http://127.0.0.1:9/v1#m'" in again.err
    assert here("resume", "last", "--backend", "no_such:model").err.startswith("error: no backend named 'no_such'")
    assert here("resume", "last", "--backend", "scripted:Oslo").out == "Oslo\n"


def test_what_was_thought_before_is_not_asked_of_another_backend(here: Scaffold, folder: Path) -> None:
    """A resumed run asks the other backend only for what is left, which its trace shows."""
    tools = folder / "tools.py"
    tools.write_text(tools.read_text() + BOTH)
    (folder / "both.yaml").write_text("prompt: Which?\nplanner: tools:both\nbackends: {first: 'scripted:Rome'}\n")
    assert here("solve", "both.yaml").status == 5
    assert here("resume", "last", "--backend", "second=scripted:Oslo").out == "Rome, then Oslo\n"
    asked = [json.loads(line) for line in lines_of(only_run(folder)) if b'"step.asked"' in line]
    assert [each["to"] for each in asked] == ["first", "second"]


BOTH = """

def both(task: Task) -> Planning[str]:
    first = yield from think("solve", task.prompt, to="first")
    second = yield from think("solve", task.prompt, to="second")
    return f"{first.value}, then {second.value}"
"""


def test_runs_go_where_they_are_sent(here: Scaffold, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--runs` comes before SCAFFOLD_RUNS, and that before the folder here; what to type next names it."""
    monkeypatch.setenv("SCAFFOLD_RUNS", str(folder / "environment"))
    here("solve", "think.yaml")
    (folder / "ask.yaml").write_text(THINKING.replace("thinking", "asking"))
    ran = here("solve", "ask.yaml", "--runs", "chosen")
    assert only_run(folder, "environment").is_dir()
    assert f"scaffold resume {only_run(folder, 'chosen').name} --runs chosen" in ran.err


def test_what_a_model_wrote_cannot_steer_the_terminal(here: Scaffold, folder: Path) -> None:
    """Control characters in arguments are written out on stderr."""
    (folder / "pay.yaml").write_text(PAYING.replace("{file: invoices.csv}", '[{invoice: "A\\e[2K\\u202e", cents: 1}]'))
    ran = here("solve", "pay.yaml")
    assert ran.status == 0
    assert "\x1b" not in ran.err
    assert "\u202e" not in ran.err


def test_an_unexpected_fault_is_one_line(here: Scaffold, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own is one clear line that says how to see more."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the floor is gone")

    monkeypatch.setattr("scaffold.taskfile.build", broken)
    ran = here("solve", "think.yaml")
    assert ran.status == 1
    assert ran.err.splitlines()[-1].startswith("error: RuntimeError: the floor is gone")
    assert "SCAFFOLD_DEBUG=1" in ran.err


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        (
            RuntimeError("can't start new thread"),
            "can't start new thread: allow this process more threads (ulimit -u, ",
        ),
        (OSError(errno.EMFILE, "Too many open files", "x"), "x: Too many open files: allow this process more open fi"),
        (MemoryError(), "MemoryError: allow this process more memory, or have it do less at a time"),
    ],
    ids=["threads", "files", "memory"],
)
def test_what_the_system_has_no_more_of_is_no_bug(
    lack: Exception, said: str, here: Scaffold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with the limit to raise."""

    def broken(*_: object, **__: object) -> None:
        raise lack

    monkeypatch.setattr("scaffold.taskfile.build", broken)
    ran = here("solve", "think.yaml")
    assert (ran.status, ran.err[: len("error: " + said)]) == (1, "error: " + said)


@pytest.mark.parametrize(
    ("redirection", "status"),
    [("<&-", 0), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 1), ("2>/dev/full", 0)],
)
def test_closed_and_full_streams_are_no_fault_of_our_own(folder: Path, redirection: str, status: int) -> None:
    """Started without standard streams, as by a daemon, a task is solved; an answer that fits nowhere is said so."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command("solve", "think.yaml")],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "bug in scaffold" not in done.stdout + done.stderr
    said = (
        r"error: the run ended as solved, but its answer cannot be written to standard output: No space left on device"
    )
    again = r"it is kept; show it again with: scaffold resume \d{8}-\S+"
    assert status == 0 or re.fullmatch(f"{said}; {again}", done.stderr.splitlines()[-1])
    assert b'"status":"solved"' in lines_of(only_run(folder))[-1]


@pytest.mark.parametrize("what", [("solve", "think.yaml"), ("batch", "think.yaml", "pay.yaml", "-j", "1")])
def test_what_nobody_listens_to_any_more_ends_nothing(folder: Path, what: tuple[str, ...]) -> None:
    """Where progress goes may break off, as a terminal does: what runs goes on, and its answer and status are told."""
    listens, speaks = os.pipe()
    os.close(listens)
    done = subprocess.run(
        command(*what), cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=speaks, check=False
    )
    os.close(speaks)
    assert (done.returncode, done.stdout) == (0, b"Paris\n" if "solve" in what else b"")
    runs = list((folder / ".scaffold/runs").glob("*/"))
    assert [events_of(run)[-1] for run in runs] == ["run.ended"] * (1 if "solve" in what else 2)


def test_warnings_are_one_line(scaffold: Scaffold, folder: Path) -> None:
    """A warning is a line without file names and code."""
    task = THINKING + "goals: [be short]\nmonitors: [goals]\n"
    (folder / "judge.yaml").write_text(task)
    ran = scaffold("solve", "judge.yaml")
    (line,) = (line for line in ran.err.splitlines() if "warning" in line.lower())
    assert line.startswith("warning: the monitor 'goals'")


def test_a_name_that_was_probably_misspelt_is_told(scaffold: Scaffold) -> None:
    """A role or an input of the command line that is nearly one of the file's would stand beside it unused."""
    roles = [part for role in ("default", "defalt", "judge") for part in ("--backend", f"{role}=scripted:x")]
    ran = scaffold("solve", "pay.yaml", "--input", "invoces=[]", *roles)
    told = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert told == [
        "warning: the file has no role 'defalt'; did you mean 'default'?",
        "warning: the file has no input 'invoces'; did you mean 'invoices'?",
    ]
    assert (
        "the run has no role 'defallt'; did you mean 'defalt'?"
        in scaffold("resume", "last", "--backend", "defallt=scripted:x").err
    )


def test_warnings_are_one_line_of_any_command(scaffold: Scaffold) -> None:
    """Also of those that solve nothing in the foreground."""
    ran = scaffold("estimate", "think.yaml", "--backend", "defalt=scripted:x")
    assert "warning: the file has no role 'defalt'; did you mean 'default'?\n" in ran.err
    assert "UserWarning" not in ran.err


def test_help_starts_at_once() -> None:
    """`--help` imports nothing heavy: no pydantic, no rich, no asyncio."""
    code = (
        "import sys; from scaffold.cli import main; main(['--help']);"
        "print([n for n in ('pydantic', 'rich', 'asyncio', 'ruamel') if n in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    ).stdout
    assert said.splitlines()[-1] == "[]"


def test_solving_without_a_terminal_needs_no_rich(folder: Path) -> None:
    """A scripted solve loads neither rich, networkx nor OpenTelemetry."""
    code = (
        "import sys; from scaffold.cli import main; main(['solve', 'think.yaml']);"
        "print([n for n in ('rich', 'networkx', 'opentelemetry', 'cryptography') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_interrupt_while_it_starts_is_told_in_a_word(tmp_path: Path) -> None:
    """Before there is anything to pause, Ctrl-C ends the command with status 130 and no traceback."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from scaffold.command import process; sys.exit(process())"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


LEAVING = """
import os, sys, types

sys.modules["USED"] = types.ModuleType("USED")


class Left:
    def __del__(self, write=os.write):
        write(1, b"freed")


def leaving(task):
    yield from ()
    left = Left()
    left.itself = left
    return "done"
"""


@pytest.mark.parametrize("used", ["torch", "nothing"])
def test_what_torch_leaves_is_freed_at_the_end(used: str, scaffold: Scaffold, folder: Path) -> None:
    """Its libraries print whatever is left; without it nothing is collected, since that takes time."""
    (folder / "own.py").write_text(LEAVING.replace("USED", used))
    (folder / "own.yaml").write_text("prompt: x\nplanner: own:leaving\n")
    assert scaffold("solve", "own.yaml").out == ("done\nfreed" if used == "torch" else "done\n")


def test_a_process_that_used_temporals_client_ends_at_once_with_its_status(tmp_path: Path) -> None:
    """Its threads may abort an interpreter that is taken down: all is written, what others do at the end is done."""
    pytest.importorskip("temporalio", reason="temporalio is not installed: pip install 'system2-scaffold[temporal]'")
    (tmp_path / "ending.py").write_text(
        "import atexit, gc, os, sys, temporalio.client\n"
        "from scaffold.command import process\n"
        "class Taken:\n"
        "    def __del__(self, write=os.write):\n"
        "        write(1, b'taken down')\n"
        "left = Taken()\n"
        "status = process()\n"
        "atexit.register(gc.unfreeze)\n"
        "atexit.register(print, 'tidied')\n"
        "sys.stdout.write('said ')\n"
        "sys.exit(status)\n"
    )
    ended = [sys.executable, "ending.py", "nothing"]
    done = subprocess.run(ended, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "said tidied\n")
    assert "no command 'nothing'" in done.stderr


SAID = "caf\u00e9\t\u2764\ufe0f \U0001f600 \u009b2J\u202e\u2028\x7f"
SAYING = f"prompt: x\nbackends: {{default: {{use: scripted, replies: {json.dumps(SAID)}}}}}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_whole_whatever_letters_stdout_knows(scaffold: Scaffold, folder: Path, encoding: str) -> None:
    """What stdout has no letter for, and what cannot be seen, is written as JSON escapes it."""
    (folder / "say.yaml").write_text(SAYING, encoding="utf-8")
    for arguments in (("solve", "say.yaml", "--json"), ("resume", "last", "--json")):
        ran = scaffold(*arguments, more={"PYTHONIOENCODING": encoding})
        assert ran.json["answer"] == SAID
        assert ran.out.removesuffix("\n").isprintable()


def test_an_answer_does_not_move_the_cursor_of_a_terminal(scaffold: Scaffold, folder: Path) -> None:
    """What would is written out there; whoever reads stdout from a pipe is given the answer's own letters."""
    (folder / "say.yaml").write_text(SAYING, encoding="utf-8")
    assert scaffold("solve", "say.yaml").out == f"{SAID}\n"
    first, *rest = command("solve", "say.yaml")
    terminal = pexpect.spawn(first, rest, cwd=str(folder), env=environment(folder), timeout=30, encoding="utf-8")
    terminal.expect_exact("\u2764\ufe0f \U0001f600 \\x9b2J\\u202e\\u2028\\x7f\r\n")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_run_that_a_program_began_is_resumed_by_that_program_alone(here: Scaffold, folder: Path) -> None:
    """The command cannot know what it was made of, and says so."""
    from scaffold import Scaffold as Agent

    Agent("direct", backends="scripted:Rome", monitors=[], journal=folder / ".scaffold/runs").solve_sync("Where?")
    ran = here("resume", "last")
    assert ran.status == 2
    said = "the run was started by a program, not from a task file, so only that program can resume it"
    assert ran.err == f"error: {said}\n"


def test_a_run_whose_folder_of_the_task_is_gone_says_which(here: Scaffold, folder: Path) -> None:
    """Its planner and actions are files there."""
    work = folder / "work"
    work.mkdir()
    (work / "task.yaml").write_text((folder / "think.yaml").read_text())
    (work / "tools.py").write_text((folder / "tools.py").read_text())
    assert here("solve", "work/task.yaml").status == 0
    shutil.rmtree(work)
    ran = here("resume", "last")
    assert (ran.status, ran.err) == (2, f"error: the folder of the run's task file is gone: {work}\n")
