"""Asks one step: renders the prompt, reserves its cost, draws samples, takes the vote, records the result."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from scaffold.errors import (
    BackendError,
    BackendUnavailable,
    BudgetSpent,
    CheckFailed,
    ContextOverflow,
    MoveError,
    NoWinner,
    PlannerError,
    PromptTooLong,
    StepFailed,
    Stopped,
    Unavailable,
    move_error,
)
from scaffold.machinery.asking.answers import choices_of, json_schema_of, read_answer, recorded
from scaffold.machinery.asking.checking import FAILED
from scaffold.machinery.asking.drawing import NOT_COUNTED, Asking, draw, give_up, worst_of
from scaffold.machinery.asking.partials import Source
from scaffold.machinery.asking.visibility import corrected, least, shown_by, told
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, decode, recordable, schema_of
from scaffold.vocabulary.composed import oversampled, voted
from scaffold.vocabulary.models import ReasoningVisibility, Request, Sample
from scaffold.vocabulary.moves import Thought
from scaffold.vocabulary.references import NOWHERE, Provenance, provenance_of, union, unwrap
from scaffold.vocabulary.sampling import ONCE, Draw, Lost, Way, Won, name_of
from scaffold.vocabulary.task import Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scaffold.interfaces import Backend, Surroundings
    from scaffold.machinery.asking.drawing import Call
    from scaffold.machinery.asking.prompts import Templates
    from scaffold.machinery.asking.showing import Watched
    from scaffold.machinery.asking.streams import Reading
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.machinery.recording.state import RunState
    from scaffold.vocabulary.confidence import Curve
    from scaffold.vocabulary.events import Ledger
    from scaffold.vocabulary.moves import Think
    from scaffold.vocabulary.sampling import Sampling

_SEEDS = 1 << 31
_SEEDS_APART = 104_729  # more than the samples of one step


_schemas: dict[Any, msgspec.Raw] = {str: msgspec.Raw(b'"text"')}


def _for_unread(unread: Unread, move: Think, policy: Sampling) -> tuple[Think, Sampling]:
    """Return a step and policy adapted to unreadable reasoning: smaller, with more votes."""
    if unread.step_tokens is not None and move.options.max_tokens > unread.step_tokens:
        move = msgspec.structs.replace(
            move, options=msgspec.structs.replace(move.options, max_tokens=unread.step_tokens)
        )
    countable = move.returns is not str or move.options.choices  # free texts are hardly ever equal
    if unread.votes > 1 and countable and move.sampling is None:
        policy = voted(policy, unread.votes)
    return move, policy


def asked(move: Think) -> bytes:
    """Return the canonical bytes of what a step asks: the same on every replay, whoever answers."""
    schema = _schemas.get(move.returns)
    if schema is None:
        schema = _schemas[move.returns] = msgspec.Raw(canonical(schema_of(move.returns)))
    inputs = [*map(unwrap, move.inputs)]
    return recordable(
        inputs, canonical([move.kind, move.prompt, move.instruction, inputs, schema, move.options.choices])
    )


def thought_from(event: ev.StepAnswered, body: bytes, move: Think) -> Thought[Any] | MoveError:
    """Return what the planner is sent for a recorded step: made from the record alone, live as on replay."""
    content = _recorded.decode(body)
    if not event.ok:
        said = content.error
        error = move_error(said["code"], said["message"], event.key, said.get("data", {}))
        error.tainted = event.tainted
        return error
    try:
        raw = content.value
        value = decode(raw) if move.returns is str else adapter(move.returns).validate_json(bytes(raw))
    except ValueError as problem:
        return StepFailed(f"after redaction its answer is not valid: {problem}", event.key)
    winner = content.samples[event.winner]
    provenance = Provenance((f"step:{event.key}",), event.tainted)
    thought: Thought[Any] = Thought(
        value,
        provenance,
        key=event.key,
        text=winner.text,
        reasoning=winner.reasoning,
        confidence=event.confidence,
        shown=event.reasoning,
    )
    if move.sampling is not None and getattr(move.sampling, "keeps_all", False):
        thought.candidates = _candidates(event, content, move, provenance)
    return thought


def _candidates(
    event: ev.StepAnswered, content: _Recorded, move: Think, provenance: Provenance
) -> tuple[Thought[Any], ...]:
    """Return all accepted samples of a step, as thoughts."""
    accepted = [sample for sample in content.samples if not sample.flag]
    return tuple(
        Thought(
            _value_in(sample, move),
            provenance,
            key=event.key,
            text=sample.text,
            reasoning=sample.reasoning,
            shown=event.reasoning,
        )
        for sample in accepted[: event.votes]  # without those drawn only for measuring
    )


def signals_in(body: bytes, winner: int) -> dict[str, float]:
    """Return the model's inner-state figures for the winning sample, from a recorded step's content."""
    return _signalled.decode(body).samples[winner].signals


def _value_in(sample: _Said, move: Think) -> Any:
    """Return the value of an accepted sample, as it would be sent if it had won."""
    raw = recorded(move.returns, read_answer(move.returns, sample.text, move.options.choices))
    return decode(raw) if move.returns is str else adapter(move.returns).validate_json(raw)


class _Said(msgspec.Struct, gc=False):
    """The part of a sample that a planner is sent."""

    text: str
    reasoning: str = ""
    flag: str = ""


class _Recorded(msgspec.Struct, gc=False):
    samples: tuple[_Said, ...] = ()
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] = {}


class _Signalled(msgspec.Struct):
    samples: list[Sample]


_recorded = msgspec.json.Decoder(_Recorded)
_signalled = msgspec.json.Decoder(_Signalled)


class Steps:
    """Asks the steps of one run.

    Attributes:
        seed: source of its samples' seeds.
        oversample: minimum number of samples per step, for measuring how they agree.
        curves: how stated confidence is corrected, by backend, model and kind of step.
        unread: extra caution for steps whose reasoning is absent; None if there is none.
    """

    def __init__(
        self,
        *,
        run: str,
        seed: str,
        backends: Mapping[str, Backend],
        templates: Templates,
        recorder: Recorder,
        state: RunState,
        surroundings: Surroundings,
        sampling: Sampling | None = None,
    ) -> None:
        self.seed = seed or run
        self._secret = str(surroundings.random.getrandbits(128))  # not the run's id or keys: actions know these
        self._backends = backends
        self._templates = templates
        self._recorder = recorder
        self._state = state
        self._reach = surroundings.reach
        self._sampling = sampling or ONCE
        self.oversample = 0
        self.curves: Mapping[tuple[str, str, str], Curve] = {}
        self.unread: Unread | None = None
        self._drawing = 0
        self._least: tuple[ReasoningVisibility, int] = ("absent", -1)
        self._freed = asyncio.Event()

    def has(self, role: str) -> bool:
        """Whether any backend answers for a role."""
        return role in self._backends or "default" in self._backends

    def backend(self, role: str) -> Backend:
        """Return the backend of a role; roles that are not mapped use the default one."""
        backend = self._backends.get(role) or self._backends.get("default")
        if backend is None:
            raise Unavailable(
                f"there is no backend for the role {role!r}: add one under `backends:`, at least `default`"
            )
        return backend

    def reasoning(self) -> ReasoningVisibility:
        """Return how much reasoning the least readable backend shows, as far as its replies have shown."""
        known, corrections = self._least
        if corrections != self._state.corrections:
            seen = self._state.visibility
            profiles = [backend.profile for backend in self._backends.values()]
            known = least(seen.get((profile.backend, profile.model), profile.reasoning) for profile in profiles)
            self._least = known, self._state.corrections
        return known

    def reasoning_of(self, thinkers: Iterable[tuple[str, str]]) -> ReasoningVisibility:
        """Return how much reasoning the least readable of some backends shows, given by backend and model."""
        profiles = [backend.profile for backend in self._backends.values()]
        known = {(profile.backend, profile.model): profile.reasoning for profile in profiles} | self._state.visibility
        return least(known.get(each, "absent") for each in thinkers)

    def visibility(self, role: str) -> ReasoningVisibility:
        """Return how much reasoning one role's backend shows, as far as its replies have shown."""
        profile = self.backend(role).profile
        return self._state.visibility.get((profile.backend, profile.model), profile.reasoning)

    async def ask(
        self,
        key: str,
        move: Think,
        history: Provenance,
        *,
        ledger: Ledger = "model",
        final: bool = True,
        readings: Sequence[Reading | Watched] = (),
        conclude: Callable[[], None] | None = None,
        besides: Provenance = NOWHERE,
    ) -> tuple[ev.StepAnswered, bytes]:
        """Ask a step; return the event that records how it ended, with its content.

        Args:
            key: its key.
            move: what is asked.
            history: what a bare input depends on.
            ledger: whose budget pays.
            final: no review decides whether the planner gets it.
            readings: readers of its samples while they are generated.
            conclude: called as soon as its end is recorded, whatever that is.
            besides: what the answer of a step without inputs rests on.

        Raises:
            BudgetSpent: there is no room for it.
            Unavailable: its backend is gone.
            Stopped: a reader of its samples halts the run.
        """
        policy = move.sampling or self._sampling
        if self.unread is not None and ledger == "model" and self.visibility(move.to) == "absent":
            move, policy = _for_unread(self.unread, move, policy)
        if self.oversample and ledger == "model":
            policy = oversampled(policy, self.oversample)
        provenance = list(map(provenance_of, move.inputs, repeat(history)))
        depends = union(provenance) if provenance else besides
        source = Source(self.backend(move.to), self._request(key, move, provenance))
        asking = Asking(key, move, [source], policy, ledger, policy.decide(()), readings)
        if self.curves:
            source.curve = self._curve(source, move)
        started = self._recorder.ticks()
        try:
            error = await self._draw_until_decided(asking, provenance)
        except (asyncio.CancelledError, BudgetSpent, Unavailable, Stopped) as reason:
            if asking.drawn or asking.running:
                self._cut(asking, reason)
            if conclude is not None:
                conclude()
            raise
        event = ev.StepAnswered(
            key=key,
            reasoning=self._correct(asking),
            ledger=ledger,
            usage=asking.spent(),
            seconds=(self._recorder.ticks() - started) / 1e6,
            samples=len(asking.samples),
            discarded=asking.votes.count(None),
            sources=depends.sources,
            tainted=depends.tainted,
            final=final,
        )
        content: dict[str, Any] = {"samples": asking.samples}
        if isinstance(error, MoveError):
            event.ok, event.final = False, True
            content["error"] = {"code": error.code, "message": error.message, "data": error.data}
        else:
            place, share, event.votes = error
            if share != 1.0:  # as with dollars below
                event.confidence = share
            event.winner = asking.places[place]
            content["value"] = msgspec.Raw(asking.values[place])
        self._reach("step.answered:before")
        body = self._recorder.record(event, content)
        if conclude is not None:
            conclude()
        self._reach("step.answered:after")
        return event, body

    def _correct(self, asking: Asking) -> ReasoningVisibility | Literal[""]:
        """Record what the replies have shown of the reasoning, if that is not what was assumed.

        Returns:
            How much of this step's reasoning can be read; "" if there was no sign of any.
        """
        step: list[ReasoningVisibility] = []
        for source in asking.sources:
            seen = self._correct_one(asking.key, source, asking.samples_of(source))
            if seen:
                step.append(seen)
        return least(step) if step else ""

    def _correct_one(self, key: str, source: Source, samples: Sequence[Sample]) -> ReasoningVisibility | Literal[""]:
        """Do the same for the samples of one source."""
        profile, shown = source.backend.profile, shown_by(samples, source.spent)
        before = self._state.visibility.get((profile.backend, profile.model))
        if shown is not None:
            now, believed = corrected(profile, before, shown), before or profile.reasoning
            # A guess that proves right is recorded too: from then on it is known, and cannot turn out better.
            settles = before is None and "reasoning" in profile.guessed
            if now != believed or settles:
                self._recorder.record(
                    ev.ProfileCorrected(
                        key=key, backend=profile.backend, model=profile.model, believed=believed, reasoning=now
                    )
                )
        return told(profile, before, shown)

    def _curve(self, source: Source, move: Think) -> Curve | None:
        profile = source.backend.profile
        return self.curves.get((profile.backend, profile.model, move.kind))

    def _source(self, asking: Asking, way: Way, provenance: list[Provenance]) -> Source:
        """Return the source for asking a step in another way."""
        move, role = asking.move, way.to or asking.move.to
        if way.to and way.to not in self._backends:
            raise Unavailable(
                f"the sampling of the step at {asking.key} needs a backend for the role {way.to!r}, and there is "
                "none: add it under `backends:`"
            )
        options = move.options
        if way.temperature is not None:
            options = msgspec.structs.replace(options, temperature=way.temperature)
        other = msgspec.structs.replace(
            move, prompt=way.prompt or move.prompt, instruction=way.instruction or move.instruction, options=options
        )
        request = self._request(asking.key, other, provenance)
        number = len(asking.sources)
        if request.seed is not None:
            # Reusing the seeds for another prompt or temperature would correlate the votes' errors.
            request = msgspec.structs.replace(request, seed=(request.seed + number * _SEEDS_APART) % _SEEDS)
        return Source(self.backend(role), request, number)

    def _request(self, key: str, move: Think, provenance: list[Provenance]) -> Request:
        options = move.options
        messages = self._templates.render(move, provenance, f"{self._secret}:{key}")
        return Request(
            messages=messages,
            max_tokens=options.max_tokens,
            temperature=0.7 if options.temperature is None else options.temperature,
            stop=options.stop,
            seed=int.from_bytes(sha256(f"{self.seed}:{key}".encode()).digest()[:4]) >> 1,
            json_schema=json_schema_of(move.returns),
            choices=options.choices or choices_of(move.returns),
        )

    async def _draw_until_decided(  # noqa: C901, PLR0912 - one for each way that a draw can go wrong
        self, asking: Asking, provenance: list[Provenance]
    ) -> MoveError | tuple[int, float, int]:
        """Draw as the policy says; return the winner's place, share and number of votes, or why there is none."""
        first = True
        while True:
            decision = asking.decision
            if isinstance(decision, Lost):
                return self._lost(asking, decision.reason)
            votes = asking.votes
            if isinstance(decision, Won):
                if not 0 <= decision.place < len(votes) or votes[decision.place] is None:
                    raise _unfollowable(asking, f"takes sample {decision.place}, which has no vote")
                return decision.place, decision.share, decision.counted
            if not isinstance(decision, Draw):
                raise _unfollowable(asking, f"decides {decision!r:.80}, which is no Draw, Won or Lost")
            if not 0 < decision.n <= asking.policy.cap - len(votes):
                said = f"asks for {decision.n} more samples after {len(votes)} of {asking.policy.cap}"
                raise _unfollowable(asking, said)
            new = self._new_sources(asking, decision, provenance) if decision.ways else []
            calls = asking.calls_for(decision)
            tokens, usd = worst_of(calls)
            while (spent := self._lacks_room(asking, tokens, usd, steps=1 if first else 0)) is not None:
                if not self._drawing:
                    raise spent
                self._freed.clear()
                await self._freed.wait()
            self._reserve(asking, tokens, usd, provenance, new, first=first)
            first = False
            self._drawing += 1  # from the reservation on: steps without room wait for what this one leaves
            try:
                await self._recorder.flush()
                self._reach("step.asked:after")
                await draw(asking, calls, decision.n)
            except ContextOverflow as error:
                await give_up(asking, str(error))
                return PromptTooLong(str(error), asking.key)
            except BackendUnavailable as error:
                asking.charge_uncharged()
                await give_up(asking, str(error))
                if not isinstance(asking.decision, Won):  # extra samples for measuring were not needed
                    raise Unavailable(str(error)) from error
            except BackendError as error:
                await give_up(asking, str(error))
                if not isinstance(asking.decision, Won):  # as above
                    return StepFailed(f"{_asked_of(calls)} cannot answer: {error}", asking.key)
            finally:
                self._drawing -= 1
                self._freed.set()

    @staticmethod
    def _lost(asking: Asking, reason: str) -> MoveError:
        """Return why there is no winner.

        Raises:
            Unavailable: the backend was lost in the middle of every answer.
        """
        if asking.broken_off and asking.broken_off == len(asking.samples):
            raise Unavailable(f"each of {asking.broken_off} answers broke off: {asking.samples[-1].flag}")
        flags = [sample.flag for sample in asking.samples if sample.flag and sample.flag != NOT_COUNTED]
        votes: dict[str, int] = {}
        for vote in asking.votes:
            if vote is not None:
                text = vote.value.decode()[:200]
                votes[text] = votes.get(text, 0) + 1
        failed = next((flag for flag in flags if flag.startswith(FAILED)), "")
        leaf = NoWinner if votes else CheckFailed if failed else StepFailed
        why = f"{reason}; the last was discarded: {flags[-1]}" if flags else reason
        if leaf is CheckFailed:
            why = f"{reason}: {failed}"
        return leaf(why, asking.key, votes=votes, flags=flags[-8:])

    def _lacks_room(self, asking: Asking, tokens: int, usd: float, *, steps: int) -> BudgetSpent | None:
        ledger = self._state.ledger(asking.ledger)
        return ledger.room(tokens=tokens, usd=usd, steps=steps, instead_of=asking.key, spent=asking.spent())

    def _reserve(
        self,
        asking: Asking,
        tokens: int,
        usd: float,
        provenance: list[Provenance],
        new: list[dict[str, Any]],
        *,
        first: bool,
    ) -> None:
        if not first:
            event = ev.StepReserved(key=asking.key, ledger=asking.ledger, tokens=tokens, usd=usd, spent=asking.spent())
            self._recorder.record(event, {"ways": new} if new else None)
            return
        move, source = asking.move, asking.sources[0]
        self._reach("step.asked:before")
        what = asked(move)
        opening = ev.StepAsked(
            key=asking.key,
            step=move.kind,
            to=move.to,
            ledger=asking.ledger,
            backend=source.backend.profile.backend,
            model=source.backend.profile.model,
            sampling=name_of(asking.policy),
            tokens=tokens,
        )
        if usd:  # encoding omits the default by identity, not by equality
            opening.usd = usd
        content = {"asked": msgspec.Raw(what), "messages": source.request.messages, "provenance": provenance}
        if new:
            content["ways"] = new
        self._recorder.record(opening, content)

    def _new_sources(self, asking: Asking, decision: Draw, provenance: list[Provenance]) -> list[dict[str, Any]]:
        """Find the sources for the ways of a draw; return what the trace does not hold of them yet."""
        new: list[dict[str, Any]] = []
        own = asking.sources[0]
        for way in decision.ways:
            if way in asking.by_way:
                continue
            if way == Way():
                asking.by_way[way] = own
                continue
            source = asking.by_way[way] = self._source(asking, way, provenance)
            asking.sources.append(source)
            if self.curves:
                source.curve = self._curve(source, asking.move)
            profile = source.backend.profile
            said: dict[str, Any] = {"way": way, "backend": profile.backend, "model": profile.model}
            if source.request.messages != own.request.messages:
                said["messages"] = source.request.messages
            new.append(said)
        return new

    def _cut(self, asking: Asking, reason: BaseException) -> None:
        """Record an abandoned step: what it has, and what it may have cost."""
        partial = [each.sample(index) for index, each in sorted(asking.running.items())]
        asking.charge_uncharged()
        why = str(reason) or type(reason).__name__
        event = ev.StepCut(key=asking.key, ledger=asking.ledger, usage=asking.spent(), samples=asking.drawn)
        self._recorder.record(event, {"samples": [*asking.samples, *partial], "reason": why})


def _unfollowable(asking: Asking, does: str) -> PlannerError:
    """Say what is wrong with what a policy has decided, which may be a stranger's."""
    return PlannerError(
        f"the sampling of the step at {asking.key} cannot be followed: {type(asking.policy).__name__} {does}"
    )


def _asked_of(calls: list[Call]) -> str:
    return " or ".join(dict.fromkeys(call.source.backend.profile.backend for call in calls))
