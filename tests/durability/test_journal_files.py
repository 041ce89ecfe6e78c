"""The file journal does what every journal has to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scaffold.interfaces import Journal
from scaffold.testing.journal_conformance import JournalConformance
from scaffold.trace.files import FileJournal


class TestFiles(JournalConformance):
    """Two journals on one folder are as two processes: each has files and locks of its own."""

    @asynccontextmanager
    async def opening(self, place: Path) -> AsyncIterator[Journal]:
        yield FileJournal(place / "runs")
