"""Inner signals against a baseline: what is learned from traces, what is flagged, and what is not said."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scaffold import Planning, Scaffold, Task, think
from scaffold.errors import BadInput
from scaffold.registry import make_monitor
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage
from scaffold_monitors.baselines import Baselines, Row, fit, main

WHOSE = ("inner", "m", "solve")


class Inner:
    """A backend with inner signals: wrong answers come with more entropy, in the middle of what its memory may be."""

    profile = Profile(backend="inner", model="m", context=1000, prices=FREE, reasoning="absent")

    def __init__(self, errs: float, seed: int) -> None:
        self._errs = errs
        self._source = random.Random(seed)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with the number in the prompt, or wrongly."""
        number = request.messages[-1].content.partition("Say ")[2].split()[0]
        wrong = self._source.random() < self._errs
        yield Delta(
            text="-1" if wrong else number,
            finish="stop",
            usage=Usage(5, 1),
            signals=signals(self._source, wrong=wrong),
        )

    async def close(self) -> None:
        """Nothing to free."""


def signals(source: random.Random, *, wrong: bool) -> dict[str, float]:
    """Entropy that tells something, memory that tells something only by its distance from a middle, and noise."""
    memory = source.gauss(0, 0.5) if wrong else source.choice((-2, 2)) + source.gauss(0, 0.5)
    return {"entropy": source.gauss(0.5 if wrong else 0.2, 0.2), "memory": memory, "noise": source.random()}


def rows(count: int, seed: int, *, known: bool = True) -> list[Row]:
    """Answers of which a third are wrong."""
    source = random.Random(seed)
    made = []
    for _ in range(count):
        wrong = source.random() < 0.33
        made.append(Row(signals(source, wrong=wrong), wrong if known else None))
    return made


def test_what_is_learned_tells_wrong_from_right_out_of_sample() -> None:
    """Also where no single signal's direction does; and about the wanted share of right answers lies above."""
    pytest.importorskip("numpy")
    made = fit(WHOSE, rows(900, 1), false_positives=0.1)
    scored = [(made.score(row.signals), row.wrong) for row in rows(900, 2)]
    bad = [score for score, wrong in scored if wrong]
    good = [score for score, wrong in scored if not wrong]
    pairs = sum(one > other for one in bad for other in good) / (len(bad) * len(good))
    assert pairs > 0.95
    assert sum(score >= made.threshold for score in good) / len(good) == pytest.approx(0.1, abs=0.05)


def test_few_errors_teach_no_products() -> None:
    """A regression has no more weights than its errors allow."""
    pytest.importorskip("numpy")
    assert len(fit(WHOSE, rows(120, 1)).weights) == 3
    assert len(fit(WHOSE, rows(900, 1)).weights) == 3 + 6


def test_without_a_key_only_what_is_unlike_is_told() -> None:
    """The score is the share of what was seen that lay closer; no figure at all is unlike everything."""
    made = fit(WHOSE, rows(300, 1, known=False))
    assert not made.weights
    usual = {"entropy": 0.3, "memory": 0.0, "noise": 0.5}
    assert made.score(usual) < 0.5
    assert made.score({**usual, "entropy": 9.0}) == 1.0
    assert made.score({**usual, "entropy": float("nan")}) == 1.0


def test_too_little_is_no_baseline() -> None:
    """The message says how many there are and how many it takes."""
    with pytest.raises(BadInput, match="10 answers of inner:m:solve have signals, but a baseline needs 30"):
        fit(WHOSE, rows(10, 1))


def numbers(_: Task) -> Planning[str]:
    """Ask for many numbers."""
    for number in range(150):
        yield from think("solve", f"Say {number}", returns=int)
    return "done"


def solve(folder: Path, backend: Inner, monitors: list[Any], planner: Callable[[Task], Any] = numbers) -> Any:
    """One run."""
    agent = Scaffold(planner, backends={"default": backend}, monitors=monitors, journal=FileJournal(folder))
    return agent.solve_sync(Task(prompt="go"))


def test_from_runs_to_a_file_to_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is right is the key to others; of a further one most wrong answers are flagged, and few right ones."""
    pytest.importorskip("numpy")
    runs = tmp_path / "runs"
    key = solve(runs, Inner(0.0, 1), []).run
    for seed in range(2, 8):
        solve(runs, Inner(0.35, seed), [])
    file = tmp_path / "baseline.json"
    assert main(["--runs", str(runs), "--answers", key, "--write", str(file)]) == 0
    assert "solve by inner:m: 900 answers" in capsys.readouterr().err
    (known,) = msgspec.json.decode(file.read_bytes(), type=Baselines).baselines
    assert 200 < known.wrong < 400
    latent = make_monitor("latent", {"baseline": "baseline.json"}, tmp_path)
    outcome = solve(tmp_path / "held", Inner(0.35, 99), [latent])
    flags = {int(each.key) for each in outcome.verdicts if each.decision == "flag"}
    source = random.Random(99)
    wrong: set[int] = set()
    for number in range(150):
        errs = source.random() < 0.35
        signals(source, wrong=errs)
        wrong.update({number} if errs else ())
    assert len(flags & wrong) / len(wrong) > 0.7
    assert len(flags - wrong) / (150 - len(wrong)) < 0.15


def test_a_command_without_anything_to_learn_from_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and a sentence."""
    assert main(["--runs", str(tmp_path), "--write", str(tmp_path / "b.json")]) == 2
    assert "has answers with inner signals" in capsys.readouterr().err


def test_what_has_no_baseline_is_not_judged(tmp_path: Path) -> None:
    """Another kind of step, or a backend without signals: the monitor abstains and says why."""

    def planner(_: Task) -> Planning[str]:
        yield from think("decide", "Say 1", returns=int)
        return "done"

    outcome = solve(tmp_path, Inner(0.0, 1), [make_monitor("latent", {})], planner)
    (said,) = outcome.verdicts
    assert (said.status, said.reason) == ("abstain", "there is no baseline for steps of kind decide by inner:m")
