"""`scaffold plugins`: what is installed and what is missing, without importing any of it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import environment

from scaffold import entries
from scaffold.errors import BrokenPlugin
from scaffold.registry import make_backend
from scaffold.vocabulary.models import FREE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Scaffold

HEAVY = {"torch", "transformers", "numpy", "httpx", "xllamacpp", "pydantic", "networkx", "celpy"}

STRANGER = '''
"""A stranger's package; importing it is what the listing must not do."""

raise RuntimeError("imported")
'''
BACKEND = '''
import heavy_as_can_be


@functools.cache
def plain(model: str) -> object:
    """Answers with nothing in particular.

    More words.
    """


class Odd(
    object,
):
    """Is odd."""
'''
CARDS = """
from scaffold.vocabulary.cards import Card

CARDED = Card(
    about="Has a card.",
    example="carded:x",
    can=frozenset({"n"}),
    reasoning=("summary",),
    prices="listed",
    trust="trusted",
    modules=("no_such_module",),
    install="pip install carded",
    keys=("A_KEY", "B_KEY"),
    places=("A_PLACE",),
)
WRONG = {"about": "no card"}
"""
ENTRIES = """
[scaffold.backends]
plain = strange.backend:plain
odd = strange.backend:Odd
carded = strange.backend:plain
wrong = strange.backend:plain
lost = strange.nowhere:plain

[scaffold.cards]
carded = strange_cards:CARDED
wrong = strange_cards:WRONG
"""


@pytest.fixture
def strange(folder: Path) -> None:
    """A stranger's backends are installed too; their package raises when it is imported."""
    plugins = folder / "plugins"
    (plugins / "strange").mkdir()
    (plugins / "strange" / "__init__.py").write_text(STRANGER)
    (plugins / "strange" / "backend.py").write_text(BACKEND)
    (plugins / "strange_cards.py").write_text(CARDS)
    (plugins / "strange-2.0.dist-info").mkdir()
    (plugins / "strange-2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 2.0\n")
    (plugins / "strange-2.0.dist-info" / "entry_points.txt").write_text(ENTRIES)
    entries._entries.cache_clear()  # noqa: SLF001 - they came after the path was first looked through


@pytest.fixture
def told(here: Scaffold, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """What `scaffold plugins --json` tells of one backend; no key is set."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "A_KEY", "B_KEY", "A_PLACE"):
        monkeypatch.delenv(name, raising=False)

    def of(name: str) -> dict[str, Any]:
        ran = here("plugins", "--json")
        assert ran.status == 0
        (found,) = [each for each in ran.json["backends"] if each["name"] == name]
        return dict(found)

    return of


def test_listing_imports_nothing_that_is_heavy(folder: Path) -> None:
    """Not torch, not numpy, not an HTTP client, and not even pydantic."""
    listing = "import json, sys, scaffold.cli; scaffold.cli.main(['plugins']); print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", listing], env=environment(folder), capture_output=True, text=True, check=True
    )
    *listed, modules = done.stdout.splitlines()
    assert any("smollm2" in line for line in listed)
    assert not HEAVY & set(json.loads(modules))


@pytest.mark.usefixtures("strange")
def test_a_backend_tells_its_profile_and_what_is_missing(
    told: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not set and a module that is not there are named with their cure, and gone once they are met."""
    openai = told("openai")
    assert openai["missing"] == ["set OPENAI_API_KEY"]
    assert (openai["ready"], openai["prices"], openai["reasoning"]) == (False, "listed", ["absent"])
    assert "schema" in openai["can"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert told("openai")["ready"]
    carded = told("carded")
    assert carded["missing"] == ["pip install carded", "set A_PLACE", "set A_KEY or B_KEY"]
    monkeypatch.setenv("B_KEY", "x")
    monkeypatch.setenv("A_PLACE", "http://here")
    assert told("carded")["missing"] == ["pip install carded"]


@pytest.mark.usefixtures("strange")
def test_it_reads_well(here: Scaffold, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As text: name, what it is, an example, the profile in words, what to do to use it."""
    for name in ("A_KEY", "B_KEY", "A_PLACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCAFFOLD_MODELS", str(tmp_path))
    out = here("plugins").out
    assert "  carded           Has a card.  strange 2.0\n" in out
    assert "carded:x; can n; reasoning summary; price listed; trusted\n" in out
    assert "to use it: pip install carded, set A_PLACE, set A_KEY or B_KEY\n" in out
    assert "  plain            Answers with nothing in particular.  strange 2.0\n" in out
    assert "smollm2; can schema, choices, seed, n (or also logprobs)" in out
    assert "free; its model is downloaded on first use" in out
    assert "Has a person see every payment." in out


@pytest.mark.usefixtures("strange")
def test_a_strangers_plugin_without_a_card_is_listed_from_its_source(told: Callable[[str], dict[str, Any]]) -> None:
    """Its docstring is read, its package never imported; one whose module is gone is told as broken."""
    assert told("plain") == {
        "name": "plain",
        "from": "strange 2.0",
        "about": "Answers with nothing in particular.",
        "broken": "",
    }
    assert told("odd")["about"] == "Is odd."
    assert told("lost")["broken"] == "there is no module 'strange.nowhere'"
    assert told("wrong")["broken"] == "its card is a dict, not a Card"
    assert "strange" not in sys.modules


@pytest.mark.usefixtures("strange")
def test_what_is_broken_is_shown_and_the_others_stand_beside_it(here: Scaffold) -> None:
    """Without importing it is seen that a module is not there; with `--check` also that it does not import."""
    ran = here("plugins")
    assert ran.status == 0
    assert "broken: there is no module 'not_there'" in ran.out
    assert "direct" in ran.out
    checked = here("plugins", "--check")
    assert "broken: the planner 'broken' of asker 1.0 cannot be loaded: ModuleNotFoundError" in checked.out
    assert "broken: the backend 'plain' of strange 2.0 cannot be loaded: RuntimeError: imported" in checked.out
    assert "direct" in checked.out


RIVAL = """
def asks_more(task, options, more):
    yield


class Silent:
    pass


class Endless:
    def generate(self, request):
        pass


NUMBERS = [1, 2]
"""
RIVAL_ENTRIES = """
[scaffold.planners]
numbers = rival:NUMBERS
asks_more = rival:asks_more
[scaffold.monitors]
asker = rival:Silent
silent = rival:Silent
[scaffold.backends]
endless = rival:Endless
numbers = rival:NUMBERS
"""


@pytest.fixture
def rival(folder: Path) -> None:
    """Another stranger brings a monitor of a name that is taken, and what has not the shape of a plug-in."""
    plugins = folder / "plugins"
    (plugins / "rival.py").write_text(RIVAL)
    (plugins / "rival-3.0.dist-info").mkdir()
    (plugins / "rival-3.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 3.0\n")
    (plugins / "rival-3.0.dist-info" / "entry_points.txt").write_text(RIVAL_ENTRIES)
    entries._entries.cache_clear()  # noqa: SLF001 - it came after the path was first looked through


@pytest.mark.usefixtures("rival")
def test_a_name_that_two_distributions_bring_is_told_and_not_used(here: Scaffold, folder: Path) -> None:
    """Which one is meant nobody can say: which comes first hangs on how a disk lists its folders."""
    said = "the monitor 'asker' is provided by asker 1.0 and rival 3.0: uninstall one"
    assert f"broken: {said}" in here("plugins").out
    (folder / "task.yaml").write_text("prompt: a\nmonitors: [asker]\n")
    ran = here("solve", "task.yaml")
    assert (ran.status, f"task.yaml:2: monitors.0: {said}" in ran.err) == (2, True)


@pytest.mark.usefixtures("rival")
@pytest.mark.parametrize(
    "said",
    [
        "  numbers          broken: 'list' is not a planner: a planner is a generator function (it contains `yield`)",
        "  asks_more        broken: 'asks_more' needs 'more': a planner is called with the task",
        "  silent           broken: the class Silent has no `review`",
        "  endless          broken: the class Endless has no `close`",
        "  numbers          broken: a list cannot make a backend: it should be a class or a function",
    ],
)
def test_what_has_not_the_shape_of_a_plugin_is_told(here: Scaffold, said: str) -> None:
    """With `--check`, as far as that can be seen without making any."""
    assert said in here("plugins", "--check").out


def test_nothing_of_ours_lacks_the_shape_of_a_plugin(here: Scaffold) -> None:
    """Each says what it is. A planner's options may be needed; they are not asked for here."""
    told = here("plugins", "--check", "--json").json
    ours = [each for family in told.values() for each in family if each["from"].startswith("system2-scaffold")]
    assert [each for each in ours if each["broken"] or not each["about"]] == []
    assert len(ours) > 50


CONNECTED = ["openai", "responses", "azure", "anthropic", "gemini", "openrouter", "ollama", "vllm", "sglang"]
CONNECTED += ["lmstudio", "llama-server"]


@pytest.mark.parametrize("name", [*CONNECTED, "smollm2", "scripted", "xlstm"])
def test_cards_say_what_profiles_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a card promises is what the backend's profile has, made with no option."""
    card = entries.card_of(name)
    assert card is not None
    for key in (*card.keys, *card.places):
        monkeypatch.setenv(key, "https://example.com" if key in card.places else "sk-x")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    profile = make_backend(f"{name}:{'m' if name in CONNECTED else card.example.partition(':')[2]}", {}).profile
    assert profile.can == card.can
    assert profile.reasoning in card.reasoning
    assert profile.trust == card.trust
    assert (profile.prices == FREE) == (card.prices == "free")


def test_every_backend_of_ours_has_a_card() -> None:
    """No built-in is listed with less, and no card is left over."""
    ours = {name for name, entry in entries.installed("backend").items() if entry.module.startswith("scaffold")}
    assert all(entries.card_of(name) is not None for name in ours)
    cards = {name for name, entry in entries._of("scaffold.cards").items() if entry.module.startswith("scaffold")}  # noqa: SLF001 - there is no other way to see one that is left over
    assert cards == ours
    assert entries.card_of("nothing") is None
    with pytest.raises(BrokenPlugin, match="no module"):
        entries.first_line(EntryPoint("x", "scaffold_backends.not_there:x", "scaffold.backends"))
