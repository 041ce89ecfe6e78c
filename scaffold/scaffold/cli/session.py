"""One run by the command: its display, signals, approver, and final message."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from scaffold.cli import ending
from scaffold.cli.aside import aside
from scaffold.cli.foreground import Foreground
from scaffold.cli.options import runs_said
from scaffold.cli.progress import display, guarded
from scaffold.cli.terminal import TerminalApprover, somebody_is_there
from scaffold.errors import ScaffoldError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scaffold.agent import Scaffold
    from scaffold.cli.options import Signing
    from scaffold.interfaces import Approver, KeptRuns
    from scaffold.machinery.asking.showing import Words
    from scaffold.vocabulary.outcome import Outcome


class Session(Foreground[Any]):
    """Solves or resumes in the foreground."""

    def __init__(
        self, journal: KeptRuns, key: Signing | None, *, verbose: bool, as_json: bool, words: Words | None = None
    ) -> None:
        # Checked before the display begins, since rich 14 replaces stderr by something that is no terminal.
        self._somebody_is_there = somebody_is_there()
        self._stdout = sys.stdout  # which rich replaces too
        super().__init__(display(verbose=verbose))
        self._journal = journal
        self._key = key
        self._as_json = as_json
        self._words = words

    def outside(self, *, wait: bool = False) -> dict[str, Any]:
        """Return what an agent gets from the command rather than from a task file."""
        given: dict[str, Any] = {"journal": self._journal, "on_event": guarded(self.shown)}
        given["approvers"] = self._approvers(wait=wait)
        if self._words is not None:
            given |= {"on_piece": self.shown.piece, "words": self._words}
        if self._key is not None:
            given |= self._key.outside()
        return given

    def _approvers(self, *, wait: bool) -> tuple[Approver, ...]:
        """Return the approvers: a webhook, then the terminal, then anybody who answers later."""
        found: list[Approver] = []
        if os.environ.get("SCAFFOLD_WEBHOOK_URL"):
            from scaffold.approvals.webhook import from_environment

            found.append(from_environment())
        if self._somebody_is_there:
            found.append(TerminalApprover(self.shown))
        if wait:
            from scaffold.approvals.reaching import Waits

            found.append(Waits())
        return tuple(found)

    def run(
        self,
        agent: Scaffold,
        start: Callable[[], Coroutine[Any, Any, Outcome]],
        *,
        has_ended: bool = False,
        again: str = "",
    ) -> int:
        """Run to the end, print how it ended, and return the exit status.

        Args:
            agent: the agent.
            start: starts the run.
            has_ended: whether the run has ended already, so that nothing is loaded.
            again: options to add to a command that resumes the run, so that it does so as this one did.
        """
        began = time.monotonic()
        try:
            with aside():
                outcome = asyncio.run(self._drive(agent, start, has_ended=has_ended))
        except asyncio.CancelledError:
            self.shown.close()
            sys.stderr.write("interrupted before the run began\n")
            return ending.INTERRUPTED
        finally:
            self.shown.close()
            sys.stdout = self._stdout
        if has_ended:
            sys.stderr.write(f"run {outcome.run} had already ended; this is its outcome:\n")
        self._tell(outcome, outcome.seconds if has_ended else time.monotonic() - began, again)
        return ending.STATUSES[outcome.status]

    async def _drive(
        self, agent: Scaffold, start: Callable[[], Coroutine[Any, Any, Outcome]], *, has_ended: bool
    ) -> Outcome:
        self.on_signals(partial(self._interrupt, agent, asyncio.current_task()))
        async with agent:
            if not has_ended:
                await agent.prepare(self.shown.preparing)
            return await start()

    def _interrupt(self, agent: Scaffold, driving: asyncio.Task[Any] | None) -> None:
        if agent.interrupt():
            self.shown.say("pausing; press Ctrl-C once more to leave at once")
        elif driving is not None:
            driving.cancel()

    def _tell(self, outcome: Outcome, seconds: float, again: str) -> None:
        try:
            if self._as_json:
                print(ending.as_json(outcome))  # noqa: T201 - the answer is what stdout is for
            elif outcome.answer is not None:
                print(ending.answer_text(outcome.answer, at_terminal=sys.stdout.isatty()))  # noqa: T201 - as above
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as full:
            sys.stdout = None  # or Python complains once more when it flushes at exit
            shown_by = f"scaffold resume {outcome.run}{runs_said(self._journal)}"
            said = f"the run ended as {outcome.status}, but its answer cannot be written to standard output"
            raise ScaffoldError(f"{said}: {full.strerror}; it is kept; show it again with: {shown_by}") from full
        lines = ending.summary(outcome, seconds, runs_said(self._journal), again, self._settled(outcome))
        if outcome.status == "waiting":
            from scaffold.cli.waiting import commands

            lines += commands(self._journal, outcome.run, again)
        sys.stderr.write("\n".join(lines) + "\n")

    def _settled(self, outcome: Outcome) -> set[str]:
        """Return the keys of actions with unknown outcomes that somebody has settled since."""
        unknown = [each.key for each in outcome.actions if each.status == "unknown"]
        if not unknown:
            return set()
        from scaffold.trace.identities import settlement_id

        said = {each.id for each in self._journal.inbox(outcome.run)}
        return {key for key in unknown if settlement_id(key) in said}
