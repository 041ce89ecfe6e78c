"""A worker thread: it processes a queue beside the main thread, with a gate around another agent's loop in each job.

python examples/embedding/worker.py
"""

from __future__ import annotations

import queue
import threading

from scaffold import Gate, Goal, Task, action
from scaffold.errors import ActionRefused

PAID: list[str] = []


@action(effect="irreversible", identity=("invoice",))
def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    PAID.append(invoice)
    return f"paid {cents} for {invoice}"


LIMIT = Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500")


def work(gate: Gate, jobs: queue.Queue[tuple[str, int] | None], said: list[str]) -> None:
    """Process jobs until none is left; each is a run with its own trace."""
    while (job := jobs.get()) is not None:
        invoice, cents = job
        with gate.run_sync(Task(prompt=f"Pay {invoice}", goals=(LIMIT,))) as run:
            run.think(f"{invoice} is due")
            try:
                run.answer(run.act("pay", {"invoice": invoice, "cents": cents}).value)
            except ActionRefused as error:
                run.answer(f"not paid: {error.message}")
        said.append(str(run.outcome.answer))


def main() -> None:
    """Two workers share one gate, which keeps no state of a run."""
    gate = Gate(actions=[pay], monitors=["rules"])
    jobs: queue.Queue[tuple[str, int] | None] = queue.Queue()
    said: list[str] = []
    workers = [threading.Thread(target=work, args=(gate, jobs, said)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for job in [("i1", 100), ("i2", 900), ("i3", 300), None, None]:
        jobs.put(job)
    for worker in workers:
        worker.join()
    print(*sorted(said), sep="\n")
    assert sorted(PAID) == ["i1", "i3"]


if __name__ == "__main__":
    main()
