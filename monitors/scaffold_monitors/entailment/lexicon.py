"""The word lists of `words.toml` as lookup tables: acts, things, and function words."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from scaffold_monitors.entailment.wording import stem

_FILE: dict[str, Any] = tomllib.loads(files(__package__).joinpath("words.toml").read_text(encoding="utf-8"))
_GRAMMAR = {name: frozenset(words.split()) for name, words in _FILE["grammar"].items()}


def _by_stem(groups: dict[str, str]) -> dict[str, frozenset[str]]:
    """Map each stem to the groups that contain it."""
    found: dict[str, frozenset[str]] = {}
    for group, words in groups.items():
        for word in words.split():
            found[stem(word)] = found.get(stem(word), frozenset()) | {group}
    return found


def _stems(name: str) -> frozenset[str]:
    return frozenset(map(stem, _GRAMMAR[name]))


ACTS = _by_stem(_FILE["acts"])
THINGS = _by_stem(_FILE["things"])
IMPLIED = _by_stem(_FILE["implied"])
NOMINALS = _by_stem(_FILE["nominal"])
ROLES = {role: frozenset(map(stem, words.split())) for role, words in _FILE["roles"].items()}
IRREGULAR: dict[str, str] = _FILE["irregular"]
# Base forms: only these can be imperatives.
BASES = frozenset(verb for verbs in _FILE["acts"].values() for verb in verbs.split())

LIGHT = _GRAMMAR["light"]
LIGHT_STEMS = _stems("light")
DETERMINERS = _GRAMMAR["determiners"]
PREPOSITIONS = _GRAMMAR["prepositions"]
MODALS = _GRAMMAR["modals"]
EVERY = _GRAMMAR["every"]
NEGATIONS = _GRAMMAR["negations"]
NOUN_OR_VERB = _GRAMMAR["noun-or-verb"]
SKIPPED = _GRAMMAR["skipped"]
SUBJECTS = _GRAMMAR["subjects"]
OBJECT_PRONOUNS = _GRAMMAR["object-pronouns"]
OBLIGING = _GRAMMAR["obliging"]
INTENDING = _GRAMMAR["intending"]
INSTRUCTING = _GRAMMAR["instructing"]
COPULAS = _GRAMMAR["copulas"]
ASIDE = _GRAMMAR["aside"]
MEASURES = _GRAMMAR["measures"]
HOLLOW = _GRAMMAR["hollow"]
RELATIVE_DAYS = _GRAMMAR["relative-days"]
COMPARING = _GRAMMAR["comparing"]
COMPUTING = _GRAMMAR["computing"]
ANSWERING = _stems("answering")
DELEGATING = _stems("delegating")
ORDERS = _stems("orders")
WISHING = _GRAMMAR["wishing"]
TITLES = _GRAMMAR["titles"]
# Stem of a verb, and particle, to the verb that they mean together.
IDIOMS: dict[tuple[str, str], str] = {
    (stem(phrase.partition("+")[0]), phrase.partition("+")[2]): stem(meant)
    for meant, phrases in _FILE["idioms"].items()
    for phrase in phrases.split()
}
# Variant spelling to the usual one.
SPELLINGS = {typed: spelled for spelled, each in _FILE["spellings"].items() for typed in each.split()}
# A flag's name to the name of its opposite.
OPPOSITES: dict[str, str] = {
    one: other
    for pair in _FILE["grammar"]["opposites"].split()
    for one, other in (pair.split(":"), pair.split(":")[::-1])
}
# A word for a right to its level: to look, to change, to administer.
LEVELS = {stem(word): level for level, words in enumerate(_FILE["rights"].values()) for word in words.split()}
MACHINE: tuple[str, ...] = tuple(_FILE["machine"]["phrases"])
_MEASURED = ("price", "size", "rating", "day", "distance")
COLUMNS = {name: frozenset(_FILE["superlatives"][name].split()) for name in _MEASURED}
# Superlative to the group of columns that it compares, and whether the highest value is meant.
SUPERLATIVES: dict[str, tuple[str, bool]] = {
    word: (column, end == "most")
    for end in ("least", "most")
    for word, _, column in (entry.partition(":") for entry in _FILE["superlatives"][end].split())
}
