"""Exit statuses, and the messages about the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from scaffold.vocabulary.models import Usage
    from scaffold.vocabulary.outcome import Outcome

FAILED, BAD_INPUT, STOPPED, EXHAUSTED, UNAVAILABLE, WAITING, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130
STATUSES = {
    "solved": 0,
    "failed": FAILED,
    "stopped": STOPPED,
    "exhausted": EXHAUSTED,
    "unavailable": UNAVAILABLE,
    "waiting": WAITING,
    "interrupted": INTERRUPTED,
}


def as_json(outcome: Outcome) -> str:
    """Return the JSON object that `--json` prints."""
    from scaffold.batch.rows import fields_of
    from scaffold.cli.speech import json_text

    return json_text(fields_of(outcome))


def answer_text(answer: Any, *, at_terminal: bool) -> str:
    """Render an answer for stdout: text as it is, but with control characters escaped at a terminal; else JSON."""
    from scaffold.cli.speech import json_text, steady

    if not isinstance(answer, str):
        return json_text(answer, indent=2)
    return steady(answer) if at_terminal else answer


def summary(
    outcome: Outcome, seconds: float, runs: str = "", again: str = "", settled: Collection[str] = ()
) -> list[str]:
    """Return the lines for stderr at the end: how the run ended, what it cost, what to do next.

    Args:
        outcome: the run's outcome.
        seconds: duration of this session.
        runs: option to add to commands so that they find the run.
        again: options to add to a command that resumes it, so that it does so as this one did.
        settled: keys of actions whose outcome somebody has settled.
    """
    from scaffold.cli.speech import line
    from scaffold.errors import count

    why = "" if outcome.reason in {"", outcome.status} else f": {line(outcome.reason)}"
    told = [f"{outcome.status}{why}"]
    if outcome.answer is not None and outcome.status != "solved":
        told[0] += " (the answer above is partial)"
    model, oversight = outcome.usage["model"], outcome.usage["oversight"]
    parts = [count(outcome.steps, "step"), *_actions(outcome)]
    if model.tokens:
        parts.append(_spent(model))
    if oversight.tokens:
        parts.append(f"oversight {_spent(oversight)}{_by_monitor(outcome)}")
    if outcome.saved.get("usd"):
        parts.append(f"refusals saved ${outcome.saved['usd']:.2f}")
    told.append(f"{', '.join(parts)}, {seconds:.1f} s")
    told += _undoable(outcome)
    told.append(f"trace: {outcome.trace}")
    if outcome.repaired:
        told.append(f"repaired on opening: {outcome.repaired}")
    return told + _unsettled(outcome, runs, settled) + _next(outcome, runs, again)


def _actions(outcome: Outcome) -> list[str]:
    from scaffold.errors import count

    tally: dict[str, int] = {}
    for each in outcome.actions:
        tally[each.status] = tally.get(each.status, 0) + 1
    return [f"{count(number, 'action')} {status}" for status, number in tally.items()]


def _by_monitor(outcome: Outcome) -> str:
    """List the tokens by monitor, the most first; empty if there was only one."""
    asking = {name: each.usage.tokens for name, each in outcome.overseers.items() if each.questions}
    if len(asking) < 2:  # noqa: PLR2004 - one accounts for everything
        return ""
    dearest = sorted(asking, key=asking.__getitem__, reverse=True)
    return f" ({', '.join(f'{name} {asking[name]:,}' for name in dearest)})"


def _undoable(outcome: Outcome) -> list[str]:
    """List what can be undone, the last first, if the run did not go as planned."""
    from scaffold.cli.speech import call
    from scaffold.errors import count

    if outcome.status == "solved" and not any(each.status in {"failed", "unknown"} for each in outcome.actions):
        return []
    done = {each.key: each for each in outcome.actions}
    lines = [
        f"was done and can be undone: {call(done[key].name, done[key].arguments, _WIDTH)} at {key}, by {undo}"
        for key, undo in reversed(outcome.undoable.items())
    ]
    beyond = len(lines) - _MOST_LINES
    return lines if beyond <= 0 else [*lines[:_MOST_LINES], f"and {count(beyond, 'action')} more"]


_WIDTH = 100
_MOST_LINES = 10


def _unsettled(outcome: Outcome, runs: str, settled: Collection[str]) -> list[str]:
    """List actions with unknown outcomes, and how to settle them; no other run repeats them before that."""
    from scaffold.cli.speech import call

    return [
        f"find out whether this happened, and record it: {call(each.name, each.arguments, _WIDTH)}\n  scaffold settle "
        f"{outcome.run} {each.key} --happened{runs}    (or --did-not-happen)"
        for each in outcome.actions
        if each.status == "unknown" and each.key not in settled
    ][:_MOST_LINES]


def _spent(usage: Usage) -> str:
    about = "about " if usage.guessed else ""
    usd = "" if not usage.usd else f" (${usage.usd:.4f})"
    return f"{about}{usage.tokens:,} tokens{usd}"


def _next(outcome: Outcome, runs: str, again: str) -> list[str]:
    run = outcome.run + runs
    match outcome.status:
        case "interrupted":
            return [f"paused; continue with: scaffold resume {run}{again}"]
        case "unavailable":
            other = "(with another backend: --backend [ROLE=]SPEC)"
            return [f"when it is available again, continue with: scaffold resume {run}{again}    {other}"]
        case "exhausted":
            more = f"scaffold resume {run}{again} --budget {outcome.lacking or 'NAME'}=AMOUNT"
            return [f"see what it was spent on: scaffold audit show {run}", f"continue with a larger budget: {more}"]
        case _:
            return []
