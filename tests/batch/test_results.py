"""The results of a batch on a disk that is full: what is written down nowhere else stays noted."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scaffold.batch.results import Known, Results
from scaffold.errors import JournalFailed


@contextmanager
def no_room(more: int = 0) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def row(status: str) -> dict[str, Any]:
    """How a run ended."""
    return {"id": "1", "run": "r", "status": status, "batch": "b", "asked": "a"}


@pytest.mark.parametrize("room", [0, 10], ids=["none", "for half a line"])
def test_a_run_whose_end_cannot_be_written_down_stays_noted_as_open(room: int, tmp_path: Path) -> None:
    """Else its task would be begun anew the next time, and what it has done be done again."""
    path = tmp_path / "results.jsonl"
    with Results(path, "b") as results:
        results.begin("1", "r", "a")
        with (
            no_room(room),
            pytest.raises(JournalFailed, match=r"cannot write to .*results.jsonl: .*run again to continue"),
        ):
            results.end(row("unavailable"))
    with Results(path, "b") as again:
        known = again.known("1")
        assert known is not None
        assert (known.run, known.status) == ("r", "")
        again.end(row("solved"))
    assert not (tmp_path / "results.jsonl.open").exists()
    assert path.read_text().count("\n") == 1


def test_a_run_that_cannot_be_noted_is_told_of_as_what_may_pass(tmp_path: Path) -> None:
    """It is no fault of the input."""
    with Results(tmp_path / "results.jsonl", "b") as results, no_room(), pytest.raises(JournalFailed):
        results.begin("1", "r", "a")


def test_what_half_a_line_was_written_of_is_not_run_into_by_the_next(tmp_path: Path) -> None:
    """Other runs of the batch end too, and by then there may be room: a line in two pieces would be nobody's result."""
    path = tmp_path / "results.jsonl"
    with Results(path, "b") as results:
        with no_room(10), pytest.raises(JournalFailed):
            results.end(row("solved"))
        with no_room(10), pytest.raises(JournalFailed):
            results.begin("2", "r2", "a")
        results.end({**row("solved"), "id": "3", "run": "r3"})
        results.begin("4", "r4", "a")
    with Results(path, "b") as again:
        assert [(name, again.known(name)) for name in ("3", "4")] == [
            ("3", Known("r3", "solved", "a")),
            ("4", Known("r4", "", "a")),
        ]
