"""`scaffold audit report`: one file of one run, by the command."""

import os
import subprocess
from pathlib import Path

from tests.cli.conftest import Scaffold, command, environment, only_run

from scaffold.testing.tampering import sealed_anew


def test_a_report_is_written_beside_one_by_default(here: Scaffold, folder: Path) -> None:
    """It is named after the run; stdout says where and how much, stderr what verifying found."""
    assert here("solve", "pay.yaml").status == 0
    run = only_run(folder).name
    ran = here("audit", "report", "last")
    assert (ran.status, ran.out.startswith(f"wrote {run}.html: ")) == (0, True), ran
    assert f"run {run} is verified and has ended: solved" in ran.err
    assert (folder / f"{run}.html").read_text().startswith("<!doctype html>")


def test_it_can_be_piped(here: Scaffold, folder: Path) -> None:
    """With - stdout has the file and nothing else."""
    assert here("solve", "pay.yaml").status == 0
    assert here("audit", "report", "last", "-o", "run.html").status == 0
    ran = here("audit", "report", "last", "-o", "-")
    assert (ran.status, ran.out) == (0, (folder / "run.html").read_text())
    assert "events" in ran.err


def test_whoever_reads_it_may_have_had_enough(here: Scaffold, folder: Path) -> None:
    """As with `| head`: it ends in silence, as other commands do."""
    assert here("solve", "pay.yaml").status == 0
    reading, writing = os.pipe()
    os.close(reading)
    line = command("audit", "report", "last", "-o", "-")
    done = subprocess.run(
        line, cwd=folder, env=environment(folder), stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_it_is_held_against_a_key(here: Scaffold, folder: Path) -> None:
    """With --key the banner says by whom it was signed; another key's is an alarm, and the report is still written."""
    line = here("audit", "key", "key.pem").out.strip()
    other = here("audit", "key", "other.pem").out.strip()
    assert here("solve", "pay.yaml", "--key", "key.pem").status == 0
    assert "signed by the given key" in here("audit", "report", "last", "-o", "run.html", "--key", line).err
    ran = here("audit", "report", "last", "-o", "run.html", "--key", other)
    assert (ran.status, "signed by the wrong key" in ran.err) == (0, True), ran
    assert (folder / "run.html").is_file()


def test_what_cannot_be_done_is_said_in_a_line(here: Scaffold, folder: Path) -> None:
    """No such run, no such folder, a file of heads that is none: status 2, and no traceback."""
    assert here("solve", "pay.yaml").status == 0
    for words, why in [
        (("nothing",), "no run 'nothing'"),
        (("last", "-o", "nowhere/run.html"), "cannot write nowhere/run.html"),
        (("last", "-o", "."), "is a folder: name a file"),
        (("last", "--key", "nothing.pem"), "cannot read nothing.pem, given by --key"),
        (("last", "--answers", "nothing"), "no run 'nothing'"),
    ]:
        ran = here("audit", "report", *words)
        assert (ran.status, why in ran.err) == (2, True), (words, ran)
        assert "Traceback" not in ran.err
    assert not list(folder.glob("*.html"))


def test_a_run_that_was_cut_off_has_one_too(here: Scaffold, folder: Path) -> None:
    """Status 0: the report was written, and what is wrong with the run stands in it and on stderr."""
    assert here("solve", "pay.yaml").status == 0
    spine = only_run(folder) / "trace.jsonl"
    spine.write_bytes(b"".join(spine.read_bytes().splitlines(keepends=True)[:-1]))
    ran = here("audit", "report", "last", "-o", "run.html")
    assert (ran.status, "neither ended nor paused" in ran.err) == (0, True), ran


def test_what_a_forged_run_says_cannot_steer_the_terminal(here: Scaffold, folder: Path) -> None:
    """Whoever can write to its folder chooses the words of what is found: as with `verify`, they are escaped."""
    assert here("solve", "pay.yaml").status == 0
    spine = only_run(folder) / "trace.jsonl"
    lines = spine.read_bytes().splitlines(keepends=True)
    spine.write_bytes(b"".join(sealed_anew(lines[:1], lambda events: [{**events[0], "run": "\x1b]0;owned\x07"}])))
    ran = here("audit", "report", "last", "-o", "run.html")
    assert "it is the trace of run \\x1b]0;owned\\x07" in ran.err
    assert "\x1b]0" not in ran.err
