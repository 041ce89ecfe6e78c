"""The monitor `secrets`: finds credentials and personal data that would leave with a call.

The arguments of outgoing calls (a message, payment, post, fetched address, web search) are searched for credentials
(keys, tokens, passwords), numbers that identify somebody (card, bank account, social security), and contacts (e-mail
addresses, phone numbers), also in encoded form. They are also searched for values that the run read under a name such
as `password`, however these are spelled.

Two things may leave: what the request dictates, to a target that the request names; and what goes back to its source,
that is to somebody in the record that held it, or to the place where it was read.

A verdict never quotes what was found, neither to the planner nor in the trace; it names the argument and the kind.
Finding nothing only means that nothing of a known form was seen.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scaffold.errors import BadInput, nearest
from scaffold.vocabulary import events
from scaffold.vocabulary.plan import LATER
from scaffold.vocabulary.review import SEVERITY, Decision, Evidence, MonitorSpec, Objection, Verdict
from scaffold_monitors.entailment.evidence import Support, support
from scaffold_monitors.entailment.kept import Kept
from scaffold_monitors.entailment.tools import OUTSIDERS, TARGETS, role_of
from scaffold_monitors.entailment.wording import plain, stands_in
from scaffold_monitors.findings import unread
from scaffold_monitors.recollection import FOLLOWED, Recollection
from scaffold_monitors.situations import Surveyor, Unreadable

if TYPE_CHECKING:
    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.review import Subject
    from scaffold.vocabulary.task import Task
    from scaffold_monitors.entailment.calls import Call, Leaf
    from scaffold_monitors.entailment.situation import Situation
    from scaffold_monitors.sensitive import Group, Hit

_SHOWN = 20
# Characters of one plan that are read; the verdict says if there are more.
_MOST_READ = 1_000_000
_MOST_FIELDS = 20_000
_KNOWN = 1_000
# Shorter credentials would be found in any text.
_TELLING = 6


@dataclass(slots=True)
class Memory:
    """A fold over a run's trace: what was read, and which values in it were named as credentials.

    Attributes:
        past: what was performed and read.
        told: by the key of the action that returned them, credentials with their names.
    """

    past: Recollection = field(default_factory=Recollection)
    told: dict[str, OrderedDict[str, str]] = field(default_factory=dict)

    def follow(self, event: Event, content: Mapping[str, Any]) -> None:
        """Process one more event."""
        self.past.follow(event, content)
        if isinstance(event, events.ActionOutcome):
            self._keep(event.key, list(_secrets_of(content.get("value", content.get("reason"))))[-_KNOWN:])

    def _keep(self, key: str, found: Sequence[tuple[str, str]]) -> None:
        """Keep one action's credentials; beyond the limit, the oldest of the action with the most are dropped."""
        if not found:
            return
        self.told[key] = OrderedDict((secret, name) for name, secret in found)
        for _ in range(sum(map(len, self.told.values())) - _KNOWN):
            most = max(self.told, key=lambda each: len(self.told[each]))
            self.told[most].popitem(last=False)
            if not self.told[most]:
                del self.told[most]

    @property
    def secrets(self) -> dict[str, str]:
        """Return all known credentials, each with its name."""
        return {secret: name for secrets in self.told.values() for secret, name in secrets.items()}


@dataclass(frozen=True, slots=True)
class _Leak:
    """Something sensitive in one argument of one call."""

    call: str
    path: str
    hit: Hit
    decision: Decision
    why: str


class _Unknown:
    """A text in an argument whose path alone is known: a key, or a deeply nested value."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.role = role_of(path, {})


class Secrets:
    """Searches outgoing calls for credentials and personal data; needs the extra `secrets`.

    Args:
        credentials: the decision on keys, tokens and passwords.
        numbers: the decision on card, bank account and social security numbers.
        contacts: the decision on e-mail addresses and phone numbers.

    Raises:
        BadInput: a setting is not a decision.
    """

    folds = FOLLOWED

    def __init__(
        self, *, credentials: Decision = "block", numbers: Decision = "escalate", contacts: Decision = "flag"
    ) -> None:
        self._decisions: dict[Group, Decision] = {
            "credentials": credentials,
            "numbers": numbers,
            "contacts": contacts,
        }
        known = [each for each in SEVERITY if each != "resample"]
        for name, decision in self._decisions.items():
            if decision not in known:
                said = (
                    f"the setting {name!r} of monitor 'secrets' should be one of {', '.join(known)}, not {decision!r}"
                )
                raise BadInput(said + nearest(str(decision), known))
        self._surveyor = Surveyor()
        self._of_inputs = Kept(lambda inputs: {secret: name for name, secret in _secrets_of(inputs)})
        self.spec = MonitorSpec(
            name="secrets", tier=1, settings={str(each): said for each, said in self._decisions.items()}
        )

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Load the libraries before the run begins.

        Raises:
            MissingExtra: they are not installed.
        """
        from scaffold_monitors.sensitive import scanner

        scanner()

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> Memory:
        """Remember what was read."""
        memory = state if isinstance(state, Memory) else Memory()
        memory.follow(event, content)
        return memory

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action."""
        calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
        if calls is None:
            return Verdict(decision="allow", status="abstain", rationale="only plans and actions are read")
        memory = view.state if isinstance(view.state, Memory) else Memory()
        past = memory.past
        try:
            situation = self._surveyor.situation(calls, view, past)
        except Unreadable as error:
            return unread(error.node, str(error))
        known: Mapping[str, str] = {**self._of_inputs(view.task.inputs), **memory.secrets}
        left = _MOST_READ
        leaks: list[_Leak] = []
        for asked in calls:
            call = situation.by_id[asked.id]
            if not (call.tool.effect or _asks_outside(call)):
                continue
            by_path = {leaf.path: leaf for leaf in call.leaves}
            for path, text in texts(asked.arguments):
                left -= len(text)
                if left < 0:
                    said = f"{asked.id}: more than {_MOST_READ:,} characters would leave: only a part was checked"
                    return Verdict(decision="block", status="truncated", rationale=said, feedback=said)
                leaf = by_path.get(path) or _Unknown(path)
                leaks += self._leaks(call, leaf, text, known, situation, past)
        return _verdict(leaks)

    def _leaks(
        self,
        call: Call,
        leaf: Leaf | _Unknown,
        text: str,
        known: Mapping[str, str],
        situation: Situation,
        past: Recollection,
    ) -> Iterator[_Leak]:
        from scaffold_monitors.sensitive import hits

        for hit in [*hits(text), *_held(text, known)]:
            decision = self._decisions[hit.group]
            if decision == "allow" or (leaf.role == "principal" and hit.group != "credentials"):
                continue  # an address is the target, not the content
            if not _goes_out(call):
                if hit.group != "credentials":
                    continue
                decision = "flag"
            if leaf.role == "credential" and not isinstance(leaf, _Unknown) and _vouched(leaf, situation):
                continue  # a vouched value in an argument that takes a credential
            if _dictated(hit, call, situation) or _returns(hit, call, past):
                continue
            yield _Leak(call.id, leaf.path, hit, decision, f"{hit.masked} would leave with {call.tool.name}")


def texts(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield all texts and integers in some arguments with their paths, at any depth; keys of records too."""
    stack: list[tuple[str, Any]] = [(name, value) for name, value in reversed(list(arguments.items()))]
    while stack:
        path, item = stack.pop()
        if isinstance(item, Mapping):
            if LATER in item and len(item) == 1:
                continue
            for name, each in reversed(list(item.items())):
                stack += [(f"{path}.{name}"[:200], each), (path, str(name))]
        elif isinstance(item, (list, tuple)):
            stack += [(f"{path}[{place}]"[:200], item[place]) for place in reversed(range(len(item)))]
        elif isinstance(item, str) and item:
            yield path, item
        elif isinstance(item, int) and not isinstance(item, bool):
            yield path, format(item, "d") if abs(item) < 10**40 else hex(item)


def _asks_outside(call: Call) -> bool:
    """Whether it reads outside: an address given to it, or the web."""
    return call.tool.outward or "web" in call.tool.things


def _goes_out(call: Call) -> bool:
    """Whether somebody else may read a call's arguments."""
    tool = call.tool
    somebody = any(role in OUTSIDERS for role in tool.roles.values()) or any(call.with_role(*OUTSIDERS))
    return somebody or _asks_outside(call) or bool(tool.acts & {"send", "grant", "pay"})


def _vouched(leaf: Leaf, situation: Situation) -> bool:
    return leaf.origin.trusted or support(leaf, situation) >= Support.TRUSTED


def _targets(call: Call) -> list[Leaf]:
    return list(call.with_role(*TARGETS - {"thing"}))


def _dictated(hit: Hit, call: Call, situation: Situation) -> bool:
    """Whether the request itself contains the value and names the target."""
    if hit.value not in situation.request and not stands_in(hit.value, situation.request):
        return False
    return all(support(leaf, situation) >= Support.NAMED for leaf in _targets(call))


def _returns(hit: Hit, call: Call, past: Recollection) -> bool:
    """Whether the value goes back to its source, and nowhere else."""
    targets = [_place(leaf.text) for leaf in _targets(call)]
    if not targets:
        return False
    if hit.group != "credentials" and _squeezed(hit.value) in {_squeezed(target) for target in targets}:
        return True  # the recipient knows it already
    for told in past.told.values():
        readers = {_place(each) for each in _readers(hit.value, told.value)}
        if readers:
            readers |= {_place(text) for _, text in texts(told.call.arguments)}
            if all(target in readers for target in targets):
                return True
    return False


def _place(text: str) -> str:
    """Return an address's host, or anything else normalised."""
    try:
        parts = urlsplit(plain(text).strip())
    except ValueError:
        return plain(text).strip()
    return parts.hostname or plain(text).strip() if parts.scheme in ("http", "https") else plain(text).strip()


def _readers(secret: str, value: Any) -> Iterator[str]:
    """Yield the other fields of the records that hold a value."""
    stack, count = [value], 0
    while stack and count < _MOST_FIELDS:
        item = stack.pop()
        count += 1
        if isinstance(item, str) and secret in item:
            yield ""  # the result is plain text: it is known only from whom it was read
        elif isinstance(item, (list, tuple)):
            stack += item
        elif isinstance(item, Mapping):
            own = [each for value in item.values() for each in _flat(value)]
            if any(secret in each for each in own):
                yield from own
            stack += [each for each in item.values() if not isinstance(each, str)]


def _flat(value: Any) -> list[str]:
    """Return the texts of one field: itself, or the items of a plain list; records inside have fields of their own."""
    items = value if isinstance(value, (list, tuple)) else (value,)
    return [str(each) for each in items if isinstance(each, str | int) and not isinstance(each, bool)]


def _secrets_of(value: Any) -> Iterator[tuple[str, str]]:
    """Yield values named as credentials, by their field or by a label in a text."""
    from scaffold_monitors.sensitive import is_credential, labelled

    stack: list[tuple[str, Any]] = [("", value)]
    count = 0
    while stack and count < _MOST_FIELDS:
        name, item = stack.pop()
        count += 1
        if isinstance(item, Mapping):
            stack += [(str(key), each) for key, each in item.items()]
        elif isinstance(item, (list, tuple)):
            stack += [(name, each) for each in item]
        elif isinstance(item, str) or (isinstance(item, int) and not isinstance(item, bool)):
            text = str(item) if isinstance(item, str) or abs(item) < 10**40 else ""
            if name and is_credential(name) and _TELLING <= len(text) <= 4_000:  # noqa: PLR2004 - a key, not a document
                yield name, text
            else:
                yield from (found for found in labelled(text) if len(found[1]) >= _TELLING)


def _squeezed(text: str) -> str:
    """Keep only letters and digits, so that separators between them hide nothing."""
    return re.sub(r"[\W_]+", "", plain(text))


def _held(text: str, known: Mapping[str, str]) -> Iterator[Hit]:
    """Find known credentials in a text, forwards or backwards, encoded or not."""
    if not known:
        return
    from scaffold_monitors.sensitive import Hit
    from scaffold_monitors.wrappings import forms

    for how, form in forms(text):
        solid = _squeezed(form)
        for secret, name in known.items():
            bare = _squeezed(secret)
            if len(bare) >= _TELLING and (bare in solid or bare[::-1] in solid):
                yield Hit(name, "credentials", secret, how)


def _verdict(leaks: Sequence[_Leak]) -> Verdict:
    """Make the verdict: the strictest finding decides; nothing found is quoted."""
    if not leaks:
        return Verdict(decision="allow")
    told = dict.fromkeys((leak.call, f"{leak.path} contains {leak.hit.group} that must not leave") for leak in leaks)
    more = f"\nand {len(leaks) - _SHOWN} more" if len(leaks) > _SHOWN else ""
    lines = list(dict.fromkeys(f"{leak.call}: {leak.path}: {leak.why}" for leak in leaks))
    return Verdict(
        decision=max((leak.decision for leak in leaks), key=SEVERITY.__getitem__),
        rationale="\n".join(lines[:_SHOWN]) + more,
        feedback="; ".join(f"{advice} ({node})" for node, advice in list(told)[:_SHOWN]),
        objections=tuple(Objection(node, advice) for node, advice in told),
        evidence=tuple(
            Evidence(quote=f"[{leak.hit.masked}]", path=f"plan/{leak.call}/arguments/{leak.path}")
            for leak in leaks[:_SHOWN]
        ),
    )
