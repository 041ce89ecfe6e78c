"""Runs that an engine hands to workers: each comes to its end once, also when a worker dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scaffold.testing.effects import EffectLedger

if TYPE_CHECKING:
    from tests.workers.conftest import Office

THOROUGH = bool(os.environ.get("SCAFFOLD_THOROUGH"))
_PATIENCE_S = 600.0 if THOROUGH else 90.0


def until(so: Callable[[], bool], *, seconds: float = _PATIENCE_S) -> None:
    """Wait for something."""
    over = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < over, "it does not come about"
        time.sleep(0.05)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The results so far."""
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("kind", ["procrastinate", "Temporal"])
def test_a_batch_on_two_workers_of_which_one_is_killed_gives_each_result_once(
    kind: str, office: Office, request: pytest.FixtureRequest, record_property: Callable[[str, str], None]
) -> None:
    """As many results as tasks, none twice; the runs of who was killed are finished by the other."""
    if kind == "Temporal" and not THOROUGH:
        pytest.skip("it takes long: `make test-durability` runs it")
    number = 200 if THOROUGH else 20
    engine = office.runs if kind == "procrastinate" else f"{request.getfixturevalue('temporal')}?heartbeat=3"
    first, second = office.worker(engine, "-j", "4"), office.worker(engine, "-j", "4")
    batch = office.batch(engine, office.invoices(number), "-j", "50")
    until(lambda: len(rows_of(office.folder)) >= number // 4)
    first.kill()
    status = batch.wait(_PATIENCE_S)
    rows = rows_of(office.folder)
    assert status == 0, office.logs()
    assert len(rows) == number, office.logs()
    assert {row["id"]: row["answer"] for row in rows} == {str(n): f"done i{n}" for n in range(number)}
    effects = Counter(line.arguments["invoice"] for line in EffectLedger(office.folder / "effects").lines())
    assert effects == {f"i{n}": 1 for n in range(number)}
    assert "workers solve these: start one with `scaffold worker`" in office.logs()
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0, office.logs()
    record_property(
        "shown", f"batch, {kind}: {number} runs on two workers, one killed: {len(rows)} results, none twice"
    )
