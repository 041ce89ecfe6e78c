"""Identities: ensures that no two calls act on the same thing, in this run or in others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.errors import BadInput, JournalFailed, Unavailable
from scaffold.interfaces import HoldsIdentities
from scaffold.machinery.recording.state import identity_of
from scaffold.trace.identities import word_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.interfaces import Action, Answer, Holder, Journal, Surroundings
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.machinery.recording.state import RunState
    from scaffold.vocabulary.plan import ActionCall


class Identities:
    """What one run acts on, and whether other runs act on it too."""

    def __init__(
        self,
        actions: Mapping[str, Action],
        journal: Journal,
        recorder: Recorder,
        state: RunState,
        surroundings: Surroundings,
    ) -> None:
        self._actions = actions
        self._inbox = journal.inbox
        self._journal = journal if isinstance(journal, HoldsIdentities) else None
        self._recorder = recorder
        self._state = state
        self._reach = surroundings.reach
        self._last: tuple[ActionCall | None, str] = (None, "")  # cache: one call is looked up several times in a row

    def of(self, call: ActionCall) -> str:
        """Return what a call acts on; empty if its action does not declare an identity."""
        if call.action not in self._actions:
            return ""
        if self._last[0] is not call:
            self._last = (call, identity_of(self._actions[call.action].spec, call.arguments))
        return self._last[1]

    def beyond(self, call: ActionCall) -> str:
        """Return the same if other runs must know of it; empty for a read, which takes nothing from them."""
        action = self._actions.get(call.action)
        if action is None or not action.spec.identity or action.spec.effect == "read":
            return ""
        return self.of(call)

    def taken_here(self, call: ActionCall, key: str = "") -> str:
        """Say that another action of this run has done it, or may have; empty if none has."""
        holder = self._state.taken.get(self.of(call), key)
        if holder == key:
            return ""
        word = self.word(holder, self._state.unknown[holder]) if holder in self._state.unknown else None
        if word is not None and not word.granted:
            return ""
        return f"it was already done, or may have been, by this run at {holder}"

    def word(self, key: str, digest: str) -> Answer | None:
        """Return a person's word on a call of this run whose outcome is unknown, if there is one."""
        return word_on(key, digest, self._inbox(self._recorder.claim.run))

    async def taken(self, call: ActionCall, key: str) -> str:
        """Say that another run has done it, or may have; empty if none has.

        Raises:
            Unavailable: the journal cannot determine it now.
        """
        identity = self.beyond(call)
        if self._journal is None or not identity:
            return ""
        try:
            holder = await self._journal.holder(self._recorder.claim, identity, key)
            return "" if self._is_left_over(holder, identity) else _said(holder)
        except BadInput as error:
            return str(error)
        except JournalFailed as error:
            raise Unavailable(str(error)) from error

    async def take(self, call: ActionCall, key: str) -> str:
        """Claim the thing so that no other run acts on it; say why not if that is impossible.

        Raises:
            Unavailable: the journal cannot determine it now; nothing is refused for that, and the run can be resumed.
        """
        identity = self.beyond(call)
        if self._journal is None or not identity:
            return ""
        self._reach("identity:before")
        claim = self._recorder.claim
        try:
            holder = await self._journal.hold(claim, identity, key)
            if holder is not None and self._is_left_over(holder, identity):
                await self._journal.free(claim, identity, holder.key)
                holder = await self._journal.hold(claim, identity, key)
        except BadInput as error:
            return str(error)
        except JournalFailed as error:
            raise Unavailable(str(error)) from error
        self._reach("identity:after")
        return _said(holder)

    def _is_left_over(self, holder: Holder | None, identity: str) -> bool:
        """Whether the thing is held for a proposal of this run that a crash lost, and that was not made again."""
        if holder is None or holder.run != self._recorder.claim.run or holder.how != "under way":
            return False
        return self._state.acted_on(holder.key) != identity

    async def give_back(self, call: ActionCall, key: str) -> None:
        """Free the thing after a call that did not happen. If this fails, the next run to ask finds it free."""
        identity = self.beyond(call)
        if self._journal is not None and identity:
            try:
                await self._journal.free(self._recorder.claim, identity, key)
            except (BadInput, JournalFailed):
                return


def _said(holder: Holder | None) -> str:
    if holder is None:
        return ""
    where = f"run {holder.run} at {holder.key}"
    because = f" ({holder.because})" if holder.because else ""
    match holder.how:
        case "performed":
            return f"it was already done, by {where}{because}"
        case "under way":
            return f"{where} is about to do it, or is doing it{because}"
        case "unknown":
            return (
                f"it may already have been done, by {where}{because}: find out, and record it with `scaffold settle "
                f"{holder.run} {holder.key}`"
            )
