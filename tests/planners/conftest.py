"""What the tests of planners share: a run from end to end, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaffold.agent import Scaffold
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.task import Task

Solve = Callable[..., Outcome]


@pytest.fixture
def solve(tmp_path: Path) -> Solve:
    """Solve a task with a planner and a scripted backend; whatever else is said goes to Scaffold."""

    def solve(planner: Any, task: Task, backend: Scripted, **more: Any) -> Outcome:
        more = {"monitors": [], "backends": {"default": backend}, **more}
        return Scaffold(planner, journal=FileJournal(tmp_path / "runs"), **more).solve_sync(task)

    return solve
