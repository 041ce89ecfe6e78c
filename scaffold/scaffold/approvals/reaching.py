"""Approvers that wait for an answer given elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold.interfaces import Answer, Question


class Waits:
    """Asks nobody itself, but keeps the run waiting, so that it finds answers given elsewhere in its inbox.

    Without it, a run whose question nobody answers pauses, and must be resumed after the answer.
    """

    async def ask(self, question: Question) -> Answer | None:
        """Wait until the question expires, is answered from elsewhere, or the run is stopped."""
        await asyncio.Event().wait()
        return None
