"""A ledger of the facts that a run's steps have stated: thing, property and value.

A belief is extracted from an answer by plain rules:

- an object in a structured answer: `{"invoice": "INV-7", "account": "DE07"}` states INV-7's account;
- a sentence that states one property of one thing: "the account of INV-7 is DE07", "INV-7's account is DE07", "INV-7
  has an account of DE07", "the account for INV-7: DE07";
- a sentence that gives a number with a verb: "INV-7 costs 12.50".

Hedged, negated, interrogative and conditional sentences state nothing. English only. A belief from before a change of
the world may have been true then, so an effect empties the ledger.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMEMBERED = 4096
_LONGEST = 20_000  # characters of one answer that are read
_DEEP = 4
_MOST = 200  # beliefs of one answer

_SENTENCE = re.compile(r"(?<=[.!?;\n])\s+")
_HEDGED = re.compile(
    r"\b(?:if|would|could|should|(?-i:may)|might|maybe|perhaps|suppose\w*|assum\w+|unless|not|never|cannot|\w+n['\u2019]t|either|or|whether|probably|"
    r"possibly|likely|about|roughly|approximately|was previously|used to|no longer|instead of)\b|\?",
    re.IGNORECASE,
)
_THING = r"(?P<thing>[\w#$€£][\w .#/&-]{0,60}?)"
_WHAT = r"(?P<what>[a-z][a-z -]{1,40}?)"
_VALUE = r"(?P<value>[^,;]{1,80}?)[.!]?$"
_START = r"^(?:[-*]\s+|\d+\.\s+)?(?:so|thus|therefore|hence|now|and|also|note that|we know that|as stated)?,?\s*"
_FORMS = tuple(
    re.compile(_START + form, re.IGNORECASE)
    for form in (
        rf"the {_WHAT} (?:of|for) {_THING} (?:is|was|are|equals|comes to)(?: exactly)? {_VALUE}",
        rf"the {_WHAT} (?:of|for) {_THING}: {_VALUE}",
        rf"{_THING}(?:['\u2019]s) {_WHAT} (?:is|was|are|equals|comes to)(?: exactly)? {_VALUE}",
        rf"{_THING} has (?:a|an|the) {_WHAT} of {_VALUE}",
    )
)
_NUMBERED = re.compile(
    _START
    + rf"{_THING} (?P<what>[a-z]+(?: (?:at|on|in|to|for|by|up to))?) (?P<value>[$€£]?\d[\w.,:/ -]{{0,30}}?)[.!]?$",
    re.IGNORECASE,
)
_NAMES = ("id", "name", "number", "no", "code", "key", "ref", "reference", "title")
# An answer's remark about itself is no property of its thing.
REMARK = re.compile(
    r"notes?|remarks?|comments?|reason(?:s|ing)?|why|explanation|rationale|summary|description|confidence|sure|source|"
    r"quote|evidence|step"
)
_ARTICLES = re.compile(r"^(?:the|a|an|this|that|our|its)\s+", re.IGNORECASE)


class Belief(NamedTuple):
    """A fact that an answer states.

    Attributes:
        of: the thing and its property, normalised.
        value: the property's value, normalised.
        quote: the words that state it.
    """

    of: tuple[str, str]
    value: str
    quote: str


class Held(NamedTuple):
    """A belief of an earlier step."""

    key: str
    value: str
    quote: str


@dataclass(slots=True)
class Beliefs:
    """The beliefs that a run's steps have stated, of the latest things only.

    Attributes:
        held: for each property of a thing, the beliefs about it by the key of their step.
    """

    held: OrderedDict[tuple[str, str], dict[str, Held]] = field(default_factory=OrderedDict)
    by_key: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def take(self, event: ev.Event, content: dict[str, Any]) -> None:
        """Process one more event."""
        match event:
            case ev.StepAnswered(ledger="model", ok=True):
                self._forget(event.key)
                samples = content.get("samples", ())
                text = samples[event.winner]["text"] if 0 <= event.winner < len(samples) else ""
                for belief in stated(content.get("value"), text):
                    self._add(event.key, belief)
            case ev.Released(subject="step", ok=False):
                self._forget(event.key)  # the planner never got it
            case ev.ActionOutcome() if event.key in self.by_key:
                self.by_key.pop(event.key)
                if event.status != "failed":
                    self.held.clear()
                    self.by_key.clear()
            case ev.ActionIntent() if event.effect != "read":
                self.by_key[event.key] = []
            case _:
                pass

    def _add(self, key: str, belief: Belief) -> None:
        said = self.held.setdefault(belief.of, {})
        said.setdefault(key, Held(key, belief.value, belief.quote))
        self.held.move_to_end(belief.of)
        self.by_key.setdefault(key, []).append(belief.of)
        while len(self.held) > _REMEMBERED:
            _, gone = self.held.popitem(last=False)
            for each in gone:
                self.by_key.pop(each, None)

    def _forget(self, key: str) -> None:
        for of in self.by_key.pop(key, ()):
            said = self.held.get(of)
            if said is not None:
                said.pop(key, None)
                if not said:
                    del self.held[of]

    def against(self, key: str, belief: Belief) -> Held | None:
        """Return the belief of another step that contradicts this one, if any."""
        said = self.held.get(belief.of, {})
        return next((each for each in said.values() if each.key != key and each.value != belief.value), None)


def stated(value: Any, text: str) -> list[Belief]:
    """Extract the beliefs from an answer's value and from its text."""
    if isinstance(value, str):
        return list(_worded(text or value))[:_MOST]
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text[:_LONGEST])  # in the order as written: an object's first field names its thing
    found: list[Belief] = []
    for belief in _structured(value, _DEEP):
        found.append(belief)
        if len(found) == _MOST:
            break
    return found


def _worded(text: str) -> Iterator[Belief]:
    for sentence in _SENTENCE.split(text[:_LONGEST]):
        plain = sentence.strip()
        if not plain or len(plain) > 300 or _HEDGED.search(plain):  # noqa: PLR2004 - longer ones say more than one thing
            continue
        match = next((found for form in _FORMS if (found := form.match(plain))), None) or _NUMBERED.match(plain)
        if match is not None:
            yield Belief((_form(match["thing"]), _form(match["what"])), _form(match["value"]), plain)


def _structured(value: Any, deep: int) -> Iterator[Belief]:
    if not deep:
        return
    if isinstance(value, list):
        for each in value:
            yield from _structured(each, deep - 1)
    if not isinstance(value, dict):
        return
    scalars = {name: each for name, each in value.items() if isinstance(each, str | int | float) and each != ""}
    names = [name for name in scalars if name.lower() in _NAMES or name.lower().endswith(("_id", "_number", "_name"))]
    texts = [name for name, each in scalars.items() if isinstance(each, str)]
    own = names[0] if names else texts[0] if texts else None
    if own is not None:
        thing = _form(str(scalars[own]))
        for name, each in scalars.items():
            if name != own and not REMARK.fullmatch(name.lower()) and len(str(each)) <= 80:  # noqa: PLR2004 - longer ones are prose, which varies
                what = _form(name.replace("_", " "))
                yield Belief((thing, what), _form(str(each)), f"{scalars[own]}: {name} = {each}")
    for each in value.values():
        yield from _structured(each, deep - 1)


def _form(text: str) -> str:
    """Normalise spellings that mean the same."""
    plain = " ".join(text.casefold().split()).strip(" .,:;!\"'`")
    plain = _ARTICLES.sub("", plain)
    number = plain.replace(",", "")
    if re.fullmatch(r"-?\d+\.\d+", number):
        return number.rstrip("0").rstrip(".")
    return number if re.fullmatch(r"-?\d+", number) else plain
