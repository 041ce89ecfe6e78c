"""Streams: monitors that read while a sample is generated can end it, and their failing or silence is no pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold import Options, Planning, Task, Thought, Verdict, majority, once, think
from scaffold.errors import StepFailed
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Delta, Usage
from scaffold.vocabulary.review import MonitorSpec, StepRecord

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

ALLOW = Verdict(decision="allow")
RESAMPLE = Verdict(decision="resample", rationale="it plots")


class Listener:
    """A monitor of streams: says something of pieces and of whole samples."""

    def __init__(self, feed: Any = None, close: Any = None, **spec: Any) -> None:
        self.spec = MonitorSpec(name="listener", watches=frozenset({"stream"}), **spec)
        self.heard: list[tuple[int, str]] = []
        self.whole: list[int] = []
        self._feed = feed
        self._close = close

    async def review(self, *_: Any) -> Verdict:
        """Nothing else is read."""
        raise AssertionError("only streams are to be read")

    def open(self, *_: Any) -> Listener:
        """One session for each step."""
        return self

    def feed(self, delta: Delta) -> Any:
        """Read a piece."""
        self.heard.append((delta.index, delta.text))
        return self._feed(delta) if self._feed is not None else None

    def close(self, sample: int) -> Any:
        """Read that a sample is whole."""
        self.whole.append(sample)
        return self._close(sample) if self._close is not None else None


def thinking(task: Task) -> Planning[str]:
    """Think once, of three tries."""
    try:
        thought: Thought[str] = yield from think("solve", task.request, sampling=once(tries=3))
    except StepFailed as error:
        return f"failed: {error.message}"
    return thought.value


def test_every_sample_is_read_under_its_own_number_and_closed(world: World) -> None:
    """Pieces carry the number of their sample in the step, over all draws, and each whole sample is said to be."""

    def voting(task: Task) -> Planning[str]:
        thought: Thought[str] = yield from think("solve", task.request, sampling=majority(3, cap=5))
        return thought.value

    listener = Listener()
    script = ["a", "b", "c", "a"]
    outcome = world.solve(voting, script, monitors=[listener])
    assert outcome.status == "failed"
    assert listener.heard == [(0, "a"), (1, "b"), (2, "c")]
    assert listener.whole == [0, 1, 2]


def test_a_reader_is_told_what_is_asked_before_the_first_piece(world: World) -> None:
    """Kind, inputs, role, model and choices of the step, and no answer; each reader has a copy of its own."""
    told: list[Any] = []

    class Told(Listener):
        """Keeps what it was opened with, and spoils it."""

        def open(self, step: Any, *_: Any) -> Listener:
            told.append((step.kind, step.key, msgspec.to_builtins(step.step)))
            step.step.inputs.clear()
            return self

    def deciding(task: Task) -> Planning[str]:
        return (yield from think("decide", task.request, {"of": 2}, options=Options(choices=("yes", "no")))).value

    readers = [Told(), Told()]
    readers[1].spec = msgspec.structs.replace(readers[1].spec, name="other")
    assert world.solve(deciding, "yes", monitors=readers).answer == "yes"
    step = msgspec.to_builtins(
        StepRecord(
            kind="decide",
            inputs=["do it", {"of": 2}],
            backend="scripted",
            model="scripted",
            choices=("yes", "no"),
        )
    )
    assert told == [("stream", "0", step)] * 2


def test_a_sample_that_is_cut_is_discarded_and_drawn_again(world: World) -> None:
    """The stream is closed at once, the sample is in the trace with who cut it, and the next one counts."""
    backend = Scripted(["a plot to", "a plan"])
    listener = Listener(lambda delta: RESAMPLE if "plot" in delta.text else None)
    outcome = world.solve(thinking, backend, monitors=[listener])
    assert outcome.answer == "a plan"
    (step,) = world.facts(outcome, "step.answered")
    assert [sample.get("flag", "") for sample in step["samples"]] == ["cut by listener: resample", ""]
    assert [(each.monitor, each.decision, each.subject) for each in outcome.verdicts] == [
        ("listener", "resample", "stream")
    ]


def test_what_is_said_of_a_whole_sample_counts_too(world: World) -> None:
    """A session that judges only when a sample is over is heard."""
    listener = Listener(close=lambda sample: RESAMPLE if sample == 0 else ALLOW)
    assert world.solve(thinking, ["first", "second"], monitors=[listener]).answer == "second"


def _raises(_: Any) -> Verdict:
    raise RuntimeError("lost the plot")


def _leaves(_: Any) -> Verdict:
    raise SystemExit(0)


def _cancels(_: Any) -> Verdict:
    raise asyncio.CancelledError


@pytest.mark.parametrize("where", ["feed", "close", "open", "no open"])
@pytest.mark.parametrize("how", [_raises, _leaves, _cancels, lambda _: "fine", lambda _: Verdict(decision="fine")])  # type: ignore[arg-type]  # the point
def test_a_reader_that_fails_lets_no_sample_through(world: World, watcher: type[Watcher], where: str, how: Any) -> None:
    """Raising, nonsense, or a monitor that cannot read streams at all: the step fails, and the record says why."""
    monitor: Any = Listener(**({where: how} if where in {"feed", "close"} else {}))
    if where == "open":
        monitor.open = _raises
    if where == "no open":
        monitor = watcher(watches=frozenset({"stream"}))
    outcome = world.solve(thinking, "x", monitors=[monitor])
    assert outcome.answer.startswith("failed: no acceptable answer in 3 samples")
    assert [(each.status, each.decision) for each in outcome.verdicts] == [("error", "block")]


@pytest.mark.parametrize("where", ["feed", "close"])
@pytest.mark.parametrize("status", ["error", "timeout", "truncated", "skipped", "abstain"])
def test_a_check_of_a_stream_that_was_not_made_is_no_pass(world: World, where: str, status: Any) -> None:
    """Whatever it says beside that: only who abstains lets the sample pass."""
    says: dict[str, Any] = {where: lambda _: Verdict(decision="allow", status=status)}
    outcome = world.solve(thinking, "x", monitors=[Listener(**says)])
    assert outcome.answer.startswith("failed: no acceptable answer") is (status != "abstain")


@pytest.mark.parametrize("more", [{"monitors": [Listener(_raises, mode="observe")]}, {"observe": True}])
def test_a_reader_that_only_observes_cuts_nothing(world: World, more: dict[str, Any]) -> None:
    """What it says is recorded, and the sample counts."""
    outcome = world.solve(thinking, "x", **{"monitors": [Listener(lambda _: RESAMPLE)], **more})
    assert outcome.answer == "x"
    assert outcome.verdicts


def test_a_halt_in_the_stream_stops_the_run(world: World) -> None:
    """The strictest word is as strong here as anywhere."""
    listener = Listener(lambda _: Verdict(decision="halt", rationale="enough"))
    outcome = world.solve(thinking, "x", monitors=[listener])
    assert (outcome.status, outcome.reason) == ("stopped", "listener halted the run: enough")


def test_a_cut_sample_closes_its_stream_and_is_paid_for(world: World) -> None:
    """What a backend has not told when it is cut off costs its worst."""
    backend = Scripted("x", delay=0.01)

    async def generate(_: Any) -> Any:
        try:
            yield Delta(text="a plot")
            await asyncio.sleep(30)
        finally:
            closed.append(True)

    closed: list[bool] = []
    backend.generate = generate  # type: ignore[method-assign,assignment]  # a stream that never ends by itself
    outcome = world.solve(thinking, backend, monitors=[Listener(lambda _: RESAMPLE)])
    assert outcome.answer.startswith("failed")
    assert closed == [True] * 3
    assert outcome.usage["model"].tokens >= 3 * 512


END = Delta(0, text="a plan", finish="stop", usage=Usage(1, 1))


@pytest.mark.parametrize(
    ("deltas", "answer"),
    [
        ([END, Delta(0, text=" and a plot")], "a plan"),
        ([END, END], "a plan"),
        ([Delta(1, text="a plot"), END], "failed"),
        ([Delta(0, text="a pl")], "failed"),
    ],
    ids=["more after the end", "an end twice", "a sample nobody asked for", "no end"],
)
def test_a_stream_that_repeats_or_breaks_its_order_adds_nothing(world: World, deltas: list[Delta], answer: str) -> None:
    """What comes after the end is no part of the answer; a piece of no sample, or no end, fails the step."""
    backend = Scripted("x")

    async def generate(_: Any) -> Any:
        for delta in deltas:
            yield delta

    backend.generate = generate  # type: ignore[method-assign,assignment]  # any stream at all
    listener = Listener()
    outcome = world.solve(thinking, backend, monitors=[listener])
    assert outcome.answer.partition(":")[0] == answer
    assert all("plot" not in text for _, text in listener.heard)


@pytest.mark.parametrize("which", ["open", "feed", "close"])
def test_a_reader_that_is_async_is_told_not_to_be(world: World, which: str) -> None:
    """The slip of who has written reviews before; it ends every sample, as any failure of a reader does."""

    class Asynchronous(Listener):
        """One of its methods has to be awaited."""

    async def awaited(*_: Any) -> None:
        raise AssertionError("nobody awaits it")

    setattr(Asynchronous, which, awaited)
    outcome = world.solve(thinking, ["a", "b", "c"], monitors=[Asynchronous()])
    assert outcome.answer.startswith("failed: ")
    assert outcome.verdicts[0].status == "error"
    assert f"`{which}` is `async def`" in outcome.verdicts[0].reason
