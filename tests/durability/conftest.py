"""One PostgreSQL server for all tests of a session that want it, of its own and in a temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaffold.testing.cluster import Cluster, programs


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server with an empty database; without PostgreSQL's programs or psycopg the test is skipped."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    if programs() is None:
        pytest.skip("PostgreSQL's programs are not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has to be short
    folder.chmod(0o755)
    try:
        with Cluster(folder, durable=bool(os.environ.get("SCAFFOLD_THOROUGH"))) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
