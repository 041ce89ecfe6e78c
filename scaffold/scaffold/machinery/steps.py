"""Asks one step: renders it, reserves its cost, draws samples, lets them vote, writes down what came of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import (
    BackendError,
    BackendUnavailable,
    BadResponse,
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
from scaffold.machinery.answers import choices_of, object_schema, read_answer, recorded
from scaffold.machinery.at_once import at_once
from scaffold.machinery.cancelling import is_from_within
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.canonical import adapter, canonical, decode, schema_of
from scaffold.vocabulary.models import NO_USAGE, ReasoningVisibility, Request, Sample, Usage
from scaffold.vocabulary.moves import Thought
from scaffold.vocabulary.references import Provenance, provenance_of, union, unwrap
from scaffold.vocabulary.sampling import ONCE, Draw, Lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from scaffold.interfaces import Backend, Surroundings
    from scaffold.machinery.prompts import Templates
    from scaffold.machinery.recorder import Recorder
    from scaffold.machinery.state import RunState
    from scaffold.machinery.streams import Reading
    from scaffold.vocabulary.events import Ledger
    from scaffold.vocabulary.models import Delta
    from scaffold.vocabulary.moves import Think
    from scaffold.vocabulary.sampling import Sampling

# A chat template adds a few tokens a message; no tokenizer needs more tokens than there are bytes.
_TOKENS_A_MESSAGE = 16
_LARGEST_ANSWER = 8 * 1024 * 1024

_UNREADABLE: tuple[ReasoningVisibility, ...] = ("full", "summary", "redacted", "absent")
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


class Asking:
    """One step while it is asked: what it draws from, and what it has drawn so far."""

    __slots__ = (
        "backend",
        "charged",
        "drawn",
        "key",
        "ledger",
        "move",
        "policy",
        "readings",
        "request",
        "running",
        "samples",
        "spent",
        "values",
        "votes",
    )

    def __init__(
        self, key: str, move: Think, backend: Backend, policy: Sampling, request: Request, ledger: Ledger
    ) -> None:
        self.key = key
        self.move = move
        self.backend = backend
        self.policy = policy
        self.request = request
        self.ledger = ledger
        self.samples: list[Sample] = []
        self.votes: list[bytes] = []
        self.values: list[tuple[int, bytes]] = []
        self.drawn = 0
        self.spent = NO_USAGE
        self.charged: set[int] = set()
        self.running: dict[int, _Partial] = {}
        self.readings: Sequence[Reading] = ()

    def charge(self, base: int, usage: Usage) -> None:
        """Take in what the samples from `base` on have cost; dollars follow from the prices where they are not told."""
        prices = self.backend.profile.prices
        if usage.usd is None and prices is not None:
            usage = msgspec.structs.replace(usage, usd=prices.cost(usage.input, usage.output))
        self.spent = self.spent + usage
        self.charged.add(base)

    def uncharged(self) -> list[int]:
        """The samples under way of which nobody has told what they cost."""
        together = "n" in self.backend.profile.can
        return [index for index in self.running if (min(self.running) if together else index) not in self.charged]

    def worst(self, n: int) -> tuple[int, float]:
        """Most tokens and dollars that n more samples can cost."""
        prompt = 0
        for message in self.request.messages:
            prompt += len(message.content.encode()) + _TOKENS_A_MESSAGE
        prices = self.backend.profile.prices
        shared = 1 if "n" in self.backend.profile.can else n
        tokens_in, tokens_out = prompt * shared, self.request.max_tokens * n
        return tokens_in + tokens_out, prices.cost(tokens_in, tokens_out) if prices is not None else 0.0


class _Partial:
    """One sample while it is generated."""

    __slots__ = ("cut", "finish", "logprob", "reasoning", "size", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.size = 0
        self.finish: Any = None
        self.logprob: float | None = None
        self.cut = ""

    def sample(self, index: int) -> Sample:
        return Sample(
            index=index,
            text=_clean("".join(self.text)),
            reasoning=_clean("".join(self.reasoning)),
            finish="cut" if self.cut else self.finish or "cut",
            logprob=self.logprob,
            flag=self.cut,
        )


def _clean(text: str) -> str:
    """Drop what UTF-8 cannot hold (lone surrogates), which some servers send."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


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
        """How much of the reasoning of the least readable backend can be read."""
        return max(
            (backend.profile.reasoning for backend in self._backends.values()), key=_UNREADABLE.index, default="absent"
        )

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
                await self._draw(asking, decision.n)
            except ContextOverflow as error:
                self._give_up(asking, str(error))
                return PromptTooLong(str(error), asking.key)
            except BackendUnavailable as error:
                raise Unavailable(str(error)) from error
            except BackendError as error:
                self._give_up(asking, str(error))
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

    async def _draw(self, asking: Asking, n: int) -> None:
        base = asking.drawn
        asking.running = {base + number: _Partial() for number in range(n)}
        asking.drawn = base + n
        if n == 1 or "n" in asking.backend.profile.can:
            await self._collect(asking, base, n)
        else:
            await self._collect_apart(asking, base, n)
        self._count(asking)

    async def _collect_apart(self, asking: Asking, base: int, n: int) -> None:
        """Ask for each sample by itself, of a backend that gives one at a time."""
        await at_once(self._collect(asking, index, 1) for index in range(base, base + n))

    async def _collect(self, asking: Asking, base: int, n: int) -> None:
        request = asking.request
        if base or n > 1:
            seed = None if request.seed is None else request.seed + base
            request = msgspec.structs.replace(request, n=n, seed=seed)
        try:
            async with aclosing(asking.backend.generate(request)) as stream:
                await self._read(asking, base, n, stream)
        except asyncio.CancelledError:
            if is_from_within():
                raise BackendError("it was cancelled from within") from None
            raise
        except BadResponse as error:
            for index in range(base, base + n):
                asking.running[index].cut = asking.running[index].cut or str(error)
        if base not in asking.charged:
            # What a stream that broke off, or told nothing, has cost is not known; the worst is charged.
            asking.charge(base, _worst_usage(asking, n))

    async def _read(  # noqa: C901 - one branch for each thing a piece may bring
        self, asking: Asking, base: int, n: int, stream: AsyncIterator[Delta]
    ) -> None:
        running, readings = asking.running, asking.readings
        most = min(_LARGEST_ANSWER, 256 * asking.request.max_tokens + 4096)
        async for delta in stream:
            partial = running.get(base + delta.index) if 0 <= delta.index < n else None
            if partial is None:
                raise BadResponse(f"a sample number {delta.index} was sent; {n} were asked for")
            if delta.text:
                partial.text.append(delta.text)
            if delta.reasoning:
                partial.reasoning.append(delta.reasoning)
            if delta.logprob is not None:
                partial.logprob = (partial.logprob or 0.0) + delta.logprob
            if delta.finish is not None:
                partial.finish = delta.finish
            if delta.usage is not None:
                asking.charge(base, delta.usage)
            partial.size += len(delta.text) + len(delta.reasoning)
            if partial.size > most:
                raise BadResponse(
                    f"an answer of more than {most} characters to a step of {asking.request.max_tokens} tokens"
                )
            if readings and not partial.cut:
                partial.cut = _cut_by(readings, msgspec.structs.replace(delta, index=base + delta.index))
                if partial.cut and all(running[base + number].cut for number in range(n)):
                    return

    @staticmethod
    def _count(asking: Asking) -> None:
        """Turn what was drawn into samples, and the acceptable ones into votes, in the order of their index."""
        for index, partial in asking.running.items():
            sample = partial.sample(index)
            problem = sample.flag or ("" if sample.finish in {"stop", "length"} else "ended early")
            if not problem:
                said = [reading.close(index) for reading in asking.readings]
                problem = next((reason for reason in said if reason), "")
            value: Any = None
            if not problem and sample.finish == "length" and asking.move.returns is not str:
                problem = f"not finished within {asking.request.max_tokens} tokens"
            if not problem:
                try:
                    value = read_answer(asking.move.returns, sample.text, asking.move.options.choices)
                except ValueError as error:
                    problem = f"malformed: {error}"
            if not problem:
                problem = _flagged(asking.policy, value)
            if problem:
                sample = msgspec.structs.replace(sample, flag=problem)
            else:
                vote = recorded(asking.move.returns, value)
                asking.votes.append(vote)
                asking.values.append((len(asking.samples), vote))
            asking.samples.append(sample)
        asking.running = {}

    def _give_up(self, asking: Asking, reason: str) -> None:
        """Keep what came before the backend refused to go on, and charge what it may have cost."""
        begun = [index for index in asking.uncharged() if asking.running[index].size]
        if begun:
            asking.spent = asking.spent + _worst_usage(asking, len(begun))
        for partial in asking.running.values():
            if partial.finish is None:
                partial.cut = partial.cut or reason
        self._count(asking)

    def _cut(self, asking: Asking, reason: BaseException) -> None:
        """Write down a step that is given up: what it has, and what it may have cost."""
        partial = [each.sample(index) for index, each in sorted(asking.running.items())]
        uncharged = asking.uncharged()
        if uncharged:
            asking.spent = asking.spent + _worst_usage(asking, len(uncharged))
        why = str(reason) or type(reason).__name__
        event = ev.StepCut(key=asking.key, ledger=asking.ledger, usage=asking.spent, samples=asking.drawn)
        self._recorder.record(event, {"samples": [*asking.samples, *partial], "reason": why})


def _worst_usage(asking: Asking, n: int) -> Usage:
    tokens, usd = asking.worst(n)
    return Usage(input=tokens - asking.request.max_tokens * n, output=asking.request.max_tokens * n, usd=usd)


def _flagged(policy: Sampling, value: Any) -> str:
    for check in policy.flags:
        try:
            said: Any = check(value)
        except Exception as error:  # noqa: BLE001 - a critic that fails has not accepted
            return f"check failed: {type(error).__name__}: {error}"
        if isinstance(said, str) and said:
            return said
        if said is not None and said is not True and said != "":
            return "refused by a check" if said is False else f"a check said {said!r:.80}: neither True nor a reason"
    return ""


def _cut_by(readings: Sequence[Reading], delta: Delta) -> str:
    said = [reading.feed(delta) for reading in readings]
    return next((reason for reason in said if reason), "")
