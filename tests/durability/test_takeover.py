"""Runs in PostgreSQL, killed anywhere and taken over by another process: nothing is lost, and nothing done twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.durability.test_crash_matrix import AGENTS, in_table, make_every_kind

from scaffold import Call, Planning, Scaffold, Task, action
from scaffold.machinery.recording.points import POINTS
from scaffold.testing import Scripted
from scaffold.testing.cluster import Cluster
from scaffold.testing.crashes import CrashWorkers, Stage, crash_matrix, kill_loops
from scaffold.testing.random_planners import draw_tree, planner_of
from scaffold.trace.postgres import PostgresJournal
from scaffold.vocabulary.task import Oversight

FREELY = Oversight(unmonitored=True)
THOROUGH = bool(os.environ.get("SCAFFOLD_THOROUGH"))
"""Set by `make test-durability`; else each test does a part of what it could."""

_numbers = itertools.count()
Place = Callable[[Path], str]


def drawn(task: Task) -> Planning[Any]:
    """A planner drawn from the task's words."""
    tree = draw_tree(random.Random(task.prompt), ("look", "put", "move", "send"))
    return (yield from planner_of(tree)(task))


def make_drawn(stage: Stage) -> Scaffold:
    """An agent whose planner is drawn, with one action of every kind, which take anything."""
    effects = stage.effects

    @action(effect="read")
    async def look(what: Any) -> Any:
        return {"seen": what}

    @action(effect="reversible", idempotency="target_key")
    async def put(what: Any, *, call: Call) -> Any:
        return effects.happen_once("put", call, {"what": what}, "put")

    @action(effect="reversible", idempotency="reconcile")
    async def move(what: Any, *, call: Call) -> Any:
        return effects.happen("move", call, {"what": what}, "moved")

    @move.reconciler
    async def moved(what: Any, *, call: Call) -> Any:  # noqa: ARG001 - told the action's own arguments
        found = effects.find(call.key)
        return None if found is None else found.result

    @action(effect="irreversible")
    async def send(what: Any, *, call: Call) -> Any:
        return effects.happen("send", call, {"what": what}, "sent")

    return Scaffold(
        drawn,
        backends={"default": Scripted({"decide": "7", "": "ok"})},
        monitors=[],
        actions=[look, put, move, send],
        journal=stage.journal,
        surroundings=stage.surroundings,
    )


@pytest.fixture
def place(cluster: Cluster) -> Place:
    """Gives each case an empty database, which is always the same: a new one is a thousand files to make and remove."""
    url = cluster.fresh(f"cases_{os.getpid()}_{next(_numbers)}")
    asyncio.run(_with_tables(url))

    def emptied(_folder: Path) -> str:
        with psycopg.connect(url) as owner:  # who was killed has no connection left by then
            tables = owner.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'scaffold' AND tablename <> 'versions'"
            ).fetchall()
            for (table,) in tables:
                owner.execute(sql.SQL("DELETE FROM scaffold.{}").format(sql.Identifier(table)))
        return url

    return emptied


async def _with_tables(url: str) -> None:
    async with PostgresJournal(url):
        pass


@pytest.mark.parametrize("make", AGENTS if THOROUGH else [make_every_kind])
def test_a_run_killed_at_any_point_goes_on_elsewhere(
    make: Callable[[Stage], Scaffold],
    place: Place,
    tmp_path: Path,
    crash_workers: CrashWorkers,
    record_property: Callable[[str, object], None],
) -> None:
    """Every point, every action of every kind, as in files; judged by a ledger that the journal does not know."""
    points = POINTS if THOROUGH else ("action.intent:after",)
    task = Task(prompt="do it", oversight=FREELY)
    cases = crash_matrix(make, task, tmp_path, opaque={"send"}, points=points, place=place, workers=crash_workers)
    assert len({case.point for case in cases}) >= (5 if THOROUGH else 1)
    assert not [str(case) for case in cases if case.faults]
    record_property("crashes", in_table("PostgreSQL", make, cases))


@pytest.mark.parametrize("where", ["files", "PostgreSQL"])
def test_runs_with_plans_of_their_own_making_survive_kill_loops(
    where: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    crash_workers: CrashWorkers,
    record_property: Callable[[str, str], None],
) -> None:
    """Planners drawn from seeds, killed again and again at random until they end, end as in peace."""
    kept: dict[str, Place] = {"place": request.getfixturevalue("place")} if where == "PostgreSQL" else {}
    wanted = 150 if THOROUGH else {"files": 12, "PostgreSQL": 3}[where]
    source = random.Random(where)
    tasks = (Task(prompt=f"tree {number}", oversight=FREELY) for number in itertools.count())
    kills = runs = 0
    for loop in kill_loops(make_drawn, tasks, tmp_path, source, opaque={"send"}, workers=crash_workers, **kept):
        assert not loop.case.faults, str(loop.case)
        kills, runs = kills + loop.kills, runs + 1
        if kills >= wanted:
            break
    record_property("shown", f"kill loops in {where}: {kills} kills in {runs} runs, none lost, none repeated")
