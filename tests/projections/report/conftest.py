"""A run in which everything happens that a report has to show, and a report taken apart again without a browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from tests.core.conftest import Person, Watcher, World

from scaffold import (
    Confidence,
    Goal,
    Plan,
    Planned,
    Planning,
    Task,
    Verdict,
    act,
    ask,
    carry_out,
    majority,
    note,
    propose,
    several,
    think,
)
from scaffold.errors import ActionError
from scaffold.interfaces import Answer, Surroundings
from scaffold.machinery.reviewing.rereading import reread
from scaffold.odds.run_calibration import RunCalibration
from scaffold.projections.report.page import Written, write_report
from scaffold.trace.chain import GENESIS, seal
from scaffold.trace.files import FileJournal
from scaffold.trace.verify import verify_run
from scaffold.vocabulary.models import Sample
from scaffold.vocabulary.outcome import Outcome
from scaffold.vocabulary.review import Evidence, Objection

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<a href=\"javascript:document.title='owned'\">here</a><svg onload=\"document.title='owned'\">\u202egnihsihp"
)
QUOTE = "nobody will look at the second account"


class Judged(BaseModel):
    """An answer that states how sure it is."""

    due: bool
    sure: Confidence


def replies(words: str) -> dict[str, Any]:
    """What the model says: with reasoning, in votes that differ, with a confidence, and with a text of one's own."""
    return {
        "Which invoice": [
            Sample(0, "i1", reasoning=f"It is late, and {QUOTE}. So it is i1. {words}"),
            *(Sample(0, text, reasoning="It says i1.") for text in ("i1", "i2", "flagged", "i1", "i1")),
        ],
        "Is it due": [
            Sample(0, json.dumps({"due": due, "sure": sure}))
            for due, sure in ((True, 0.9), (True, 0.8), (False, 0.9), (True, 0.6))
        ],
        "Sum up": f"All is well. {words}",
    }


def everything(words: str) -> Any:
    """A planner that thinks, votes, proposes twice, acts, is refused, asks and notes."""

    def planner(task: Task) -> Planning[str]:
        which = yield from think(
            "understand", task.prompt, instruction="Which invoice?", sampling=majority(5, flags=(_is_plain,))
        )
        yield from think("evaluate", which, instruction="Is it due?", returns=Judged, sampling=several(4))
        yield from note(f"chosen {words}", partial={"chosen": which.value})
        first = Plan([Planned("pay", {"invoice": which, "cents": 990}, id="late")], reason=f"It is late. {words}")
        review = yield from propose(first)
        assert not review.allowed
        seen = Planned("look", {"at": "the account"}, id="seen")
        second = Plan([seen, Planned("pay", {"invoice": which, "cents": 940}, id="paid", after=(seen,))], reason="Due.")
        review = yield from propose(second)
        yield from carry_out(second, review)
        with contextlib.suppress(ActionError):
            yield from act("post", {"text": words})
        yield from ask(f"Anything else? {words}")
        summed = yield from think("answer", which, instruction="Sum up.")
        return str(summed.value)

    return planner


def _is_plain(text: str) -> bool:
    return text != "flagged"


def careful(words: str) -> Any:
    """A reviewer: flags a step by its words, sends one plan back, has a person see payments, blocks what is posted."""

    def says(subject: Any) -> Any:
        if subject.kind == "step" and QUOTE in subject.step.reasoning:
            evidence = (
                Evidence(quote=QUOTE),
                Evidence(quote="i1", path="text", end=2),
                Evidence(quote=f"i1 {words}", path="elsewhere", event=1),
            )
            return Verdict(
                decision="flag", rationale=f"it hides {words}", score=0.8, property="deceit", evidence=evidence
            )
        names = {call.action for call in subject.plan}
        if subject.kind == "plan" and any(call.arguments.get("cents") == 990 for call in subject.plan):
            said = (Objection("late", f"the invoice says 9.40 {words}"),)
            return Verdict(decision="revise", objections=said, rationale="the amount is wrong")
        if names == {"post"}:
            return Verdict(decision="block", rationale=f"nothing is posted {words}", feedback="not this")
        if subject.kind == "action" and names == {"pay"}:
            return Verdict(decision="escalate", rationale=f"a person has to see it {words}")
        return Verdict(decision="allow")

    return says


class Studio:
    """Makes runs, and reports of them.

    Attributes:
        world: where they happen.
        runs: the folder of runs.
    """

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.runs = folder / "runs"
        self.folder = folder

    def everything(self, words: str = "", **more: Any) -> Outcome:
        """The run in which everything happens; `words` stand wherever a trace can hold any."""
        watches = frozenset({"step", "plan", "action"})
        kept = Watcher(careful(words), name="careful", watches=watches)
        broken = Watcher(RuntimeError(f"it broke {words}"), name="broken", watches=frozenset({"step"}), mode="observe")
        approver = Person(lambda asked: _answer(asked, words))
        task = Task(prompt=f"Pay what is due {words}", goals=(Goal(kind="constraint", statement=f"Pay once {words}"),))
        agent = self.world.agent(
            everything(words), replies(words), monitors=[kept, broken], approvers=[approver], **more
        )
        outcome: Outcome = agent.solve_sync(task)
        assert outcome.status == "solved", outcome.reason
        return outcome

    def read_again(self, run: str, says: Any, out: str = "") -> str:
        """Have a monitor read all of a run later; gives the review's id."""
        monitor = Watcher(says, name="later", watches=frozenset({"step", "plan", "action", "observation", "answer"}))
        journal, reviews = (
            FileJournal(self.runs),
            FileJournal(self.folder / out if out else self.runs / run / "reviews"),
        )
        reading = reread(journal, run, reviews, monitors=[monitor], backends={}, surroundings=Surroundings())
        with ThreadPoolExecutor() as executor:  # a browser's driver may have a loop of its own in this thread
            return executor.submit(asyncio.run, reading).result().review

    def report(self, run: str, name: str = "report.html", **more: Any) -> Report:
        """Write the report of a run, and take it apart."""
        folder, output = self.runs / run, self.folder / name
        found = verify_run(folder)
        written = write_report(folder, output, found, confidences=RunCalibration(), **more)
        return Report(output, written)


def _answer(asked: Any, words: str) -> Answer:
    return Answer(id=asked.id, digest=asked.digest, granted=True, value="no", by="ann", comment=f"fine {words}")


class Report:
    """A report, as one who reads its source would find it.

    Attributes:
        path: the file.
        text: all of it.
        written: what its writer said of it.
    """

    def __init__(self, path: Path, written: Written) -> None:
        self.path = path
        self.text = path.read_text()
        self.written = written

    def part(self, name: str) -> str:
        """One of its packed parts."""
        found = re.search(rf'<p id="{name}">([^<]*)</p>', self.text)
        assert found is not None, name
        return zlib.decompress(base64.b64decode(found[1])).decode()

    @property
    def manifest(self) -> dict[str, Any]:
        """What it says of the whole run."""
        told: dict[str, Any] = json.loads(self.part("manifest-0"))
        return told

    @property
    def figures(self) -> dict[str, Any]:
        """What the run came to."""
        told: dict[str, Any] = self.manifest["figures"]
        return told

    def index(self) -> list[list[Any]]:
        """Its rows, in the order of the trace."""
        columns = [json.loads(self.part(f"index-{number}")) for number in range(self.manifest["indexes"])]
        rows = [
            [[seq, *rest] if isinstance(rest, list) else list(range(seq, seq + rest)), *more]
            for part in columns
            for seq, rest, *more in zip(*part, strict=True)
        ]
        return sorted(rows, key=lambda row: row[0][0])

    def later(self) -> list[list[Any]]:
        """What later reviews said: which review, of what, at which key, its digest, the strictest, and where it is."""
        parts = [self.part(f"later-{number}").splitlines() for number in range(self.manifest["later"])]
        return [json.loads(line) for part in parts for line in part]

    def line(self, told: list[Any]) -> list[dict[str, Any]]:
        """The events that a line of an index leads to."""
        events: list[dict[str, Any]] = json.loads(self.part(f"block-{told[-2]}").splitlines()[told[-1]])
        return events

    def rows(self) -> list[list[dict[str, Any]]]:
        """The events of each row, in the same order."""
        blocks = [self.part(f"block-{number}").splitlines() for number in range(self.manifest["blocks"])]
        return [json.loads(blocks[row[-2]][row[-1]]) for row in self.index()]


ODD: list[Any] = [
    {"asked": {}, "messages": 4, "provenance": 5, "samples": {"a": 1}, "reasons": {"b": [2]}, "error": [1]},
    {"call": [], "calls": {"a": 1}, "verdicts": 7, "samples": "none", "asked": 5, "objections": [3, {"node": []}]},
    {"call": {"arguments": [1]}, "calls": [1, {"id": {}}], "verdicts": [1, {"evidence": [2, {"event": "x"}]}]},
    {"samples": [{"text": 1}], "value": {"deep": [None]}, "asked": {}, "task": [], "config": 3, "text": {"a": 1}},
    {"verdicts": [{"monitor": 3, "usage": 5, "evidence": {}}], "samples": [[]], "asked": [1, 2, 3, 4, "x"]},
    ["a", "list"],
    "a text",
    None,
]


def rewrite(folder: Path, body: Any) -> None:
    """Give each content of a run another body, and the spine the hashes that fit."""
    contents, lines, mark = {}, [], GENESIS
    for line in (folder / "content.jsonl").read_text().splitlines():
        told = json.loads(line)
        new = json.dumps(body(told["seq"], told["body"]), separators=(",", ":"))
        contents[told["seq"]] = (f'{{"seq":{told["seq"]},"salt":"{told["salt"]}","body":{new}}}\n', told["salt"], new)
    for line in (folder / "trace.jsonl").read_text().splitlines():
        event = json.loads(line)
        del event["hash"]
        if event["seq"] in contents:
            _, salt, new = contents[event["seq"]]
            event["content"] = sha256(bytes.fromhex(salt) + new.encode()).hexdigest()
        sealed, mark = seal(mark, json.dumps(event, separators=(",", ":")).encode())
        lines.append(sealed + b"\n")
    (folder / "content.jsonl").write_text("".join(line for line, _, _ in contents.values()))
    (folder / "trace.jsonl").write_bytes(b"".join(lines))


class Whole(NamedTuple):
    """The run in which everything happens, and its report; neither is to be changed."""

    outcome: Outcome
    report: Report


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Made once for all."""
    studio = Studio(tmp_path_factory.mktemp("everything"))
    outcome = studio.everything()
    return Whole(outcome, studio.report(outcome.run))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A studio of its own for each test."""
    return Studio(tmp_path)
