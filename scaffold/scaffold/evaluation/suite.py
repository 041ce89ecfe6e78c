"""Reads a suite: a task, cases with expected answers, a scorer, and the agents to compare.

    task: task.yaml                  # or the task itself
    cases: cases.jsonl               # {"id": "a1", "question": "2 + 2?", "expected": 4}, or a list of such
    scorer: number
    matrix:
      planner: [direct, stepwise]
      backends: {small: smollm2, large: openai:gpt-5-mini}
      monitors: {none: [], rules: [rules]}
    repeats: 3

Every case is solved by every combination in the matrix. For a choice of monitors without one that checks rules, the
rules of the task's goals are left out, so that guarded and unguarded agents can be compared.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scaffold import document as documents
from scaffold import registry, taskfile
from scaffold.batch.items import Fault, Item, Line, line_of, made_of, read_lines
from scaffold.batch.results import digest_of
from scaffold.document import Document, show
from scaffold.errors import BadInput, TaskError, unknown
from scaffold.evaluation.scoring import NOTHING, Scorer, make_scorer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.taskfile import Shared, Template
    from scaffold.vocabulary.outcome import Outcome

AXES = ("planner", "backends", "monitors")
KEYS = ("task", "cases", "scorer", "matrix", "repeats")
_OF_A_CASE = ("expected", "scorer")
_MOST_REPEATS = 1000


class Cell(NamedTuple):
    """One combination of the matrix.

    Attributes:
        labels: its label on each axis.
        said: the values that replace the task's own.
    """

    labels: dict[str, str]
    said: dict[str, Any]

    @property
    def name(self) -> str:
        """Its labels as one text."""
        return " ".join(self.labels.values()) or "as is"


class Suite:
    """A suite as read from its file.

    Attributes:
        cells: the combinations of the matrix.
        repeats: how often each case is solved.

    Raises:
        TaskError: something in the file is wrong; names the line and the key.
    """

    def __init__(self, path: Path) -> None:
        self.document = document = documents.read(path)
        if not isinstance(document.value, dict):
            raise document.fault("a suite should be a mapping: `task`, `cases`, `scorer` and so on")
        for key in document.value:
            if key not in KEYS:
                raise document.fault(unknown(key, KEYS), (key,))
        for key in ("task", "cases"):
            if key not in document.value:
                raise document.fault(f"`{key}` is missing")
        self._base = path.parent
        self._task = self._read_task()
        self._scorers: dict[str, Scorer] = {}
        with document.locating(within=("scorer",)):
            self.scorer(document.value.get("scorer", "exact"))
        self.cells = self._read_matrix()
        self.repeats = document.value.get("repeats", 1)
        if not isinstance(self.repeats, int) or isinstance(self.repeats, bool) or not 0 < self.repeats <= _MOST_REPEATS:
            raise document.fault(
                f"should be a whole number from 1 to {_MOST_REPEATS}, not {show(self.repeats)}", ("repeats",)
            )

    @property
    def what(self) -> str:
        """Return the digest of what all results share; cells and cases may be added later."""
        return digest_of("suite", self._task.value, self.document.value.get("scorer", "exact"))

    def count(self) -> int:
        """Return the number of runs."""
        cases = sum(1 for _ in self._lines())
        return cases * len(self.cells) * int(self.repeats)

    def templates(self, shared: Shared, changes: taskfile.Changes | None = None, **outside: Any) -> list[Template]:
        """Make an agent's template for each cell.

        Raises:
            TaskError: one of them cannot be made; names the line.
        """
        made = []
        for cell in self.cells:
            task = self._task
            try:
                document = Document(task.path, _unruled({**task.value, **cell.said}, cell), task.lines)
                made.append(taskfile.Template(document, changes, shared=shared, **outside))
            except TaskError as error:
                axis = next((each for each in error.path if each in cell.said), None)
                if axis is None:
                    raise
                raise self.document.fault(error.args[0], ("matrix", str(axis), cell.labels[str(axis)])) from None
        return made

    def items(self, templates: list[Template]) -> Iterator[Item | Fault]:
        """Yield every case, for each cell in turn."""
        for cell, template in zip(self.cells, templates, strict=True):
            for repeat in range(1, self.repeats + 1):
                for line in self._lines():
                    if isinstance(line, Fault):
                        if cell is self.cells[0] and repeat == 1:
                            yield line  # told once, not once for each cell
                    else:
                        yield self._item(line, cell, template, repeat)

    def finish(self, item: Item, outcome: Outcome) -> dict[str, Any]:
        """Score a run: what its row says beside the outcome."""
        scorer = self.scorer(item.shown.get("scorer", self.document.value.get("scorer", "exact")))
        judged = scorer.judge(outcome, item.shown.get("expected", NOTHING))
        spent = sum(each.cost for each in outcome.actions if each.status in {"performed", "unknown"})
        return {"outcome": judged.mark, "why": judged.why, "actions_usd": round(spent, 6)}

    def scorer(self, said: Any) -> Scorer:
        """Return the scorer of this name and options, made once."""
        key = repr(said)
        if key not in self._scorers:
            self._scorers[key] = make_scorer(said, self._base)
        return self._scorers[key]

    def _item(self, line: Line, cell: Cell, template: Template, repeat: int) -> Item:
        name = "/".join([*cell.labels.values(), line.id]) + (f"#{repeat}" if repeat > 1 else "")
        asked = digest_of(line.inputs, line.prompt, line.rest, cell.said)
        shown = {"case": line.id, "cell": cell.labels, "repeat": repeat, "input": line.shown(), **line.rest}
        return Item(line.where, name, asked, shown, partial(made_of, template, line))

    def _lines(self) -> Iterator[Line | Fault]:
        """Yield the cases, each with an `expected` that its scorer can use."""
        said = self.document.value["cases"]
        if isinstance(said, str):
            lines: Iterator[Line | Fault] = read_lines(self._base / said, _OF_A_CASE)
        elif isinstance(said, list):
            lines = self._listed(said)
        else:
            raise self.document.fault("should be the name of a JSONL file, or a list of cases", ("cases",))
        for line in lines:
            if isinstance(line, Line):
                try:
                    scorer = self.scorer(line.rest.get("scorer", self.document.value.get("scorer", "exact")))
                    scorer.check(line.rest.get("expected", NOTHING))
                except (BadInput, ValueError) as error:
                    yield Fault(f"{line.where}: {error}")
                    continue
            yield line

    def _listed(self, said: list[Any]) -> Iterator[Line | Fault]:
        seen: dict[str, str] = {}
        for number, each in enumerate(said):
            where = self.document.where(("cases", number))[0]
            try:
                line = line_of(each, where, str(number + 1), _OF_A_CASE)
            except ValueError as error:
                yield Fault(f"{where}: {error}")
                continue
            if line.id in seen:
                yield Fault(f"{where}: the id {line.id!r} is also at {seen[line.id]}: ids must be unique")
                continue
            seen[line.id] = where
            yield line

    def _read_task(self) -> Document:
        said = self.document.value["task"]
        if isinstance(said, str):
            return taskfile.read(self._base / said)
        if not isinstance(said, dict):
            raise self.document.fault("should be the name of a task file, or a task", ("task",))
        lines = {place[1:]: line for place, line in self.document.lines.items() if place[:1] == ("task",)}
        return taskfile.checked(Document(self.document.path, said, lines))

    def _read_matrix(self) -> list[Cell]:
        matrix = self.document.value.get("matrix") or {}
        if not isinstance(matrix, dict):
            raise self.document.fault(
                "should be a mapping of planner, backends and monitors to their choices", ("matrix",)
            )
        for axis in matrix:
            if axis not in AXES:
                raise self.document.fault(unknown(axis, AXES), ("matrix", axis))
        choices = [[(axis, *choice) for choice in self._choices(axis, said).items()] for axis, said in matrix.items()]
        return [
            Cell({axis: label for axis, label, _ in combined}, {axis: said for axis, _, said in combined})
            for combined in itertools.product(*choices)
        ]

    def _choices(self, axis: str, said: Any) -> dict[str, Any]:
        """Return the choices of an axis by label; names alone are their own labels."""
        place = ("matrix", axis)
        if isinstance(said, dict) and said:
            return said
        if not isinstance(said, list) or not said:
            raise self.document.fault("should be a list of names, or a mapping of labels to what they mean", place)
        choices = {}
        for number, each in enumerate(said):
            if not isinstance(each, str):
                hint = "give each a label: `monitors: {none: [], rules: [rules]}`"
                raise self.document.fault(f"is not a name: {hint}", (*place, number))
            choices[each] = [each] if axis == "monitors" else each
        return choices


def _unruled(value: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """Remove a task's rules if no monitor of the cell checks them."""
    monitors, goals = cell.said.get("monitors"), value.get("goals")
    if not isinstance(monitors, list) or not isinstance(goals, list):
        return value
    named = [each if isinstance(each, dict) else {each: None} for each in monitors]
    made = [registry.make_monitor(name, settings or {}) for each in named for name, settings in each.items()]
    if any(monitor.spec.reads_rules for monitor in made):
        return value
    plain = [
        {key: said for key, said in each.items() if key != "rule"} if isinstance(each, dict) else each for each in goals
    ]
    return {**value, "goals": plain}
