"""The Tower of Hanoi for the shipped checkpoint `hanoi`: prompts, answers and the optimal solution.

Disk 1 is the smallest. The tower moves from peg A to peg C. A prompt gives the number of disks, the disk that moved
last (0 before the first move), and the peg of each disk, the largest first:

    disks:3 last:1 3A 2A 1C move

The answer is the disk, the peg it leaves and the peg it goes to: `2 A B`. Disk 1 moves whenever it did not move last,
in a direction that depends on whether the number of disks is even, so the prompt contains all that the optimal solution
needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DISKS = 20  # most disks that the checkpoint knows
PEGS = "ABC"
VOCABULARY = (
    "move",
    *PEGS,
    *(str(disk) for disk in range(1, DISKS + 1)),
    *(f"disks:{number}" for number in range(1, DISKS + 1)),
    *(f"last:{disk}" for disk in range(DISKS + 1)),
    *(f"{disk}{peg}" for disk in range(1, DISKS + 1) for peg in PEGS),
)


def moves(disks: int) -> int:
    """How many moves the best path has."""
    return (1 << disks) - 1


def pegs_before(disks: int, move: int) -> list[int]:
    """Return where the disks are before a move of the best path.

    Disk d has moved (move - 1 + 2^(d-1)) / 2^d times by then, always the same way round: the largest from A
    to C, that is one peg back, and each smaller one against the way of the next.

    Args:
        move: 1 to 2^disks - 1; 2^disks gives the end.

    Returns:
        The peg (0, 1 or 2) of each disk, disk 1 first.
    """
    done = move - 1
    return [
        ((done + (1 << (disk - 1)) >> disk) * (-1 if (disks - disk) % 2 == 0 else 1)) % 3
        for disk in range(1, disks + 1)
    ]


def disk_of(move: int) -> int:
    """Which disk a move of the best path moves; 0 for move 0, before the first."""
    return (move & -move).bit_length()


def prompt(pegs: Sequence[int], last: int) -> str:
    """Write a state as the model was trained to read it.

    Args:
        pegs: the peg (0, 1 or 2) of each disk, disk 1 first.
        last: the disk that moved last; 0 before the first move.
    """
    places = (f"{disk}{PEGS[pegs[disk - 1]]}" for disk in range(len(pegs), 0, -1))
    return f"disks:{len(pegs)} last:{last} {' '.join(places)} move"


def answer(disk: int, source: int, target: int) -> str:
    """Write a move as the model answers it."""
    return f"{disk} {PEGS[source]} {PEGS[target]}"


def best(disks: int, move: int) -> tuple[str, str]:
    """Return the prompt and the right answer of one move of the best path."""
    pegs, disk = pegs_before(disks, move), disk_of(move)
    after = pegs_before(disks, move + 1)
    return prompt(pegs, disk_of(move - 1)), answer(disk, pegs[disk - 1], after[disk - 1])
