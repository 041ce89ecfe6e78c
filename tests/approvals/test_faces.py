"""One task with a person in it, answered at the terminal, from another process, on the page, and while it waits."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pexpect
import pytest
from tests.approvals.conftest import paying, revising
from tests.cli.conftest import command, environment
from tests.terminal import at_terminal, ends

from scaffold.cli import main
from scaffold.cli.waiting import commands
from scaffold.palette import PALETTE
from scaffold.trace.heads import new_key

if TYPE_CHECKING:
    from tests.approvals.conftest import Office

EXAMPLE = Path(__file__).parents[2] / "examples" / "approvals" / "task.yaml"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the example, in which commands are typed."""
    for file in EXAMPLE.parent.iterdir():
        if file.suffix in {".py", ".yaml"}:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCAFFOLD_RUNS", raising=False)
    return tmp_path


def run(desk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type a command, without a terminal."""
    return subprocess.run(
        command(*arguments),
        cwd=desk,
        env=environment(desk),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def waiting(desk: Path) -> list[dict[str, str]]:
    """What waits, as another process is told it."""
    listed: list[dict[str, str]] = json.loads(run(desk, "approvals", "list", "--json").stdout)
    return listed


def paid(desk: Path) -> list[str]:
    """What was really paid."""
    file = desk / "paid.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_asked_at_the_terminal(desk: Path) -> None:
    """The large payment is asked about, the small one is not; y pays it."""
    terminal = at_terminal(desk, "solve", "task.yaml")
    terminal.expect_exact('pay(cents=250000, invoice="2042")')
    terminal.expect_exact("[y/N, l for later] ")
    terminal.sendline("y")
    assert ends(terminal) == 0
    assert sorted(paid(desk)) == ["2041 4200", "2042 250000"]


def test_answered_by_another_process_after_the_first_has_exited(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run pauses with status 6; days later somebody approves, somebody else resumes, and nothing is paid twice."""
    assert run(desk, "solve", "task.yaml").returncode == 6
    assert paid(desk) == ["2041 4200"]
    (asked,) = waiting(desk)
    approved = run(desk, "approvals", "approve", asked["run"], asked["id"], "--as", "ann", "--comment", "as ordered")
    assert approved.stdout.startswith("approved; continue with: scaffold resume")
    resumed = run(desk, "resume", asked["run"])
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(paid(desk)) == ["2041 4200", "2042 250000"]
    assert main(["audit", "show", "last"]) == 0
    assert "ann approved pay(" in capsys.readouterr().out
    assert main(["audit", "verify", "last"]) == 0


def test_answered_on_the_page_while_the_run_waits(desk: Path) -> None:
    """`solve --wait` stands by without a terminal, and goes on by itself once the page has an answer."""
    solving = subprocess.Popen(
        command("solve", "task.yaml", "--wait"),
        cwd=desk,
        env=environment(desk),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    page = pexpect.spawn(
        sys.executable,
        command("approvals", "serve", "--as", "ann")[1:],
        cwd=str(desk),
        env=environment(desk),
        encoding="utf-8",
        timeout=90,
    )
    try:
        page.expect(r"ann: (http://\S+)\s")
        assert isinstance(page.match, re.Match)
        address = str(page.match.group(1))
        base = re.sub(r"/\?.*", "", address)
        with httpx.Client(base_url=base, headers={"origin": base}, trust_env=False) as browser:
            browser.get(address)
            until = time.monotonic() + 90
            while not (items := browser.get("/api/queue").json()["items"]) and time.monotonic() < until:
                time.sleep(0.1)
            place = f"/api/runs/{items[0]['run']}/{items[0]['id']}"
            digest = browser.get(place).json()["digest"]
            assert browser.post(place, json={"digest": digest, "granted": True}).json() == {"taken": True}
        assert solving.wait(90) == 0
        solving.communicate()
        assert sorted(paid(desk)) == ["2041 4200", "2042 250000"]
    finally:
        page.sendintr()
        page.expect(pexpect.EOF)
        page.close()
        assert (page.exitstatus, "Traceback" in str(page.before)) == (0, False)
        if solving.poll() is None:
            solving.kill()


def test_a_webhook_without_a_secret_is_a_clear_error(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything runs."""
    monkeypatch.setenv("SCAFFOLD_WEBHOOK_URL", "https://example.com/")
    monkeypatch.delenv("SCAFFOLD_WEBHOOK_SECRET", raising=False)
    assert main(["solve", "task.yaml"]) == 2
    assert "SCAFFOLD_WEBHOOK_SECRET" in capsys.readouterr().err
    assert paid(desk) == []


def test_who_may_not_approve_is_not_asked_at_the_terminal(desk: Path) -> None:
    """Where the task names others, the terminal's user is not asked in vain: the run pauses."""
    task = desk / "task.yaml"
    task.write_text(task.read_text() + "\noversight: {approvers: [somebody else]}\n")
    terminal = at_terminal(desk, "solve", "task.yaml")
    assert ends(terminal) == 6
    assert "y/N" not in str(terminal.before)


def test_who_has_approved_at_the_terminal_is_not_asked_again(desk: Path) -> None:
    """Of two who have to, the other one is still waited for: the run pauses, and so it does when it is resumed."""
    task = desk / "task.yaml"
    task.write_text(task.read_text() + "\noversight: {needs: 2}\n")
    for words, asks in ((("solve", "task.yaml"), True), (("resume", "last"), False)):
        terminal = at_terminal(desk, *words)
        if asks:
            terminal.expect_exact("2 people have to approve")
            terminal.expect_exact("[y/N, l for later] ")
            terminal.sendline("y")
        assert ends(terminal) == 6
        assert "y/N" not in str(terminal.before)
    assert paid(desk) == ["2041 4200"]


def test_settings_that_are_wrong_name_their_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task file's faults are told with file, line and key."""
    task = desk / "task.yaml"
    text = task.read_text()
    task.write_text(text + "\noversight:\n  approvers: [ann]\n  needs: 2\n")
    assert main(["solve", "task.yaml"]) == 2
    assert "needs 2 approvals, but approvers has only 1" in capsys.readouterr().err
    task.write_text(text + "\noversight:\n  approvers: {ann: nonsense}\n")
    assert main(["solve", "task.yaml"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"task\.yaml:\d+: oversight\.approvers\.ann: 'nonsense' is not a verifier line", said), said


def test_two_people_with_keys_through_the_command(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """Each signs with their own key; without it, or with the other's, the answer is refused at once."""
    folder = office.world.folder
    keys = {name: new_key(folder / name).verifier() for name in ("ann", "ben")}
    outcome = office.wait(approvers=keys, needs=2)
    asked = office.asked(outcome)

    def approve(person: str, *options: str) -> tuple[int, str]:
        status = main(
            ["approvals", "approve", outcome.run, asked["id"], "--as", person, "--runs", str(office.runs), *options]
        )
        told = capsys.readouterr()
        return status, told.out + told.err

    assert approve("ann") == (2, "error: this answer does not count: it is not signed by the key of ann\n")
    assert approve("ann", "--key", str(folder / "ben"))[0] == 2
    assert approve("ann", "--key", str(folder / "ann")) == (
        0,
        "approved; 1 more person has to approve it\n",
    )
    assert approve("ann", "--key", str(folder / "ann"))[0] == 2
    assert approve("ben", "--key", str(folder / "ben"))[0] == 0
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"
    assert asyncio.run(_inbox(office, outcome.run)) == ["ann", "ben"]


async def _inbox(office: Office, run: str) -> list[str]:
    return sorted(answer.by for answer in office.journal.inbox(run))


def test_editors_are_told_both_ways_to_name_approvers(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema of task files takes a list of names, and a mapping of names to keys."""
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    ways = schema["$defs"]["Oversight"]["properties"]["approvers"]["anyOf"]
    assert [way["type"] for way in ways] == ["array", "object"]


def test_the_page_is_shipped() -> None:
    """Its files stand beside its code, and each is reached by the page."""
    from scaffold.approvals import page

    folder = Path(page.__path__[0]) / "files"
    html = (folder / "page.html").read_text()
    files = {each.name for each in folder.iterdir()}
    assert files == {"icon.svg", "page.css", "page.html", "page.js"}
    assert {name for name in files if f'"/{name}"' in html} == files - {"page.html"}
    assert PALETTE.is_file()
    assert f'"/{PALETTE.name}"' in html


def test_of_a_plan_it_is_said_how_to_approve_its_calls_too(office: Office) -> None:
    """Who approves a plan alone is asked about each of its calls again; of a single call there is nothing to add."""
    plan, call = office.wait(revising).run, office.wait(paying).run
    assert "yes to all its calls too: --scope" in "\n".join(commands(office.journal, plan))
    assert "--scope" not in "\n".join(commands(office.journal, call))
