"""Reads a long row of reports with a small memory, answers from it, and says exactly where the answer was found.

The memory puts back what the summaries lose, so that the number is still there when the question comes; the report
itself is recalled word for word.
"""

from pathlib import Path

from pydantic import BaseModel

from scaffold import GaveUp, Planning, Task, act, action, think
from scaffold_planners.memory import WorkingMemory, pinned

REPORTS = Path(__file__).with_name("reports")


class Watch(BaseModel):
    """How much to read, and how much to remember.

    Attributes:
        reports: how many there are.
        limit: most tokens that a step is shown.
    """

    reports: int
    limit: int


class Found(BaseModel):
    """The answer, and the line of the report that contains it."""

    answer: str
    line: str


@action(effect="read")
def read_report(day: int) -> str:
    """The shift report of a day."""
    return (REPORTS / f"day-{day}.txt").read_text()


def watch(task: Task, options: Watch) -> Planning[Found]:
    """Read all reports, one by one, then answer."""
    known = pinned(task, identity="the keeper of the pump house's log", cannot=["start or stop a pump"])
    memory = WorkingMemory(known, limit=options.limit, about=task.request)
    keys = []
    for day in range(1, options.reports + 1):
        report = yield from act("read_report", {"day": day})
        keys.append((yield from memory.add(report)))
    thought = yield from think("answer", *memory.shown(), instruction="Answer the task with the bare value.")
    lines = [line for key in keys for line in memory.recall(key).value.splitlines()]
    found = next((line for line in lines if thought.value in line), None)
    if found is None:
        raise GaveUp(f"{thought.value!r} is in no report")
    return Found(answer=thought.value, line=found)
