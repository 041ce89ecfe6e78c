"""`scaffold estimate`."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.aside import aside
from scaffold.cli.options import answers_option, backends_option, journal_at, json_option, right_answers, runs_option
from scaffold.cli.speech import json_text, plain
from scaffold.errors import count

if TYPE_CHECKING:
    from scaffold.interfaces import KeptRuns
    from scaffold.odds.estimate import Estimate, Range, StepOdds, Total
    from scaffold.odds.measured import Taken
    from scaffold.taskfile import Built

_INDENT = 4


@click.command()
@click.argument("task", metavar="TASK.yaml", type=click.Path(path_type=Path))
@json_option
@click.option("--tries", type=click.IntRange(min=1), metavar="N", help="Measure on this many tries now.")
@click.option(
    "--samples",
    type=click.IntRange(min=3),
    default=8,
    show_default=True,
    metavar="M",
    help="Samples per step of a try.",
)
@click.option(
    "--wanted",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    metavar="P",
    help="The chance of success to find votes for.",
)
@answers_option
@click.option("--run", "against", metavar="RUN", help="A run to compare the estimate with; it is not measured.")
@backends_option
@runs_option
def estimate(  # noqa: PLR0917 - click passes each by its name
    task: Path,
    as_json: bool,
    tries: int | None,
    samples: int,
    wanted: float,
    answers: str | None,
    against: str | None,
    backends: dict[str, str],
    runs: Path | None,
) -> None:
    """Estimate how likely a task comes out right, and what it will cost.

    The estimate is read from the traces of earlier runs of the same file with the same backends. If there are none, or
    with --tries, the task is tried first: every step is asked for several samples, and no action that changes anything
    is run. Right is what the run of --answers says; without one, what most samples agree on.
    """
    from scaffold import taskfile
    from scaffold.odds.estimate import estimate as estimated
    from scaffold.odds.measured import Measured

    journal = journal_at(runs)
    left_out = {journal.find(name) for name in (against,) if name}
    right = right_answers(journal, answers)
    with aside():
        built = taskfile.build(
            task,
            taskfile.Changes(backends=backends, plan_only=True),
            journal=journal,
            oversample=samples,
        )
    with built.document.locating():
        built.agent.check(built.task)
    known = [run for run in _runs_of(journal, built) if run not in left_out]
    if tries or not known:
        with aside():
            known += asyncio.run(_try(built, tries or 1))
    measured = Measured().read(journal.folder(run) for run in known)
    if not measured.groups:
        from scaffold.errors import BadInput

        raise BadInput("these runs asked no steps, so there is nothing to estimate")
    profiles = [profile for profile in built.agent.profiles if "n" in profile.can]
    sharing = {(profile.backend, profile.model): profile.prices for profile in profiles}
    found = estimated(measured, wanted=wanted, key=right, sharing=sharing)
    taken = Measured().read(journal.folder(run) for run in left_out).runs
    if as_json:
        import msgspec

        said = msgspec.to_builtins(found) | {"taken": [_facts(run) for run in taken]}
        click.echo(json_text(_plain(said)))
    else:
        click.echo("\n".join(_text(found, taken[0] if taken else None)))


def _runs_of(journal: KeptRuns, built: Built) -> list[str]:
    """Return earlier runs of the same task file with the same backends."""
    from scaffold.assembly import read_start
    from scaffold.errors import ScaffoldError

    async def started() -> list[str]:
        found = []
        for run in journal.runs():
            try:
                _, config = await read_start(journal, run)
            except (ScaffoldError, ValueError, OSError):
                continue
            if all(config.get(name) == built.config[name] for name in ("base", "file", "backends", "planner")):
                found.append(run)
        return found

    return asyncio.run(started())


async def _try(built: Built, tries: int) -> list[str]:
    config = {**built.config, "oversample": True}
    found = []
    async with built.agent as agent:
        for number in range(tries):
            sys.stderr.write(f"trying, {number + 1} of {tries}\n")
            outcome = await agent.solve(built.task, config=config)
            why = f": {plain(outcome.reason)}" if outcome.reason else ""
            sys.stderr.write(f"  run {outcome.run}: {outcome.status}{why}\n")
            found.append(outcome.run)
    return found


# --- as text


def _text(found: Estimate, taken: Taken | None) -> list[str]:
    lines = [f"Measured on {count(len(found.runs), 'run')}."]
    for step in sorted(found.steps, key=lambda step: -step.steps):
        lines += ["", *_step(step, found.wanted)]
    lines += ["", "A whole run, all steps right:", f"  as it is     {_total(found.as_it_is)}"]
    if found.with_votes is not None:
        lines.append(f"  with votes   {_total(found.with_votes)}")
    elif any(step.measured == "nothing" for step in found.steps):
        lines.append(f"  there is too little data to tell which votes reach {found.wanted:.0%}")
    else:
        lines.append(f"  no votes reach {found.wanted:.0%}")
    if taken is not None:
        more = " (with more samples than its policies ask for)" if taken.oversampled else ""
        lines.append(
            f"  {taken.run} took  {taken.samples} samples, {taken.tokens} tokens{_money(taken.usd)}, "
            f"{taken.seconds:.1f} s; {taken.status}, {taken.unsettled} steps without an answer{more}"
        )
    return lines + [f"Note: {said}." for said in found.said]


def _step(step: StepOdds, wanted: float) -> list[str]:
    name = step.name
    template = f" ({name.template})" if name.template != name.step else ""
    lines = [plain(f"{step.steps:g} x {name.step}{template} by {name.backend}:{name.model}, {step.policy}")]
    if step.measured == "nothing":
        return [*lines, *(f"  {said}" for said in step.said)]
    against = "right" if step.measured == "key" else "agreeing"
    lines.append(
        f"  {_range(step.right)} of samples {against} ({step.samples} samples of {count(step.prompts, 'prompt')}), "
        f"{1 - step.accepted:.1%} flagged"
    )
    drawn = "" if math.isnan(step.samples_each) else f", with {step.samples_each:.1f} samples"
    lines.append(f"  a step comes out right: {_range(step.success)}{drawn}")
    if step.lead is not None:
        sure = f"ahead by {step.lead_sure}" if step.lead_sure else "none"
        lines.append(
            f"  for {wanted:.0%} of whole runs: ahead by {step.lead}, {step.lead_samples:.1f} samples "
            f"(at the low end of what was seen: {sure})"
        )
    return lines + [f"  {said}" for said in step.said]


def _range(figure: Range) -> str:
    if math.isnan(figure.value):
        return "not known"
    return f"{figure.value:.1%} ({figure.low:.1%} to {figure.high:.1%})"


def _total(total: Total) -> str:
    success = "success not known" if total.success is None else f"success {_range(total.success)}"
    if math.isnan(total.samples):
        return success
    return (
        f"{success}; {total.samples:.0f} samples, {total.tokens:.0f} tokens{_money(total.usd)}, {total.seconds:.1f} s"
    )


def _money(usd: float | None) -> str:
    return ", cost not known" if usd is None else f", ${usd:.4f}" if usd else ""


def _facts(run: Taken) -> dict[str, Any]:
    return {
        "run": run.run,
        "status": run.status,
        "samples": run.samples,
        "tokens": run.tokens,
        "usd": run.usd,
        "seconds": run.seconds,
        "steps": sum(run.steps.values()),
        "unsettled": run.unsettled,
        "oversampled": run.oversampled,
    }


def _plain(value: Any) -> Any:
    """Replace NaN, which JSON lacks, by null for unknown values."""
    match value:
        case float() if math.isnan(value):
            return None
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value
