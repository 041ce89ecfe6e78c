"""The towers of Hanoi: what a step sees, which moves are legal, and what each leads to."""

from __future__ import annotations

from typing import NamedTuple

from scaffold import Task

PEGS = "ABC"


class Tower(NamedTuple):
    """The disks of each peg, the lowest first, and the last move."""

    pegs: tuple[tuple[int, ...], ...]
    last: str = "none"


class Towers:
    """All disks go from the first peg to the last. Only the rules are here, not how to do it."""

    returns = str

    def start(self, task: Task) -> Tower:
        """All disks on the first peg."""
        return Tower((tuple(range(task.inputs["disks"], 0, -1)), (), ()))

    def done(self, tower: Tower) -> bool:
        """Whether only the last peg holds any."""
        return not tower.pegs[0] and not tower.pegs[1]

    def show(self, tower: Tower) -> str:
        """The pegs, and the last move."""
        pegs = (f"{name}: {' '.join(map(str, disks)) or '-'}" for name, disks in zip(PEGS, tower.pegs, strict=True))
        return f"{', '.join(pegs)}\nLast move: {tower.last}"

    def fault(self, tower: Tower, move: str) -> str:
        """Say why a move is illegal."""
        said = move.split()
        if len(said) != 3 or said[1] not in PEGS or said[2] not in PEGS:  # noqa: PLR2004 - disk, from, to
            return "is not a move"
        source, target = (tower.pegs[PEGS.index(peg)] for peg in said[1:])
        if not source or str(source[-1]) != said[0]:
            return f"disk {said[0]} is not on top of {said[1]}"
        return "a larger disk on a smaller one" if target and target[-1] < source[-1] else ""

    def answer(self, tower: Tower) -> str:
        """Where the disks are in the end."""
        return self.show(tower).partition("\n")[0]

    def next(self, tower: Tower, move: str) -> Tower:
        """Make a move."""
        disk, source, target = move.split()
        pegs = list(tower.pegs)
        pegs[PEGS.index(source)] = pegs[PEGS.index(source)][:-1]
        pegs[PEGS.index(target)] = (*pegs[PEGS.index(target)], int(disk))
        return Tower(tuple(pegs), move)
