"""Checks boolean arguments against the request: `lift=True` contradicts "no lift", `private=False` "a private room"."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.clauses import clauses
from scaffold_monitors.entailment.lexicon import ACTS, OPPOSITES, PREPOSITIONS
from scaffold_monitors.entailment.negation import denies
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import stem, stems, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.situation import Situation

# Within how many words a flag's name is searched, and how many words before it can leave it open.
_SPAN = 6
_BEFORE = 5
# Words of a flag's name that carry no meaning, and those that invert it.
_PLAINLY = frozenset({"is", "has", "be", "with", "include", "allow", "enable", "use", "want", "needs", "should"})
_TURNED = frozenset({"no", "not", "without", "skip", "disable", "exclude", "omit", "suppress"})
# Words of flags that are about the call itself: they confirm it, or make it harmless.
_OF_THE_CALL = frozenset(
    map(stem, ("confirm", "acknowledge", "dry", "preview", "simulate", "verbose", "debug", "quiet"))
)
# Verbs that only say that something changes.
_ANY_CHANGE = frozenset({"create", "change"})
_LEAST_PART = 4
_CONDITIONAL = frozenset({"if", "whether", "unless", "when", "case", "or"})


def turned_round(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find flags of a call that contradict the request."""
    for leaf in call.leaves:
        if isinstance(leaf.value, bool):
            yield from _turned_round(call, leaf, situation.request)
            yield from _unasked(call, leaf, situation.request)


def _unasked(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    """Find optional flags that differ from their default though the request does not speak of them."""
    default = call.tool.options.get(leaf.path, leaf.value)
    if default is None and "change" not in call.tool.acts:
        default = False  # what is left out of a change stays as it is, else a flag is off
    if default is leaf.value or leaf.origin.trusted:
        return
    about = {stem(part) for part in split(leaf.path)} - _PLAINLY
    if about and not about & _OF_THE_CALL and not any(_is_spoken_of(each, request) for each in about):
        why = f"the request does not mention {leaf.path} = {str(leaf.value).lower()}, and the argument is optional"
        yield against(call, "revise", why, f"leave out {leaf.path}: the request does not mention it", leaf)


@lru_cache(maxsize=1024)
def _is_spoken_of(name: str, request: str) -> bool:
    """Tell whether a request has a word of a flag's name, a part of it ("stock" of `restock`), or such an act."""
    said = stems(request)
    acts = frozenset(act for clause in clauses(request) for act in clause.acts) - _ANY_CHANGE
    return (
        name in said
        or any(len(each) >= _LEAST_PART and each in name for each in said)
        or bool(ACTS.get(name, frozenset()) & acts)
    )


def _turned_round(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    parts = split(leaf.argument)
    about = tuple(part for part in parts if part not in _PLAINLY | _TURNED | PREPOSITIONS)
    if not about or stem(about[0]) == call.tool.verb:
        return
    chosen = leaf.value is not bool(_TURNED & set(parts))
    opposite = OPPOSITES.get(about[0], "") if len(about) == 1 else ""
    wanted = False if _is_ruled_out(about, request) else _wanted(about, request)
    if wanted is None and opposite and (other := _wanted((opposite,), request)) is not None:
        wanted = not other
    if wanted is not None and wanted is not chosen:
        why = f"{leaf.path} is {str(leaf.value).lower()}, but the request says otherwise about {' '.join(about)!r}"
        yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, " ".join(about))


@lru_cache(maxsize=1024)
def _is_ruled_out(about: tuple[str, ...], request: str) -> bool:
    """Whether a request forbids, in other words, what a flag's name says: "don't mail the customers"."""
    acts, nouns = ACTS.get(stem(about[0]), frozenset()), set(map(stem, about[1:]))
    return bool(nouns) and any(
        clause.weight < 0 and clause.acts & acts and nouns <= clause.stems for clause in clauses(request)
    )


@lru_cache(maxsize=1024)
def _wanted(about: tuple[str, ...], request: str) -> bool | None:
    """Whether a request wants what some words name; False if "no" or "without" always precedes them.

    None if it does not mention them, or is not clear.
    """
    bare = tuple(word for word in words(request) if word not in ("a", "an", "any", "the"))
    said, wanted = tuple(map(stem, bare)), tuple(map(stem, about))
    places = [place for place in range(len(said)) if _runs_loosely(wanted, said[place : place + _SPAN])]
    denied = [(bool(place) and denies(bare[place - 1])) or _is_off(wanted, said[place:]) for place in places]
    if all(denied):
        return False if denied else None
    # "Don't make it public" and "ask whether it is public" are not clear enough.
    open_ = any(
        denies(word) or word in _CONDITIONAL for place in places for word in bare[max(0, place - _BEFORE) : place]
    )
    return None if open_ else True


def _is_off(wanted: tuple[str, ...], said: tuple[str, ...]) -> bool:
    """Whether "off" follows some words: "with renewal off"."""
    return said[: len(wanted)] == wanted and said[len(wanted) : len(wanted) + 1] in (("off",), ("disabl",))


def _runs_loosely(wanted: tuple[str, ...], said: tuple[str, ...]) -> bool:
    """Whether some words occur in order, perhaps with others between: "charge the late fee"."""
    rest = iter(said)
    return said[:1] == wanted[:1] and all(word in rest for word in wanted)
