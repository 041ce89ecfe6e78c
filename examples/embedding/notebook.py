"""A notebook: a loop is already running, so cells either await, or call `solve_sync`, which uses its own thread.

Each `# %%` begins a cell for editors and jupytext. As a script, it runs all of them:

    python examples/embedding/notebook.py
"""

# %%
from __future__ import annotations

import asyncio

from scaffold import Outcome, Planning, Scaffold, Task, think
from scaffold.testing import Scripted


def asking(task: Task) -> Planning[str]:
    """Ask once."""
    thought = yield from think("solve", task.prompt)
    return str(thought.value)


agent = Scaffold(asking, backends={"default": Scripted("forty two")}, monitors=[])


# %%
async def awaiting_cell() -> Outcome:
    """In a notebook this is one line: `await agent.solve(...)`."""
    return await agent.solve(Task(prompt="What is it?"))


# %%
async def waiting_cell() -> Outcome:
    """Code that is not async, such as a library's, works in the same notebook."""
    return agent.solve_sync(Task(prompt="What is it?"))


# %%
async def watching_cell() -> list[str]:
    """What a progress display would show."""
    happenings = agent.stream("What is it?")
    return [each.status if isinstance(each, Outcome) else type(each.event).__name__ async for each in happenings]


async def kernel() -> None:
    """What a notebook's kernel does: run the cells one after another, in one loop."""
    for outcome in (await awaiting_cell(), await waiting_cell()):
        assert outcome.answer == "forty two"
        print(outcome.status, outcome.answer)
    seen = await watching_cell()
    assert seen[0] == "RunStarted"
    assert seen[-1] == "solved"
    print(*seen)


if __name__ == "__main__":
    asyncio.run(kernel())
