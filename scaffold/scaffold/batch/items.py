"""Yields the tasks of a batch: from a template and the lines of a file, or from task files.

A line is one object of inputs, such as `{"question": "How many?", "table": [1, 2]}`. Three keys are special: `id` names
the task (by default the line's number), `prompt` replaces the template's, and `inputs` holds further inputs, which may
have one of these three names.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from scaffold import taskfile
from scaffold.batch.results import digest_of
from scaffold.errors import BadInput, TaskError
from scaffold.vocabulary.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scaffold.taskfile import Changes, Template
    from scaffold.vocabulary.outcome import Outcome
    from scaffold.vocabulary.task import Task

_OF_A_LINE = ("id", "prompt", "inputs")
_SHOWN = 40


class Fault(NamedTuple):
    """An invalid task: its place, and what is wrong. The others go on."""

    message: str


class Line(NamedTuple):
    """One line of inputs.

    Attributes:
        where: the file and the line's number.
        id: the task's name.
        inputs: its inputs.
        prompt: replaces the template's prompt.
        rest: values of the further keys that the reader allows.
    """

    where: str
    id: str
    inputs: dict[str, Any]
    prompt: str | None
    rest: dict[str, Any]

    def shown(self) -> dict[str, Any]:
        """Return what the results' row says of the line."""
        return self.inputs if self.prompt is None else {"prompt": self.prompt, **self.inputs}


class Solver(Protocol):
    """Solves the tasks of a batch: an agent, or a replacement for one."""

    async def prepare(self, say: Callable[[str, float], None] | None = None) -> None:
        """Load what is needed."""
        ...

    async def solve(self, task: Task, *, config: Mapping[str, Any] | None = None) -> Outcome:
        """Solve a task."""
        ...

    async def resume(self, run: str, *, budget: Mapping[str, float] | None = None, by: str = "") -> Outcome:
        """Resume a run, with limits that somebody raised."""
        ...

    def interrupt(self) -> bool:
        """Pause the runs under way; return whether there were any."""
        ...


class Ready(NamedTuple):
    """A task, its solver, and what is needed to build that agent again."""

    agent: Solver
    task: Task
    config: dict[str, Any]


class Item(NamedTuple):
    """One task of a batch.

    Attributes:
        where: its source, for messages.
        id: its name in the results.
        asked: digest of what is asked.
        shown: what its row says of it.
        make: prepares it when its turn comes; never called if it is done already.
    """

    where: str
    id: str
    asked: str
    shown: dict[str, Any]
    make: Callable[[], Ready]


def read_lines(path: Path, also: Sequence[str] = ()) -> Iterator[Line | Fault]:
    """Read a file of inputs line by line; a bad line yields a fault, and reading goes on.

    Args:
        path: JSON Lines.
        also: names of further keys that are not inputs.

    Raises:
        BadInput: the file cannot be read.
    """
    seen: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    yield _line(raw, f"{path}:{number}", number, also, seen)
    except OSError as error:
        raise BadInput(f"cannot read inputs from {path}: {error.strerror}") from None


def count_lines(path: Path) -> int | None:
    """Count the lines of inputs in a file; None for a pipe, which can be read only once."""
    if path.is_fifo():
        return None
    try:
        with path.open("rb") as file:
            return sum(1 for raw in file if raw.strip())
    except OSError as error:
        raise BadInput(f"cannot read inputs from {path}: {error.strerror}") from None


def _line(raw: bytes, where: str, number: int, also: Sequence[str], seen: dict[str, int]) -> Line | Fault:
    try:
        made = line_of(_object(raw), where, str(number), also)
    except ValueError as error:
        return Fault(f"{where}: {error}")
    if made.id in seen:
        return Fault(f"{where}: the id {made.id!r} is also on line {seen[made.id]}: ids must be unique")
    seen[made.id] = number
    return made


def line_of(value: Any, where: str, name: str, also: Sequence[str] = ()) -> Line:
    """Parse one object of inputs.

    Raises:
        ValueError: it is not valid; says why.
    """
    if not isinstance(value, dict):
        raise ValueError('should be an object of inputs, such as {"question": "How many?"}')  # noqa: TRY004 - data, no types
    try:
        canonical(value)
    except UnicodeEncodeError:
        raise ValueError("contains half of a surrogate pair, which is not valid text") from None
    named, prompt, inner = value.get("id", name), value.get("prompt"), value.get("inputs", {})
    if isinstance(named, bool) or not isinstance(named, str | int) or named == "":
        raise ValueError(f"`id` should be a name or a number, not {json.dumps(named)[:_SHOWN]}")
    if prompt is not None and not isinstance(prompt, str):
        raise ValueError("`prompt` is text")
    if not isinstance(inner, dict):
        raise ValueError("`inputs` should be an object of inputs by their names")  # noqa: TRY004 - as above
    inputs = {key: each for key, each in value.items() if key not in {*_OF_A_LINE, *also}}
    doubled = next((key for key in inner if key in inputs), None)
    if doubled is not None:
        raise ValueError(f"the input {doubled!r} is both in the line and in its `inputs`: give it once")
    rest = {key: value[key] for key in also if key in value}
    return Line(where, str(named), {**inputs, **inner}, prompt, rest)


def _object(raw: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number that can be recorded")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} appears twice")
        return made

    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=refuse, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} (column {error.colno})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        too_long = "Exceeds the limit" in str(error)  # Python's own bound on digits
        raise ValueError("has a number with too many digits" if too_long else str(error)) from None


def items_of_lines(template: Template, lines: Iterable[Line | Fault]) -> Iterator[Item | Fault]:
    """Make an item of each line."""
    for line in lines:
        if isinstance(line, Fault):
            yield line
        else:
            asked = digest_of(line.inputs, line.prompt)
            yield Item(line.where, line.id, asked, {"input": line.shown()}, partial(made_of, template, line))


def made_of(template: Template, line: Line) -> Ready:
    """Make the task of a line.

    Raises:
        TaskError: the line does not fit the template.
    """
    return Ready(template.agent, template.task(line.inputs, line.prompt), template.config)


def items_of_files(
    paths: Sequence[Path], beside: Path, build: Callable[[Path], taskfile.Built]
) -> Iterator[Item | Fault]:
    """Make an item of each task file, when its turn comes.

    Args:
        paths: the files; each task's name is its path relative to `beside`.
        beside: a folder.
        build: builds the agent and the task of a file.
    """
    seen = set()
    for path in paths:
        name = os.path.relpath(path, beside)
        if name in seen:
            yield Fault(f"{path}: is given twice")
            continue
        seen.add(name)
        try:
            agent, task, config, document = build(path)
            with document.locating():
                agent.check(task)
        except BadInput as error:
            yield Fault(str(error) if isinstance(error, TaskError) else f"{path}: {error}")
            continue
        ready = Ready(agent, task, config)
        asked = digest_of(_portable(config), document.value.get("backends"), task.model_dump(mode="json"))
        yield Item(str(path), name, asked, {"input": {"file": name}}, partial(_itself, ready))


def _itself(ready: Ready) -> Ready:
    return ready


def batch_of_template(template: Template) -> str:
    """Return the digest of what all tasks of one template share."""
    return digest_of("template", _portable(template.config), template.document.value, template.inputs)


def batch_of_files(changes: Changes) -> str:
    """Return the digest of what tasks from separate files share."""
    return digest_of("files", {**msgspec.structs.asdict(changes), "backends": {}})


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """Return an agent's config without the location of its folder and the backends set by the command.

    So a batch can be continued with another backend, like a run; the file's own backends are in its document.
    """
    return {name: value for name, value in config.items() if name not in {"file", "base", "backends"}}
