"""`scaffold plugins`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, get_args

import click

from scaffold.cli.options import json_option
from scaffold.cli.speech import json_text, line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from scaffold.vocabulary.cards import BaseRate, Card, MonitorCard

_ABILITIES = ("schema", "choices", "logprobs", "seed", "n", "fork")  # in the order in which they are listed
_SUBJECTS = ("plan", "action", "step", "stream", "observation", "answer")
_INDENT = " " * 19


@click.command()
@json_option
@click.option("--check", is_flag=True, help="Import each plug-in, and check that it has the right shape.")
@click.option("--monitor", "monitor", metavar="NAME", help="Show one monitor's whole card.")
def plugins(as_json: bool, check: bool, monitor: str | None) -> None:
    """List the installed plug-ins by family: name, where each comes from, and its description.

    For a backend: what it can do, how much of its reasoning can be read, and what is missing to use it. For a monitor:
    what its verdicts are about and what it asks. --monitor NAME shows the monitor's whole card: what it costs, how
    often it was right on which data, and what it cannot see. Nothing is imported, so large libraries cost no time.
    """
    from scaffold import entries

    if monitor is not None:
        _one_monitor(monitor, as_json=as_json, check=check)
        return
    told = {
        f"{family}s": [_told(family, name, entry, check=check) for name, entry in sorted(_installed(family).items())]
        for family in get_args(entries.Family)
    }
    if as_json:
        click.echo(json_text(told))
        return
    for family, plugins_ in told.items():
        click.secho(family, bold=True)
        if not plugins_:
            click.echo("  none")
        for each in plugins_:
            _show(each)


def _installed(family: Any) -> dict[str, EntryPoint]:
    from scaffold import entries

    return entries.installed(family)


def _told(family: Any, name: str, entry: EntryPoint, *, check: bool) -> dict[str, Any]:
    """Describe one plug-in as JSON values."""
    from scaffold import entries
    from scaffold.errors import BrokenPlugin, MissingExtra

    told: dict[str, Any] = {"name": name, "from": entries.version_of(entry), "about": "", "broken": ""}
    try:
        entries.check_one(family, name)
        if family == "backend":
            card = entries.card_of(name)
            if card is not None:
                told |= _of_card(card)
        if family == "monitor":
            own = entries.monitor_card_of(name)
            if own is not None:
                told |= _of_monitor(own)
        if family == "model":
            told["about"] = str(getattr(entries.load(family, name), "description", ""))
        elif check:
            from scaffold import registry

            registry.check_shape(family, name)
        told["about"] = line(told["about"] or entries.first_line(entry))
    except (BrokenPlugin, MissingExtra) as error:
        told["broken"] = line(str(error))
    return told


def _of_card(card: Card) -> dict[str, Any]:
    missing, notes = _missing(card)
    return {
        "about": card.about,
        "example": card.example,
        "can": [ability for ability in _ABILITIES if ability in card.can],
        "may": [ability for ability in _ABILITIES if ability in card.may],
        "reasoning": list(card.reasoning),
        "prices": card.prices,
        "trust": card.trust,
        "around": card.around,
        "ready": not missing,
        "missing": missing,
        "notes": notes,
    }


def _one_monitor(name: str, *, as_json: bool, check: bool) -> None:
    from scaffold import entries
    from scaffold.errors import UnknownPlugin

    known = entries.installed("monitor")
    if name not in known:
        raise UnknownPlugin("monitor", name, known)
    told = _told("monitor", name, known[name], check=check)
    if as_json:
        click.echo(json_text(told))
        return
    _show(told)
    if "property" not in told:
        click.echo(f"{_INDENT}it has no card: its cost, its accuracy and what it misses are not stated")
        return
    click.echo(f"{_INDENT}cost: {told['cost']}")
    for rate in told["rates"]:
        note = f" ({rate['note']})" if rate["note"] else ""
        click.echo(f"{_INDENT}finds {rate['found']:.1%}, spares {rate['spared']:.1%}: {rate['data']}{note}")
    if not told["rates"]:
        click.echo(f"{_INDENT}its accuracy has not been measured")
    for blind in told["blind"]:
        click.echo(f"{_INDENT}does not see: {blind}")


def _of_monitor(card: MonitorCard) -> dict[str, Any]:
    return {
        "about": card.about,
        "example": card.example,
        "property": card.property,
        "watches": [kind for kind in _SUBJECTS if kind in card.watches],
        "needs": list(card.needs),
        "probes": card.probes,
        "cost": card.cost,
        "rates": [_rate(rate) for rate in card.rates],
        "blind": list(card.blind),
    }


def _rate(rate: BaseRate) -> dict[str, Any]:
    return {"data": rate.data, "found": rate.found, "spared": rate.spared, "note": rate.note}


def _missing(card: Card) -> tuple[list[str], list[str]]:
    """Return what must be done before it can be used, and further hints."""
    from scaffold import entries

    missing, notes = [], []
    absent = [module for module in card.modules if not entries.is_importable(module)]
    if absent:
        missing.append(card.install or f"install {', '.join(absent)}")
    wanted = [names for names in (card.places, card.keys) if names]
    unset = [names for names in wanted if not any(os.environ.get(name, "").strip() for name in names)]
    missing += [f"set {' or '.join(names)}" for names in unset]
    if card.model and not entries.load("model", card.model).present():
        notes.append("its model is downloaded on first use")
    return missing, notes


def _show(told: dict[str, Any]) -> None:
    about = click.style(f"broken: {told['broken']}", fg="red") if told["broken"] else told["about"]
    click.echo(f"  {told['name']:<16} {about}  {click.style(told['from'], dim=True)}")
    if "property" in told:
        asked = [*told["needs"], *(["the model that answered"] if told["probes"] else [])]
        asks = f"asks {', '.join(asked) or 'no model'}"
        said = [told["example"], f"property: {told['property']}", f"reads {', '.join(told['watches'])}", asks]
        click.echo(_INDENT + "; ".join(each for each in said if each))
    if "ready" not in told:
        return
    said = [told["example"], *([] if told["around"] else _profile(told)), *told["notes"]]
    click.echo(_INDENT + "; ".join(each for each in said if each))
    if told["missing"]:
        click.secho(f"{_INDENT}to use it: {', '.join(told['missing'])}", fg="yellow")


def _profile(told: dict[str, Any]) -> list[str]:
    """Describe a profile in words; a wrapper's profile follows from its inner backends."""
    can = f"can {', '.join(told['can']) or 'sample'}"
    may = f" (or also {', '.join(told['may'])})" if told["may"] else ""
    reasoning = f"reasoning {'/'.join(told['reasoning'])}" if told["reasoning"] else ""
    price = {"free": "free", "listed": "price listed", "unknown": "price not known"}[told["prices"]]
    return [can + may, reasoning, price, "" if told["trust"] == "untrusted" else told["trust"]]
