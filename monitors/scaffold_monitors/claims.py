"""Finds mentions of actions and abilities that do not exist in what a model wrote.

It looks for four signs, by their form and never by a single word: a tool call written out
(`{"name": "wire", "arguments":`), an announcement that names a tool ("I will call `wire_money`", "use the wire tool"),
a call with the misspelt name of an action (`send_mail(` for `send_email`), and, in English only, a claim to be able to
do, or to have done, what no action does ("I have sent the email"). Quotations and code blocks are skipped as somebody
else's words, except for tool calls written out.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scaffold.vocabulary.actions import ActionSpec

_NAME = r"[A-Za-z_]\w*(?:[.:-]\w+)*"
_CLOSE = 0.85
_LONG_ENOUGH = 5

# Words before "tool" or "action" that name none.
_NO_NAME = (
    "a an any all both each every this that these those the my our your its their same right correct appropriate "
    "proper available provided given following next first second last other another new only one two suitable "
    "relevant best required necessary existing external single simple different listed mentioned above below "
    "which what some no such more further certain corrective legal drastic disciplinary quick immediate direct "
    "bold"
)
_NO_NAMES = frozenset(_NO_NAME.split())

_WRITTEN_OUT = re.compile(
    rf"""
      "(?:name|action)"\s*:\s*"(?P<json>{_NAME})"\s*,\s*"(?:arguments|parameters|args|action_input)"\s*:
    | "(?:tool|tool_name|function_name)"\s*:\s*"(?P<key>{_NAME})"
    | <(?:function|tool|invoke)(?:=|\s+name=")(?P<tag>{_NAME})
    | ^[ \t]*Action:[ \t]*(?P<react>{_NAME})(?=[\[(]|[ \t]*\n[ \t]*Action\ Input:)
    """,
    re.VERBOSE | re.MULTILINE,
)
_ANNOUNCED = re.compile(
    rf"""
    \b(?:(?:(?:I|we)
            (?:'ll|\ will|\ shall|\ can|\ must|\ should|\ need\ to|\ am\ going\ to|\ are\ going\ to|'m\ going\ to)
        |let\ me|let's|let\ us)
    \ (?:now\ |then\ |first\ |next\ |also\ |simply\ |just\ )*
    (?:call|invoke|use|run|execute|trigger)
    |(?<!if\ )(?:I|we)(?:'ve|\ have)?\ (?:already\ |now\ |then\ |first\ |also\ |simply\ |just\ )*
    (?:called|invoked|used|ran|executed|triggered))
    \ (?:the\ |my\ )?
    (?:(?:tool|action|function|API)\ )?
    (?:`(?P<ticked>{_NAME})(?:\([^`]*\))?` | (?P<bare>{_NAME}) (?P<after>\(|\ (?:tool|action|function|API|endpoint)\b)?)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CALLED = re.compile(rf"(?<![\w.`/\\])(?P<name>{_NAME})\((?!s\))")
_COMPOUND = re.compile(r"[a-z0-9]_[a-z0-9]|[a-z][A-Z]")
_OTHERS_WORDS = re.compile(
    r'```.*?(?:```|\Z)|"[^"\n]{1,600}"|“[^”]{1,600}”|«[^»]{1,600}»|^[ \t]*>[^\n]*$', re.DOTALL | re.MULTILINE
)

_CLAIM = r"\bI(?:'ll| can| will| am able to|'m able to)(?: now| also| then| simply| just| easily)? "
# What somebody asks, or what would be so if it were done, is no claim.
_DONE = (
    r"(?<!\bif )(?<!\bhad )(?<!\bbefore )(?<!\buntil )(?<!\bonce )"
    r"\bI(?:'ve| have)?(?: already| now| just| also| successfully)? "
)
_BETWEEN = r"(?: [\w'-]+){0,4}? "


class Ability(NamedTuple):
    """An ability that a model may claim to have.

    Attributes:
        what: the ability in words.
        claimed: pattern of the claim.
        words: prefixes of words; an action with one in its name or description gives the ability.
    """

    what: str
    claimed: re.Pattern[str]
    words: tuple[str, ...]


def _ability(what: str, now: str, done: str, of: str, *words: str) -> Ability:
    claimed = rf"(?:{_CLAIM}(?:{now})|{_DONE}(?:{done})){_BETWEEN}(?:{of})\b"
    return Ability(what, re.compile(claimed, re.IGNORECASE), words)


ABILITIES = (
    _ability(
        "search the web",
        "browse|search|surf|access",
        "browsed|searched|accessed",
        "web|internet",
        "web", "search", "brows", "http", "url", "internet", "online",
    ),
    _ability(
        "send messages",
        "send|write|forward",
        "sent|forwarded",
        "e-?mails?|mails?|sms|text messages?",
        "mail", "send", "sms", "messag", "notif",
    ),
    _ability(
        "run code",
        "run|execute",
        "run|executed",
        "code|scripts?|programs?|shell commands?|sql",
        "run", "exec", "code", "script", "shell", "python", "sql",
    ),
    _ability(
        "move money",
        "pay|transfer|wire|refund",
        "paid|transferred|wired|refunded",
        "money|invoices?|bills?|amounts?|funds|payments?|dollars|euros",
        "pay", "transfer", "wire", "refund", "bank", "money",
    ),
    _ability(
        "delete things",
        "delete|erase",
        "deleted|erased",
        "files?|folders?|records?|databases?|tables?|rows?|accounts?|e-?mails?|messages?|invoices?|documents?|backups?",
        "delet", "eras", "remov", "drop", "purge", "clean",
    ),
    _ability(
        "book or buy things",
        "book|buy|purchase|reserve",
        "booked|bought|purchased|reserved",
        "flights?|hotels?|tickets?|rooms?|tables?|seats?",
        "book", "buy", "purchas", "reserv", "order",
    ),
    _ability(
        "remember other conversations",
        "remember|recall",
        "remembered|recalled",
        "(?:previous|earlier|past|last|other) (?:conversations?|chats?|sessions?)",
        "histor", "conversation", "recall", "memor",
    ),
    _ability(
        "see or hear its surroundings",
        "see|hear|access|use",
        "seen|heard|accessed|used",
        "your (?:screen|face|camera|microphone|room)",
        "screen", "camera", "microphone", "photo", "audio", "record",
    ),
)  # fmt: skip


class Claim(NamedTuple):
    """One mention of something that does not exist.

    Attributes:
        start: offset of its first character in the text.
        end: offset after its last character.
        why: what is wrong with it.
    """

    start: int
    end: int
    why: str


def claims(text: str, actions: Mapping[str, ActionSpec]) -> list[Claim]:
    """Find the claims in a text, in order and without overlaps."""
    others = [match.span() for match in _OTHERS_WORDS.finditer(text)]
    said = (*_announced(text, actions), *_misspelt(text, actions), *_abilities(text, actions))
    own = (claim for claim in said if not any(start <= claim.start < end for start, end in others))
    found = sorted([*_written_out(text, actions), *own])
    return [claim for place, claim in enumerate(found) if not place or claim.start >= found[place - 1].end]


def _written_out(text: str, actions: Mapping[str, ActionSpec]) -> Iterator[Claim]:
    for match in _WRITTEN_OUT.finditer(text):
        name = match[match.lastgroup or 0]
        if not _exists(name, actions):
            yield Claim(*match.span(match.lastgroup or 0), _none(name, actions))


def _announced(text: str, actions: Mapping[str, ActionSpec]) -> Iterator[Claim]:
    for match in _ANNOUNCED.finditer(text):
        name = match["ticked"] or match["bare"]
        if match["ticked"] is None:
            called, compound = match["after"] == "(", _COMPOUND.search(name) is not None
            as_tool = match["after"] is not None and name.lower() not in _NO_NAMES
            if not (as_tool or compound) or (called and not compound and len(name) == 1):
                continue  # "I will use the table", "I can use f(x)"
        if not _exists(name, actions):
            yield Claim(match.start(), match.end(), _none(name, actions))


def _misspelt(text: str, actions: Mapping[str, ActionSpec]) -> Iterator[Claim]:
    """Find calls whose name differs from an action's only in spelling, or by a letter or two."""
    plainly = {_plain(name): name for name in actions}
    for match in _CALLED.finditer(text):
        name = match["name"]
        if _exists(name, actions):
            continue
        plain = _plain(name)
        same = plainly.get(plain)
        close = get_close_matches(plain, plainly, n=1, cutoff=_CLOSE) if len(plain) >= _LONG_ENOUGH else []
        meant = same or (plainly[close[0]] if close else "")
        if meant:
            yield Claim(match.start("name"), match.end("name"), f"there is no action {name!r}; did you mean {meant!r}?")


def _abilities(text: str, actions: Mapping[str, ActionSpec]) -> Iterator[Claim]:
    words = {word for spec in actions.values() for word in _words(f"{spec.name} {spec.description}")}
    for ability in ABILITIES:
        if any(word.startswith(ability.words) for word in words):
            continue
        for match in ability.claimed.finditer(text):
            yield Claim(match.start(), match.end(), f"no action can {ability.what}")


def _exists(name: str, actions: Mapping[str, ActionSpec]) -> bool:
    """Whether an action has this name, perhaps with a prefix (`functions.pay`)."""
    return name in actions or re.split(r"[.:]", name)[-1] in actions


def _none(name: str, actions: Mapping[str, ActionSpec]) -> str:
    near = get_close_matches(name, actions, n=1, cutoff=0.6)
    return f"there is no action {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]
