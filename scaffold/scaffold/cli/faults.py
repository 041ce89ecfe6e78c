"""Maps an error to a one-line message and an exit status."""

from __future__ import annotations

import os
import sys
import traceback

from scaffold.cli.ending import BAD_INPUT, FAILED, UNAVAILABLE
from scaffold.cli.speech import lines, plain
from scaffold.errors import (
    BackendUnavailable,
    BadInput,
    JournalFailed,
    PlannerError,
    ScaffoldError,
    TraceDamaged,
    TraceError,
    Unavailable,
    exhausted,
)

DEBUG = "SCAFFOLD_DEBUG"
_LIMITS = {"threads": " (ulimit -u, or its container's limit of processes)", "open files": " (ulimit -n)"}


def explain(error: Exception) -> int:
    """Print an uncaught error, and return the exit status for it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    said = lines(str(error)).strip() or type(error).__name__
    if isinstance(error, TraceDamaged):
        said += "; `scaffold audit verify` tells which part of it can still be trusted"
    match error:
        case BadInput() | PlannerError():
            status = BAD_INPUT
        case Unavailable() | BackendUnavailable() | JournalFailed():
            status = UNAVAILABLE
        case TraceError():
            status = BAD_INPUT
        case ScaffoldError():
            status = FAILED
        case OSError() if error.strerror:
            status = FAILED
            said = f"{plain(str(error.filename))}: {error.strerror}" if error.filename else error.strerror
        case _ if exhausted(error):
            status = FAILED
        case _:
            status = FAILED
            said = f"{type(error).__name__}: {said} (a bug in scaffold; set {DEBUG}=1 to see where)"
    if lack := exhausted(error) or exhausted(error.__cause__):
        said += f": allow this process more {lack}{_LIMITS.get(lack, '')}, or have it do less at a time"
    print(f"error: {said}", file=sys.stderr)  # noqa: T201 - the command speaks on stderr
    return status
