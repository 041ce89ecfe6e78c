"""What else goes wrong: paused processes, clocks, disks, restarts, changed code; an effect ledger is the judge."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scaffold import Call, Planning, Scaffold, Task, act, action
from scaffold.errors import BadInput, JournalFailed, RunHeld, UnknownRun
from scaffold.interfaces import KeptRuns, Surroundings
from scaffold.testing.cluster import Cluster
from scaffold.testing.effects import EffectLedger
from scaffold.testing.judging import read_story, wrong_clearances, wrong_effects
from scaffold.trace.files import FileJournal
from scaffold.trace.places import is_database
from scaffold.trace.postgres import PostgresJournal
from scaffold.vocabulary.task import Oversight

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
_LEASE_S = 1.5
THOROUGH = bool(os.environ.get("SCAFFOLD_THOROUGH"))
long = pytest.mark.skipif(not THOROUGH, reason="it takes long: `make test-durability` runs it")
_PATIENCE_S = 90.0

# A run that thinks and acts in turn, twenty times; each act says so in the ledger, and can be held up.
_AGENT = """
    import asyncio, os, sys, time
    from pathlib import Path
    from scaffold import Call, Scaffold, Task, act, action, think
    from scaffold.testing import Scripted
    from scaffold.testing.effects import EffectLedger
    from scaffold.trace.places import is_database
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.trace.files import FileJournal
    from scaffold.vocabulary.task import Oversight

    place, folder, run, what = sys.argv[1:5]
    ledger = EffectLedger(Path(folder) / "effects")
    number = int(os.environ.get("ACTS", "8"))

    def planner(task):
        for turn in range(number):
            yield from think("decide", f"{turn}", instruction=os.environ.get("INSTRUCTION", ""))
            yield from act("pay", {"what": f"{task.inputs['what']}-{turn}"})
        return "paid"

    @action(effect="irreversible", idempotency="target_key", identity=() if "PLAIN" in os.environ else ("what",))
    async def pay(what: str, *, call: Call) -> str:
        Path(folder, f"{os.getpid()}.reached").write_text(f"{what} {call.epoch}")
        while Path(folder, "held").exists():
            await asyncio.sleep(0.01)
        await asyncio.sleep(float(os.environ.get("HOLD", "0")))
        return ledger.happen_once("pay", call, {"what": what}, "paid")

    def journal():
        lease = float(os.environ.get("LEASE", "1.5"))
        return PostgresJournal(place, lease=lease, patience=60) if is_database(place) else FileJournal(place)

    async def main():
        async with Scaffold(
            planner, backends={"default": Scripted("ok", delay=0.02)}, monitors=[], actions=[pay], journal=journal()
        ) as agent:
            if run:
                return await agent.resume(run)
            task = Task(prompt="pay", inputs={"what": what}, oversight=Oversight(unmonitored=True))
            return await agent.solve(task)

    outcome = asyncio.run(main())
    print(outcome.status, outcome.run, outcome.answer, outcome.reason, sep="|", flush=True)
"""


class Stage:
    """A place for runs, a ledger, and processes that write the runs."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.ledger = EffectLedger(folder / "effects")
        self.processes: list[subprocess.Popen[str]] = []
        self.journal: KeptRuns = PostgresJournal(place, lease=_LEASE_S) if is_database(place) else FileJournal(place)
        (folder / "agent.py").write_text(textwrap.dedent(_AGENT), encoding="utf-8")

    def start(self, run: str = "", *, what: str = "rent", **environment: str) -> subprocess.Popen[str]:
        """Start a process that solves, or goes on with a run."""
        process = subprocess.Popen(
            [sys.executable, str(self.folder / "agent.py"), self.place, str(self.folder), run, what],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def hold(self) -> None:
        """Keep whoever acts from going on, however slow everything else is."""
        (self.folder / "held").touch()

    def go_on(self) -> None:
        """Let them."""
        (self.folder / "held").unlink()

    def said(self, process: subprocess.Popen[str]) -> list[str]:
        """What a process has said at its end: status, run, answer, reason; or its error's name and its message."""
        out, err = process.communicate(timeout=_PATIENCE_S)
        if out:
            return out.strip().split("|")
        return (err.strip().splitlines() or [""])[-1].partition(": ")[0::2]  # type: ignore[return-value]  # two of them

    def run(self) -> str:
        """The one run there is."""
        (run,) = self.journal.runs()
        return run

    def resumed(self, run: str, **environment: str) -> list[str]:
        """Go on with a run as soon as it is free."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            said = self.said(self.start(run, **environment))
            if "RunHeld" not in said[0]:
                return said
            time.sleep(0.2)
        raise AssertionError("it is never free")

    def judge(self, run: str, *, acts: int = 8) -> None:
        """Each effect once, as it was cleared, and recorded."""
        story = read_story(self.journal.folder(run))
        effects = self.ledger.lines()
        faults = [*story.faults, *wrong_clearances(story), *wrong_effects(story, effects)]
        assert not faults
        assert len({line.arguments["what"] for line in effects if line.run == run}) == acts
        assert len([line for line in effects if line.run == run]) == acts

    def reached(self, process: subprocess.Popen[str], acts: int = 1) -> str:
        """Wait until a process is within an action, for the so manyth time; gives what it is told there."""
        marker, seen = self.folder / f"{process.pid}.reached", ""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until and process.poll() is None:
            said = marker.read_text() if marker.exists() else ""
            if said and said != seen:
                seen, acts = said, acts - 1
                if not acts:
                    return said
            time.sleep(0.005)
        raise AssertionError(f"it does not get there: {process.communicate()}")

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()


@pytest.fixture
def stage(cluster: Cluster, tmp_path: Path) -> Iterator[Stage]:
    """A database of its own."""
    made = Stage(cluster.fresh(f"nemesis_{os.getpid()}_{time.monotonic_ns()}"), tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["files", "PostgreSQL"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A place for runs of either kind."""
    if request.param == "PostgreSQL":
        yield request.getfixturevalue("stage")
        return
    made = Stage(str(tmp_path / "runs"), tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest, record_property: Callable[[str, str], None]) -> None:
    """What held stands in the summary of `make test-durability`."""
    if THOROUGH:
        record_property("shown", f"nemesis: {request.node.name.removeprefix('test_').replace('_', ' ')}")


def test_who_was_paused_past_the_lease_and_wakes_up_does_nothing_more(stage: Stage) -> None:
    """SIGSTOP between two actions; another takes over and finishes; the first, woken, stores and does nothing."""
    first = stage.start(HOLD="0.2")
    stage.reached(first, 2)
    first.send_signal(signal.SIGSTOP)
    run = stage.run()
    taken = stage.resumed(run)
    assert taken[0] == "solved"
    before = len(stage.ledger.lines())
    first.send_signal(signal.SIGCONT)
    said = stage.said(first)
    assert said[0] == "unavailable"
    assert "taken over by another process" in said[3]
    # What it was in the middle of, its target did once, whoever asked: it removes duplicates by the key.
    assert len(stage.ledger.lines()) == before
    stage.judge(run)


@long
def test_who_was_paused_right_before_an_effect_finds_its_claim_lost(stage: Stage) -> None:
    """The window between intent and effect: the claim is confirmed there, and an action is told the epoch."""
    first = stage.start(HOLD="0.5")
    assert stage.reached(first).endswith(" 1")  # the first claim's epoch
    first.send_signal(signal.SIGSTOP)
    run = stage.run()
    second = stage.start(run, HOLD="0")
    time.sleep(0.1)
    second.communicate()
    taken = stage.resumed(run)
    assert taken[0] == "solved"
    epochs = {path.read_text().split()[-1] for path in stage.folder.glob("*.reached")}
    assert len(epochs) == 2  # the target could have told the late one by it
    first.send_signal(signal.SIGCONT)
    assert stage.said(first)[0] == "unavailable"
    stage.judge(run)


def test_an_opaque_effect_does_not_happen_once_the_claim_is_lost(stage: Stage) -> None:
    """Held up between intent and effect for longer than the lease, while another claims the run: nothing is done."""
    journal, other = stage.journal, PostgresJournal(stage.place, lease=_LEASE_S)

    @action(effect="irreversible")
    async def send(what: str, *, call: Call) -> str:
        return str(stage.ledger.happen("send", call, {"what": what}, "sent"))

    def planner(_task: Task) -> Planning[str]:
        return str((yield from act("send", {"what": "it"})).value)

    def held_up(point: str) -> None:
        if point == "action.intent:after":
            time.sleep(1.2 * _LEASE_S)  # as SIGSTOP does: the whole process stands still
            taking = threading.Thread(target=lambda: asyncio.run(take()))
            taking.start()
            taking.join()

    async def take() -> None:
        await other.release(await other.claim(journal.runs()[0], "another"))

    agent = Scaffold(planner, monitors=[], actions=[send], journal=journal, surroundings=Surroundings(reach=held_up))
    outcome = agent.solve_sync(Task(prompt="send it", oversight=Oversight(unmonitored=True)))
    assert (outcome.status, stage.ledger.lines()) == ("unavailable", [])
    assert "taken over by another process" in outcome.reason


@long
def test_two_processes_on_one_run_do_it_once(stage: Stage) -> None:
    """One has it; the others are refused, and told for how long."""
    stage.hold()
    first = stage.start()
    stage.reached(first)
    run = stage.run()
    for _ in range(2):
        with pytest.raises(RunHeld, match=r"another process .*the run is free in \d s"):
            asyncio.run(stage.journal.claim(run, "another"))
    stage.go_on()
    assert stage.said(first)[0] == "solved"
    stage.judge(run)


@long
def test_a_dead_workers_run_is_free_within_twice_its_lease(stage: Stage) -> None:
    """Killed in the middle; whoever asks in vain is told how long to wait, and then gets it."""
    first = stage.start(HOLD="0.3")
    stage.reached(first, 2)
    first.kill()
    died = time.monotonic()
    run, journal = stage.run(), stage.journal

    async def free() -> float:
        while True:
            try:
                await journal.release(await journal.claim(run, "waiting"))
            except RunHeld:
                await asyncio.sleep(0.05)
            else:
                return time.monotonic() - died

    assert asyncio.run(free()) < 2 * _LEASE_S
    assert stage.resumed(run)[0] == "solved"
    stage.judge(run)


def test_a_server_that_crashes_and_comes_back_loses_nothing(cluster: Cluster, stage: Stage) -> None:
    """`-m immediate` while a run is written: what was not durable is given again, and the run goes on by itself."""
    for round_ in range(4 if THOROUGH else 1):
        first = stage.start(what=f"round {round_}", HOLD="0.1")
        stage.reached(first, 3)
        stage.hold()
        cluster.stop("immediate")
        stage.go_on()
        time.sleep(0.3)
        cluster.start()
        said = stage.said(first)
        assert said[0] == "solved", said
        stage.judge(said[1])


@long
def test_a_clock_that_jumps_while_a_run_goes_on_changes_nothing(either: Stage) -> None:
    """A day ahead, then an hour back, as a bad time server has it: the run goes on, and stays its owner's alone."""
    off = _off_by(either.folder / "clock", "+0")
    either.hold()
    first = either.start(**off)
    either.reached(first)
    run = either.run()
    for jump in ("+1d", "-1h"):
        (either.folder / "clock").write_text(jump)
        time.sleep(_LEASE_S)  # it is renewed all the while
        kind, _ = either.said(either.start(run))
        assert kind.endswith("RunHeld")
    either.go_on()
    assert either.said(first)[0] == "solved"
    either.judge(run)


@long
def test_machines_whose_clocks_are_an_hour_apart_take_runs_over_all_the_same(stage: Stage) -> None:
    """Leases are on the database's clock: who is ahead takes no run that is held, and who is behind waits no longer."""
    stage.hold()
    first = stage.start(**_off_by(stage.folder / "ahead", "+1h"))
    stage.reached(first)
    run = stage.run()
    kind, _ = stage.said(stage.start(run, **_off_by(stage.folder / "further ahead", "+2h")))
    assert kind.endswith("RunHeld")
    first.kill()
    stage.go_on()
    assert stage.resumed(run, **_off_by(stage.folder / "behind", "-1h"))[0] == "solved"
    stage.judge(run)


def _off_by(file: Path, seconds: str) -> dict[str, str]:
    """What sets a process's clock by what stands in a file, whenever it looks."""
    if _FAKETIME is None:
        pytest.skip("libfaketime is not installed: apt-get install libfaketime")
    file.write_text(seconds)
    return {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@long
def test_code_that_changed_between_crash_and_resume_is_noticed(either: Stage) -> None:
    """A planner that now asks something else is refused, loudly, and nothing more is done; the old one goes on."""
    first = either.start(HOLD="0.2")
    either.reached(first, 2)
    first.kill()
    first.communicate()
    run, before = either.run(), len(either.ledger.lines())
    changed = either.resumed(run, INSTRUCTION="decide otherwise")
    assert changed[0] == "scaffold.errors.PlanChanged", changed
    assert len(either.ledger.lines()) == before
    assert either.resumed(run)[0] == "solved"
    either.judge(run)


@long
def test_who_was_stopped_with_files_keeps_its_run(either: Stage) -> None:
    """On one host `flock` has no lease that could run out: the run stays its owner's, who goes on when woken."""
    if isinstance(either.journal, PostgresJournal):
        pytest.skip("a lease does run out")
    first = either.start(HOLD="0.2")
    either.reached(first, 2)
    first.send_signal(signal.SIGSTOP)
    run = either.run()
    kind, said = either.said(either.start(run))
    assert kind.endswith("RunHeld"), said
    first.send_signal(signal.SIGCONT)
    assert either.said(first)[0] == "solved"
    either.judge(run)


@long
def test_two_runs_on_two_machines_pay_an_invoice_once(stage: Stage) -> None:
    """The same thing is acted on by one run, also when its process dies in the middle."""
    first = stage.start(what="invoice", HOLD="60")
    stage.reached(first)
    second = stage.said(stage.start(what="invoice", ACTS="1"))
    assert second[0] == "stopped"
    assert "is about to do it" in second[3]
    first.kill()
    first.communicate()
    time.sleep(_LEASE_S * 1.2)
    third = stage.said(stage.start(what="invoice", ACTS="1"))
    assert third[0] == "stopped"
    assert "may already have been done" in third[3]
    assert len(stage.ledger.lines()) <= 1


# --- what the database says no to


def test_a_database_that_cannot_be_used_is_one_clear_line(cluster: Cluster, tmp_path: Path) -> None:
    """Nobody listens, no such database, tables of another version, an unknown run."""

    async def claim(url: str) -> None:
        await PostgresJournal(url, patience=1).claim("20300101-000000-none", "a")

    def says(url: str, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            asyncio.run(claim(url))

    says(f"postgresql:///scaffold?host={tmp_path}", JournalFailed, "cannot be used: .*Is the server running")
    says(cluster.url.replace("/scaffold?", "/nothing?"), JournalFailed, 'database "nothing" does not exist')
    says("postgresql:///x?nonsense=1", BadInput, "is not the address of a database")
    fresh = cluster.fresh(f"versions_{os.getpid()}")
    says(fresh, UnknownRun, "no run '20300101-000000-none'")
    import psycopg

    with psycopg.connect(fresh, autocommit=True) as connection:
        connection.execute("INSERT INTO scaffold.versions (version, compatible) VALUES (99, 99)")
        says(fresh, BadInput, "version 99, but this scaffold knows versions up to .*upgrade scaffold")
        connection.execute("UPDATE scaffold.versions SET compatible = 1 WHERE version = 99")
    says(fresh, UnknownRun, "no run")  # newer, and still understood: as while workers are being replaced
    with psycopg.connect(fresh, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE bare_{os.getpid()} LOGIN".encode())
    bare = fresh.replace("user=owner", f"user=bare_{os.getpid()}")
    says(bare, BadInput, "permission denied for schema scaffold: .*rights that a role needs")
    with pytest.raises(JournalFailed, match=r"permission denied for schema scaffold: .*rights that a role needs"):
        PostgresJournal(bare).runs()
    other = cluster.fresh(f"other_{os.getpid()}", like="template0")
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA scaffold")
        connection.execute("CREATE TABLE scaffold.events (number int)")
    says(other, BadInput, "was made by another program; use another database")


def test_a_database_that_cannot_say_who_acts_on_what_pauses_the_run(stage: Stage) -> None:
    """Nothing is done, and nothing refused for good: once it can, the run goes on and does it."""
    import psycopg

    @action(effect="irreversible", identity=("what",))
    async def pay(what: str, *, call: Call) -> str:
        return str(stage.ledger.happen("pay", call, {"what": what}, "paid"))

    def planner(_task: Task) -> Planning[str]:
        return str((yield from act("pay", {"what": "it"})).value)

    agent = Scaffold(planner, monitors=[], actions=[pay], journal=stage.journal)
    asyncio.run(_with_tables(stage.place))
    with psycopg.connect(stage.place, autocommit=True) as owner:
        owner.execute("ALTER TABLE scaffold.identities RENAME TO elsewhere")
        said = agent.solve_sync(Task(prompt="pay it", oversight=Oversight(unmonitored=True)))
        owner.execute("ALTER TABLE scaffold.elsewhere RENAME TO identities")
    assert (said.status, stage.ledger.lines()) == ("unavailable", [])
    assert 'relation "scaffold.identities" does not exist' in said.reason
    assert agent.resume_sync(said.run).answer == "paid"
    stage.judge(said.run, acts=1)


async def _with_tables(url: str) -> None:
    async with PostgresJournal(url):
        pass


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 160 MB."""
    disk = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has to be short
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)], check=False).returncode:
        disk.rmdir()
        pytest.skip("a small disk cannot be mounted here")
    disk.chmod(0o755)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()


@long
@pytest.mark.parametrize("held", [False, True], ids=["plain", "by identity"])
def test_files_on_a_disk_that_is_full_end_the_run_which_goes_on_once_there_is_room(
    held: bool,  # noqa: FBT001 - whether there is an index of who acts on what, which is full first
    small_disk: Path,
    tmp_path: Path,
) -> None:
    """What cannot be stored is not done: the run says what is wrong, and is resumed from what is stored."""
    stage = Stage(str(small_disk / "runs"), tmp_path)
    stage.hold()
    kind = {} if held else {"PLAIN": "1"}
    first = stage.start(**kind)
    stage.reached(first)
    ballast = small_disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=1M"], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}.more", "bs=512"], check=False, stderr=subprocess.DEVNULL)
    stage.go_on()
    said = stage.said(first)
    assert said[0] == "unavailable", said
    assert "No space left on device" in str(said) or "disk is full" in str(said)
    before = len(stage.ledger.lines())
    assert before < 8
    for each in small_disk.glob("ballast*"):
        each.unlink()
    assert stage.resumed(stage.run(), **kind)[0] == "solved"
    stage.judge(stage.run())
    stage.close()


@long
def test_a_database_whose_disk_is_full_ends_the_run_and_not_the_others(small_disk: Path, tmp_path: Path) -> None:
    """What cannot be stored is not said to be; once there is room again, the run goes on."""
    with Cluster(small_disk / "pg", durable=False) as full:
        stage = Stage(full.url, tmp_path)
        stage.hold()
        first = stage.start()
        stage.reached(first)
        ballast = small_disk / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=1M"], check=False, stderr=subprocess.DEVNULL)
        stage.go_on()
        said = stage.said(first)
        ballast.unlink()
        assert said[0] in {"solved", "unavailable"}  # the server may have had room left for so little
        full_again = shutil.disk_usage(small_disk)
        assert full_again.free > 0
        run = stage.run()
        if said[0] != "solved":
            assert stage.resumed(run)[0] == "solved"
        stage.judge(run)
