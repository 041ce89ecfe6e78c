"""What showing a run costs it: a span live, a collector that does not answer, and a large trace exported afterwards.

    python benchmarks/tracing.py                     # all rows
    python benchmarks/tracing.py --steps 2000 --spans 20000

One JSON line a row. `live`: CPU of the whole process a span, threads, figures and HTTP included, as the difference
between runs that are shown to a collector and runs that are not, in turn; its `floor` is what OpenTelemetry itself
takes to make, queue and send as many spans with eight attributes, and `tasks` says it in asyncio tasks that do nothing.
`stall`: the longest that a step's events took to be taken in while the collector answers nothing for a minute, and how
long the run took beside one that is not shown. `export`: spans a second of `scaffold audit export`, and the most memory
that it took for a tenth of the trace and for all of it. The collector is another process, so it counts for none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unit import noop_task

from scaffold import Budget, Planning, Scaffold, Task, act, action, think
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage

NO_LIMIT = Budget(tokens=None, seconds=None, steps=None, actions=None)
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
COLLECTOR = """
import sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Clerk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(float(sys.argv[1]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Clerk)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
"""


class Nothing:
    """A backend that answers at once, with some reasoning."""

    profile = Profile(backend="nothing", model="nothing", prices=FREE, reasoning="full", can=frozenset({"n"}))

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Give one sample."""
        yield Delta(text="ok", reasoning="it is", finish="stop", usage=Usage(5, 3, 2))

    async def close(self) -> None:
        """Nothing to free."""


@action(effect="irreversible", idempotency="target_key")
async def nothing(number: int) -> int:
    """Do nothing."""
    return number


def working(n: int) -> Callable[[Task], Planning[str]]:
    """N times a step and an action that is reviewed: five spans."""

    def planner(_task: Task) -> Planning[str]:
        for number in range(n):
            yield from think("solve", number)
            yield from act("nothing", {"number": number})
        return "done"

    return planner


async def _no_sync(_descriptor: int) -> None:
    return None


@contextmanager
def collector(delay: float = 0.0) -> Iterator[str]:
    """A collector in a process of its own; gives its address."""
    command = [sys.executable, "-c", COLLECTOR, str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - the program stands above
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def solve(folder: Path, steps: int, endpoint: str = "") -> tuple[float, str]:
    """Run the planner; gives CPU seconds of the process, and the run."""
    os.environ.pop(ENDPOINT, None)
    if endpoint:
        os.environ[ENDPOINT] = endpoint

    async def run() -> tuple[float, str]:
        journal = FileJournal(folder, fsync=_no_sync)
        agent = Scaffold(
            working(steps), backends={"default": Nothing()}, monitors=["rules"], actions=[nothing], journal=journal
        )
        async with agent:
            began = time.process_time()
            outcome = await agent.solve(Task(prompt="work", budget=NO_LIMIT))
            spent = time.process_time() - began
        assert outcome.status == "solved", outcome.reason
        return spent, outcome.run

    return asyncio.run(run())


def own_cost(spans: int, endpoint: str) -> float:
    """CPU seconds that OpenTelemetry takes to make, queue and send spans with the attributes of one of ours."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ[ENDPOINT] = endpoint
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=spans + 1))
    tracer = provider.get_tracer("floor")
    began = time.process_time()
    for number in range(spans):
        attributes = {f"scaffold.attribute.{place}": number for place in range(8)}
        with tracer.start_as_current_span("step solve", attributes=attributes):
            pass
    provider.shutdown()
    return time.process_time() - began


def live(steps: int, rounds: int) -> None:
    """CPU a span of being shown."""
    spans = 5 * steps + 1
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(spans + 1)  # so that none is spared by being lost
    added, floors, tasks = [], [], []
    with tempfile.TemporaryDirectory() as folder, collector() as endpoint:
        solve(Path(folder), 50, endpoint)  # what is imported and opened once
        for _ in range(rounds):
            bare, _run = solve(Path(folder), steps)
            shown, _run = solve(Path(folder), steps, endpoint)
            added.append((shown - bare) / spans * 1e6)
            floors.append(own_cost(spans, endpoint) / spans * 1e6)
            tasks.append(asyncio.run(noop_task()) * 1e6)
    row = {
        "row": "live",
        "spans": spans,
        "us_a_span": round(statistics.median(added), 1),
        "least": round(min(added), 1),
        "floor_us": round(statistics.median(floors), 1),
        "ratio": round(statistics.median(one / floor for one, floor in zip(added, floors, strict=True)), 2),
        "task_us": round(statistics.median(tasks), 1),
        "tasks": round(statistics.median(one / task for one, task in zip(added, tasks, strict=True)), 2),
        "aim_us": 150,
    }
    print(json.dumps(row), flush=True)


def stall(steps: int) -> None:
    """The longest that taking in an event took, while the collector does not answer."""
    from scaffold.projections.live import CLOSE_SECONDS, LiveExport

    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = "2048"
    slowest: list[float] = []

    def timed(method: Callable[..., None]) -> Callable[..., None]:
        def call(*given: object) -> None:
            began = time.perf_counter()
            method(*given)
            slowest.append(time.perf_counter() - began)

        return call

    with tempfile.TemporaryDirectory() as folder, collector(delay=60.0) as endpoint:
        began = time.perf_counter()
        solve(Path(folder), steps)
        bare = time.perf_counter() - began
        follow = LiveExport.follow
        LiveExport.follow = timed(follow)  # type: ignore[method-assign]  # timed, not replaced
        try:
            began = time.perf_counter()
            solve(Path(folder), steps, endpoint)
            seconds = time.perf_counter() - began - CLOSE_SECONDS  # which its end may wait for the collector
        finally:
            LiveExport.follow = follow  # type: ignore[method-assign]  # as above
    slowest.sort()
    row = {
        "row": "stall",
        "events": len(slowest),
        "p999_ms": round(slowest[int(len(slowest) * 0.999)] * 1e3, 2),
        "longest_ms": round(slowest[-1] * 1e3, 2),
        "run_seconds": round(seconds, 1),
        "bare_seconds": round(bare, 1),
    }
    print(json.dumps(row), flush=True)


def export(spans: int) -> None:
    """Speed and memory of a later export, for a tenth of the spans and for all."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, collector() as endpoint:
        for count in (spans // 10, spans):
            _, run = solve(Path(folder), count // 5)
            code = (
                "import resource, sys; from scaffold.cli import main; main(sys.argv[1:]);"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
            )
            command = [sys.executable, "-c", code, "audit", "export", run, "--runs", folder]
            began = time.perf_counter()
            done = subprocess.run(  # noqa: S603 - the program stands above
                command, env=os.environ | {ENDPOINT: endpoint}, capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - began
            assert done.returncode == 0, done.stderr
            said, peak = done.stdout.strip().splitlines()
            rows.append((int(said.split()[1]), seconds, int(peak) / 1024))
    (few, _, small), (many, seconds, large) = rows
    row = {
        "row": "export",
        "spans": many,
        "spans_a_second": round(many / seconds),
        "peak_mb": round(large, 1),
        "peak_mb_of_a_tenth": round(small, 1),
        "ratio": round(large / small, 3),
        "tenth": few,
    }
    print(json.dumps(row), flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--spans", type=int, default=100_000)
    told = parser.parse_args()
    live(told.steps, told.rounds)
    stall(told.steps)
    export(told.spans)


if __name__ == "__main__":
    main()
