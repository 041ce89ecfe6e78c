"""monitors/README.md says what there is, and what it shows works."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from scaffold import entries
from scaffold_monitors.cel.expressions import read
from scaffold_monitors.cel.reading import READY
from scaffold_monitors.faithfulness import FaithfulnessOptions
from scaffold_monitors.policy import Policy
from scaffold_monitors.probing import ProbeOptions

ROOT = Path(__file__).parents[2]
README = (ROOT / "monitors" / "README.md").read_text(encoding="utf-8")
RULES = re.findall(r"^\| `(\w+\(.*?\))` \|", README, re.MULTILINE)
OURS = {name for name, entry in entries.installed("monitor").items() if entry.module.startswith("scaffold")}


def test_every_monitor_is_listed() -> None:
    """No more and no fewer than are installed."""
    table = README.partition("| monitor | asks |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == OURS


SETTINGS = dict(
    re.findall(r"^\| `(\w+)` \| (.*) \|$", README.partition("| settings of |")[2].partition("\n\n")[0], re.MULTILINE)
)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_is_listed(name: str) -> None:
    """Those of each monitor; a number or a decision right behind one is its default."""
    settings = settings_of(name)
    told = SETTINGS.get(name, "")
    assert set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)|;.*", "", told))) == set(settings)
    for setting, default in re.findall(r"`(\w+)` \(([a-z]+|[0-9.]+)[):;]", told):
        if settings[setting]:
            assert str(settings[setting]) in {default, f"{default}.0"}, setting


def settings_of(name: str) -> dict[str, Any]:
    """What a task may set of a monitor, and what holds without it."""
    made = entries.load("monitor", name)
    own = {each.name: each.default for each in signature(made).parameters.values() if each.name not in {"base", "find"}}
    if "options" not in own:
        return own
    kind = FaithfulnessOptions if name == "faithfulness" else ProbeOptions
    return {option: info.default for option, info in kind.model_fields.items()}


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
