"""The shipped checkpoints are what their configs and metrics say, and know what they were trained to know."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("safetensors")

from scaffold_backends.xlstm import towers  # noqa: E402 - below what may skip this file
from scaffold_backends.xlstm.checkpoint import find, shipped  # noqa: E402 - as above
from scaffold_backends.xlstm.tokens import Vocabulary  # noqa: E402 - as above

FOLDER = Path(str(files("scaffold_backends"))) / "xlstm" / "checkpoints"


def words(name: str) -> Vocabulary:
    """Give a checkpoint's vocabulary."""
    config = find(name).config
    return Vocabulary(config.vocabulary, config.tokens)


def metrics(name: str) -> Any:
    """Give what was measured when a checkpoint was trained."""
    return json.loads((FOLDER / f"{name}.metrics.json").read_text(encoding="utf-8"))


def test_they_are_small_and_carry_their_hash() -> None:
    """Both are under a megabyte together; each config has the hash of its weights, and how many they are."""
    assert shipped() == ["hanoi", "parity"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    for name in shipped():
        found = find(name)
        assert found.config.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
        assert found.config.parameters == sum(int(np.prod(shape)) for shape in found.config.shapes().values())


def test_parity_holds_far_beyond_its_training() -> None:
    """Trained on rows of at most 40 bits, one sLSTM block answers every one of 500 rows of 256 bits rightly."""
    found = find("parity")
    assert [block.kind for block in found.config.blocks] == ["slstm"]
    assert found.config.longest == 40
    bits = np.random.default_rng(12).integers(0, 2, (500, 256))
    zero = found.config.vocabulary.index("0")
    assert found.config.vocabulary[zero + 1] == "1"
    logits, _ = found.load().logits(bits + zero)
    even = found.config.vocabulary.index("even")
    accuracy = float((logits[:, -1].argmax(axis=1) == even + bits.sum(axis=1) % 2).mean())
    assert accuracy == 1.0
    assert metrics("parity")["by_length"][-1]["accuracy"] == 1.0


def right(moves: list[tuple[int, int]]) -> Any:
    """Give the probability of the right answer, at temperature 1, for moves of towers: (disks, move)."""
    found, vocabulary = find("hanoi"), words("hanoi")
    model = found.load()
    probabilities = []
    for disks, move in moves:
        prompt, answer = towers.best(disks, move)
        asked, wanted = vocabulary.tokens(prompt), vocabulary.tokens(answer)
        state = model.encode(np.array([asked]))
        p = 1.0
        for token in wanted:
            logits = state.logits[0].astype(np.float64)
            p *= float(np.exp(logits[token] - np.logaddexp.reduce(logits)))
            state = model.step(state, np.array([token]))
        probabilities.append(p)
    return np.array(probabilities)


def test_every_move_of_small_towers_is_likely() -> None:
    """On the best paths of one to eight disks, no state has a right move less likely than nine in ten."""
    every = [(disks, move) for disks in range(1, 9) for move in range(1, towers.moves(disks) + 1)]
    assert right(every).min() > 0.9


def test_rare_moves_of_the_tallest_tower_are_likely() -> None:
    """Each of the 20 disks moves surely, first and last time, also where that happens once in a million moves."""
    rare = [(20, 1 << (disk - 1)) for disk in range(1, 21)]
    rare += [(20, (1 << 20) - (1 << (disk - 1))) for disk in range(1, 21)]
    assert right(rare).min() > 0.9


def test_the_worst_state_is_on_record() -> None:
    """The metrics name the worst state of each path of 1 to 20 disks; none of all 2,097,130 is lost to votes."""
    paths = metrics("hanoi")["paths"]
    assert [row["disks"] for row in paths["by_disks"]] == list(range(1, 21))
    assert paths["worst"] == min(row["worst"] for row in paths["by_disks"])
    assert all(row["states"] == towers.moves(row["disks"]) for row in paths["by_disks"])
    assert paths["of_20_disks"]["states"] == 1_048_575
    assert all(row["at_most_half"] == 0 and row["worst"] > 0.75 for row in paths["by_disks"])
    worst = paths["of_20_disks"]
    assert right([(20, worst["worst_move"])])[0] == pytest.approx(worst["worst"], abs=0.01)


def test_the_path_in_closed_form_is_the_path() -> None:
    """Where the disks stand before each move follows the rules, from the first peg to the last, by the shortest way."""
    for disks in (1, 2, 3, 6):
        pegs = [0] * disks
        for move in range(1, towers.moves(disks) + 1):
            assert towers.pegs_before(disks, move) == pegs
            disk, source, target = towers.best(disks, move)[1].split()
            moved, to = int(disk), towers.PEGS.index(target)
            assert pegs[moved - 1] == towers.PEGS.index(source) != to
            assert all(peg not in {pegs[moved - 1], to} for peg in pegs[: moved - 1])
            pegs[moved - 1] = to
        assert pegs == towers.pegs_before(disks, towers.moves(disks) + 1) == [2] * disks
    assert towers.best(3, 2) == ("disks:3 last:1 3A 2A 1C move", "2 A B")
