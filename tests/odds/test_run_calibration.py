"""Confidence within one run: the same score as over many, while its trace goes by."""

from pathlib import Path

import msgspec
from pydantic import BaseModel
from tests.core.conftest import World

from scaffold import Confidence, Planning, Task, several, think
from scaffold.odds.calibration import scores, statements
from scaffold.odds.measured import Measured, key_of
from scaffold.odds.run_calibration import RunCalibration
from scaffold.trace.chain import Chain, body_of
from scaffold.trace.records import read_files
from scaffold.vocabulary import events as ev


class Sure(BaseModel):
    """An answer with its confidence."""

    answer: int
    sure: Confidence


def unsure(_: Task) -> Planning[int]:
    """Ask five different things, four times each, and one without a confidence."""
    for place in range(5):
        yield from think("solve", f"puzzle {place}", returns=Sure, sampling=several(4))
    yield from think("answer", "in words")
    return 1


def _followed(folder: Path, within: RunCalibration) -> list[dict[str, object]]:
    asked = {}
    chain = Chain()
    for record in read_files(folder):
        link = chain.follow(record)
        match link.event:
            case ev.StepAsked() as event:
                asked[event.key] = (event, body_of(link.content)["asked"])
            case ev.StepAnswered() as event:
                within.take(*asked.pop(event.key), body_of(link.content))
            case _:
                pass
    return within.told()


def test_it_says_of_one_run_what_is_said_of_many(tmp_path: Path) -> None:
    """By agreement, and by a key, its figures are those of `audit calibration`, where no prompt is asked twice."""
    world = World(tmp_path)
    said = [(1, 0.9), (1, 0.7), (2, 0.8), (1, 0.4)]
    script = {"puzzle": [Sure(answer=answer, sure=sure).model_dump_json() for answer, sure in said * 5], "words": "yes"}
    folder = world.folder / "runs" / world.solve(unsure, script).run
    found = Measured().read([folder])
    assert _followed(folder, RunCalibration()) == msgspec.to_builtins(scores(statements(found), by_key=False))
    key = key_of(folder)
    by_key = msgspec.to_builtins(scores(statements(found, key), by_key=True))
    assert _followed(folder, RunCalibration(key)) == by_key
    (score,) = by_key
    assert (score["count"], score["right"], score["measured"]) == (20, 0.75, "key")


def test_a_trace_of_any_shape_is_no_statement() -> None:
    """Whoever wrote the trace may not be us: what has not the shape of a statement is none."""
    opening = ev.StepAsked(step="solve")
    within = RunCalibration()
    for asked in (None, 5, [], [1, 2, 3, 4, "text"], ["a", "b", "c", [], Sure.model_json_schema()]):
        for content in ({}, {"samples": 5}, {"samples": [1, {"text": 5}, {"text": "[1"}]}):
            within.take(opening, asked, content)
    assert within.told() == []
