"""procrastinate as the engine, which needs only PostgreSQL: a run is a job, and a dead worker's jobs go to others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from scaffold.errors import JournalFailed, MissingExtra, Unavailable
from scaffold.trace.postgres.database import Postgres, said_of

if TYPE_CHECKING:
    from scaffold.workers.carrying import Carry

try:
    import procrastinate
    import psycopg
    from procrastinate import exceptions
    from psycopg_pool import AsyncConnectionPool
except ImportError:
    raise MissingExtra("the engine procrastinate", "procrastinate") from None

_TASK = "scaffold.run"
_QUEUE = "scaffold"
_MOST_AT_ONCE = 500
_POLL_S = 1.0
_CONNECT_S = 10
_PATIENCE_S = 30.0
_AGAIN_S = 0.5
# Workers without a sign of life for this long are forgotten. Until then one may come back, and needs its row.
_FORGOTTEN_S = 7 * 86_400.0
_BROKEN = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)

T = TypeVar("T")


class _Later(Exception):
    """The run is to be delivered again after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds


def _said(error: Exception) -> str:
    """Return the database's error in one line."""
    return " ".join(str(error.__cause__ or error).split())


class _Patient(procrastinate.PsycopgConnector):
    """Retries while the database is unreachable, so a statement may be executed twice.

    Attributes:
        working: the worker's task, which retries until cancelled; all others retry for half a minute.
        worker: our worker id in the queue, once we have asked it for a job.
    """

    working: asyncio.Task[Any] | None = None
    worker: int | None = None

    def _leaving(self) -> bool:
        return self.working is not None and self.working.cancelling() > 0

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        """Record that a job has ended or is postponed, or a sign of life.

        Errors are ignored for a job that is no longer its worker's, or that a first try has ended; and in a leaving
        worker, which stops its signs of life, so that others get its jobs.
        """
        ask = super().execute_query_async
        try:
            await self._ask(lambda: ask(query, **arguments))
        except exceptions.ConnectorException as error:
            if not self._leaving() and not isinstance(error.__cause__, psycopg.errors.RaiseException):
                raise

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        """As above."""
        self.worker = arguments.get("worker_id", self.worker)
        ask = super().execute_query_one_async
        return await self._ask(lambda: ask(query, **arguments))

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        """As above."""
        ask = super().execute_query_all_async
        return await self._ask(lambda: ask(query, **arguments))

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Listen until cancelled."""
        listen = super().listen_notify
        await self._ask(lambda: listen(on_notification, channels))

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_S
        while True:
            try:
                return await ask()
            except exceptions.ConnectorException as error:
                waits = self.working is not None or loop.time() < until
                if self._leaving() or not waits or not isinstance(error.__cause__, _BROKEN):
                    raise
            await asyncio.sleep(_AGAIN_S)


def _unchecked(**said: Any) -> AsyncConnectionPool:
    """Make a pool that does not check connections; a broken one shows when it is used.

    With procrastinate's checks, each broken connection doubles the wait for the next one.
    """
    return AsyncConnectionPool(**{**said, "check": None})


class _PutOff(procrastinate.BaseRetryStrategy):
    """Retries postponed runs at their time, any number of times; other errors are not retried."""

    def get_retry_decision(self, *, exception: BaseException, job: Any) -> procrastinate.RetryDecision | None:
        if isinstance(exception, _Later):
            return procrastinate.RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=exception.seconds))
        return None


class Queueing:
    """procrastinate on one database.

    Args:
        address: `postgresql://...`; missing tables of the queue are created.
    """

    def __init__(self, address: str) -> None:
        self._where, self._address = said_of(address), address
        self._connector = _Patient(
            conninfo=address, pool_factory=_unchecked, timeout=_CONNECT_S, kwargs={"connect_timeout": _CONNECT_S}
        )
        self._app = procrastinate.App(connector=self._connector)
        self._carry: Carry | None = None
        self._jobs: set[int] = set()  # under way here
        self._task = self._app.task(name=_TASK, queue=_QUEUE, retry=_PutOff(), pass_context=True)(self._run)

    async def __aenter__(self) -> Self:
        try:
            async with Postgres(self._address).alone():
                pass  # says at once what a pool, which goes on asking, does not
            await self._app.open_async()
            await self._make_tables()
        except (JournalFailed, psycopg.OperationalError) as error:
            raise Unavailable(f"the queue cannot be used: {error}") from None
        except exceptions.ConnectorException as error:
            raise self._unavailable(error) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._app.close_async()

    async def _make_tables(self) -> None:
        if await self._is_there():
            return
        try:
            await self._app.schema_manager.apply_schema_async()
        except exceptions.ConnectorException as error:
            if await self._is_there():
                return  # another was first
            if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
                said = f"the queue in {self._where} has no tables, and this role may not make them"
                cure = "run `scaffold worker --engine ... --drain` once as the owner, and grant them to this role"
                raise Unavailable(f"{said}: {cure}") from None
            raise

    async def _is_there(self) -> bool:
        found = await self._app.connector.execute_query_one_async(
            "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS there"
        )
        return bool(found["there"])

    async def deliver(self, runs: Sequence[str]) -> None:
        """Add runs to the queue.

        Raises:
            Unavailable: the database was not reachable within half a minute, or refuses.
        """
        for start in range(0, len(runs), _MOST_AT_ONCE):
            jobs: list[dict[str, Any]] = [{"run": run} for run in runs[start : start + _MOST_AT_ONCE]]
            try:
                await self._task.batch_defer_async(*jobs)
            except exceptions.ConnectorException as error:
                raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(f"the queue in {self._where} cannot be used: {_said(error)}")

    async def _run(self, context: Any, run: str) -> None:
        carry = self._carry
        if carry is None:
            raise _Later(1.0)
        self._jobs.add(context.job.id)
        try:
            again = await carry(run, context.job.attempts)
        finally:
            self._jobs.discard(context.job.id)
        if again is not None:
            raise _Later(again)

    async def work(self, carry: Carry, *, at_once: int, heartbeat: float, drain: bool) -> None:
        """Take jobs, and requeue those of workers without a sign of life.

        Raises:
            Unavailable: the database is unreachable, and the work was asked to end.
        """
        self._carry, self._connector.working = carry, asyncio.current_task()
        minding = asyncio.ensure_future(self._mind(heartbeat))
        try:
            await self._app.run_worker_async(
                queues=[_QUEUE],
                concurrency=at_once,
                wait=not drain,
                install_signal_handlers=False,
                listen_notify=not drain,
                fetch_job_polling_interval=_POLL_S,
                update_heartbeat_interval=heartbeat / 3,
                stalled_worker_timeout=_FORGOTTEN_S,
                delete_jobs="successful",
            )
        except exceptions.ConnectorException as error:
            raise self._unavailable(error) from None
        finally:
            minding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await minding
            self._carry = self._connector.working = self._connector.worker = None

    async def _mind(self, heartbeat: float) -> None:
        manager, before = self._app.job_manager, set[int | None]()
        while True:
            with contextlib.suppress(exceptions.ConnectorException):
                for job in await manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=heartbeat):
                    await manager.retry_job(job)
                # A job assigned to us whose reply was lost with the connection would never be continued.
                worker = self._connector.worker
                ours = [] if worker is None else await self._given(worker)
                for job in ours:
                    if job.id in before:
                        await manager.retry_job(job)
                before = {job.id for job in ours}
            await asyncio.sleep(heartbeat / 4)

    async def _given(self, worker: int) -> list[Any]:
        """Return the jobs that the queue has assigned to this worker and that are not under way."""
        jobs = await self._app.job_manager.list_jobs_async(queue=_QUEUE, status="doing", worker_id=worker)
        return [job for job in jobs if job.id not in self._jobs]
