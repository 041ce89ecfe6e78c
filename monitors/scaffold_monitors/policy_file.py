"""Reads a policy file, which says for many tasks what may be done with their actions, and checks it line by line.

decisions: {send: allow, pay: escalate}          # by kind of act; what is left out is as by default
actions:
  wire:                                          # what its specification does not show, or a decision of its own
    kinds: [pay]
    roles: {dest: principal, note: text}
    decision: block
    because: wires are made by hand
rules:
  - rule: only('pay', 'account', inputs.accounts)
    statement: pay only to accounts on the list
tests:                                           # run by `scaffold policy test`
  - {call: pay, arguments: {account: A1, cents: 900}, inputs: {accounts: [A1]}, wants: escalate}
  - {call: pay, arguments: {account: X, cents: 900}, inputs: {accounts: [A1]}, wants: block, because: on the list}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scaffold import document as documents
from scaffold.document import Document, Place
from scaffold.errors import TaskError, nearest
from scaffold.fitting import in_words
from scaffold.vocabulary.actions import Effect
from scaffold.vocabulary.review import Decision
from scaffold_monitors.entailment.tools import Role

Kind = Literal["read", "fetch", "send", "pay", "destroy", "empower", "credential", "change", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# By default a person is asked about whatever reaches somebody else, or cannot be undone.
DEFAULT: dict[Kind, Decision] = {
    "read": "allow",
    "fetch": "flag",
    "change": "allow",
    "send": "escalate",
    "pay": "escalate",
    "destroy": "escalate",
    "empower": "escalate",
    "credential": "escalate",
    "other": "escalate",
}
_DECIDING = Literal["allow", "flag", "revise", "escalate", "block", "halt"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Override(_Strict):
    """The policy's settings for one action.

    Attributes:
        decision: the decision regardless of its kinds; None leaves it to them.
        because: the reason, for people.
        kinds: its kinds of act, in place of those derived from its specification.
        effect: its effect as monitors see it.
        roles: roles of arguments, in place of those derived from their names and schemas.
    """

    decision: _DECIDING | None = None
    because: str = ""
    kinds: tuple[Kind, ...] | None = None
    effect: Effect | None = None
    roles: dict[str, Role] = {}


class PolicyRule(_Strict):
    """A rule in CEL, like those of goals.

    Attributes:
        rule: the expression.
        statement: what the planner is told when it is broken; by default the expression itself.
        only: names of the actions it is about; `for` in the file.
    """

    rule: str
    statement: str = ""
    only: tuple[str, ...] | None = Field(default=None, alias="for")


def _a_name(call: str) -> str:
    if "(" in call:
        raise ValueError(
            f"should be the action's name alone: write `call: {call.partition('(')[0]}`, and `arguments: {{...}}`"
        )
    return call


class Case(_Strict):
    """One test: a call and its expected decision.

    Attributes:
        call: name of the action.
        arguments: the call's arguments.
        tainted: names of the tainted arguments.
        inputs: the task's inputs.
        before: calls performed earlier in the run, each `{action: {arguments}}`.
        at: the time, as `2026-11-23T12:00:00+00:00`; by default now.
        wants: the expected decision.
        because: words that the explanation must contain.
    """

    call: Annotated[str, AfterValidator(_a_name)]
    arguments: dict[str, Any] = {}
    tainted: tuple[str, ...] = ()
    inputs: dict[str, Any] = {}
    before: tuple[dict[str, dict[str, Any]], ...] = ()
    at: str = ""
    wants: _DECIDING
    because: str = ""


class PolicyFile(_Strict):
    """The contents of a policy file."""

    decisions: dict[Kind, _DECIDING] = {}
    actions: dict[str, Override] = {}
    rules: tuple[PolicyRule, ...] = ()
    tests: tuple[Case, ...] = ()

    def extra_rules(self) -> list[dict[str, Any]]:
        """Return the rules in the form that the monitor `rules` takes."""
        return [{"rule": each.rule, "statement": each.statement or each.rule, "for": each.only} for each in self.rules]


def read(path: Path) -> tuple[Document, PolicyFile]:
    """Read a policy file.

    Raises:
        TaskError: it is not a valid policy; names the line, the key, and the nearest valid name for a typo.
    """
    document = documents.read(path)
    if not isinstance(document.value, dict):
        raise document.fault("a policy should be a mapping: `decisions:`, `actions:`, `rules:`, `tests:`")
    try:
        return document, PolicyFile.model_validate(document.value)
    except ValidationError as error:
        raise _fault(document, error) from None


def _fault(document: Document, error: ValidationError) -> TaskError:
    faults = error.errors(include_url=False)
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    place: Place = tuple(part for part in fault["loc"] if part != "[key]")
    if fault["type"] == "extra_forbidden":
        known = _known_at(place[:-1])
        return document.fault(
            f"is not known{nearest(str(place[-1]), known) or '; expected one of ' + ', '.join(known)}", place
        )
    if fault["type"] == "missing":
        return document.fault(f"lacks `{place[-1]}`", place[:-1])
    if fault["type"] == "literal_error":
        wanted = [each.strip("' ") for each in fault["ctx"]["expected"].replace(" or ", ", ").split(",")]
        said = f"is {fault['input']!r}, but should be one of {', '.join(wanted)}{nearest(str(fault['input']), wanted)}"
        return document.fault(said, place)
    if fault["type"] == "model_type":
        return document.fault(f"should be a mapping with any of {', '.join(_known_at(place))}", place)
    return document.fault(in_words(fault, PolicyFile), place)


def _known_at(place: Place) -> list[str]:
    parts: dict[str, type[BaseModel]] = {"actions": Override, "rules": PolicyRule, "tests": Case}
    model = parts.get(str(place[0]) if place else "", PolicyFile)
    return [each.alias or name for name, each in model.model_fields.items()]
