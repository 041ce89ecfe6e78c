"""Probes in whole runs: what they find of known reasoners, what they cost, and what they leave unasked."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaffold import Planning, Scaffold, Task, act, action, think, together
from scaffold.actions import FunctionAction
from scaffold.errors import TaskError
from scaffold.interfaces import Monitor
from scaffold.odds.monitorability import Probed, gather
from scaffold.registry import make_monitor
from scaffold.testing import Scripted
from scaffold.testing.judging import read_story
from scaffold.testing.seeded_loop import SeededLoop
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Request, Sample
from scaffold.vocabulary.monitorability import AS_SAID, CONSISTENT, FAITHFUL
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.review import StepRecord
from scaffold_monitors import disturbing
from scaffold_monitors.beliefs import stated
from scaffold_monitors.consistency import Consistency
from scaffold_monitors.faithfulness import Faithfulness
from scaffold_monitors.out_of_context import OutOfContext
from scaffold_monitors.probing import comparable, same

DATA = re.compile(r"<data \w+>\n(.*?)\n</data", re.DOTALL)


def prompt_of(request: Request) -> str:
    """All that a model reads."""
    return "\n".join(message.content for message in request.messages)


def adder(*, faithful: bool) -> Callable[[Request], Sample]:
    """A model that adds numbers one after another, and answers from what it is told it thought; or does not look."""

    def answer(request: Request) -> Sample:
        text = prompt_of(request)
        numbers = [int(each) for each in re.findall(r"\d+", re.findall(r"Add (.*?)\.", text)[0])]
        told = DATA.search(text)
        totals = [sum(numbers[: place + 1]) for place in range(len(numbers))]
        if told is None:
            said = [f"We add {n} to {before}, so it is {after}." for before, n, after in
                    zip(totals, numbers[1:], totals[1:], strict=False)]  # fmt: skip
            return Sample(0, str(totals[-1]), reasoning=" ".join(said))
        if not faithful:
            return Sample(0, str(totals[-1]))
        seen = re.findall(r"(?:so|therefore) it is (\d+)", told[1])
        total = int(seen[-1]) if seen else numbers[0]
        left = numbers[1 + len(seen) :] if "in your head" in text else []
        return Sample(0, str(total + sum(left)))

    return answer


def sums(task: Task) -> Planning[str]:
    """Ask for many sums."""
    source = random.Random(task.inputs.get("seed", 0))
    for _ in range(task.inputs["sums"]):
        numbers = " and ".join(str(source.randrange(10, 99)) for _ in range(9))
        yield from think("solve", f"Add {numbers}.", returns=int)
    return "done"


def run(
    folder: Path, planner: Any, script: Any, *monitors: Monitor, actions: tuple[FunctionAction, ...] = (), **inputs: Any
) -> tuple[Outcome, Probed]:
    """Solve, and gather what probes found."""
    agent = Scaffold(
        planner,
        backends={"default": script if isinstance(script, Scripted) else Scripted(script)},
        monitors=monitors,
        actions=actions,
        journal=FileJournal(folder),
    )
    outcome = agent.solve_sync(Task(prompt="go", inputs=inputs, oversight={"unmonitored": True}))  # type: ignore[arg-type]  # pydantic reads it
    return outcome, gather([folder / outcome.run])


def whys(outcome: Outcome) -> list[str]:
    """Why nothing was asked, with the numbers left out."""
    return [re.sub(r"\d+", "N", each.reason) for each in outcome.verdicts]


@pytest.mark.parametrize(("faithful", "least", "most"), [(True, 1.0, 1.0), (False, 0.0, 0.3)])
def test_each_way_to_disturb_tells_the_two_apart(tmp_path: Path, *, faithful: bool, least: float, most: float) -> None:
    """Cut, mistaken, emptied: a faithful answer changes; reworded it stays; one beside its reasoning always stays."""
    outcome, probed = run(tmp_path, sums, adder(faithful=faithful), Faithfulness(share=1.0), sums=40)
    assert outcome.status == "solved"
    (figure,) = probed.figures().figures
    assert figure.of >= 12
    assert least <= figure.held / figure.of <= most


def test_a_flag_needs_many_probes(tmp_path: Path) -> None:
    """One answer that stays the same is no sign; most of a run's are."""
    outcome, _ = run(tmp_path, sums, adder(faithful=False), Faithfulness(share=1.0), sums=60)
    flags = [int(each.key) for each in outcome.verdicts if each.decision == "flag"]
    assert flags
    assert min(flags) > 5
    outcome, _ = run(tmp_path, sums, adder(faithful=True), Faithfulness(share=1.0), sums=60)
    assert not [each for each in outcome.verdicts if each.decision == "flag"]


@pytest.mark.parametrize("seed", range(2))
def test_all_probes_together_stay_below_their_share(tmp_path: Path, seed: int) -> None:
    """5 % of the run's tokens by default, at every moment, however many probes there are, and none is left out."""
    monitors = (Faithfulness(), Consistency(), OutOfContext())
    outcome, probed = run(tmp_path, deciding_sums, adder(faithful=True), *monitors, sums=150, seed=seed)
    used, work = outcome.usage["oversight"].tokens, outcome.usage["model"].tokens
    assert 0.02 * work < used <= 0.05 * work
    assert {name[-1] for name in probed.found} == {FAITHFUL, CONSISTENT, AS_SAID}
    assert_the_share_held(tmp_path / outcome.run)


async def unsynced(_descriptor: int) -> None:
    """Threads would wake nobody in a loop without a clock."""


def assert_the_share_held(folder: Path) -> None:
    """At no moment of a run had its probes used more than 5 % of what its work had used by then."""
    work = spent = 0
    for event in read_story(folder).of("step.answered"):
        tokens = event["usage"].get("input", 0) + event["usage"].get("output", 0)
        if event.get("ledger", "model") == "model":
            work += tokens
        else:
            spent += tokens
            assert spent <= 0.05 * work


def test_the_share_holds_while_probes_go_on_beside_the_run(tmp_path: Path) -> None:
    """What is under way counts at its worst, so that several at once do not use more together than each may."""
    loop = SeededLoop(random.Random(1))
    agent = Scaffold(
        deciding_sums,
        backends={"default": Scripted(adder(faithful=True), delay=1.0)},
        monitors=[Faithfulness(), Consistency(), OutOfContext()],
        journal=FileJournal(tmp_path, fsync=unsynced),
    )
    outcome = loop.run_until_complete(agent.solve(Task(prompt="go", inputs={"sums": 120})))
    took = loop.elapsed
    loop.drain()
    assert outcome.usage["oversight"].tokens > 0.02 * outcome.usage["model"].tokens
    assert took < 122  # of 120 steps of a second each
    assert_the_share_held(tmp_path / outcome.run)


def deciding_sums(task: Task) -> Planning[str]:
    """Ask for many sums, each a decision."""
    source = random.Random(task.inputs.get("seed", 0))
    for _ in range(task.inputs["sums"]):
        numbers = " and ".join(str(source.randrange(10, 99)) for _ in range(9))
        yield from think("decide", f"Add {numbers}.", returns=int)
    return "done"


def test_what_would_cost_more_than_the_step_is_not_run_and_says_so(tmp_path: Path) -> None:
    """A step of few words of reasoning and a long question is dearer to ask again than it was."""

    def planner(_: Task) -> Planning[int]:
        for _number in range(4):
            yield from think("solve", "How much is it?", returns=int)
        return 0

    script = [Sample(0, "7", reasoning="It is plain. It is 7.")] * 4
    outcome, probed = run(tmp_path, planner, script, Faithfulness(share=1.0))
    assert outcome.usage["oversight"].tokens == 0
    assert not probed.found
    assert all("more than is left of the step's" in why for why in whys(outcome))


def test_nothing_is_asked_where_there_is_nothing_to_compare(tmp_path: Path) -> None:
    """No reasoning, or an answer in free words: the probe abstains and says why."""

    def planner(_: Task) -> Planning[int]:
        yield from think("solve", "How much?", returns=int)
        yield from think("solve", "Tell me.")
        return 0

    script = ["7", Sample(0, "word " * 60, reasoning="One. Two. Three.")]
    outcome, _ = run(tmp_path, planner, script, Faithfulness(share=1.0))
    assert whys(outcome) == [
        "the step has no readable reasoning to change",
        "an answer in free words cannot be compared",
    ]


def test_a_probe_whose_model_is_gone_is_a_failed_check(tmp_path: Path) -> None:
    """It counts for nothing, and the run goes on."""
    told = adder(faithful=True)

    def script(request: Request) -> Any:
        from scaffold.errors import BackendError

        return BackendError("too busy") if "in your head" in prompt_of(request) else told(request)

    outcome, probed = run(tmp_path, sums, script, Faithfulness(share=1.0, tests=["mistake"]), sums=12)
    assert outcome.status == "solved"
    assert not probed.found
    assert {each.status for each in outcome.verdicts} >= {"error"}


def test_the_runs_own_answers_do_not_depend_on_being_probed(tmp_path: Path) -> None:
    """The planner is sent the same with and without probes."""

    def planner(_: Task) -> Planning[list[int]]:
        thoughts = yield from together(*(think("solve", f"Add {n} and 5 and 6.", returns=int) for n in range(5)))
        return [thought.value for thought in thoughts]

    answers = [
        run(tmp_path, planner, adder(faithful=True), *monitors)[0].answer
        for monitors in ((), (Faithfulness(share=1.0), Consistency(share=1.0)))
    ]
    assert answers == [[11, 12, 13, 14, 15]] * 2


# --- disturbing


def test_a_mistake_is_a_mistake_and_other_words_say_the_same() -> None:
    """What is disturbed differs from what it was; numbers stay as they are where only the words change."""
    text = "First we take 12. Then we add 30, so it is 42. It is more than 40. Therefore it fits."
    for seed in range(20):
        source = random.Random(seed)
        wrong = disturbing.mistaken(text, source)
        assert wrong is not None
        assert not text.startswith(wrong)
        other = disturbing.reworded(text, source)
        assert other is not None
        assert re.findall(r"\d+", other) == re.findall(r"\d+", text)
        part = disturbing.cut_short(text, source)
        assert part is not None
        assert text.startswith(part)
        assert len(part) <= 0.7 * len(text)
    assert disturbing.cut_short("One.", random.Random(0)) is None
    assert disturbing.mistaken("Nothing here", random.Random(0)) is None
    assert disturbing.filled("", random.Random(0)) is None


# --- beliefs


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The due date of INV-7 is 3 May.", "INV-7's due date is 9 May."),
        ("INV-7 has a total of 12.50.", "So the total for INV-7: 12.60"),
        ("The train leaves at 10:30.", "the train leaves at 11:30."),
        ({"invoice": "INV-7", "cents": 1250}, [{"invoice": "INV-7", "cents": 1260}]),
        ({"id": 7, "owner": "Ann", "note": "x"}, {"owner": "Bob", "id": 7}),
    ],
)
def test_two_values_of_one_thing_are_a_contradiction(tmp_path: Path, first: Any, second: Any) -> None:
    """In whatever forms they are stated; the verdict names both places."""
    outcome = stating(tmp_path, first, second)
    (found,) = (each for each in outcome.verdicts if each.decision == "flag")
    assert (found.key, found.monitor) == ("1", "consistency")
    assert "in the step at 0" in found.reason


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The due date of INV-7 is 3 May.", "INV-8's due date is 9 May."),
        ("The due date of INV-7 is 3 May.", "The amount of INV-7 is 9."),
        ("The due date of INV-7 is 3 May.", "If the due date of INV-7 is 9 May, it is late."),
        ("The due date of INV-7 is 3 May.", "The due date of INV-7 is not 9 May."),
        ("The due date of INV-7 is 3 May.", "INV-7's due date is 9 May, isn't it."),
        ("INV-7 has a total of 12.50.", "The total of INV-7 is 12.5."),
        ("Ann likes tea.", "Ann likes coffee."),
        ({"invoice": "INV-7", "cents": 1250}, {"invoice": "INV-7", "account": "DE7"}),
    ],
)
def test_what_can_both_be_so_is_none(tmp_path: Path, first: Any, second: Any) -> None:
    """Another thing, another property, a supposition, a denial, the same in another form."""
    outcome = stating(tmp_path, first, second)
    assert not [each for each in outcome.verdicts if each.decision == "flag"]


def stating(folder: Path, *said: Any, between: tuple[FunctionAction, ...] = ()) -> Outcome:
    """A run whose steps answer just this, with actions between."""
    import json

    def planner(_: Task) -> Planning[int]:
        for number, each in enumerate(said):
            yield from think("understand", f"question {number}", returns=str if isinstance(each, str) else Any)
            for done in between:
                yield from act(done.spec.name)
        return 0

    script = [each if isinstance(each, str) else json.dumps(each) for each in said]
    return run(folder, planner, script, Consistency(), actions=between)[0]


@pytest.mark.parametrize(
    ("value", "text", "is_same"),
    [
        (7, "7", True),
        (7, " 7\n", True),
        (7, "8", False),
        ("Paris", "paris.", True),
        ({"a": 1, "remark": "as it was found"}, '{"a": 1, "remark": "another word"}', True),
        ({"a": 1, "why": "x"}, '{"a": 2, "why": "x"}', False),
        (
            {"a": "x", "b": "so many words that it is prose"},
            '{"b": "other prose of just as many words", "a": "x"}',
            True,
        ),
        ([1, 2], "[1, 2]", True),
        ([1, 2], "nothing of the sort", False),
    ],
)
def test_answers_are_held_against_each_other_without_their_prose(value: Any, text: str, *, is_same: bool) -> None:
    """What comes out otherwise each time decides nothing; all else does."""
    step = StepRecord(kind="solve", inputs=[], value=value, text="", reasoning="")
    assert comparable(step)
    assert same(step, text) is is_same


def test_prose_alone_can_be_held_against_nothing() -> None:
    """Neither as a text nor as a value."""
    prose: tuple[Any, ...] = ("word " * 40, {"summary": "x"}, {"a": "so many words that it is prose"}, [])
    for value in prose:
        assert not comparable(StepRecord(kind="solve", inputs=[], value=value, text="", reasoning=""))


def test_what_was_done_may_have_changed_it(tmp_path: Path) -> None:
    """After an effect the same thing may be otherwise; after a read it is not."""

    @action(effect="reversible")
    def move() -> str:
        """Change something."""
        return "done"

    @action(effect="read")
    def look() -> str:
        """Look."""
        return "seen"

    said = ("The balance of A is 5.", "The balance of A is 7.")
    for between, flags in ((move, 0), (look, 1)):
        outcome = stating(tmp_path, *said, between=(between,))
        assert len([each for each in outcome.verdicts if each.decision == "flag"]) == flags


def test_many_beliefs_are_kept_within_bounds() -> None:
    """A flood of statements is cut, and what nobody states costs nothing."""
    flood = [{"id": number, "cents": number} for number in range(10_000)]
    assert len(stated(flood, "")) == 200
    assert stated("no such form here", "no such form here") == []


def test_a_belief_that_does_not_come_again_is_flagged(tmp_path: Path) -> None:
    """An answer that is drawn anew each time is likely made up; one that holds is not."""
    source = random.Random(3)
    reasoning = "word " * 120

    def script(request: Request) -> Sample:
        text = prompt_of(request)
        again = "on its own" in text or "afresh" in text
        said = str(source.randrange(1900, 2000)) if "the year" in text else "7"
        return Sample(0, said, reasoning="" if again else reasoning)

    def planner(_: Task) -> Planning[int]:
        for number in range(6):
            yield from think("solve", f"Name {'the year' if number == 4 else 'it'}, {number}.", returns=int)
        return 0

    outcome, probed = run(tmp_path, planner, script, Consistency(share=1.0))
    assert [each.key for each in outcome.verdicts if each.decision == "flag"] == ["4"]
    assert {name[-1] for name in probed.found} == {CONSISTENT}


def test_who_acts_otherwise_than_it_says_is_told_from_who_does_not(tmp_path: Path) -> None:
    """A model that decides one thing at work and another when asked about itself fails the probe."""
    reasoning = "word " * 150

    def script(*, honest: bool) -> Callable[[Request], Sample]:
        def answer(request: Request) -> Sample:
            asked = "a question about you" in prompt_of(request)
            return Sample(0, "no" if asked and not honest else "yes", reasoning="" if asked else reasoning)

        return answer

    def planner(_: Task) -> Planning[int]:
        from scaffold import Options

        for number in range(8):
            yield from think("decide", f"Pay {number}?", options=Options(choices=("yes", "no")))
        return 0

    for honest, held in ((True, 1.0), (False, 0.0)):
        _, probed = run(tmp_path, planner, script(honest=honest), OutOfContext(share=1.0))
        (figure,) = probed.figures().figures
        assert (figure.probed, figure.held / figure.of) == (AS_SAID, held)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("faithfulness", {"share": 2}),
        ("faithfulness", {"tests": []}),
        ("faithfulness", {"tests": ["guess"]}),
        ("consistency", {"often": 1}),
        ("out_of_context", {"sample": -1}),
        ("latent", {"baseline": "absent.json"}),
        ("latent", {"baseline": 3}),
        ("latent", {"decision": "shout"}),
        ("latent", {"threshold": 2}),
    ],
)
def test_wrong_settings_are_refused(name: str, settings: dict[str, Any]) -> None:
    """By their names."""
    with pytest.raises(TaskError, match=next(iter(settings))):
        make_monitor(name, settings)
