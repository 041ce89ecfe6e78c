"""`scaffold audit why`: the chain of reasons for one action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaffold.cli.options import journal_at, json_option, run_argument, runs_option
from scaffold.cli.speech import json_text, line, plain, sentence
from scaffold.errors import date

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.projections.why import Because, Why

_WIDTH, _LONGEST = 160, 2_000


@click.command()
@run_argument
@click.argument("action", metavar="ACTION")
@json_option
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(min=0),
    default=30,
    help="Show at most N of the things it rests on [30].",
)
@runs_option
def why(run: str, action: str, as_json: bool, most: int, runs: Path | None) -> None:
    """Show why an action was done, or was not.

    ACTION is its key, as `audit show` prints it, or its name; `pay#2` is the second of that name. Shows the goals,
    where each argument came from, the steps and votes behind it, verdicts, approval, clearance and outcome.
    """
    from scaffold.projections.why import as_json as described
    from scaffold.projections.why import why as reasons
    from scaffold.trace.reading import links

    journal = journal_at(runs)
    folder = journal.folder(journal.find(run))
    found = reasons(lambda: links(folder), action, most=most)
    if as_json:
        click.echo(json_text(described(found)))
        return
    for text in _told(found):
        click.echo(plain(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"))


def _told(found: Why) -> Iterator[str]:
    cost = f", costing ${found.cost:g}" if found.cost else ""
    yield f"{found.action} at {found.key} ({found.effect}{cost}): {found.became}"
    if found.withheld:
        yield "  its content is withheld; what follows is from the spine alone"
    if found.prompt:
        yield f"asked: {line(found.prompt, _WIDTH)}"
    for goal in found.goals:
        yield f"goal, {line(goal, _WIDTH)}"
    for each in found.arguments:
        taint = ", untrusted" if each.tainted else ""
        yield f"argument {line(each.name)} = {_value(each.value)}, from {_sources(each.sources)}{taint}"
    if found.plan:
        decision = found.plan.get("decision", "undecided")
        yield f"part of the plan at {found.plan['key']}, of {found.plan['actions']} actions: {decision}"
        if found.plan.get("reason"):
            yield f"  for: {line(found.plan['reason'], _WIDTH)}"
    if found.control:
        yield f"decided on after {_sources(found.control)}"
    for because in found.rests_on:
        yield from _because(because)
    if found.left_out:
        yield f"  and on {found.left_out} more: --most {found.left_out + len(found.rests_on)}"
    yield from _verdicts(found)
    yield from _approval(found.approval)
    yield from _end(found)


def _verdicts(found: Why) -> Iterator[str]:
    for said in found.verdicts:
        status = "" if said.status == "ok" else f" ({said.status})"
        score = "" if said.score is None else f", score {said.score:.2f}"
        reason = f": {sentence(said.reason, _WIDTH)}" if said.reason else ""
        yield f"verdict of {line(said.monitor)} on the {said.subject}: {said.decision}{status}{score}{reason}"


def _because(because: Because) -> Iterator[str]:
    if because.what == "step":
        votes = f", {because.votes} samples agreed" if because.votes and because.votes != "1 of 1" else ""
        yield f"  step {because.key}, {because.name} by {line(because.by)}{votes}: {_value(because.said)}"
        if because.reasoning:
            yield f"    thinking: {line(because.reasoning, _WIDTH)}"
    elif because.what == "action":
        taint = ", untrusted" if because.tainted else ""
        yield f"  action {because.key}, {line(because.name)}, {because.by}{taint}: {_value(because.said)}"
    else:
        who = line(because.by) or "the user"
        yield f"  answer {because.key} by {who} to {line(because.name)}: {_value(because.said)}"
    if because.sources:
        yield f"    from {_sources(because.sources)}"


def _approval(approval: dict[str, Any]) -> Iterator[str]:
    if not approval:
        return
    until = date(approval["expires"])
    yield f"a person was asked to approve the {approval['of']}, until {until} (id {approval['id']})"
    if "granted" in approval:
        verb = "approved" if approval["granted"] else "denied"
        who = " and ".join(line(each) for each in approval["by"] if each) or "a person"
        comment = f": {line(approval['comment'], _WIDTH)}" if "comment" in approval else ""
        yield f"  {who} {verb} it{comment}"


def _end(found: Why) -> Iterator[str]:
    if found.clearance:
        how = f" by approval {found.clearance['approval']}" if found.clearance["approval"] else ""
        observed = " while monitors only observed" if found.clearance["observed"] else ""
        yield f"cleared{how}{observed}"
    outcome = found.outcome
    if not outcome:
        return
    if outcome.get("attempts", 1) > 1:
        yield f"started {outcome['attempts']} times under one idempotency key"
    said = outcome.get("value", outcome.get("reason", outcome.get("feedback")))
    yield f"{found.became}" + (f": {_value(said)}" if said is not None else "")
    if "withheld" in outcome:
        yield f"its result was withheld from the planner: {line(outcome['withheld'], _WIDTH)}"


def _sources(sources: list[str]) -> str:
    return ", ".join(_source(line(each)) for each in sources) or "nowhere"


def _source(source: str) -> str:
    kind, _, rest = source.partition(":")
    if kind == "history":
        path, _, ordinal = rest.rpartition("@")
        where = f" in branch {path.rstrip('/')}" if path else ""
        return f"all that was told before move {ordinal}{where}"
    return source


def _value(value: Any) -> str:
    return line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _WIDTH)
