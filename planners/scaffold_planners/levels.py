"""Levels of a DAG: groups of nodes that do not depend on each other, so that they can run in parallel."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Node = TypeVar("Node", int, str)


class Circle(ValueError):
    """A cycle of nodes that need one another.

    Attributes:
        nodes: each needs the one before it; the last is the first again.
    """

    def __init__(self, nodes: tuple[int | str, ...]) -> None:
        super().__init__(" -> ".join(str(node) for node in nodes))
        self.nodes = nodes


def levels(needs: Mapping[Node, Collection[Node]]) -> list[list[Node]]:
    """Group nodes into levels, each node in the first level after all that it needs.

    Within a level they keep the order of `needs`: the keys of moves follow from it, so it must be the same on
    replay.

    Args:
        needs: for each node the nodes it needs; these must be keys, too.

    Raises:
        Circle: some nodes need one another.
    """
    place = {node: number for number, node in enumerate(needs)}
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise Circle(tuple(error.args[1])) from None
    found = []
    while sorter.is_active():
        level = sorted(sorter.get_ready(), key=place.__getitem__)
        sorter.done(*level)
        found.append(level)
    return found
