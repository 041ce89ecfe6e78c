"""What changes the world, and where the names of its secrets lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.vocabulary.actions import ActionSpec, Call
    from scaffold.vocabulary.clearance import Clearance


@runtime_checkable
class Action(Protocol):
    """A typed callable on the world with a declared effect.

    `perform` redeems the clearance on the canonical bytes of its arguments before it does anything else, so that it
    cannot be called past the gate. It raises `NotPerformed` when it is certain that nothing happened; any
    other exception means that the outcome is unknown, unless the effect is `read`.
    """

    spec: ActionSpec

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments against the schema and give them as JSON values.

        Raises:
            ValueError: they do not fit; the message says which and why.
        """
        ...

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        """Do it."""
        ...


@runtime_checkable
class Reconciles(Protocol):
    """An action that can ask its target whether a call had its effect."""

    async def reconcile(self, arguments: Mapping[str, Any], call: Call) -> tuple[bool, Any]:
        """Say whether it happened, and what it gave back."""
        ...


@runtime_checkable
class Previews(Protocol):
    """An action that can say what a call would do, without doing it; it is asked to where `spec.preview` is set."""

    async def preview(self, arguments: Mapping[str, Any], call: Call) -> Any:
        """Say what would happen, as a JSON value for reviewers and people."""
        ...


@runtime_checkable
class Undoes(Protocol):
    """An action that brings the one that undoes it, if any; `spec.undo` names that one."""

    undoing: Action | None


@runtime_checkable
class ActionSource(Protocol):
    """Something outside that brings actions, and has to be started before they are performed, such as an MCP server.

    What its actions declare is known before it is started, and does not change while it lives. One instance serves many
    runs. `prepare` starts it unless it runs; `close` ends it and all it started, and may be called twice.
    """

    def actions(self) -> Sequence[Action]:
        """What it brings.

        Raises:
            BadInput: it is not known what that is; the message names the cure.
        """
        ...

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Start it; see `Prepares`.

        Raises:
            BadInput: it cannot be started, or is not what it was said to be.
            Unavailable: it is not there now.
        """
        ...

    async def close(self) -> None:
        """End it."""
        ...


class FindsCredentials(Protocol):
    """Where credentials are found."""

    def read(self, name: str) -> str:
        """A credential as it is now.

        Raises:
            BadInput: it is not there; the message says where it was looked for.
        """
        ...


@runtime_checkable
class TakesCredentials(Protocol):
    """A source of actions that needs credentials itself, before it can be started."""

    def take_credentials(self, credentials: FindsCredentials) -> None:
        """Be told where they are found; called before each `prepare`.

        Raises:
            BadInput: it runs already, with those that another agent finds elsewhere.
        """
        ...
