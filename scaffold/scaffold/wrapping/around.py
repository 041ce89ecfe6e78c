"""What every backend around others does: it gets them ready, and frees what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.interfaces import Backend, Prepares

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.vocabulary.models import Profile


class Around:
    """Base of a backend around one or more others; a subclass says how it answers.

    Attributes:
        members: the backends inside.
        profile: what the whole can do, which is not always what its members can.
    """

    def __init__(self, *members: Backend, profile: Profile) -> None:
        self.members = members
        self.profile = profile

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Get those ready that need it, one after another."""
        for member in self.members:
            if isinstance(member, Prepares):
                await member.prepare(say)

    async def close(self) -> None:
        """Close all, also when closing one of them fails; then its error is raised."""
        failed: list[Exception] = []
        for member in self.members:
            try:
                await member.close()
            except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
                failed.append(error)
        if failed:
            raise failed[0]
