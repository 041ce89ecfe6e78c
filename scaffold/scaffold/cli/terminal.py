"""Asks the person at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
import time
from typing import TYPE_CHECKING

from scaffold.cli.speech import call, line, lines, sentence
from scaffold.errors import date
from scaffold.interfaces import Answer

if TYPE_CHECKING:
    from scaffold.cli.progress import Display
    from scaffold.interfaces import Question

_LONGEST_LINE = 65_536
_LONGEST_VALUE = 20_000
_DAY = 86_400


def somebody_is_there() -> bool:
    """Whether a person at the terminal can read a question and answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def who() -> str:
    """Return the user's name, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "someone"


def when(moment: float) -> str:
    """Format a moment in local time, with its date if that is not today."""
    return date(moment, "%H:%M:%S" if abs(moment - time.time()) < _DAY / 2 else "%Y-%m-%d %H:%M")


def shown(question: Question) -> list[str]:
    """Render a question as lines: the exact calls, the reasons, the deadline."""
    lines = [f"{question.kind}: {line(question.title)}"]
    lines += [f"  {call(each['action'], each['arguments'])}" for each in question.detail.get("calls", ())]
    lines += [f"  it would: {line(each)}" for each in (question.detail.get("previews") or {}).values()]
    if "value" in question.detail:
        lines.append(f"  it returned: {_in_part(line(question.detail['value']), question)}")
    if "error" in question.detail:
        lines.append(f"  its error message: {_in_part(line(question.detail['error']), question)}")
    lines += [f"  about {line(each)}" for each in question.detail.get("about") or ()]
    if question.detail.get("form"):
        lines.append(f"  {line(question.detail['form'])}")
    lines += [f"  reason: {sentence(reason)}" for reason in question.detail.get("reasons") or ()]
    if question.approvers and question.kind != "question":
        lines.append(f"  {', '.join(line(name) for name in question.approvers)} may approve")
    if question.needs > 1:
        lines.append(f"  {question.needs} people have to approve")
    if question.approved:
        lines.append(f"  {', '.join(line(name or 'somebody') for name in question.approved)} approved it already")
    if question.expires < float("inf"):
        lines.append(f"  open until {when(question.expires)}; no answer by then means no")
    return lines


def _in_part(text: str, question: Question) -> str:
    """Shorten text from outside so that the question stays in sight, and say where it is cut."""
    if len(text) <= _LONGEST_VALUE:
        return text
    whole = f"scaffold approvals show {question.run} {question.id} --json"
    return f"{text[:_LONGEST_VALUE]}… (cut: {len(text):,} characters in all; see them with `{whole}`)"


def may_answer(question: Question, person: str) -> bool:
    """Whether a typed answer can count: the person may answer, has not yet, and need not sign."""
    if question.kind == "question":
        return True
    return person not in question.approved and (not question.approvers or question.approvers.get(person) == "")


class TerminalApprover:
    """Asks at the terminal: y/N for a call or a plan, a line of text for a question. One at a time."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, question: Question) -> Answer | None:
        """Ask; None leaves the question open, and the run pauses."""
        async with self._one_at_a_time:
            left = question.expires - time.time()
            if left <= 0 or not may_answer(question, who()):
                return None
            with self._display.aside():
                return await self._put(question, None if left == float("inf") else left)

    async def _put(self, question: Question, left: float | None) -> Answer | None:
        sys.stderr.write("\n" + "\n".join(shown(question)) + "\n")
        is_question = question.kind == "question"
        sys.stderr.write(_ASKS.get(question.kind, "approve exactly this, or say why not [y/N, l for later] "))
        sys.stderr.flush()
        _forget_what_was_typed()
        try:
            said = await asyncio.wait_for(_read_line(), left)
        except TimeoutError:
            sys.stderr.write("\nnobody answered in time\n")
            return None
        if said is None:
            sys.stderr.write("\n")
            return None
        if is_question:
            return Answer(id=question.id, digest=question.digest, value=said, by=who()) if said else None
        if said.lower() in {"l", "later"}:
            return None
        scope = question.kind == "plan" and said.lower() in {"a", "all"}
        granted = scope or said.lower() in {"y", "yes"}
        comment = "" if granted or said.lower() in {"", "n", "no"} else said
        return Answer(id=question.id, digest=question.digest, granted=granted, by=who(), scope=scope, comment=comment)


_ASKS = {
    "question": "your answer (empty to answer later): ",
    "observation": "let the agent read exactly this, or say why not [y/N, l for later] ",
    "plan": "approve exactly this, or say why not [y/N, a for yes to all its calls too, l for later] ",
}


def _forget_what_was_typed() -> None:
    """Discard input typed before the question was shown, so that a stray `y` approves nothing."""
    import termios

    with contextlib.suppress(termios.error):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


async def _read_line() -> str | None:
    """Read one line from the terminal; None at its end. Unlike a reading thread, it can be cancelled."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
    # A terminal delivers whole lines.
    data = os.read(descriptor, _LONGEST_LINE)
    return lines(data.decode("utf-8", "replace").strip()) if data else None


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
