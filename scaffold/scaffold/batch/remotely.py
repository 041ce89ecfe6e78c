"""A batch whose runs are solved by workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scaffold.batch.items import Fault, Item, Ready
from scaffold.workers.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scaffold.agent import Scaffold
    from scaffold.batch.items import Solver
    from scaffold.workers.remote import Delivery


def by_workers(items: Iterable[Item | Fault], delivery: Delivery) -> Iterator[Item | Fault]:
    """Yield the same items, each begun here and solved by a worker."""
    remotes: dict[int, tuple[Solver, Remote]] = {}  # holds the agent, so that its id is not reused

    def made(item: Item) -> Ready:
        ready = item.make()
        agent: Scaffold = ready.agent  # type: ignore[assignment]  # it is made from a task file
        _, remote = remotes.setdefault(id(agent), (agent, Remote(agent, delivery)))
        return ready._replace(agent=remote)

    for item in items:
        yield item if isinstance(item, Fault) else item._replace(make=partial(made, item))
