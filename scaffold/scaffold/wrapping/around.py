"""The base of backends around others: it prepares them, and frees what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.interfaces import Backend, Prepares

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.vocabulary.models import Profile


class Around:
    """Base of a backend around one or more others; a subclass defines how it answers, and optionally its profile.

    Attributes:
        members: the backends inside.
        profile: what the whole can do, which is not always what its members can.
    """

    profile: Profile

    def __init__(self, *members: Backend) -> None:
        self.members = members
        self.profile = self.describe()

    def describe(self) -> Profile:
        """Return the profile of the whole: that of the first member, unless a subclass says otherwise."""
        return self.members[0].profile

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Prepare the members that need it, one by one, and describe the whole again: a loaded model knows more."""
        for member in self.members:
            if isinstance(member, Prepares):
                await member.prepare(say)
        self.profile = self.describe()

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
