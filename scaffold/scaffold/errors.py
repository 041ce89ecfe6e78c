"""Every error this project raises, in one tree.

ScaffoldError
├── BadInput                 what the user gave cannot be used                    (exit 2)
│   ├── TaskError            a fault in a task: names the line, the key, the nearest valid name
│   ├── MemoryTooSmall       a working memory has no room for what is pinned in it
│   ├── UnknownPlugin        no planner, monitor or backend of that name is installed
│   ├── BrokenPlugin         it is installed, and does not import or fit
│   ├── MissingExtra         an optional dependency is missing: names the pip command
│   ├── MissingKey           a backend's key is missing: names the variable; NotAuthorised too
│   ├── ModelFileError       a local model's file is missing, cut short or not a model
│   ├── AnswerRefused        a person's answer cannot count: too late, given twice, not theirs to give
│   └── UnknownRun           no such run
├── PlannerError             the planner's code broke a rule of planning
│   ├── PlanError            a plan that is not a DAG, or names what does not exist
│   ├── PlannerStuck         a planner did not give back control before the run's time was over
│   └── PlanChanged          replay asked for something other than the trace records
├── GaveUp                   the planner says: unsolved                           (exit 1)
│   ├── NoOptions            there is nothing to choose from
│   └── GoalConflict         nothing found satisfies all goals at once: names them
├── MoveError                the recorded outcome of a move, thrown into the planner
│   ├── StepFailed           no acceptable sample
│   │   ├── NoWinner         votes did not settle within the cap
│   │   ├── CheckFailed      a critic in code raised or took too long: nothing was checked
│   │   ├── PromptTooLong    the prompt does not fit the model's context
│   │   └── StepRefused      oversight withheld the thought
│   └── ActionError
│       ├── ActionRefused    the gate did not clear it: nothing happened
│       ├── ActionFailed     it is known not to have happened
│       ├── OutcomeUnknown   it may have happened
│       └── ObservationWithheld  it happened; its result may not be read
├── RunEnding                ends the run, never an outcome of a move
│   ├── BudgetSpent          (exit 4)
│   ├── Stopped              by oversight or by `scaffold stop`                    (exit 3)
│   └── Unavailable          a backend, or the journal, is gone                    (exit 5)
├── BackendError             raised by backends
│   ├── BackendUnavailable   down, refused, out of retries
│   │   └── NotAuthorised    401, 403: retrying cannot help
│   ├── ContextOverflow      prompt over the context window
│   ├── BadRequest           the backend rejects the request
│   └── BadResponse          cut, malformed or over-long
│       └── BrokenOff        the backend was lost in the middle of an answer
├── TraceError
│   ├── JournalFailed        runs cannot be read or stored: a full disk, a database   (exit 5)
│   ├── RunHeld              another process writes this run
│   ├── ClaimLost            another process has taken the run over
│   ├── TraceDamaged         altered, torn in the middle, or out of order
│   └── NewerTrace           written by a later version
├── ClearanceError           an action was attempted without a fitting, unspent clearance
├── ToolFailed               an MCP server's tool, in the middle of a call: it may have happened
└── NotPerformed             raised by an action: known not to have happened
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ScaffoldError(Exception):
    """Any error of this project."""


def nearest(name: str, known: Iterable[str], *, alike: float = 0.55) -> str:
    """Return a clause for an error message with the closest known name, if it is at least `alike` (0 to 1) similar."""
    import difflib  # only needed for messages

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=alike)
    return f"; did you mean {close[0]!r}?" if close else ""


def count(number: int, noun: str) -> str:
    """Return a count with its noun, for a message: `1 step`, `2 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def date(moment: float, shape: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a moment in local time, for a message; as it stands if no calendar reaches that far."""
    import time

    try:
        return time.strftime(shape, time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return f"{moment:g} s after 1970"


def unknown(key: str, known: Iterable[str]) -> str:
    """Say that a key is not known, and which one may have been meant."""
    known = list(dict.fromkeys(known))
    longer = [each for each in known if each.startswith(key)]
    meant = longer[0] if len(longer) == 1 else key
    return f"is not known{nearest(meant, known) or '; expected one of ' + ', '.join(known)}"


_NO_MORE = {errno.EMFILE: "open files", errno.ENFILE: "open files", errno.ENOMEM: "memory"}


def exhausted(error: BaseException | None) -> str:
    """Name what the system lets this process have no more of (memory, threads, open files); empty if it is not that."""
    match error:
        case MemoryError():
            return "memory"
        case OSError():
            return _NO_MORE.get(error.errno or 0, "")
        case RuntimeError() if "can't start new thread" in str(error):
            return "threads"
        case _:
            return ""


# --- what the user gave


class BadInput(ScaffoldError):
    """What the user gave cannot be used."""


class TaskError(BadInput):
    """A task that cannot be run.

    Attributes:
        path: keys that lead to the fault, such as `("budget", "tokens")`.
        where: file and line, once added by the reader of the file.
    """

    def __init__(self, message: str, *, path: tuple[str | int, ...] = (), where: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.where = where

    def __str__(self) -> str:
        place = ".".join(str(part) for part in self.path)
        return ": ".join(part for part in (self.where, place, super().__str__()) if part)


class MemoryTooSmall(BadInput):
    """A working memory's limit has no room for what is pinned in it.

    Attributes:
        limit: the limit, in tokens.
        pinned: tokens of what is pinned.
        room: least number of tokens it needs besides.
    """

    def __init__(self, limit: int, pinned: int, room: int) -> None:
        super().__init__(
            f"a memory of {limit} tokens is too small: {pinned} are pinned, and observations need at least {room} "
            f"more; allow {pinned + room} or more"
        )
        self.limit = limit
        self.pinned = pinned
        self.room = room


class UnknownPlugin(BadInput):
    """No plug-in of that name is installed."""

    def __init__(self, family: str, name: str, installed: Iterable[str]) -> None:
        names = sorted(installed)
        listed = ", ".join(names) or "none"
        own = "; write MODULE:NAME for one of your own" if "." in name and family in {"planner", "monitor"} else ""
        super().__init__(f"no {family} named {name!r}{nearest(name, names)} (installed: {listed}){own}")
        self.family = family
        self.name = name


class BrokenPlugin(BadInput):
    """A plug-in is installed but cannot be loaded."""


class MissingExtra(BadInput):
    """An optional dependency is missing."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part: pip install 'system2-scaffold[{extra}]'")
        self.extra = extra


class ModelFileError(BadInput):
    """A local model's file is missing, cut short or not a model."""


class AnswerRefused(BadInput):
    """A person's answer to a run cannot count.

    Attributes:
        why: `unknown`, `settled`, `ended`, `answered`, `expired`, `another`, `wrong person`, `misfit`.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class UnknownRun(BadInput):
    """No run of that name is stored there."""


# --- planning


class PlannerError(ScaffoldError):
    """A planner broke a rule of planning."""


class PlanError(PlannerError):
    """A plan that is not a DAG, or that names an action or a step that does not exist."""


class PlannerStuck(PlannerError):
    """A planner did not give back control before the run's time was over."""

    def __init__(self, message: str = "the planner did not give back control before the run's time was over") -> None:
        super().__init__(message)


class PlanChanged(PlannerError):
    """A resumed planner asked for something other than its trace records."""


class GaveUp(ScaffoldError):
    """A planner says that the task is unsolved, and why."""


class NoOptions(GaveUp):
    """There is nothing to choose from: everything proposed was discarded, or nothing was proposed."""


class GoalConflict(GaveUp):
    """Goals contradict one another: nothing that was found satisfies all of them.

    Attributes:
        goals: their names.
    """

    def __init__(self, message: str, goals: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.goals = tuple(goals)


class MoveError(ScaffoldError):
    """The recorded outcome of a move that failed, thrown into the planner.

    Attributes:
        key: the move's place in the planner's structure.
        data: the subclass's own facts, as JSON values.
        tainted: whether the message contains untrusted text.
    """

    code: ClassVar[str] = "move_error"
    tainted = False

    def __init__(self, message: str, key: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.key = key
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} (at {self.key})" if self.key else self.message


class StepFailed(MoveError):
    """A step gave no acceptable sample."""

    code = "step_failed"


class NoWinner(StepFailed):
    """Votes did not settle within the cap; `data["votes"]` has the count."""

    code = "no_winner"


class CheckFailed(StepFailed):
    """No sample is acceptable, and at least one could not be checked: a critic in code raised or took too long."""

    code = "check_failed"


class PromptTooLong(StepFailed):
    """The prompt does not fit the model's context."""

    code = "prompt_too_long"


class StepRefused(StepFailed):
    """Oversight withheld the thought."""

    code = "step_refused"


class ActionError(MoveError):
    """An action did not end as performed; `data["action"]` is its name."""

    code = "action_error"

    def __str__(self) -> str:
        place = " ".join(filter(None, (self.data.get("action"), self.key and f"at {self.key}")))
        return f"{self.message} ({place})" if place else self.message


class ActionRefused(ActionError):
    """The gate did not clear the action: nothing happened."""

    code = "action_refused"


class ActionFailed(ActionError):
    """The action is known not to have happened."""

    code = "action_failed"


class OutcomeUnknown(ActionError):
    """The action may have happened; a person must look."""

    code = "outcome_unknown"


class ObservationWithheld(ActionError):
    """The action happened, and oversight withheld its result; that it did depends on that result, so it taints."""

    code = "observation_withheld"
    tainted = True


_MOVE_ERRORS: dict[str, type[MoveError]] = {
    cls.code: cls
    for cls in (
        MoveError,
        StepFailed,
        NoWinner,
        CheckFailed,
        PromptTooLong,
        StepRefused,
        ActionError,
        ActionRefused,
        ActionFailed,
        OutcomeUnknown,
        ObservationWithheld,
    )
}


def move_error(code: str, message: str, key: str, data: dict[str, Any]) -> MoveError:
    """Rebuild a move's error from its record; an unknown code gives the base class."""
    return _MOVE_ERRORS.get(code, MoveError)(message, key, **data)


# --- the end of a run


class RunEnding(ScaffoldError):
    """Ends the run; never the outcome of a move."""


class BudgetSpent(RunEnding):
    """A budget has no room for what comes next.

    Attributes:
        resource: which budget (`tokens`, `usd`, `seconds`, `steps`, `actions`).
        limit: the budget.
        spent: what was used and reserved when it ran out.
        wanted: what the next move would have needed, at worst; 0 if the budget is over whatever comes next.
        key: of the move that does not fit, or of the last one.
    """

    def __init__(self, resource: str, *, limit: float, spent: float, wanted: float, key: str = "") -> None:
        digits = ".10g" if wanted else ".1f"
        short = f"has no room for {wanted:,{digits}} more" if wanted else "is over"
        place = f", at {key}" if key else ""
        super().__init__(f"budget of {limit:,.10g} {resource} {short} ({spent:,{digits}} spent{place})")
        self.resource = resource
        self.limit = limit
        self.spent = spent
        self.wanted = wanted
        self.key = key


class Stopped(RunEnding):
    """Oversight, or a person with `scaffold stop`, ended the run."""


class Unavailable(RunEnding):
    """A backend, or the journal, is gone; the run can be resumed when it is back."""


# --- backends


class BackendError(ScaffoldError):
    """A backend could not answer."""


class BackendUnavailable(BackendError):
    """The backend is down, refuses, or retries ran out.

    Attributes:
        reached: whether the request may have arrived; one that certainly did not is not charged.
    """

    def __init__(self, message: str = "", *, reached: bool = True) -> None:
        super().__init__(message)
        self.reached = reached


class NotAuthorised(BackendUnavailable):
    """The backend refuses our credentials; retrying cannot help."""


class MissingKey(NotAuthorised, BadInput):
    """The key that a backend needs is missing or cannot be a key; nothing was sent.

    Attributes:
        variable: the environment variable that must hold it.
    """

    def __init__(self, message: str, variable: str) -> None:
        super().__init__(message)
        self.variable = variable


class ContextOverflow(BackendError):
    """The prompt does not fit the model's context window."""


class BadRequest(BackendError):
    """The backend rejects the request; retrying cannot help."""


class BadResponse(BackendError):
    """The answer was cut, malformed or over-long."""


class BrokenOff(BadResponse):
    """The backend was lost in the middle of an answer, such as a connection; another answer may get through."""


# --- the trace


class TraceError(ScaffoldError):
    """A trace could not be written, read or trusted."""


class JournalFailed(TraceError):
    """The journal could not be read or written; nothing that depends on it may happen."""


class RunHeld(TraceError):
    """Another process writes this run."""


class ClaimLost(TraceError):
    """The right to write this run was lost."""


class TraceDamaged(TraceError):
    """A line was altered, is torn, or is out of order.

    Attributes:
        line: number of the first bad line, counted from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class NewerTrace(TraceError):
    """The trace was written by a later version of the format."""


# --- actions


class ClearanceError(ScaffoldError):
    """An action was attempted without a fitting, unspent clearance."""


class ToolFailed(ScaffoldError):
    """An MCP server or its tool failed in the middle of a call: it may have been performed."""


class NotPerformed(ScaffoldError):
    """Raised by an action when it is certain that nothing happened."""
