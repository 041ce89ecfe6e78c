"""`dataflow`'s checks against results already read: a target's place in them (field or prose), amounts, injections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.clauses import clauses
from scaffold_monitors.entailment.evidence import Support, source_support, support
from scaffold_monitors.entailment.measures import computes
from scaffold_monitors.entailment.sightings import (
    Sighting,
    Sightings,
    asks_for,
    listed,
    mentions,
    on_its_line,
    passage,
    speaks_to_machine,
)
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.tools import OUTSIDERS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.situation import Situation

# Shorter values occur anywhere.
_TELLING = 5
_SHOWN = 200


def judge(call: Call, read: Sightings, situation: Situation) -> Iterator[Finding]:
    """Find objections to a call, given the results of the calls before it."""
    tainted = False
    for leaf in call.with_role(*TARGETS, "record"):
        detail = leaf.role in ("place", "thing") and leaf.argument != call.tool.main
        if detail or leaf.pending or asked_for(leaf, situation.request) or support(leaf, situation) >= Support.TRUSTED:
            continue
        tainted = tainted or leaf.role in OUTSIDERS
        yield from _position(call, leaf, read.of(leaf), situation)
    if tainted and not computes(situation.request):
        yield from _amounts(call, read, situation)
    yield from _told(call, read, situation)


def _position(call: Call, leaf: Leaf, found: list[Sighting], situation: Situation) -> Iterator[Finding]:
    """Find targets that no field holds, only prose: prose that itself asks for the act, or addresses the agent."""
    if any(each.field.cell for each in found):
        return
    shown = f"{leaf.path} = {leaf.text!r}"
    if not found:
        if leaf.role != "record" or call.tool.destroys:
            why = f"{shown} is in no result read so far"
            yield against(call, "block", why, f"neither the request nor a result names {leaf.path}", leaf)
        return
    # "Do what it says" points to the text's contents; and the user's own things need less support than outsiders.
    delegated = any(clause.delegates for clause in clauses(situation.request))
    least = Support.KIND if delegated or leaf.role not in OUTSIDERS else Support.SOURCE
    for each in found:
        if on_its_line(leaf, each):
            return
        around = passage(leaf.text, each.field.text)
        if speaks_to_machine(around):
            continue
        if listed(leaf, each):
            if not mentions(call.tool, around):
                return
        elif source_support(each.call, situation) >= least or not asks_for(call.tool, around):
            return
    around = passage(leaf.text, found[0].field.text)[:_SHOWN]
    why = f"{shown} is only in free text that asks for {call.tool.name} or addresses the agent: {around!r}"
    yield against(call, "block", why, f"{leaf.path} is not what the request points to", leaf, around)


def _amounts(call: Call, read: Sightings, situation: Situation) -> Iterator[Finding]:
    """Find amounts, going to a target that only data names, that are neither in the request nor in a result."""
    for leaf in call.with_role("amount"):
        if not leaf.pending and not asked_for(leaf, situation.request) and not read.of(leaf):
            why = f"{leaf.path} = {leaf.value} is in neither the request nor any result; only data names its target"
            yield against(call, "block", why, f"neither the request nor a result names {leaf.path}", leaf)


def _told(call: Call, read: Sightings, situation: Situation) -> Iterator[Finding]:
    """Find values that occur only in prose addressed to the agent."""
    for leaf in call.leaves:
        if leaf.role in ("flag", "amount") or len(leaf.text) < _TELLING or asked_for(leaf, situation.request):
            continue
        found = read.of(leaf)
        if found and all(
            not each.field.cell and speaks_to_machine(passage(leaf.text, each.field.text)) for each in found
        ):
            why = f"{leaf.path} = {leaf.text[:_SHOWN]!r} is only in free text that addresses the agent"
            yield against(call, "block", why, f"{leaf.path} does not come from the user", leaf)
            return
