"""A queue whose database breaks off: no worker dies of it, and no run that was handed out is forgotten."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from scaffold.errors import Unavailable
from scaffold.workers.engines import engine_of

if TYPE_CHECKING:
    from tests.workers.conftest import Office

_PATIENCE_S = 60.0
_DEPLOYMENT = Path(__file__).parents[2] / "docs" / "deployment.md"
# The first that is asked for is broken off, and rolled back; the sequence remembers, as no transaction undoes it.
_BREAKS_ONCE = """
CREATE SEQUENCE asked;
CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('asked') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF;
    RETURN coalesce(NEW, OLD);
END $$;
"""


class Told:
    """What a worker was handed, and what it says to that: the first time that it be handed out again, then nothing."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    async def carry(self, run: str, _attempt: int) -> float | None:
        """Say it."""
        self.runs.append(run)
        return 0.0 if self.runs.count(run) == 1 else None


def worked(
    office: Office,
    before: Callable[[Any], None],
    told: Told,
    *,
    until: Callable[[], bool],
    runs: Sequence[str] = ("one", "two"),
) -> None:
    """Have a queue's worker do what it is handed, until so.

    Args:
        office: whose database it is.
        before: what is done to the database once its tables are there.
        told: carries.
        until: when it is over.
        runs: what is put into the queue.
    """

    async def go() -> None:
        async with engine_of(office.runs) as engine:
            with psycopg.connect(office.runs, autocommit=True) as owner:
                before(owner)
            working = asyncio.ensure_future(engine.work(told.carry, at_once=2, heartbeat=1.0, drain=False))
            try:
                await engine.deliver(runs)
                async with asyncio.timeout(_PATIENCE_S):
                    while not (until() or working.done()):  # noqa: ASYNC110 - nobody tells us
                        await asyncio.sleep(0.02)
            finally:
                working.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await working

    asyncio.run(go())


def _left(office: Office) -> int:
    with psycopg.connect(office.runs) as reader:
        ((number,),) = reader.execute("SELECT count(*) FROM procrastinate_jobs").fetchall()
    return int(number)


@pytest.mark.parametrize(
    "what",
    [
        "INSERT ON procrastinate_jobs",  # they are handed over
        "UPDATE ON procrastinate_jobs",  # one is taken, or given back
        "DELETE ON procrastinate_jobs",  # one is done
        "UPDATE ON procrastinate_workers",  # a sign of life
        "INSERT ON procrastinate_workers",
    ],
)
def test_a_connection_that_breaks_is_asked_again(what: str, office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was being asked: each run is done, and the worker goes on, without a word but of the connection."""

    def break_off(owner: Any) -> None:
        owner.execute(_BREAKS_ONCE)
        owner.execute(f"CREATE TRIGGER breaks BEFORE {what} FOR EACH ROW EXECUTE FUNCTION break_off()")

    def broken() -> bool:
        with psycopg.connect(office.runs) as reader:
            ((called,),) = reader.execute("SELECT last_value > 1 FROM asked").fetchall()
        return bool(called)

    told = Told()
    worked(office, break_off, told, until=lambda: {"one", "two"} <= set(told.runs) and not _left(office) and broken())
    assert not caplog.records or {record.name for record in caplog.records} <= {"psycopg.pool", "psycopg"}


def test_what_a_worker_was_given_and_never_heard_of_is_handed_out_again(office: Office) -> None:
    """The database gave it away, and the connection broke before it was told: nobody else would ask for it."""
    told = Told()

    def given() -> bool:
        if not _left(office) and "three" not in told.runs:
            with psycopg.connect(office.runs, autocommit=True) as owner:
                owner.execute(
                    "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)"
                    """ SELECT 'scaffold', 'scaffold.run', '{"run": "three"}', 'doing', id FROM procrastinate_workers"""
                )
        return told.runs.count("three") == 2 and not _left(office)  # put off once

    worked(office, lambda _: None, told, until=given)


def test_what_a_worker_is_at_work_on_is_not_handed_out_again(office: Office) -> None:
    """However often it looks for what it was given and never heard of."""
    told = Told()

    async def carry(run: str, _attempt: int) -> None:
        told.runs.append(run)
        await asyncio.sleep(2.0)  # eight looks

    told.carry = carry  # type: ignore[method-assign]  # it is the same to who calls it
    worked(office, lambda _: None, told, until=lambda: bool(told.runs) and not _left(office), runs=["one"])
    assert told.runs == ["one"]


def test_what_is_put_off_is_handed_out_at_its_time(office: Office) -> None:
    """Not before, or a run that waits for a person would keep its workers busy."""
    told, times = Told(), list[float]()

    async def carry(run: str, _attempt: int) -> float | None:
        told.runs.append(run)
        times.append(time.monotonic())
        return 2.5 if len(times) == 1 else None

    told.carry = carry  # type: ignore[method-assign]  # it is the same to who calls it
    worked(office, lambda _: None, told, until=lambda: len(times) > 1 and not _left(office), runs=["one"])
    assert times[1] - times[0] > 2.4


def test_nor_is_the_first_one_forgotten(office: Office) -> None:
    """The worker was given no other yet."""
    told = Told()

    def given(owner: Any) -> None:
        owner.execute(
            "CREATE FUNCTION gives() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)"
            """ VALUES ('scaffold', 'scaffold.run', '{"run": "one"}', 'doing', NEW.id); RETURN NEW; END $$;"""
            "CREATE TRIGGER gives AFTER INSERT ON procrastinate_workers FOR EACH ROW EXECUTE FUNCTION gives()"
        )

    worked(office, given, told, runs=(), until=lambda: told.runs.count("one") == 2 and not _left(office))


def test_a_worker_that_ends_a_job_which_is_another_s_by_now_goes_on(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a pause that was longer than its heartbeat: that the run is over, or put off, is nobody's fault."""
    told = Told()

    async def carry(run: str, _attempt: int) -> float | None:
        with psycopg.connect(office.runs, autocommit=True) as owner:
            owner.execute("DELETE FROM procrastinate_jobs WHERE args->>'run' = %s", (run,))
        told.runs.append(run)
        return 1.0 if run == "one" else None

    told.carry = carry  # type: ignore[method-assign]  # it is the same to who calls it
    worked(office, lambda _: None, told, until=lambda: set(told.runs) == {"one", "two"})
    assert not caplog.records


def test_a_queue_that_is_not_there_is_told_of_at_once(office: Office, tmp_path: Path) -> None:
    """A line, with the status of what is away, however long one might wait for it."""
    worker = office.worker(f"postgresql:///none?host={tmp_path}")
    assert worker.wait(_PATIENCE_S) == 5, office.logs()
    (_, *said) = office.logs().split("working for")[1].splitlines()
    assert len(said) == 1
    assert said[0].startswith(
        f"error: the queue cannot be used: PostgreSQL at postgresql:///none?host={tmp_path} cannot be"
    )


def test_a_worker_that_gave_no_sign_for_long_is_not_put_out_by_a_new_one(office: Office) -> None:
    """As after hours without a database: the first worker that is started does not have the others die."""
    first = office.worker(office.runs, heartbeat="60")
    over = time.monotonic() + _PATIENCE_S
    with psycopg.connect(office.runs, autocommit=True) as owner:

        def signs(told: str) -> int:
            return owner.execute(told.encode()).rowcount

        while not _is_there(owner) or not signs("SELECT FROM procrastinate_workers"):
            assert time.monotonic() < over, office.logs()
            time.sleep(0.05)
        signs("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '3 hours'")
    assert office.worker(office.runs, "--drain").wait(_PATIENCE_S) == 0, office.logs()
    assert office.batch(office.runs, office.invoices(2)).wait(_PATIENCE_S) == 0, office.logs()
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0, office.logs()


def test_workers_go_on_with_runs_whose_budget_was_raised(office: Office) -> None:
    """The batch raises it before it hands them out again; without that, they stay as they are."""
    with (office.folder / "task.yaml").open("a", encoding="utf-8") as file:
        file.write("budget: {tokens: 1}\n")
    office.worker(office.runs)
    inputs = office.invoices(2)
    spent = 4
    assert office.batch(office.runs, inputs).wait(_PATIENCE_S) == spent, office.logs()
    assert office.batch(office.runs, inputs).wait(_PATIENCE_S) == spent, office.logs()
    more = office.batch(office.runs, inputs, "--budget", "tokens=90000")
    assert more.wait(_PATIENCE_S) == 0, office.logs()


def _is_there(owner: Any) -> bool:
    return bool(owner.execute("SELECT to_regclass('procrastinate_workers') IS NOT NULL").fetchone()[0])


def test_a_worker_that_may_not_make_tables_uses_the_owners(office: Office) -> None:
    """Before they are made it is told what to do; then what docs/deployment.md grants is enough."""
    app = office.runs.replace("user=owner", "user=queue_app")
    assert app != office.runs
    told = Told()

    async def work() -> None:
        with pytest.raises(Unavailable, match=r"this role may not make them: run `scaffold worker .* --drain` once as"):
            async with engine_of(app):
                pass
        async with engine_of(office.runs):
            pass
        with psycopg.connect(office.runs, autocommit=True) as owner:
            for grant in grants:
                owner.execute(grant.replace("scaffold_app", "queue_app").encode())
        async with engine_of(app) as engine:
            await engine.deliver(["one"])
            await engine.work(told.carry, at_once=2, heartbeat=1.0, drain=True)

    page = _DEPLOYMENT.read_text(encoding="utf-8").splitlines()
    grants = [line.partition(";")[0] for line in page if line.startswith("GRANT ") and " public " in line]
    assert len(grants) == 2
    with psycopg.connect(office.runs, autocommit=True) as owner:
        owner.execute("CREATE ROLE queue_app LOGIN")
    asyncio.run(work())
    assert "one" in told.runs
