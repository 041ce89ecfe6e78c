"""Where runs are stored, as users name it: a folder, or the address of a PostgreSQL database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.errors import BadInput

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns
    from scaffold.trace.pruning import Pruning

_DATABASES = ("postgresql://", "postgres://")
LEASE = "SCAFFOLD_LEASE_SECONDS"


def is_database(said: Path | str) -> bool:
    """Whether it is the address of a database."""
    return isinstance(said, str) and said.startswith(_DATABASES)


def place_of(said: str) -> Path | str:
    """Return a folder as a path, and an address unchanged.

    Raises:
        BadInput: it is an address at which no runs can be kept.
    """
    if is_database(said):
        return said
    scheme, separator, _ = said.partition("://")
    if separator and scheme.isalnum():
        raise BadInput(f"runs cannot be kept at {scheme}://: name a folder, or an address with postgresql://")
    return Path(said)


def runs_folder() -> Path | str:
    """Return where runs are stored, a folder or a database: `$SCAFFOLD_RUNS`, else `./.scaffold/runs`."""
    return place_of(os.environ.get("SCAFFOLD_RUNS") or ".scaffold/runs")


def journal_of(said: Path | str, *, apart: bool = False) -> KeptRuns:
    """Return the journal that stores its runs at a place.

    Args:
        said: a folder, or `postgresql://...`.
        apart: the runs are independent trials, which may do the same thing many times.

    Raises:
        MissingExtra: it is a database, and the client library is not installed.
        BadInput: the lease in the environment is not a valid number of seconds.
    """
    if not is_database(said):
        from scaffold.trace.files import FileJournal

        return FileJournal(said, apart=apart)
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.trace.postgres.journal import LEASE_S

    return PostgresJournal(str(said), lease=lease_from_environment() or LEASE_S, apart=apart)


def pruning_of(journal: KeptRuns) -> Pruning:
    """Return what prunes the runs of a journal."""
    from scaffold.trace.files import FileJournal
    from scaffold.trace.pruning import FilePruning

    if isinstance(journal, FileJournal):
        return FilePruning(journal)
    from scaffold.trace.postgres import PostgresJournal
    from scaffold.trace.postgres.pruning import PostgresPruning

    assert isinstance(journal, PostgresJournal)  # noqa: S101 - there is no third kind
    return PostgresPruning(journal.archive)


def lease_from_environment() -> float:
    """Return for how many seconds a dead process keeps a run from others; 0 if the environment does not say.

    Raises:
        BadInput: the environment says no number of seconds.
    """
    said = os.environ.get(LEASE, "")
    try:
        seconds = float(said or 0)
    except ValueError:
        seconds = -1.0
    if said and not 1 <= seconds < 1e6:  # noqa: PLR2004 - below a second a busy machine loses its runs
        raise BadInput(f"{LEASE} should be a number of seconds of at least 1, not {said!r}")
    return seconds
