"""Two ways to think about the same row: in one pass, and with the steps written out by hand-coded control flow."""

from __future__ import annotations

from pydantic import BaseModel, PositiveInt

from scaffold import Options, Planning, Reference, Task, think, together

GREEDY = Options(temperature=0.0, max_tokens=1)


class Steps(BaseModel):
    """How steps are written out.

    Attributes:
        size: symbols of one step.
        beginnings: how a state that was answered is written at the beginning of the next prompt.
    """

    size: PositiveInt
    beginnings: dict[str, str]


def in_one_breath(task: Task) -> Planning[list[str]]:
    """Ask for each row as a whole."""
    rows = task.input("rows")
    thoughts = yield from together(
        *(think("solve", rows[place], prompt="bare", options=GREEDY) for place in range(len(rows.value)))
    )
    return [thought.value for thought in thoughts]


def step_by_step(task: Task, steps: Steps) -> Planning[list[str]]:
    """Take each row apart, and carry the state from step to step."""
    rows = task.input("rows")
    return list((yield from together(*(_track(rows[place], steps) for place in range(len(rows.value))))))


def _track(row: Reference[str], steps: Steps) -> Planning[str]:
    """Ask for a few symbols at a time; what was answered begins the next prompt."""
    beginning, *symbols = row.value.split()
    state = beginning
    for first in range(0, len(symbols), steps.size):
        prompt = " ".join([beginning, *symbols[first : first + steps.size]])
        thought = yield from think("solve", prompt, prompt="bare", options=GREEDY)
        state = thought.value
        beginning = steps.beginnings.get(state, state)
    return state
