"""Checks that literals and names that the request dictates are not replaced by others; for texts see `dictation`."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.dictation import MOSTLY, misquoted
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.facts import directory
from scaffold_monitors.entailment.lexicon import ACTS, DETERMINERS, MEASURES, PREPOSITIONS, THINGS, TITLES
from scaffold_monitors.entailment.measures import mismeasured
from scaffold_monitors.entailment.quantities import accounts, currencies, dates
from scaffold_monitors.entailment.stated import asked_for
from scaffold_monitors.entailment.tables import records_of
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import TARGETS, split
from scaffold_monitors.entailment.wording import address, plain, runs_in, stands_in, stem, stems, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.licences import Demand
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.entailment.tokens import Token

_CHOSEN = frozenset({"record", "place", "thing"})
_DETAILS = frozenset({"place", "thing", "flag"})
_FROM_RECORDS = TARGETS | {"record", "credential"}
_SPECIFIC = ("email", "url", "identifier", "file", "quote")
_CALLED = frozenset({"called", "named", "titled", "entitled", "labelled", "labeled"})
# "To 4 Elm Road": a street address.
_HOUSES = re.compile(r"\b(?:to|at|from) (\d{1,5}[a-z]?) ((?:[A-Z][\w'.-]+ ?)+)")
# Arguments for source, and for destination.
_FROM = frozenset({"from", "source", "src", "origin", "old"})
_TO_WHERE = frozenset({"to", "into", "destination", "dest", "target", "new"})
# "As an editor": a role.
_AS = re.compile(r"\bas (?:an? |the )?([a-z]{3,})\b")
_TITLE = rf"(?:(?:{'|'.join(map(str.capitalize, sorted(TITLES)))})\b\.? )?"
# "To Ann, Bob and Carl"; only the first word of a full name.
_ADDRESSEES = re.compile(
    rf"\b(?:to|with|for) {_TITLE}([A-Z][a-z]+\b(?:(?: [A-Z][a-z]+\b)*(?:, and |, | and | & )[A-Z][a-z]+\b)*)"
)
_NAME = re.compile(r"(?:^|, and |, | and | & )([A-Z][a-z]+)\b")
_LEAST_NOUN = 3
_SMALL_WORDS = PREPOSITIONS | {"to"}


def displaced(call: Call, demand: Demand, situation: Situation) -> Iterator[Finding]:
    """Find values of a call that replace what its clauses dictate."""
    dictating = demand.clauses
    if demand.literal:
        yield from _unused(call, dictating, situation)
        yield from _labelled(call, dictating)
        yield from misquoted(call, dictating, situation)
    if call.tool.choices:
        yield from _chosen(call, dictating, situation)
    yield from _reversed(call, dictating, situation)
    data = [leaf for leaf in call.leaves if not leaf.pending and support(leaf, situation) < Support.NAMED]
    if data:
        roles = {leaf.role for leaf in data}
        yield from _housed(call, data, situation)
        if len(situation.calls) > 1:
            yield from _inconsistent(call, data, situation)
        if roles & _FROM_RECORDS:
            yield from _mislabelled(call, data, dictating, situation)
        if roles & _DETAILS:
            yield from _complements(call, data, dictating, situation)
            yield from _miscalled(call, data, dictating, situation)
        if "principal" in roles:
            yield from _misaddressed(call, data, dictating, situation)
    yield from mismeasured(call, data, dictating, situation)
    if situation.facts:
        yield from _outside(call, situation)


def _unused(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find literals of the request that no call of the plan uses."""
    said = [literal for clause in dictating for literal in clause.literals if literal.kind in _SPECIFIC]
    looked_up = any(leaf.origin.reads for leaf in call.leaves)
    for literal in said:
        if literal.kind == "quote" and looked_up:
            continue  # it may tell which result is meant
        if literal.kind == "identifier" and any(_may_name(literal.norm, leaf, situation) for leaf in call.leaves):
            continue  # "invoice 2026-035" may have another id
        if "{" not in literal.norm and not _stays(literal, situation):
            why = f"the request says {literal.text!r}, but no call of the plan uses it"
            yield against(call, "revise", why, f"use {literal.text}, as the request says", quote=literal.text)
            return


def _may_name(said: str, leaf: Leaf, situation: Situation) -> bool:
    """Whether a value may be an id of what the request names: the record it was read in has the name or is unknown."""
    if leaf.role != "record" or asked_for(leaf, situation.request):
        return False
    return _may_have({said}, leaf, situation) or _among_what_was_read(leaf, frozenset({said}), situation)


def _housed(call: Call, data: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find street addresses other than the request's, such as "to 4 Elm Road"."""
    named = _houses(situation.request)
    for leaf in data if named else ():
        here = words(leaf.text)
        told = (words(each) for each in named)
        if "address" in split(leaf.path) and not any(
            house in here and 2 * sum(name in here for name in names) >= len(names) for house, *names in told
        ):
            why = f"{leaf.path} is {leaf.text!r}, but the request says {', '.join(map(repr, named))}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return


def _reversed(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find calls whose source and destination are swapped."""
    if len(dictating) != 1:
        return
    begins = [leaf for leaf in call.leaves if split(leaf.path)[:1] and split(leaf.path)[0] in _FROM]
    ends = [leaf for leaf in call.leaves if split(leaf.path)[:1] and split(leaf.path)[0] in _TO_WHERE]
    if not (begins and ends):
        return
    text = plain(dictating[0].text)
    for begin, end in ((begin, end) for begin in begins for end in ends):
        ends_at, begins_at = _names_of(end, situation), _names_of(begin, situation)
        if (
            any(_goes_to(each, text) for each in begins_at)
            and not any(_goes_to(each, text) for each in ends_at)
            and any(each in text for each in ends_at)
        ):
            why = f"the request says to {begin.text!r}, but the call goes from there to {end.text!r}"
            yield against(call, "revise", why, f"{begin.path} and {end.path} are swapped", begin)
            return


def _names_of(leaf: Leaf, situation: Situation) -> frozenset[str]:
    """Return a value and the names in its record, such as "savings" for an account's number."""
    cells = (cell for record in records_of(leaf, situation) for cell in record.values())
    return frozenset({plain(leaf.text), *(plain(cell) for cell in cells if cell.isalpha())})


@lru_cache(maxsize=256)
def _houses(request: str) -> tuple[str, ...]:
    """Return the house numbers with streets in a request."""
    named = [f"{house} {street}" for house, street in _HOUSES.findall(request)]
    return tuple(each for each in named if not (dates(each) or currencies(each) or words(each)[1] in MEASURES))


def _goes_to(value: str, text: str) -> bool:
    return bool(
        re.search(rf"\b(?:to|into|onto) (?:the |my |our )?['\"]?{re.escape(plain(value))}(?![\w/-]|\.\w)", text)
    )


def _chosen(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find arguments with a choice of words, where the request names another of the choices."""
    for leaf in call.leaves:
        choices = call.tool.choices.get(leaf.path)
        if not choices or not isinstance(leaf.value, str) or plain(leaf.value) not in choices:
            continue
        said = {stem(word) for clause in dictating for word in words(clause.text)}
        labelled = _labelling(leaf.path, situation.request)
        named = sorted(
            each
            for each in choices
            if said.issuperset(map(stem, words(each))) or labelled.issuperset(map(stem, words(each)))
        )
        if named and plain(leaf.value) not in named:
            why = f"{leaf.path} is {leaf.text!r}, but the request says {', '.join(named)}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)


@lru_cache(maxsize=1024)
def _labelling(path: str, request: str) -> frozenset[str]:
    """Return the stems of the words right before an argument's name: "normal priority"."""
    name = tuple(split(path.rpartition(".")[2]))
    said = words(request)
    places = (place for place in range(1, len(said)) if said[place : place + len(name)] == name)
    return frozenset(stem(said[place - 1]) for place in places)


def _complements(
    call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation
) -> Iterator[Finding]:
    """Find details of unknown origin where the request names another one that no call uses: "to staging"."""
    if len(dictating) != 1:
        return
    for leaf in data:
        if leaf.role not in _DETAILS or leaf.origin.known or not leaf.text.isalpha():
            continue
        lost = [word for word in _governed(dictating[0].text) if stem(word) not in situation.stems]
        if leaf.path == "role" and not lost:
            lost = [word for word in _AS.findall(plain(dictating[0].text)) if stem(word) not in situation.stems]
        if lost and stem(lost[0]) not in call.tool.stems:
            why = (
                f"{leaf.path} = {leaf.text!r} is in neither the request nor any result; "
                f"no call uses the request's {lost[0]!r}"
            )
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, lost[0])
            return


def _miscalled(
    call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation
) -> Iterator[Finding]:
    """Find values that displace what the request calls by name and kind: "the Wells campaign"."""
    if len(dictating) != 1:
        return
    for leaf in data:
        if leaf.role not in _DETAILS or not isinstance(leaf.value, str):
            continue
        for name in _called(leaf.path, dictating[0].text):
            if stem(name) not in situation.stems and not _among_what_was_read(leaf, frozenset({name}), situation):
                why = f"{leaf.path} is {leaf.text!r}, but the request names {name!r}, which no call uses"
                yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, name)
                return


@lru_cache(maxsize=1024)
def _called(path: str, text: str) -> tuple[str, ...]:
    """Return names right before the noun in an argument's name: "the Wells campaign"."""
    nouns = "|".join(re.escape(part) for part in split(path.rpartition(".")[2]) if len(part) >= _LEAST_NOUN)
    if not nouns:
        return ()
    found = re.findall(rf"\b(?:the|our|my|to|in|of|for) ([A-Z][\w-]+) (?:{nouns})\b", text)
    return tuple(name for name in map(plain, found) if not dates(f"{name} 1"))


@lru_cache(maxsize=1024)
def _governed(text: str) -> tuple[str, ...]:
    """Return lower-case words right after a preposition of place, without common kinds of thing."""
    found = re.findall(r"\b(?:to|into|onto|in|on|of|from)(?: the| my| our)? ([a-z]{3,})\b", text)
    plainly = DETERMINERS | PREPOSITIONS
    return tuple(word for word in found if word not in plainly and stem(word) not in {*THINGS, *ACTS} and _noun(word))


def _noun(word: str) -> bool:
    """Whether a word can be a noun: no adverb, no participle."""
    return not word.endswith(("ly", "ing", "ed")) or word.endswith("ging")


def _stays(literal: Token, situation: Situation) -> bool:
    """Whether some call uses a literal: most words of a quote, all of anything else."""
    if literal.kind == "quote":
        return _used(literal.norm, situation.values, situation.said)
    if accounts(literal.text) & situation.accounts:
        return True
    if "." in literal.norm and any(_are_parts(literal.norm, call) for call in situation.calls):
        return True
    bare = literal.norm.lstrip("#@")
    wanted = "|".join(re.escape(each) for each in {bare, address(bare)})
    return bool(re.search(rf"(?<![\w.-])(?:www\.)?(?:{wanted})(?![\w-]|\.\w)", situation.values))


def _are_parts(host: str, call: Call) -> bool:
    """Whether two values of a call form a host name: `status` and `corp.example`."""
    texts = {plain(leaf.text) for leaf in call.leaves if leaf.role != "text"}
    dots = (place for place, char in enumerate(host) if char == ".")
    return any(host[:dot] in texts and host[dot + 1 :] in texts for dot in dots)


def _used(literal: str, values: str, said: frozenset[str]) -> bool:
    """Whether a literal, or most of its words, occurs among some values."""
    if stands_in(literal, values) or address(literal.lstrip("#@")) in values:
        return True
    wanted = Counter(words(literal))
    return sum(count for word, count in wanted.items() if word in said) >= MOSTLY * max(1, wanted.total())


def _inconsistent(call: Call, data: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find arguments chosen from data that the request dictates for another call of the plan."""
    for leaf in data:
        if "[" in leaf.path or not (leaf.role in _CHOSEN or _is_a_mark(leaf)):
            continue
        others = situation.dictated.get(leaf.path, frozenset()) - {leaf.text}
        if others:
            dictated = ", ".join(map(repr, sorted(others)))
            why = f"{leaf.path} is {leaf.text!r}, but another call has {dictated}, as the request says"
            yield against(call, "block", why, f"{leaf.path} is not what the request says", leaf)


def _is_a_mark(leaf: Leaf) -> bool:
    """Whether a text is a one-word label that was not read from data."""
    return leaf.role == "text" and not leaf.origin.reads and len(words(leaf.text)) == 1


def _mislabelled(
    call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation
) -> Iterator[Finding]:
    """Find arguments with another value than the one next to their name in the request: "the 'general' channel".

    The value may be used by another call instead, unless it is in the only clause that licenses this call.
    """
    for leaf in data:
        if leaf.role not in _FROM_RECORDS or "[" in leaf.path:
            continue
        said = _beside(leaf.path, situation.request)
        if said and (_may_have(said, leaf, situation) or _among_what_was_read(leaf, said, situation)):
            continue
        mine = _beside(leaf.path, dictating[0].text) if len(dictating) == 1 else frozenset()
        if not (said or mine):
            continue
        displaced_here = bool(mine) and not any(
            _used(each, plain(leaf.text), frozenset(words(leaf.text))) for each in mine
        )
        if displaced_here or (said and not any(_used(each, situation.values, situation.said) for each in said)):
            why = f"{leaf.path} is {leaf.text!r}, but the request says {', '.join(map(repr, sorted(said)))}"
            yield against(call, "block", why, f"{leaf.path} is not what the request says", leaf)


def _may_have(said: AbstractSet[str], leaf: Leaf, situation: Situation) -> bool:
    """Whether an id may prove to be that of "invoice 2026-035", since its record is not read yet."""
    if leaf.role != "record" or not any(each.replace("-", "").isdigit() and "-" in each for each in said):
        return False
    return any(each in situation.by_id and situation.by_id[each].seen is None for each in leaf.origin.reads)


def _among_what_was_read(leaf: Leaf, said: frozenset[str], situation: Situation) -> bool:
    """Whether a value comes from a record that contains what the request says, or from a lookup of it.

    Such as an id for "the card 'Fix login'".
    """
    reads = (situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id)
    asked = (inner.text for read in reads for inner in read.leaves)
    if any(runs_in(words(name), words(text)) for text in asked for name in said):
        return True
    return any(
        name in plain(cell) for record in records_of(leaf, situation) for cell in record.values() for name in said
    )


@lru_cache(maxsize=1024)
def _beside(path: str, request: str) -> frozenset[str]:
    """Return what is next to an argument's name in a request: literals, or a name after it ("the folder Taxes")."""
    names = frozenset(map(stem, split(path.rpartition(".")[2]))) - _SMALL_WORDS
    found: set[str] = set()
    for tokens in sentences(request):
        for place, token in enumerate(tokens):
            if token.stem in names and (not token.norm.endswith("s") or token.norm.endswith("ss")):
                near = [tokens[place - 1]] if place else []
                near += [each for each in tokens[place + 1 : place + 3] if each.norm not in _CALLED][:1]
                found.update(each.norm for each in near if each.kind in _SPECIFIC)
                found.update(
                    each.norm
                    for each in tokens[place + 1 : place + 2]
                    if (each.named or each.norm.isdigit()) and each.norm != "i" and each.stem not in names
                )
                found.update(_numbered(tokens[place + 1 : place + 6]))
    return frozenset(found)


def _numbered(after: Sequence[Token]) -> Iterator[str]:
    """Yield a number followed by names, perhaps after a comma: "my address, 4 Elm Road"."""
    after = after[1:] if after and after[0].norm in (",", ":") else after
    names = [each.norm for each in takewhile(lambda each: each.named, after[1:])]
    if after and after[0].kind == "number" and names:
        yield " ".join([after[0].norm, *names])


def _labelled(call: Call, dictating: Sequence[Clause]) -> Iterator[Finding]:
    """Find calls that do not use the name that the request gives: "called Summer"."""
    if len(dictating) != 1:
        return
    clause = dictating[0]
    values = " ".join(plain(leaf.text) for leaf in call.leaves)
    for literal in clause.literals:
        before = words(clause.text[: literal.start - clause.start])[-1:]
        if not before or before[0] not in _CALLED or literal.kind not in _SPECIFIC or "{" in literal.norm:
            continue
        if not _used(literal.norm, values, frozenset(words(values))):
            why = f"the request says {before[0]} {literal.text!r}, but no argument of the call has that value"
            yield against(call, "revise", why, f"use the name {literal.text}, as the request says", quote=literal.text)


def _misaddressed(
    call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation
) -> Iterator[Finding]:
    """Find recipients who are not the named addressee, were not looked up by that name, or replace an address."""
    data = [leaf for leaf in data if leaf.role == "principal"]
    if not data:
        return
    names = [name for clause in dictating for name in _addressed(clause.text) if stem(name) not in call.tool.stems]
    lost = next((name for name in names if name not in situation.values), "")
    if not lost and names and not any(name in _mine_or_looked_up(call, situation) for name in names):
        lost = names[0]
    data = data if lost else [leaf for leaf in data if _found_elsewhere(leaf, names, situation)] or data
    if not lost and names and _found_elsewhere(data[0], names, situation):
        lost = names[0]
    if lost:
        why = f"the request names {lost!r}, but {data[0].path} = {data[0].text!r} was not looked up by that name"
        yield against(call, "escalate", why, f"{data[0].path} is not the one that the request names", data[0], lost)
        return
    wanted = [{each.norm for each in clause.literals if each.kind == "email"} for clause in dictating]
    if all(wanted):
        said = ", ".join(sorted(set().union(*wanted)))
        for leaf in data:
            if "@" in leaf.text:
                why = f"{leaf.path} is {leaf.text!r}, but the request says {said}"
                yield against(call, "block", why, f"{leaf.path} is not the one that the request names", leaf)


def _mine_or_looked_up(call: Call, situation: Situation) -> str:
    """Return the values of a call and of all reads, as text; those of other effects do not count."""
    reads = (each for each in situation.calls if each.id == call.id or not each.tool.effect)
    return "\n".join(plain(leaf.text) for each in reads for leaf in each.leaves)


def _found_elsewhere(leaf: Leaf, names: Sequence[str], situation: Situation) -> bool:
    """Whether a name was looked up, and a recipient comes from another result."""
    behind: dict[str, None] = dict.fromkeys(leaf.origin.reads)
    for each in iter(list(behind)):
        for inner in situation.by_id[each].leaves if each in situation.by_id else ():
            behind.update(dict.fromkeys(inner.origin.reads))
    lookups = {
        call.id
        for call in situation.calls
        if not call.tool.effect and any(runs_in((name,), words(each.text)) for each in call.leaves for name in names)
    }
    return bool(names and behind and lookups) and not lookups & behind.keys()


@lru_cache(maxsize=1024)
def _addressed(text: str) -> tuple[str, ...]:
    """Return the names right after "to", "with" or "for", and those joined to them."""
    found = (plain(name) for match in _ADDRESSEES.finditer(text) for name in _NAME.findall(match[1]))
    return tuple(
        name for name in found if name not in DETERMINERS and stem(name) not in THINGS and not dates(f"{name} 1")
    )


def _outside(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find targets missing from a trusted directory, where the request names that directory."""
    for leaf in call.with_role(*TARGETS, "record"):
        listed = directory(leaf, situation.facts)
        if listed is None or asked_for(leaf, situation.request):
            continue
        name, column, values = listed
        if stem(plain(name)) in stems(situation.request) and plain(leaf.text).strip() not in values:
            why = f"{leaf.path} = {leaf.text!r} is not in column {column!r} of {name!r}, which the request names"
            yield against(call, "block", why, f"{leaf.path} is not in {name}", leaf)
