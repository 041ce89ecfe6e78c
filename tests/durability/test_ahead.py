"""A long run is read and checked by a second process; whatever becomes of that, nothing is taken on trust or lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from scaffold import Planning, Scaffold, Task, think
from scaffold.errors import TraceDamaged
from scaffold.testing import Scripted
from scaffold.testing.journal_conformance import Writing
from scaffold.trace.ahead import read_all
from scaffold.trace.checked import Checked, Told
from scaffold.trace.files import CONTENT, SPINE, FileJournal
from scaffold.trace.parts import parts_of
from scaffold.vocabulary import events as ev

LONG, SHORT = 0, 1 << 40
EVENTS = 5_000  # of about a kilobyte: far more than a pipe of a megabyte and two batches hold
HELD_S = 60


async def _written(folder: Path) -> None:
    writing = Writing()
    journal = FileJournal(folder, part=1 << 19)
    claim = await journal.claim("r", "a", create=True)
    for place in range(EVENTS):
        body = b'{"text":"%01000d"}' % place if place % 5 else b""
        await journal.append(claim, [writing.event(ev.Noted(key=str(place)), body)], durable=False)
    await journal.release(claim)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of many batches, its content in parts; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs")
    asyncio.run(_written(folder))
    assert len(parts_of(folder / "r")) >= 2
    return folder


def parent_of(process: int) -> int:
    """The process that started another; 0 where that one lives no more."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(parent)


def seconds_of(process: int) -> list[int]:
    """The second processes that a process has started, and that live."""
    all_of_them = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
    children = [each for each in all_of_them if parent_of(each) == process]
    return [each for each in children if b"scaffold.trace.ahead" in Path(f"/proc/{each}/cmdline").read_bytes()]


async def told(journal: FileJournal, *, kill_after: int = -1) -> tuple[list[Told], Checked, int]:
    """Read the run, killing the second process after some batch: what it holds, where it ended, in how many batches."""
    checked, all_told, batches = Checked(), list[Told](), 0
    async with aclosing(read_all(checked, journal, "r")) as given:
        async for batch in given:
            all_told += batch
            batches += 1
            if batches == kill_after:
                (second,) = seconds_of(os.getpid())
                os.kill(second, signal.SIGKILL)
    assert not seconds_of(os.getpid())
    return all_told, checked, batches


def is_the_same(one: tuple[list[Told], Checked, int], other: tuple[list[Told], Checked, int]) -> bool:
    """Whether all was told, and ended in the same place."""
    heads = [(checked.seq, checked.hash, checked.secret) for _, checked, _ in (one, other)]
    return one[0] == other[0] and heads[0] == heads[1] and heads[0][0] == EVENTS


def test_a_second_process_tells_what_is_told_without_one(runs: Path) -> None:
    """Every event with its content, in order, and the chain's last hash; in few batches, where one alone gives each."""
    here = asyncio.run(told(FileJournal(runs, long=SHORT)))
    beside = asyncio.run(told(FileJournal(runs, long=LONG)))
    assert is_the_same(here, beside)
    assert here[2] == EVENTS
    assert beside[2] < EVENTS / 50


@pytest.mark.parametrize("after", [1, 3])
def test_when_the_second_process_is_killed_the_rest_is_read_here(runs: Path, after: int) -> None:
    """Nothing is missing, and nothing there twice, wherever it was killed."""
    here = asyncio.run(told(FileJournal(runs, long=SHORT)))
    assert is_the_same(here, asyncio.run(told(FileJournal(runs, long=LONG), kill_after=after)))


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false", "/bin/echo", ""])
def test_where_there_can_be_no_second_process_all_is_read_here(
    runs: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be started, ends at once, says something else, or nobody knows the interpreter."""
    here = asyncio.run(told(FileJournal(runs, long=SHORT)))
    monkeypatch.setattr(sys, "executable", program)
    beside = asyncio.run(told(FileJournal(runs, long=LONG)))
    assert is_the_same(here, beside)
    assert beside[2] == EVENTS


def test_a_program_in_one_piece_is_not_started_twice(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyInstaller and its like make is no interpreter: given our module's name it would do its own work again."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert asyncio.run(told(FileJournal(runs, long=LONG)))[2] == EVENTS


def test_files_beside_the_task_are_no_modules_of_the_second_process(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own `types.py`, where the command is typed, is neither run nor in the way."""
    for name in ("types", "msgspec"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as where Python was told its program in the command line
    assert asyncio.run(told(FileJournal(runs, long=LONG)))[2] < EVENTS / 50
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_long_is_read_here(runs: Path) -> None:
    """A process takes longer to begin than a run of usual length to be read."""
    assert asyncio.run(told(FileJournal(runs)))[2] == EVENTS


_READS = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests were started in the background
from scaffold.trace.ahead import read_all
from scaffold.trace.checked import Checked
from scaffold.trace.files import FileJournal

async def main():
    async for _ in read_all(Checked(), FileJournal(sys.argv[1], long=0), "r"):
        print("begun", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_ends_while_it_reads_leaves_no_second_one(runs: Path, end: signal.Signals) -> None:
    """Ctrl-C reaches all that a terminal runs; a kill gives nobody time to clear up."""
    reader = subprocess.Popen(
        [sys.executable, "-c", _READS, str(runs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"begun\n"
        (second,) = seconds_of(reader.pid)
        os.killpg(reader.pid, end)
        reader.wait(HELD_S)
    until = time.monotonic() + HELD_S
    while parent_of(second) and time.monotonic() < until:
        time.sleep(0.02)
    assert not parent_of(second)


def thinking(task: Task) -> Planning[str]:
    """Think of many things, one after another."""
    for number in range(300):
        yield from think("solve", f"{task.prompt} {number} {'x' * 1_000}")
    return "thought"


def _changed(folder: Path, name: str, number: int) -> None:
    """Change one letter of one line."""
    lines = (folder / name).read_bytes().split(b"\n")
    line = bytearray(lines[number])
    place = line.index(b"x" * 9 if name == CONTENT else b"solve")
    line[place] = ord("y")
    lines[number] = bytes(line)
    (folder / name).write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("long", [LONG, SHORT])
@pytest.mark.parametrize(
    ("name", "what"), [(SPINE, ", or one before it, was altered"), (CONTENT, "the content of line")]
)
def test_a_changed_byte_is_found_with_a_second_process_and_without(
    tmp_path: Path, name: str, what: str, long: int
) -> None:
    """The line is named, nobody is asked anything, and the trace is left as it is."""
    asked = []

    def answer(request: object) -> str:
        asked.append(request)
        return "yes"

    agent = Scaffold(
        thinking, backends={"default": Scripted(answer)}, monitors=[], journal=FileJournal(tmp_path, long=long)
    )
    outcome = agent.solve_sync(Task(prompt="think"))
    folder = Path(outcome.trace).parent
    lines = (folder / SPINE).read_bytes().splitlines(keepends=True)
    (folder / SPINE).write_bytes(b"".join(lines[:-20]))
    asked.clear()
    _changed(folder, name, 501)  # counted from 0: the asking of step 250, each line with its content
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(TraceDamaged, match=what) as found:
        agent.resume_sync(outcome.run)
    assert found.value.line == 502
    assert not asked
    left = {file.name: file.read_bytes() for file in folder.iterdir()}
    left[CONTENT] += before[CONTENT][len(left[CONTENT]) :]  # that of lines that are not there was cut off
    assert left == before
