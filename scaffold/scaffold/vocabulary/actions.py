"""Actions: what they declare, what they are told, and what they return."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeVar, get_args

import msgspec

from scaffold.errors import ActionError, ActionFailed, ActionRefused, ObservationWithheld, OutcomeUnknown
from scaffold.vocabulary.references import Provenance, Reference

Effect = Literal["read", "reversible", "irreversible"]
Idempotency = Literal["target_key", "reconcile", "none"]
ActionStatus = Literal["planned", "refused", "performed", "failed", "unknown"]
T_co = TypeVar("T_co", covariant=True)
_EFFECTS = get_args(Effect)
_PROMISES = get_args(Idempotency)


class ActionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an action declares about itself.

    Attributes:
        name: its name in plans.
        description: one line for planners and people.
        version: changes when the action's behaviour changes.
        parameters: JSON Schema of its arguments.
        effect: what it does to the world.
        cost: cost of one call, in US dollars; counts towards stakes and what a refusal saved.
        trusted: whether its result is trusted; otherwise it is tainted.
        identity: names of the arguments that say *which* thing is acted on: one effect each.
        idempotency: what the target promises about repeated calls.
        timeout_s: seconds after which the outcome counts as unknown.
        limits: how much of it is allowed, in the form of a task's `limits`.
        preview: whether it can say beforehand what a call would do.
        undo: name of the action that undoes it; empty if there is none.
        credentials: names of the secrets that it alone receives, at the moment of the call.

    Raises:
        ValueError: the effect or idempotency is unknown (a misspelling could pass for something milder), or the cost or
            timeout is not a valid number (a negative or NaN cost would fit any budget).
    """

    name: str
    description: str = ""
    version: str = "1"
    parameters: dict[str, Any] = {}
    effect: Effect = "irreversible"
    cost: float = 0.0
    trusted: bool = False
    identity: tuple[str, ...] = ()
    idempotency: Idempotency = "none"
    timeout_s: float = 60.0
    limits: dict[str, Any] = {}
    preview: bool = False
    undo: str = ""
    credentials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, said, known in (("effect", self.effect, _EFFECTS), ("idempotency", self.idempotency, _PROMISES)):
            if said not in known:
                raise ValueError(f"{self.name}: {said!r} is not a known {field}; expected one of {', '.join(known)}")
        if not (_is_number(self.cost) and 0 <= self.cost < math.inf):
            raise ValueError(f"{self.name}: its cost should be a number of dollars of at least 0, not {self.cost!r}")
        if not (_is_number(self.timeout_s) and self.timeout_s > 0):
            raise ValueError(
                f"{self.name}: its timeout_s should be a number of seconds above 0, not {self.timeout_s!r}"
            )


def _is_number(said: object) -> bool:
    return isinstance(said, int | float) and not math.isnan(said)


class Credential(msgspec.Struct, frozen=True):
    """Marks a parameter that receives a secret: `token: Annotated[str, Credential("BANK_TOKEN")]`.

    It is not an argument. The action receives the secret at the moment of the call; planners, reviewers and the trace
    never do.
    """

    name: str


class _NoCredentials:
    """The credentials of a call outside a run: none."""

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)


class Call(msgspec.Struct, frozen=True):
    """What an action is told about the call it performs.

    Attributes:
        run: the run that performs it.
        key: idempotency key; the same for every attempt at this one effect.
        attempt: 1 for the first.
        credentials: the secrets that the action declares, by name: `call.credentials["BANK_TOKEN"]`.
        epoch: grows each time another process takes over the run, if several machines share runs; else 0. A target that
            refuses a lower epoch than it has seen for a run is safe from a process that was paused and acts late.
    """

    run: str
    key: str
    attempt: int = 1
    credentials: Any = _NoCredentials()
    epoch: int = 0


class Observation(Reference[T_co]):
    """What an action returned; its value can be read only if the action was performed.

    Attributes:
        undo: name of the action that undoes it, if there is one and it was performed.
        undone: what became of undoing it, if `carry_out` tried; else empty.
        due: set if it was not performed and the task says to undo what its plan has done: `always`, or `ask` a person
            first.
    """

    __slots__ = ("action", "due", "key", "reason", "status", "undo", "undone")

    def __init__(
        self,
        value: Any,
        provenance: Provenance,
        *,
        key: str,
        action: str,
        status: ActionStatus | Literal["withheld", "skipped"] = "performed",
        reason: str = "",
        undo: str = "",
        due: Literal["", "ask", "always"] = "",
    ) -> None:
        super().__init__(value, provenance)
        self.undo = undo
        self.undone = ""
        self.due = due
        self.key = key
        self.action = action
        self.status = status
        self.reason = reason

    @property
    def value(self) -> T_co:
        """The result.

        Raises:
            ActionError: the subclass says why there is none.
        """
        if self.status == "performed":
            return self._value
        leaf: type[ActionError] = {
            "refused": ActionRefused,
            "failed": ActionFailed,
            "unknown": OutcomeUnknown,
            "withheld": ObservationWithheld,
        }.get(self.status, ActionError)
        raise leaf(self.reason or f"{self.action} was {self.status}", self.key, action=self.action)
