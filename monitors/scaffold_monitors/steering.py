"""Finds effects that would follow a suspected prompt injection. Pure functions, so that they can be benchmarked."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaffold.vocabulary.review import Evidence
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.licences import Reading, explained
from scaffold_monitors.entailment.sightings import asks_for
from scaffold_monitors.entailment.tools import live
from scaffold_monitors.entailment.wording import skeleton, stands_in, words

if TYPE_CHECKING:
    from scaffold_monitors.entailment.calls import Leaf
    from scaffold_monitors.entailment.situation import Situation

# Shorter values occur anywhere.
_SHORTEST = 3
# A message and a passage can share fewer words by chance.
_FEWEST_WORDS = 3
_LONGEST = 2_000
_SENTENCE = re.compile(r"(?<=[.!?>])\s+|\n{2,}")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A passage from outside that seems to address the agent.

    Attributes:
        source: its source, as in provenance.
        quote: the passage as written; empty if the whole source is suspect.
        readable: the passage with its encoded or invisible content.
        hidden: whether part of it was hidden.
    """

    source: str
    quote: str
    readable: str
    hidden: bool

    @property
    def whole(self) -> bool:
        """Whether the whole source is suspect, since it has more suspect passages than were kept."""
        return not self.quote


def suspect(source: str, quote: str) -> Suspect:
    """Make a suspect of a flagged passage."""
    from scaffold_monitors.signs import signs  # its patterns take a while to compile
    from scaffold_monitors.wrappings import forms

    hidden = [sign.quote for sign in signs(quote) if sign.kind == "hidden"]
    readable = "\n".join([*(form for _, form in forms(quote)), *hidden])
    return Suspect(source, quote, readable, bool(hidden))


def span(text: str, path: str, start: int, end: int) -> Evidence:
    """Make evidence of a passage with the sentences around it, so that what they ask for can be compared.

    If `end` is 0, the passage was encoded and has no place: then the beginning of the text is quoted.
    """
    if end:
        least, most = max(0, start - _LONGEST // 2), min(len(text), start + _LONGEST)  # no further, however long it is
        bounds = [least, *(match.end() for match in _SENTENCE.finditer(text, least, most)), most]
        first, last = bisect_right(bounds, start) - 2, bisect_left(bounds, end) + 1
        start = bounds[max(0, first)]
        end = min(bounds[min(len(bounds) - 1, last)], start + _LONGEST)
    else:
        start, end = 0, min(len(text), _LONGEST)
    return Evidence(quote=text[start:end], path=path, start=start, end=end)


def steered(
    situation: Situation, reading: Reading, suspects: Sequence[Suspect]
) -> Mapping[tuple[str, str], tuple[str, Suspect]]:
    """Find effects that would follow a suspect: by call and argument ("" for the act itself), why, and the suspect."""
    found: dict[tuple[str, str], tuple[str, Suspect]] = {}
    for call in situation.under_review:
        if not call.tool.effect:
            continue
        for leaf in call.leaves:
            followed = next((each for each in suspects if _follows(leaf, each, situation)), None)
            if followed is not None:
                found[call.id, leaf.path] = (f"{leaf.path} comes from it", followed)
        if not explained(reading, call):
            asked = next((each for each in suspects if each.whole or asks_for(call.tool, each.readable)), None)
            if asked is not None:
                found.setdefault((call.id, ""), (f"it asks for {call.tool.name}, and the request does not", asked))
    return found


def _follows(leaf: Leaf, suspected: Suspect, situation: Situation) -> bool:
    """Whether a value comes from a suspect passage, or from a result with hidden text."""
    if leaf.pending or leaf.role in ("flag", "time") or isinstance(leaf.value, bool):
        return False
    if support(leaf, situation) >= Support.TRUSTED:
        return False
    if suspected.hidden and suspected.source in leaf.origin.reads:
        return True
    if leaf.role == "text" and len(words(leaf.text)) < _FEWEST_WORDS:
        return any(stands_in(each, suspected.readable) for each in live(leaf.text))
    if len(leaf.text) < _SHORTEST:
        return False
    looks_like = not leaf.text.isascii() and skeleton(leaf.text) in skeleton(suspected.readable)
    carried = live(leaf.text) if leaf.role == "text" else ()
    return looks_like or any(stands_in(each, suspected.readable) for each in (leaf.text, *carried))
