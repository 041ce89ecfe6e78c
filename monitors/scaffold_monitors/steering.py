"""Which effects would follow a passage from outside that speaks to the machine; pure, so that it can be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaffold.vocabulary.review import Evidence
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.licences import Reading, explained
from scaffold_monitors.entailment.sightings import asks_for, passage
from scaffold_monitors.entailment.wording import stands_in

if TYPE_CHECKING:
    from scaffold_monitors.entailment.calls import Leaf, Situation
    from scaffold_monitors.signs import Sign

# A shorter value stands anywhere.
_SHORTEST = 3
_LONGEST_QUOTE = 1_000


@dataclass(frozen=True, slots=True)
class Suspect:
    """A passage from outside that speaks to the machine.

    Attributes:
        source: where it came from, as provenance names it.
        path: where it stands in the result.
        quote: the passage.
        hidden: it was not to be seen.
    """

    source: str
    path: str
    quote: str
    hidden: bool


def span(text: str, path: str, sign: Sign) -> Evidence:
    """A sign as evidence, with the sentences around it, so that what they ask for can be compared."""
    around = passage(text[sign.start : sign.end], text) if sign.end and sign.kind != "hidden" else ""
    quote = around if sign.quote[:40] in around else sign.quote
    return Evidence(
        quote=f"{sign.kind}: {quote[:_LONGEST_QUOTE]}", path=f"observation/value{path}", start=sign.start, end=sign.end
    )


def steered(
    situation: Situation, reading: Reading, suspects: Sequence[Suspect]
) -> Mapping[tuple[str, str], tuple[str, Suspect]]:
    """The effects that would follow a suspect: call and argument (or "" for the act itself) to why."""
    found: dict[tuple[str, str], tuple[str, Suspect]] = {}
    for call in situation.under_review:
        if not call.tool.effect:
            continue
        for leaf in call.leaves:
            suspect = next((each for each in suspects if _follows(leaf, each, situation)), None)
            if suspect is not None:
                found[call.id, leaf.path] = (f"{leaf.path} is taken from it", suspect)
        if not explained(reading, call):
            asked = next((each for each in suspects if asks_for(call.tool, each.quote)), None)
            if asked is not None:
                found.setdefault((call.id, ""), (f"it asks for {call.tool.name}, and the request does not", asked))
    return found


def _follows(leaf: Leaf, suspect: Suspect, situation: Situation) -> bool:
    """Whether a value was taken from a suspect passage, or from a result in which something was hidden."""
    if leaf.pending or leaf.role in ("flag", "time") or isinstance(leaf.value, bool):
        return False
    if support(leaf, situation) >= Support.TRUSTED:
        return False
    if suspect.hidden and suspect.source in leaf.origin.reads:
        return True
    return len(leaf.text) >= _SHORTEST and stands_in(leaf.text, suspect.quote)
