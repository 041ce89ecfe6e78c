"""States of the Tower of Hanoi as tokens: those of all best paths, drawn for training, or one whole path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaffold_backends.xlstm.towers import DISKS, PEGS, VOCABULARY, moves

Numbers = NDArray[np.int64]
LENGTH = DISKS + 3  # tokens of the longest prompt
ANSWER = 3
_WORDS = {word: number for number, word in enumerate(VOCABULARY)}
_MOVE, _PEG, _DISK = _WORDS["move"], _WORDS[PEGS[0]], _WORDS["1"] - 1
_DISKS, _LAST, _PLACE = _WORDS["disks:1"] - 1, _WORDS["last:0"], _WORDS["1A"] - 3


@dataclass(frozen=True)
class States:
    """Many moves of best paths: how many disks each tower has, and the number of each move, both (N,)."""

    disks: Numbers
    move: Numbers

    def __getitem__(self, which: Any) -> States:
        return States(self.disks[which], self.move[which])

    def __len__(self) -> int:
        return len(self.disks)


def tokens(states: States) -> tuple[Numbers, Numbers]:
    """Give prompts with their answers (N, LENGTH + ANSWER), padded at the end, and the prompts' lengths (N,)."""
    disks, move = states.disks[:, None], states.move[:, None]
    disk = np.arange(1, DISKS + 1)[None]  # (1, 20)
    way = np.where((disks - disk) % 2 == 0, -1, 1)
    before = (((move - 1 + (1 << (disk - 1))) >> disk) * way) % 3  # (N, 20)
    after = (((move + (1 << (disk - 1))) >> disk) * way) % 3
    rows = np.arange(len(states))
    moved = np.log2(states.move & -states.move).astype(np.int64)  # disk - 1
    previous = states.move - 1
    last = np.where(previous > 0, np.log2(np.maximum(previous & -previous, 1)).astype(np.int64) + 1, 0)
    out = np.full((len(states), LENGTH + ANSWER), _MOVE, dtype=np.int64)
    out[:, 0], out[:, 1] = _DISKS + states.disks, _LAST + last
    for each in range(1, DISKS + 1):  # disk `each` stands `disks - each` places after the first
        there = states.disks >= each
        out[rows[there], 2 + (states.disks - each)[there]] = (_PLACE + 3 * each + before[:, each - 1])[there]
    end = states.disks + 3
    out[rows, end] = _DISK + moved + 1
    out[rows, end + 1] = _PEG + before[rows, moved]
    out[rows, end + 2] = _PEG + after[rows, moved]
    return out, end


def draw(rng: np.random.Generator, count: int) -> States:
    """Draw states: half of 20 disks, the others of fewer; a third move disk 1, the rest any larger one alike."""
    disks = np.where(rng.random(count) < 0.5, DISKS, rng.integers(1, DISKS + 1, count))  # noqa: PLR2004 - half
    larger = rng.integers(2, DISKS + 1, count)
    larger = np.where(larger > disks, rng.integers(0, 1 << 40, count) % disks + 1, larger)
    disk = np.where(rng.random(count) < 1 / 3, 1, larger)  # 1-based
    number = (rng.random(count) * (1 << (disks - disk))).astype(np.int64)  # of the moves of that disk
    return States(disks, (2 * number + 1) << (disk - 1))


def draw_after(rng: np.random.Generator, count: int) -> States:
    """Draw states as `draw` does, and as many again by the disk that moved last, any larger one or none alike.

    Which disk moved last is a word of the prompt, and those of the largest disks stand in one state of a path each:
    whoever draws by the disk that moves next never sees them.
    """
    by_next = draw(rng, count - count // 2)
    disks = np.where(rng.random(count // 2) < 0.5, DISKS, rng.integers(1, DISKS + 1, count // 2))  # noqa: PLR2004 - half
    last = rng.integers(1, DISKS + 1, count // 2) % disks + 1  # 1 stands for none: the first move
    number = (rng.random(count // 2) * (1 << (disks - last))).astype(np.int64)  # of the moves of that disk
    move = np.where(last == 1, 1, ((2 * number + 1) << (last - 1)) + 1)
    return join(by_next, States(disks, move))


def path(disks: int) -> States:
    """Give every move of a tower's best path."""
    count = moves(disks)
    return States(np.full(count, disks, dtype=np.int64), np.arange(1, count + 1, dtype=np.int64))


def join(*parts: States) -> States:
    """Put states together."""
    return States(np.concatenate([each.disks for each in parts]), np.concatenate([each.move for each in parts]))
