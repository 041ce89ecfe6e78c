"""Options and arguments that several commands share."""

from __future__ import annotations

import functools
import json
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns
    from scaffold.odds.measured import Key

Command = TypeVar("Command", bound=Callable[..., Any])

_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*=")
_AGE = re.compile(r"(\d+(?:\.\d+)?)([hdwy]?)")
_HOURS = {"h": 1, "d": 24, "": 24, "w": 168, "y": 8766}


def place(said: str) -> Path | str:
    """Parse a place, as a click type: a folder, or the URL of a database, which is not a path."""
    from scaffold.trace.places import place_of

    if not said:  # from an unset shell variable; runs would be scattered over the current folder
        raise click.BadParameter("is empty: name a place, or leave the option out")
    return place_of(said)


def runs_option(command: Command) -> Command:
    """Add `--runs PLACE`: where runs are kept."""
    return click.option(
        "--runs",
        metavar="PLACE",
        type=place,
        help="Where runs are kept: a folder, or postgresql://... [$SCAFFOLD_RUNS, .scaffold/runs].",
    )(command)


def ago(said: str) -> float:
    """Parse an age such as 90d, as a click type: the moment that long ago, in seconds since the epoch."""
    found = _AGE.fullmatch(said.strip())
    if found is None:
        raise click.BadParameter(f"{said!r} is not an age: write one such as 90d, 12h, 4w or 2y")
    return time.time() - float(found[1]) * _HOURS[found[2]] * 3600


def moment(said: str) -> float:
    """Parse an age, or a date or time (in the local zone unless it names one), as a click type."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(said.strip()).timestamp()
    except (ValueError, OverflowError):
        try:
            return ago(said)
        except click.BadParameter:
            raise click.BadParameter(
                f"{said!r} is neither an age, such as 7d or 12h, nor a date or time, such as 2026-11-17 or "
                "2026-11-17T09:30"
            ) from None


class Signing(NamedTuple):
    """How heads are signed, and where else they are kept, as given by the options."""

    key: str
    heads_to: tuple[str, ...] = ()

    def outside(self) -> dict[str, Any]:
        """Return the corresponding settings of an agent.

        Raises:
            BadInput: the key or the place does not exist.
        """
        from scaffold.errors import BadInput
        from scaffold.trace.signing import signer_of
        from scaffold.trace.witnesses import witness_of

        if not self.key:
            raise BadInput("--heads-to needs signed heads: say which key signs them with --key")
        return {"signer": signer_of(self.key), "witnesses": [witness_of(each) for each in self.heads_to]}


def key_option(command: Command) -> Command:
    """Add `--key KEY` and `--heads-to WHERE` to sign heads; the command gets both as `key`, a Signing or None."""

    @functools.wraps(command)
    def gathering(*, key: str | None, heads_to: tuple[str, ...], **given: Any) -> Any:
        return command(key=Signing(key or "", heads_to) if key or heads_to else None, **given)

    for option in reversed(_SIGNING):
        gathering = option(gathering)
    return cast("Command", gathering)


_SIGNING = (
    click.option(
        "--key",
        metavar="KEY",
        envvar="SCAFFOLD_SIGNING_KEY",
        help="Sign the trace's heads: a private key file, env:VARIABLE or command:PROGRAM [$SCAFFOLD_SIGNING_KEY].",
    ),
    click.option(
        "--heads-to",
        metavar="WHERE",
        multiple=True,
        envvar="SCAFFOLD_HEADS_TO",
        help="Also keep signed heads here: stdout, stderr, a URL, journal:PLACE, a file [$SCAFFOLD_HEADS_TO].",
    ),
)


def backends_option(command: Command) -> Command:
    """Add `--backend [ROLE=]SPEC`, which can be repeated; the command gets them as `backends`, specs by role."""

    @functools.wraps(command)
    def gathering(*, backends: Sequence[str], **given: Any) -> Any:
        return command(backends=by_role(backends), **given)

    return cast("Command", _BACKENDS(gathering))


_BACKENDS = click.option(
    "--backend",
    "backends",
    metavar="[ROLE=]SPEC",
    multiple=True,
    help="Backend for a role, instead of the file's.",
)


def changes_options(command: Command) -> Command:
    """Add options that change a task for one run; the command gets them as `said`, the fields of `taskfile.Changes`."""

    @functools.wraps(command)
    def gathering(*, backends: Sequence[str], inputs: Sequence[str], **given: Any) -> Any:
        said = {"backends": by_role(backends), "inputs": by_name(inputs)}
        said |= {name: given.pop(name) for name in ("monitors", "seed", "observe", "plan_only")}
        return command(said=said, **given)

    for option in reversed(_CHANGES):
        gathering = option(gathering)
    return cast("Command", gathering)


_CHANGES = (
    click.option("--plan-only", is_flag=True, help="Run no action that changes anything; show what was planned."),
    click.option("--observe", is_flag=True, help="Record verdicts without enforcing them."),
    _BACKENDS,
    click.option("--monitor", "monitors", metavar="NAME", multiple=True, help="A monitor in addition to the file's."),
    click.option("--input", "inputs", metavar="NAME=VALUE", multiple=True, help="An input, as JSON or text."),
    click.option("--seed", type=int, metavar="N", help="Make samples repeatable, for backends that can."),
)


def answers_option(command: Command) -> Command:
    """Add `--answers RUN`, the run whose answers are right; `right_answers` reads them."""
    return click.option(
        "--answers",
        metavar="RUN",
        help="A run whose answers count as right; else what most samples of a step agree on.",
    )(command)


def right_answers(journal: KeptRuns, run: str | None) -> Key | None:
    """Read the answers of the run that counts as right; None if no run was given.

    Raises:
        UnknownRun: there is no such run.
    """
    if run is None:
        return None
    from scaffold.odds.measured import key_of

    return key_of(journal.folder(journal.find(run)))


def json_option(command: Command) -> Command:
    """Add `--json`: one JSON object or list on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def run_argument(command: Command) -> Command:
    """Add the argument RUN: a run's id, a unique beginning or ending of one, or `last`."""
    return click.argument("run", metavar="RUN")(command)


def journal_at(runs: Path | str | None, *, apart: bool = False) -> KeptRuns:
    """Open the journal of a place, by default the usual one; `apart` for trials that may repeat the same action."""
    from scaffold.trace.places import journal_of, runs_folder

    return journal_of(runs or runs_folder(), apart=apart)


def runs_said(journal: KeptRuns) -> str:
    """Return ` --runs PLACE` to add to a command, or nothing if the journal is at the usual place."""
    from scaffold.trace.places import is_database, runs_folder

    usual = str(runs_folder())
    if is_database(usual) and is_database(journal.name):
        from scaffold.trace.postgres.database import said_of

        usual = said_of(usual)
    if journal.name == usual:
        return ""
    return f" --runs {shlex.quote(journal.name)}"


def backends_said(backends: Mapping[str, str]) -> str:
    """Return ` --backend ROLE=SPEC` for each backend, to add to a command."""
    return "".join(f" --backend {shlex.quote(f'{role}={spec}')}" for role, spec in backends.items())


def by_role(specs: Sequence[str]) -> dict[str, str]:
    """Parse `SPEC` or `role=SPEC` into specs by role; a URL may itself contain `=`."""
    roles = {}
    for said in specs:
        role, spec = said.split("=", 1) if _ROLE.match(said) else ("default", said)
        if not spec:
            raise click.BadParameter(f"{said!r} does not name a backend", param_hint="--backend")
        roles[role] = spec
    return roles


budget_option = click.option(
    "--budget",
    "said_budget",
    metavar="NAME=AMOUNT",
    multiple=True,
    help="Raise a limit, as a total for the run: tokens, usd, seconds, steps, actions, or oversight.tokens and so on.",
)


def by_name(pairs: Sequence[str], option: str = "--input") -> dict[str, Any]:
    """Parse `name=value` into values by name; a value that is valid JSON is decoded, any other is text."""
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{pair!r} is not name=value", param_hint=option)
        try:
            values[name] = json.loads(text, parse_constant=_no_json)
        except (ValueError, RecursionError):
            values[name] = text
    return values


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON, although Python's reader accepts it")
