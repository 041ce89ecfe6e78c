"""`scaffold policy`: shows what a policy file means before it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scaffold.cli.grouping import WholeSentences
from scaffold.cli.options import by_name, json_option
from scaffold.cli.speech import json_text, line, lines, plain

if TYPE_CHECKING:
    from scaffold.interfaces import Action, ActionSource
    from scaffold.vocabulary.actions import ActionSpec

_Command = TypeVar("_Command", bound=Callable[..., Any])
_CALL = re.compile(r"\s*([\w.:-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_ARGUMENT = re.compile(r"""\s*([\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^,]*)\s*(?:,|$)""")


@click.group(cls=WholeSentences)
def policy() -> None:
    """Check a policy file, run its table of calls, or explain what it decides about a call."""


def _known_by(command: _Command) -> _Command:
    """Add `--task TASK.yaml` and `--action MODULE:NAME`, the sources of the actions' specifications."""
    for decorate in (
        click.option("--action", "references", metavar="MODULE:NAME", multiple=True, help="An action in code."),
        click.option(
            "--task", metavar="TASK.yaml", type=click.Path(path_type=Path), help="A task that has the actions."
        ),
    ):
        command = decorate(command)
    return command


@policy.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@_known_by
def check(file: Path, task: Path | None, references: Sequence[str]) -> int:
    """Check FILE: its keys, names and rules, and its table of calls."""
    from scaffold.errors import TaskError, count

    made, actions = _policy(file), _actions(task, references)
    faults = [*(made.unknown(actions) if actions else ()), *made.failures(actions)]
    if actions and task is not None:
        from scaffold.vocabulary.task import Task

        try:
            made.check(Task(prompt="policy", inputs=_inputs_of(task)), actions)
        except TaskError as error:
            faults.insert(0, error)
    _say(faults)
    if faults:
        return 1
    click.echo(f"{file}: {count(len(made.file.rules), 'rule')}, {count(len(made.file.tests), 'test')}: all passed")
    return 0


@policy.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@_known_by
def test(file: Path, task: Path | None, references: Sequence[str]) -> int:
    """Run the table of calls in FILE as tests."""
    made = _policy(file)
    faults = made.failures(_actions(task, references))
    _say(faults)
    total = len(made.file.tests)
    click.echo(f"{total - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


@policy.command()
@click.argument("call")
@click.option(
    "--policy", "file", metavar="FILE", type=click.Path(path_type=Path), help="The policy [the task's, or the default]."
)
@click.option("--input", "inputs", metavar="NAME=VALUE", multiple=True, help="An input of the task.")
@click.option("--tainted", metavar="ARGUMENT", multiple=True, help="This argument comes from an untrusted source.")
@click.option("--at", default="", metavar="TIME", help="When, such as 2026-11-23T12:00:00+00:00 [now].")
@_known_by
@json_option
def explain(
    call: str,
    file: Path | None,
    inputs: Sequence[str],
    tainted: Sequence[str],
    at: str,
    task: Path | None,
    references: Sequence[str],
    as_json: bool,
) -> None:
    """Explain what a policy decides about CALL, such as `pay(account=A1, cents=500)`, and by which of its lines.

    Without --task or --action, what the action is follows from the call's own names alone.
    """
    name, arguments = _read_call(call)
    made = _policy(file or _policy_of(task))
    case = made.case(
        call=name,
        arguments=arguments,
        inputs={**_inputs_of(task), **by_name(inputs)},
        tainted=tainted,
        at=at,
    )
    said = made.explain(case, _actions(task, references))
    if as_json:
        reasons = [{"decision": each.decision, "where": each.where, "why": each.why} for each in said.reasons]
        told = {"call": name, "decision": said.decision, "kinds": said.kinds, "roles": said.roles, "reasons": reasons}
        click.echo(json_text(told))
        return

    click.echo(f"{said.decision}: {plain(name)} is {', '.join(said.kinds)}")
    for each in said.reasons:
        click.echo(f"  {each.decision:<9} {line(each.why)}  ({plain(each.where)})")
    for argument, role in said.roles.items():
        click.echo(f"  {plain(argument)}: {role}")


def _policy(file: Path | None) -> Any:
    from scaffold import registry

    if file is None:
        return registry.make_monitor("policy", {"file": ""})
    return registry.make_monitor("policy", {"file": str(file)}, Path.cwd())


def _actions(task: Path | None, references: Sequence[str]) -> Mapping[str, ActionSpec] | None:
    """Return the specifications of the actions from a task or the command; None if neither names any."""
    from scaffold import registry, taskfile

    found: list[Action | ActionSource] = list(taskfile.actions_of(task)) if task is not None else []
    for reference in references:
        made = registry.from_file(reference, Path.cwd())
        found.append(registry.make_action(made, reference, ()))
    return {action.spec.name: action.spec for action in registry.each_action(found)} or None


def _policy_of(task: Path | None) -> Path | None:
    from scaffold import taskfile

    return taskfile.policy_of(task) if task is not None else None


def _inputs_of(task: Path | None) -> dict[str, Any]:
    from scaffold import taskfile

    return taskfile.inputs_of(task) if task is not None else {}


def _say(faults: Sequence[Exception]) -> None:

    for fault in faults:
        click.echo(lines(str(fault)), err=True)


def _read_call(text: str) -> tuple[str, dict[str, Any]]:
    """Parse a call such as `pay(account=A1, cents=500)`, or JSON such as `{"pay": {"account": "A1"}}`."""
    from scaffold.errors import BadInput

    if text.lstrip().startswith("{"):
        try:
            ((name, arguments),) = json.loads(text).items()
        except (ValueError, AttributeError):
            name, arguments = "", None
        if not isinstance(arguments, dict):
            raise BadInput(f'{text!r} is not a call: write {{"pay": {{"cents": 500}}}}')
        return name, arguments
    found = _CALL.fullmatch(text)
    if found is None:
        raise BadInput(f"{text!r} is not a call: write pay(account=A1, cents=500)")
    inner, place = found[2] or "", 0
    pairs: dict[str, str] = {}
    while inner[place:].strip():
        part = _ARGUMENT.match(inner, place)
        if part is None or part.end() == place:
            raise BadInput(f"{inner[place:]!r} is not an argument: write name=value")
        if part[1] in pairs:
            raise BadInput(f"{text!r} gives {part[1]} twice: give it once")
        value = part[2].strip()
        pairs[part[1]] = value[1:-1] if value[:1] == value[-1:] == chr(39) else value
        place = part.end()
    return found[1], by_name([f"{argument}={value}" for argument, value in pairs.items()])
