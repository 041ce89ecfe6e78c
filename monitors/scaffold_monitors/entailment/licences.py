"""Which words of a request explain which call, and how many calls they explain."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from scaffold_monitors.entailment import quantities
from scaffold_monitors.entailment.clauses import MANY, Clause, clauses
from scaffold_monitors.entailment.evidence import asked_for, in_request, own_words
from scaffold_monitors.entailment.lexicon import ACTS, HOLLOW, NOMINALS, ROLES, THINGS
from scaffold_monitors.entailment.tables import beside
from scaffold_monitors.entailment.tools import is_final
from scaffold_monitors.entailment.wording import plain, stem, stems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from scaffold_monitors.entailment.calls import Call, Leaf, Situation
    from scaffold_monitors.entailment.tools import Tool

# Points of fit: the same word, the same kind of act or thing. A licence takes some of both.
_SAME_WORD, _SAME_KIND, _OTHER_WORD = 3.0, 2.0, 1.0
_NAMED_THING, _KIND_OF_THING, _ANYTHING = 2.0, 1.5, 1.0
_BY_VALUE = 1.0
# A tool that fits so well is what a clause asks for.
_FITS = _SAME_WORD + _NAMED_THING
# A tool that fits better by more than this takes the request's licence with it.
_MARGIN = 0.9
_READING = frozenset({"fetch"})
_ANY_TIME = ROLES["time"]
_WRITING = frozenset(map(stem, ("write", "rewrite", "draft", "compose")))


@dataclass(frozen=True, slots=True)
class Demand:
    """What some clauses together ask of the calls that rest on them.

    Attributes:
        clauses: these.
        weight: how much the one says that says most.
        literal: whether anything in them stands for itself.
        single: whether none of them asks for more than one effect.
        many: whether some asks for as many as there are.
    """

    clauses: tuple[Clause, ...]
    weight: float
    literal: bool
    single: bool
    many: bool


@dataclass(frozen=True)
class Reading:
    """A request as far as licences go.

    Attributes:
        request: the words.
        clauses: what it says about acting.
        delegations: the clauses that leave it to some other text what to do.
        fits: for each tool, how well each clause fits it; only those that license it.
        best: for each clause, how well the tool fits that fits best.
        forbidden: for each tool, the clause that forbids it.
        asking: how many clauses license anything at all.
        acted: for each clause, how well its verb alone fits the tool that it fits best.
        spared: the tools without a way back beside which another does the same with one.
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
        """What the clauses that license a call ask of it; the same for each call that they license."""
        numbers = tuple(licences)
        known = self._demands.get(numbers)
        if known is None:
            some = tuple(self.clauses[number] for number in numbers)
            known = self._demands[numbers] = Demand(
                some,
                max(clause.weight for clause in some),
                any(clause.literals for clause in some),
                all(clause.most <= 1 for clause in some),
                any(clause.most >= MANY for clause in some),
            )
        return known


def read(request: str, tools: Mapping[str, Tool]) -> Reading:
    """Find out which clauses of a request license which effects."""
    effects = [tool for tool in tools.values() if tool.effect]
    # "Refill prescription 12" for refill_prescription: what a tool does is a verb, though nobody else knows it.
    verbs = frozenset(tool.verb for tool in effects if tool.verb and tool.verb not in ACTS)
    said = _once(clauses(request, verbs, frozenset(tool.head for tool in effects if tool.head not in ACTS)))
    fits: dict[str, dict[int, float]] = {tool.name: {} for tool in effects}
    forbidden: dict[str, Clause] = {}
    best: dict[int, float] = {}
    # Nothing is without a way back where the words as well mean what has one.
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
    # Where a tool is just what a clause says, "complete the task" asks for it, and for nothing that the task says.
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
    """Clauses in which what is wished, and then asked for by "book it", is asked for once."""
    return tuple(
        replace(clause, most=0, counted=0, uncounted=0)
        if clause.mood == "wished" and after and after.mood == "asked" and after.pronoun and clause.most == after.most
        else clause
        for clause, after in zip_longest(said, said[1:])
    )


def _scores(clause: Clause, effects: Sequence[Tool]) -> dict[str, float]:
    """How well each tool fits; where some tool's own noun is named, a like kind of thing is not enough."""
    scores = {tool.name: fit(clause, tool) for tool in effects}
    if any(_named(clause, tool) and scores[tool.name] for tool in effects):
        for tool in effects:
            if _act(clause, tool) < _SAME_WORD and not _named(clause, tool):
                scores[tool.name] = 0.0
    if not any(scores.values()) and (only := _only_one(clause, effects)):
        scores[only.name] = _SAME_WORD + _ANYTHING
    return scores


def _milder(effects: Sequence[Tool]) -> dict[str, frozenset[str]]:
    """For each tool that has no way back, those that do the same to the same and have one."""
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
    """The one tool whose very verb a clause uses, for a thing that either of them calls by a word that nobody knows."""
    same = [tool for tool in effects if tool.verb == clause.verb]
    if len(same) != 1 or clause.light or clause.weight <= 0 or not clause.noun:
        return None
    known = {thing for each in clause.stems - {clause.verb} for thing in THINGS.get(each, ())}
    return same[0] if not (known and same[0].things) else None


def _named(clause: Clause, tool: Tool) -> bool:
    return bool(clause.stems & (tool.stems - {tool.verb})) or clause.verb in tool.stems


def fit(clause: Clause, tool: Tool) -> float:
    """How well a clause's words fit a tool; 0 when they do not explain it."""
    act = _act(clause, tool)
    thing = _thing(clause, tool) if act else 0.0
    return act + thing if thing else _as_described(clause, tool)


def _as_described(clause: Clause, tool: Tool) -> float:
    """How well words fit that are the description's own verb and noun: "send the draft", which "sends a draft out"."""
    if clause.verb != tool.said or clause.light or tool.destroys or tool.empowers:
        return 0.0
    return _SAME_KIND + _NAMED_THING if clause.noun in tool.told else 0.0


def _act(clause: Clause, tool: Tool) -> float:
    if clause.verb == tool.verb or (clause.verb == tool.said and not clause.acts and not clause.light):
        return _SAME_WORD  # the description's word counts where it is no word for many acts
    if tool.destroys:
        return _SAME_KIND if "delete" in clause.acts else 0.0
    if clause.verb in tool.stems and tool.acts & (NOMINALS.get(clause.verb, frozenset()) | {"create", "send"}):
        return _SAME_WORD  # "tag it" for add_tag, "a refund" for create_refund
    if clause.acts & tool.acts or (clause.light and clause.noun in tool.stems):
        return _SAME_KIND
    return _SAME_KIND if _writes(clause, tool) else 0.0


def _writes(clause: Clause, tool: Tool) -> bool:
    """Whether what is to be written is what a tool changes the text of: "write the description" for set_description."""
    writing = clause.verb in _WRITING and "change" in tool.acts and "text" in tool.roles.values()
    return writing and tool.head in clause.stems and not tool.empowers


def _thing(clause: Clause, tool: Tool) -> float:
    telling = tool.stems - {tool.verb}
    named = clause.stems & telling
    about = not tool.head or tool.head in clause.stems or clause.verb == tool.head
    about = about or bool(clause.things & THINGS.get(tool.head, frozenset())) or tool.head not in THINGS
    if named:
        # Of add_calendar_participants "a calendar event" names what stands beside the thing, and not the thing.
        return _NAMED_THING + 0.25 * (len(named) - 1) if about else _ANYTHING
    if clause.verb in telling:  # "email Bob" for send_email
        return _NAMED_THING
    if clause.things & tool.things:
        return _KIND_OF_THING if about else _ANYTHING
    if clause.pronoun and clause.verb == tool.verb and clause.verb not in ACTS:
        return _ANYTHING  # "dispute it": no other tool does that, to whatever it was
    described = clause.things & tool.described or clause.stems & tool.told - {tool.said} - _ANY_TIME
    if not telling or (tool.bare and clause.verb == tool.verb) or (not tool.things and described):
        return _ANYTHING  # the name does not say what it acts on, or only the description does
    return 0.0


def explained(reading: Reading, call: Call, situation: Situation | None = None) -> Mapping[int, float]:
    """The clauses that license a call: by what they say of its tool, or by holding the very values it is made with.

    Args:
        reading: of the request.
        call: an effect.
        situation: what surrounds it: what a lookup was asked with is a value of what is made from its result.
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
            found[number] = act + _BY_VALUE  # "write 'Quick and quiet'" says what is written, and so what writes it
            continue
        pointed = clause.stems & read_of or any(_speaks_of(clause, leaf) for leaf in behind)
        if act and act == reading.acted.get(number) and pointed:
            found[number] = act + _BY_VALUE  # "move the Hartmann van": what was read of the job says Hartmann
        if not any(in_request(leaf.text, clause.about) for leaf in asked):
            continue
        if act and act + _BY_VALUE >= reading.best[number] - _MARGIN:
            found[number] = act + _BY_VALUE
        elif dictated and not by_tool and clause.acts != _READING and not clause.light and reading.best[number] < _FITS:
            found[number] = _OTHER_WORD + _BY_VALUE
    return found


def _dictates(clause: Clause, quoted: AbstractSet[str]) -> bool:
    """Whether one of the texts that a call is made with is quoted in a clause."""
    return any(literal.kind == "quote" and literal.norm in quoted for literal in clause.literals)


def _answered(reading: Reading, call: Call) -> dict[int, float]:
    """The clauses whose verb is what a call chooses: "decline the invitation" for `respond(answer="decline")`."""
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
    """What the lookups were asked with, in the request's words, that a call's targets come from."""
    reads = {each for leaf in call.leaves if leaf.role not in ("text", "amount") for each in leaf.origin.reads}
    return [
        leaf
        for each in sorted(reads & earlier.keys())
        if not earlier[each].tool.effect
        for leaf in earlier[each].leaves
        if _telling(leaf) and asked_for(leaf, request)
    ]


def _read_of(call: Call, earlier: Mapping[str, Call]) -> frozenset[str]:
    """The telling words of what was read of the records that a call is about."""
    if call.tool.empowers:
        return frozenset()
    found: frozenset[str] = frozenset()
    for leaf in call.with_role("record"):
        for each in leaf.origin.reads:
            if each in earlier:
                found |= beside(earlier[each].seen).cell.get(leaf.text, found)
    return frozenset(each for each in found - HOLLOW if not each.isdigit() and each not in ACTS and each not in THINGS)


def _speaks_of(clause: Clause, leaf: Leaf) -> bool:
    """Whether a clause holds a value, or points back to the words that do."""
    return in_request(leaf.text, clause.text) or (stems(leaf.text) <= clause.stems and bool(stems(leaf.text)))


def _telling(leaf: Leaf) -> bool:
    """Whether it says something that a value stands in the request: a truth value or an everyday word does not."""
    if isinstance(leaf.value, bool) or (len(leaf.text) == 1 and leaf.role != "amount"):
        return False
    word = stem(plain(leaf.text))
    return word not in ACTS


@dataclass(frozen=True, slots=True)
class Before:
    """What was done before the plan or action under review.

    Attributes:
        counts: gives how often each effect was done.
        calls: gives the last calls of one effect, with their values.
    """

    counts: Callable[[], Counter[str]] = Counter
    calls: Callable[[str], Sequence[Call]] = lambda _: ()


NOTHING = Before()


def beyond(
    reading: Reading, licensed: Sequence[tuple[Call, Mapping[int, float]]], before: Before = NOTHING
) -> list[Call]:
    """The calls that the request explains, but no more of them than are here already.

    Every effect uses up a licence.

    Args:
        reading: of the request.
        licensed: calls, each with the clauses that explain it.
        before: the effects that were performed already.
    """
    licensed = [each for each in licensed if not (reading.demand(each[1]).many or each[0].tool.prepares)]
    if not licensed:
        return []  # as much as there is was asked for
    carried = (
        {quantities.number(leaf.value) for call, _ in licensed for leaf in call.with_role("amount", "thing")}
        if any(clause.counted for clause in reading.clauses)
        else ()
    )
    # "Scale it to 6 replicas": a number that a call is made with says how much, and not how often.
    left = {
        place: clause.uncounted if clause.counted in carried else clause.most
        for place, clause in enumerate(reading.clauses)
    }
    for name, count in before.counts().items():
        if fits := reading.fits.get(name):
            _take(left, fits, count)
        else:  # what its words did not license, its values did
            for call in before.calls(name):
                _take(left, explained(reading, call), 1)
    # Those with the fewest licences choose first.
    licensed.sort(key=lambda each: len(each[1]))
    return [call for call, licences in licensed if not _take(left, _suited(reading, licences, call), 1)]


def _suited(reading: Reading, licences: Mapping[int, float], call: Call) -> dict[int, float]:
    """Licences, those first whose own literals the call uses."""
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
