"""Finds where a value occurs (request, trusted fact, earlier result), and so how well the request supports it."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.clauses import clauses
from scaffold_monitors.entailment.facts import stands_in_facts
from scaffold_monitors.entailment.lexicon import HOLLOW, THINGS
from scaffold_monitors.entailment.stated import LEAST_NAME, asked_for, in_request, named, own_words
from scaffold_monitors.entailment.wording import plain, stems

if TYPE_CHECKING:
    from scaffold_monitors.entailment.calls import Call, Leaf
    from scaffold_monitors.entailment.situation import Situation


class Support(IntEnum):
    """How well the request supports a value, from not at all to by its own words."""

    MADE_UP = 0  # occurs in nothing that was read
    FOUND = 1  # in a result to which the request does not point
    KIND = 2  # in a result of a kind that the request mentions
    SOURCE = 3  # in a result of a lookup made with words of the request
    NAMED = 4  # the request names its owner
    TRUSTED = 5  # in a trusted fact or result
    REQUEST = 6  # in the request itself


@lru_cache(maxsize=256)
def things_of(request: str) -> frozenset[str]:
    """Return the kinds of thing that a request mentions."""
    said = frozenset(thing for each in stems(request) for thing in THINGS.get(each, ()))
    return said | {thing for clause in clauses(request) for thing in clause.things}


def support(leaf: Leaf, situation: Situation) -> Support:
    """Return how well the request supports a value."""
    if asked_for(leaf, situation.request) or _put_together(leaf, situation):
        return Support.REQUEST
    if leaf.origin.trusted or (situation.facts and not leaf.pending and stands_in_facts(leaf.text, situation.facts)):
        return Support.TRUSTED
    reads = [situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id]
    if any(read.trusted for read in reads):
        return Support.TRUSTED
    if not reads and not leaf.origin.known:
        return Support.MADE_UP
    if named(leaf.text, situation.request):
        return Support.NAMED
    return max((source_support(read, situation) for read in reads), default=Support.FOUND)


def pointed(call: Call, request: str) -> Support:
    """Return how well the request points to a call's result, by its arguments or the kind of thing it reads."""
    for leaf in call.leaves:
        if leaf.role in ("flag", "time", "amount") or len(leaf.text) < LEAST_NAME:
            continue
        if in_request(leaf.text, request) and not (isinstance(leaf.value, str) and plain(leaf.value) in HOLLOW):
            return Support.SOURCE
        if isinstance(leaf.value, str) and own_words(leaf.value, request):
            return Support.SOURCE
    return Support.KIND if call.tool.things & things_of(request) else Support.FOUND


def source_support(read: Call, situation: Situation) -> Support:
    """Return how well the request points to a result; at most `KIND` for one fetched from an address found in data."""
    own = pointed(read, situation.request)
    followed = any(leaf.origin.reads and not asked_for(leaf, situation.request) for leaf in read.with_role("address"))
    return min(own, Support.KIND) if followed else own


def _put_together(leaf: Leaf, situation: Situation) -> bool:
    """Whether a path joins a folder that the request names with a file that the request or the same call names.

    "Copy the photos from Camera to Backup": `Backup/p1.jpg`, where the call's other path is `Camera/p1.jpg`. Addresses,
    with a scheme or a host, must not be put together.
    """
    if not isinstance(leaf.value, str) or "/" not in leaf.value:
        return False
    folder, _, name = leaf.text.rpartition("/")
    if not (folder and name) or leaf.role not in ("record", "place", "thing", "principal"):
        return False
    if {":", "@"} & set(leaf.text) or ".." in leaf.text.split("/"):
        return False
    call = situation.caller.get(id(leaf))
    beside = (
        other.text.rpartition("/")[2]
        for other in (call.leaves if call else ())
        if other is not leaf and (other.origin.reads or asked_for(other, situation.request))
    )
    return in_request(folder, situation.request) and (in_request(name, situation.request) or name in beside)
