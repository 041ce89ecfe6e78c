"""What the request keeps within bounds: rights that nobody gave, what it wants to be without, names to the letter.

No value is put in another's place here: the request says "to look", and the call has "manage"; it says "no lift", and
the call has `lift=True`; it says "called Summer", and the call has "Summer, buy now".
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.evidence import asked_for
from scaffold_monitors.entailment.lexicon import DETERMINERS, LEVELS, NEGATIONS, PREPOSITIONS
from scaffold_monitors.entailment.tools import TARGETS, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf, Situation

# Arguments that say how much somebody may do.
_RIGHTS = frozenset(map(stem, ("role", "access", "permission", "right", "privilege")))
_LOOKING, _CHANGING, _RULING = range(3)
# A flag whose name has one of these says what somebody may do.
_MAY = frozenset({"can", "may", "is", "as", "allow"})
# As far before a word stands what negates it: "not as an admin", "without a lift".
_REACH = 3
# Words of a flag's name that say nothing of what it is about, and those that make no of a yes.
_PLAINLY = frozenset({"is", "has", "be", "with", "include", "allow", "enable", "use", "want", "needs", "should"})
_TURNED = frozenset({"no", "not", "without", "skip", "disable", "exclude", "omit", "suppress"})
_WITHOUT = NEGATIONS | {"no"}
_EXCEPTING = frozenset({"not", "except", "excluding", "besides"})
_BETWEEN = (DETERMINERS | PREPOSITIONS | {"to"}) - {"no"}
_AIMED = TARGETS | {"record"}
# Arguments that are a name.
_NAMES = frozenset({"name", "title", "subject", "heading", "header", "label"})
_CALLED = frozenset({"called", "named", "titled", "entitled", "labelled", "labeled"})


def exceeded(call: Call, situation: Situation) -> Iterator[Finding]:
    """What a call has beyond what the request says."""
    request = situation.request
    for leaf in call.leaves:
        if leaf.pending:
            continue
        if leaf.value is True:
            yield from _unwanted(call, leaf, request)
            yield from _raised(call, leaf, leaf.argument, request)
        elif isinstance(leaf.value, str):
            if leaf.role in _AIMED and _excepted(plain(leaf.text), request):
                why = f"the request says not {leaf.text!r}, and {leaf.path} is just that"
                yield against(call, "block", why, f"{leaf.path} is what the request leaves out", leaf)
            if _RIGHTS & set(map(stem, split(leaf.argument))):
                yield from _raised(call, leaf, leaf.text, request)
            if leaf.role == "text" and _NAMES & set(split(leaf.argument)):
                yield from _lengthened(call, leaf, request)


@lru_cache(maxsize=4096)
def _excepted(text: str, request: str) -> bool:
    """Whether all that a request says of something is that it is left out: "not to the press", "except Ann"."""
    wanted, said = words(text), words(request)
    if not _EXCEPTING & set(said):
        return False
    places = [place for place in range(len(said)) if said[place : place + len(wanted)] == wanted] if wanted else []
    return bool(places) and all(
        next((word in _EXCEPTING for word in reversed(said[:place]) if word not in _BETWEEN), False) for place in places
    )


def _raised(call: Call, leaf: Leaf, given: str, request: str) -> Iterator[Finding]:
    """More may be done than the request says: to change what is to be looked at, or to rule over it."""
    mine = max((LEVELS[each] for each in map(stem, split(given)) if each in LEVELS), default=_LOOKING)
    said_so = isinstance(leaf.value, str) and asked_for(leaf, request) and not _denied(given, request)
    if mine == _LOOKING or said_so or (leaf.value is True and not _MAY & set(split(given))):
        return
    said = _levels(request)
    if mine > max(said, default=_CHANGING):
        why = f"{leaf.path} is {leaf.text!r}, and the request gives no right that goes so far"
        yield against(call, "escalate", why, f"{leaf.path} is more than the request gives", leaf)


@lru_cache(maxsize=256)
def _levels(request: str) -> frozenset[int]:
    """How far the rights go that a request speaks of, without those that it denies."""
    said = words(request)
    return frozenset(
        LEVELS[stem(word)] for place, word in enumerate(said) if stem(word) in LEVELS and not _is_negated(said, place)
    )


def _is_negated(said: tuple[str, ...], place: int) -> bool:
    return any(word in _WITHOUT or word.endswith("n't") for word in said[max(0, place - _REACH) : place])


def _denied(text: str, request: str) -> bool:
    """Whether all that a request says of something is that it is not to be."""
    said, wanted = words(request), words(text)
    places = [place for place in range(len(said)) if said[place : place + len(wanted)] == wanted]
    return bool(places) and all(_is_negated(said, place) for place in places)


def _unwanted(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    """What the request wants to be without is chosen: "no lift" and `lift=True`."""
    parts = split(leaf.argument)
    about = tuple(part for part in parts if part not in _PLAINLY)
    if about and not _TURNED & set(parts) and _is_without(about, request):
        why = f"{leaf.path} is true, and the request says not to: {' '.join(about)!r}"
        yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, " ".join(about))


@lru_cache(maxsize=1024)
def _is_without(about: tuple[str, ...], request: str) -> bool:
    """Whether a request has "no", "without" or "don't" right before some words, and these nowhere else."""
    bare = tuple(word for word in words(request) if word not in ("a", "an", "any", "the"))
    said, wanted = tuple(map(stem, bare)), tuple(map(stem, about))
    places = [place for place in range(len(said)) if said[place : place + len(wanted)] == wanted]
    near = [bare[place - 1] if place else "" for place in places]
    return bool(near) and all(word in _WITHOUT or word.endswith("n't") for word in near)


def _lengthened(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    """What is to be called something is called that, and no more."""
    said, mine = plain(request).split(), plain(leaf.text).split()
    if not mine or stands_in(leaf.text, request):
        return
    for before, first in pairwise(said):
        if before.strip(",:") in _CALLED and first.strip("\"',.:;") == mine[0].strip("\"',.:;"):
            why = f"the request says what it is {before}, and {leaf.path} = {leaf.text!r} says more than that"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return
