"""Finds the mood of a verb from the words around it: asked, wished, purpose, background, reminder or negated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scaffold_monitors.entailment.lexicon import (
    ACTS,
    BASES,
    COPULAS,
    DETERMINERS,
    IDIOMS,
    INSTRUCTING,
    INTENDING,
    IRREGULAR,
    LIGHT,
    MODALS,
    NEGATIONS,
    NOMINALS,
    NOUN_OR_VERB,
    OBJECT_PRONOUNS,
    OBLIGING,
    PREPOSITIONS,
    SKIPPED,
    SUBJECTS,
    THINGS,
    WISHING,
)
from scaffold_monitors.entailment.negation import negates
from scaffold_monitors.entailment.quantities import SMALL
from scaffold_monitors.entailment.wording import plain, stem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold_monitors.entailment.tokens import Token

Mood = Literal["asked", "wished", "purpose", "background", "reminder", "negated"]
Head = tuple[str, Mood]
# How much a mood licenses, at most 1; a negative weight forbids.
WEIGHT: dict[Mood, float] = {
    "asked": 1.0,
    "wished": 0.8,
    "purpose": 0.5,
    "background": 0.0,
    "reminder": 0.0,
    "negated": -1.0,
}
# An adverb in -ly has at least this many letters.
_ADVERB = 5
_NO_ACTS = frozenset(
    {
        ("thank", "you"),
        ("note", "that"),
        ("do", "you"),
        ("do", "i"),
        ("do", "we"),
        ("do", "they"),
        ("do", "not"),
        ("let", "me"),
        ("make", "sure"),
    }
)
# Verbs that are followed by verbs.
_AUXILIARY = frozenset({"help", "go", "let", "try", "come", "do", "make", "have", "get"})
# "I need a refund" wishes for it.
_LACKING = frozenset({"need", "needs", "want", "wants"})
_HELPING = frozenset({"help", "assist", "assistance", "proceed", "hand"})
_NEEDING = frozenset({"appreciate", "need", "like", "want"})
_WELCOME = frozenset({"appreciated", "great", "nice", "wonderful", "helpful", "lovely", "good", "fantastic", "perfect"})
_ANYONE = frozenset({"someone", "somebody", "anyone", "anybody"})
_DID = frozenset({"did", "does", "didn't", "doesn't"})
# At most this many words between "did" and its verb.
_QUESTION = 4
_ASKING = frozenset({"do", "does", "did", "if", "whether", "why", "who", "when"})
# Only a verb can precede these; "her" is left out, since it often belongs to a noun.
_TAKEN = frozenset({"it", "me", "him", "us", "them"})
_SOMETHING = frozenset({"a", "an", "another", "some", "new"})
_SEEING = frozenset({"see", "look", "read", "view", "open", "access", "edit"})
_RIGHTS = frozenset({"access", "permission", "permissions", "rights", "role", "privileges"})
_TOLD = frozenset(
    {"i", "we", "have", "had", "was", "were", "been", "is", "are", "has", "who", "that", "he", "she", "they"}
)


def head(  # noqa: PLR0911 - one way in each place
    tokens: Sequence[Token], place: int, inherited: Mood | None, verbs: frozenset[str] = frozenset()
) -> Head | None:
    """Return the stem and mood of a word that is a clause's verb; None if it is none.

    Args:
        tokens: the tokens of a sentence.
        place: index of the word.
        inherited: the mood of the clause before.
        verbs: stems of further known verbs, accepted only where nothing but a verb is possible.
    """
    word = tokens[place].norm
    if place == 0 and word == "new" and _is_heading(tokens):
        return "creat", "asked"  # "New task: ..."
    after = tokens[place + 1].norm if place + 1 < len(tokens) else ""
    if word in _LACKING | _SEEING | {"go"} and (found := _otherwise(tokens, place, word, after)):
        return found
    idiomatic = _begins_idiom(tokens, place)
    if word in BASES or word in LIGHT or idiomatic:
        if _is_noun(tokens, place, word, after):
            return None
        ambiguous = idiomatic or (word in NOUN_OR_VERB and after not in _TAKEN)  # "If it is full put me on the list"
        mood = _mood(tokens, place, inherited, ambiguous=ambiguous)
        if mood is not None:
            return stem(word), mood
        if word not in IRREGULAR:
            return _wanted(tokens, place)
    if word.endswith("ing") and stem(word) in ACTS | dict.fromkeys(verbs) and _is_asked_gerund(tokens, place):
        return stem(word), "asked"
    if word in IRREGULAR or (word.endswith("ed") and stem(word) in ACTS):
        passive = _passive(tokens, place)
        return (stem(IRREGULAR.get(word, word)), passive) if passive else None
    return _wanted(tokens, place) or _unknown(tokens, place, inherited, verbs)


def _is_asked_gerund(tokens: Sequence[Token], place: int) -> bool:
    """Whether it asks for what an -ing form says: "it needs cleaning", "help by booking", "booking would be fine"."""
    before = [token.norm for token in tokens[max(0, place - 8) : place]]
    last = before[-1] if before else ""
    if last in ("needs", "need", "requires", "mind"):
        return True
    if last in ("by", "in", "with"):
        return _is_help_asked_for(before, first=tokens[0].norm)
    after = [token.norm for token in tokens[place + 1 :]]
    welcome = any(after[at : at + 2] == ["would", "be"] and after[at + 2] in _WELCOME for at in range(len(after) - 2))
    return welcome and (not before or tokens[place - 1].kind == "mark")


def _is_help_asked_for(before: Sequence[str], first: str) -> bool:
    """Whether words ask for help: "could you help me by", "please assist in", "I need your help with"."""
    said = set(before)
    if not said & _HELPING or said & _DID or any(map(negates, before)):
        return False
    asked = ("you" in said and said & MODALS) or ("your" in said and said & _NEEDING)
    return bool(asked) or "please" in said or first in _HELPING


def _is_heading(tokens: Sequence[Token]) -> bool:
    """Whether a sentence is a heading for something to create: "New task", "New whatever: ..."."""
    return len(tokens) > 1 and (tokens[1].stem in THINGS or any(token.norm == ":" for token in tokens[2:4]))


def _begins_idiom(tokens: Sequence[Token], place: int) -> bool:
    """Whether a word and the particle after it form a verb: "back it up", "sign off"."""
    following = [token.norm for token in tokens[place + 1 : place + 3]]
    if following[:1] != ["it"] and following[:1] != ["them"]:
        following = following[:1]
    return tokens[place].norm not in BASES and any((tokens[place].stem, each) in IDIOMS for each in following)


def _otherwise(tokens: Sequence[Token], place: int, word: str, after: str) -> Head | None:
    """Find an act asked for without its own verb: "I need a key", "Ann should be able to see it", "it can go"."""
    before = {token.norm for token in tokens[max(0, place - 5) : place]}
    some = after in _SOMETHING or after in SMALL or after.isdigit()
    if word in _LACKING and some and not before & _ASKING and not _is_negated(tokens, place):
        return "get", "wished"
    if word in _SEEING and _is_to_be_able(tokens, place):
        return "shar", "asked"
    last = tokens[place - 1].norm if place else ""
    if word == "go" and last in ("can", "may", "should", "must") and _leads_out(tokens, place):
        return "delet", "asked"
    return None


def _is_negated(tokens: Sequence[Token], place: int) -> bool:
    """Whether a negation is right before a word: "nobody needs", "I don't want"."""
    near = [token.norm for token in tokens[max(0, place - 3) : place]]
    return any(negates(word) or word in ("nobody", "none") for word in near)


def _is_to_be_able(tokens: Sequence[Token], place: int) -> bool:
    """Whether it asks to enable somebody else: "Ann should be able to see the file"."""
    before = [token.norm for token in tokens[max(0, place - 6) : place]]
    if before[-3:] != ["be", "able", "to"] or _is_negated(tokens, place - 3):
        return False
    return before[-4:-3] in (["should"], ["must"], ["to"]) and not {"i", "you"} & set(before)


def _leads_out(tokens: Sequence[Token], place: int) -> bool:
    """Whether "can go" asks to delete: "... can go to the trash", "the old ones can go"."""
    rest = [token.norm for token in tokens[place + 1 : place + 5]]
    return not rest or rest[0] in (",", ";", "now", "too", "and") or bool({"trash", "bin", "junk"} & set(rest))


def _is_noun(tokens: Sequence[Token], place: int, word: str, after: str) -> bool:
    if (word, after) in _NO_ACTS or (word in ("write", "read", "edit", "view") and after in _RIGHTS):
        return True
    if word in NOUN_OR_VERB and after in COPULAS:
        return True
    if place > 1 and tokens[place - 1].kind == "number" and tokens[place - 2].norm in DETERMINERS:
        return True  # "the 30-day pass"
    follows = tokens[place + 1] if place + 1 < len(tokens) else None
    # "Issue 41" is a noun with a number; "Refund 41" is a verb.
    return word in ("issue", "ticket", "case") and follows is not None and follows.kind in ("number", "identifier")


def _unknown(tokens: Sequence[Token], place: int, inherited: Mood | None, verbs: frozenset[str]) -> Head | None:
    """Take an unknown word for a verb where nothing else fits: "Braise it", "pay Ann and serenade her"."""
    token = tokens[place]
    if (
        place + 1 >= len(tokens)
        or token.norm in SUBJECTS | DETERMINERS | PREPOSITIONS | MODALS | COPULAS | NEGATIONS | SKIPPED
    ):
        return None
    if token.norm in THINGS or "'" in plain(token.norm) or len(token.norm) <= 2 or token.norm.endswith(("ing", "ly")):  # noqa: PLR2004 - no verb is shorter
        return None
    after = tokens[place + 1]
    takes = after.norm in DETERMINERS or after.norm in OBJECT_PRONOUNS or after.norm == "it" or after.literal
    takes = takes or token.stem in verbs
    first = place == 0 or tokens[place - 1].norm in ("please", "kindly", "then", ":", ";")
    first = first or (inherited is not None and tokens[place - 1].norm == "and" and not token.named)
    invited = place > 1 and tokens[place - 1].norm == "you" and tokens[place - 2].norm in MODALS
    return (token.stem, inherited or "asked") if takes and (first or invited) else None


def _wanted(tokens: Sequence[Token], place: int) -> Head | None:
    """Find an act that is wished for by a noun: "I need a refund"."""
    word = tokens[place]
    if word.stem not in NOMINALS:
        return None
    for back in range(place - 1, max(-1, place - 6), -1):
        norm = tokens[back].norm
        if norm in ("need", "want", "like", "require", "request"):
            if _ASKING & {token.norm for token in tokens[max(0, back - 5) : back]}:
                return None
            return word.stem, "negated" if _is_negated(tokens, back) else "wished"
        if norm in ("to", "and", "of", ",") or norm in PREPOSITIONS:
            return None
    return None


def _mood(tokens: Sequence[Token], place: int, inherited: Mood | None, *, ambiguous: bool) -> Mood | None:  # noqa: PLR0911, PLR0912, C901 - a table of contexts
    """Return the mood of a base form; None if it is no verb here."""
    back = place - 1
    while back >= 0 and _is_skipped(tokens[back]):
        back -= 1
    if back < 0:
        return "asked"
    near = [token.norm for token in tokens[max(0, back - 3) : back + 1]]
    last = near[-1]
    if any(map(negates, near[-2:])) and "forget" not in near:
        return "negated"
    if last == "to":
        return _governed(tokens, back)
    if _is_asked_about(tokens, back):
        return "background"
    if back == place - 1 and _takes_it(tokens, back):
        return None
    if tokens[back].kind == "mark" or last in ("lets", "let's", "so", "either", "should", "must"):
        return "asked"
    if last in ("and", "or", "but", "then", "otherwise", "else"):
        return inherited or "asked"
    if last == "you":
        return (
            "background"
            if {"before", "after", "when", "once", "as", "while", "did", "do"} & set(near[:-1])
            else "asked"
        )
    if last in MODALS:
        return "asked" if "you" in near else "background"
    if last in ("i", "we") and len(near) > 1 and (near[-2] in MODALS or near[-2] == "should"):
        return "wished"
    if last in _ANYONE and len(near) > 1 and near[-2] in MODALS:
        return "asked"  # "could someone"
    if last in SUBJECTS:
        return "background"
    if last == "help" or (last in OBJECT_PRONOUNS and {"help", "have", "let"} & set(near[:-1])):
        return "asked"
    if ambiguous or last in DETERMINERS or last in PREPOSITIONS:
        # The number of a list item does not count.
        return "asked" if tokens[back].kind == "number" and back == 0 else None
    return "asked"


def _is_asked_about(tokens: Sequence[Token], back: int) -> bool:
    """Whether "did Ann" precedes, perhaps with words between: a question whether somebody did it."""
    for place in range(back, max(-1, back - _QUESTION), -1):
        if tokens[place].norm in _DID:
            return place < back and not tokens[place + 1].norm.startswith("you")
        if tokens[place].kind == "mark" or tokens[place].norm in ("and", "or", "but", "then", "please"):
            return False
    return False


def _takes_it(tokens: Sequence[Token], back: int) -> bool:
    """Whether the word before is itself an imperative, and this one its object: "deploy checkout"."""
    if tokens[back].norm not in BASES - _AUXILIARY:
        return False
    return back == 0 or tokens[back - 1].kind == "mark" or tokens[back - 1].norm in SKIPPED | {"and", "to", "you"}


def _is_skipped(token: Token) -> bool:
    return token.norm in SKIPPED or (token.kind == "word" and token.norm.endswith("ly") and len(token.norm) >= _ADVERB)


def _governed(tokens: Sequence[Token], back: int) -> Mood:  # noqa: PLR0911 - one context after another
    """Return the mood of an infinitive with "to", by what governs it."""
    recent = [token.norm for token in tokens[max(0, back - 4) : back]]
    if any(recent[place : place + 2] in (["no", "need"], ["no", "reason"]) for place in range(len(recent))):
        return "negated"
    if any(word.startswith("remind") for word in recent):
        return "reminder"
    if WISHING & set(recent):
        return "asked" if "you" in recent[1:] or recent[:1] == ["you"] else "wished"
    if recent[-2:] == ["be", "able"] and recent[:1] and recent[0] in MODALS and "you" in recent[1:2]:
        return "asked"  # "would you be able to"
    if INTENDING & set(recent[-2:]):
        return "background"
    if INSTRUCTING & set(recent[-2:]):
        return "asked"
    return "purpose" if recent else "asked"


def _passive(tokens: Sequence[Token], place: int) -> Mood | None:
    """Return the mood of a participle; None if it only describes something."""
    while place and _is_skipped(tokens[place - 1]):
        place -= 1
    near = [token.norm for token in tokens[max(0, place - 8) : place]]
    if not near:
        return None
    if any(word in NEGATIONS for word in near[-3:]):
        return "negated" if "be" in near[-2:] else None
    if near[-1] == "be" or (len(near) > 1 and near[-2] == "be"):
        return "asked" if (OBLIGING | MODALS | {"to"}) & set(near) else None
    if near[-1] in COPULAS and {"sure", "ensure", "ensuring"} & set(near[-6:]):
        return "asked"  # "make sure that the door is locked"
    if near[-1] in _TOLD or near[-1] in PREPOSITIONS:
        return None
    return "wished" if {"want", "need", "get", "like"} & set(near) else None
