"""Each adapter needs its own library and nothing else does."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("langgraph", "langchain_core", "langgraph"),
        ("openai_agents", "agents", "openai-agents"),
        ("pydantic_ai", "pydantic_ai", "pydantic-ai"),
    ],
)
def test_a_missing_library_is_named_with_its_cure(module: str, library: str, extra: str) -> None:
    """Where it is absent, importing the adapter says what to install."""
    code = f"import sys; sys.modules[{library!r}] = None; import scaffold.adapters.{module}"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"MissingExtra: scaffold.adapters.{module} needs an optional part" in said.stderr
    assert f"pip install 'system2-scaffold[{extra}]'" in said.stderr


def test_the_gate_alone_loads_none_of_them() -> None:
    """Neither do the adapters as a package."""
    code = "import sys, scaffold.hosting, scaffold.adapters; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"langchain_core", "langgraph", "agents", "pydantic_ai"} & set(said.stdout.split())
