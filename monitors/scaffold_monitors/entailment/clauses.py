"""Splits a request into clauses: each has an act, the things it acts on, a count and a mood.

A shallow parser of English. Each word that can be the verb of an act gets a mood from its context (`moods`), and its
clause extends to the next such verb. Imperatives, questions to the assistant, passives and obligations ask; wishes
ask less, purposes still less, plans and reports nothing. "Remind me to pay" does not ask to pay, "do not pay" forbids
it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product, takewhile
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.lexicon import (
    ACTS,
    ANSWERING,
    ASIDE,
    BASES,
    DELEGATING,
    DETERMINERS,
    EVERY,
    IDIOMS,
    IMPLIED,
    IRREGULAR,
    LIGHT,
    LIGHT_STEMS,
    MEASURES,
    NOMINALS,
    OBJECT_PRONOUNS,
    ORDERS,
    PREPOSITIONS,
    SUPERLATIVES,
    THINGS,
)
from scaffold_monitors.entailment.moods import WEIGHT, Mood, head
from scaffold_monitors.entailment.quantities import SMALL, currencies, numbers, undated
from scaffold_monitors.entailment.tokens import Token, sentences
from scaffold_monitors.entailment.wording import stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The things and stems mentioned before.
_Told = tuple[frozenset[str], frozenset[str]]
_NOTHING: _Told = (frozenset(), frozenset())
# A licence for any number of effects.
MANY = 10_000
# Smaller numbers count things; others are amounts.
_COUNTABLE = 100
_POINTING = frozenset("it them this that one ones there these those its whichever whatever".split())  # noqa: SIM905 - a list of words
_PERSONS = frozenset(["everybody", "everyone", "anybody", "anyone", "somebody", "someone", "him", "her"])
_ONE = frozenset(["a", "an"])
_CERTAIN = frozenset(["the", "my", "our", "your", "his", "her", "its", "their", "this", "that"])
_HERE = frozenset(map(stem, ("following", "below", "these")))
_JOINING = frozenset(["and", "then", ";", ":", "but", "or", "also", "otherwise", "else"])
# The kind of thing that a literal denotes, by its form.
_KINDS = {"url": "web", "file": "file"}
# Belong to the verb, wherever they occur.
_PARTICLES = frozenset(["away", "back", "down", "off", "out", "up"])
_STAYING = ("it", "they", "is", "are", "he", "she")
_PLURALS = frozenset(["people", "folks", "children", "men", "women", "ones"])
_MEDIA = frozenset(["email", "message", "mail", "sms", "dm"])
_MAKING = frozenset(
    map(stem, ("send", "create", "schedule", "arrange", "submit", "set", "post", "execute", "initiate", "process"))
)
# Words that end a verb's object.
_AFTER_NOUN = frozenset(
    ["to", "and", "that", "until", "till", "since", "before", "after", "during", "because", "so", "if", "when"]
)
_ENDING = PREPOSITIONS | _AFTER_NOUN | _JOINING
# How far from its verb the particle of an idiom may stand.
_REACH = 4


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a request says about acting.

    Attributes:
        verb: stem of the verb; for "make a payment" of its noun.
        acts: the kinds of act that the verb can mean; none for an unknown verb.
        things: the kinds of thing that it mentions.
        stems: the stems of its words.
        noun: stem of the verb's first object.
        pronoun: whether a pronoun follows the verb: "it", "them".
        one: whether its object is one definite thing, whoever receives it: "the draft", "my key".
        mood: its mood.
        most: how many effects it licenses at most.
        counted: the number in its words that says how many; 0 if there is none.
        uncounted: how many effects it would license without that number.
        literals: its literals: quotes, addresses, identifiers, files, numbers.
        text: its words as written.
        about: these, with the sentence before if it points back to it: "Ticket 7 is solved. Close it".
        start: offset of its first character.
        end: offset after its last.
    """

    verb: str
    acts: frozenset[str]
    things: frozenset[str]
    stems: frozenset[str]
    noun: str
    pronoun: bool
    one: bool
    mood: Mood
    most: int
    counted: int
    uncounted: int
    literals: tuple[Token, ...]
    text: str
    about: str
    start: int
    end: int

    @property
    def weight(self) -> float:
        """How much it licenses, at most 1; negative if it forbids."""
        return WEIGHT[self.mood]

    @property
    def light(self) -> bool:
        """Whether its verb is a light verb, which means nothing without its noun."""
        return self.verb in LIGHT

    @property
    def delegates(self) -> bool:
        """Whether it leaves the choice of acts to some other text: "do what the mail says"."""
        here = self.stems & _HERE  # "perform the following tasks" lists them itself
        return self.verb in DELEGATING and bool(self.stems & ORDERS) and not here


@lru_cache(maxsize=512)
def clauses(text: str, verbs: frozenset[str] = frozenset(), nouns: frozenset[str] = frozenset()) -> tuple[Clause, ...]:
    """Return all clauses of a text in order; `verbs` and `nouns` are stems known in addition to the word lists."""
    found: list[Clause] = []
    told: _Told = (frozenset(), frozenset())
    before = 0
    for tokens in sentences(text):
        for clause in _clauses(text, tokens, told, verbs, nouns, before):
            found.append(clause)
            told = (told[0] | clause.things, told[1] | clause.stems)
        before = tokens[0].start
        said = _said(tokens)
        told = (told[0] | said[0], told[1] | said[1])
    return tuple(found)


def _said(tokens: Sequence[Token]) -> _Told:
    """Return the things and stems that some tokens mention."""
    said = frozenset(token.stem for token in tokens if token.stem)
    said |= {stem(word) for token in tokens if token.kind == "quote" for word in words(token.norm)}
    return frozenset(thing for each in said for thing in THINGS.get(each, ())), said


def _clauses(
    text: str, tokens: Sequence[Token], told: _Told, verbs: frozenset[str], nouns: frozenset[str], before: int
) -> Iterator[Clause]:
    heads: list[tuple[int, str, Mood]] = []
    for place, token in enumerate(tokens):
        if token.kind == "word":
            found = head(tokens, place, heads[-1][2] if heads else None, verbs)
            if found is not None and found[1] != "background":
                heads.append((place, *found))
    for number, (place, verb, mood) in enumerate(heads):
        first = _front(tokens, place, heads[number - 1][0] + 1 if number else 0)
        last = _front(tokens, heads[number + 1][0], place + 1) if number + 1 < len(heads) else len(tokens)
        ahead = _said(tokens[:first]) if not number else _NOTHING  # "The lamp is broken, replace it"
        here = (told[0] | ahead[0], told[1] | ahead[1])
        clause = _Maker(text, tokens, (first, place, max(last, place + 1)), here, nouns, before).clause(verb, mood)
        told = (told[0] | clause.things, told[1] | clause.stems)
        yield clause


def _front(tokens: Sequence[Token], verb: int, earliest: int) -> int:
    """Return where a verb's clause begins: at the last word that joins it to the text before."""
    if verb - 1 >= earliest and tokens[verb - 1].norm == "to":
        return verb - 1
    if tokens[verb].norm not in BASES | LIGHT and (tokens[verb].norm in IRREGULAR or tokens[verb].norm.endswith("ed")):
        return earliest  # the object comes before its verb
    for place in range(verb - 1, earliest - 1, -1):
        if tokens[place].norm in _JOINING or (tokens[place].norm == "," and place >= verb - 2):
            return place
    if earliest == 0:
        return 0
    return max(earliest, verb - 3 if tokens[verb - 1].norm == "you" else verb)


class _Maker:
    """Makes one clause from a stretch of tokens."""

    def __init__(
        self,
        text: str,
        tokens: Sequence[Token],
        span: tuple[int, int, int],
        told: _Told,
        nouns: frozenset[str],
        before: int,
    ) -> None:
        first, verb, last = span
        self._nouns = nouns
        self._before = before
        self._text = text
        self._inside = tokens[first:last]
        self._verb = tokens[verb]
        self._after = tokens[verb + 1 : last]
        self._told = told
        said = [token for token in self._inside if token.kind == "word" and token is not self._verb]
        self._norms = frozenset(token.norm for token in said)
        self._stems = frozenset(
            part for token in said for part in (token.stem, *map(stem, re.split(r"['-]", token.norm))) if part
        ) | {
            one.stem + other.stem  # "the waiting list" for a `waitlist`
            for one, other in pairwise(self._inside)
            if one.stem and other.stem and not {one.norm, other.norm} & (DETERMINERS | PREPOSITIONS)
        }

    def clause(self, verb: str, mood: Mood) -> Clause:
        """The clause."""
        verb, particle = self._idiom(verb)
        if verb == "leav" and self._stays():
            mood = "negated"
        noun = self._noun()
        if done := self._done_to_it():
            verb = noun = done
        acts = ACTS.get(verb, frozenset())
        if noun in NOMINALS and (verb in LIGHT_STEMS or verb in _MAKING):
            acts |= NOMINALS[noun]
            verb = noun if verb in LIGHT else verb  # "make" and "place" keep a meaning of their own
        acts |= self._medium()
        stems, things = self._things(verb)
        most, counted, uncounted = self._most(self._after[particle:])
        reminding = verb == "remind" and self._after[:1] and self._after[0].norm in ("me", "us")
        if reminding:  # a reminder is something put where the user will see it
            acts, things = frozenset({"create"}), frozenset({"event", "issue"})
        return Clause(
            verb=verb,
            acts=acts,
            things=things,
            stems=stems,
            noun=noun,
            pronoun=bool(self._after) and self._after[0].norm in _POINTING,
            one=self._one(),
            mood="background" if self._answers(verb, mood) else mood,
            most=most,
            counted=counted,
            uncounted=uncounted,
            literals=tuple(token for token in self._inside if token.literal),
            text=self._text[self._inside[0].start : self._inside[-1].end],
            about=self._text[self._before if self._points() else self._inside[0].start : self._inside[-1].end],
            start=self._inside[0].start,
            end=self._inside[-1].end,
        )

    def _stays(self) -> bool:
        """Whether "leave" means not to touch something: "leave the rest alone", "leave the lamp where it is"."""
        said = [token.norm for token in self._after]
        pairs = {*pairwise(said)}
        return bool({"alone", "untouched", "unchanged"} & set(said) or pairs & set(product(("as", "where"), _STAYING)))

    def _idiom(self, verb: str) -> tuple[str, int]:
        """Return the meaning of verb and particle together, and how many tokens they take."""
        for place, token in enumerate(self._after[:_REACH]):
            after = self._after[place + 1].norm if place + 1 < len(self._after) else ""
            if token.norm == "on" and (verb, after) in IDIOMS:
                return IDIOMS[verb, after], place + 2  # "put it on hold"
            if place and token.norm == "on" and after in DETERMINERS and (verb, "onto") in IDIOMS:
                return IDIOMS[verb, "onto"], place + 1  # "put her on the list" does not mean to switch on
            if (verb, token.norm) in IDIOMS:
                return IDIOMS[verb, token.norm], place + 1
        return verb, 0

    def _things(self, verb: str) -> tuple[frozenset[str], frozenset[str]]:
        stems = self._stems
        things = frozenset(thing for each in stems for thing in THINGS.get(each, ()))
        things |= {_KINDS[token.kind] for token in self._inside if token.kind in _KINDS}
        things |= {"channel" for token in self._inside if token.norm.startswith("#")}
        if _PERSONS & self._norms:
            things |= {"person"}
        if self._points():
            things, stems = things | self._told[0], stems | self._told[1]
        implied = IMPLIED.get(verb, frozenset())
        return stems, things if things & implied else things | implied  # "rent a car" implies no flat

    def _points(self) -> bool:
        """Whether it refers back to something mentioned before: "book it", "take the cheapest", "the second one"."""
        near = [token.norm for token in self._after[:_REACH]]
        if _POINTING & set(near):
            return True
        last = self._after[len(near)].kind != "word" if len(self._after) > len(near) else True
        ends = [place for place, norm in enumerate(near) if norm in SUPERLATIVES]
        return any(place + 1 == len(near) and last for place in ends) or any(
            place + 1 < len(near) and _closes(self._after[place + 1]) for place in ends
        )

    def _medium(self) -> frozenset[str]:
        """Return the medium in which the result is delivered: "sum it up in a comment"."""
        for place, token in enumerate(self._after[:-1]):
            if token.norm in ("in", "into", "as", "via", "by"):
                noun = next((each.stem for each in self._after[place + 1 : place + 4] if each.stem in NOMINALS), "")
                determined = self._after[place + 1].norm in ("a", "an", "direct") or token.norm in ("via", "by")
                if noun and determined:
                    return NOMINALS[noun]
        return frozenset()

    def _noun(self) -> str:
        """Return the verb's first object."""
        noun = ""
        for token in self._after:
            if token.norm == "of" and (not noun or noun in SMALL):
                continue  # "both of his bookings"
            if token.kind == "mark" or token.norm in PREPOSITIONS or token.norm in _AFTER_NOUN:
                break
            if token.kind == "word" and token.norm not in DETERMINERS | OBJECT_PRONOUNS | _PARTICLES:
                noun = token.stem
        return noun

    def _one(self) -> bool:
        """Whether the verb's object is one definite thing."""
        taken = list(takewhile(lambda each: each.kind == "word" and each.norm not in _ENDING, self._after))
        norms = {token.norm for token in taken}
        many = norms & (EVERY | SMALL.keys()) or any(_plural(token, self._nouns) for token in taken)
        return len(taken) > 1 and taken[0].norm in _CERTAIN and not many

    def _done_to_it(self) -> str:
        """Return the verb used as a noun in "give it a restart"."""
        match [token.norm for token in self._after[:3]]:
            case [pronoun, article, noun] if pronoun in _POINTING and article in _ONE and noun in BASES:
                return self._after[2].stem if self._verb.norm in ("give", "giving") else ""
            case _:
                return ""

    def _unknown_beside(self, joiner: str) -> int:
        """Count the unknown words joined in a list: "ann and bea"."""
        found = 0
        for place, token in enumerate(self._after[1:-1], 1):
            if token.norm == joiner:
                beside = (self._after[place - 1], self._after[place + 1])
                if all(each.kind == "word" and not each.named and _unheard(each) for each in beside):
                    found += 2
        return found

    def _answers(self, verb: str, mood: Mood) -> bool:
        """Whether it asks to tell the user something, which is an answer and not an effect."""
        told = verb in ANSWERING and bool(self._after) and self._after[0].norm in ("me", "us")
        if told and verb == "get" and len(self._after) > 1 and (_count(self._after[1]) or self._after[1].norm in _ONE):
            return False  # "get me two tickets" asks to buy them
        return told and mood != "negated" and not _MEDIA & {token.stem for token in self._after}

    def _most(self, after: Sequence[Token]) -> tuple[int, int, int]:
        """Count the effects that the words license: one for a singular, more for plurals, lists and "each".

        Returns:
            The count; the number in the words that gave it, if any; the count without that number.
        """
        if EVERY & {token.norm for token in self._inside}:
            return MANY, 0, MANY
        count = 0
        for place, token in enumerate(after):
            if token.norm in ASIDE and place:
                break
            if token.norm in ("for", "with") and _ONE & {each.norm for each in after[:place]}:
                break  # "a table for four" is one table
            number = _count(token)
            if 1 < number < _COUNTABLE and not count and self._counts(after[place:]):
                count = number
            if _plural(token, self._nouns) and not count:
                return MANY, 0, MANY
        kinds: dict[str, int] = {}
        for token in self._inside:
            if token.literal and token.kind != "number":
                kinds[token.kind] = kinds.get(token.kind, 0) + 1
        names = self._names()
        joined = sum(1 for token in self._inside if token.norm in ("and", ","))
        names += self._unknown_beside("and")
        listed = max(1, *(min(each, joined + 1) for each in (*kinds.values(), names)))
        return max(count, listed), count if count > listed else 0, listed

    def _names(self) -> int:
        """Count the names; "Ann Lee" is one."""
        pairs = zip([None, *self._inside], self._inside, strict=False)
        return sum(1 for before, token in pairs if _is_name(token) and not (before and _is_name(before)))

    def _counts(self, here: Sequence[Token]) -> bool:
        """Whether a number counts things; days, hours and measures such as "3 euros" do not."""
        if len(here) > 1 and _measures(here[1].norm):
            return False
        span = undated(self._text[self._inside[0].start : self._inside[-1].end])
        return any(each == _count(here[0]) for each in numbers(span))


def _is_name(token: Token) -> bool:
    return token.named and token.norm != "i" and not token.norm.endswith("day")  # "Friday" is nobody


def _closes(token: Token) -> bool:
    return token.kind == "mark" or token.norm in PREPOSITIONS or token.norm in _JOINING


def _unheard(token: Token) -> bool:
    known = token.stem in ACTS or token.stem in THINGS or token.norm in DETERMINERS | PREPOSITIONS | OBJECT_PRONOUNS
    return not known and token.norm != "i"


def _count(token: Token) -> int:
    if token.kind == "number" and token.norm.isdigit():
        return int(token.norm)
    return SMALL.get(token.norm, 0) if token.kind == "word" else 0


def _plural(token: Token, nouns: frozenset[str]) -> bool:
    if token.norm in _PLURALS:
        return True
    ends = token.norm.endswith("s") and not token.norm.endswith(("ss", "us", "is"))
    known = token.stem in THINGS or token.stem in nouns
    return token.kind == "word" and not token.named and ends and known and not _measures(token.norm)


def _measures(word: str) -> bool:
    """Whether a word is a unit of measure, such as "euros": several of these are not several things."""
    return word in MEASURES or bool(currencies(word))
