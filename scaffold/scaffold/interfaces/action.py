"""The Action protocol: what acts on the world; and where credentials are found."""

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

    `perform` first redeems the clearance on the canonical bytes of its arguments, so that it cannot be called past the
    gate. It raises `NotPerformed` if it is certain that nothing happened; any other exception means that the outcome is
    unknown, unless the effect is `read`.
    """

    spec: ActionSpec

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments against the schema and return them as JSON values.

        Raises:
            ValueError: they do not fit; the message says which and why.
        """
        ...

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        """Perform the action."""
        ...


@runtime_checkable
class Reconciles(Protocol):
    """An action that can ask its target whether a call took effect."""

    async def reconcile(self, arguments: Mapping[str, Any], call: Call) -> tuple[bool, Any]:
        """Return whether it happened, and its result."""
        ...


@runtime_checkable
class Previews(Protocol):
    """An action that can say what a call would do, without doing it; asked if `spec.preview` is set."""

    async def preview(self, arguments: Mapping[str, Any], call: Call) -> Any:
        """Return what would happen, as a JSON value for reviewers and people."""
        ...


@runtime_checkable
class Returns(Protocol):
    """An action that declares what it gives back."""

    def misfit(self, result: Any) -> str:
        """Say in what a result does not fit what is declared; empty if it fits. Never raises: it was performed."""
        ...


@runtime_checkable
class Undoes(Protocol):
    """An action that may bring another that undoes it; `spec.undo` names that one."""

    undoing: Action | None


@runtime_checkable
class ActionSource(Protocol):
    """An outside source of actions that must be started before they are performed, such as an MCP server.

    What its actions declare is known before it is started, and does not change while it lives. One instance serves many
    runs. `prepare` starts it unless it is running; `close` ends it and all it started, and may be called twice. Agents
    that share one each prepare and close it: it may stay until all have.
    """

    def actions(self) -> Sequence[Action]:
        """The actions it brings.

        Raises:
            BadInput: they are not known; the message says what to do.
        """
        ...

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Start it; see `Prepares`.

        Raises:
            BadInput: it cannot be started, or is not what was declared.
            Unavailable: it cannot be reached now.
        """
        ...

    async def close(self) -> None:
        """End it."""
        ...


class FindsCredentials(Protocol):
    """A store of credentials."""

    def read(self, name: str) -> str:
        """Return a credential's current value.

        Raises:
            BadInput: it is missing; the message says where it was looked for.
        """
        ...


@runtime_checkable
class TakesCredentials(Protocol):
    """A source of actions that needs credentials before it can be started."""

    def take_credentials(self, credentials: FindsCredentials) -> None:
        """Receive where they are found; called before each `prepare`.

        Raises:
            BadInput: it is already running with credentials that another agent finds elsewhere.
        """
        ...
