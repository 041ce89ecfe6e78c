"""backends/README.md names every backend and every option, with the defaults that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scaffold import entries
from scaffold.registry import make_backend
from scaffold_backends.hf.backend import HfOptions
from scaffold_backends.http.dialects.chat import ChatOptions
from scaffold_backends.http.dialects.gemini import GeminiOptions
from scaffold_backends.http.dialects.messages import MessagesOptions
from scaffold_backends.http.dialects.responses import ResponsesOptions
from scaffold_backends.http.options import HttpOptions
from scaffold_backends.llamacpp.backend import LlamaCppOptions
from scaffold_backends.options import Options
from scaffold_backends.wrappers.circuit import CircuitOptions
from scaffold_backends.wrappers.fallback import FallbackOptions
from scaffold_backends.wrappers.noise import NoisyOptions
from scaffold_backends.wrappers.paraphrase import ParaphraseOptions
from scaffold_backends.wrappers.rate import RateOptions
from scaffold_backends.wrappers.recordings import CachedOptions, RecordedOptions, RecordingOptions
from scaffold_backends.xlstm.backend import XLSTMOptions

README = (Path(__file__).parents[2] / "backends" / "README.md").read_text(encoding="utf-8")
OURS = {name for name, entry in entries.installed("backend").items() if entry.module.startswith("scaffold")}
BY_ROW: dict[str, type[Options]] = {
    "chat": ChatOptions,
    "responses": ResponsesOptions,
    "messages": MessagesOptions,
    "gemini": GeminiOptions,
    "llamacpp": LlamaCppOptions,
    "hf": HfOptions,
    "xlstm": XLSTMOptions,
    "fallback": FallbackOptions,
    "rate_limited": RateOptions,
    "circuit_breaker": CircuitOptions,
    "cached": CachedOptions,
    "recording": RecordingOptions,
    "recorded": RecordedOptions,
    "paraphrase": ParaphraseOptions,
    "noisy": NoisyOptions,
}


def rows(text: str) -> list[list[str]]:
    """The rows of its tables that begin with a name."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]


def names(cell: str) -> list[str]:
    """What stands in backticks at the beginning of a cell, before what explains it."""
    return re.findall(r"`([a-z0-9_-]+)", re.sub(r"\([^)]*\)", "", cell))


def options_of(kind: type[Options]) -> dict[str, object]:
    """Names of the options that a task may set, and their defaults."""
    return {info.alias or name: info.default for name, info in kind.model_fields.items()}


def test_every_backend_is_listed() -> None:
    """No more and no fewer than are installed."""
    models, _, more = README.partition("## Options over HTTP")
    around = more.partition("## Around another backend")[2]
    assert {names(row[0])[0] for row in (*rows(models), *rows(around))} == OURS


def test_options_over_http_are_all_there() -> None:
    """Those that every dialect has."""
    table = README.partition("## Options over HTTP")[2].partition("Beside them")[0]
    listed = [name for row in rows(table) for name in names(row[0])]
    assert sorted(listed) == sorted(options_of(HttpOptions))


@pytest.mark.parametrize("name", BY_ROW)
def test_a_backends_own_options_are_all_there(name: str) -> None:
    """Those that it has beside the ones that all of its kind have; a number behind one is its default."""
    (row,) = [row for row in rows(README.partition("Beside them")[2]) if name in names(row[0])]
    options = options_of(BY_ROW[name])
    common = options_of(HttpOptions) if issubclass(BY_ROW[name], HttpOptions) else {"backend": None}
    own = set(options) - set(common)
    assert {each for each in re.findall(r"`([a-z_]+)`", row[-1]) if each in options} - set(common) == own
    for option, number in re.findall(r"`([a-z_]+)` \((\d+)\b", row[-1]):
        assert options[option] == int(number), option


def test_the_table_of_the_page_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`{use: SPEC, OPTION: ...}` makes the backend."""
    monkeypatch.setenv("OPENAI_API_KEY", "only for this test")
    made = make_backend("openai:gpt-5-mini", {"effort": "low"})
    assert (made.profile.backend, made.profile.model) == ("openai", "gpt-5-mini")
