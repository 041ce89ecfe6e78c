"""Reads an action's specification: which act it performs, on which things, and the role of each argument."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise, takewhile
from os.path import commonprefix
from typing import Any, Literal, get_args

from scaffold_monitors.entailment.lexicon import (
    ACTS,
    BASES,
    DETERMINERS,
    IDIOMS,
    LIGHT,
    MEASURES,
    NOMINALS,
    PREPOSITIONS,
    ROLES,
    THINGS,
)
from scaffold_monitors.entailment.wording import plain, stem, words

Role = Literal["credential", "principal", "address", "place", "record", "amount", "time", "text", "flag", "thing"]
# Roles of an effect's targets.
TARGETS: frozenset[Role] = frozenset({"principal", "address", "place", "thing"})
# Those of parties who could gain by it: persons, accounts, and outside addresses.
OUTSIDERS: frozenset[Role] = frozenset({"principal", "address"})

ALL_ROLES: tuple[Role, ...] = get_args(Role)
# Key in an argument's schema that states its role.
STATED = "x-role"
_ROLES: Mapping[Role, frozenset[str]] = ROLES
_ID = frozenset({"id", "ids", "uuid", "sha", "ref", "number", "no", "identifier", "index", "nr"})
_LONGEST = 200
# "view or edit", "'low', 'medium' or 'high'"
_OR = re.compile(r"(?<![\w])['\"]?\w+['\"]?(?:, ?['\"]?\w+['\"]?)*,? or ['\"]?\w+['\"]?(?![\w])")
# Choices in brackets, quoted or with slashes between them.
_BRACKETED = re.compile(r"\[((?:['\"][^'\"\]]+['\"],? ?){2,})\]|\((\w+(?:/\w+)+)\)")
# Ends a sentence or a label in a description.
_ENDED = re.compile(r"[.:]\s+")
_SIGNING_IN = frozenset(map(stem, ("login", "logon", "signin", "authenticate")))
_GOING = re.compile(r"changes? (?:the )?(?:current |working )+(?:directory|folder)\b")
_MOVING = frozenset({"change", "go", "navigate", "set", "switch"})
# A further act: "Signs in and closes the account", "Changes the folder. Deletes the old one."
_ALSO = re.compile(r"(?:\b(?:and|then|before|after|or) |[,;:] )(?:then |it |also |and )*(\w+)")
_NEXT = re.compile(r"[.;] (?:it |also |then )*(\w+s)\b")
# "tenant present or key safe", and nothing else: no example, no article.
_CHOICE = r"['\"]?(?!an? |the |e\.g|any |no )[\w-]+(?: [\w-]+){0,2}['\"]?"
_CHOICES = re.compile(rf"{_CHOICE}(?:, ?{_CHOICE})*,? or {_CHOICE}\.?")
_DEFAULT = re.compile(r"\bdefault(?:s to|:)? ['\"]?(true|false)\b")
_AND_DOES = re.compile(r"\band (\w+s) (?:it|them)\b")
_FINAL = re.compile(
    r"\bfor (?:good|ever)\b|\bforever\b|\bpermanent|\birrevocabl|\birreversibl|\birrecoverabl|\bunrecoverabl"
    r"|\b(?:cannot|can't|can not) be (?:undone|restored|recovered|reversed|taken back)\b|\bno way back\b"
    r"|\b(?:whole|entire|full|complete) history\b|\bwithout a trace\b"
)
_BARE = re.compile(r"\w+")
_SPLIT = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.UNICODE)
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
# Addresses without a scheme, or defanged ("hxxp", "[.]").
_BARE_URL = re.compile(
    r"(?<![\w@./-])(?:[a-z0-9-]+(?:\.|\[\.\]|\(\.\)))+[a-z]{2,24}/[^\s)]+|\bhxxps?://\S+"
    r"|(?<![\w@./-])[a-z0-9-]+(?:\[\.\]|\(\.\))[a-z]{2,24}\b",
    re.IGNORECASE,
)
# A bare host name. Endings shared with files ("notes.md", "run.sh") are left out. A capital after the dot begins a
# sentence ("It is done.In short"), except in well-known endings; `example` is from RFC 2606.
_HOST = re.compile(
    r"(?<![\w@./-])(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.){1,8}(?:(?i:com|org|net|info|biz|xyz|example)"
    r"|edu|gov|int|top|site|online|shop|store|club|click|link|live|icu|vip|win|bid|loan|work|website|space|tech|agency"
    r"|cloud|page|today|world|life|support|help|dev|app|pro|mobi|blog|news|money|pay|finance|bank|gift|promo|sale|deals"
    r"|io|co|ai|me|tv|ly|gg|eu|uk|de|fr|ch|at|nl|be|es|pt|se|dk|fi|pl|cz|ru|ua|cn|jp|kr|in|us|ca|au|nz|br|mx|za|tk|ga|cf"
    r"|gq|su)(?![\w@-]|\.\w|/)"
)
_ACCOUNT = re.compile(
    r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"  # IBAN (ISO 13616)
    r"|\b0x[0-9a-fA-F]{16,}\b|\b[13][a-km-zA-HJ-NP-Z1-9]{25,34}\b"  # wallets
)


@dataclass(frozen=True)
class Tool:
    """An action as its specification describes it.

    Attributes:
        name: its name in plans.
        verb: stem of the verb in its name or description.
        acts: the kinds of act it can be.
        stems: stems of the other words of its name; if none, of the objects in its description.
        head: the head noun among them: the last before any preposition.
        things: the kinds of thing that `stems` name.
        described: the kinds of thing that its description mentions.
        told: the stems of the description that mention them.
        final: whether its description says that it cannot be undone.
        signs_in: whether it signs the user in.
        goes: whether it only changes the current folder.
        effect: whether it changes the world, or sends something out.
        outward: whether it only reads, but from an address that its caller chooses.
        roles: the role of each argument.
        main: its first argument.
        identity: the arguments that identify the thing acted on.
        said: stem of the verb that its description begins with.
        choices: for each argument that takes one of several words, these words.
        options: for each flag that may be left out, its default; None where it is not stated.
    """

    name: str
    verb: str
    acts: frozenset[str]
    stems: frozenset[str]
    head: str
    things: frozenset[str]
    described: frozenset[str]
    effect: bool
    outward: bool
    roles: Mapping[str, Role] = field(default_factory=dict)
    main: str = ""
    identity: tuple[str, ...] = ()
    said: str = ""
    choices: Mapping[str, frozenset[str]] = field(default_factory=dict)
    options: Mapping[str, bool | None] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    final: bool = False
    signs_in: bool = False
    goes: bool = False

    @property
    def prepares(self) -> bool:
        """Whether it only prepares what another tool then does, such as filling a basket."""
        return bool(self.stems & _BASKETS) and "buy" in self.acts and "delete" not in self.acts

    @property
    def bare(self) -> bool:
        """Whether its name is one word."""
        return len(split(self.name)) == 1

    @property
    def destroys(self) -> bool:
        """Whether it destroys something."""
        return "delete" in ACTS.get(self.verb, ()) and "create" not in ACTS.get(self.verb, ())

    @property
    def empowers(self) -> bool:
        """Whether it gives somebody access or authority."""
        given = "grant" in self.acts and bool(self.things & {"person", "policy", "channel", "file", "repository"})
        return given or self.verb in _OPENING


def read_tool(
    name: str, description: str, parameters: Mapping[str, Any], *, effect: bool, identity: tuple[str, ...] = ()
) -> Tool:
    """Parse a specification; `parameters` is the JSON Schema of its arguments."""
    parts = split(name)
    first_words = words(description.split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0])
    if len(parts) > 1 and parts[0] in LIGHT and stem(parts[1]) in NOMINALS:
        parts = parts[1:]  # "issue_refund" is to refund
    described = next((stem(word) for word in first_words[:4] if stem(word) in ACTS), "")
    verbs = [place for place, part in enumerate(parts) if part in BASES]
    if len(verbs) > 1 and verbs[0] and stem(parts[verbs[-1]]) == described:
        verbs.reverse()  # `stock_count_set`, which "sets the count"
    place = verbs[0] if verbs else None
    if place is None and not described and parts and stem(parts[0]) not in THINGS:
        place = 0  # an unknown verb
    verb = described if place is None else stem(parts[place])
    verb = _compound(parts[0]) or verb if parts and place in (None, 0) else verb
    verb = next((IDIOMS[verb, part] for part in parts if (verb, part) in IDIOMS), verb)
    nouns = frozenset(stem(part) for number, part in enumerate(parts) if number != place and part not in _EMPTY)
    acted_on = _acted_on(first_words)
    ahead = list(
        takewhile(lambda part: part not in PREPOSITIONS and part != "to", parts[(place or 0) + (place is not None) :])
    )
    stems = nouns or acted_on
    things = _things(stems)
    acts = ACTS.get(verb, frozenset())
    if not verb or verb in _MAKING:
        acts |= frozenset(act for each in stems for act in NOMINALS.get(each, ()))
    if stems & _BASKETS and acts & {"create", "change"}:
        acts |= {"buy"}  # an order fills the basket first
    acts = _plausible(verb, acts, things | (_things(acted_on) & {"policy"}) if things else _things(acted_on))
    if "delete" not in acts:
        acts |= _besides(description)
    roles = _roles(parameters, acts)
    reads_out = "address" in roles.values() and (
        not effect or ((verb in _FETCHING or (verb == "open" and "web" in things)) and not _keeps(roles))
    )
    return Tool(
        name=name,
        verb=verb,
        acts=acts,
        stems=stems,
        head=stem(ahead[-1]) if ahead else "",
        things=things,
        described=_things(acted_on),
        effect=effect or reads_out,
        outward=reads_out,
        roles=roles,
        main=next(iter(roles), ""),
        identity=identity,
        choices=_choices(parameters),
        options=_options(parameters),
        told=acted_on,
        final=is_final(description),
        signs_in=bool(_SIGNING_IN & {*map(stem, parts), *map(stem, first_words[:1])}) and _is_all(parts, description),
        goes=bool(_GOING.match(plain(description).strip())) and _is_all(parts, description),
        said=stem(first_words[0]) if first_words and first_words[0] not in LIGHT else "",
    )


def descriptions_apart(descriptions: Mapping[str, str]) -> dict[str, str]:
    """Return tools' descriptions by name, each with what it says about its family of tools at its end.

    "This tool belongs to the calendar. Deletes an event." begins as the others of the calendar do, and with no act.
    """
    ordered = sorted(set(descriptions.values()))
    shared: dict[str, int] = {}
    for pair in pairwise(ordered):
        ends = [found.end() for found in _ENDED.finditer(commonprefix(pair))]  # noqa: RUF071 - of texts
        if ends and stem(next(iter(words(pair[0])), "")) not in ACTS:
            shared.update({each: max(shared.get(each, 0), ends[-1]) for each in pair})
    return {
        name: f"{text[shared.get(text, 0) :]} {text[: shared.get(text, 0)]}".strip()
        for name, text in descriptions.items()
    }


@lru_cache(maxsize=1024)
def is_final(text: str) -> bool:
    """Whether a text mentions something that cannot be undone."""
    return bool(_FINAL.search(plain(text)))


def _besides(description: str) -> frozenset[str]:
    """Return further acts in a description, such as "Makes an invoice and mails it to the customer"."""
    also = frozenset(act for verb in _AND_DOES.findall(plain(description)) for act in ACTS.get(stem(verb), ()))
    return also & {"send"}


def _is_all(parts: Sequence[str], description: str) -> bool:
    """Whether a tool does nothing besides: its name has no other verb, its description no further act."""
    said = plain(description)
    further = (*_ALSO.findall(said.partition(". ")[0]), *_NEXT.findall(said))
    return set(parts) & BASES <= _MOVING and not any(stem(verb) in ACTS for verb in further)


@lru_cache(maxsize=1024)
def _compound(part: str) -> str:
    """Return the meaning of a verb and particle written as one word, such as `rollback`."""
    if stem(part) in ACTS:
        return ""
    return next((meant for (verb, particle), meant in IDIOMS.items() if part == verb + particle), "")


_EMPTY = DETERMINERS | PREPOSITIONS | {"to", "and"}
_BASKETS = frozenset(map(stem, ("basket", "cart", "trolley")))
_MAKING = frozenset(map(stem, "send create schedule arrange submit make add place new".split()))  # noqa: SIM905 - a list of words
# Verbs that remove a protection.
_OPENING = frozenset(map(stem, "unlock open enable disable unblock allow deactivate approve rotate reset".split()))  # noqa: SIM905 - a list of words
_FETCHING = frozenset(map(stem, "get fetch visit read browse download scrape crawl".split()))  # noqa: SIM905 - a list of words
# Verbs that grant access only with things to which access can be granted.
_GIVING = frozenset(map(stem, "give add assign join include let open".split()))  # noqa: SIM905 - a list of words


def _keeps(roles: Mapping[str, Role]) -> bool:
    """Whether what is fetched is stored in a place that the caller names."""
    return any(role in ("record", "place") for role in roles.values())


def _things(stems: frozenset[str]) -> frozenset[str]:
    return frozenset(thing for each in stems for thing in THINGS.get(each, ()))


def _plausible(verb: str, acts: frozenset[str], things: frozenset[str]) -> frozenset[str]:
    """Drop acts that the things rule out: only money and goods are paid or bought, and "get" only reads."""
    if verb == "get":
        return frozenset({"fetch"})
    if not things & {"money", "goods"}:
        acts -= {"pay", "buy"}
    if verb in _GIVING and not things & {"person", "policy", "channel"}:
        acts -= {"grant"}
    return acts


@lru_cache(maxsize=4096)
def split(name: str) -> tuple[str, ...]:
    """Split an identifier into lower-case words."""
    return tuple(part.lower() for part in _SPLIT.findall(name))


def _acted_on(said: tuple[str, ...]) -> frozenset[str]:
    """Return the objects of a description's verb: the words up to the one that begins how or where."""
    found = set()
    for word in said[1:10]:
        if word in ("with", "by", "using", "via", "for", "and", "that", "from"):
            break
        if word not in DETERMINERS and word not in PREPOSITIONS and word not in {"given", "to"}:
            found.add(stem(word))
    return frozenset(found)


def _roles(parameters: Mapping[str, Any], acts: frozenset[str]) -> dict[str, Role]:
    properties = parameters.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    roles = {name: role_of(name, schema if isinstance(schema, Mapping) else {}) for name, schema in properties.items()}
    first = next(iter(roles), "")
    named = first in ("name", "title", "filename", "label") and STATED not in (properties.get(first) or {})
    if roles.get(first) == "text" and named and not acts & {"create", "send"}:
        roles[first] = "record"  # the name of something that exists identifies it
    return roles


def _choices(parameters: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the choices of each argument, by its schema, or by a description such as "view or edit"."""
    properties = parameters.get("properties")
    found: dict[str, frozenset[str]] = {}
    for name, schema in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(schema, Mapping):
            continue
        listed = [each for each in schema.get("enum") or () if isinstance(each, str)]
        if not listed:
            listed = _listed(plain(str(schema.get("description", "")))[:_LONGEST])
        if len(listed) > 1:
            found[str(name)] = frozenset(map(plain, listed))
    return found


def _options(parameters: Mapping[str, Any]) -> dict[str, bool | None]:
    """Return the flags that may be left out, by schema or description, each with its default if stated."""
    properties, required = parameters.get("properties"), parameters.get("required")
    found: dict[str, bool | None] = {}
    for name, schema in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(schema, Mapping) or _types(schema) != {"boolean"}:
            continue
        described = plain(str(schema.get("description", "")))[:_LONGEST]
        default = schema.get("default")
        if default is None and (said := _DEFAULT.search(described)):
            default = said[1] == "true"
        left_out = isinstance(required, (list, tuple)) and name not in required
        if left_out or isinstance(default, bool) or described.startswith("optional"):
            found[str(name)] = default if isinstance(default, bool) else None
    return found


def _listed(description: str) -> list[str]:
    """Return the choices in a description: all of it, "tenant present or key safe", in brackets, or single words."""
    if _CHOICES.fullmatch(description):
        return [each.strip(" '\".") for each in re.split(r",| or ", description) if each.strip(" '\".")]
    if bracketed := _BRACKETED.search(description):
        return bracketed[2].split("/") if bracketed[2] else re.findall(r"['\"]([^'\"]+)['\"]", bracketed[1])
    match = _OR.search(description)
    return _BARE.findall(match[0].replace(" or ", " ")) if match else []


def role_of(name: str, schema: Mapping[str, Any]) -> Role:  # noqa: PLR0911, PLR0912, C901 - a table
    """Return the role of an argument: stated in its schema, or else from its name, type and description."""
    stated: Role | None = schema.get(STATED)
    if stated in ALL_ROLES:
        return stated
    parts = split(name)
    stems_ = [stem(part) for part in parts]
    kinds = _types(schema)
    if kinds == {"boolean"} or "enum" in schema:
        return "flag"
    described = plain(str(schema.get("description", ""))).partition(".")[0]
    if parts and parts[-1] in _ID and not ("phone" in parts or "account" in parts):
        return "record" if kinds & {"string", "integer"} or parts[-1] != "number" or len(parts) > 1 else "amount"
    if "key" in parts and set(parts) & {"api", "private", "secret", "access", "ssh"}:
        return "credential"
    if kinds and kinds <= {"integer", "number"} and (_lasts(parts) or "per" in parts):
        return "amount"  # `minutes` is a duration, `hour` a time
    if len(parts) > 1 and parts[0] in _FROM_MINE and "account" in parts:
        return "record"  # the account paid from is the user's own
    if len(parts) > 1 and parts[-1] in ("from", "to") and stems_[-2] in _ROLES["time"] | _ROLES["amount"]:
        stems_ = stems_[:-1]  # `date_to` is a day, not a recipient
    for role, names in _ROLES.items():
        if stems_ and stems_[-1] in names:
            return _numeric(role, kinds)
    if "address" in parts:
        return "principal" if re.search("e-?mail|wallet|recipient", described) else "thing"
    if {"path", "file"} & set(stems_):
        return "record"
    for role, names in _ROLES.items():
        if names & set(stems_):
            return _numeric(role, kinds)
    if kinds & {"number", "integer"} and "string" not in kinds:
        return "amount"
    if re.search(r"e-?mail address|iban|username|recipient", described):
        return "principal"
    return "thing"


_FROM_MINE = frozenset({"from", "source", "debit"})


def _lasts(parts: Sequence[str]) -> bool:
    return bool(parts) and parts[-1] in MEASURES and parts[-1].endswith("s")


def _numeric(role: Role, kinds: set[str]) -> Role:
    return (
        "amount"
        if role in ("text", "thing", "principal", "place") and kinds and kinds <= {"number", "integer", "null"}
        else role
    )


def _types(schema: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for each in (schema, *(option for option in schema.get("anyOf", ()) if isinstance(option, Mapping))):
        kind = each.get("type")
        found |= {kind} if isinstance(kind, str) else set(kind or ())
        items = each.get("items")
        if isinstance(items, Mapping) and isinstance(items.get("type"), str):
            found.add(items["type"])
    return found - {"null", "array"} or found - {"null"}


def shape(value: str) -> Role | None:
    """Return the role that a value's form shows, if any."""
    bare = value.strip()
    if _EMAIL.fullmatch(bare) or _ACCOUNT.fullmatch(bare):
        return "principal"
    return "address" if _URL.fullmatch(bare) else None


# Equivalents of a dot in a host name (RFC 3490, section 3.1).
_DOTS = re.compile(r"(?<=[A-Za-z0-9])[\u3002\uff0e\uff61](?=[A-Za-z0-9])")


def live(text: str) -> list[str]:
    """Return the addresses and accounts in a text that a reader could follow."""
    text = _DOTS.sub(".", text)
    found = [match for pattern in (_EMAIL, _URL, _BARE_URL, _HOST, _ACCOUNT) for match in pattern.findall(text)]
    return [each.rstrip(".,;:!?)'\"") for each in found]


def is_host(text: str) -> bool:
    """Whether a text is just a host name, which can also be a user's name."""
    return bool(_HOST.fullmatch(text))
