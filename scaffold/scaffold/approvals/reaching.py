"""Approvers that wait for an answer given elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold.interfaces import Answer, Question


class Waits:
    """Reaches nobody itself and keeps the run waiting: what is said elsewhere, the run finds in its inbox.

    Without it a run that nobody at hand answers is paused, and resumed once it is answered.
    """

    async def ask(self, question: Question) -> Answer | None:
        """Wait until the question expires, is answered from elsewhere, or the run is stopped."""
        await asyncio.Event().wait()
        return None
