"""`examples/mail`: a task of one's own to start from, as its header says to run it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scaffold.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "mail"


def test_a_mail_is_sent_once_ann_has_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's word does not count, and the mail to a stranger is refused whoever is asked."""
    monkeypatch.setenv("SCAFFOLD_RUNS", str(tmp_path / "runs"))
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "mail", ignore=shutil.ignore_patterns("sent.txt", "__pycache__")))
    task = str(folder / "task.yaml")

    def said(*arguments: str, status: int = 0) -> str:
        assert main(list(arguments)) == status
        return capsys.readouterr().out

    said("policy", "check", str(folder / "policy.yaml"), "--task", task)
    said("solve", task, status=6)
    asked = said("approvals", "list").split()[1]
    said("approvals", "approve", "last", asked, "--as", "ben", status=2)
    said("approvals", "approve", "last", asked, "--as", "ann")
    assert '"2.txt": "not sent: Mail goes to our customers only"' in said("resume", "last")
    assert (folder / "sent.txt").read_text().splitlines() == ["1.txt ada@example.org: We are sorry; it is on its way."]
    assert "helpdesk@example.net, from all that was told before move 5, untrusted" in said(
        "audit", "why", "last", "send#2"
    )
    said("audit", "verify", "last")
