"""procrastinate as the engine, where there is only PostgreSQL: a run is a job; a dead worker's jobs go to others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from scaffold.errors import MissingExtra, Unavailable
from scaffold.trace.postgres.database import said_of

if TYPE_CHECKING:
    from scaffold.workers.carrying import Carry

try:
    import procrastinate
    from procrastinate import exceptions
except ImportError:
    raise MissingExtra("the engine procrastinate", "procrastinate") from None

_TASK = "scaffold.run"
_QUEUE = "scaffold"
_MOST_AT_ONCE = 500
_POLL_S = 1.0


class _Later(Exception):
    """The run is to be handed out again, in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds


def _said(error: Exception) -> str:
    """What the database said, in one line."""
    return " ".join(str(error.__cause__ or error).split())


class _PutOff(procrastinate.BaseRetryStrategy):
    """What is put off comes again when it is time, however often; whatever else goes wrong does so once."""

    def get_retry_decision(self, *, exception: BaseException, job: Any) -> procrastinate.RetryDecision | None:
        if isinstance(exception, _Later):
            return procrastinate.RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=exception.seconds))
        return None


class Queueing:
    """procrastinate on one database.

    Args:
        address: `postgresql://...`; the tables of its queue are made when they are missing.
    """

    def __init__(self, address: str) -> None:
        self._where = said_of(address)
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=address, kwargs={"connect_timeout": 10})
        )
        self._carry: Carry | None = None
        self._task = self._app.task(name=_TASK, queue=_QUEUE, retry=_PutOff(), pass_context=True)(self._run)

    async def __aenter__(self) -> Self:
        try:
            await self._app.open_async()
            await self._make_tables()
        except exceptions.ConnectorException as error:
            raise Unavailable(f"the queue in {self._where} cannot be used: {_said(error)}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._app.close_async()

    async def _make_tables(self) -> None:
        if await self._is_there():
            return
        try:
            await self._app.schema_manager.apply_schema_async()
        except exceptions.ConnectorException:
            if not await self._is_there():  # else another was first
                raise

    async def _is_there(self) -> bool:
        found = await self._app.connector.execute_query_one_async(
            "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS there"
        )
        return bool(found["there"])

    async def deliver(self, runs: Sequence[str]) -> None:
        """Put runs into the queue.

        Raises:
            Unavailable: the database has not come back within half a minute, or will not.
        """
        for start in range(0, len(runs), _MOST_AT_ONCE):
            jobs: list[dict[str, Any]] = [{"run": run} for run in runs[start : start + _MOST_AT_ONCE]]
            try:
                await self._task.batch_defer_async(*jobs)
            except exceptions.ConnectorException as error:
                raise Unavailable(f"the queue in {self._where} cannot be used: {_said(error)}") from None

    async def _run(self, context: Any, run: str) -> None:
        carry = self._carry
        if carry is None:
            raise _Later(1.0)
        again = await carry(run, context.job.attempts)
        if again is not None:
            raise _Later(again)

    async def work(self, carry: Carry, *, at_once: int, heartbeat: float, drain: bool) -> None:
        """Take jobs, and hand out again those of workers that have given no sign of life."""
        self._carry = carry
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
                stalled_worker_timeout=heartbeat,
                delete_jobs="successful",
            )
        finally:
            minding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await minding
            self._carry = None

    async def _mind(self, heartbeat: float) -> None:
        manager = self._app.job_manager
        while True:
            with contextlib.suppress(exceptions.ConnectorException):
                for job in await manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=heartbeat):
                    await manager.retry_job(job)
            await asyncio.sleep(heartbeat / 4)
