"""What can be done to the world, and what it gave back."""

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
    """What an action declares of itself.

    Attributes:
        name: what plans call it.
        description: one line for planners and people.
        version: changes when what it does changes.
        parameters: JSON Schema of its arguments.
        effect: what it does to the world.
        cost: what one call costs, in US dollars; counts towards stakes and what a refusal saved.
        trusted: whether what it gives back is inside our trust; else it is tainted.
        identity: names of the arguments that say *which* thing is acted on: one effect each.
        idempotency: what the target promises about repeated calls.
        timeout_s: seconds after which the outcome is called unknown.
        limits: the most that it may be done, as a task's `limits` say it.
        preview: whether it can say beforehand what a call would do.
        undo: name of the action that undoes it; empty when nothing does.
        credentials: names of what it is told at the moment of the call, and nobody else ever is.

    Raises:
        ValueError: no effect or no idempotency is called so: a word misspelt would pass for something milder. Its cost
            or its time is none: a cost below nothing, or NaN, would make any budget do.
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
                raise ValueError(f"{self.name}: no {field} is called {said!r}; there are {', '.join(known)}")
        if not (_is_number(self.cost) and 0 <= self.cost < math.inf):
            raise ValueError(f"{self.name}: its cost is a number of dollars from 0 up, not {self.cost!r}")
        if not (_is_number(self.timeout_s) and self.timeout_s > 0):
            raise ValueError(f"{self.name}: its timeout_s is a number of seconds above 0, not {self.timeout_s!r}")


def _is_number(said: object) -> bool:
    return isinstance(said, int | float) and not math.isnan(said)


class Credential(msgspec.Struct, frozen=True):
    """Marks a parameter that is no argument: `token: Annotated[str, Credential("BANK_TOKEN")]`.

    The action is told the credential of that name at the moment of the call; planners, reviewers and the trace are not.
    """

    name: str


class _NoCredentials:
    """What a call outside a run may know: nothing."""

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)


class Call(msgspec.Struct, frozen=True):
    """What an action is told about the call it performs.

    Attributes:
        run: the run that performs it.
        key: idempotency key; the same for every attempt at this one effect.
        attempt: 1 for the first.
        credentials: what the action declares, by name: `call.credentials["BANK_TOKEN"]`.
        epoch: grows each time another process takes over the run, where several machines share runs; else 0. A target
            that refuses a lower one than it has seen for a run is safe from a process that was paused and comes late.
    """

    run: str
    key: str
    attempt: int = 1
    credentials: Any = _NoCredentials()
    epoch: int = 0


class Observation(Reference[T_co]):
    """What an action gave back; its value can be read only when the action was performed.

    Attributes:
        undo: name of the action that undoes it, where there is one and it was performed.
        undone: what became of undoing it, where `carry_out` did; empty when it did not.
        due: it was not performed, and the task says that what its plan has done is to be undone: by itself (`always`),
            or where a person says so (`ask`).
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
        """What came back.

        Raises:
            ActionError: the leaf that says why there is nothing to read.
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
