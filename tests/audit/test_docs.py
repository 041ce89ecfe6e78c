"""docs/audit.md: what it tells a reader to type works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "audit.md"
TASK = """
prompt: Pay the invoice
inputs: {invoice: A-1}
planner: tools:paying
actions: [tools:pay]
monitors: [rules]
"""
TOOLS = """
from scaffold import act, action

@action(effect="irreversible", identity=("invoice",))
async def pay(invoice: str) -> str:
    return f"paid {invoice}"

def paying(task):
    yield from act("pay", {"invoice": task.input("invoice")})
    return "done"
"""


def test_the_blocks_of_the_page_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All shell blocks, in one shell, in a folder with a task."""
    (tmp_path / "pay.yaml").write_text(TASK)
    (tmp_path / "tools.py").write_text(TOOLS)
    blocks = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    for name in ("SCAFFOLD_RUNS", "SCAFFOLD_SIGNING_KEY", "SCAFFOLD_HEADS_TO", "SCAFFOLD_CONTENT_KEY"):
        monkeypatch.delenv(name, raising=False)
    script = f'set -e\nscaffold() {{ "{sys.executable}" -m scaffold.cli "$@"; }}\n' + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is verified and has ended: solved") == 3
    assert "signed by the given key" in done.stdout
    assert "argument invoice = A-1" in done.stdout
    assert "is encrypted, and unread without its key" in done.stdout
    assert "compressed 2 runs" in done.stdout
    assert "would remove the content of" in done.stdout
