"""Monitors' cards: each built-in monitor has one, it is true, and `scaffold plugins` shows it without an import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scaffold import entries, registry
from scaffold.errors import BrokenPlugin
from scaffold.vocabulary.cards import Card
from scaffold_monitors import probing

OURS = sorted(name for name, entry in entries.installed("monitor").items() if entry.module.startswith("scaffold"))
SETTINGS: dict[str, dict[str, object]] = {"policy": {"file": ""}, "watch": {"phrases": ["nobody will notice"]}}
"""What a monitor needs to be made, by name."""


def shown(*arguments: str) -> str:
    """What the command prints."""
    script = f"from scaffold.cli import main; main({['plugins', *arguments]!r})"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_every_monitor_of_ours_has_a_card() -> None:
    """None is listed with less, and no card is left over."""
    carded = entries._of("scaffold.monitor_cards")  # noqa: SLF001 - there is no other way to see one that is left over
    cards = {name for name, entry in carded.items() if entry.module.startswith("scaffold")}
    assert cards == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_a_card_says_what_its_monitor_declares(name: str) -> None:
    """What it reads and whom it asks is as in its spec; cost, property and blind spots are said, rates are shares."""
    card = entries.monitor_card_of(name)
    assert card is not None
    spec = registry.make_monitor(name, SETTINGS.get(name, {})).spec
    assert (card.watches, card.needs, card.default) == (spec.watches, spec.needs, spec.default)
    assert card.probes == (name in probing.FAMILY)
    assert card.about
    assert card.property
    assert card.cost
    assert card.blind
    assert all(0 <= share <= 1 and rate.data for rate in card.rates for share in (rate.found, rate.spared))


def test_one_monitors_card_is_shown_whole() -> None:
    """Property, cost, rates with their data, and blind spots; what was not measured is said."""
    text = shown("--monitor", "scope")
    assert "property: asked for by the request; reads plan, action; asks no model\n" in text
    assert "finds 99.5%, spares 96.3%: 568 plans of AgentDojo" in text
    assert "does not see: languages other than English" in text
    assert "asks judge\n" in shown("--monitor", "goals")
    assert "asks the model that answered\n" in shown("--monitor", "faithfulness")
    assert "its accuracy has not been measured" in shown("--monitor", "loop")
    told = json.loads(shown("--monitor", "dataflow", "--json"))
    assert told["property"] == "origin of values"
    assert told["rates"][0]["found"] == 0.995


def test_an_unknown_monitor_is_named_with_the_nearest() -> None:
    """A misspelt name is answered with what there is."""
    done = subprocess.run(
        [sys.executable, "-m", "scaffold.cli", "plugins", "--monitor", "scop"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no monitor named 'scop'; did you mean 'scope'" in done.stderr


def test_showing_a_card_imports_no_monitor() -> None:
    """Neither the monitors' modules nor pydantic are imported for their cards."""
    script = "import sys; from scaffold.cli import main; main(['plugins']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *listed, modules = done.stdout.splitlines()
    assert any("property: the task's own rules" in line for line in listed)
    assert "'scaffold_monitors.cards'" in modules
    assert "'scaffold_monitors.rules'" not in modules
    assert "'pydantic'" not in modules


def test_a_card_of_the_wrong_kind_is_told_as_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend's card where a monitor's should be is no card of a monitor."""
    entry = entries._of("scaffold.cards")["openai"]  # noqa: SLF001 - as above
    monkeypatch.setattr(entries, "_of", lambda _group: {"openai": entry})
    assert isinstance(entries.card_of("openai"), Card)
    with pytest.raises(BrokenPlugin, match="its card is a Card, not a MonitorCard"):
        entries.monitor_card_of("openai")
