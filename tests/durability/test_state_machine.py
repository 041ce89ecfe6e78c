"""A Hypothesis state machine over whole runs: it draws planner, faults and crashes, and shrinks them."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaffold.interfaces import Answer
from scaffold.testing.judging import read_story, wrong_approvals, wrong_clearances, wrong_effects
from scaffold.testing.random_planners import Kind, Node
from scaffold.testing.simulated_world import Temper
from scaffold.testing.simulation import Setting

KINDS: tuple[Kind, ...] = ("think", "vote", "act", "plan", "note", "ask")
NAMES = st.sampled_from(("look", "put", "move", "send"))
RATES = st.sampled_from((0.0, 0.1, 0.4))


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """One move of a planner."""
    kind = draw(st.sampled_from(KINDS))
    chosen = tuple(draw(st.lists(NAMES, min_size=1, max_size=3)))
    links = tuple((place - 1,) if place and draw(st.booleans()) else () for place in range(len(chosen)))
    return Node(kind, f"{kind}{draw(st.integers(0, 99))}", actions=chosen, links=links)


@st.composite
def trees(draw: st.DrawFn) -> tuple[Node, ...]:
    """A planner: some moves, then branches, then more moves."""
    walks = st.lists(nodes(), min_size=1, max_size=3).map(tuple)
    branches = tuple(draw(st.lists(walks, max_size=3)))
    return (*draw(walks), Node("together", "fork", branches), *draw(walks))


class Runs(RuleBasedStateMachine):
    """A run that is begun, killed, answered and resumed in any order.

    After each step, by the effects that happened and by the trace as it lies on the disk: no action without an
    earlier, matching, unspent clearance; and no opaque action twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="scaffold-"))
        self.setting: Setting | None = None
        self.run = ""

    @precondition(lambda self: self.setting is None)
    @rule(tree=trees(), seed=st.integers(0, 9999), rates=st.tuples(RATES, RATES, RATES, RATES))
    def begin(self, tree: tuple[Node, ...], seed: int, rates: tuple[float, float, float, float]) -> None:
        """Draw a world, and a planner in it."""
        source = random.Random(seed)
        temper = Temper(*rates, disk=0.0, crash=0.0)
        self.setting = Setting(source, self.folder, tree, temper)

    @precondition(lambda self: self.setting is not None)
    @rule(steps=st.integers(0, 60))
    def live(self, steps: int) -> None:
        """Run, or resume, and die after so many points, if the run lasts that long."""
        assert self.setting is not None
        self.setting.world.dies_after = steps
        said = self.setting.one_life(self.setting.agent(), self.run)
        assert not (isinstance(said, str) and said.startswith("fault: ")), said
        self.run = self.setting.stored()

    @precondition(lambda self: self.setting is not None and self.run)
    @rule(granted=st.booleans())
    def answer(self, granted: bool) -> None:  # noqa: FBT001 - drawn
        """Answer everything the run has ever asked, by its inbox."""
        assert self.setting is not None
        for event in read_story(self.folder / self.run).of("approval.asked", "question.asked"):
            answer = Answer(id=event["id"], digest=event["digest"], granted=granted, value="red", by="inbox")
            self.setting.post(self.run, answer)

    @precondition(lambda self: self.setting is not None and self.run)
    @rule()
    def stop(self) -> None:
        """Ask the run to stop before its next action."""
        assert self.setting is not None
        self.setting.post(self.run, Answer(id="stop", digest="", by="somebody"))

    @invariant()
    def no_action_without_a_clearance_and_none_opaque_twice(self) -> None:
        """The two main invariants, and what hangs together with them."""
        if self.setting is not None and self.run:
            story = read_story(self.folder / self.run)
            assert not story.faults
            assert not list(wrong_clearances(story))
            assert not list(wrong_approvals(story))
            assert not list(wrong_effects(story, self.setting.world.effects, {"send"}))

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)


TestRuns = Runs.TestCase
TestRuns.settings = settings(
    max_examples=60, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
