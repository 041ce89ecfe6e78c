"""A task and a gate for the tests of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold import Gate, Goal, Task
from scaffold.interfaces import Surroundings

if TYPE_CHECKING:
    from tests.core.conftest import World

TASK = Task(
    prompt="pay what is due",
    goals=(Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500"),),
)


def gate_of(world: World, *, monitors: Any = (), **more: Any) -> Gate:
    """A gate around the world's actions."""
    return Gate(
        actions=(world.pay, world.look, world.post),
        monitors=["rules", *monitors],
        journal=world.journal,
        **{"surroundings": Surroundings(clock=world.clock), **more},
    )
