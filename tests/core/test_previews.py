"""What a call would do is shown before it is cleared, where its action can say so; saying so does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from tests.core.doing import doing, planning

from scaffold import Credential, Planned, action
from scaffold.vocabulary.review import Verdict

if TYPE_CHECKING:
    from tests.core.conftest import Person, Watcher, World

    from scaffold.actions import FunctionAction


def transfer(done: list[str], how: str = "") -> FunctionAction:
    """An action with a preview that works, or fails as `how` says."""

    @action(effect="irreversible")
    async def send(cents: int, *, token: Annotated[str, Credential("PREVIEW_TOKEN")]) -> str:
        done.append(f"sent {cents} by {len(token)}")
        return "sent"

    @send.previewer
    def dry(cents: int, *, token: str) -> Any:
        if how == "raise":
            raise ConnectionError(f"no answer to {token}")
        if how == "leave":  # as the `main` of a command does
            raise SystemExit(0)
        return {"left": 1000 - cents, "as": token} if how != "odd" else object()

    return send


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVIEW_TOKEN", "abcdefgh")


def test_reviewers_see_what_would_happen(world: World, watcher: type[Watcher]) -> None:
    """As part of the subject, for a plan and for each call; recorded, and without credentials."""
    done: list[str] = []
    plans, calls = watcher(name="plans"), watcher(name="calls", watches=frozenset({"action"}))
    plan = [Planned("send", {"cents": cents}, id=f"n{cents}") for cents in (1, 2)]
    outcome = world.solve(planning(*plan), actions=[transfer(done)], monitors=[plans, calls])
    assert plans.seen[0].previews == {f"n{cents}": {"left": 1000 - cents, "as": "[PREVIEW_TOKEN]"} for cents in (1, 2)}
    assert [list(subject.previews) for subject in calls.seen] == [["n1"], ["n2"]]
    recorded = [each["value"]["left"] for each in world.facts(outcome, "action.previewed")]
    assert sorted(recorded) == [998, 998, 999, 999]
    assert len(done) == 2


def test_a_person_sees_what_would_happen(world: World, watcher: type[Watcher], person: type[Person]) -> None:
    """With the call; a no leaves it undone."""
    done: list[str] = []
    asking = watcher(Verdict(decision="escalate", rationale="look"), watches=frozenset({"action"}))
    somebody = person("no")
    world.solve(doing("send", cents=7), actions=[transfer(done)], monitors=[asking], approvers=[somebody])
    assert somebody.asked[0].detail["previews"] == {"send": {"left": 993, "as": "[PREVIEW_TOKEN]"}}
    assert done == []


@pytest.mark.parametrize(
    ("how", "said"),
    [("raise", "ConnectionError: no answer to [PREVIEW_TOKEN]"), ("odd", "TypeError"), ("leave", "SystemExit: 0")],
)
def test_a_preview_that_fails_is_shown_as_such(world: World, watcher: type[Watcher], how: str, said: str) -> None:
    """Reviewers are told that nothing is known; it is for them to mind."""
    done: list[str] = []
    reader = watcher()
    outcome = world.solve(doing("send", cents=7), actions=[transfer(done, how)], monitors=[reader])
    assert said in reader.seen[0].previews["send"]["no preview"]
    assert outcome.actions[0].status == "performed"


def test_what_is_refused_anyway_is_not_previewed(world: World, watcher: type[Watcher]) -> None:
    """Nobody is going to read it."""
    outcome = world.solve(doing("send", cents="many"), actions=[transfer([])], monitors=[watcher()])
    assert not list(world.facts(outcome, "action.previewed"))
