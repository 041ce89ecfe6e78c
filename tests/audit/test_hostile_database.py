"""Somebody who can write to the database has changed its rows: each is named, and none gets in others' way."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from scaffold import Scaffold, Task
from scaffold.cli import main
from scaffold.errors import BadInput, RunHeld, TraceDamaged
from scaffold.testing.cluster import Cluster
from scaffold.testing.tampering import Careful, pay, paying
from scaffold.trace.elsewhere import elsewhere
from scaffold.trace.files import SPINE
from scaffold.trace.postgres import PostgresJournal
from scaffold.trace.postgres import archive as archives

_DEEP = '{"id":"x","digest":"y","more":' + "[" * 5000 + "]" * 5000 + "}"


@pytest.fixture
def url(cluster: Cluster) -> str:
    """The address of a database of its own, with its tables."""
    made = cluster.fresh(f"hostile_{os.getpid()}_{time.monotonic_ns()}")
    assert main(["database", "migrate", made]) == 0
    return made


def waiting_run(url: str) -> str:
    """Begin a run that waits for a person; return its id."""
    agent = Scaffold(paying, actions=[pay], monitors=[Careful()], journal=PostgresJournal(url))
    outcome = agent.solve_sync(Task(prompt="Pay"))
    assert outcome.status == "waiting"
    return outcome.run


def changed(url: str, statement: str, **values: str) -> None:
    """Change rows, as their owner can."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(statement.encode(), values)


@pytest.mark.parametrize("kind", ["path", "relative", "dot", "long"])
def test_an_id_is_never_a_path_out_of_the_folder_of_copies(url: str, tmp_path: Path, kind: str) -> None:
    """No file elsewhere is written or removed, and a name longer than a file's hides no other run."""
    paths = {"path": f"{tmp_path}/mine", "relative": f"{'../' * 20}{tmp_path}/mine"}
    run = {**paths, "dot": "..", "long": "x" * 2000}[kind]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / SPINE).write_text("precious")
    good = waiting_run(url)
    changed(url, "INSERT INTO scaffold.runs (run, owner, epoch) VALUES (%(run)s, '', 1)", run=run)
    changed(
        url,
        "INSERT INTO scaffold.events SELECT %(run)s, seq, kind, line FROM scaffold.events WHERE run = %(good)s",
        run=run,
        good=good,
    )
    archive = PostgresJournal(url).archive
    copies = archive.folder(good).parent
    assert [archive.folder(each).parent for each in (run, good)] == [copies, copies]
    assert archive.folder(run, brief=True).parent == copies.with_name("brief")
    names = {run, good, ".", "..", run.replace("/", "%2F")}
    assert len({archive.folder(each) for each in names}) == len(names)
    archive.forget(run)
    assert (tmp_path / "mine" / SPINE).read_text() == "precious"
    assert main(["audit", "list", "--runs", url]) == 0


def test_a_last_event_that_cannot_be_read_hides_no_other_run(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """PostgreSQL's own functions refuse its text, whoever asks: still the others are listed, and all are stopped."""
    bad, good = waiting_run(url), waiting_run(url)
    changed(
        url,
        "UPDATE scaffold.events SET line = replace(line::text, 'waiting', 'wai\\u0000ting')::json "
        "WHERE run = %(bad)s AND kind = 'run.paused'",
        bad=bad,
    )
    capsys.readouterr()
    assert main(["approvals", "list", "--runs", url]) == 0
    assert good in capsys.readouterr().out
    assert main(["audit", "verify", bad, "--runs", url]) == 1
    assert f"run {bad} is altered at line " in capsys.readouterr().out
    assert main(["stop", "--all", "--runs", url]) == 0
    assert capsys.readouterr().out.count(" stops before its next action") == 2


@pytest.mark.parametrize("said", ["5", '"\\ud800"', '{"id": 1}', _DEEP], ids=["number", "surrogate", "form", "deep"])
def test_what_is_no_answer_in_an_inbox_is_passed_over(url: str, capsys: pytest.CaptureFixture[str], said: str) -> None:
    """By the run, by who looks, and by a search for a name, which removes what contains it all the same."""
    run = waiting_run(url)
    changed(url, "INSERT INTO scaffold.inbox VALUES (%(run)s, 'x', 'y', %(said)s)", run=run, said=said)

    async def claim() -> Sequence[object]:
        journal = PostgresJournal(url)
        claimed = await journal.claim(run, "a")
        try:
            return journal.inbox(run)
        finally:
            await journal.release(claimed)

    assert list(asyncio.run(claim())) == list(PostgresJournal(url).inbox(run)) == []
    assert main(["audit", "prune", run, "--mentioning", "Nobody", "--unfinished", "--yes", "--runs", url]) == 0
    told = capsys.readouterr()
    assert "nothing to remove" in told.out
    assert "bug" not in told.err


@pytest.mark.parametrize("body", ["{}", "null", '{"call":{"arguments":5}}', '{"call":[]}'])
def test_what_a_run_did_is_not_guessed_from_content_of_another_form(url: str, body: str) -> None:
    """A limit across runs does not let anything through then; the error names the run."""
    run = waiting_run(url)
    changed(
        url,
        "UPDATE scaffold.content SET line = %(line)s WHERE run = %(run)s AND seq = (SELECT min(seq) "
        "FROM scaffold.events WHERE run = %(run)s AND kind = 'action.proposed')",
        run=run,
        line=f'{{"seq":2,"salt":"{"00" * 16}","body":{body}}}',
    )
    with pytest.raises(BadInput, match=f"cannot tell what run {run} did: the content of an action .* was altered"):
        elsewhere(PostgresJournal(url), 0.0)


def test_copies_that_make_room_remove_nothing_else(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a run's id leads elsewhere."""
    monkeypatch.setattr(archives, "_MOST_BYTES", 1)
    (tmp_path / "keep").write_text("precious")
    changed(url, "INSERT INTO scaffold.runs (run, owner, epoch) VALUES (%(run)s, '', 1)", run=str(tmp_path))
    archive = PostgresJournal(url).archive
    for run in (str(tmp_path), waiting_run(url)):
        archive.folder(run)
    assert (tmp_path / "keep").read_text() == "precious"


def test_a_lease_without_end_is_told_as_one(url: str) -> None:
    """With the run and who holds it; it can be stopped all the same."""
    run = waiting_run(url)
    changed(url, "UPDATE scaffold.runs SET leased_until = 'infinity', owner = 'eve' WHERE run = %(run)s", run=run)
    with pytest.raises(RunHeld, match=rf"run {run} is being written by another process \(eve\)"):
        asyncio.run(PostgresJournal(url).claim(run, "a"))
    assert main(["stop", run, "--runs", url]) == 0


def test_an_id_is_listed_as_one_plain_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It moves no cursor, and looks like no other run's line."""
    changed(url, "INSERT INTO scaffold.runs (run, owner, epoch) VALUES (%(run)s, '', 1)", run="a\x1b[2J\nb  solved")
    capsys.readouterr()
    assert main(["audit", "list", "--runs", url]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_run_under_another_id_does_not_go_on(url: str) -> None:
    """What a person has approved for one run is not done once more by a copy of its rows."""
    run, copy = waiting_run(url), "20300101-000000-copy"
    changed(url, "INSERT INTO scaffold.runs (run, owner, epoch) VALUES (%(copy)s, '', 1)", copy=copy)
    for table, columns in (("events", "seq, kind, line"), ("content", "seq, line")):
        rows = f"SELECT %(copy)s, {columns} FROM scaffold.{table} WHERE run = %(run)s"  # noqa: S608 - both are ours
        changed(url, f"INSERT INTO scaffold.{table} {rows}", run=run, copy=copy)
    agent = Scaffold(paying, actions=[pay], monitors=[Careful()], journal=PostgresJournal(url))
    with pytest.raises(TraceDamaged, match=f"it is the trace of run {run}"):
        agent.resume_sync(copy)
