"""A folder of runs that others use too: some of it is not ours, and some of it goes while we look."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Ran, Scaffold, command, environment
from tests.powerless import without_powers

from scaffold.trace.files import FileJournal


@pytest.fixture
def others(here: Scaffold, folder: Path) -> Iterator[Path]:
    """The folder of a run that is not ours to look at, between two that wait for a person."""
    runs = folder / ".scaffold/runs"
    for _ in range(3):
        assert here("solve", "people.yaml").status == 6
    first, *_ = sorted(runs.glob("2*"))
    theirs = first.with_name(f"{first.name[:-1]}~".replace("~", "z" if first.name[-1] != "z" else "y"))
    shutil.copytree(first, theirs)
    theirs.chmod(0)
    yield theirs
    theirs.chmod(0o700)


def ran(folder: Path, *arguments: str) -> Ran:
    """How the command ends for somebody who may not look everywhere."""
    line = without_powers(command(*arguments))
    done = subprocess.run(line, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def test_a_run_that_is_not_ours_keeps_nobody_from_the_others(folder: Path, others: Path) -> None:
    """It is listed as unreadable and named; what waits is shown, and what can be stopped is, with status 5."""
    runs = folder / ".scaffold/runs"
    listed = ran(folder, "audit", "list").out
    assert (listed.count("waiting"), listed.count("unreadable")) == (3, 1)
    assert ran(folder, "audit", "show", "last").status == 0
    waits = ran(folder, "approvals", "list")
    assert (waits.status, waits.err) == (0, f"warning: run {others.name}: it cannot be read: Permission denied\n")
    assert waits.out.count("pay(cents=900") == 3
    newest = max(runs.glob("2*")).name
    assert ran(folder, "stop", newest).out == f"{newest} stops before its next action\n"
    pruned = ran(folder, "audit", "prune", "--older-than", "0h", "--unfinished")
    assert pruned.status == 1
    assert f"{others.name}: skipped: .scaffold/runs/{others.name}/trace.jsonl cannot be used" in pruned.out
    assert pruned.out.count("would remove") == 3
    packed = ran(folder, "audit", "compress")
    assert (packed.status, packed.out.startswith("compressed 0 runs")) == (1, True)
    stopped = ran(folder, "stop", "--all")
    assert stopped.status == 5
    assert stopped.out.count("stops before its next action") == 3
    assert f"{others.name}/inbox: Permission denied" in stopped.err


def test_whether_a_run_that_is_not_ours_has_done_it_is_not_guessed(folder: Path, others: Path) -> None:
    """Where the index of who acts on what is made anew, nothing is done before that run can be looked at."""
    for each in (folder / ".scaffold/runs").glob(".identities.sqlite*"):
        each.unlink()
    said = ran(folder, "solve", "pay.yaml")
    assert said.status == 5
    assert "cannot tell whether another run acts on the same thing" in said.err
    assert f"{others.name}/trace.jsonl" in said.err


def test_a_closed_folder_that_is_no_runs_is_passed_over(here: Scaffold, folder: Path) -> None:
    """Each file system has a `lost+found` of its superuser's."""
    assert here("solve", "think.yaml").status == 0
    lost = folder / ".scaffold/runs/lost+found"
    lost.mkdir(mode=0)
    limited = (folder / "pay.yaml").read_text() + "limits: {pay: {arguments: {cents: {day: 10000}}}}\n"
    (folder / "pay.yaml").write_text(limited)
    try:
        assert ran(folder, "audit", "list").out.count("\n") == 1
        paid = ran(folder, "solve", "pay.yaml")
        assert (paid.status, paid.out) == (0, "performed, performed\n"), paid.err
        assert ran(folder, "stop", "--all").out == "no run is under way or paused\n"
    finally:
        lost.chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("audit", "list"), "waiting"),
        (("approvals", "list"), "pay(cents=900"),
        (("stop", "--all"), "stops before"),
        (("audit", "prune", "--older-than", "0h", "--unfinished"), "would remove"),
        (("audit", "compress"), "compressed 0 runs"),
    ],
    ids=["list", "approvals", "stop", "prune", "compress"],
)
def test_a_run_that_somebody_removes_meanwhile_is_passed_over(
    here: Scaffold, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    """Whoever has listed it goes on with the others."""
    assert here("solve", "people.yaml").status == 6
    listed = FileJournal.runs
    monkeypatch.setattr(FileJournal, "runs", lambda journal: ["20300101-000000-gone", *listed(journal)])
    said = here(*arguments)
    assert (said.status, said.err) == (0, "")
    assert says in said.out
    assert "gone" not in said.out
