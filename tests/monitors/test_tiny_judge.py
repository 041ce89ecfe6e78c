"""Judges with a real model that knows nothing: each asks it, and what it says is a judgement or a failed check.

The model's weights are drawn at random; llama.cpp holds it to the form of an answer. SmolLM2 in its place takes some
seconds a question: `python benchmarks/reading_judges.py --judge smollm2 --cases 1`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.backends import tiny_gguf

from scaffold_backends.llamacpp.backend import load
from scaffold_monitors.goals import Goals
from scaffold_monitors.legibility import Legibility
from scaffold_monitors.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def judges() -> Any:
    """The benchmark of the judges, whose cases these are."""
    spec = importlib.util.spec_from_file_location("reading_judges", BENCHMARKS / "reading_judges.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A tiny model in llama.cpp, with room for a judge's question."""
    path = tiny_gguf.save(tmp_path_factory.mktemp("models") / "tiny.gguf")
    backend = load(path, n_ctx=4096, n_parallel=1, threads=1)
    asyncio.run(backend.prepare(lambda _message, _fraction: None))
    yield backend
    asyncio.run(backend.close())


@pytest.mark.parametrize("tokens", [8, 60], ids=["cut short", "as long as it likes"])
@pytest.mark.parametrize("name", ["trace", "legibility", "goals"])
def test_a_real_model_judges_or_the_check_has_failed(judges: Any, tiny: Any, name: str, tokens: int) -> None:
    """An answer of the form that is asked for is a judgement; anything else, and any cut, is an error and no pass."""
    match name:
        case "trace":
            outcome = judges.run(tiny, Trace(then="block", max_tokens=tokens), reasoning=judges.SIGNS[0])
        case "legibility":
            outcome = judges.run(tiny, Legibility(then="block", max_tokens=tokens), reasoning=judges.CLEAR[0])
        case _:
            outcome = judges.run(tiny, Goals(max_tokens=tokens), plan=(judges.RIGHT,))
    said = [each for each in outcome.verdicts if each.monitor == name]
    failed = [each for each in said if each.status != "ok"]
    assert outcome.overseers[name].questions >= 1
    assert outcome.usage["oversight"].output > 0
    assert {each.status for each in failed} <= {"error"}
    assert all(each.reason for each in failed)
    assert outcome.answer == ("withheld" if any(each.decision != "flag" for each in said) else "passed")
    if tokens == 8:
        assert failed
