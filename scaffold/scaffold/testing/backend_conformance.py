"""The conformance kit for backends: tests that every backend must pass.

    # test_mine.py
    from scaffold.testing.backend_conformance import BackendConformance

    class TestMine(BackendConformance):
        def make(self) -> Backend:
            return Mine("tiny")

pytest then runs every check. The backend's claims are read from its profile: schemas are checked if it `can` keep to
one, and so on. A check that does not apply is skipped with the reason. A subclass supplies what the kit cannot know:
the attributes below, and the methods `variation`, `release`, `failing` and `at_work`.

`make` is called for each check. A backend that is slow to make may be made once and returned again, if `release` is
overridden so that it stays open.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

import pytest

from scaffold.errors import BackendError, ContextOverflow
from scaffold.interfaces import Backend, Prepares
from scaffold.machinery.asking.visibility import least, shown_by
from scaffold.testing.answered import Answered, faults, read
from scaffold.testing.checks import T, hold, run_within
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.models import Message, Profile, Request

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
    "required": ["sure", "size"],
    "additionalProperties": False,
}
_TICK_S = 0.1
_LOOK_S = 0.05  # of this thread's CPU time
_IDLE = 0.3  # of that; who computes gets as much as this thread, or more
_QUIET_LOOKS = 2


class BackendConformance(ABC):
    """The checks for backends; pytest runs a subclass whose name begins with `Test`.

    Attributes:
        prompt: the prompt; `variation` gives others.
        longer_prompt: a prompt with more tokens.
        hard_prompt: a prompt about which a reasoning model would reason.
        choices: texts to which an answer is constrained.
        tags: tags that a model writes around its reasoning, which no answer may contain.
        max_tokens: most tokens of an ordinary answer.
        long_tokens: most tokens of an answer that is closed before its end.
        json_tokens: most tokens of an answer in JSON, or of one that is chosen.
        most_samples: most samples that one request may ask for; some servers set a bound.
        models: how many models generate up to `max_tokens` for one sample.
        patience_s: longest that any single operation may take, in seconds.
        stops_within_s: seconds after closing within which all work must have stopped.
    """

    prompt = "Name an animal."
    longer_prompt = "Name an animal. " + "It may be any animal at all. " * 8
    hard_prompt = "How much is 17 times 3? Think first."
    choices: tuple[str, ...] = ("to the left", 'to the "right"')
    tags: tuple[str, ...] = ("<think>", "</think>")
    max_tokens = 16
    long_tokens = 200
    json_tokens = 120
    most_samples = 5
    models = 1
    patience_s = 60.0
    stops_within_s = 3.0

    # --- what a subclass says

    @abstractmethod
    def make(self) -> Backend:
        """Make the backend that is tested."""

    def variation(self, number: int) -> str:
        """Return a different prompt for each number."""
        return f"{self.prompt} ({number})"

    def release(self, backend: Backend) -> None:
        """Release a backend that `make` returned, by default by closing it."""
        self._run(backend.close())

    def failing(self) -> Mapping[type[BackendError], Backend]:
        """Return backends in error situations, by the error that they must raise.

        For instance `{NotAuthorised: Mine(server_that_says_401)}`.
        """
        return {}

    def at_work(self, backend: Backend) -> int | None:
        """Return how much work is under way inside it now; None if that cannot be seen."""
        return None

    # --- streaming

    def test_the_profile_is_plain_data(self) -> None:
        """It is a backend, and its profile can be recorded and does not change by answering."""
        with self._made() as backend:
            hold(isinstance(backend, Backend), "the backend lacks `profile`, `generate` or `close`")
            profile = backend.profile
            hold(type(profile) is Profile, f"the profile should be a Profile, but is a {type(profile).__name__}")
            before = canonical(profile)
            hold(bool(profile.backend and profile.model), "the profile names no backend or no model")
            unknown = set(profile.guessed) - set(Profile.__struct_fields__)
            hold(not unknown, f"`guessed` names fields that a Profile does not have: {sorted(unknown)}")
            self._ask(backend)
            hold(canonical(backend.profile) == before, "the profile changed when the backend answered")

    def test_a_stream_is_in_order(self) -> None:
        """Each sample has one last piece, and the last piece of all has the usage."""
        with self._made() as backend:
            for n in (1, 2):
                self._ask(backend, n=n)

    def test_n_samples_are_n(self) -> None:
        """As many samples come as one request asks for, whatever it can share among them."""
        with self._made() as backend:
            came = len(self._ask(backend, n=self.most_samples).samples)
            hold(came == self.most_samples, f"the request asked for {self.most_samples} samples, but {came} came")

    def test_closing_stops_the_work(self) -> None:
        """Closed after its first piece, a stream ends, nothing of it goes on, and the next request is answered."""
        with self._made() as backend:
            self._run(self._close_early(backend))
            self._ask(backend)

    def test_cancelling_stops_the_work(self) -> None:
        """A task that is cancelled while it waits for an answer ends as cancelled, and nothing of it goes on."""
        with self._made() as backend:
            self._run(self._cancel(backend))
            self._ask(backend)

    # --- what is asked for

    def test_schemas_are_kept(self) -> None:
        """Each sample is JSON that the schema allows, unless its tokens ran out."""
        with self._made("schema") as backend:
            said = self._ask(backend, n=2, json_schema=SCHEMA, max_tokens=self.json_tokens)
            whole = [sample.text for sample in said.samples if sample.finish == "stop"]
            hold(bool(whole), f"no sample ended within {self.json_tokens} tokens (`json_tokens`): {said.texts!r}")
            for text in whole:
                hold(_fits(text), f"the answer does not match the schema: {text!r}")

    def test_choices_are_kept(self) -> None:
        """Each sample is one of the choices, to the letter."""
        with self._made("choices") as backend:
            said = self._ask(backend, n=2, choices=self.choices, max_tokens=self.json_tokens)
            hold(set(said.texts) <= set(self.choices), f"the answers are not among the choices: {said.texts}")

    def test_a_sample_ends_before_a_stop_text(self) -> None:
        """A stop text ends the sample and is no part of it."""
        with self._made() as backend:
            whole = self._ask(backend, temperature=0.0).texts[0]
            stop = whole[len(whole) // 2 :][:2]
            if not stop:
                pytest.skip("the answer is empty, so it contains no stop text")
            said = self._ask(backend, temperature=0.0, stop=(stop,)).texts[0]
            hold(stop not in said, f"the stop text {stop!r} is in the answer {said!r}")

    def test_a_prompt_that_is_too_long_is_told_as_such(self) -> None:
        """A prompt over the context raises ContextOverflow, and the next request is answered."""
        with self._made() as backend:
            most = backend.profile.context
            if most is None:
                pytest.skip("the profile states no context length")
            # No tokenizer needs less than a token for a word.
            self._fails(backend, ContextOverflow, self._request("word " * (most + 64)))
            self._ask(backend)

    # --- samples

    def test_a_seed_repeats_a_sample(self) -> None:
        """The same request with the same seed gives the same texts."""
        with self._made("seed") as backend:
            first, again = (self._ask(backend, seed=11, n=2, temperature=1.0).texts for _ in range(2))
            hold(first == again, f"the same seed gave {first}, then {again}")

    def test_samples_together_are_those_asked_one_by_one(self) -> None:
        """Sample i of a request with seed s is what a request with seed s + i gives alone: a fork is a re-encoding."""
        with self._made("seed") as backend:
            n = min(3, self.most_samples)
            together = self._ask(backend, seed=7, n=n, temperature=1.0).texts
            alone = [self._ask(backend, seed=7 + index, temperature=1.0).texts[0] for index in range(n)]
            hold(together == alone, f"asked together: {together}; one by one: {alone}")

    def test_usage_is_true(self) -> None:
        """Counts fit together, grow with what they count, and are priced as the profile says."""
        with self._made() as backend:
            short = self._ask(backend, seed=1)
            longer = self._ask(backend, self.longer_prompt, seed=1)
            for said in (short, longer):
                self._check_usage(backend.profile, said)
            hold(longer.charged.input > short.charged.input, "a longer prompt is not charged more input tokens")
            if "seed" in backend.profile.can:
                pair = self._ask(backend, seed=1, n=2)
                other = self._ask(backend, seed=2)
                parts = short.charged.output + other.charged.output
                hold(pair.charged.output == parts, f"{pair.charged.output} tokens together, but {parts} one by one")

    def _check_usage(self, profile: Profile, said: Answered) -> None:
        used = said.charged
        most = self.models * said.request.max_tokens * said.request.n
        hold(used.input > 0, f"a prompt was charged {used.input} input tokens")
        hold(0 < used.output <= most, f"an answer of at most {most} tokens was charged {used.output}")
        hold(0 <= used.reasoning <= used.output, f"{used.reasoning} of {used.output} output tokens are reasoning")
        hold(0 <= used.cached <= used.input, f"{used.cached} of {used.input} input tokens are cached")
        if profile.prices is not None and used.usd is not None:
            dearest = profile.prices.cost(used.input, used.output)
            hold(0 <= used.usd <= dearest * 1.000001, f"${used.usd} were charged, but the list price is ${dearest}")

    # --- errors, many at once, reasoning

    def test_errors_are_told_as_ours(self) -> None:
        """What goes wrong is raised as the error that it is, in words."""
        failing = self.failing()
        if not failing:
            pytest.skip("`failing` gives no backend that fails")
        for kind, backend in failing.items():
            try:
                self._fails(backend, kind, self._request())
            finally:
                self._run(backend.close())

    def test_many_are_answered_at_once(self) -> None:
        """Requests of many tasks get each its own answer, the same as alone, also when one of them is given up."""
        with self._made() as backend:
            requests = [self._request(self.variation(each), seed=each, n=1 + each % 2) for each in range(5)]
            answers = self._run(self._at_once(backend, requests))
            if "seed" in backend.profile.can:
                alone = [self._answer(backend, request).texts for request in requests[1:]]
                hold([each.texts for each in answers] == alone, "concurrent requests got other answers than alone")

    def test_several_event_loops_are_served(self) -> None:
        """It answers on one event loop after another, and on two at once in two threads."""
        with self._made() as backend:
            self._ask(backend)
            failed: list[BaseException] = []

            def work() -> None:
                try:
                    self._ask(backend)
                except BaseException as error:  # noqa: BLE001 - raised again below
                    failed.append(error)

            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if failed:
                raise failed[0]

    def test_reasoning_is_as_visible_as_it_says(self) -> None:
        """No reply shows less of its reasoning than the profile declares, and none of it stands in the text."""
        with self._made() as backend:
            said = self._ask(backend, self.hard_prompt, max_tokens=self.long_tokens)
            profile = backend.profile
            shown = shown_by(said.samples, said.usage)
            tagged = [text for text in said.texts if any(tag in text for tag in self.tags)]
            hold(not tagged, f"the text contains reasoning: {tagged[:1]}")
            if shown is None or "reasoning" in profile.guessed:
                return
            less = f"the reasoning shown is {shown!r}, but the profile says {profile.reasoning!r}"
            hold(least((shown, profile.reasoning)) == profile.reasoning, less)
            if profile.reasoning == "absent":
                more = "the backend shows reasoning, but the profile says 'absent'"
                hold(not any(sample.reasoning for sample in said.samples), more)

    # --- its life

    def test_getting_ready_tells_how_far_it_is(self) -> None:
        """What it says while it gets ready is text and a fraction; getting ready twice does no harm."""
        with self._made() as backend:
            if not isinstance(backend, Prepares):
                pytest.skip("the backend has nothing to prepare")
            told: list[tuple[str, float]] = []
            self._run(backend.prepare(lambda what, fraction: told.append((what, fraction))))
            wrong = f"`prepare` should report texts with fractions from 0 to 1, but reported {told}"
            hold(all(type(what) is str and 0 <= done <= 1 for what, done in told), wrong)
            self._ask(backend)

    def test_closing_twice_does_no_harm(self) -> None:
        """It may be closed before it was used, and twice."""
        backend = self.make()
        self.release(backend)
        self.release(backend)

    # --- how the kit asks

    @contextmanager
    def _made(self, ability: str = "") -> Iterator[Backend]:
        """Yield a prepared backend; skip the check if it does not claim an ability."""
        backend = self.make()
        try:
            if ability and ability not in backend.profile.can:
                pytest.skip(f"`can` of the profile does not have {ability!r}")
            if isinstance(backend, Prepares):
                self._run(backend.prepare(lambda _what, _fraction: None))
            yield backend
        finally:
            self.release(backend)

    def _request(self, text: str = "", **more: Any) -> Request:
        return Request(messages=(Message("user", text or self.prompt),), **{"max_tokens": self.max_tokens, **more})

    def _ask(self, backend: Backend, text: str = "", **more: Any) -> Answered:
        return self._answer(backend, self._request(text, **more))

    def _answer(self, backend: Backend, request: Request) -> Answered:
        return _in_order(self._run(read(backend, request)))

    def _run(self, work: Awaitable[T]) -> T:
        return run_within(self.patience_s, work)

    def _fails(self, backend: Backend, kind: type[BackendError], request: Request) -> None:
        try:
            self._run(read(backend, request))
        except kind as error:
            hold(bool(str(error).strip()), f"{kind.__name__} has no message")
        except Exception as error:
            raise AssertionError(f"expected {kind.__name__}, but {type(error).__name__} was raised: {error}") from error
        else:
            raise AssertionError(f"expected {kind.__name__}, but the backend answered")

    async def _close_early(self, backend: Backend) -> None:
        before = asyncio.all_tasks()
        stream = backend.generate(self._request(max_tokens=self.long_tokens, n=2))
        await anext(stream)
        await stream.aclose()
        hold(await anext(stream, None) is None, "a closed stream gave another piece")
        await self._at_rest(backend, before)

    async def _cancel(self, backend: Backend) -> None:
        before = asyncio.all_tasks()
        begun = asyncio.Event()

        async def listen() -> None:
            async with aclosing(backend.generate(self._request(max_tokens=self.long_tokens, n=2))) as stream:
                begun.set()
                async for _ in stream:
                    await asyncio.sleep(0)

        listening = asyncio.create_task(listen())
        await begun.wait()
        await asyncio.sleep(_TICK_S)
        ended = listening.done()
        listening.cancel()
        await asyncio.wait([listening])
        hold(ended or listening.cancelled(), "the request went on after it was cancelled")
        await self._at_rest(backend, before)

    async def _at_rest(self, backend: Backend, before: set[asyncio.Task[Any]]) -> None:
        """Wait until nothing is under way: no task, no work that it knows of, and no computing thread."""
        until = time.monotonic() + self.stops_within_s
        quiet = 0  # idle observations in a row
        while True:
            is_late = time.monotonic() > until
            computed = await _computed_beside()
            tasks = asyncio.all_tasks() - before
            is_quiet = not tasks and not self.at_work(backend) and computed < _LOOK_S * _IDLE
            quiet = quiet + 1 if is_quiet else 0
            if quiet == _QUIET_LOOKS:
                return
            if is_late and not is_quiet:
                work = f"{len(tasks)} tasks, {self.at_work(backend)} inside it, {computed:.2f} s of CPU elsewhere"
                raise AssertionError(f"the backend is still working {self.stops_within_s:g} s after closing: {work}")

    async def _at_once(self, backend: Backend, requests: list[Request]) -> list[Answered]:
        """Send all requests at once, cancel the first after a moment, and return the answers to the others."""
        given_up, *others = [asyncio.create_task(read(backend, request)) for request in requests]
        await asyncio.sleep(_TICK_S / 10)
        given_up.cancel()
        answers = await asyncio.gather(*others)
        await asyncio.wait([given_up])
        return [_in_order(answer) for answer in answers]


async def _computed_beside() -> float:
    """Return the CPU seconds of all other threads while this one uses `_LOOK_S`.

    Within a fixed time, a computing thread may get no CPU on a busy machine; beside another computing one, it does.
    """
    began, until = _computed_elsewhere(), time.thread_time() + _LOOK_S
    while time.thread_time() < until:  # noqa: ASYNC110 - nothing is waited for: it computes, and lets tasks go on
        await asyncio.sleep(0)
    return _computed_elsewhere() - began


def _computed_elsewhere() -> float:
    """Return the CPU seconds of all threads but this one, which runs tasks and garbage collection."""
    return time.process_time() - time.thread_time()


def _in_order(answered: Answered) -> Answered:
    wrong = faults(answered.request, answered.deltas)
    hold(not wrong, "; ".join(wrong))
    return answered


def _fits(text: str) -> bool:
    """Whether a text is JSON that SCHEMA allows."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return (
        isinstance(value, dict)
        and value.keys() == {"sure", "size"}
        and isinstance(value["sure"], bool)
        and value["size"] in {"small", "large"}
    )
