"""Asks one step: renders it, reserves its cost, draws samples, lets them vote, writes down what came of it."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import (
    BackendError,
    BackendUnavailable,
    BudgetSpent,
    ContextOverflow,
    MoveError,
    NoWinner,
    PlannerError,
    PromptTooLong,
    StepFailed,
    Unavailable,
    move_error,
)
from scaffold.machinery.answers import choices_of, object_schema
from scaffold.machinery.drawing import Asking, draw, give_up, worst_usage
from scaffold.machinery.visibility import corrected, least, shown_by
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, decode, schema_of
from scaffold.vocabulary.models import ReasoningVisibility, Request, Sample
from scaffold.vocabulary.moves import Thought
from scaffold.vocabulary.references import Provenance, provenance_of, union, unwrap
from scaffold.vocabulary.sampling import ONCE, Draw, Lost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaffold.interfaces import Backend, Surroundings
    from scaffold.machinery.prompts import Templates
    from scaffold.machinery.recorder import Recorder
    from scaffold.machinery.state import RunState
    from scaffold.machinery.streams import Reading
    from scaffold.vocabulary.events import Ledger
    from scaffold.vocabulary.moves import Think
    from scaffold.vocabulary.sampling import Sampling

_schemas: dict[Any, msgspec.Raw] = {str: msgspec.Raw(b'"text"')}


def asked(move: Think) -> bytes:
    """Canonical bytes of what a step asks: the same on every replay, whoever answers."""
    schema = _schemas.get(move.returns)
    if schema is None:
        schema = _schemas[move.returns] = msgspec.Raw(canonical(schema_of(move.returns)))
    inputs = [unwrap(value) for value in move.inputs]
    return canonical([move.kind, move.prompt, move.instruction, inputs, schema, move.options.choices])


def thought_from(event: ev.StepAnswered, body: bytes, move: Think) -> Thought[Any] | MoveError:
    """What the planner is sent for a recorded step: live and on replay made from the record alone."""
    content = _recorded.decode(body)
    if not event.ok:
        said = content.error
        error = move_error(said["code"], said["message"], event.key, said.get("data", {}))
        error.tainted = event.tainted
        return error
    raw = bytes(content.value)
    value = decode(raw) if move.returns is str else adapter(move.returns).validate_json(raw)
    winner = content.samples[event.winner]
    return Thought(
        value,
        Provenance((f"step:{event.key}",), event.tainted),
        key=event.key,
        text=winner.text,
        reasoning=winner.reasoning,
        confidence=event.confidence,
    )


class _Recorded(msgspec.Struct):
    samples: list[Sample] = []
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: dict[str, Any] = {}


_recorded = msgspec.json.Decoder(_Recorded)


class Steps:
    """Asks steps of one run.

    Attributes:
        seed: what the seeds of its samples follow from.
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
        self._secret = surroundings.random.getrandbits(
            128
        )  # actions know the run and its keys: that would be no secret
        self._backends = backends
        self._templates = templates
        self._recorder = recorder
        self._state = state
        self._reach = surroundings.reach
        self._sampling = sampling or ONCE
        self._drawing = 0
        self._freed = asyncio.Event()

    def has(self, role: str) -> bool:
        """Whether any backend answers for a role."""
        return role in self._backends or "default" in self._backends

    def backend(self, role: str) -> Backend:
        """The backend of a role; roles that are not mapped are answered by the default one."""
        backend = self._backends.get(role) or self._backends.get("default")
        if backend is None:
            raise Unavailable(f"no backend for the role {role!r}: name one under `backends:`, at least `default`")
        return backend

    def reasoning(self) -> ReasoningVisibility:
        """How much of the reasoning of the least readable backend can be read, as far as its replies have shown."""
        seen = self._state.visibility
        profiles = [backend.profile for backend in self._backends.values()]
        return least(seen.get((profile.backend, profile.model), profile.reasoning) for profile in profiles)

    async def ask(
        self,
        key: str,
        move: Think,
        history: Provenance,
        *,
        ledger: Ledger = "model",
        final: bool = True,
        readings: Sequence[Reading] = (),
    ) -> tuple[ev.StepAnswered, bytes]:
        """Ask a step, and give the event that says how it ended, with its content.

        Raises:
            BudgetSpent: there is no room for it.
            Unavailable: its backend is gone.
        """
        backend = self.backend(move.to)
        policy = move.sampling or self._sampling
        provenance = [provenance_of(value, history) for value in move.inputs]
        depends = union(provenance)
        request = self._request(key, move, provenance)
        asking = Asking(key, move, backend, policy, request, ledger)
        asking.readings = readings
        started = self._recorder.active()
        try:
            error = await self._draw_until_decided(asking, provenance)
        except (asyncio.CancelledError, BudgetSpent, Unavailable) as reason:
            if asking.drawn or asking.running:
                self._cut(asking, reason)
            raise
        self._correct(asking)
        event = ev.StepAnswered(
            key=key,
            ok=not isinstance(error, MoveError),
            ledger=ledger,
            usage=asking.spent,
            seconds=round(self._recorder.active() - started, 6),
            samples=len(asking.samples),
            discarded=len(asking.samples) - len(asking.votes),
            sources=depends.sources,
            tainted=depends.tainted,
            final=final or isinstance(error, MoveError),
        )
        content: dict[str, Any] = {"samples": asking.samples}
        if isinstance(error, MoveError):
            content["error"] = {"code": error.code, "message": error.message, "data": error.data}
        else:
            place, event.confidence, event.votes = error
            event.winner, value = asking.values[place]
            content["value"] = msgspec.Raw(value)
        self._reach("step.answered:before")
        body = self._recorder.record(event, content)
        self._reach("step.answered:after")
        return event, body

    def _correct(self, asking: Asking) -> None:
        """Write down what the replies have shown of the reasoning, where it is not what was believed."""
        shown = shown_by(asking.samples, asking.spent)
        if shown is None:
            return
        profile = asking.backend.profile
        before = self._state.visibility.get((profile.backend, profile.model))
        now, believed = corrected(profile, before, shown), before or profile.reasoning
        if now != believed:
            self._recorder.record(
                ev.ProfileCorrected(
                    key=asking.key, backend=profile.backend, model=profile.model, believed=believed, reasoning=now
                )
            )

    def _request(self, key: str, move: Think, provenance: list[Provenance]) -> Request:
        options = move.options
        messages = self._templates.render(move, provenance, f"{self._secret}:{key}")
        return Request(
            messages=messages,
            max_tokens=options.max_tokens,
            temperature=0.7 if options.temperature is None else options.temperature,
            stop=options.stop,
            seed=int.from_bytes(sha256(f"{self.seed}:{key}".encode()).digest()[:4]) >> 1,
            json_schema=object_schema(move.returns),
            choices=options.choices or choices_of(move.returns),
        )

    async def _draw_until_decided(
        self, asking: Asking, provenance: list[Provenance]
    ) -> MoveError | tuple[int, float, int]:
        """Draw as the policy says; give the winner's place, share and votes counted, or why there is none."""
        first = True
        while True:
            decision = asking.policy.decide(asking.votes, asking.drawn)
            if isinstance(decision, Lost):
                return self._lost(asking, decision.reason)
            if not isinstance(decision, Draw):
                return decision.place, decision.share, decision.counted
            if not 0 < decision.n <= asking.policy.cap - asking.drawn:
                policy = asking.policy
                said = (
                    f"{type(policy).__name__} asks for {decision.n} more samples after {asking.drawn} of {policy.cap}"
                )
                raise PlannerError(f"the sampling of the step at {asking.key} cannot be followed: {said}")
            tokens, usd = asking.worst(decision.n)
            while (spent := self._lacks_room(asking, tokens, usd, steps=1 if first else 0)) is not None:
                if not self._drawing:
                    raise spent
                self._freed.clear()
                await self._freed.wait()
            self._reserve(asking, tokens, usd, provenance, first=first)
            first = False
            self._drawing += 1  # from the reservation on: who finds no room waits for what this one leaves
            try:
                await self._recorder.flush()
                self._reach("step.asked:after")
                await draw(asking, decision.n)
            except ContextOverflow as error:
                give_up(asking, str(error))
                return PromptTooLong(str(error), asking.key)
            except BackendUnavailable as error:
                raise Unavailable(str(error)) from error
            except BackendError as error:
                give_up(asking, str(error))
                return StepFailed(f"{asking.backend.profile.backend} cannot answer: {error}", asking.key)
            finally:
                self._drawing -= 1
                self._freed.set()

    @staticmethod
    def _lost(asking: Asking, reason: str) -> MoveError:
        flags = [sample.flag for sample in asking.samples if sample.flag]
        votes: dict[str, int] = {}
        for vote in asking.votes:
            text = vote.decode()[:200]
            votes[text] = votes.get(text, 0) + 1
        leaf = NoWinner if asking.votes else StepFailed
        why = f"{reason}; the last was discarded: {flags[-1]}" if flags else reason
        return leaf(why, asking.key, votes=votes, flags=flags[-8:])

    def _lacks_room(self, asking: Asking, tokens: int, usd: float, *, steps: int) -> BudgetSpent | None:
        ledger = self._state.ledger(asking.ledger)
        tokens, usd = asking.spent.tokens + tokens, (asking.spent.usd or 0.0) + usd
        return ledger.room(tokens=tokens, usd=usd, steps=steps, instead_of=asking.key)

    def _reserve(self, asking: Asking, tokens: int, usd: float, provenance: list[Provenance], *, first: bool) -> None:
        if not first:
            event = ev.StepReserved(key=asking.key, ledger=asking.ledger, tokens=tokens, usd=usd, spent=asking.spent)
            self._recorder.record(event)
            return
        move = asking.move
        self._reach("step.asked:before")
        what = asked(move)
        opening = ev.StepAsked(
            key=asking.key,
            step=move.kind,
            digest="",
            to=move.to,
            ledger=asking.ledger,
            backend=asking.backend.profile.backend,
            model=asking.backend.profile.model,
            tokens=tokens,
            usd=usd,
        )
        content = {"asked": msgspec.Raw(what), "messages": asking.request.messages, "provenance": provenance}
        self._recorder.record(opening, content, asked=what)

    def _cut(self, asking: Asking, reason: BaseException) -> None:
        """Write down a step that is given up: what it has, and what it may have cost."""
        partial = [each.sample(index) for index, each in sorted(asking.running.items())]
        uncharged = asking.uncharged()
        if uncharged:
            asking.spent = asking.spent + worst_usage(asking, len(uncharged))
        why = str(reason) or type(reason).__name__
        event = ev.StepCut(key=asking.key, ledger=asking.ledger, usage=asking.spent, samples=asking.drawn)
        self._recorder.record(event, {"samples": [*asking.samples, *partial], "reason": why})
