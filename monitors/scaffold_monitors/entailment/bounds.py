"""What the request keeps within bounds: rights that nobody gave, what it wants to be without, names to the letter.

No value is put in another's place here: the request says "to look", and the call has "manage"; it says "no lift", and
the call has `lift=True`; it says "called Summer", and the call has "Summer, buy now".
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.clauses import clauses
from scaffold_monitors.entailment.evidence import asked_for
from scaffold_monitors.entailment.lexicon import ACTS, DETERMINERS, LEVELS, NEGATIONS, OPPOSITES, PREPOSITIONS
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import TARGETS, split
from scaffold_monitors.entailment.wording import plain, stands_in, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf, Situation
    from scaffold_monitors.entailment.tokens import Token

# Arguments that say how much somebody may do.
_RIGHTS = frozenset(map(stem, ("role", "access", "permission", "right", "privilege")))
_LOOKING, _CHANGING, _RULING = range(3)
# A flag whose name has one of these says what somebody may do.
_MAY = frozenset({"can", "may", "is", "as", "allow"})
# As far before a word stands what negates it: "not as an admin", "without a lift".
_REACH = 3
# So many words a flag's name may be told in.
_SPAN = 6
# Words of a flag's name that say nothing of what it is about, and those that make no of a yes.
_PLAINLY = frozenset({"is", "has", "be", "with", "include", "allow", "enable", "use", "want", "needs", "should"})
_TURNED = frozenset({"no", "not", "without", "skip", "disable", "exclude", "omit", "suppress"})
_WITHOUT = NEGATIONS | {"no"}
_CONDITIONAL = frozenset({"if", "whether", "unless", "when", "case", "or"})
_EXCEPTING = frozenset({"not", "except", "excluding", "besides"})
_BETWEEN = (DETERMINERS | PREPOSITIONS | {"to"}) - {"no"}
_AIMED = TARGETS | {"record"}
# Arguments that are a name.
_NAMES = frozenset({"name", "title", "subject", "heading", "header", "label"})
_CALLED = frozenset({"called", "named", "titled", "entitled", "labelled", "labeled"})


def exceeded(call: Call, situation: Situation) -> Iterator[Finding]:
    """What a call has beyond what the request says."""
    request = situation.request
    for leaf in call.leaves:
        if leaf.pending:
            continue
        if isinstance(leaf.value, bool):
            yield from _turned_round(call, leaf, request)
        if leaf.value is True:
            yield from _raised(call, leaf, leaf.argument, request)
        elif isinstance(leaf.value, str):
            if leaf.role in _AIMED and _excepted(plain(leaf.text), request):
                why = f"the request says not {leaf.text!r}, and {leaf.path} is just that"
                yield against(call, "block", why, f"{leaf.path} is what the request leaves out", leaf)
            if _RIGHTS & set(map(stem, split(leaf.argument))):
                yield from _raised(call, leaf, leaf.text, request)
            if leaf.role == "text" and _NAMES & set(split(leaf.argument)):
                yield from _lengthened(call, leaf, request)


@lru_cache(maxsize=4096)
def _excepted(text: str, request: str) -> bool:
    """Whether all that a request says of something is that it is left out: "not to the press", "except Ann"."""
    wanted, said = words(text), words(request)
    if not _EXCEPTING & set(said):
        return False
    places = [place for place in range(len(said)) if said[place : place + len(wanted)] == wanted] if wanted else []
    return bool(places) and all(
        next((word in _EXCEPTING for word in reversed(said[:place]) if word not in _BETWEEN), False) for place in places
    )


def _raised(call: Call, leaf: Leaf, given: str, request: str) -> Iterator[Finding]:
    """More may be done than the request says: to change what is to be looked at, or to rule over it."""
    mine = max((LEVELS[each] for each in map(stem, split(given)) if each in LEVELS), default=_LOOKING)
    said_so = isinstance(leaf.value, str) and asked_for(leaf, request) and not _denied(given, request)
    if mine == _LOOKING or said_so or (leaf.value is True and not _MAY & set(split(given))):
        return
    said = _levels(request)
    if mine > max(said, default=_CHANGING):
        why = f"{leaf.path} is {leaf.text!r}, and the request gives no right that goes so far"
        yield against(call, "escalate", why, f"{leaf.path} is more than the request gives", leaf)


@lru_cache(maxsize=256)
def _levels(request: str) -> frozenset[int]:
    """How far the rights go that a request speaks of, without those that it denies."""
    said = words(request)
    return frozenset(
        LEVELS[stem(word)] for place, word in enumerate(said) if stem(word) in LEVELS and not is_negated(said, place)
    )


def _denied(text: str, request: str) -> bool:
    """Whether all that a request says of something is that it is not to be."""
    said, wanted = words(request), words(text)
    places = [place for place in range(len(said)) if said[place : place + len(wanted)] == wanted]
    return bool(places) and all(is_negated(said, place) for place in places)


def _turned_round(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    """A flag is not what the request says: `lift=True` for "no lift", `private=False` for "a private room"."""
    parts = split(leaf.argument)
    about = tuple(part for part in parts if part not in _PLAINLY | _TURNED)
    if not about or stem(about[0]) == call.tool.verb:
        return
    chosen = leaf.value is not bool(_TURNED & set(parts))
    opposite = OPPOSITES.get(about[0], "") if len(about) == 1 else ""
    wanted = False if _is_ruled_out(about, request) else _wanted(about, request)
    if wanted is None and opposite and (other := _wanted((opposite,), request)) is not None:
        wanted = not other
    if wanted is not None and wanted is not chosen:
        why = f"{leaf.path} is {str(leaf.value).lower()}, and the request says otherwise: {' '.join(about)!r}"
        yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, " ".join(about))


@lru_cache(maxsize=256)
def spared(request: str) -> frozenset[str]:
    """The words, uninflected, that a request only says of what it leaves out: "all of them, except the blue ones"."""
    out: set[str] = set()
    for tokens in sentences(request):
        place = next((place for place, token in enumerate(tokens) if _excepts(token, tokens[place + 1 :])), None)
        rest = takewhile(lambda token: token.kind != "mark", tokens[place + 1 :] if place is not None else ())
        out.update(token.stem for token in rest if token.stem)
    return frozenset(out)


def _excepts(token: Token, after: Sequence[Token]) -> bool:
    return token.norm in ("except", "excluding", "besides") or (
        token.norm in ("apart", "other", "aside") and bool(after) and after[0].norm in ("from", "than")
    )


def is_negated(said: tuple[str, ...], place: int) -> bool:
    """Whether what stands at a place among some words is negated right before it: "not as an admin"."""
    return any(map(_denies, said[max(0, place - _REACH) : place]))


@lru_cache(maxsize=1024)
def _is_ruled_out(about: tuple[str, ...], request: str) -> bool:
    """Whether a request says not to do what a flag's name says, in other words: "don't mail the customers"."""
    acts, nouns = ACTS.get(stem(about[0]), frozenset()), set(map(stem, about[1:]))
    return bool(nouns) and any(
        clause.weight < 0 and clause.acts & acts and nouns <= clause.stems for clause in clauses(request)
    )


@lru_cache(maxsize=1024)
def _wanted(about: tuple[str, ...], request: str) -> bool | None:
    """Whether a request wants what some words name: not where "no" or "without" is right before them.

    None where it does not speak of it, or says both.
    """
    bare = tuple(word for word in words(request) if word not in ("a", "an", "any", "the"))
    said, wanted = tuple(map(stem, bare)), tuple(map(stem, about))
    places = [place for place in range(len(said)) if _runs_loosely(wanted, said[place : place + _SPAN])]
    denied = [(bool(place) and _denies(bare[place - 1])) or _is_off(wanted, said[place:]) for place in places]
    if all(denied):
        return False if denied else None
    # "Don't make it public", "ask whether it is public" say nothing so plainly.
    open_ = any(_denies(word) or word in _CONDITIONAL for place in places for word in bare[max(0, place - 5) : place])
    return None if open_ else True


def _is_off(wanted: tuple[str, ...], said: tuple[str, ...]) -> bool:
    """Whether "off" stands right behind some words: "with renewal off"."""
    return said[: len(wanted)] == wanted and said[len(wanted) : len(wanted) + 1] in (("off",), ("disabl",))


def _runs_loosely(wanted: tuple[str, ...], said: tuple[str, ...]) -> bool:
    """Whether some words stand in a row, perhaps with others between: "charge the late fee"."""
    rest = iter(said)
    return said[:1] == wanted[:1] and all(word in rest for word in wanted)


def _denies(word: str) -> bool:
    return word in _WITHOUT or word.endswith("n't")


def _lengthened(call: Call, leaf: Leaf, request: str) -> Iterator[Finding]:
    """What is to be called something is called that, and no more."""
    said, mine = plain(request).split(), plain(leaf.text).split()
    if not mine or stands_in(leaf.text, request):
        return
    for before, first in pairwise(said):
        if before.strip(",:") in _CALLED and first.strip("\"',.:;") == mine[0].strip("\"',.:;"):
            why = f"the request says what it is {before}, and {leaf.path} = {leaf.text!r} says more than that"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return
