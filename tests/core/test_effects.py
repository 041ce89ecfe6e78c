"""Effects: what came of an action is known, or known to be unknown; what has begun is never cut off."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from scaffold import Call, NotPerformed, Observation, Planning, Scaffold, Task, Verdict, act, action, together
from scaffold.errors import ActionError, ActionFailed, MoveError, OutcomeUnknown
from scaffold.interfaces import Claim
from scaffold.trace.files import SPINE, FileJournal
from scaffold.vocabulary.task import Oversight

if TYPE_CHECKING:
    from pathlib import Path

    from tests.core.conftest import Watcher, World


def doing(name: str, arguments: Any = None) -> Any:
    """A planner that does one thing, and answers what became of it."""

    def planner(_: Task) -> Planning[Any]:
        try:
            observation: Observation[Any] = yield from act(name, arguments or {})
        except ActionError as error:
            return [type(error).__name__, error.message, error.tainted]
        return [observation.value, observation.provenance.sources, observation.provenance.tainted]

    return planner


def test_what_an_action_gives_back_is_tainted_unless_it_is_trusted(world: World) -> None:
    """An observation comes from its action, outside our trust unless the action says otherwise."""

    @action(effect="read", trusted=True)
    async def clock() -> dict[str, int]:
        return {"hour": 7}

    assert world.solve(doing("look", {"at": "x"})).answer == ["seen x", ["action:0"], True]
    assert world.solve(doing("clock"), actions=[clock]).answer == [{"hour": 7}, ["action:0"], False]


def one_more(cents: int) -> int:
    """A validator that changes what it reads, and takes less than it makes."""
    if cents > 9:
        raise ValueError("too much")
    return cents + 1


class Payee(BaseModel):
    """A type that reads a name that it does not write, and has something else where that name is not given."""

    account: str = Field("ours", validation_alias="iban")


@pytest.mark.parametrize(
    ("takes", "given", "why"),
    [
        (Annotated[int, AfterValidator(one_more)], 9, "not valid arguments themselves: it: Value error, too much"),
        (Annotated[int, AfterValidator(one_more)], 3, "converted again to other values: it"),
        (Annotated[int, AfterValidator(lambda euros: euros * 100)], 3, "converted again to other values: it"),
        (Payee, {"iban": "theirs"}, "converted again to other values: it"),
    ],
)
def test_what_a_type_would_read_as_something_else_again_is_refused(
    world: World, watcher: type[Watcher], takes: Any, given: Any, why: str
) -> None:
    """What is reviewed is what the function is given: a type that makes more of what it made already fits no action."""

    async def give(it: Any) -> None:
        world.done.append((it,))

    give.__annotations__["it"] = takes
    outcome = world.solve(doing("give", {"it": given}), monitors=[watcher()], actions=[action(give)])
    assert outcome.answer[0] == "ActionRefused"
    assert why in outcome.answer[1]
    assert not world.done


def test_what_changes_only_once_it_is_performed_is_known_not_to_have_run(world: World, watcher: type[Watcher]) -> None:
    """A validator that reads the world may make something else of what was reviewed: the function is not called."""
    rates = [1]

    async def give(cents: Any) -> None:
        world.done.append((cents,))

    def says(_: Any) -> Verdict:
        rates.append(7)
        return Verdict(decision="allow")

    give.__annotations__["cents"] = Annotated[int, AfterValidator(lambda cents: cents * rates[-1])]
    outcome = world.solve(doing("give", {"cents": 9}), monitors=[watcher(says)], actions=[action(give)])
    assert outcome.answer[0] == "ActionFailed"
    assert outcome.answer[1].startswith("what would be done is not what was reviewed")
    assert not world.done


class Transfer(BaseModel):
    """A type whose fields have other names where they are written."""

    account: str = Field("ours", alias="iban")
    tags: set[str] = set()


@pytest.mark.parametrize("told", [Transfer(iban="theirs", tags={"b", "a"}), {"iban": "theirs", "tags": ["b", "a"]}])
def test_names_that_a_schema_gives_are_those_that_are_reviewed_and_performed(
    world: World, watcher: type[Watcher], told: Any
) -> None:
    """A field with an alias reaches the function as it was reviewed, and a set is in one order in every process."""

    @action(effect="irreversible", identity=("from",))
    async def send(to: Transfer, sender: Annotated[str, Field(alias="from")]) -> None:
        world.done.append((to.account, to.tags, sender))

    reads = watcher()
    outcome = world.solve(doing("send", {"to": told, "from": "me"}), monitors=[reads], actions=[send])
    assert outcome.actions[0].status == "performed"
    arguments = {"from": "me", "to": {"iban": "theirs", "tags": ["a", "b"]}}
    assert outcome.actions[0].arguments == reads.seen[0].plan[0].arguments == arguments
    assert world.done == [("theirs", {"a", "b"}, "me")]


def test_bytes_are_no_argument(world: World, watcher: type[Watcher]) -> None:
    """JSON has no one form for bytes: they would be reviewed as other text than an action reads."""

    @action(effect="irreversible")
    async def write(content: bytes) -> None:
        world.done.append((content,))

    outcome = world.solve(doing("write", {"content": b"abc"}), monitors=[watcher()], actions=[write])
    assert "bytes cannot be written as JSON" in outcome.reason
    world.solve(doing("write", {"content": "abc"}), monitors=[watcher()], actions=[write])
    assert world.done == [(b"abc",)]


def test_a_secret_that_would_be_written_as_stars_is_no_argument() -> None:
    """It would reach the function as stars; the cure is named."""
    with pytest.raises(TypeError, match=r"unlock: a SecretStr would be .* Credential"):

        @action
        def unlock(code: SecretStr | None = None) -> None: ...


@pytest.mark.parametrize("effect", ["read", "reversible", "irreversible"])
@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("not performed", "failed"),
        ("raises", "unknown"),
        ("hangs", "unknown"),
        ("is cancelled", "unknown"),
        ("leaves", "unknown"),
    ],
)
def test_an_outcome_is_failed_only_when_that_is_known(
    world: World, watcher: type[Watcher], effect: Any, how: str, status: str
) -> None:
    """NotPerformed is a failure; an exception, a timeout or a cancellation leaves it unknown, unless it is a read."""

    @action(effect=effect, timeout_s=0.05)
    async def try_it() -> None:
        match how:
            case "not performed":
                raise NotPerformed("busy")
            case "raises":
                raise ConnectionError("gone")
            case "hangs":
                await asyncio.sleep(30)
            case "leaves":
                raise SystemExit(0)
            case _:
                raise asyncio.CancelledError

    outcome = world.solve(doing("try_it"), monitors=[watcher()], actions=[try_it])
    expected = "failed" if effect == "read" else status
    assert outcome.actions[0].status == expected
    assert outcome.answer[0] == ("ActionFailed" if expected == "failed" else "OutcomeUnknown")
    (recorded,) = world.facts(outcome, "action.outcome")
    assert recorded["status"] == expected


def test_the_words_of_a_failure_are_tainted(world: World, watcher: type[Watcher]) -> None:
    """An error message from outside taints the planner that is told it."""
    name, _, tainted = world.solve(doing("post", {"text": "!break"}), monitors=[watcher()]).answer
    assert (name, tainted) == ("OutcomeUnknown", True)
    assert not MoveError("ours").tainted


@pytest.mark.parametrize("text", ["a\udce9b", "a\ud800"])
def test_words_that_cannot_be_encoded_do_not_lose_an_outcome(world: World, watcher: type[Watcher], text: str) -> None:
    """A message with half a character in it is recorded without it."""

    @action(effect="irreversible")
    async def write() -> None:
        raise OSError(text)

    outcome = world.solve(doing("write"), monitors=[watcher()], actions=[write])
    assert outcome.answer[0] == "OutcomeUnknown"
    assert outcome.actions[0].status == "unknown"


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["itself"] = circle
    return circle


@pytest.mark.parametrize(
    "value", [object(), "\ud800", _circle(), {1, (2, 3)}, 1j], ids=lambda each: type(each).__name__
)
def test_an_effect_whose_result_cannot_be_recorded_has_still_happened(
    world: World, watcher: type[Watcher], value: Any
) -> None:
    """What JSON cannot hold is dropped with a word about it; that it was performed is not."""
    happened: list[int] = []

    @action(effect="irreversible")
    async def odd() -> Any:
        happened.append(1)
        return value

    outcome = world.solve(doing("odd"), monitors=[watcher()], actions=[odd])
    assert outcome.status == "solved", outcome.reason
    assert outcome.actions[0].status == "performed"
    assert happened == [1]


def test_a_result_with_a_number_that_is_none_says_what_became_of_it(world: World) -> None:
    """What an action gave back is kept, with null in its place and a word of it: it has happened."""

    @action(effect="read")
    async def measure() -> dict[str, float | None]:
        return {"mean": float("nan"), "least": None, "most": 2.0}

    def planner(_: Task) -> Planning[Any]:
        seen: Observation[Any] = yield from act("measure")
        return [seen.value, seen.reason]

    said = "it returned nan, which is recorded as null, because JSON cannot hold it"
    assert world.solve(planner, actions=[measure]).answer == [{"mean": None, "least": None, "most": 2.0}, said]


@pytest.mark.parametrize(
    ("given", "kept", "said"),
    [
        (
            {7: {2.5: "x"}},
            {"7": {"2.5": "x"}},
            "keys in what it returned are recorded as text, because JSON has no others",
        ),
        ({date(2026, 1, 2): 1}, {"2026-01-02": 1}, "keys in what it returned are recorded as text"),
        ({1: "a", "1": "b"}, None, "its result cannot be recorded: two keys of a dict have the same text"),
        ({(1, 2): "a"}, None, "its result cannot be recorded: the keys of a dict should be text"),
    ],
)
def test_a_result_whose_keys_are_not_text_is_kept_as_json_writes_it(
    world: World, given: dict[Any, Any], kept: Any, said: str
) -> None:
    """Rows by number or by date are not lost; where two would become one, nothing is kept, and the planner is told."""

    @action(effect="read")
    async def rows() -> Any:
        return given

    def planner(_: Task) -> Planning[Any]:
        seen: Observation[Any] = yield from act("rows")
        return [seen.value, seen.reason]

    value, reason = world.solve(planner, actions=[rows]).answer
    assert (value, said in reason) == (kept, True), reason


class Receipt(BaseModel):
    """What a payment promises to give back."""

    number: int
    paid: bool = True


def not_odd(number: int) -> int:
    """A validator with a fault of its own."""
    return number // (number % 2)


def leaving(number: int) -> int:
    """A validator that ends the process, if it may."""
    raise SystemExit(number)


@pytest.mark.parametrize(
    ("declared", "given", "said"),
    [
        (Receipt, {"number": 7}, ""),
        (Receipt, Receipt(number=7), ""),
        (Receipt, {"paid": True}, "number: Field required"),
        (Receipt, "paid", "Input should be a valid dictionary or instance of Receipt"),
        (list[str], ["a", 2], "1: Input should be a valid string"),
        (None, "more than nothing", "Input should be None"),
        (Annotated[int, AfterValidator(not_odd)], 2, "ZeroDivisionError: "),
        (Annotated[int, AfterValidator(leaving)], 2, "SystemExit: 2"),
        (threading.Thread, "of a type that pydantic does not know", ""),
        (Any, "whatever", ""),
    ],
)
def test_a_result_that_is_not_what_its_action_declares_is_kept_and_says_so(
    world: World, watcher: type[Watcher], declared: Any, given: Any, said: str
) -> None:
    """It was performed, and is not to be done again: what came back stands there, with a word of what does not fit."""

    async def pay() -> Any:
        world.done.append(("pay",))
        return given

    def planner(_: Task) -> Planning[Any]:
        seen: Observation[Any] = yield from act("pay")
        return [seen.value, seen.reason]

    pay.__annotations__["return"] = declared
    outcome = world.solve(planner, monitors=[watcher()], actions=[action(pay)])
    assert outcome.actions[0].status == "performed"
    assert world.done == [("pay",)]
    value, reason = outcome.answer
    assert value == (given.model_dump() if isinstance(given, BaseModel) else given)
    assert reason.startswith(said and f"its result does not fit what it declares: {said}")
    assert bool(reason) == bool(said)


def test_a_plain_function_runs_in_a_thread(world: World) -> None:
    """An action that is not async does not hold up the event loop."""
    threads: list[str] = []

    @action(effect="read")
    def look(at: str) -> str:
        threads.append(threading.current_thread().name)
        return at

    assert world.solve(doing("look", {"at": "x"}), actions=[look]).answer[0] == "x"
    assert threads != [threading.main_thread().name]


def test_an_action_is_told_its_run_and_a_key_of_its_own(world: World, watcher: type[Watcher]) -> None:
    """The idempotency key differs for every effect of every run, and stays the same for its attempts."""
    calls: list[Call] = []

    @action(effect="irreversible", idempotency="target_key")
    async def send(*, call: Call) -> None:
        calls.append(call)

    def planner(_: Task) -> Planning[None]:
        yield from together(act("send", {}), act("send", {}))

    first = world.solve(planner, monitors=[watcher()], actions=[send])
    world.solve(planner, monitors=[watcher()], actions=[send])
    assert len({call.key for call in calls}) == 4
    assert [call.run for call in calls].count(first.run) == 2
    assert {call.attempt for call in calls} == {1}


def test_a_started_action_is_never_cancelled(world: World, watcher: type[Watcher]) -> None:
    """An interrupt during an action waits for it; its outcome is recorded, and resuming does not do it again."""
    happened: list[str] = []

    @action(effect="irreversible")
    async def slow() -> str:
        begun.set()
        await asyncio.sleep(0.2)
        happened.append("done")
        return "done"

    agent = world.agent(doing("slow"), monitors=[watcher()], actions=[slow])
    begun = asyncio.Event()

    async def interrupted(*, by_host: bool) -> Any:
        solving = asyncio.create_task(agent.solve(Task(prompt="x")))
        await begun.wait()
        if by_host:
            solving.cancel()
        else:
            agent.interrupt()
            agent.interrupt()
        return await solving

    outcome = asyncio.run(interrupted(by_host=False))
    assert (outcome.status, happened) == ("interrupted", ["done"])
    assert [each.status for each in outcome.actions] == ["performed"]
    assert agent.resume_sync(outcome.run).answer[0] == "done"
    begun = asyncio.Event()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted(by_host=True))
    assert happened == ["done", "done"]


def test_side_by_side_failures_do_not_cut_one_another_off(world: World, watcher: type[Watcher]) -> None:
    """A branch that fails lets the actions of others end, and its error comes after them."""
    happened: list[str] = []

    @action(effect="irreversible")
    async def slow() -> str:
        await asyncio.sleep(0.05)
        happened.append("slow")
        return "done"

    def planner(_: Task) -> Planning[Any]:
        try:
            yield from together(act("post", {"text": "!not"}), act("slow", {}))
        except ActionFailed as error:
            return [error.message, *happened]
        return "no error"

    outcome = world.solve(planner, monitors=[watcher()], actions=[world.post, slow])
    assert outcome.answer == ["the line was busy", "slow"]


@pytest.mark.parametrize("bad", ["annotation", "star", "positional", "identity"])
def test_a_function_that_cannot_be_an_action_is_refused_when_it_is_made(bad: str) -> None:
    """Parameters need names and annotations, and identity names parameters; the error says which."""

    def unannotated(invoice) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - the point

    def starred(*invoices: str) -> None: ...

    def positional(invoice: str, /) -> None: ...

    def fine(invoice: str) -> None: ...

    function: Any = {"annotation": unannotated, "star": starred, "positional": positional, "identity": fine}[bad]
    with pytest.raises(TypeError, match="invoice"):
        action(effect="read", identity=("invoices",) if bad == "identity" else ())(function)


def test_an_action_that_says_nothing_is_irreversible() -> None:
    """The careful reading is the default."""

    @action
    async def launch(where: str, times: int = 1) -> None:
        """Launch it.

        Not what reviewers need to read.
        """

    assert (launch.spec.effect, launch.spec.trusted, launch.spec.idempotency) == (
        "irreversible",
        False,
        "none",
    )
    assert launch.spec.description == "Launch it."
    assert launch.validate({"where": "x"}) == {"where": "x", "times": 1}


def test_an_unknown_outcome_is_an_error_the_planner_can_tell_apart() -> None:
    """Each end of an action has an error of its own."""
    assert not issubclass(OutcomeUnknown, ActionFailed)
    assert issubclass(OutcomeUnknown, ActionError)


def test_an_action_that_changes_during_a_run_is_refused(world: World, watcher: type[Watcher]) -> None:
    """What was reviewed under one schema is not done under another, nor by something that calls itself a read."""
    happened: list[str] = []

    @action(effect="irreversible")
    async def tell(text: str) -> None:
        happened.append(text)

    def changing(_: Task) -> Planning[Any]:
        yield from act("tell", {"text": "a"})
        tell.spec = msgspec.structs.replace(tell.spec, effect="read")
        try:
            yield from act("tell", {"text": "b"})
        except ActionError as error:
            return error.message
        return None

    outcome = world.solve(changing, monitors=[watcher()], actions=[tell])
    assert "'tell' has changed since the run started" in outcome.answer
    assert happened == ["a"]


def test_a_target_that_is_asked_hears_of_the_new_owner(tmp_path: Path) -> None:
    """It is told the epoch of the claim under which it is asked, and can refuse an older owner from then on."""
    heard: list[int] = []

    @action(effect="irreversible", idempotency="reconcile")
    async def pay(cents: int, *, call: Call) -> int:
        heard.append(call.epoch)
        return cents

    @pay.reconciler
    async def paid(cents: int, *, call: Call) -> int:
        heard.append(call.epoch)
        return cents

    class Counted(FileJournal):
        """Claims as a database counts them."""

        claims = 6

        async def claim(self, run: str, owner: str, *, create: bool = False) -> Claim:
            self.claims += 1
            return msgspec.structs.replace(await super().claim(run, owner, create=create), epoch=self.claims)

    def once(_: Task) -> Planning[int]:
        return int((yield from act("pay", {"cents": 5})).value)

    agent = Scaffold(once, backends={}, monitors=[], actions=[pay], journal=(journal := Counted(tmp_path)))
    task = Task(prompt="Pay", oversight=Oversight(unmonitored=True))
    run = agent.solve_sync(task).run
    spine = journal.folder(run) / SPINE
    lines = spine.read_bytes().splitlines(keepends=True)
    intent = next(place for place, line in enumerate(lines) if b'"action.intent"' in line)
    spine.write_bytes(b"".join(lines[: intent + 1]))  # as if the process had died in the middle of the effect
    assert agent.resume_sync(run).answer == 5
    assert heard == [7, 8]
