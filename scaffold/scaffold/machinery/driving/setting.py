"""What a run is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.credentials import Credentials
from scaffold.machinery.asking.prompts import Templates
from scaffold.machinery.asking.showing import Piece, Words
from scaffold.vocabulary.confidence import Calibration
from scaffold.vocabulary.monitorability import Monitorability

if TYPE_CHECKING:
    from scaffold.interfaces import Action, Approver, Backend, Journal, Monitor, Surroundings, Witness
    from scaffold.trace.heads import Signer
    from scaffold.trace.sealing import Sealer
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.sampling import Sampling
    from scaffold.vocabulary.task import Task


class Setting(msgspec.Struct, kw_only=True, eq=False):
    """Everything a run is made of.

    Attributes:
        name: the planner, or whoever else makes the moves, as pinned in the trace.
        plugins: other pinned plug-ins: versions and settings, by name.
        seed: source of the samples' seeds; the run's id when empty.
        oversample: minimum number of samples per step, for measuring how they agree.
        calibration: how stated confidence is corrected; a resumed run keeps what its first event holds.
        monitorability: probe results from other runs; likewise.
        config: what is needed to rebuild this setting; kept in the trace's content.
        raised: on resume, new limits for resources that the first event bounds.
        raised_by: who raised them.
        credentials: where actions' credentials are looked up.
        witnesses: further places that keep signed heads.
        sealer: encrypts content.
        followers: called with each event and its content's bytes; on resume from the first event on.
        listeners: the same, but only for new events, and for those that a listener Recalls.
        on_piece: called with the text of the work's steps, for a person to see.
        words: whether that happens as text is generated, or once oversight has released a step.
    """

    task: Task
    name: str
    backends: Mapping[str, Backend]
    monitors: Sequence[Monitor]
    actions: Mapping[str, Action]
    templates: Templates
    journal: Journal
    surroundings: Surroundings
    plugins: dict[str, str] = msgspec.field(default_factory=dict)
    approvers: Sequence[Approver] = ()
    signer: Signer | None = None
    witnesses: Sequence[Witness] = ()
    sealer: Sealer | None = None
    sampling: Sampling | None = None
    observe: bool = False
    plan_only: bool = False
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    followers: Sequence[Callable[[Event, bytes], None]] = ()
    listeners: Sequence[Callable[[Event, bytes], None]] = ()
    on_piece: Callable[[Piece], None] | None = None
    words: Words = "cleared"
    seed: str = ""
    oversample: int = 0
    calibration: Calibration | None = None
    monitorability: Monitorability | None = None
    credentials: Credentials = msgspec.field(default_factory=Credentials)
    raised: Mapping[str, float] = {}
    raised_by: str = ""
