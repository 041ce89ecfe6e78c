"""Checks that a call does not exceed the request: rights it does not grant, targets it excludes, names made longer.

Examples: the request says "to look", and the call has "manage"; it says "not to the press", and the call goes there; it
says "called Summer", and the call has "Summer, buy now".
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.lexicon import LEVELS
from scaffold_monitors.entailment.negation import is_denied, is_left_out, is_negated
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.tools import TARGETS, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.situation import Situation

# Arguments that say how much somebody may do.
_RIGHTS = frozenset(map(stem, ("role", "access", "permission", "right", "privilege")))
_LOOKING, _CHANGING, _RULING = range(3)
# A flag whose name has one of these says what somebody may do.
_MAY = frozenset({"can", "may", "is", "as", "allow"})
_AIMED = TARGETS | {"record"}
# Arguments that hold a name.
_NAMES = frozenset({"name", "title", "subject", "heading", "header", "label"})
_CALLED = frozenset({"called", "named", "titled", "entitled", "labelled", "labeled"})


def exceeded(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find where a call exceeds what the request says."""
    request = situation.request
    for leaf in call.leaves:
        if leaf.pending:
            continue
        if leaf.value is True:
            yield from _raised(call, leaf, leaf.argument, request)
        elif isinstance(leaf.value, str):
            if leaf.role in _AIMED and is_left_out(plain(leaf.text), request):
                why = f"{leaf.path} = {leaf.text!r}, which the request excludes"
                yield against(call, "block", why, f"the request excludes {leaf.path}", leaf)
            if _RIGHTS & set(map(stem, split(leaf.argument))):
                yield from _raised(call, leaf, leaf.text, request)
            if leaf.role == "text" and _NAMES & set(split(leaf.argument)):
                yield from _lengthened(call, leaf, request)


def _raised(call: Call, leaf: Leaf, given: str, request: str) -> Iterator[Finding]:
    """Find a right higher than the request grants: to change rather than to look, or to administer."""
    mine = max((LEVELS[each] for each in map(stem, split(given)) if each in LEVELS), default=_LOOKING)
    said_so = isinstance(leaf.value, str) and asked_for(leaf, request) and not is_denied(given, words(request))
    if mine == _LOOKING or said_so or (leaf.value is True and not _MAY & set(split(given))):
        return
    said = _levels(request)
    if mine > max(said, default=_CHANGING):
        why = f"{leaf.path} = {leaf.text!r} gives more rights than the request asks for"
        yield against(call, "escalate", why, f"{leaf.path} gives more rights than the request asks for", leaf)


@lru_cache(maxsize=256)
def _levels(request: str) -> frozenset[int]:
    """Return the levels of the rights that a request mentions, without those it denies."""
    said = words(request)
    return frozenset(
        LEVELS[stem(word)] for place, word in enumerate(said) if stem(word) in LEVELS and not is_negated(said, place)
    )


def _lengthened(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    """Find a name that begins as the request dictates ("called Summer") and goes on."""
    said, mine = plain(request).split(), plain(leaf.text).split()
    if not mine or stands_in(leaf.text, request):
        return
    for before, first in pairwise(said):
        if before.strip(",:") in _CALLED and first.strip("\"',.:;") == mine[0].strip("\"',.:;"):
            why = f"{leaf.path} = {leaf.text!r} is longer than what the request says after {before!r}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return
