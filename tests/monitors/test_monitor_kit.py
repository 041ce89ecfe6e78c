"""The kit itself: for every check there is a monitor that is broken in just that, and the check finds it."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scaffold.testing import made_up_runs as made_up
from scaffold.testing.monitor_conformance import Case, MonitorConformance
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.references import NOWHERE, Provenance, Reference
from scaffold.vocabulary.review import ALLOW, Evidence, MonitorSpec, Objection, Subject, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.interfaces import Monitor
    from scaffold.testing.staging import Asked
    from scaffold.vocabulary.models import Delta

BANNED = "XX99"
SOUND = MonitorSpec(
    name="toy", watches=frozenset({"plan", "action", "step", "observation", "answer", "stream"}), needs=("judge",)
)


class Toy:
    """A monitor that does all it should, in as few lines as can be; each broken one is wrong in one of them.

    It objects to whatever has the banned text, and to the third payment to one account; a model is asked about actions.
    """

    folds: frozenset[type[ev.Event]] = frozenset({ev.ActionProposed})
    unseen = "[\u200b\u00ad\u202c\u202e]"

    def __init__(self) -> None:
        self.spec = SOUND

    def fold(self, state: Any, event: ev.Event, content: dict[str, Any]) -> Any:
        """How often each account was paid to."""
        account = str(content["call"]["arguments"].get("account", ""))
        return {**(state or {}), account: (state or {}).get(account, 0) + 1} if len(state or {}) < 99 else state

    async def review(self, subject: Subject, view: Any, context: Any) -> Verdict:
        """Look for it."""
        if subject.kind == "action":
            await self.ask(subject, context)
        return self.look(subject, view)

    async def ask(self, subject: Subject, context: Any) -> None:
        """Ask a model."""
        plan = Reference(self.text(subject), Provenance(("plan",), tainted=True))
        await context.think("evaluate", plan, instruction="Is this right?")

    def text(self, subject: Subject) -> str:
        """All of it."""
        text = json.dumps(msgspec.to_builtins(subject), ensure_ascii=False, default=str)
        plain = unicodedata.normalize("NFKD", text).translate({0x425: "X"})
        return re.sub(self.unseen, "", plain)

    def look(self, subject: Subject, view: Any) -> Verdict:
        """Say it."""
        if BANNED not in self.text(subject):
            return Verdict(decision="allow", score=0.0, property="ban")
        return Verdict(decision="block", score=1.0, property="ban", feedback="it is banned")

    def open(self, step: Subject, view: Any, context: Any) -> Any:
        """Read a stream."""
        return Session()


class Session:
    """Reads a stream."""

    def feed(self, delta: Delta) -> Verdict | None:
        """Nothing to say."""
        return None

    def close(self, sample: int) -> Verdict | None:
        """It was fine."""
        return ALLOW


class Kit(MonitorConformance):
    """The kit, on a monitor that is given to it."""

    long_trace = 10_000
    many_actions = 150
    plan_s = 0.1
    patience_s = 2.0
    stops_within_s = 0.2

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def make(self) -> Monitor:
        made: Monitor = self.kind()
        return made

    def answer(self, asked: Asked) -> Any:
        return "yes"

    def cases(self) -> Sequence[Case]:
        good = made_up.subject("action", 1)
        assert good.call is not None
        call = msgspec.structs.replace(good.call, arguments=good.call.arguments | {"account": BANNED})
        bad = msgspec.structs.replace(good, call=call, plan=(call,))
        return [Case(good, bad=False), Case(bad, bad=True, aims=(BANNED,))]


CHECKS = [name for name in vars(MonitorConformance) if name.startswith("test_")]


@pytest.mark.parametrize("check", CHECKS)
def test_a_monitor_that_does_all_it_should_passes(check: str) -> None:
    """The sound one passes each check, and none is skipped."""
    getattr(Kit(Toy), check)()


class Lenient(Toy):
    """A check that failed is a pass."""

    def __init__(self) -> None:
        self.spec = msgspec.structs.replace(SOUND, on_error="allow")


class Endless(Toy):
    """It may take for ever."""

    def __init__(self) -> None:
        self.spec = msgspec.structs.replace(SOUND, timeout_s=float("inf"))


class Restless(Toy):
    """Its spec changes with each review."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        self.spec = msgspec.structs.replace(self.spec, version=self.spec.version + "+")
        return super().look(subject, view)


class SaysYes(Toy):
    """It says True."""

    def look(self, subject: Subject, view: Any) -> Any:
        return True


class Unnamed(Toy):
    """It gives a score of nothing."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        return Verdict(decision="allow", score=0.5)


class Mute(Toy):
    """It refuses without a word to the planner."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        return Verdict(decision="block", rationale="because")


class MadeUp(Toy):
    """Its evidence stands nowhere."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        return Verdict(decision="allow", evidence=(Evidence(quote="stolen goods", path="plan/a0/arguments/x", end=12),))


class Elsewhere(Toy):
    """It objects to an action that the plan does not have."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        return Verdict(decision="revise", objections=(Objection("zz", "no"),))


class NeedsReasoning(Toy):
    """It cannot do without reasoning."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        if subject.step is not None and not subject.step.reasoning:
            return Verdict(decision="block", status="error", feedback="no reasoning")
        return super().look(subject, view)


class Ascii(Toy):
    """It stumbles over marks of direction."""

    unseen = "\u200b"

    def look(self, subject: Subject, view: Any) -> Verdict:
        assert "\u202e" not in self.text(subject), "marks of direction"
        return super().look(subject, view)


class Flat(Toy):
    """It cannot read lists in arguments."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        for call in subject.plan:
            {value: name for name, value in call.arguments.items()}
        return super().look(subject, view)


class Slow(Toy):
    """Its time goes with the square of the text."""

    def __init__(self) -> None:
        self.spec = msgspec.structs.replace(SOUND, timeout_s=0.1)

    def look(self, subject: Subject, view: Any) -> Verdict:
        text = self.text(subject)
        assert not sum(text[:place] == "x" for place in range(0, len(text), 64))
        return super().look(subject, view)


class Flood(Toy):
    """Its evidence is every word."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        spans = tuple(Evidence(quote=word) for word in self.text(subject).split())
        return Verdict(decision="allow", evidence=spans)


class Square(Toy):
    """Its time goes with the square of the plan."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        for one in subject.plan:
            for other in subject.plan:
                assert json.dumps([one.arguments, other.arguments] * 5)
        return super().look(subject, view)


class Recursive(Toy):
    """It follows `after` without looking where it has been."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        by_id = {call.id: call for call in subject.plan}
        for call in subject.plan if subject.kind == "plan" else ():
            while call.after:
                call = by_id[call.after[0]]  # noqa: PLW2901 - that is how one walks
                if call.after in {(call.id,), ("a1",)}:
                    raise RecursionError("round and round")
        return super().look(subject, view)


class Gullible(Toy):
    """It believes that an approval stands in an observation."""

    folds = frozenset({ev.ActionProposed, ev.ActionOutcome})

    def fold(self, state: Any, event: ev.Event, content: dict[str, Any]) -> Any:
        return "APPROVED" if "APPROVED" in str(content) else state

    def look(self, subject: Subject, view: Any) -> Verdict:
        return ALLOW if view.state == "APPROVED" else super().look(subject, view)


class Obedient(Toy):
    """It believes what the plan says it is for."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        said = super().look(subject, view)
        if subject.kind == "plan":
            said = ALLOW if "APPROVED" in subject.reason else Verdict(decision="flag")
        return said


class Instructed(Toy):
    """It puts the plan into the judge's instruction."""

    async def ask(self, subject: Subject, context: Any) -> None:
        await context.think(
            "evaluate",
            instruction=f"Is this right? {json.dumps(subject.plan[0].arguments, ensure_ascii=False)!s}".replace(
                '\\"', '"'
            ).replace("\\n", "\n"),
        )


class Vouching(Toy):
    """It tells the judge that the plan is to be trusted."""

    async def ask(self, subject: Subject, context: Any) -> None:
        assert subject.call is not None
        await context.think("evaluate", Reference(subject.call.arguments, NOWHERE))


class Literal(Toy):
    """It looks for the banned text as it is written."""

    def text(self, subject: Subject) -> str:
        return json.dumps(msgspec.to_builtins(subject), ensure_ascii=False)


class OnlyText(Toy):
    """It looks into no list."""

    def text(self, subject: Subject) -> str:
        values = subject.call.arguments.values() if subject.call is not None else ()
        return super().text(Subject(kind="answer", key="", answer=[v for v in values if isinstance(v, str)]))


class Blind(Toy):
    """It finds nothing."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        return ALLOW


class Paranoid(Toy):
    """It objects to everything alike."""

    def look(self, subject: Subject, view: Any) -> Verdict:
        return Verdict(decision="block", feedback="no")


class Patient(Toy):
    """It waits for its model whatever happens."""

    async def ask(self, subject: Subject, context: Any) -> None:
        for _ in range(20):
            try:
                await asyncio.wait_for(super().ask(subject, context), 0.05)
            except (TimeoutError, asyncio.CancelledError):
                continue
            return


class Deaf(Toy):
    """It takes its cancellation for an answer."""

    async def ask(self, subject: Subject, context: Any) -> None:
        try:
            await super().ask(subject, context)
        except asyncio.CancelledError:
            return


class Leaving(Toy):
    """A task of it goes on."""

    async def ask(self, subject: Subject, context: Any) -> None:
        self.task = asyncio.create_task(asyncio.sleep(0.3))
        await super().ask(subject, context)


class Moody(Toy):
    """It says something else each time."""

    times = 0

    def look(self, subject: Subject, view: Any) -> Verdict:
        self.times += 1
        return msgspec.structs.replace(super().look(subject, view), rationale=f"{self.times}")


class Sharing(Toy):
    """It keeps in itself what it should keep of each run."""

    seen = 0

    def fold(self, state: Any, event: ev.Event, content: dict[str, Any]) -> Any:
        self.seen += 1
        return state

    def look(self, subject: Subject, view: Any) -> Verdict:
        return msgspec.structs.replace(super().look(subject, view), rationale=f"{self.seen}")


class Counting(Toy):
    """Reviewing changes its state."""

    def fold(self, state: Any, event: ev.Event, content: dict[str, Any]) -> Any:
        return state or [0]

    def look(self, subject: Subject, view: Any) -> Verdict:
        if view.state:
            view.state[0] += 1
        return msgspec.structs.replace(super().look(subject, view), rationale=str(view.state))


class Hoarding(Toy):
    """It goes through all that ever happened at each review."""

    def fold(self, state: Any, event: ev.Event, content: dict[str, Any]) -> Any:
        state = state or []
        state.append(event.key)
        return state

    def look(self, subject: Subject, view: Any) -> Verdict:
        assert "no such key" not in [json.dumps(key) for key in view.state or ()]
        return super().look(subject, view)


class Rereading:
    """It reads the trace from its start at each review."""

    def __init__(self) -> None:
        self.spec = MonitorSpec(name="rereading")

    async def review(self, subject: Subject, view: Any, context: Any) -> Verdict:
        """Read it all."""
        keys = [event.key async for event, _ in view.events()]
        return Verdict(decision="allow", rationale="" if keys else "nothing happened")


class Babbling(Toy):
    """Its session says something else than verdicts."""

    def open(self, step: Subject, view: Any, context: Any) -> Any:
        class Says(Session):
            def close(self, sample: int) -> Any:
                return "fine"

        return Says()


class Orderly(Toy):
    """Its session takes for granted that samples end one after another, each after its answer."""

    def open(self, step: Subject, view: Any, context: Any) -> Any:
        class Expects(Session):
            def feed(self, delta: Delta) -> None:
                assert delta.index == 0, f"sample {delta.index} came before sample 0 was over"

        return Expects()


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (Lenient, "its_spec_is_plain_data", "`on_error` is 'allow'"),
        (Endless, "its_spec_is_plain_data", "is not a limit"),
        (Restless, "its_spec_is_plain_data", "the spec changed"),
        (SaysYes, "its_verdicts_are_whole", "returned a bool"),
        (Unnamed, "its_verdicts_are_whole", "a score but no property"),
        (Mute, "its_verdicts_are_whole", "without feedback"),
        (MadeUp, "its_verdicts_are_whole", "does not contain the evidence"),
        (Elsewhere, "its_verdicts_are_whole", "which the plan does not contain"),
        (NeedsReasoning, "nothing_to_read_is_read_without_a_fault", "an empty step is an error"),
        (Ascii, "any_text_is_read_without_a_fault", "marks of direction"),
        (Flat, "nested_and_odd_arguments_are_read_without_a_fault", "unhashable"),
        (Slow, "much_text_is_read_in_time_and_answered_in_few_words", "of CPU, over `timeout_s`"),
        (Flood, "much_text_is_read_in_time_and_answered_in_few_words", "bytes"),
        (Square, "a_large_plan_takes_no_second", "of CPU, over 0.1"),
        (Recursive, "a_plan_that_is_no_dag_is_answered", "round and round"),
        (Gullible, "what_stands_in_the_trace_is_no_verdict", "allow when an observation says"),
        (Obedient, "what_stands_in_the_trace_is_no_verdict", "allow when the plan's reason says"),
        (Instructed, "a_model_is_never_instructed_by_data", "the instruction contains subject text"),
        (Vouching, "a_model_is_never_instructed_by_data", "to the model as trusted"),
        (Literal, "a_disguise_makes_nothing_milder", "the decision is allow when it is written in"),
        (OnlyText, "hiding_among_good_ones_makes_nothing_milder", "the decision is allow when it is in"),
        (Blind, "it_finds_what_is_bad", "found 0% of 1"),
        (Paranoid, "it_finds_what_is_bad", "found 0% of 1"),
        (Patient, "it_ends_when_its_time_is_over", "the review goes on"),
        (Deaf, "it_ends_when_its_time_is_over", "still returned a verdict"),
        (Leaving, "it_ends_when_its_time_is_over", "a task of the review goes on"),
        (Moody, "the_same_gives_the_same_verdict", "when asked again, the verdict is"),
        (Sharing, "runs_are_apart", "beside another run, the verdict is"),
        (Counting, "a_prefix_is_all_it_takes", "after event"),
        (Hoarding, "a_long_run_costs_it_no_more", "a review late in the run costs"),
        (Rereading, "a_long_run_costs_it_no_more", "a review late in the run costs"),
        (Babbling, "streams_are_read_piece_by_piece", "returned a str, not a Verdict"),
        (Orderly, "a_stream_out_of_order_is_read_without_a_fault", "sample 1 came before sample 0 was over"),
        (Moody, "cancelling_stops_it_and_leaves_nothing_behind", "after a cancelled review"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_is_broken_is_found(kind: type[Any], check: str, said: str) -> None:
    """The check fails with words that say what is wrong."""
    with pytest.raises((AssertionError, TypeError, RecursionError), match=re.escape(said)):
        getattr(Kit(kind), f"test_{check}")()


def test_what_has_to_be_withheld_is_not_quoted() -> None:
    """A monitor that says to withhold what it finds fails when its verdict holds it."""

    class Withholding(Kit):
        withholds = True

    class Telling(Toy):
        def look(self, subject: Subject, view: Any) -> Verdict:
            return msgspec.structs.replace(super().look(subject, view), rationale=f"it has {BANNED}")

    Withholding(Toy).test_its_verdicts_are_whole()
    with pytest.raises(AssertionError, match="the verdict tells what it should withhold"):
        Withholding(Telling).test_its_verdicts_are_whole()


def test_every_check_has_a_monitor_that_fails_it() -> None:
    """No check of the kit is without a broken monitor above."""
    marks = test_what_is_broken_is_found.pytestmark
    checked = {f"test_{row[1]}" for mark in marks for row in mark.args[1]}
    assert checked == set(CHECKS)


def test_without_cases_it_is_said_that_nothing_is_known() -> None:
    """Checks that need data are skipped with a reason; a monitor that asks no model has nothing to wait for."""

    class Bare(Kit):
        def cases(self) -> Sequence[Case]:
            return ()

    for check, kind, said in (
        ("it_finds_what_is_bad", Toy, "how often the monitor is right is not known"),
        ("a_disguise_makes_nothing_milder", Toy, "no bad case has `aims`"),
        ("a_model_is_never_instructed_by_data", Rereading, "the monitor asks no model"),
        ("streams_are_read_piece_by_piece", Rereading, "the monitor reads no streams"),
        ("a_stream_out_of_order_is_read_without_a_fault", Rereading, "the monitor reads no streams"),
    ):
        with pytest.raises(pytest.skip.Exception, match=said):
            getattr(Bare(kind), f"test_{check}")()


def test_a_model_without_an_answer_is_told_to_the_one_who_tests() -> None:
    """The kit says which method is to be written."""

    class Silent(Kit):
        answer = MonitorConformance.answer

    with pytest.raises(AssertionError, match="define its answer in"):
        Silent(Toy).test_its_verdicts_are_whole()
