"""How quickly an approval is acted on, what waiting costs, and whether the page stays usable with a thousand waiting.

Rows, one JSON line each; the floor of each row is measured in the same run, interleaved:

    acted_on    from the answer lying in the inbox to the event `approval.given`, for a run that waits; the floor is
                the same run with the answer there before it looks
    waiting     processor time that one waiting run takes a second, beside a process that only sleeps
    queue       the whole queue read for the first time, and again; the floor reads the same files' bytes
    page        the page's queue over HTTP with that many waiting; the floor is the page's smallest file
    browser     the same in headless Chromium, where there is one: the page shown, the next question shown after a key,
                the next fifty, found by typing; the floor is a page of the same browser that is empty
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from scaffold import Planning, Scaffold, Task, Verdict, act, action
from scaffold.approvals.queue import Queue
from scaffold.approvals.reaching import Waits
from scaffold.interfaces import Answer
from scaffold.trace.files import FileJournal
from scaffold.trace.records import read_files
from scaffold.vocabulary.review import MonitorSpec

MANY = 1_000
ROUNDS = 20


@action(effect="irreversible")
async def pay(cents: int) -> int:
    """Pay."""
    return cents


class Careful:
    """Has a person see everything."""

    spec = MonitorSpec(name="careful", watches=frozenset({"action"}))

    async def review(self, *_: Any) -> Verdict:
        """Escalate."""
        return Verdict(decision="escalate", rationale="a person has to see it")


def paying(_: Task) -> Planning[int]:
    """Pay once."""
    observation = yield from act("pay", {"cents": 100})
    return int(observation.value)


def agent(folder: Path, **more: Any) -> Scaffold:
    """An agent that asks a person."""
    return Scaffold(paying, monitors=[Careful()], actions=[pay], journal=FileJournal(folder), **more)


def events(folder: Path, run: str) -> dict[str, dict[str, Any]]:
    """The last event of each kind."""
    lines = [json.loads(record.line) for record in read_files(folder / run)]
    return {line["kind"]: line for line in lines}


async def acted_on(folder: Path, *, waits: bool) -> float:
    """Seconds from an answer's being given to its being written down by the run."""
    journal, running = FileJournal(folder), None
    if waits:
        running = asyncio.create_task(agent(folder, approvers=[Waits()]).solve(Task(prompt="x")))
        await asyncio.sleep(0.3 + random.random() * 0.05)  # at any moment between two looks
        (run,) = (name for name in journal.runs() if "approval.given" not in events(folder, name))
    else:
        run = (await agent(folder).solve(Task(prompt="x"))).run
    asked = events(folder, run)["approval.asked"]
    await journal.post(run, Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann"))
    given = time.time()
    await (running if running is not None else agent(folder).resume(run))
    return float(events(folder, run)["approval.given"]["at"]) - given


async def cost_of_waiting(folder: Path, seconds: float) -> tuple[float, float]:
    """Share of a processor that one run takes while it waits, and that a sleeping loop takes."""
    running = asyncio.create_task(agent(folder, approvers=[Waits()]).solve(Task(prompt="x")))
    await asyncio.sleep(0.5)
    began = time.process_time()
    await asyncio.sleep(seconds)
    took = time.process_time() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    began = time.process_time()
    await asyncio.sleep(seconds)
    return took / seconds, (time.process_time() - began) / seconds


async def fill(folder: Path) -> None:
    """Make many runs that wait."""
    one = agent(folder)
    for _ in range(MANY):
        outcome = await one.solve(Task(prompt="x"))
        assert outcome.status == "waiting"


def timed(*functions: Any) -> float:
    """Milliseconds that calls take, one after another."""
    began = time.perf_counter()
    for function in functions:
        function()
    return (time.perf_counter() - began) * 1000


def queue_row(folder: Path) -> dict[str, Any]:
    """The queue, read and read again, beside the bytes alone."""
    first, again, floor = [], [], []
    for _ in range(5):
        queue = Queue(FileJournal(folder))
        first.append(timed(queue.waiting))
        again.append(timed(queue.waiting))
        floor.append(timed(lambda: [path.read_bytes() for path in folder.glob("*/*.jsonl")]))
        assert len(queue.waiting()) == MANY
    middle = {name: round(statistics.median(each), 1) for name, each in (("first_ms", first), ("again_ms", again))}
    return {"row": "queue", "waiting": MANY, **middle, "floor_ms": round(statistics.median(floor), 1)}


def page_row(folder: Path) -> dict[str, Any]:
    """The page over HTTP, while somebody listens for news as a browser would."""
    command = [sys.executable, "-u", "-m", "scaffold.cli", "approvals", "serve", "--as", "ann", "--runs", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        base = address.partition("/?")[0]
        lists, details, floor = [], [], []
        with httpx.Client(base_url=base, trust_env=False) as client:
            client.get(address)
            with client.stream("GET", "/api/news") as news:
                next(news.iter_raw())
                items = client.get("/api/queue").json()["items"]
                for number in range(ROUNDS):
                    floor.append(timed(lambda: client.get("/icon.svg")))
                    start = number * 50 % MANY
                    lists.append(timed(lambda start=start: client.get(f"/api/queue?from={start}")))
                    item = items[number % len(items)]
                    place = f"/api/runs/{item['run']}/{item['id']}"
                    details.append(timed(lambda place=place: client.get(place).raise_for_status()))
        process.terminate()
    return {
        "row": "page",
        "waiting": MANY,
        "list_ms": round(statistics.median(lists), 1),
        "detail_ms": round(statistics.median(details), 1),
        "list_worst_ms": round(max(lists), 1),
        "floor_ms": round(statistics.median(floor), 1),
    }


def browser_row(folder: Path, chromium: str) -> dict[str, Any]:
    """The page in a browser, by keyboard."""
    from playwright.sync_api import expect, sync_playwright

    command = [sys.executable, "-u", "-m", "scaffold.cli", "approvals", "serve", "--as", "ann", "--runs", str(folder)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,  # noqa: S603 - as above
        sync_playwright() as playwright,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        rows, detail = page.locator("#list button"), page.locator("#detail h2")
        last = FileJournal(folder).runs()[-1]
        floor = timed(lambda: page.goto("about:blank"))
        opened = timed(lambda: page.goto(address), lambda: expect(rows).to_have_count(50, timeout=30_000))
        chosen = []
        for _ in range(10):
            page.evaluate("document.getElementById('detail').replaceChildren()")
            chosen.append(timed(lambda: page.keyboard.press("j"), detail.wait_for))
        turned = timed(
            lambda: page.keyboard.press("n"), lambda: expect(page.locator("#range")).to_contain_text("51 to 100")
        )
        page.keyboard.press("/")
        found = timed(lambda: page.keyboard.insert_text(last), lambda: expect(rows).to_have_count(1))
        browser.close()
        process.terminate()
    figures = {"opened": opened, "chosen": statistics.median(chosen), "turned": turned, "found": found, "floor": floor}
    return {"row": "browser", "waiting": MANY, **{f"{name}_ms": round(figure) for name, figure in figures.items()}}


def main() -> None:
    """Print the rows."""
    folder = Path(tempfile.mkdtemp())
    try:
        waits, floor = [], []
        for _ in range(ROUNDS):
            waits.append(asyncio.run(acted_on(folder / "a", waits=True)) * 1000)
            floor.append(asyncio.run(acted_on(folder / "b", waits=False)) * 1000)
        print(
            json.dumps(
                {
                    "row": "acted_on",
                    "median_ms": round(statistics.median(waits), 1),
                    "worst_ms": round(max(waits), 1),
                    "floor_ms": round(statistics.median(floor), 1),
                }
            )
        )
        cost, idle = asyncio.run(cost_of_waiting(folder / "c", 5.0))
        print(json.dumps({"row": "waiting", "percent": round(cost * 100, 2), "floor_percent": round(idle * 100, 2)}))
        asyncio.run(fill(folder / "d"))
        print(json.dumps(queue_row(folder / "d")))
        print(json.dumps(page_row(folder / "d")))
        chromium = shutil.which("chromium")
        if chromium is not None:
            print(json.dumps(browser_row(folder / "d", chromium)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
