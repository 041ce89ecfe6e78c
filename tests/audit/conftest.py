"""A signed run, made once, to be tampered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scaffold.testing.tampering import Evidence, signed_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A signed run that paid, paused for a person and paid again; not to be changed."""
    return signed_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def evidence(whole: Evidence, tmp_path: Path) -> Evidence:
    """A copy of it."""
    return whole.copied(tmp_path)
