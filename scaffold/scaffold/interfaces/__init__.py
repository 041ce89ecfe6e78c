"""The five Protocols of everything pluggable: Backend, Monitor, Action, Approver and Journal.

Each has a file here, with smaller, optional Protocols that its kind may implement too: a backend that `Prepares`, a
monitor that `Folds`, a journal that `Leases`. `isinstance` detects them. `Surroundings` is what a run takes from
outside.
"""

from __future__ import annotations

from scaffold.interfaces.action import (
    Action,
    ActionSource,
    FindsCredentials,
    Previews,
    Reconciles,
    Returns,
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
    "Returns",
    "ReviewContext",
    "StreamSession",
    "Surroundings",
    "TakesCredentials",
    "TraceView",
    "Undoes",
    "Witness",
]
