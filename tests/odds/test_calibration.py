"""Stated confidence: scored, corrected, and used to tell when one sample is enough."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from scaffold import Confidence, Planning, Scaffold, Task, majority, several, think, together
from scaffold.cli import cli
from scaffold.errors import BadInput, TaskError
from scaffold.figures import save
from scaffold.odds.calibration import (
    Kind,
    brier,
    calibration_error,
    draw,
    fit,
    reliability,
    scores,
    statements,
)
from scaffold.odds.measured import Measured, answer_in, key_of
from scaffold.taskfile import build
from scaffold.testing import Scripted
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.canonical import schema_of

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.odds.calibration import Statement
    from scaffold.vocabulary.models import Request

KIND = Kind("b", "m", "solve")


class Guess(BaseModel):
    """A number, and how sure it is."""

    number: int
    sure: Confidence


def too_sure(n: int, seed: str = "x") -> list[Statement]:
    """Statements of a model that is right half as far above one half as it says."""
    dice = random.Random(seed)
    said = []
    for _ in range(n):
        sure = dice.choice((0.6, 0.7, 0.8, 0.9, 1.0))
        said.append((sure, dice.random() < 0.5 + (sure - 0.5) / 2))
    return said


def test_scores_of_known_statements() -> None:
    """Brier and calibration error as worked out by hand."""
    said = [(0.9, True), (0.9, False), (0.1, False), (0.3, True)]
    assert brier(said) == pytest.approx((0.01 + 0.81 + 0.01 + 0.49) / 4)
    assert calibration_error(said) == pytest.approx((2 * 0.4 + 1 * 0.1 + 1 * 0.7) / 4)
    assert [band.count for band in reliability(said)] == [1, 1, 2]
    assert brier([(1.0, True)]) == calibration_error([(1.0, True), (0.0, False)]) == 0


def test_correction_brings_what_is_stated_to_what_is_seen() -> None:
    """A model that is too sure scores better once corrected, on statements that the correction has not seen."""
    (score,) = scores({KIND: too_sure(2000)}, by_key=True)
    assert score.error > 0.1
    assert score.corrected_error is not None
    assert score.corrected_brier is not None
    assert score.corrected_error < 0.04
    assert score.corrected_brier < score.brier
    (curve,) = fit({KIND: too_sure(2000)}).curves
    for sure, right in ((0.6, 0.55), (0.8, 0.65), (1.0, 0.75)):
        assert curve.correct(sure) == pytest.approx(right, abs=0.06)
    assert list(curve.right) == sorted(curve.right)


def test_a_few_right_answers_do_not_make_certainty() -> None:
    """Of forty that state 0.99 and are all right, the curve says forty in forty-one; of nobody's it says nothing."""
    (curve,) = fit({KIND: [(0.99, True)] * 40}).curves
    assert curve.correct(0.99) == pytest.approx(41 / 42)
    assert fit({KIND: [(0.99, True)] * 29}).curves == ()
    (score,) = scores({KIND: [(0.99, True)] * 29}, by_key=True)
    assert score.corrected_brier is None


def test_what_is_stated_is_no_part_of_the_answer() -> None:
    """Two samples that give the same number with different confidence agree."""
    schema = schema_of(Guess)
    assert answer_in('{"number": 4, "sure": 0.5}', schema) == ('{"number":4}', 0.5)
    assert answer_in('{"sure": 1, "number": 4}', schema) == ('{"number":4}', 1)
    assert answer_in(" 4 ", {"type": "integer"}) == ("4", None)
    assert answer_in(' "4" ', "text") == ('"4"', None)


# --- from runs


def guessing(questions: int, policy: Any = None) -> Any:
    """A planner whose steps state their confidence."""

    def planner(_: Task) -> Planning[int]:
        thoughts = yield from together(
            *(think("solve", f"question {number}.", returns=Guess, sampling=policy) for number in range(questions))
        )
        return len(thoughts)

    return planner


def boasting(seed: str) -> Scripted:
    """A model that states 0.95 or 0.6, and is right 0.8 or 0.6 of the time."""
    dice = random.Random(seed)

    def say(request: Request) -> str:
        number = int(request.messages[-1].content.split("question ")[1].split(".")[0])
        sure, share = dice.choice(((0.95, 0.8), (0.6, 0.6)))
        return Guess(number=number if dice.random() < share else -dice.randint(1, 99), sure=sure).model_dump_json()

    return Scripted(say)


def truthful(request: Request) -> str:
    """The right answer."""
    return Guess(number=int(request.messages[-1].content.split("question ")[1].split(".")[0]), sure=1).model_dump_json()


def run(folder: Path, planner: Any, backend: Scripted) -> Path:
    """Solve once."""
    agent = Scaffold(planner, backends={"default": backend}, monitors=(), journal=FileJournal(folder))
    outcome = agent.solve_sync(Task.model_validate({"prompt": "x", "budget": {"tokens": None}}))
    assert outcome.status == "solved", outcome.reason
    return folder / outcome.run


def test_scores_are_read_off_past_runs(tmp_path: Path) -> None:
    """Held against a key, and against agreement where there is none; single samples then tell nothing."""
    key = key_of(run(tmp_path / "key", guessing(60), Scripted(truthful)))
    tried = run(tmp_path / "runs", guessing(60, several(5)), boasting("a"))
    measured = Measured().read([tried])
    (by_key,) = scores(statements(measured, key), by_key=True)
    assert by_key.count == 300
    assert by_key.right == pytest.approx(0.7, abs=0.08)
    top = by_key.bins[-1]
    assert top.stated == pytest.approx(0.95)
    assert top.right == pytest.approx(0.8, abs=0.1)
    (agreed,) = scores(statements(measured), by_key=False)
    assert agreed.right >= by_key.right
    alone = run(tmp_path / "alone", guessing(3), boasting("b"))
    assert statements(Measured().read([alone])) == {}


def test_the_command_scores_corrects_and_draws(tmp_path: Path) -> None:
    """`audit calibration` prints a line a kind, writes a file that a task can name, and a picture."""
    runs = tmp_path / "runs"
    run(runs, guessing(60, several(5)), boasting("a"))
    file, picture = tmp_path / "calibration.json", tmp_path / "diagram.png"
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(
        cli, ["audit", "calibration", "--runs", str(runs), "--write", str(file), "--plot", str(picture)]
    )
    assert result.exit_code == 0, result.output
    assert "solve by scripted:scripted: 300 statements" in result.stdout
    assert "; corrected: Brier" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    (curve,) = json.loads(file.read_text())["curves"]
    assert curve["seen"] == 300
    told = CliRunner().invoke(cli, ["audit", "calibration", "--runs", str(runs), "--json"])
    assert json.loads(told.stdout)[0]["step"] == "solve"
    assert not math.isnan(json.loads(told.stdout)[0]["brier"])


def test_nothing_stated_is_said(tmp_path: Path) -> None:
    """Without statements there is nothing to score, and no picture."""
    result = CliRunner().invoke(
        cli, ["audit", "calibration", "--runs", str(tmp_path), "--plot", str(tmp_path / "x.png")]
    )
    assert result.exit_code == 0
    assert "no step in" in result.stdout
    assert not (tmp_path / "x.png").exists()


# --- in a task file


def test_a_task_file_names_the_calibration(tmp_path: Path) -> None:
    """What it names is in the run's first event; what is missing or none is found before the run, with its line."""
    save(fit({KIND: too_sure(100)}), tmp_path / "seen.json")
    file = tmp_path / "task.yaml"
    text = "prompt: x\nbackends: {default: {use: scripted, replies: ok}}\nmonitors: []\nsampling: {majority: 3, %s}\n"
    file.write_text(text % "sure: 0.95, calibration: seen.json")
    built = build(file, journal=FileJournal(tmp_path / "runs"))
    outcome = built.agent.solve_sync(built.task)
    assert outcome.status == "solved"
    first = json.loads((tmp_path / "runs" / outcome.run / "content.jsonl").read_text().splitlines()[0])
    assert first["body"]["calibration"]["curves"][0]["seen"] == 100
    for said, message in (
        ("sure: 0.95", "needs `calibration: FILE` beside it"),
        ("sure: 0.95, calibration: gone.json", "cannot read 'gone.json'"),
        ("sure: 0.95, calibration: task.yaml", "is not a calibration file"),
        ("sure: 0.95, calibration: 4", "should be a file, not 4"),
    ):
        file.write_text(text % said)
        with pytest.raises(TaskError, match=message):
            build(file)


def test_a_place_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    """A folder in the place of the file is a clear error."""
    with pytest.raises(BadInput, match="cannot write"):
        save(fit({}), tmp_path)
    (score,) = scores({KIND: too_sure(40)}, by_key=True)
    pytest.importorskip("matplotlib")
    with pytest.raises(BadInput, match="cannot draw"):
        draw([score], tmp_path / "picture.nonsense")


def test_the_vote_of_a_majority_ignores_what_is_stated(tmp_path: Path) -> None:
    """Three samples with the same number and three confidences are three votes for it."""
    texts = [Guess(number=4, sure=sure).model_dump_json() for sure in (0.1, 0.5, 0.9)]
    folder = run(tmp_path, guessing(1, majority(3)), Scripted(texts))
    assert list(key_of(folder).values()) == ['{"number":4}']


@pytest.mark.parametrize(
    ("stated", "sure"),
    [("0.5", 0.5), ('"0.5"', 0.5), ("true", 1.0), ("NaN", None), ("-Infinity", None), ("7", None), ('"high"', None)],
)
def test_a_confidence_in_a_trace_is_a_number_from_0_to_1_or_none(stated: str, sure: float | None) -> None:
    """What a type accepts counts, text too; what no confidence can be does not, whoever wrote the trace."""
    assert answer_in(f'{{"number": 7, "sure": {stated}}}', schema_of(Guess)) == ('{"number":7}', sure)


@pytest.mark.parametrize(
    ("stated", "right"),
    [([], []), ([0.5], [0.1, 0.2]), ([0.5, 0.5], [0.1, 0.2]), ([0.2, 0.4], [0.9, 0.1]), ([2], [0.5])],
)
def test_a_curve_that_is_none_is_found_before_the_run(tmp_path: Path, stated: list[float], right: list[float]) -> None:
    """A calibration written by hand is refused with its place, not found out in the midst of a vote."""
    curve = {"backend": "b", "model": "m", "step": "solve", "seen": 9, "stated": stated, "right": right}
    (tmp_path / "c.json").write_text(json.dumps({"curves": [curve]}))
    (tmp_path / "task.yaml").write_text("prompt: x\nsampling: {once: true, calibration: c.json}\n")
    with pytest.raises(
        TaskError, match=r"task.yaml:2: sampling.calibration: 'c.json' is not a calibration file: .*ascending"
    ):
        build(tmp_path / "task.yaml")
