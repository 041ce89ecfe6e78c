"""Checks that a text dictated by the request, in quotes or after a colon, is used unchanged."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.quantities import numbers
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.tools import live, split
from scaffold_monitors.entailment.wording import runs_in, stands_in, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation

_SAYING = frozenset({"saying", "says", "say", "reading", "reads", "text", "message", "body", "words"})
# "... that says: See you at ten." dictates a text without quotes.
_UNQUOTED = re.compile(r"\b(?:says|saying|reads|reading): *([^\"'\n{}]+)$")
# This many extra words may be a greeting.
_COURTESY = 15
# Share of a literal's words that must be used; a template gets filled in, a text gets embedded in a sentence.
MOSTLY = 0.7
# A shorter quote is a name rather than a text.
_SHORTEST_TEXT = 3


def misquoted(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find calls that do not use the text that the request dictates."""
    if len(dictating) != 1:
        return
    yield from _added(call, dictating[0], situation)
    for said in (*_UNQUOTED.findall(dictating[0].text), *_labelled_texts(call, dictating[0].text)):
        if len(words(said)) >= _SHORTEST_TEXT and not any(_contains(leaf, said) for leaf in call.leaves):
            why = f"the request dictates {said!r}, but no argument of the call contains it"
            yield against(call, "revise", why, "use the words that the request dictates", quote=said)
    if any(asked_for(leaf, situation.request) for leaf in call.with_role("text")):
        return
    for literal in dictating[0].literals:
        wanted = words(literal.norm)
        if literal.kind != "quote" or "{" in literal.norm or len(wanted) < _SHORTEST_TEXT:
            continue
        if any(_contains(leaf, literal.norm) for leaf in call.leaves):
            continue
        # The text may be meant for another tool, unless another call of this same tool uses it.
        if literal.norm not in situation.values or _is_for(call, literal.norm, situation):
            why = f"the request dictates {literal.norm!r}, but no argument of the call contains it"
            yield against(call, "revise", why, "use the words that the request dictates", quote=literal.norm)


def _added(call: Call, clause: Clause, situation: Situation) -> Iterator[Finding]:
    """Find additions to a dictated text beyond a greeting, or with an address of their own."""
    for literal in clause.literals:
        before = words(clause.text[: literal.start - clause.start])[-1:]
        if literal.kind != "quote":
            continue
        wanted = words(literal.norm)
        for leaf in call.with_role("text"):
            strange = [each for each in live(leaf.text) if not stands_in(each, situation.request)]
            if strange and runs_in(wanted, words(leaf.text)):
                why = f"the request dictates {literal.text!r}, but {leaf.path} also contains {strange[0]!r}"
                yield against(call, "revise", why, "use only the words that the request dictates", leaf)
                return
        if not before or before[0] not in _SAYING:
            continue
        for leaf in call.with_role("text"):
            if len(words(leaf.text)) > len(wanted) + _COURTESY and runs_in(wanted, words(leaf.text)):
                why = f"the request dictates {literal.text!r}, but {leaf.path} says much more"
                yield against(call, "revise", why, "use only the words that the request dictates", leaf)


def _is_for(call: Call, wanted: str, situation: Situation) -> bool:
    """Whether another call of the same tool uses a text."""
    alike = (each for each in situation.calls if each.tool is call.tool and each.id != call.id)
    return any(_contains(leaf, wanted) for each in alike for leaf in each.leaves)


def _labelled_texts(call: Call, text: str) -> Iterator[str]:
    """Return what follows the name of a text argument and a colon: "with the question: Do you agree"."""
    for leaf in call.with_role("text"):
        for name in split(leaf.path.rpartition(".")[2]):
            yield from re.findall(rf"\b{re.escape(name)}: *([^\"'\n{{}}]+)$", text, re.IGNORECASE)


def _contains(leaf: Leaf, wanted: str) -> bool:
    """Tell whether a value contains most of the wanted words and all of their numbers."""
    said, asked = Counter(words(leaf.text)), Counter(words(wanted))
    shared = sum(min(count, said[word]) for word, count in asked.items())
    return shared >= MOSTLY * asked.total() and numbers(wanted) <= numbers(leaf.text)
