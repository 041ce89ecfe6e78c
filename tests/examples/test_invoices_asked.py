"""The main job with a person in it: asked at the terminal, from another process, and in a browser by keyboard."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from playwright.sync_api import expect
from tests.browsing import chromium, needs_chromium
from tests.examples.test_invoices import EXAMPLE

COMMAND = [sys.executable, "-m", "scaffold.cli"]
TOTALS = {"2031": 1975, "2032": 4550, "2033": 3125, "2035": 1190}
PAYMENT = re.compile(r"pay\(account=\S+ .*invoice=\"(\d+)\"\)")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, in a folder of its own, in which commands are typed; one invoice alone has items to add up.

    `test_invoices` adds up all of them: here it is the person who counts.
    """
    folder = Path(
        shutil.copytree(EXAMPLE, tmp_path / "invoices", ignore=shutil.ignore_patterns("ledger.csv", "__pycache__"))
    )
    for invoice in (folder / "invoices").glob("203[2345].txt"):
        lines = invoice.read_text(encoding="utf-8").splitlines(keepends=True)
        _, *others = [line for line in lines if line.startswith("  ")]
        invoice.write_text("".join(line for line in lines if line not in others), encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SCAFFOLD_RUNS", raising=False)
    return folder


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    """Type a command in another process, away from a terminal."""
    return subprocess.run(
        [*COMMAND, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )


def waiting() -> list[dict[str, str]]:
    """What waits for a person, as another process is told."""
    found: list[dict[str, str]] = json.loads(typed("approvals", "list", "--json").stdout)
    return found


def ledger(folder: Path) -> dict[str, int]:
    """What was paid, in cents, by invoice; each once."""
    path = folder / "ledger.csv"
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: int(row[2]) for row in rows}


@contextmanager
def page_of(person: str) -> Iterator[str]:
    """The page of what waits, served by the command; gives its address for a person."""
    serving = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "approvals", "serve", "--as", person], encoding="utf-8", timeout=60
    )
    try:
        serving.expect(rf"{person}: (http://\S+)\s")
        assert isinstance(serving.match, re.Match)
        yield str(serving.match.group(1))
    finally:
        serving.sendintr()
        serving.expect(pexpect.EOF)
        serving.close()


def approve_in_a_browser(address: str) -> int:
    """Approve what is still open, by keyboard alone: j to each question, a, Enter; gives how many were."""
    approved = 0
    with chromium() as browser:
        page = browser.new_page()
        expect.set_options(timeout=30_000)
        page.goto(address)
        buttons = page.locator("#list button")
        buttons.first.wait_for()
        for place in range(buttons.count()):
            page.keyboard.press("j")
            expect(buttons.nth(place)).to_be_focused()
            said = buttons.nth(place).inner_text()
            invoice = re.search(r"invoice: (\d+)", said)
            assert invoice is not None
            expect(page.locator("#detail")).to_contain_text(f'"invoice": "{invoice[1]}"')
            if "answered" in said:
                continue
            page.keyboard.press("a")
            expect(page.locator("#comment")).to_be_focused()
            page.keyboard.press("Enter")
            expect(page.locator("#detail")).to_contain_text("Answered.")
            approved += 1
    expect.set_options(timeout=5_000)
    return approved


@needs_chromium
@pytest.mark.timeout(900)
def test_a_person_sees_each_payment_three_ways(folder: Path) -> None:
    """The plan and one payment at the terminal; that process exits; one by the command, two by keyboard; four lines."""
    words = [*COMMAND[1:], "solve", "asked.yaml", "--seed", "7"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    terminal = pexpect.spawn(COMMAND[0], words, env=env, encoding="utf-8", timeout=600)
    terminal.expect_exact("a for yes to all its calls too, l for later] ")
    assert set(PAYMENT.findall(str(terminal.before))) == set(TOTALS)
    terminal.sendline("y")
    for answer in ("y", "l", "l", "l"):
        terminal.expect_exact("[y/N, l for later] ")
        terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 6
    assert len(ledger(folder)) == 1
    assert ledger(folder).items() <= TOTALS.items()

    first, *others = waiting()
    assert len(others) == 2
    assert typed("approvals", "approve", first["run"], first["id"], "--as", "ann").returncode == 0
    with page_of("ben") as address:
        assert approve_in_a_browser(address) == 2

    resumed = typed("resume", first["run"])
    assert resumed.returncode == 0, resumed.stderr
    answer = json.loads(resumed.stdout)
    assert [each["invoice"] for each in answer["not_paid"]] == ["2034"]
    assert "suppliers.csv" in answer["not_paid"][0]["why"]
    assert ledger(folder) == TOTALS
    assert waiting() == []
    assert typed("audit", "verify", "last").returncode == 0
    shown = typed("audit", "show", "last").stdout
    assert shown.count("ann approved pay(") == 1
    assert shown.count("ben approved pay(") == 2
