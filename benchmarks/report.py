"""How long the report of a run of 100,000 events takes to write, how large it is, and how quickly a browser opens it.

    python benchmarks/report.py [EVENTS] [--keep FOLDER]

The run is a real one, of a scripted backend that reasons at some length, with a monitor that reads every step. One JSON
line a row; the floor of each row is measured in the same run, interleaved:

    write    CPU seconds and most memory of the command; the floor is `scaffold audit verify`, which it does as well
    size     of the file, in the trace's own bytes
    open     headless Chromium, from the address to the first move shown, and the CPU that all its processes took for
             it; the floor is a page of the same size whose data nobody looks at, in the same browser
    use      a filter, a jump into the middle, a scroll through the list, a search through all content
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from scaffold import Plan, Planned, Planning, Scaffold, Task, Verdict, action, carry_out, propose, think
from scaffold.trace.files import SPINE, FileJournal
from scaffold.trace.parts import content_lines
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage
from scaffold.vocabulary.review import Evidence, MonitorSpec, Subject
from scaffold.vocabulary.task import Budget

ROUNDS = 5
WORDS = [
    "the",
    "invoice",
    "is",
    "due",
    "its",
    "account",
    "stands",
    "in",
    "a",
    "list",
    "so",
    "we",
    "pay",
    "what",
    "it",
    "says",
]


@action(effect="reversible")
async def book(entry: str, cents: int) -> str:
    """Book an entry."""
    return f"booked {entry}: {cents}"


class Reasoner:
    """Reasons for some hundred words, other ones each time, and answers in ten."""

    profile = Profile(backend="reasoner", model="of words", context=100_000, prices=FREE, reasoning="full")

    def __init__(self) -> None:
        self._random = random.Random(8)

    async def generate(self, _: Request) -> AsyncGenerator[Delta]:
        """Answer."""
        reasoning = " ".join(self._random.choices(WORDS, k=120)) + f" {self._random.random()}"
        text = " ".join(self._random.choices(WORDS, k=10))
        yield Delta(reasoning=reasoning)
        yield Delta(text=text, finish="stop", usage=Usage(input=60, output=140, reasoning=130))

    async def close(self) -> None:
        """Nothing to free."""


class Reader:
    """Reads every step, and flags one in fifty, with its words."""

    spec = MonitorSpec(name="reader", watches=frozenset({"step", "plan"}))

    async def review(self, subject: Subject, *_: Any) -> Verdict:
        """Say what was found."""
        step = subject.step
        if step is None or hash(step.reasoning) % 50:
            return Verdict(decision="allow", score=0.1, property="drift")
        quote = " ".join(step.reasoning.split()[20:28])
        return Verdict(
            decision="flag",
            rationale="it repeats itself",
            score=0.9,
            property="drift",
            evidence=(Evidence(quote=quote),),
        )


def working(events: int) -> Any:
    """A planner that thinks and acts until about so many events have happened."""

    def planner(_: Task) -> Planning[str]:
        for place in range(events // 100):
            thought = yield from think("understand", f"entry {place}")
            for _step in range(20):
                thought = yield from think("solve", thought)
            plan = Plan([Planned("book", {"entry": f"e{place}-{each}", "cents": 100 + each}) for each in range(2)])
            review = yield from propose(plan)
            yield from carry_out(plan, review)
        return "done"

    return planner


def make(folder: Path, events: int) -> str:
    """Make the run."""
    agent = Scaffold(
        working(events),
        backends={"default": Reasoner()},
        monitors=[Reader()],
        actions=[book],
        journal=FileJournal(folder),
    )
    bounds = Budget(tokens=None, seconds=None, steps=None, actions=None)
    outcome = agent.solve_sync(Task(prompt="Book all entries", budget=bounds))
    assert outcome.status == "solved", outcome
    return outcome.run


def cpu(*words: str) -> tuple[float, float]:
    """CPU seconds of a command, and the most memory of all commands so far in megabytes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "scaffold.cli", *words], check=True, capture_output=True)  # noqa: S603 - our own command
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss / 1024


def write_rows(folder: Path, run: str, report: Path) -> None:
    """Time the command, and weigh what it writes."""
    floor, took = [], []
    for _ in range(3):
        floor.append(cpu("audit", "verify", run, "--runs", str(folder)))
        took.append(cpu("audit", "report", run, "-o", str(report), "--runs", str(folder)))
    verify, write = (statistics.median(each for each, _ in times) for times in (floor, took))
    row = {"write": round(write, 2), "verify": round(verify, 2), "ratio": round(write / verify, 2)}
    print(json.dumps({**row, "megabytes": round(took[-1][1]), "verify_megabytes": round(floor[0][1])}), flush=True)
    trace = (folder / run / SPINE).stat().st_size + sum(map(len, content_lines(folder / run)))
    size = report.stat().st_size
    row = {"size": size, "trace": trace, "ratio": round(size / trace, 3)}
    print(json.dumps(row), flush=True)


def spent() -> float:
    """CPU seconds of all processes below this one, by Linux's account of them."""
    parents, seconds = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(stat.parent.name)] = int(words[1])
        seconds[int(stat.parent.name)] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    below = {os.getpid()}
    for _ in range(8):  # as deep as a browser's processes stand, and deeper
        below |= {process for process, parent in parents.items() if parent in below}
    return sum(seconds.get(process, 0.0) for process in below - {os.getpid()})


def browse(report: Path, floor: Path) -> None:
    """Open both in turn, and use the report."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        print(json.dumps({"open": "there is no chromium here"}))
        return
    opened: dict[Path, list[tuple[float, float]]] = {report: [], floor: []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(ROUNDS):
            for path, times in opened.items():
                page = browser.new_page()
                worked, began = spent(), time.perf_counter()
                page.goto(path.as_uri(), wait_until="commit")
                page.wait_for_selector("html[data-ready]")
                times.append((time.perf_counter() - began, spent() - worked))
                page.close()
        took, least = (
            [statistics.median(each) for each in zip(*opened[path], strict=True)] for path in (report, floor)
        )
        worst = max(seconds for seconds, _ in opened[report])
        row = {"open": round(took[0], 2), "worst": round(worst, 2), "floor": round(least[0], 2)}
        print(json.dumps({**row, "cpu": round(took[1], 2), "floor_cpu": round(least[1], 2)}), flush=True)
        page = browser.new_page()
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        print(json.dumps({"use": {name: page.evaluate(_TIMED, name) for name in _USES}}), flush=True)
        browser.close()


# Milliseconds until the page has done it and drawn it.
_TIMED = """async (name) => {
    const uses = {
        filter: () => document.querySelector('[data-look=flag]').click(),
        unfilter: () => document.querySelector('[data-look=flag]').click(),
        jump: () => { at('goto').value = '50000'; at('goto').dispatchEvent(new Event('change')); },
        scroll: () => { at('list').scrollTop = 300000; },
        search: () => new Promise((found) => {
            at('find').value = 'e900-1';
            at('find').dispatchEvent(new Event('input'));
            const look = () => (/^[1-9]\\d* of [\\d,]+$/.test(at('count').textContent) ? found() : setTimeout(look, 5));
            setTimeout(look, 5);
        }),
    };
    const began = performance.now();
    await uses[name]();
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
    return Math.round(performance.now() - began);
}"""
_USES = ("filter", "unfilter", "jump", "scroll", "search")
_FLOOR = """<!doctype html><html><script type="text/plain">{}</script>
<script>document.documentElement.dataset.ready = 1</script></html>"""


def main() -> None:
    """Measure."""
    words = [word for word in sys.argv[1:] if word.isdigit()]
    keep = Path(sys.argv[-1]) if "--keep" in sys.argv else Path(tempfile.mkdtemp())
    events = int(words[0]) if words else 100_000
    run = make(keep / "runs", events)
    report, floor = keep / "run.html", keep / "floor.html"
    write_rows(keep / "runs", run, report)
    floor.write_text(_FLOOR.format("A" * report.stat().st_size))
    browse(report, floor)
    if "--keep" not in sys.argv:
        shutil.rmtree(keep)


if __name__ == "__main__":
    main()
