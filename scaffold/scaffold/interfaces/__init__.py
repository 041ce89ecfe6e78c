"""The five Protocols that everything pluggable keeps to, and what the engine is given from outside.

They are Backend, Monitor, Action, Approver and Journal. Beside each stand smaller Protocols, which one of its kind may
keep to as well: a backend that `Prepares`, a monitor that `Folds`, a journal that `Leases`. `isinstance` finds them.
Each of the five has a file here, with all that belongs to it.
"""

from __future__ import annotations

from scaffold.interfaces.action import (
    Action,
    ActionSource,
    FindsCredentials,
    Previews,
    Reconciles,
    TakesCredentials,
    Undoes,
)
from scaffold.interfaces.approver import Answer, Approver, AsksBeside, Question
from scaffold.interfaces.backend import Backend, Prepares
from scaffold.interfaces.journal import (
    Claim,
    Holder,
    HoldsForTheGone,
    HoldsIdentities,
    Journal,
    KeptRuns,
    Leases,
    Record,
    Witness,
)
from scaffold.interfaces.monitor import (
    ChecksTask,
    Describes,
    Elsewhere,
    Folds,
    FoldsBare,
    LooksAround,
    Monitor,
    ReadsStreams,
    Recalls,
    ReviewContext,
    StreamSession,
    TraceView,
)
from scaffold.interfaces.surroundings import Clock, HostClock, Surroundings

__all__ = [
    "Action",
    "ActionSource",
    "Answer",
    "Approver",
    "AsksBeside",
    "Backend",
    "ChecksTask",
    "Claim",
    "Clock",
    "Describes",
    "Elsewhere",
    "FindsCredentials",
    "Folds",
    "FoldsBare",
    "Holder",
    "HoldsForTheGone",
    "HoldsIdentities",
    "HostClock",
    "Journal",
    "KeptRuns",
    "Leases",
    "LooksAround",
    "Monitor",
    "Prepares",
    "Previews",
    "Question",
    "ReadsStreams",
    "Recalls",
    "Reconciles",
    "Record",
    "ReviewContext",
    "StreamSession",
    "Surroundings",
    "TakesCredentials",
    "TraceView",
    "Undoes",
    "Witness",
]
