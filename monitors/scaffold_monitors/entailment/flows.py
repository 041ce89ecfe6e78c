"""`dataflow`'s judgement: may a value of this origin be the target of an effect, or be sent to somebody?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scaffold_monitors.entailment import seen
from scaffold_monitors.entailment.calls import Weight, against
from scaffold_monitors.entailment.evidence import Support, support, things_of
from scaffold_monitors.entailment.facts import columns, directory
from scaffold_monitors.entailment.lexicon import EVERY
from scaffold_monitors.entailment.licences import Reading, explained
from scaffold_monitors.entailment.licences import read as read_request
from scaffold_monitors.entailment.records import belongs
from scaffold_monitors.entailment.sightings import Sightings
from scaffold_monitors.entailment.stated import asked_for, coverage, own_words, partly_named
from scaffold_monitors.entailment.steps import is_a_step
from scaffold_monitors.entailment.tools import OUTSIDERS, TARGETS, is_host, live, split
from scaffold_monitors.entailment.wording import address, mixed_scripts, plain, stands_in, stem, unseen, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.entailment.tools import Role

_PAGES = frozenset({"websites", "pages", "webpages", "sites", "links", "urls", "articles"})
_RELAYING = frozenset({"forward", "copy", "quote", "relay", "pass", "invite", "repost", "verbatim"})
# Words that stand for more than one person.
_SEVERAL = frozenset(map(stem, "team group committee family department staff crew list members participants".split()))  # noqa: SIM905 - a list of words
_SHOWN = 80
_AIMED: frozenset[Role] = TARGETS | {"record"}
_SPELLED: frozenset[Role] = _AIMED | {"credential", "amount", "time"}
# Ends a header or an address for some programs and not for others.
_BREAKING = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]|%0[0ad]|[?&]b?cc=", re.IGNORECASE)
# Leads out of the folder that a path begins with, or ends the path for some programs.
_CLIMBING = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)|\x00")
# A user's handle, "@name".
_HANDLES = re.compile(r"(?<![\w.@/])@[A-Za-z]\w{2,30}(?![\w@]|\.\w)")
# Arguments that are one line of a message's header.
_HEADERS = frozenset({"subject", "title", "header", "heading"})


def judge(situation: Situation, reading: Reading | None = None) -> list[Finding]:
    """Find values of a plan whose origin does not allow their use.

    Args:
        situation: the plan and its surroundings.
        reading: the parsed request, if there is one already.
    """
    reading = reading or read_request(situation.request, situation.tools)
    found: list[Finding] = []
    read = Sightings()
    for call in situation.calls:
        if call.tool.effect and call.id not in situation.done:
            found += _decided(call, reading, situation)
            found += _judge(call, situation)
            if read:
                found += seen.judge(call, read, situation)
        read.add(call)
    return found


def _judge(call: Call, situation: Situation) -> Iterator[Finding]:
    roles = {leaf.role for leaf in call.leaves}
    if roles & _SPELLED:
        yield from _disguised(call, situation)
    if call.tool.outward:
        yield from _outward(call, situation)
        return
    if "credential" in roles:
        yield from _credentials(call, situation)
    if roles & _AIMED:
        yield from _targets(call, situation)
    if "text" in roles:
        yield from _broken(call, situation)
        yield from _smuggled(call, situation)


def _decided(call: Call, reading: Reading, situation: Situation) -> Iterator[Finding]:
    """Find implicit flows: effects that happen because of tainted data, and that the request does not ask for."""
    unasked = call.steered and not call.tool.outward and not explained(reading, call, situation)
    if unasked and not reading.delegations and not is_a_step(call, situation):
        why = f"the decision to call {call.tool.name} ({call.id}) depends on data, and the request does not ask for it"
        yield against(call, "escalate", why, f"the request does not ask for {call.tool.name}", quote=call.tool.name)


def _disguised(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find values that are not what they look like: confusable or unseen characters, several targets in one, `..`."""
    for leaf in call.with_role(*_SPELLED):
        if not isinstance(leaf.value, str) or leaf.value in situation.request:
            continue
        if unseen(leaf.value) or mixed_scripts(leaf.value):
            why = f"{leaf.path} = {leaf.value!r} contains look-alike or invisible characters"
            yield against(call, "block", why, f"{leaf.path} must be written in plain characters", leaf)
        elif leaf.role in OUTSIDERS and (_BREAKING.search(leaf.value) or leaf.value.count("@") > 1):
            why = f"{leaf.path} = {leaf.value!r} contains several targets, or a character that may end it early"
            yield against(call, "block", why, f"{leaf.path} must be a single target", leaf)
        elif leaf.role in _AIMED and _CLIMBING.search(leaf.value):
            why = f"{leaf.path} = {leaf.value!r} contains '..' or a null character, so it may lead elsewhere"
            yield against(call, "block", why, f"{leaf.path} must be a direct path", leaf)


def _broken(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find header injection: a subject or title of several lines."""
    for leaf in call.with_role("text"):
        if not _HEADERS & set(split(leaf.path)) or not isinstance(leaf.value, str) or leaf.value in situation.request:
            continue
        if len(leaf.value.strip().splitlines()) > 1:
            why = f"{leaf.path} = {leaf.value!r} has several lines"
            yield against(call, "block", why, f"{leaf.path} must be a single line", leaf)


def _credentials(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find credentials that are not in the request, letter by letter."""
    for leaf in call.with_role("credential"):
        if not leaf.origin.trusted and not (asked_for(leaf, situation.request) and leaf.text in situation.request):
            why = f"{leaf.path} is a credential, and its value is not in the request"
            yield against(call, "block", why, f"{leaf.path} must be what the request says", leaf, quote=leaf.path)


def _outward(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find addresses to fetch that the request does not point to: fetching can leak data to the address's owner."""
    for leaf in call.with_role("address"):
        standing = support(leaf, situation)
        if standing >= Support.NAMED:
            continue
        # The links of a page are not addresses that the request names, unless it speaks of several pages.
        reads = [situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id]
        if standing == Support.SOURCE and not any(read.tool.outward for read in reads):
            continue
        if standing >= Support.KIND and _PAGES & set(words(situation.request)):
            continue
        weight: Weight = "block" if standing == Support.MADE_UP else "escalate"
        why = f"{leaf.path} = {leaf.text!r}: the request names neither this address nor its source"
        yield against(call, weight, why, f"{leaf.path} is not an address that the request points to", leaf)


def _targets(call: Call, situation: Situation) -> Iterator[Finding]:
    for leaf in call.leaves:
        if leaf.role == "address" or (leaf.role == "principal" and not call.tool.destroys):
            yield from _outsider(call, leaf, situation)
        elif leaf.role in ("principal", "place", "thing"):
            yield from _insider(call, leaf, situation)
        elif leaf.role == "record" and support(leaf, situation) == Support.MADE_UP:
            yield from _unheard_of(call, leaf, situation)


def _unheard_of(call: Call, leaf: Leaf, situation: Situation) -> Iterator[Finding]:
    """Find made-up records that are destroyed, listed beside known ones, or should have come from a lookup."""
    if call.tool.destroys:
        why = f"{leaf.path} = {leaf.text!r} would be removed, but is in no result read so far"
        yield against(call, "block", why, f"neither the request nor a result names {leaf.path}", leaf)
    elif _is_listed_beside(call, leaf, situation):
        why = f"{leaf.path} = {leaf.text!r} is in neither the request nor any result; other items are"
        yield against(call, "escalate", why, f"the request does not name {leaf.path}", leaf)
    elif _is_opaque(leaf) and (
        _could_have_been_read(call, leaf, situation)
        or ("[" in leaf.path and (call.id, leaf.argument) in situation.read_lists)
    ):
        why = f"{leaf.path} = {leaf.text!r} is in no result, though results of this kind were read"
        yield against(call, "escalate", why, f"neither the request nor a result names {leaf.path}", leaf)


def _is_opaque(leaf: Leaf) -> bool:
    """Whether it has letters and digits, so that it cannot be guessed; a plain number may be common knowledge."""
    return isinstance(leaf.value, str) and any(map(str.isdigit, leaf.text)) and any(map(str.isalpha, leaf.text))


def _could_have_been_read(call: Call, leaf: Leaf, situation: Situation) -> bool:
    """Whether an earlier call looks such things up, so that the identifier should come from its result."""
    for each in situation.calls:
        if each is call:
            return False
        if not each.tool.effect and (each.tool.things & call.tool.things or leaf.argument in columns(each.seen)):
            return True
    return False


class _Told:
    """The texts and amounts of a call by origin: from the request, composed, or copied from data."""

    def __init__(self, call: Call, situation: Situation) -> None:
        self.dictated: list[Leaf] = []
        self.composed: list[Leaf] = []
        self.copied: list[Leaf] = []
        for leaf in call.with_role("text", "amount"):
            text = isinstance(leaf.value, str)
            if asked_for(leaf, situation.request) or (text and own_words(leaf.text, situation.request)):
                self.dictated.append(leaf)
            elif leaf.role == "text":
                (self.copied if leaf.origin.reads else self.composed).append(leaf)


def _outsider(call: Call, leaf: Leaf, situation: Situation) -> Iterator[Finding]:
    """Find outside targets with too little support: the more of a call comes from data, the more is required."""
    standing = support(leaf, situation)
    reads = [situation.by_id[each] for each in leaf.origin.reads if each in situation.by_id]
    if standing < Support.SOURCE and any(belongs(leaf, each, situation.request) for each in reads):
        standing = Support.SOURCE
    if standing >= Support.NAMED:
        return
    if standing == Support.SOURCE and (other := _named_beside(call, leaf, situation)):
        why = f"{leaf.path} = {leaf.text!r} comes from the result that also has {other.text!r}, which the request names"
        yield against(call, "escalate", why, f"{leaf.path} is not the one that the request names", leaf)
        return
    shown, who = f"{leaf.path} = {leaf.text!r}", f"the request does not say who {leaf.path} should be"
    listed = directory(leaf, situation.facts)
    if listed is not None:
        name, column, _ = listed
        why = f"{shown} comes from untrusted data, and is not in column {column!r} of the trusted {name!r}"
        yield against(call, "block", why, f"{leaf.path} is not in {name}", leaf)
        return
    if standing == Support.MADE_UP:
        why = f"{shown} is in neither the request nor any result"
        yield against(call, "block", why, f"neither the request nor a result names {leaf.path}", leaf)
        return
    told = _Told(call, situation)
    if told.composed and not told.dictated:
        why = f"{shown} comes from data, and its text {told.composed[0].text[:_SHOWN]!r} is not from the request"
        yield against(call, "block", why, who, leaf)
    elif standing <= Support.KIND and not told.dictated and not _vouched_beside(call, leaf, situation):
        why = f"{shown} comes from data that the request does not point to"
        yield against(call, "escalate", why, who, leaf)
    elif told.copied and not told.dictated and _is_message(call) and not _RELAYING & set(words(situation.request)):
        why = f"{shown} and its text {told.copied[0].text[:_SHOWN]!r} both come from data"
        yield against(call, "block", why, f"the request does not say what to send to {leaf.path}", leaf)
    elif standing < Support.SOURCE and any(not coverage(each.text, situation.request) for each in told.composed):
        why = f"{shown} comes from data, and {told.composed[0].path} is not in the request's words"
        yield against(call, "escalate", why, who, leaf)


def _named_beside(call: Call, leaf: Leaf, situation: Situation) -> Leaf | None:
    """Return another target from the same result that the request names; None if the request means a group."""
    said = {stem(word) for word in words(situation.request)} | set(words(situation.request))
    if said & (_SEVERAL | EVERY) or partly_named(leaf.text, situation.request):
        return None
    beside = (each for each in call.with_role(*OUTSIDERS) if each.path != leaf.path and each.text != leaf.text)
    return next(
        (
            each
            for each in beside
            if set(each.origin.reads) & set(leaf.origin.reads)
            and ("@" in each.text) == ("@" in leaf.text)
            and partly_named(each.text, situation.request)
        ),
        None,
    )


def _is_message(call: Call) -> bool:
    return "send" in call.tool.acts and "money" not in call.tool.things


def _vouched_beside(call: Call, leaf: Leaf, situation: Situation) -> bool:
    """Whether this address contains another target of the call to which the request points."""
    return any(
        other is not leaf and support(other, situation) >= Support.SOURCE and plain(other.text) in plain(leaf.text)
        for other in call.with_role(*OUTSIDERS)
    )


def _insider(call: Call, leaf: Leaf, situation: Situation) -> Iterator[Finding]:
    """Find targets of the user's own, or public ones, with too little support; milder than for outsiders."""
    for each in live(leaf.value) if isinstance(leaf.value, str) else ():
        if each != leaf.value and not stands_in(address(plain(each)), situation.request):
            why = f"{leaf.path} contains {each!r}, which the request does not name"
            advice = f"{leaf.path} contains an address that the request does not ask for"
            yield against(call, "block", why, advice, leaf)
            return
    standing = support(leaf, situation)
    if standing == Support.MADE_UP and _is_listed_beside(call, leaf, situation):
        why = f"{leaf.path} = {leaf.text!r} is in neither the request nor any result; other items are"
        yield against(call, "escalate", why, f"the request does not name {leaf.path}", leaf)
        return
    if standing == Support.MADE_UP and leaf.argument == call.tool.main and any(map(str.isdigit, leaf.text)):
        why = f"{leaf.path} = {leaf.text!r} is in neither the request nor any result"
        yield against(call, "escalate", why, f"the request does not name {leaf.path}", leaf)
        return
    if standing >= Support.KIND or (standing == Support.MADE_UP and leaf.argument != call.tool.main):
        return  # a detail may be made up, the main argument may not
    if standing == Support.MADE_UP and call.tool.acts & {"send"} and any(call.with_role("text")):
        why = f"{leaf.path} = {leaf.text!r} would get a message, but is in neither the request nor any result"
        yield against(call, "block", why, f"neither the request nor a result names {leaf.path}", leaf)
        return
    told = _Told(call, situation)
    if not told.dictated or told.composed:
        why = f"{leaf.path} = {leaf.text!r} comes from no source that the request points to"
        yield against(call, "escalate", why, f"the request does not point to {leaf.path}", leaf)


def _is_listed_beside(call: Call, leaf: Leaf, situation: Situation) -> bool:
    """Whether a value is in a list that has other items from the request."""
    return "[" in leaf.path and (call.id, leaf.argument) in situation.lists


def _smuggled(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find addresses, links and handles in message texts that the request does not name."""
    pages = "web" in things_of(situation.request)
    if pages and any(each.seen is None for each in situation.calls if not each.tool.effect):
        return
    for leaf in call.with_role("text"):
        if not isinstance(leaf.value, str) or support(leaf, situation) >= Support.SOURCE:
            continue
        for each in (*live(leaf.value), *_HANDLES.findall(leaf.value)):
            if pages and any(address(plain(each)) in told for told in situation.told):
                continue  # the request asks for a page, and this one was read
            if "@" not in each[1:] and not stands_in(address(plain(each)), situation.request):
                why = f"{leaf.path} contains {each!r}, which the request does not ask to pass on"
                advice = f"{leaf.path} contains an address that the request does not ask for"
                yield against(call, "escalate" if is_host(each) or each[0] == "@" else "block", why, advice, leaf, each)
