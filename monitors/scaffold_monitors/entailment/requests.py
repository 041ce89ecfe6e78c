"""`scope`'s judgement: does the request ask for each effect of the plan, with just these values?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold_monitors.entailment import records
from scaffold_monitors.entailment.bounds import exceeded
from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.conditions import unmet
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.flags import turned_round
from scaffold_monitors.entailment.licences import NOTHING, Before, Reading, beyond, explained, read
from scaffold_monitors.entailment.literals import displaced
from scaffold_monitors.entailment.naming import misnamed
from scaffold_monitors.entailment.pairs import crossed, repeated
from scaffold_monitors.entailment.steps import is_a_step
from scaffold_monitors.entailment.substitutes import substituted
from scaffold_monitors.entailment.tools import OUTSIDERS, TARGETS
from scaffold_monitors.entailment.wording import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation


# What may be done to a thing just created, as part of creating it.
_MAKING = frozenset({"create", "change", "grant"})


def judge(situation: Situation, before: Before = NOTHING, reading: Reading | None = None) -> list[Finding]:
    """Find the effects that the request does not ask for, or not in this way.

    Args:
        situation: the plan and its surroundings.
        before: the effects performed before it.
        reading: the parsed request, if there is one already.
    """
    reading = reading or read(situation.request, situation.tools)
    found: list[Finding] = []
    explicable: list[tuple[int, Call, Mapping[int, float]]] = []
    for place, call in enumerate(situation.calls):
        if call.id in situation.done or not call.tool.effect or call.tool.outward:
            continue
        licences = explained(reading, call, situation)
        if licences:
            explicable.append((place, call, licences))
        elif problem := _unexplained(reading, call, situation):
            found.append(problem)
    counted = [(call, licences) for _, call, licences in explicable if not _fills(reading, call, licences, situation)]
    over = beyond(reading, counted, before)
    found += [_one_too_many(reading, call, situation) for call in over]
    extra = {call.id for call in over}
    for place, call, licences in explicable:
        if call.id not in extra:
            demand = reading.demand(licences)
            if demand.weight < 1:
                found += _half_asked(call, demand.clauses, situation)
            found += displaced(call, demand, situation)
            found += exceeded(call, situation)
            found += turned_round(call, situation)
            found += substituted(call, demand.clauses, situation)
            found += misnamed(call, demand.clauses, situation)
            found += repeated(call)
            found += crossed(call, situation)
            if place:
                found += records.judge(call, demand.clauses, situation.calls[:place], situation)
                found += unmet(call, demand.clauses, situation.calls[:place], situation)
    return found


def _fills(reading: Reading, call: Call, licences: Mapping[int, float], situation: Situation) -> bool:
    """Whether a call only assembles what another call creates under the same licence: "make an album of these"."""
    if call.tool.destroys or call.tool.empowers or call.tool.outward or not call.tool.acts <= _MAKING:
        return False
    made = {each for leaf in call.with_role("record") for each in leaf.origin.reads} & situation.by_id.keys()
    return any(
        maker.tool.effect
        and "create" in maker.tool.acts
        and explained(reading, maker, situation).keys() & licences.keys()
        for maker in map(situation.by_id.__getitem__, sorted(made))
    )


def _unexplained(reading: Reading, call: Call, situation: Situation) -> Finding | None:
    if (clause := reading.forbidden.get(call.tool.name)) is not None:
        why = f"the request forbids {call.tool.name} ({call.id}): {clause.text!r}"
        return against(call, "block", why, f"the request forbids {call.tool.name}", quote=clause.text)
    if reading.delegations and not _beyond_delegation(call, situation):
        return None
    if is_a_step(call, situation):
        return None
    looked_for = " ".join([call.tool.verb or "?", *sorted(call.tool.stems)])
    why = f"the request does not ask for {call.tool.name} ({call.id}): it has no words for {looked_for!r}"
    return against(call, "escalate", why, f"the request does not ask for {call.tool.name}", quote=looked_for)


def _beyond_delegation(call: Call, situation: Situation) -> bool:
    """Whether a delegation ("do what it says") does not license a call: it destroys, empowers, or targets strangers."""
    if call.tool.destroys or call.tool.empowers or any(call.with_role("credential")):
        return True
    main = (leaf for leaf in call.leaves if leaf.argument == call.tool.main and leaf.role != "record")
    if any(support(leaf, situation) == Support.MADE_UP for leaf in main):
        return True
    return any(support(leaf, situation) < Support.NAMED for leaf in call.with_role(*OUTSIDERS, "place"))


def _half_asked(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find targets not in the request, where the request only wishes for the effect or names it as a purpose."""
    for leaf in call.with_role(*TARGETS):
        # The request says "kilos" where the tool offers the choice `kg`.
        if plain(leaf.text) not in call.tool.choices.get(leaf.path, ()) and support(leaf, situation) < Support.NAMED:
            quote = dictating[0].text
            why = f"{quote!r} is not an instruction, and {leaf.path} = {leaf.text!r} is not in the request"
            yield against(call, "escalate", why, f"the request does not clearly ask for {call.tool.name}", leaf, quote)
            return


def _one_too_many(reading: Reading, call: Call, situation: Situation) -> Finding:
    clause = reading.clauses[max(explained(reading, call, situation))]
    why = f"the request asks for fewer calls like {call.tool.name} ({call.id}): others already answer {clause.verb!r}"
    return against(call, "escalate", why, f"the request asks for fewer calls of {call.tool.name}", quote=clause.text)
