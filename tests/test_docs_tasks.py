"""What the pages show of task files, in parts, can stand in a task file as it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scaffold import taskfile

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/deployment.md",
    "docs/reading.md",
    *(f"{name}/README.md" for name in ("planners", "monitors", "backends")),
)
REST = {"prompt": "x", "backends": {"default": {"use": "scripted", "replies": "x"}}}


def _parts() -> list[Any]:
    """Each block of YAML that is neither a whole task, a policy nor a manifest, by its page."""
    parts = []
    for page in PAGES:
        blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        shown = [each for each in blocks if not each.startswith(("prompt:", "decisions:", "apiVersion:"))]
        parts += [pytest.param(part, id=f"{page}-{number}") for number, part in enumerate(shown)]
    return parts


@pytest.mark.parametrize("part", _parts())
def test_a_part_fits_into_a_task(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a prompt, a script for the backends that it does not name, and the files that it does."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    monkeypatch.setenv("SCAFFOLD_RUNS", "postgresql://nobody@127.0.0.1:1/none")
    shutil.copy(ROOT / "examples" / "march" / "hanoi.py", tmp_path)
    (tmp_path / "known.json").write_text(json.dumps({"figures": []}))
    (tmp_path / "guard.py").write_text("def score(text):\n    return 0.0\n")
    said = YAML(typ="safe").load(part)
    with (tmp_path / "task.yaml").open("w") as file:
        YAML().dump(REST | said, file)
    built = taskfile.build(tmp_path / "task.yaml")
    built.agent.check(built.task)
