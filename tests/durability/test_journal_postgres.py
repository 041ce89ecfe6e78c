"""The Postgres journal does what every journal has to, and what only one with leases can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scaffold.interfaces import Journal
from scaffold.testing.cluster import Cluster
from scaffold.testing.journal_conformance import JournalConformance
from scaffold.trace.postgres import PostgresJournal


class TestPostgres(JournalConformance):
    """Every journal has connections of its own, as a process has."""

    @pytest.fixture(autouse=True)
    def server(self, cluster: Cluster) -> None:
        """Have a server."""
        self.url = cluster.url

    @asynccontextmanager
    async def opening(self, place: Path) -> AsyncIterator[Journal]:
        yield PostgresJournal(self.url, lease=3.0)
