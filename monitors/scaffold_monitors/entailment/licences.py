"""Matches the clauses of a request with calls: which clause licenses which call, and how many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from scaffold_monitors.entailment import quantities
from scaffold_monitors.entailment.clauses import MANY, Clause, clauses
from scaffold_monitors.entailment.lexicon import ACTS, HOLLOW, NOMINALS, ROLES, THINGS
from scaffold_monitors.entailment.stated import asked_for, in_request, own_words
from scaffold_monitors.entailment.tables import beside
from scaffold_monitors.entailment.tools import is_final
from scaffold_monitors.entailment.wording import plain, stem, stems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from scaffold_monitors.entailment.calls import Call, Leaf
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.entailment.tools import Tool

# Scores of fit: the same word, the same kind of act or thing. A licence needs points for both act and thing.
_SAME_WORD, _SAME_KIND, _OTHER_WORD = 3.0, 2.0, 1.0
_NAMED_THING, _KIND_OF_THING, _ANYTHING = 2.0, 1.5, 1.0
_BY_VALUE = 1.0
# From this score on, a tool is what a clause asks for.
_FITS = _SAME_WORD + _NAMED_THING
# A clause does not license a tool whose score is lower than the best one's by more than this.
_MARGIN = 0.9
_READING = frozenset({"fetch"})
_ANY_TIME = ROLES["time"]
_WRITING = frozenset(map(stem, ("write", "rewrite", "draft", "compose")))


@dataclass(frozen=True, slots=True)
class Demand:
    """What the clauses that license a call ask of it together.

    Attributes:
        clauses: the clauses.
        weight: the greatest of their weights.
        literal: whether any of them has literals.
        many: whether any of them asks for any number of effects.
    """

    clauses: tuple[Clause, ...]
    weight: float
    literal: bool
    many: bool


@dataclass(frozen=True)
class Reading:
    """A parsed request, with how well its clauses fit the tools.

    Attributes:
        request: its text.
        clauses: its clauses.
        delegations: the clauses that delegate to some other text ("do what it says").
        fits: for each tool, the clauses that license it, with their scores.
        best: for each clause, the score of the best-fitting tool.
        forbidden: for each forbidden tool, the clause that forbids it.
        asking: how many clauses have a positive weight.
        acted: for each clause that fits no tool, the best score of its verb alone.
        spared: the tools that cannot be undone and to which there is a milder alternative that can.
    """

    request: str
    clauses: tuple[Clause, ...]
    delegations: tuple[Clause, ...]
    fits: Mapping[str, Mapping[int, float]]
    best: Mapping[int, float]
    forbidden: Mapping[str, Clause] = field(default_factory=dict)
    acted: Mapping[int, float] = field(default_factory=dict)
    asking: int = -1
    spared: frozenset[str] = frozenset()
    _demands: dict[tuple[int, ...], Demand] = field(default_factory=dict)

    def demand(self, licences: Mapping[int, float]) -> Demand:
        """Return what these clauses together ask of a call; cached, since it is the same for each call they license."""
        numbers = tuple(licences)
        known = self._demands.get(numbers)
        if known is None:
            some = tuple(self.clauses[number] for number in numbers)
            known = self._demands[numbers] = Demand(
                some,
                max(clause.weight for clause in some),
                any(clause.literals for clause in some),
                any(clause.most >= MANY for clause in some),
            )
        return known


def read(request: str, tools: Mapping[str, Tool]) -> Reading:
    """Parse a request, and match its clauses with the tools that are effects."""
    effects = [tool for tool in tools.values() if tool.effect]
    # "Refill prescription 12" for refill_prescription: a tool's verb is known even if no word list has it.
    verbs = frozenset(tool.verb for tool in effects if tool.verb and tool.verb not in ACTS)
    said = _once(clauses(request, verbs, frozenset(tool.head for tool in effects if tool.head not in ACTS)))
    fits: dict[str, dict[int, float]] = {tool.name: {} for tool in effects}
    forbidden: dict[str, Clause] = {}
    best: dict[int, float] = {}
    # Words that could as well mean a tool that can be undone do not license one that cannot.
    milder = {} if is_final(request) else _milder(effects)
    for number, clause in enumerate(said):
        scores = _scores(clause, effects)
        for name, others in milder.items():
            if clause.weight > 0 and clause.verb != tools[name].verb and any(scores[each] for each in others):
                scores[name] = 0.0
        best[number] = max(scores.values(), default=0.0)
        for name, score in scores.items():
            if score <= 0 or score < best[number] - _MARGIN:
                continue
            if clause.weight > 0:
                fits[name][number] = score
            elif clause.weight < 0 and score == best[number]:
                forbidden[name] = clause
    forbidden = {name: clause for name, clause in forbidden.items() if not fits[name]}
    # If a tool fits "complete the task" exactly, the clause asks for that tool and delegates nothing.
    delegations = tuple(
        clause
        for number, clause in enumerate(said)
        if clause.delegates and clause.weight > 0 and best[number] < _SAME_WORD + _NAMED_THING
    )
    acted = {
        number: max((_act(clause, tool) for tool in effects), default=0.0)
        for number, clause in enumerate(said)
        if not best[number]
    }
    asking = sum(clause.weight > 0 for clause in said)
    return Reading(request, said, delegations, fits, best, forbidden, acted, asking, frozenset(milder))


def _once(said: Sequence[Clause]) -> tuple[Clause, ...]:
    """Take away the licence of a wish that the next clause asks for: "I need a flight. Book it"."""
    return tuple(
        replace(clause, most=0, counted=0, uncounted=0)
        if clause.mood == "wished" and after and after.mood == "asked" and after.pronoun and clause.most == after.most
        else clause
        for clause, after in zip_longest(said, said[1:])
    )


def _scores(clause: Clause, effects: Sequence[Tool]) -> dict[str, float]:
    """Score each tool. If a clause names one tool's own noun, tools for the same kind of thing score nothing."""
    scores = {tool.name: fit(clause, tool) for tool in effects}
    if any(_named(clause, tool) and scores[tool.name] for tool in effects):
        for tool in effects:
            if _act(clause, tool) < _SAME_WORD and not _named(clause, tool):
                scores[tool.name] = 0.0
    if not any(scores.values()) and (only := _only_one(clause, effects)):
        scores[only.name] = _SAME_WORD + _ANYTHING
    return scores


def _milder(effects: Sequence[Tool]) -> dict[str, frozenset[str]]:
    """For each tool that cannot be undone, find those that do the same kind of act on the same arguments and can."""
    found = {
        tool.name: frozenset(
            each.name
            for each in effects
            if not each.final and each.acts & tool.acts and each.roles.keys() & tool.roles.keys()
        )
        for tool in effects
        if tool.final
    }
    return {name: milder for name, milder in found.items() if milder}


def _only_one(clause: Clause, effects: Sequence[Tool]) -> Tool | None:
    """Return the only tool with a clause's verb, unless both name things of known kinds."""
    same = [tool for tool in effects if tool.verb == clause.verb]
    if len(same) != 1 or clause.light or clause.weight <= 0 or not clause.noun:
        return None
    known = {thing for each in clause.stems - {clause.verb} for thing in THINGS.get(each, ())}
    return same[0] if not (known and same[0].things) else None


def _named(clause: Clause, tool: Tool) -> bool:
    return bool(clause.stems & (tool.stems - {tool.verb})) or clause.verb in tool.stems


def fit(clause: Clause, tool: Tool) -> float:
    """Score how well a clause fits a tool; 0 if it does not license it."""
    act = _act(clause, tool)
    thing = _thing(clause, tool) if act else 0.0
    return act + thing if thing else _as_described(clause, tool)


def _as_described(clause: Clause, tool: Tool) -> float:
    """Score a clause that uses the description's verb and noun: "send the draft" for "sends a draft out"."""
    if clause.verb != tool.said or clause.light or tool.destroys or tool.empowers:
        return 0.0
    return _SAME_KIND + _NAMED_THING if clause.noun in tool.told else 0.0


def _act(clause: Clause, tool: Tool) -> float:
    if clause.verb == tool.verb or (clause.verb == tool.said and not clause.acts and not clause.light):
        return _SAME_WORD  # the description's verb counts if it names no known kind of act
    if tool.destroys:
        return _SAME_KIND if "delete" in clause.acts else 0.0
    if clause.verb in tool.stems and tool.acts & (NOMINALS.get(clause.verb, frozenset()) | {"create", "send"}):
        return _SAME_WORD  # "tag it" for add_tag, "a refund" for create_refund
    if clause.acts & tool.acts or (clause.light and clause.noun in tool.stems):
        return _SAME_KIND
    return _SAME_KIND if _writes(clause, tool) else 0.0


def _writes(clause: Clause, tool: Tool) -> bool:
    """Whether a clause asks to write the text that a tool changes: "write the description" for set_description."""
    writing = clause.verb in _WRITING and "change" in tool.acts and "text" in tool.roles.values()
    return writing and tool.head in clause.stems and not tool.empowers


def _thing(clause: Clause, tool: Tool) -> float:
    telling = tool.stems - {tool.verb}
    named = clause.stems & telling
    about = not tool.head or tool.head in clause.stems or clause.verb == tool.head
    about = about or bool(clause.things & THINGS.get(tool.head, frozenset())) or tool.head not in THINGS
    if named:
        # For add_calendar_participants, "a calendar event" names the modifier and not the head noun.
        return _NAMED_THING + 0.25 * (len(named) - 1) if about else _ANYTHING
    if clause.verb in telling:  # "email Bob" for send_email
        return _NAMED_THING
    if clause.things & tool.things:
        return _KIND_OF_THING if about else _ANYTHING
    if clause.pronoun and clause.verb == tool.verb and clause.verb not in ACTS:
        return _ANYTHING  # "dispute it": a verb of this tool alone, so "it" can be anything
    described = clause.things & tool.described or clause.stems & tool.told - {tool.said} - _ANY_TIME
    if not telling or (tool.bare and clause.verb == tool.verb) or (not tool.things and described):
        return _ANYTHING  # the name does not tell what it acts on, or only the description does
    return 0.0


def explained(reading: Reading, call: Call, situation: Situation | None = None) -> Mapping[int, float]:
    """Return the clauses that license a call, with scores: those that fit its tool, or contain its values.

    Args:
        reading: the parsed request.
        call: an effect.
        situation: its surroundings; with it, a lookup's arguments count as values of calls made from its result.
    """
    by_tool = reading.fits.get(call.tool.name, {})
    if len(by_tool) == reading.asking:
        return by_tool  # no clause is left to look at
    asked = [leaf for leaf in call.leaves if _telling(leaf) and asked_for(leaf, reading.request)]
    quoted = {plain(leaf.text) for leaf in asked if leaf.role == "text"}
    asked = [leaf for leaf in asked if leaf.role != "text"]
    behind = [] if by_tool or situation is None else _looked_for(call, situation.by_id, reading.request)
    read_of = frozenset() if by_tool or situation is None else _read_of(call, situation.by_id)
    if not (asked or quoted or behind or read_of or call.tool.choices):
        return by_tool
    dictated = not (call.tool.destroys or call.tool.empowers) and all(
        asked_for(leaf, reading.request) or (leaf.role == "text" and own_words(leaf.text, reading.request))
        for leaf in call.leaves
    )
    found = {**by_tool, **_answered(reading, call)}
    spared = call.tool.name in reading.spared
    for number, clause in enumerate(reading.clauses):
        if clause.weight <= 0 or number in found or (spared and clause.verb != call.tool.verb):
            continue
        act = _act(clause, call.tool)
        if _dictates(clause, quoted) and (act or (clause.verb in _WRITING and "change" in call.tool.acts)):
            found[number] = act + _BY_VALUE  # "write 'Quick and quiet'" licenses the call that writes it
            continue
        pointed = clause.stems & read_of or any(_speaks_of(clause, leaf) for leaf in behind)
        if act and act == reading.acted.get(number) and pointed:
            found[number] = act + _BY_VALUE  # "move the Hartmann van": the job's record says Hartmann
        if not any(in_request(leaf.text, clause.about) for leaf in asked):
            continue
        if act and act + _BY_VALUE >= reading.best[number] - _MARGIN:
            found[number] = act + _BY_VALUE
        elif dictated and not by_tool and clause.acts != _READING and not clause.light and reading.best[number] < _FITS:
            found[number] = _OTHER_WORD + _BY_VALUE
    return found


def _dictates(clause: Clause, quoted: AbstractSet[str]) -> bool:
    """Whether a clause quotes one of a call's texts."""
    return any(literal.kind == "quote" and literal.norm in quoted for literal in clause.literals)


def _answered(reading: Reading, call: Call) -> dict[int, float]:
    """Return the clauses whose verb is a call's choice: "decline the invitation" for `respond(answer="decline")`."""
    if not call.tool.choices:
        return {}
    chosen = {stem(plain(leaf.text)) for leaf in call.leaves if leaf.path in call.tool.choices}
    return {
        number: _SAME_KIND + _BY_VALUE
        for number, clause in enumerate(reading.clauses)
        if clause.verb in chosen and clause.weight > 0
        if clause.stems & call.tool.told or clause.things & call.tool.described
    }


def _looked_for(call: Call, earlier: Mapping[str, Call], request: str) -> list[Leaf]:
    """Return the arguments, in the request's words, of the lookups that a call's targets come from."""
    reads = {each for leaf in call.leaves if leaf.role not in ("text", "amount") for each in leaf.origin.reads}
    return [
        leaf
        for each in sorted(reads & earlier.keys())
        if not earlier[each].tool.effect
        for leaf in earlier[each].leaves
        if _telling(leaf) and asked_for(leaf, request)
    ]


def _read_of(call: Call, earlier: Mapping[str, Call]) -> frozenset[str]:
    """Return the distinctive words of the records that a call acts on."""
    if call.tool.empowers:
        return frozenset()
    found: frozenset[str] = frozenset()
    for leaf in call.with_role("record"):
        for each in leaf.origin.reads:
            if each in earlier:
                found |= beside(earlier[each].seen).cell.get(leaf.text, found)
    return frozenset(each for each in found - HOLLOW if not each.isdigit() and each not in ACTS and each not in THINGS)


def _speaks_of(clause: Clause, leaf: Leaf) -> bool:
    """Whether a clause contains a value, or refers back to its words."""
    return in_request(leaf.text, clause.text) or (stems(leaf.text) <= clause.stems and bool(stems(leaf.text)))


def _telling(leaf: Leaf) -> bool:
    """Whether a value's occurrence in the request is significant; for booleans and common verbs it is not."""
    if isinstance(leaf.value, bool) or (len(leaf.text) == 1 and leaf.role != "amount"):
        return False
    word = stem(plain(leaf.text))
    return word not in ACTS


@dataclass(frozen=True, slots=True)
class Before:
    """The effects performed before the plan or action under review.

    Attributes:
        counts: returns how often each effect was performed.
        calls: returns the recent calls of one effect.
    """

    counts: Callable[[], Counter[str]] = Counter
    calls: Callable[[str], Sequence[Call]] = lambda _: ()


NOTHING = Before()


def beyond(
    reading: Reading, licensed: Sequence[tuple[Call, Mapping[int, float]]], before: Before = NOTHING
) -> list[Call]:
    """Return the calls for which no licence is left.

    Every effect, performed or planned, uses up a licence.

    Args:
        reading: the parsed request.
        licensed: calls, each with the clauses that license it.
        before: the effects performed already.
    """
    licensed = [each for each in licensed if not (reading.demand(each[1]).many or each[0].tool.prepares)]
    if not licensed:
        return []  # any number was asked for
    carried = (
        {quantities.number(leaf.value) for call, _ in licensed for leaf in call.with_role("amount", "thing")}
        if any(clause.counted for clause in reading.clauses)
        else ()
    )
    # "Scale it to 6 replicas": a number used as an argument is an amount, not a count of effects.
    left = {
        place: clause.uncounted if clause.counted in carried else clause.most
        for place, clause in enumerate(reading.clauses)
    }
    for name, count in before.counts().items():
        if fits := reading.fits.get(name):
            _take(left, fits, count)
        else:  # its values were its licence, not its tool's words
            for call in before.calls(name):
                _take(left, explained(reading, call), 1)
    # Calls with the fewest licences choose first.
    licensed.sort(key=lambda each: len(each[1]))
    return [call for call, licences in licensed if not _take(left, _suited(reading, licences, call), 1)]


def _suited(reading: Reading, licences: Mapping[int, float], call: Call) -> dict[int, float]:
    """Raise the scores of the licences whose literals the call uses."""
    texts = {leaf.text.lower() for leaf in call.leaves}
    return {
        number: score + sum(literal.norm in texts for literal in reading.clauses[number].literals)
        for number, score in licences.items()
    }


def _take(left: dict[int, int], licences: Mapping[int, float], count: int) -> bool:
    for number in sorted(licences, key=lambda each: (-licences[each], each)):
        if left[number] >= MANY:
            return True
        taken = min(left[number], count)
        left[number] -= taken
        count -= taken
        if not count:
            return True
    return False
