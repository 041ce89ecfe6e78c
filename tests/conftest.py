"""What holds for all tests, and a PostgreSQL server of a session's own for those that want one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from scaffold.testing.cluster import Cluster, programs, temporary_cluster

# How long an example takes says how busy the machine is; pytest's timeout ends what hangs.
settings.register_profile("scaffold", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scaffold")

# Under `nohup` it is ignored, and so it would be in what tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_make_parametrize_id(val: object) -> str | None:
    """A test's name never holds binary content, which may differ from one collection to the next."""
    return "binary" if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture(scope="session", autouse=True)
def _no_garbage_blamed() -> Iterator[None]:
    """Where a test exhausts the stack, garbage of other tests may be collected: what cannot end there is no fault."""
    told = sys.unraisablehook

    def tell(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, RecursionError):
            told(unraisable)

    sys.unraisablehook = tell
    yield
    sys.unraisablehook = told


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server with an empty database; without PostgreSQL's programs or psycopg the test is skipped."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    if programs() is None:
        pytest.skip("PostgreSQL's programs are not installed: apt-get install postgresql")
    with temporary_cluster(durable=bool(os.environ.get("SCAFFOLD_THOROUGH"))) as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    """What runs the tests that are coroutines."""
    return "asyncio"
