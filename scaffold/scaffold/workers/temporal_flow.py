"""The workflow of one run: an activity that continues the run, repeated after a while as long as it asks for that.

Temporal replays this code, so it stands alone: everything it imports is imported again for each replay.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

ACTIVITY = "scaffold.carry"
WORKFLOW = "scaffold.run"
_LONGEST = timedelta(days=30)
_ROUNDS = 200


@workflow.defn(name=WORKFLOW)
class CarryRun:
    """The workflow of one run."""

    @workflow.run
    async def run(self, run: str, heartbeat: float) -> None:
        """Continue the run until there is nothing more to do; cancelling pauses it."""
        for attempt in range(_ROUNDS):
            again: float | None = await workflow.execute_activity(
                ACTIVITY,
                args=[run, attempt],
                result_type=float | None,  # type: ignore[arg-type]  # a type as any other
                start_to_close_timeout=_LONGEST,
                heartbeat_timeout=timedelta(seconds=heartbeat),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(seconds=0.1),
                    backoff_coefficient=1.5,
                    maximum_interval=timedelta(seconds=heartbeat / 4),
                    non_retryable_error_types=["UnknownRun"],
                ),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
            if again is None:
                return
            if again:
                await workflow.sleep(again)
        workflow.continue_as_new(args=[run, heartbeat])
