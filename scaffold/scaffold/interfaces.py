"""The five Protocols that everything pluggable keeps to, and what the engine is given from outside.

They are Backend, Monitor, Action, Approver and Journal. Beside each stand smaller Protocols, which one of its kind may
keep to as well: a backend that `Prepares`, a monitor that `Folds`, a journal that `Leases`. `isinstance` finds them.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from typing_extensions import Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from scaffold.vocabulary.actions import ActionSpec, Call
    from scaffold.vocabulary.clearance import Clearance
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.models import Delta, Profile, Request
    from scaffold.vocabulary.moves import Options, StepKind, Thought
    from scaffold.vocabulary.review import MonitorSpec, Stakes, Subject, Verdict
    from scaffold.vocabulary.task import Task


# --- backends


@runtime_checkable
class Backend(Protocol):
    """Something that answers a request with samples.

    `generate` is always a stream. Each of the request's n samples has its own `index`, 0 to n-1, and ends with a
    Delta that has `finish`; the last Delta of all has `usage`. Closing the iterator stops the work. A backend
    retries what is worth retrying by itself, and raises a `BackendError` leaf for the rest:
    `BackendUnavailable` ends the run, the others fail the step. It is used by many tasks at once.
    `close` frees what it holds; it may be called twice.
    """

    profile: Profile

    def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream of pieces of samples."""
        ...

    async def close(self) -> None:
        """Free connections, threads, memory."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A backend that has to fetch or load something before it can answer."""

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Get ready; `say` is told what is going on and which fraction of it is done, 0 to 1.

        Raises:
            BadInput: it cannot be made ready; the message names the cure.
        """
        ...


# --- monitors


class TraceView(Protocol):
    """What a monitor may read of the run so far; reading never changes it."""

    @property
    def run(self) -> str:
        """The run's id."""
        ...

    @property
    def task(self) -> Task:
        """What was asked."""
        ...

    @property
    def state(self) -> Any:
        """This monitor's own fold over the trace, when it has one; else None."""
        ...

    @property
    def actions(self) -> Mapping[str, ActionSpec]:
        """The actions that exist, by name."""
        ...

    def events(self, after: int = 0) -> AsyncIterator[tuple[Event, dict[str, Any]]]:
        """Events with their content, in order, from the one after `after`."""
        ...


class Elsewhere(msgspec.Struct, frozen=True):
    """An action of any run of the same journal that was performed, may have been, or may yet be.

    Attributes:
        run: which run.
        key: where in that run.
        at: when it was begun, or proposed if it was not begun yet, in seconds since the epoch.
        action: its name.
        arguments: its arguments; None when they are withheld.
    """

    run: str
    key: str
    at: float
    action: str
    arguments: dict[str, Any] | None


@runtime_checkable
class LooksAround(Protocol):
    """A view that can tell the time, and what other runs did. A verdict that rests on either says what it was.

    A recorded verdict is final across resumes, so a run that is resumed decides the same whatever has changed since.
    """

    def now(self) -> float:
        """Seconds since the epoch, by the run's clock."""
        ...

    async def elsewhere(self, since: float) -> Sequence[Elsewhere]:
        """What all runs did, this one included, from a time on.

        Raises:
            BadInput: the journal cannot be looked through, or a run in it is damaged.
        """
        ...


class ReviewContext(Protocol):
    """What a monitor may use while it reviews."""

    @property
    def stakes(self) -> Stakes:
        """How much depends on it."""
        ...

    @property
    def random(self) -> random.Random:
        """Seeded by run and key, so that what was sampled is sampled again on resume."""
        ...

    async def think(
        self,
        kind: StepKind,
        *inputs: Any,
        returns: Any = str,
        instruction: str = "",
        prompt: str = "",
        to: str = "judge",
        options: Options | None = None,
    ) -> Thought[Any]:
        """Ask a model: an ordinary step, recorded, in oversight's own ledger.

        Raises:
            StepFailed: there is no acceptable answer. Letting it through is right: it becomes status `error`.
        """
        ...


@runtime_checkable
class Monitor(Protocol):
    """Reads one subject, with a view of the trace, and says a Verdict.

    `review` may be cancelled at `spec.timeout_s`. It says what it found; it never acts. Raising, taking too
    long or returning something else is recorded as such and never counts as a pass. One instance serves many runs:
    what it must remember of a run is a fold (`Folds`), never an attribute.
    """

    spec: MonitorSpec

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Read one subject."""
        ...


@runtime_checkable
class ChecksTask(Protocol):
    """A monitor that can tell before the run that a task does not fit it."""

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Raise TaskError, with the path of the fault, when the task cannot be monitored as it says."""
        ...


@runtime_checkable
class Folds(Protocol):
    """A monitor whose state is a fold over the trace, rebuilt on resume.

    Reviewing does not change the state. Where several monitors have one plain function as their `fold` (a static
    method), and want the same events, the run is followed once for all of them, and they are given one state.

    Attributes:
        folds: the kinds of event it wants; others are not decoded for it.
    """

    folds: frozenset[type[Event]]

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> Any:
        """Give the state after one more event; state is None before the first."""
        ...


@runtime_checkable
class FoldsBare(Protocol):
    """A monitor that folds some kinds of event by their facts alone: it is given them without their content.

    Attributes:
        bare: these kinds. What prompts and answers hold need then not be decoded at every step.
    """

    bare: frozenset[type[Event]]


@runtime_checkable
class Recalls(Protocol):
    """A listener to events that, when a run is resumed, has to hear some of those from before.

    Attributes:
        recalls: for each kind of event it wants, what takes in one from before, with its content's bytes.
    """

    recalls: Mapping[type[Event], Callable[[Event, bytes], None]]


@runtime_checkable
class Describes(Protocol):
    """A monitor that knows better than its specification what an action is; all monitors of the run then read that.

    The stakes follow it too. What the action itself promises (its schema, its effect in the trace) stays as declared.
    """

    def describe(self, spec: ActionSpec) -> ActionSpec:
        """Give what monitors are to read of an action; `x-role` in an argument's schema says its role."""
        ...


class StreamSession(Protocol):
    """Reads one step's samples while they are generated."""

    def feed(self, delta: Delta) -> Verdict | None:
        """Read a piece; a verdict of `resample` or worse ends that sample at once."""
        ...

    def close(self, sample: int) -> Verdict | None:
        """The sample is over."""
        ...


@runtime_checkable
class ReadsStreams(Protocol):
    """A monitor that reads reasoning and answers while they are generated."""

    def open(self, step: Subject, view: TraceView, context: ReviewContext) -> StreamSession:
        """Begin with a step: `step.step` says what is asked, and of whom; there is no answer yet.

        A step that is drawn again is opened anew.
        """
        ...


# --- actions


@runtime_checkable
class Action(Protocol):
    """A typed callable on the world with a declared effect.

    `perform` redeems the clearance on the canonical bytes of its arguments before it does anything else, so that it
    cannot be called past the gate. It raises `NotPerformed` when it is certain that nothing happened; any
    other exception means that the outcome is unknown, unless the effect is `read`.
    """

    spec: ActionSpec

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments against the schema and give them as JSON values.

        Raises:
            ValueError: they do not fit; the message says which and why.
        """
        ...

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        """Do it."""
        ...


@runtime_checkable
class Reconciles(Protocol):
    """An action that can ask its target whether a call had its effect."""

    async def reconcile(self, arguments: Mapping[str, Any], call: Call) -> tuple[bool, Any]:
        """Say whether it happened, and what it gave back."""
        ...


@runtime_checkable
class Previews(Protocol):
    """An action that can say what a call would do, without doing it; it is asked to where `spec.preview` is set."""

    async def preview(self, arguments: Mapping[str, Any], call: Call) -> Any:
        """Say what would happen, as a JSON value for reviewers and people."""
        ...


@runtime_checkable
class Undoes(Protocol):
    """An action that brings the one that undoes it, if any; `spec.undo` names that one."""

    undoing: Action | None


@runtime_checkable
class ActionSource(Protocol):
    """Something outside that brings actions, and has to be started before they are performed, such as an MCP server.

    What its actions declare is known before it is started, and does not change while it lives. One instance serves many
    runs. `prepare` starts it unless it runs; `close` ends it and all it started, and may be called twice.
    """

    def actions(self) -> Sequence[Action]:
        """What it brings.

        Raises:
            BadInput: it is not known what that is; the message names the cure.
        """
        ...

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Start it; see `Prepares`.

        Raises:
            BadInput: it cannot be started, or is not what it was said to be.
            Unavailable: it is not there now.
        """
        ...

    async def close(self) -> None:
        """End it."""
        ...


class FindsCredentials(Protocol):
    """Where credentials are found."""

    def read(self, name: str) -> str:
        """A credential as it is now.

        Raises:
            BadInput: it is not there; the message says where it was looked for.
        """
        ...


@runtime_checkable
class TakesCredentials(Protocol):
    """A source of actions that needs credentials itself, before it can be started."""

    def take_credentials(self, credentials: FindsCredentials) -> None:
        """Be told where they are found; called before each `prepare`.

        Raises:
            BadInput: it runs already, with those that another agent finds elsewhere.
        """
        ...


# --- people


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is asked: to approve an exact call, or for a fact.

    Attributes:
        id: names it in `scaffold approvals`.
        run: the run that asks.
        kind: an approval of a plan or an action, or a question.
        digest: of what exactly is asked; an answer for another digest counts for nothing.
        expires: seconds since the epoch, after which an approval means no.
        title: one line.
        detail: the exact call, the reasons, as JSON values.
        needs: how many people have to approve.
        approvers: who may, by name, each with the verifier line of their key, or nothing; nobody named: anybody may.
            Of a question, those who may answer it through the inbox.
    """

    id: str
    run: str
    kind: str
    digest: str
    expires: float
    title: str
    detail: dict[str, Any] = {}
    needs: int = 1
    approvers: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person says.

    Attributes:
        id: the question's id.
        digest: the question's digest.
        granted: for an approval.
        value: for a question, as text.
        by: who.
        comment: kept in the trace.
        scope: for a plan: its calls are approved with it, each as long as it is exactly as shown.
        signature: a signed note of all the above, by the key of `by`; see `scaffold.trace.answers`.
    """

    id: str
    digest: str
    granted: bool = False
    value: str = ""
    by: str = ""
    comment: str = ""
    scope: bool = False
    signature: str = ""


@runtime_checkable
class Approver(Protocol):
    """A way to reach a person."""

    async def ask(self, question: Question) -> Answer | None:
        """Ask; None means that nobody can be reached now, and the run goes on without or pauses."""
        ...


@runtime_checkable
class AsksBeside(Protocol):
    """An approver that the others need not wait for: the next one is asked at the same time."""

    beside: bool


# --- the journal


class Record(msgspec.Struct, frozen=True, gc=False):
    """One event as it is stored: the spine's line and the content's line, without their newlines."""

    seq: int
    line: bytes
    content: bytes = b""


class Claim(msgspec.Struct, frozen=True):
    """The right to write one run.

    Attributes:
        run: the run.
        owner: who holds it.
        epoch: counts claims; a journal refuses an older one.
        repaired: what was mended on opening, in words; empty when nothing was.
    """

    run: str
    owner: str
    epoch: int = 0
    repaired: str = ""


@runtime_checkable
class Journal(Protocol):
    """Where a run's events are stored. One writer at a time; readers at any time.

    `append` stores records in the order of its calls, of which one may come before an earlier one has returned; when
    it returns, all that was handed over before is stored too. With `durable` it survives a loss of power. `read` gives
    what was stored, in order, and changes nothing. The inbox holds
    what people say to a run from outside; the holder of the claim turns it into events.
    """

    async def claim(self, run: str, owner: str, *, create: bool = False) -> Claim:
        """Take the right to write; mend a torn tail.

        Raises:
            RunHeld: another process has it.
            UnknownRun: there is no such run, and `create` is False.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Give it back."""
        ...

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        """Store records.

        Raises:
            JournalFailed: they are not stored; the run must end.
            ClaimLost: another process has taken over.
        """
        ...

    def read(self, run: str, after: int = 0) -> AsyncIterator[Record]:
        """Give the records after a sequence number."""
        ...

    async def sign(self, claim: Claim, note: str) -> None:
        """Keep a signed head beside the trace."""
        ...

    async def post(self, run: str, answer: Answer) -> None:
        """Put an answer into a run's inbox, in place of what the same person said to the same question."""
        ...

    def inbox(self, run: str) -> Sequence[Answer]:
        """What lies in a run's inbox."""
        ...

    def location(self, run: str) -> str:
        """Where people find the trace: a path or an address."""
        ...


class KeptRuns(Journal, Protocol):
    """A journal whose runs can be looked at, by the command and by reports."""

    @property
    def name(self) -> str:
        """Where the runs are, for people; nothing in it is secret."""
        ...

    def runs(self) -> list[str]:
        """Ids of the runs kept here, oldest first."""
        ...

    def find(self, name: str) -> str:
        """Give the run meant by an id, a unique beginning or ending of one, or `last`.

        Raises:
            UnknownRun: none, or more than one, is meant.
        """
        ...

    def folder(self, run: str, *, brief: bool = False) -> Path:
        """A folder with the run's files, or with copies of them as they are now.

        Args:
            run: its id.
            brief: the first and the last event are enough.
        """
        ...


@runtime_checkable
class Leases(Protocol):
    """A journal whose claims run out unless they are renewed, so that one can be lost while its owner lives."""

    def when_lost(self, claim: Claim, tell: Callable[[], None]) -> None:
        """Have a function called once somebody else has taken over."""
        ...

    async def confirm(self, claim: Claim) -> None:
        """See that the claim has not been lost, at least not a moment ago: asked right before every effect.

        Raises:
            ClaimLost: it has.
            JournalFailed: nobody can tell.
        """
        ...


class Holder(msgspec.Struct, frozen=True):
    """Who acts on a thing, or has acted on it.

    Attributes:
        run: the run.
        key: where in that run.
        how: it was `performed`, nobody can tell (`unknown`), or the run is at it (`under way`).
        because: what else is known, in words.
    """

    run: str
    key: str
    how: Literal["performed", "unknown", "under way"]
    because: str = ""


@runtime_checkable
class HoldsIdentities(Protocol):
    """A journal that knows what its runs act on, so that no two of them act on the same thing.

    `hold` is one step between all processes, and what it gives outlives the process. What is held stays held until it
    is given back, or its holder is seen to have done nothing: an action that may have happened keeps it.
    """

    async def holder(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Who else holds it; None when nobody does.

        Raises:
            BadInput: that cannot be told, and will not be by waiting: the action is refused.
            JournalFailed: it cannot be told now: the run is paused, to be resumed.
        """
        ...

    async def hold(self, claim: Claim, identity: str, key: str) -> Holder | None:
        """Hold it for the action at a key; gives who does already, and then it is not ours. It raises as `holder`."""
        ...

    async def free(self, claim: Claim, identity: str, key: str) -> None:
        """Give it back: the action is known not to have happened, or was undone."""
        ...


@runtime_checkable
class HoldsForTheGone(Protocol):
    """A journal that still knows what a run acted on once the run's trace is gone."""

    def settle_gone(self, run: str, key: str, *, happened: bool) -> bool:
        """Take a person's word on the action at a key of such a run; gives whether it held anything.

        Raises:
            BadInput: that cannot be told, and will not be by waiting.
            JournalFailed: it cannot be told now.
        """
        ...


@runtime_checkable
class Witness(Protocol):
    """Keeps signed heads where whoever can write to the run's folder cannot, so that a rollback shows.

    A head is kept before what it stands for goes on: an irreversible action, a pause, the end.
    """

    async def keep(self, run: str, seq: int, note: str) -> None:
        """Keep the signed note of a run's head after its event `seq`. If it raises, the run warns, and goes on."""
        ...


# --- what the engine is given


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


class HostClock:
    """The host's own clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Surroundings(msgspec.Struct, frozen=True, eq=False):
    """What a run takes from outside itself, so that tests can hand it something else.

    Attributes:
        clock: tells the time.
        random: for run ids and salts; unpredictable unless a test says otherwise.
        reach: called at each named point of a transition, such as `action.intent:after`.
        look_seconds: how often whoever waits for a person looks into the run's inbox.
    """

    clock: Clock = msgspec.field(default_factory=HostClock)
    random: random.Random = msgspec.field(default_factory=random.SystemRandom)
    reach: Callable[[str], None] = deque[str](maxlen=0).append  # in C: a step comes by four points, an action by many
    look_seconds: float = 0.05
