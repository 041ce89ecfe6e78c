"""Temporal as the engine: a run is a workflow of one activity, whose heartbeat shows that its worker is alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

from scaffold.errors import BadInput, MissingExtra, Unavailable

if TYPE_CHECKING:
    from scaffold.workers.carrying import Carry

try:
    from temporalio import activity
    from temporalio.client import Client
    from temporalio.common import WorkflowIDConflictPolicy
    from temporalio.service import RetryConfig, RPCError
    from temporalio.worker import Worker
except ImportError:
    raise MissingExtra("the engine Temporal", "temporal") from None

from scaffold.workers.temporal_flow import ACTIVITY, CarryRun

_AT_ONCE = 50
_PORT = 7233
_PATIENCE_S = 60
_SETTLE_S = 0.1
_HEARTBEAT_S = 30.0
_KNOWN = {"queue", "heartbeat", "tls", "api_key_env"}


class Temporal:
    """One task queue of a Temporal service.

    Args:
        address: `temporal://HOST:PORT/NAMESPACE?queue=NAME&heartbeat=SECONDS&tls=1&api_key_env=VARIABLE`; by default
            the queue is `scaffold` and the namespace `default`. `heartbeat` applies to runs delivered from here. The
            variable holds the service's API key, if it needs one.

    Raises:
        BadInput: the address is not valid, or the variable is empty.
    """

    def __init__(self, address: str) -> None:
        try:
            parts = urlsplit(address)
            port = parts.port or _PORT
        except ValueError as error:
            raise BadInput(f"{address!r} is not the address of a Temporal server: {error}") from None
        said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if not parts.hostname or said.keys() - _KNOWN:
            raise BadInput(
                f"{address!r} is not the address of a Temporal server: write temporal://HOST:PORT/NAMESPACE?queue=NAME"
            )
        self._target = f"{parts.hostname}:{port}"
        self._namespace = parts.path.strip("/") or "default"
        self._queue = said.get("queue", "scaffold")
        self._tls = said.get("tls", "") in {"1", "true"}
        self._heartbeat = _seconds(said.get("heartbeat", ""), address)
        variable = said.get("api_key_env", "")
        self._key = os.environ.get(variable, "")
        if variable and not self._key:
            raise BadInput(
                f"{address!r}: the environment variable {variable} is not set: set it to the key of the service"
            )
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        try:
            self._client = await Client.connect(
                self._target,
                namespace=self._namespace,
                tls=self._tls,
                api_key=self._key or None,
                # By default the client gives up a busy or restarting server after ten seconds.
                retry_config=RetryConfig(max_elapsed_time_millis=_PATIENCE_S * 1000, max_retries=100),
            )
        except RuntimeError as error:
            await _settled()
            raise Unavailable(f"Temporal at {self._target} cannot be reached: {' '.join(str(error).split())}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client = None
        await _settled()

    def _connected(self) -> Client:
        if self._client is None:
            raise Unavailable("not connected to Temporal: use `async with`")
        return self._client

    async def deliver(self, runs: Sequence[str]) -> None:
        """Start a workflow for each run, unless it has one."""
        client, places = self._connected(), asyncio.Semaphore(_AT_ONCE)

        async def start(run: str) -> None:
            async with places:
                await client.start_workflow(
                    CarryRun.run,
                    args=[run, self._heartbeat],
                    id=run,
                    task_queue=self._queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                )

        try:
            await asyncio.gather(*(start(run) for run in runs))
        except RPCError as error:
            raise Unavailable(f"Temporal at {self._target}: {error}") from None

    async def work(self, carry: Carry, *, at_once: int, heartbeat: float, drain: bool) -> None:
        """Perform activities; a cancelled run is paused.

        Raises:
            BadInput: `drain`, since Temporal does not tell when nothing is left.
        """
        if drain:
            raise BadInput("--drain cannot be used with Temporal, which does not tell when nothing is left")

        @activity.defn(name=ACTIVITY)
        async def carry_run(run: str, attempt: int) -> float | None:
            watched = activity.info().heartbeat_timeout  # set by the process that delivered the run
            often = heartbeat if watched is None else min(heartbeat, watched.total_seconds())
            beating = asyncio.ensure_future(_beat(often / 3))
            try:
                return await carry(run, attempt)
            finally:
                beating.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await beating

        worker = Worker(
            self._connected(),
            task_queue=self._queue,
            workflows=[CarryRun],
            activities=[carry_run],
            max_concurrent_activities=at_once,
            # What a workflow is to do next is kept for the worker that did it last, be it dead: by default ten seconds.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=heartbeat / 3),
            # `_beat` sets the rate. By default only one sign per four fifths of a heartbeat is sent, which may be late.
            max_heartbeat_throttle_interval=timedelta(milliseconds=100),
        )
        await worker.run()


def _seconds(said: str, address: str) -> float:
    try:
        seconds = float(said or _HEARTBEAT_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInput(f"the heartbeat of {address!r} should be a number of seconds above 0")
    return seconds


async def _settled() -> None:
    """Wait until threads of Temporal's library have left Python; exiting before would abort the interpreter."""
    await asyncio.sleep(_SETTLE_S)


async def _beat(seconds: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(seconds)
