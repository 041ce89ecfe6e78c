"""The rules of the Tower of Hanoi, as the shipped model `xlstm:hanoi` reads and answers them.

Disk 1 is the smallest. A step reads how many disks there are, which disk moved last, and the peg of each disk, the
largest first (`disks:3 last:1 3A 2A 1C move`), and answers with a disk, its peg and the peg it goes to (`2 A B`).
Only the rules are here: the model decides which move to make, and a wrong but legal one is not noticed.
"""

from __future__ import annotations

from typing import NamedTuple

from scaffold import Task
from scaffold.errors import TaskError

PEGS = "ABC"
MOST = 20
_PLACES = {disks: " ".join(f"{disk}%s" for disk in range(disks, 0, -1)) for disks in range(1, MOST + 1)}


class Tower(NamedTuple):
    """The peg of each disk, disk 1 first; the disk that moved last, 0 before the first move; and the moves made."""

    pegs: str
    last: int = 0
    moves: int = 0


class Towers:
    """All disks go from peg A to peg C."""

    returns = str

    def start(self, task: Task) -> Tower:
        """All disks on peg A."""
        disks = task.inputs.get("disks")
        if not isinstance(disks, int) or not 1 <= disks <= MOST:
            raise TaskError(f"is a number of disks from 1 to {MOST}, not {disks!r}", path=("inputs", "disks"))
        return Tower("A" * disks)

    def done(self, tower: Tower) -> bool:
        """Whether all disks are on peg C."""
        return tower.pegs == "C" * len(tower.pegs)

    def show(self, tower: Tower) -> str:
        """The state, in the model's words."""
        disks = len(tower.pegs)
        return f"disks:{disks} last:{tower.last} {_PLACES[disks] % tuple(tower.pegs[::-1])} move"

    def fault(self, tower: Tower, move: str) -> str:
        """Say why a move is against the rules."""
        said = move.split()
        if len(said) != 3 or not said[0].isdecimal() or not {*said[1:]} <= {*PEGS}:  # noqa: PLR2004 - disk, from, to
            return "is not a move"
        disk, source, target = int(said[0]), said[1], said[2]
        if not 1 <= disk <= len(tower.pegs) or tower.pegs[disk - 1] != source or source == target:
            return f"disk {disk} cannot go from {source} to {target}"
        smaller = tower.pegs[: disk - 1]
        return "a smaller disk is in the way" if source in smaller or target in smaller else ""

    def next(self, tower: Tower, move: str) -> Tower:
        """Make a move."""
        said = move.split()
        disk = int(said[0])
        return Tower(tower.pegs[: disk - 1] + said[2] + tower.pegs[disk:], disk, tower.moves + 1)

    def answer(self, tower: Tower) -> int:
        """How many moves it took."""
        return tower.moves
