"""`scope` and `dataflow` share one memory of a run and one picture of what is under review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.vocabulary.review import Subject, Verdict
from scaffold.vocabulary.task import Task
from scaffold_monitors.dataflow import Dataflow
from scaffold_monitors.following import Picture, picture
from scaffold_monitors.scope import Scope

if TYPE_CHECKING:
    from tests.monitors.conftest import Kit


def seen(kit: Kit, view: Any, **arguments: Any) -> Picture:
    """The picture of a payment."""
    found = picture(Subject(kind="plan", key="0", plan=(kit.call("pay", **arguments),)), view)
    assert isinstance(found, Picture)
    return found


def test_one_fold_serves_all_of_them() -> None:
    """It is one plain function, of the same events, so that a run is followed once."""
    folds = {(monitor.fold, monitor.folds) for monitor in (Scope(), Dataflow())}
    assert len(folds) == 1


def test_a_picture_is_made_once_for_the_same_moment(kit: Kit) -> None:
    """Whoever asks next gets the same; once something happened, or for another call, run or task, it is made anew."""
    view = kit.View(Task(prompt="Pay invoice i1."), monitor=Scope())
    view.perform("0", kit.call("read", invoice="i1"))
    first = seen(kit, view, invoice="i1", cents=1).situation
    assert seen(kit, view, invoice="i1", cents=1).situation is first
    assert seen(kit, view, invoice="i1", cents=True).situation is not first  # what Python calls equal is another call
    again = seen(kit, view, invoice="i1", cents=1).situation
    view.perform("1", kit.call("read", invoice="i2"))
    assert seen(kit, view, invoice="i1", cents=1).situation is not again
    other = kit.View(Task(prompt="Pay nothing."), monitor=Scope(), state=view.state)
    assert seen(kit, other, invoice="i1", cents=1).situation.request == "Pay nothing."
    fewer = kit.View(view.task, monitor=Scope(), state=view.state, actions={"pay": kit.actions["pay"]})
    assert set(seen(kit, fewer, invoice="i1", cents=1).situation.tools) == {"pay"}


def test_what_is_no_plan_and_no_action_is_abstained_from(kit: Kit) -> None:
    """There is no picture of it."""
    said = picture(Subject(kind="answer", key="", answer="x"), kit.View(Task(prompt="Pay.")))
    assert isinstance(said, Verdict)
    assert said.status == "abstain"
