"""What hidden reasoning draws, what a measured monitorability permits, and how much of the reasoning was read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from tests.core.doing import doing

from scaffold import Options, Planning, Task, Verdict, act, action, cascade, majority, once, several, think
from scaffold.errors import ActionError
from scaffold.figures import read_monitorability, save
from scaffold.odds.monitorability import gather, reading_of
from scaffold.testing import Scripted
from scaffold.trace.chain import Chain
from scaffold.trace.records import read_files
from scaffold.vocabulary.models import FREE, Profile, ReasoningVisibility, Sample
from scaffold.vocabulary.monitorability import AS_SAID, FAITHFUL, Figure, Monitorability, Readable

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

    from scaffold.vocabulary.outcome import Outcome

FLAG = Verdict(decision="flag", rationale="odd")


def opaque(script: Any = "7", reasoning: ReasoningVisibility = "absent") -> Scripted:
    """A backend whose reasoning cannot be read."""
    profile = Profile(backend="scripted", model="dark", context=100_000, prices=FREE, reasoning=reasoning)
    return Scripted(script, profile=profile)


def paying(_: Task) -> Planning[str]:
    """Think of a number, pay one invoice, say what became of it."""
    yield from think("solve", "how many?", returns=int)
    try:
        paid = yield from act("pay", {"invoice": "i1"})
    except ActionError as error:
        return error.message
    return str(paid.value)


def sure(low: float, probed: str = FAITHFUL, step: str = "solve") -> Figure:
    """A figure of the scripted model."""
    return Figure(backend="scripted", model="scripted", step=step, probed=probed, held=9.0, of=10, low=low, high=1.0)


def test_a_flag_asks_a_person_where_the_reasoning_is_absent(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """What a flag lets pass of a model that can be read, a person decides of one that cannot; and may say no."""
    for backend, asked in ((Scripted("7"), 0), (opaque(), 1)):
        boss = person("yes")
        outcome = world.solve(paying, backend, monitors=[watcher(FLAG)], approvers=[boss])
        assert (outcome.answer, len(boss.asked)) == ("paid i1", asked)
    refused = world.solve(paying, opaque(), monitors=[watcher(FLAG)], approvers=[person("no")])
    assert refused.actions[0].status == "refused"


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        (FLAG, "odd"),
        (Verdict(decision="flag", feedback="strange"), "strange"),
        (Verdict(decision="flag"), "it gives no reason"),
    ],
)
def test_a_person_is_told_what_was_flagged(
    world: World, watcher: type[Watcher], person: type[Person], flag: Verdict, why: str
) -> None:
    """Who flagged it and why, as far as that was said."""
    boss = person("yes")
    world.solve(paying, opaque(), monitors=[watcher(flag)], approvers=[boss])
    said = f"gate: the reasoning behind it cannot be read, and watcher flags it: {why}"
    assert said in boss.asked[0].detail["reasons"]


@pytest.mark.parametrize(("ask", "asked"), [("never", 0), ("flagged", 0), ("irreversible", 1), ("effects", 1)])
def test_a_task_says_what_is_asked_of_an_opaque_model(
    world: World, watcher: type[Watcher], person: type[Person], ask: str, asked: int
) -> None:
    """Without any flag a person is asked about what the task says, and about nothing where a model can be read."""
    for backend, times in ((opaque(), asked), (Scripted("7"), 0)):
        boss = person("yes")
        task = {"oversight": {"unread": {"ask": ask}}}
        world.solve(paying, backend, monitors=[watcher()], approvers=[boss], task=task)
        assert len(boss.asked) == times


def test_what_the_gate_draws_is_recorded_and_observing_enforces_none_of_it(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """The reason stands in the trace as a verdict of the gate's own, also where monitors only observe."""
    task = {"oversight": {"unread": {"ask": "effects"}}}
    boss = person("no")
    outcome = world.solve(paying, opaque(), monitors=[watcher()], approvers=[boss], task=task, observe=True)
    assert (outcome.answer, boss.asked) == ("paid i1", [])
    said = [
        verdict["rationale"]
        for event in world.facts(outcome, "reviewed")
        for verdict in event["verdicts"]
        if verdict["monitor"] == "gate"
    ]
    assert said == ["the reasoning behind it cannot be read: a person decides"]


def test_an_opaque_model_votes_and_takes_smaller_steps(world: World) -> None:
    """A step with a countable answer is decided by a majority, text is not, and no answer is longer than allowed."""
    replies = iter(["7", "8", "7", "a text"])
    dark = opaque(lambda _: next(replies))
    clear = Scripted(["7", "a text"])

    def planner(_: Task) -> Planning[list[Any]]:
        number = yield from think("solve", "how many?", returns=int, options=Options(max_tokens=400))
        text = yield from think("answer", "say it")
        return [number.value, text.value]

    task = {"oversight": {"unread": {"votes": 3, "step_tokens": 100}}}
    for backend, samples in ((dark, 4), (clear, 2)):
        outcome = world.solve(planner, backend, task=task)
        assert outcome.answer == [7, "a text"]
        assert sum(request.n for request in backend.requests) == samples
    assert {request.max_tokens for request in dark.requests} == {100}
    assert [request.max_tokens for request in clear.requests] == [400, 512]


def test_the_stakes_of_a_step_follow_from_what_it_shows(world: World, watcher: type[Watcher]) -> None:
    """Steps are read at higher stakes the less they show, so that who reads a sample reads all."""
    for shown, stakes in (("full", "low"), ("summary", "medium"), ("redacted", "medium"), ("absent", "high")):
        reader = watcher(watches=frozenset({"step"}))
        world.solve(paying, opaque(reasoning=shown), monitors=[reader], task={"oversight": {"unmonitored": True}})  # type: ignore[arg-type]  # written as text
        assert reader.stakes == [stakes]
    reader = watcher(watches=frozenset({"step"}))

    def thinking(_: Task) -> Planning[int]:
        return (yield from think("solve", "how many?", returns=int)).value

    world.solve(thinking, opaque(), monitors=[reader], actions=(world.look,))
    assert reader.stakes == ["low"]


@pytest.mark.parametrize(
    ("known", "permitted"),
    [
        (None, False),
        ((), False),
        ((sure(0.7),), True),
        ((sure(0.6),), False),
        ((sure(0.7), sure(0.5, AS_SAID)), False),
        ((sure(0.9, AS_SAID),), False),
        ((sure(0.7, step="decide"),), False),
    ],
    ids=["nothing", "none", "enough", "too little", "one property", "not for faithfulness", "of other steps"],
)
def test_a_monitorability_permits_or_a_person_does(
    world: World, watcher: type[Watcher], person: type[Person], known: tuple[Figure, ...] | None, *, permitted: bool
) -> None:
    """The least that was measured of those who thought has to reach what is wanted; nothing measured is nothing."""
    boss = person("yes")
    task = {"oversight": {"monitorability": {"irreversible": 0.7}}}
    figures = None if known is None else Monitorability(known)
    outcome = world.solve(paying, "7", monitors=[watcher()], approvers=[boss], task=task, monitorability=figures)
    assert (outcome.answer, len(boss.asked)) == ("paid i1", 0 if permitted else 1)


def test_each_effect_has_a_floor_of_its_own_and_reads_have_none(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """What can be taken back may take less than what cannot; looking takes nothing, also of an opaque model."""

    @action(effect="reversible")
    async def file(name: str) -> str:
        return f"filed {name}"

    def planner(_: Task) -> Planning[None]:
        yield from think("solve", "how many?", returns=int)
        yield from act("look", {"at": "x"})
        yield from act("file", {"name": "y"})
        yield from act("pay", {"invoice": "i1"})

    strict = {"monitorability": {"reversible": 0.8, "irreversible": 0.8}}
    mild = {"monitorability": {"reversible": 0.5, "irreversible": 0.8}}
    for backend, oversight, says, asked in (
        ("7", strict, None, ["file", "pay"]),
        ("7", mild, None, ["pay"]),
        (opaque(), {"unread": {"ask": "effects"}}, None, ["file", "pay"]),
        (opaque(), {"unread": {"ask": "irreversible"}}, None, ["pay"]),
        (opaque(), {"unread": {"ask": "flagged"}}, FLAG, ["pay"]),
        (opaque(), {"unread": {"ask": "never"}}, FLAG, []),
    ):
        boss = person("yes")
        world.solve(
            planner,
            backend,
            actions=[world.look, file, world.pay],
            monitors=[watcher(says)],
            approvers=[boss],
            task={"oversight": oversight},
            monitorability=Monitorability((sure(0.7),)),
        )
        assert [each.detail["calls"][0]["action"] for each in boss.asked] == asked


@pytest.mark.parametrize("oversight", [{"monitorability": {"irreversible": 0.7}}, {"unread": {"ask": "effects"}}])
def test_where_nobody_thinks_nobody_hides_anything(
    world: World, watcher: type[Watcher], person: type[Person], oversight: dict[str, Any]
) -> None:
    """A planner of code alone asks no person for the sake of its reasoning, whatever its backend is."""
    boss = person("yes")
    outcome = world.solve(doing(), opaque(), monitors=[watcher()], approvers=[boss], task={"oversight": oversight})
    assert (outcome.answer, boss.asked) == ("paid i1", [])


def test_below_the_floor_an_effect_can_be_refused(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """With `unmet: block` nobody is asked, whatever else asks a person."""
    boss = person("yes")
    task = {"oversight": {"monitorability": {"irreversible": 0.7, "unmet": "block"}}}
    outcome = world.solve(paying, "7", monitors=[watcher(Verdict(decision="escalate"))], approvers=[boss], task=task)
    assert (outcome.actions[0].status, boss.asked) == ("refused", [])


def test_what_was_measured_of_readable_reasoning_says_nothing_of_hidden_one(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """The same figures permit nothing once the reasoning cannot be read."""
    boss = person("yes")
    task = {"oversight": {"monitorability": {"irreversible": 0.5}, "unread": {"ask": "never"}}}
    known = Monitorability((msgspec.structs.replace(sure(0.9), model="dark"),))
    world.solve(paying, opaque(), monitors=[watcher()], approvers=[boss], task=task, monitorability=known)
    assert len(boss.asked) == 1


def test_a_resumed_run_keeps_to_the_figures_of_its_first_event(
    world: World, watcher: type[Watcher], person: type[Person]
) -> None:
    """What another process knows by now permits nothing that the run was not begun with."""
    task = Task(prompt="do it", oversight={"monitorability": {"irreversible": 0.7}})  # type: ignore[arg-type]  # pydantic reads it
    waiting = world.agent(paying, "7", monitors=[watcher()]).solve_sync(task)
    assert waiting.status == "waiting"
    boss = person("yes")
    later = Monitorability((sure(0.9),))
    agent = world.agent(paying, "7", monitors=[watcher()], approvers=[boss], monitorability=later)
    assert agent.resume_sync(waiting.run).answer == "paid i1"
    assert len(boss.asked) == 1


def thinking(*shown: Literal["full", "none"]) -> list[Sample]:
    """A script that shows its reasoning, or has none."""
    return [Sample(0, "7", reasoning="one two three" if each == "full" else "") for each in shown]


def events_of(world: World, outcome: Outcome) -> list[Any]:
    """The events of a run."""
    chain = Chain()
    return [chain.follow(record).event for record in read_files(world.folder / "runs" / outcome.run)]


def test_a_run_says_how_much_of_its_reasoning_was_read(world: World, watcher: type[Watcher]) -> None:
    """By steps and by billed tokens, live as from the spine alone; a step without a sign of reasoning is neither."""

    def planner(_: Task) -> Planning[int]:
        for number in range(3):
            yield from think("solve", number, returns=int)
        return 0

    for monitors, read in (([watcher(watches=frozenset({"step"}))], (2, 6)), ([], (0, 0))):
        outcome = world.solve(planner, thinking("full", "none", "full"), monitors=monitors)
        found = outcome.reasoning
        assert (found.steps, found.tokens) == ({"full": 2, "none": 1}, {"full": 6, "none": 0})
        assert (found.read_steps, found.read_tokens) == read
        assert reading_of(events_of(world, outcome)) == found


def test_a_check_that_failed_has_read_nothing(world: World, watcher: type[Watcher]) -> None:
    """A monitor of steps that raises does not count as a reader."""
    broken = watcher(RuntimeError("lost"), watches=frozenset({"step"}), mode="observe")
    outcome = world.solve(paying, thinking("full"), monitors=[broken, watcher(name="other")])
    assert (outcome.reasoning.steps, outcome.reasoning.read_steps) == ({"full": 1}, 0)


def test_hidden_reasoning_is_told_by_its_kind(world: World) -> None:
    """Steps of an opaque backend count as not readable, whether or not their replies give a sign."""
    outcome = world.solve(paying, opaque(), task={"oversight": {"unmonitored": True, "unread": {"ask": "never"}}})
    told = outcome.reasoning
    assert told.steps == {"absent": 1}
    assert told.as_json()["readable"] == {"steps": 0.0, "tokens": None}
    assert "1 absent" in told.sentence()
    assert "nothing is known" in Readable().sentence()


def test_a_fall_in_what_can_be_read_is_a_flag(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """It stands among the verdicts, and from then on a person is asked about what cannot be undone."""
    from tests.core.test_visibility import FULL, Thinker, reply

    def planner(_: Task) -> Planning[str]:
        for number in range(2):
            yield from think("solve", number)
        return str((yield from act("pay", {"invoice": "i1"})).value)

    boss = person("yes")
    backend = Thinker(reply(shown="all of it"), reply(billed=9), profile=FULL)
    outcome = world.solve(planner, backend, monitors=[watcher()], approvers=[boss])
    assert next((each.monitor, each.decision, each.key) for each in outcome.verdicts) == ("gate", "flag", "1")
    assert (outcome.answer, len(boss.asked), outcome.reasoning.falls) == ("paid i1", 1, 1)
    assert (outcome.reasoning.tokens["absent"], outcome.reasoning.as_json()["readable"]["tokens"]) == (9, 0.0)


def test_figures_are_gathered_from_traces_and_kept(world: World, watcher: type[Watcher], tmp_path: Path) -> None:
    """Scores of probes, by whose step they read, with their interval; what failed or measures else does not count."""
    scores = iter([0.0, 0.0, 1.0, 0.5])

    def probe(_: Any) -> Verdict:
        return Verdict(decision="allow", score=next(scores), property=FAITHFUL)

    other = watcher(
        Verdict(decision="allow", score=1.0, property="else"), name="other", watches=frozenset({"step"}), mode="observe"
    )
    prober = watcher(probe, name="probe", watches=frozenset({"step"}), mode="observe")

    def planner(_: Task) -> Planning[int]:
        for number in range(5):
            yield from think("solve", number, returns=int)
        return 0

    outcome = world.solve(planner, "7", monitors=[prober, other])
    assert outcome.status == "solved"
    (figure,) = gather([world.folder / "runs" / outcome.run]).figures().figures
    assert (figure.backend, figure.model, figure.step, figure.probed) == ("scripted", "scripted", "solve", FAITHFUL)
    assert (figure.held, figure.of) == (2.5, 4)
    assert 0 < figure.low < 2.5 / 4 < figure.high < 1
    save(Monitorability((figure,)), tmp_path / "known.json")
    task = tmp_path / "task.yaml"
    task.write_text("prompt: do it\nmonitorability: known.json\n", encoding="utf-8")
    from scaffold import taskfile

    assert read_monitorability(taskfile.read(task)) == Monitorability((figure,))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("absent.json", "cannot read"),
        ("[1]", "should be a file"),
        ("task.yaml", "is not a file of monitorability figures"),
    ],
)
def test_a_file_without_figures_is_refused_by_its_line(tmp_path: Path, said: str, why: str) -> None:
    """The message says which file, where, and what would make one."""
    from scaffold import taskfile
    from scaffold.errors import TaskError

    task = tmp_path / "task.yaml"
    task.write_text(f"prompt: do it\nmonitorability: {said}\n", encoding="utf-8")
    with pytest.raises(TaskError, match=why):
        taskfile.build(task)


def test_a_planner_is_told_what_could_be_read_of_a_thought(world: World, watcher: type[Watcher]) -> None:
    """As its event says it, live as on resume: so it can take smaller steps where nothing can be read."""
    told: list[list[str]] = []

    def planner(_: Task) -> Planning[str]:
        told.append([])
        for number in range(3):
            thought = yield from think("solve", number, to="dark" if number == 2 else "default")
            told[-1].append(thought.shown)
        several_ = yield from think("solve", 3, sampling=several(2))
        told[-1].append(several_.candidates[1].shown)
        return str((yield from act("pay", {"invoice": "i1"})).value)

    def backends() -> dict[str, Any]:
        return {"default": Scripted(thinking("full", "none", "full", "full")), "dark": opaque()}

    agent = world.agent(planner, None, backends=backends(), monitors=[watcher(Verdict(decision="escalate"))])
    waiting = agent.solve_sync(Task(prompt="do it"))
    assert waiting.status == "waiting"
    world.agent(planner, None, backends=backends(), monitors=[watcher(Verdict(decision="escalate"))]).resume_sync(
        waiting.run
    )
    assert told == [["full", "", "absent", "full"]] * 2


def test_what_a_planner_says_of_sampling_stays(world: World) -> None:
    """A step that is to take the first answer takes the first answer."""
    dark = opaque("7")

    def planner(_: Task) -> Planning[int]:
        return (yield from think("solve", "how many?", returns=int, sampling=once())).value

    assert world.solve(planner, dark, task={"oversight": {"unread": {"votes": 3}}}).answer == 7
    assert len(dark.requests) == 1


def test_an_opaque_judge_is_no_opaque_thinker(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """What counts is who has thought in the work: a role that was never asked for it hides nothing of it."""
    boss = person("yes")
    task = {"oversight": {"monitorability": {"irreversible": 0.7}, "unread": {"ask": "effects"}}}
    known = Monitorability((sure(0.9),))
    clear = Scripted("7")
    backends = {"default": clear, "judge": opaque()}
    world.solve(
        paying, clear, backends=backends, monitors=[watcher()], approvers=[boss], task=task, monitorability=known
    )
    assert not boss.asked


def test_who_a_policy_asks_besides_has_thought_too(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """A stronger backend that decided a split vote counts, also where it was asked only later."""
    boss = person("yes")
    clear, strong = Scripted(["7", "8"]), opaque("7")

    def planner(_: Task) -> Planning[str]:
        yield from think("solve", "how many?", returns=int, sampling=cascade(majority(2, cap=2), to="strong"))
        return str((yield from act("pay", {"invoice": "i1"})).value)

    task = {"oversight": {"monitorability": {"irreversible": 0.7}}}
    outcome = world.solve(
        planner,
        clear,
        backends={"default": clear, "strong": strong},
        monitors=[watcher()],
        approvers=[boss],
        task=task,
        monitorability=Monitorability((sure(0.9),)),
    )
    assert (outcome.answer, len(boss.asked)) == ("paid i1", 1)


@pytest.mark.parametrize(
    ("oversight", "told", "why"),
    [
        ({"monitorability": {"irreversible": 0.1}}, "", "nothing is known about the model behind this call"),
        ({"monitorability": {"irreversible": 0.1}}, "pay it", "solve by host:host, never measured"),
        ({"unread": {"ask": "irreversible"}}, "", "the reasoning behind it cannot be read"),
        ({"unread": {"ask": "irreversible"}}, "pay it", ""),
        ({"unread": {"ask": "flagged"}}, "", ""),
    ],
)
def test_what_thinks_out_of_sight_permits_nothing(
    world: World, watcher: type[Watcher], person: type[Person], oversight: dict[str, Any], told: str, why: str
) -> None:
    """Around another agent's loop a person is asked, and is told why, where the task wants to know of its thoughts."""
    import asyncio

    from scaffold import Gate
    from scaffold.interfaces import Surroundings

    boss = person("yes")
    gate = Gate(
        actions=(world.pay,),
        monitors=[watcher(FLAG)],
        journal=world.journal,
        approvers=[boss],
        surroundings=Surroundings(clock=world.clock),
    )

    async def paying_at_its_own_mind() -> None:
        async with gate, gate.run(Task.model_validate({"prompt": "pay", "oversight": oversight})) as run:
            if told:
                await run.think(told)
            await run.act("pay", {"invoice": "i1"})

    asyncio.run(paying_at_its_own_mind())
    assert [why in each.detail["reasons"][0] for each in boss.asked] == ([True] if why else [])


def test_the_votes_of_an_opaque_model_are_drawn_by_its_own_role(world: World) -> None:
    """Where only one of two backends is opaque, only its steps vote."""
    dark, clear = opaque("7"), Scripted("7")

    def planner(_: Task) -> Planning[int]:
        yield from think("solve", 1, returns=int, to="dark")
        return (yield from think("solve", 2, returns=int)).value

    task = {"oversight": {"unread": {"votes": 3}}}
    world.solve(planner, clear, backends={"default": clear, "dark": dark}, task=task)
    assert (sum(each.n for each in dark.requests), sum(each.n for each in clear.requests)) == (2, 1)
