"""Runs in PostgreSQL are signed, verified, encrypted and followed as those in files are."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scaffold import Planning, Scaffold, Task, act, action
from scaffold.cli import main
from scaffold.errors import BadInput
from scaffold.testing.cluster import Cluster, programs
from scaffold.testing.tampering import made_up_key
from scaffold.trace.elsewhere import elsewhere
from scaffold.trace.sealing import VARIABLE
from scaffold.trace.verify import verify_records, verify_run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a database of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'system2-scaffold[postgres]'")
    if programs() is None:
        pytest.skip("PostgreSQL's programs are not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has to be short
    folder.chmod(0o755)
    try:
        with Cluster(folder, durable=False) as running:
            yield running.url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@action(effect="irreversible")
async def pay(invoice: str) -> str:
    """Pay an invoice."""
    return f"paid {invoice}"


def paying(_: Task) -> Planning[str]:
    """Pay."""
    yield from act("pay", {"invoice": "A-77"})
    return "done"


def test_a_signed_and_encrypted_run_of_a_database_is_verified(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the same checks, through the journal, by its copy in a folder, and by the command."""
    from scaffold.trace.postgres import PostgresJournal

    key = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv(VARIABLE, key)
    signer = made_up_key(1)

    async def run() -> tuple[str, Any]:
        journal = PostgresJournal(url)
        async with Scaffold(paying, actions=[pay], monitors=["rules"], journal=journal, signer=signer) as agent:
            outcome = await agent.solve(Task(prompt="Pay"))
        heads = await journal.heads(outcome.run)
        found = await verify_records(outcome.run, journal.read(outcome.run), heads, key=signer.verifier())
        return outcome.run, found

    name, found = asyncio.run(run())
    assert (found.ok, found.signed_by_key, found.withheld, found.sealed) == (True, True, 0, 0)
    journal = PostgresJournal(url)
    folder = journal.folder(name)
    assert verify_run(folder, key=signer.verifier()) == found
    assert b"A-77" not in b"".join(path.read_bytes() for path in folder.iterdir())
    assert [each.arguments for each in elsewhere(journal, 0.0)] == [{"invoice": "A-77"}]
    monkeypatch.delenv(VARIABLE)
    assert main(["audit", "verify", name, "--key", signer.verifier(), "--json", "--runs", url]) == 0
    assert json.loads(capsys.readouterr().out)["sealed"] > 0
    with pytest.raises(BadInput, match="encrypted"):
        elsewhere(PostgresJournal(url), 0.0)
    assert main(["audit", "prune", name, "--runs", url]) == 2
