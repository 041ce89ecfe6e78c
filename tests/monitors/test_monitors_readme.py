"""monitors/README.md says what there is, and what it shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scaffold import entries
from scaffold_monitors.expressions import read
from scaffold_monitors.policy import Policy
from scaffold_monitors.reading import READY

ROOT = Path(__file__).parents[2]
README = (ROOT / "monitors" / "README.md").read_text(encoding="utf-8")
RULES = re.findall(r"^\| `(\w+\(.*?\))` \|", README, re.MULTILINE)
OURS = {name for name, entry in entries.installed("monitor").items() if entry.module.startswith("scaffold")}


def test_every_monitor_is_listed() -> None:
    """No more and no fewer than are installed."""
    table = README.partition("| monitor | asks |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == OURS


def test_every_ready_rule_is_listed() -> None:
    """Each once."""
    assert sorted(rule.partition("(")[0] for rule in RULES) == sorted(READY)


@pytest.mark.parametrize("rule", RULES)
def test_a_ready_rule_reads(rule: str) -> None:
    """As it stands in the table."""
    assert read(rule).expanded != rule


def test_the_policy_keeps_its_own_table(tmp_path: Path) -> None:
    """The file that is shown is right by its own tests."""
    block = next(
        each for each in re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "tests:" in each
    )
    (tmp_path / "policy.yaml").write_text(block, encoding="utf-8")
    assert Policy(file="policy.yaml", base=tmp_path).failures() == []
