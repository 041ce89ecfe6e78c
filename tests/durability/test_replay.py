"""What is recorded is what a resumed planner is told, wherever the trace was cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest

from scaffold import (
    Call,
    Credential,
    MoveError,
    NotPerformed,
    Plan,
    Planned,
    Planning,
    Scaffold,
    Task,
    Verdict,
    act,
    action,
    ask,
    note,
    propose,
    think,
    together,
)
from scaffold.errors import PlanChanged, RunHeld, StepFailed, TraceDamaged
from scaffold.interfaces import ReviewContext, TraceView
from scaffold.testing import Scripted
from scaffold.testing.effects import EffectLedger
from scaffold.testing.judging import read_story
from scaffold.testing.tampering import place_of, sealed_anew
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.actions import Effect
from scaffold.vocabulary.events import StepAnswered
from scaffold.vocabulary.models import Request
from scaffold.vocabulary.review import Decision, MonitorSpec, Subject, SubjectKind
from scaffold.vocabulary.task import Oversight

TASK = Task(prompt="do it", oversight=Oversight(unmonitored=True))


def echo(request: Request) -> str:
    """Answer by what was asked, the same on every run."""
    return f"said {len(request.messages[-1].content)}"


def branching(task: Task) -> Planning[str]:
    """Think and act in two branches."""

    def branch(name: str) -> Planning[str]:
        thought = yield from think("solve", name, returns=str)
        done = yield from act("put", {"what": thought})
        last = yield from think("combine", thought, done, returns=str)
        return last.value

    first = yield from think("understand", task.prompt, returns=str)
    parts = yield from together(branch("left"), branch("right"))
    last = yield from think("answer", first, *parts, returns=str)
    return last.value


def put_into(effects: EffectLedger) -> Any:
    """An action whose target removes duplicates."""

    @action(effect="reversible", idempotency="target_key")
    async def put(what: str, *, call: Call) -> str:
        return str(effects.happen_once("put", call, {"what": what}, f"put {what}"))

    return put


def agent_in(folder: Path, planner: Callable[..., Any] = branching, **more: Any) -> Scaffold:
    """An agent that keeps all it has below a folder."""
    effects = EffectLedger(folder / "effects")
    settings: dict[str, Any] = {
        "backends": {"default": Scripted(echo)},
        "monitors": [],
        "actions": [put_into(effects)],
    }
    return Scaffold(planner, journal=FileJournal(folder / "runs"), **(settings | more))


def cut_after(whole: Path, events: int, folder: Path) -> None:
    """Copy a run as a kill after so many events would have left it."""
    shutil.copytree(whole, folder)
    run = next((folder / "runs").glob("*/"))
    lines = (run / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (run / "trace.jsonl").write_bytes(b"".join(lines[:events]))


def test_moves_are_byte_equal_when_replayed_after_a_kill_at_any_event(tmp_path: Path) -> None:
    """Cut off after any event and resumed, the planner asks the same bytes at the same keys."""
    whole = agent_in(tmp_path / "whole").solve_sync(TASK)
    story = read_story(Path(whole.trace).parent)
    for events in range(1, len(story.events)):
        folder = tmp_path / str(events)
        cut_after(tmp_path / "whole", events, folder)
        again = agent_in(folder).resume_sync(whole.run)
        resumed = read_story(folder / "runs" / whole.run)
        assert resumed.faults == []
        assert resumed.moves() == story.moves()
        assert (again.status, again.answer) == (whole.status, whole.answer)
        assert len(EffectLedger(folder / "effects").lines()) == 2


@pytest.mark.parametrize("order", range(6))
def test_a_failing_branch_gives_the_same_error_in_every_order(order: int, tmp_path: Path) -> None:
    """Whichever branch ends first, the parent gets the error of the lowest that failed."""
    source = random.Random(order)
    delays = {name: source.random() * 0.02 for name in ("a", "b", "c")}

    class Late(Scripted):
        async def generate(self, request: Request) -> Any:
            name = next(name for name in delays if f"branch {name}" in request.messages[-1].content)
            await asyncio.sleep(delays[name])
            async for delta in super().generate(request):
                yield delta

    def planner(_task: Task) -> Planning[str]:
        try:
            yield from together(*(think("solve", f"branch {name}", returns=int) for name in delays))
        except StepFailed as error:
            return error.key
        return "none failed"

    backend = Late({"branch a": "1", "branch b": "no number", "branch c": "none either"})
    outcome = agent_in(tmp_path, planner, backends={"default": backend}).solve_sync(TASK)
    assert outcome.answer == "0/1/0"


@pytest.mark.parametrize("given", [date(2026, 1, 31), (1, 2), {1: "one"}, b"bytes", Path("here"), {"a": {3}}])
def test_inputs_are_told_as_the_trace_has_them(given: Any, tmp_path: Path) -> None:
    """A value that JSON changes is changed before the run, so that a resumed planner is told the same."""
    told = []

    def planner(task: Task) -> Planning[Any]:
        told.append(task.inputs["given"])
        return (yield from ask("Well?", task.input("given"))).value

    agent = agent_in(tmp_path, planner)
    waiting = agent.solve_sync(Task(prompt="x", inputs={"given": given}))
    assert agent.resume_sync(waiting.run).status == waiting.status == "waiting"
    assert json.dumps(told[0]) == json.dumps(told[1])
    assert told[0] != given


def test_a_changed_planner_is_told_apart(tmp_path: Path) -> None:
    """Resuming with a planner that asks something else raises PlanChanged, and writes nothing."""
    whole = agent_in(tmp_path / "whole").solve_sync(TASK)
    cut_after(tmp_path / "whole", 6, tmp_path / "cut")
    trace = tmp_path / "cut" / "runs" / whole.run / "trace.jsonl"
    before = trace.read_bytes()

    def changed(task: Task) -> Planning[str]:
        first = yield from think("understand", task.prompt, instruction="otherwise", returns=str)
        return first.value

    changed.__module__, changed.__qualname__ = branching.__module__, branching.__qualname__
    with pytest.raises(PlanChanged):
        agent_in(tmp_path / "cut", changed).resume_sync(whole.run)
    assert trace.read_bytes() == before


def asking(
    word: str = "it", returns: Any = str, put: str = "it", name: str = "put", noted: str = "done"
) -> Callable[[Task], Planning[str]]:
    """A planner that thinks once, acts once and notes it."""

    def planner(_task: Task) -> Planning[str]:
        yield from think("understand", word, returns=returns)
        done = yield from act(name, {"what": put})
        yield from note(noted)
        return str(done.value)

    return planner


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"word": "It"}, "at 0 .* a step"),
        ({"returns": int}, "at 0 .* a step"),
        ({"put": "It"}, "at 1 .* action"),
        ({"name": "take"}, "at 1 .* action"),
        ({"noted": "Done"}, "at 2 .* a note"),
    ],
)
def test_one_word_that_is_asked_otherwise_is_found(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A planner that makes the same moves is refused all the same if one of them asks for something else."""
    whole = agent_in(tmp_path / "whole", asking()).solve_sync(TASK)
    cut_after(tmp_path / "whole", len(read_story(Path(whole.trace).parent).events) - 1, tmp_path / "cut")
    with pytest.raises(PlanChanged, match=said):
        agent_in(tmp_path / "cut", asking(**other)).resume_sync(whole.run)
    assert agent_in(tmp_path / "cut", asking()).resume_sync(whole.run).answer == whole.answer


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"idempotency": "none"}, "action:put.idempotency was target_key, is none"),
        ({"identity": ()}, r'action:put.identity was \["what"\], is absent'),
        ({"cost": 0.1}, "action:put.cost was 0.5, is 0.1"),
        ({"limits": {"run": 9}}, r'action:put.limits was absent, is \{"run":9\}'),
        ({"trusted": True}, "action:put.trusted was absent, is true"),
        ({"undone": True}, "action:put.undo was absent, is put-back"),
    ],
)
def test_an_action_that_declares_something_else_is_told_apart(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    """What was begun under one promise is not gone on with under another, and the message names it."""
    effects = EffectLedger(tmp_path / "effects")

    def declaring(*, undone: bool = False, **more: Any) -> Scaffold:
        declared: dict[str, Any] = {"idempotency": "target_key", "identity": ("what",), "cost": 0.5}

        @action(effect="reversible", **{**declared, **more})
        async def put(what: str, *, call: Call) -> str:
            return str(effects.happen_once("put", call, {"what": what}, f"put {what}"))

        if undone:

            @put.undo(effect="reversible", name="put-back")
            async def put_back(what: str) -> None:
                """Never called."""

        return agent_in(tmp_path / "cut", asking(), actions=[put], monitors=["rules"])

    run = declaring().solve_sync(TASK).run
    cut_after(tmp_path / "cut", 6, tmp_path / "again")
    shutil.rmtree(tmp_path / "cut")
    (tmp_path / "again").rename(tmp_path / "cut")
    with pytest.raises(PlanChanged, match=said):
        declaring(**other).resume_sync(run)
    assert declaring().resume_sync(run).status == "solved"


def proposing(*planned: Planned) -> Callable[[Task], Planning[str]]:
    """A planner that has a plan read."""

    def planner(_task: Task) -> Planning[str]:
        review = yield from propose(Plan(planned))
        return str(review.allowed)

    return planner


@pytest.mark.parametrize(
    "other",
    [
        Planned("put", {"what": "b"}, id="last", after=("first",)),
        Planned("take", {"what": "b"}, id="second", after=("first",)),
        Planned("put", {"what": "c"}, id="second", after=("first",)),
        Planned("put", {"what": "b"}, id="second"),
    ],
    ids=["name", "action", "arguments", "order"],
)
def test_a_plan_that_is_proposed_otherwise_is_found(other: Planned, tmp_path: Path) -> None:
    """Names, actions, arguments and order: a resumed planner that changes one gets no recorded review of its plan."""
    first = Planned("put", {"what": "a"}, id="first")
    second = Planned("put", {"what": "b"}, id="second", after=("first",))
    whole = agent_in(tmp_path / "whole", proposing(first, second)).solve_sync(TASK)
    cut_after(tmp_path / "whole", len(read_story(Path(whole.trace).parent).events) - 1, tmp_path / "cut")
    with pytest.raises(PlanChanged, match=r"at 0 .* a plan"):
        agent_in(tmp_path / "cut", proposing(first, other)).resume_sync(whole.run)
    assert agent_in(tmp_path / "cut", proposing(first, second)).resume_sync(whole.run).answer == "True"


def test_a_run_has_one_writer(tmp_path: Path) -> None:
    """While one process holds a run, another is refused."""
    whole = agent_in(tmp_path / "whole").solve_sync(TASK)
    cut_after(tmp_path / "whole", 3, tmp_path / "cut")

    async def two_at_once() -> None:
        first, second = (FileJournal(tmp_path / "cut" / "runs") for _ in range(2))
        claim = await first.claim(whole.run, "first")
        with pytest.raises(RunHeld, match="written by this process"):
            await second.claim(whole.run, "second")
        with pytest.raises(RunHeld):
            await agent_in(tmp_path / "cut").resume(whole.run)
        await first.release(claim)

    asyncio.run(two_at_once())
    assert agent_in(tmp_path / "cut").resume_sync(whole.run).status == "solved"


def test_a_torn_last_line_is_repaired_and_reported(tmp_path: Path) -> None:
    """Half a line at the end is cut off on opening; the outcome and the trace say so."""
    whole = agent_in(tmp_path / "whole").solve_sync(TASK)
    cut_after(tmp_path / "whole", 7, tmp_path / "torn")
    run = tmp_path / "torn" / "runs" / whole.run
    lines = (tmp_path / "whole" / "runs" / whole.run / "trace.jsonl").read_bytes().splitlines(keepends=True)
    with (run / "trace.jsonl").open("ab") as trace:
        trace.write(lines[7][:40])
    again = agent_in(tmp_path / "torn").resume_sync(whole.run)
    assert again.status == "solved"
    assert "40 bytes of an incomplete line in trace.jsonl" in again.repaired
    story = read_story(run)
    assert story.faults == []
    assert [event["repaired"] for event in story.of("run.resumed")] == [again.repaired]


DEEP = b"[" * 9_000 + b"]" * 9_000


@pytest.mark.parametrize("kind", ["run.started", "step.asked", "step.answered", "action.proposed", "action.outcome"])
@pytest.mark.parametrize("body", [b"[1]", b'{"asked":3,"call":7}', DEEP])
def test_a_run_whose_chain_was_made_anew_does_not_go_on(tmp_path: Path, kind: str, body: bytes) -> None:
    """Content of another form is named with its line, or is not what the planner asks; nothing else is done."""
    run = agent_in(tmp_path).solve_sync(TASK).run
    spine, content = (tmp_path / "runs" / run / name for name in ("trace.jsonl", "content.jsonl"))
    lines = spine.read_bytes().splitlines(keepends=True)[:-1]
    place = place_of(lines, kind)
    forged = {"content": hashlib.sha256(bytes(16) + body).hexdigest()}
    spine.write_bytes(
        b"".join(
            sealed_anew(
                lines, lambda events: [{**each, **forged} if at == place else each for at, each in enumerate(events)]
            )
        )
    )
    contents = {json.loads(line)["seq"]: line for line in content.read_bytes().splitlines(keepends=True)}
    contents[place + 1] = b'{"seq":%d,"salt":"%b","body":%b}\n' % (place + 1, b"0" * 32, body)
    content.write_bytes(b"".join(line for seq, line in sorted(contents.items()) if seq <= len(lines)))
    named = f"line {place + 1} of the trace holds what is written with no {kind}|the trace has an? (step|action), "
    with pytest.raises((TraceDamaged, PlanChanged), match=named):
        agent_in(tmp_path).resume_sync(run)
    assert b"run.resumed" not in spine.read_bytes()


def test_a_monitor_that_cannot_take_in_an_event_is_named(tmp_path: Path) -> None:
    """It ends the run in words; neither the planner nor whoever wrote the trace is blamed."""

    class Forgetful:
        spec = MonitorSpec(name="forgetful", watches=frozenset({"action"}))
        folds = frozenset({StepAnswered})

        def fold(self, state: Any, event: Any, content: dict[str, Any]) -> Any:
            return content["nothing"]

        async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
            return Verdict(decision="allow")

    outcome = agent_in(tmp_path, monitors=[Forgetful()]).solve_sync(TASK)
    said = "the monitor 'forgetful' cannot take in event 3 (step.answered): KeyError: 'nothing'"
    assert (outcome.status, outcome.reason) == ("failed", said)


class Fickle:
    """Says one thing in its first life, and another in the next."""

    def __init__(self, decision: Decision, *watches: SubjectKind) -> None:
        self.spec = MonitorSpec(name="fickle", watches=frozenset(watches or {"action"}))
        self._decision = decision

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        return Verdict(decision=self._decision, feedback="not that")


def one_action(_task: Task) -> Planning[str]:
    """Act once."""
    done = yield from act("put", {"what": "it"})
    return str(done.value)


def test_what_was_withheld_is_withheld_wherever_the_run_goes_on(tmp_path: Path) -> None:
    """A planner that was refused a thought, a result and an error message is told the same when its run is resumed."""

    def curious(_task: Task) -> Planning[list[str]]:
        told = []
        for move in (
            think("solve", "a secret", returns=str),
            act("put", {"what": "it"}),
            act("lose", {"what": "it"}),
        ):
            try:
                told.append(str((yield from move).value))
            except MoveError as error:
                told.append(f"{type(error).__name__}: {error}")
            yield from note(f"{len(told)} said")
        return told

    @action(effect="reversible")
    async def lose(what: str) -> str:
        raise NotPerformed(f"{what} is lost")

    def agent(name: str, decision: Decision) -> Scaffold:
        actions = [put_into(EffectLedger(tmp_path / name / "effects")), lose]
        monitors = [Fickle(decision, "step", "observation")]
        return agent_in(tmp_path / name, curious, monitors=monitors, actions=actions)

    whole = agent("whole", "block").solve_sync(TASK)
    assert whole.answer == [
        "StepRefused: not that (at 0)",
        "ObservationWithheld: not that (put at 2)",
        "ActionFailed: its error message is withheld: not that (lose at 4)",
    ]
    kinds = [event["kind"] for event in read_story(Path(whole.trace).parent).events]
    reviews = [place for place, kind in enumerate(kinds, start=1) if kind == "reviewed"]
    assert len(reviews) == 3
    for events in range(reviews[-1], len(kinds)):
        cut_after(tmp_path / "whole", events, tmp_path / str(events))
        again = agent(str(events), "allow").resume_sync(whole.run)
        assert again.answer == whole.answer
        assert len(list(read_story(Path(again.trace).parent).of("action.intent"))) == 2


@pytest.mark.parametrize(("effect", "status", "times"), [("read", "performed", 2), ("irreversible", "unknown", 1)])
def test_a_read_that_was_interrupted_is_read_again_and_nothing_else(
    tmp_path: Path, effect: Effect, status: str, times: int
) -> None:
    """Whether it was read cannot matter; whether anything else happened nobody knows, and it is not repeated."""
    done: list[str] = []

    @action(effect=effect)
    async def look(what: str) -> str:
        done.append(what)
        return "seen"

    def planner(_task: Task) -> Planning[str]:
        try:
            return str((yield from act("look", {"what": "it"})).status)
        except MoveError:
            return "unknown"

    whole = agent_in(tmp_path / "whole", planner, actions=[look]).solve_sync(TASK)
    kinds = [event["kind"] for event in read_story(Path(whole.trace).parent).events]
    cut_after(tmp_path / "whole", kinds.index("action.intent") + 1, tmp_path / "cut")
    again = agent_in(tmp_path / "cut", planner, actions=[look]).resume_sync(whole.run)
    assert [each.status for each in again.actions] == [status]
    assert (again.answer, len(done)) == (status, times)


@pytest.mark.parametrize(
    ("target", "answer", "times"),
    [
        ("has it", "performed: it is there", 1),
        ("has it not", "performed: done", 2),
        ("fails", "OutcomeUnknown: its target could not tell: OSError: refused: [TOKEN] (test_replay.py:", 1),
        ("hangs", "OutcomeUnknown: its target could not tell: TimeoutError: ", 1),
    ],
)
def test_what_a_target_says_of_an_interrupted_action_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, answer: str, times: int
) -> None:
    """It is done again only where its target says that it did not happen: one that cannot say has not said so."""
    done: list[str] = []
    monkeypatch.setenv("TOKEN", "s3cret-t0ken")

    async def put(what: str, *, token: str) -> str:
        done.append(f"{what} by {token}")
        return "done"

    put.__annotations__["token"] = Annotated[str, Credential("TOKEN")]
    kept = action(effect="irreversible", idempotency="reconcile", timeout_s=0.2)(put)

    @kept.reconciler
    async def look(what: str, *, token: str) -> str | None:
        match target:
            case "fails":
                raise OSError(f"refused: {token}")
            case "hangs":
                await asyncio.sleep(60)
        return f"{what} is there" if target == "has it" else None

    def planner(_task: Task) -> Planning[str]:
        try:
            observation = yield from act("put", {"what": "it"})
        except MoveError as error:
            return f"{type(error).__name__}: {error.message}"
        return f"{observation.status}: {observation.value}"

    whole = agent_in(tmp_path / "whole", planner, actions=[kept]).solve_sync(TASK)
    kinds = [event["kind"] for event in read_story(Path(whole.trace).parent).events]
    cut_after(tmp_path / "whole", kinds.index("action.intent") + 1, tmp_path / "cut")
    again = agent_in(tmp_path / "cut", planner, actions=[kept]).resume_sync(whole.run)
    assert again.answer.startswith(answer)
    assert len(done) == times


def test_a_recorded_block_still_blocks_after_a_crash(tmp_path: Path) -> None:
    """A verdict that was recorded is final, though the monitor would say something else by now."""
    blocked = agent_in(tmp_path / "whole", one_action, monitors=[Fickle("block")]).solve_sync(TASK)
    assert blocked.status == "stopped"
    kinds = [event["kind"] for event in read_story(Path(blocked.trace).parent).events]
    for events in (kinds.index("reviewed") + 1, kinds.index("action.refused") + 1):
        folder = tmp_path / str(events)
        cut_after(tmp_path / "whole", events, folder)
        again = agent_in(folder, one_action, monitors=[Fickle("allow")]).resume_sync(blocked.run)
        assert again.status == "stopped"
        assert not EffectLedger(folder / "effects").lines()
