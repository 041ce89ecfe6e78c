"""Runs in PostgreSQL are signed, verified, encrypted and followed as those in files are."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from scaffold import Planning, Scaffold, Task, act, action
from scaffold.cli import main
from scaffold.errors import BadInput
from scaffold.testing.cluster import Cluster
from scaffold.testing.tampering import made_up_key
from scaffold.trace.elsewhere import elsewhere
from scaffold.trace.sealing import VARIABLE
from scaffold.trace.verify import verify_run


@pytest.fixture(scope="module")
def url(cluster: Cluster) -> str:
    """The address of a database of its own, with its tables."""
    made = cluster.fresh(f"audit_{os.getpid()}")
    assert main(["database", "migrate", made]) == 0
    return made


@action(effect="irreversible", idempotency="target_key")
async def pay(invoice: str) -> str:
    """Pay an invoice."""
    return f"paid {invoice}"


def paying(task: Task) -> Planning[str]:
    """Pay."""
    yield from act("pay", {"invoice": task.inputs.get("invoice", "A-77")})
    return "done"


def test_a_signed_and_encrypted_run_of_a_database_is_verified(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the same checks, by its copy in a folder, and by the command."""
    from scaffold.trace.postgres import PostgresJournal

    key = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv(VARIABLE, key)
    signer = made_up_key(1)

    async def run() -> str:
        journal = PostgresJournal(url)
        async with Scaffold(paying, actions=[pay], monitors=["rules"], journal=journal, signer=signer) as agent:
            return (await agent.solve(Task(prompt="Pay"))).run

    name = asyncio.run(run())
    journal = PostgresJournal(url)
    folder = journal.folder(name)
    found = verify_run(folder, key=signer.verifier())
    assert (found.ok, found.signed_by_key, found.withheld, found.sealed) == (True, True, 0, 0)
    assert b"A-77" not in b"".join(path.read_bytes() for path in folder.iterdir())
    assert [each.arguments for each in elsewhere(journal, 0.0) if each.run == name] == [{"invoice": "A-77"}]
    monkeypatch.delenv(VARIABLE)
    assert main(["audit", "verify", name, "--key", signer.verifier(), "--json", "--runs", url]) == 0
    assert json.loads(capsys.readouterr().out)["sealed"] > 0
    with pytest.raises(BadInput, match="encrypted"):
        elsewhere(PostgresJournal(url), 0.0)


# --- what can be done to a run of a database, and what verifying says


class Audited:
    """Makes signed runs in a database, changes them by hand, and runs `scaffold audit` on them."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.signer = made_up_key(1)
        self._capsys = capsys

    def solve(self, invoice: str) -> str:
        """A signed run that pays an invoice; gives its id."""
        from scaffold.trace.postgres import PostgresJournal

        async def run() -> str:
            journal = PostgresJournal(self.url)
            more: dict[str, Any] = {"journal": journal, "signer": self.signer}
            async with Scaffold(paying, actions=[pay], monitors=["rules"], **more) as agent:
                outcome = await agent.solve(Task(prompt="Pay", inputs={"invoice": invoice}))
            assert outcome.status == "solved", outcome.reason
            return outcome.run

        return asyncio.run(run())

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Do something to the tables, past the journal."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def __call__(self, *words: str) -> tuple[int, Any]:
        """Run a subcommand; gives its status, and what it printed as JSON."""
        self._capsys.readouterr()
        status = main(["audit", *words, "--json", "--runs", self.url])
        said = self._capsys.readouterr().out
        return status, json.loads(said) if said else None

    def verify(self, run: str, *more: str) -> dict[str, Any]:
        """Verify a run with its public key."""
        status, told = self("verify", run, "--key", self.signer.verifier(), *more)
        assert (status == 0) is told["ok"]
        found: dict[str, Any] = told
        return found


@pytest.fixture
def audited(url: str, capsys: pytest.CaptureFixture[str]) -> Audited:
    """The database, to be audited."""
    return Audited(url, capsys)


_TABLES = {
    "events": ("run, seq, kind, line", "seq"),
    "content": ("run, seq, line", "seq"),
    "heads": ("run, note", "number"),
}


def test_what_was_done_to_a_database_is_told_apart(audited: Audited, tmp_path: Path) -> None:
    """Lines altered, exchanged, deleted, content too, a rollback: as of files, with the public key alone."""
    run = audited.solve("A-1")
    assert audited.verify(run)["standing"] == "ended"
    kept = tmp_path / "kept"
    kept.write_text("\n".join(note for (note,) in audited.sql("SELECT note FROM scaffold.heads WHERE run = %s", run)))
    (events,) = audited.sql("SELECT max(seq) FROM scaffold.events WHERE run = %s", run)[0]

    for table in _TABLES:
        audited.sql(f"CREATE TABLE saved_{table} AS SELECT * FROM scaffold.{table} WHERE run = %s", run)  # noqa: S608 - names of ours

    def restored() -> str:
        """The run's id, once it is whole again."""
        for table, (columns, order) in _TABLES.items():
            audited.sql(f"DELETE FROM scaffold.{table} WHERE run = %s", run)  # noqa: S608 - as above
            again = f"SELECT {columns} FROM saved_{table} ORDER BY {order}"  # noqa: S608 - as above
            audited.sql(f"INSERT INTO scaffold.{table} ({columns}) {again}")
        return run

    set_line = "UPDATE scaffold.{} SET line = replace(line::text, %s, %s)::json WHERE run = %s AND seq = %s"
    altered = set_line.format("events")
    audited.sql(altered, '"at":', '"at":1', run, 3)
    assert (audited.verify(run)["state"], audited.verify(run)["line"]) == ("altered", 3)
    audited.sql("UPDATE scaffold.events SET seq = -seq WHERE run = %s AND seq IN (4, 5)", restored())
    audited.sql("UPDATE scaffold.events SET seq = 9 + seq WHERE run = %s AND seq < 0", run)
    assert (audited.verify(run)["state"], audited.verify(run)["line"]) == ("altered", 4)
    audited.sql("DELETE FROM scaffold.events WHERE run = %s AND seq = 2", restored())
    assert (audited.verify(run)["state"], audited.verify(run)["line"]) == ("altered", 2)
    audited.sql(set_line.format("content"), "A-1", "A-9", restored(), 1)
    assert audited.verify(run)["state"] == "content altered"
    audited.sql("DELETE FROM scaffold.content WHERE run = %s", restored())
    found = audited.verify(run)
    assert (found["ok"], found["withheld"] > 1, found["signed_by_key"]) == (True, True, True)
    audited.sql("DELETE FROM scaffold.events WHERE run = %s AND seq = %s", restored(), events)
    assert audited.verify(run)["state"] == "rolled back"
    audited.sql("DELETE FROM scaffold.heads WHERE run = %s", run)
    assert audited.verify(run)["state"] == "cut off"
    assert audited.verify(run, "--against", str(kept))["state"] == "rolled back"
    audited.sql("UPDATE scaffold.heads SET note = %s WHERE run = %s", "not a head", restored())
    assert not audited.verify(run)["ok"]
    assert audited.verify(restored())["ok"]


def test_a_run_is_verified_while_it_is_written(audited: Audited) -> None:
    """However often it is looked at meanwhile, it is called running or, at last, verified: never damaged."""
    from scaffold.trace.postgres import PostgresJournal

    states: list[str] = []

    def planner(_: Task) -> Planning[str]:
        for place in range(12):
            yield from act("pay", {"invoice": f"W-{place}"})
        return "done"

    async def run() -> str:
        journal = PostgresJournal(audited.url)
        more: dict[str, Any] = {"journal": journal, "signer": audited.signer}
        async with Scaffold(planner, actions=[pay], monitors=["rules"], **more) as agent:
            solving = asyncio.create_task(agent.solve(Task(prompt="Pay them all")))
            while not solving.done():
                for name in await asyncio.to_thread(journal.runs):
                    if name not in before:
                        folder = await asyncio.to_thread(journal.folder, name)
                        found = await asyncio.to_thread(verify_run, folder, key=audited.signer.verifier(), running=True)
                        states.append(found.state)
                await asyncio.sleep(0)
            return (await solving).run

    before = set(PostgresJournal(audited.url).runs())
    name = asyncio.run(run())
    assert set(states) <= {"verified", "running", "unsigned", "cut off"}, states
    assert audited.verify(name)["ok"]


def test_a_database_keeps_the_heads_of_runs_that_are_elsewhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--heads-to journal:postgresql://...` keeps them, and `--against` it shows a rollback of a run in files."""
    (tmp_path / "task.yaml").write_text("prompt: Say ok\nplanner: direct\nbackends: {default: 'scripted:ok'}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["database", "migrate", url]) == 0
    capsys.readouterr()
    assert main(["audit", "key", "key"]) == 0
    line = capsys.readouterr().out.strip()
    where = ["--key", "key", "--heads-to", f"journal:{url}", "--runs", "runs"]
    assert main(["solve", "task.yaml", *where]) == 0
    checks = ["audit", "verify", "last", "--key", line, "--against", url, "--json", "--runs", "runs"]
    capsys.readouterr()
    assert main(checks) == 0
    (run,) = Path("runs").glob("2*/")
    spine = (run / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (run / "trace.jsonl").write_bytes(b"".join(spine[:-1]))
    (run / "heads").unlink()
    capsys.readouterr()
    assert main(checks) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "rolled back"


# --- what is kept no longer


def test_one_persons_content_goes_from_a_database_and_its_spine_verifies(audited: Audited) -> None:
    """Only what mentions them, in whatever case, their answers too; other runs are as they were."""
    theirs, others = audited.solve("Zoe-1"), audited.solve("Bob-1")
    for name, by in (("a", "Zoe"), ("b", "Ann")):
        said = json.dumps({"id": name, "digest": "d", "by": by})
        audited.sql("INSERT INTO scaffold.inbox (run, id, person, answer) VALUES (%s, %s, '', %s)", theirs, name, said)
    whole = audited.sql("SELECT count(*) FROM scaffold.content WHERE run = %s", theirs)[0][0]
    status, (row,) = audited("prune", theirs, others, "--mentioning", "zoe")
    assert (status, row["run"], row["answers"], 0 < row["contents"] < whole) == (0, theirs, 1, True)
    assert audited.sql("SELECT count(*) FROM scaffold.content WHERE run = %s", theirs) == [(whole,)]
    assert audited("prune", theirs, others, "--mentioning", "zoe", "--yes") == (0, [row])
    left = audited.sql("SELECT line::text FROM scaffold.content WHERE run = %s", theirs)
    assert len(left) == whole - row["contents"]
    assert not any("Zoe" in line for (line,) in left)
    assert audited.sql("SELECT id FROM scaffold.inbox WHERE run = %s", theirs) == [("b",)]
    found = audited.verify(theirs)
    assert (found["ok"], found["withheld"]) == (True, row["contents"])
    assert audited.verify(others)["withheld"] == 0
    assert audited("prune", theirs, "--mentioning", "zoe", "--yes") == (0, [])


def test_all_content_or_a_whole_run_goes_from_a_database(audited: Audited) -> None:
    """By name or age; what a removed run acted on is not acted on again; one that goes on is passed over."""
    run, old = audited.solve("C-1"), audited.solve("C-2")
    assert audited("prune", old, "--older-than", "1h", "--whole") == (0, [])
    status, (row,) = audited("prune", run, "--yes")
    assert (status, row["contents"] > 3) == (0, True)
    assert audited.verify(run)["ok"]
    assert audited("prune", old, "--whole", "--yes")[1][0]["gone"] is True
    for table in ("runs", "events", "content", "heads", "inbox"):
        left = audited.sql(f"SELECT count(*) FROM scaffold.{table} WHERE run = %s", old)  # noqa: S608 - a name of ours
        assert left == [(0,)], table
    assert audited("verify", old)[0] == 2
    held = audited.solve("C-3")
    audited.sql("UPDATE scaffold.runs SET leased_until = clock_timestamp() + interval '1 hour' WHERE run = %s", held)
    status, (row,) = audited("prune", held, "--yes")
    assert (status, "being written by another process" in row["passed_over"]) == (1, True)
    audited.sql("UPDATE scaffold.runs SET leased_until = NULL WHERE run = %s", held)
    audited.sql("DELETE FROM scaffold.events WHERE run = %s AND kind = 'run.ended'", held)
    assert "has not ended" in audited("prune", held, "--yes")[1][0]["passed_over"]
    epoch = audited.sql("SELECT epoch FROM scaffold.runs WHERE run = %s", held)
    assert audited("prune", held, "--unfinished", "--yes")[0] == 0
    assert audited.sql("SELECT epoch FROM scaffold.runs WHERE run = %s", held) > epoch  # a straggler stores no more


def test_encrypted_content_of_a_database_is_not_looked_into_blindly(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key the run is passed over and nothing goes; all of its content can go all the same."""
    monkeypatch.setenv(VARIABLE, base64.b64encode(os.urandom(32)).decode())
    run = audited.solve("Zoe-9")
    monkeypatch.delenv(VARIABLE)
    count = "SELECT count(*) FROM scaffold.content WHERE run = %s"
    before = audited.sql(count, run)
    status, (row,) = audited("prune", run, "--mentioning", "zoe", "--yes")
    assert (status, "is encrypted" in row["passed_over"]) == (1, True)
    assert audited.sql(count, run) == before
    assert audited("prune", run, "--yes")[0] == 0
    assert audited.sql(count, run) == [(0,)]


def test_a_database_needs_no_compressing(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """PostgreSQL does that by itself, which is said; so one job can tend files and databases."""
    assert main(["audit", "compress", "--runs", url]) == 0
    assert "PostgreSQL compresses long content by itself" in capsys.readouterr().out
