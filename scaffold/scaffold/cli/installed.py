"""`scaffold plugins`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args

import click

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@click.command()
def plugins() -> None:
    """List what is installed, by family: name, where it comes from, and what it says of itself."""
    from scaffold import registry

    for family in get_args(registry.Family):
        entries = registry.installed(family)
        click.secho(f"{family}s", bold=True)
        if not entries:
            click.echo("  none")
        for name, entry in sorted(entries.items()):
            said, works = _line(family, name)
            about = click.style(said, fg=None if works else "red")
            click.echo(f"  {name:<12} {about}  {click.style(_origin(entry), dim=True)}")


def _line(family: Any, name: str) -> tuple[str, bool]:
    """What a plug-in says of itself in one line, or why it does not work."""
    from scaffold import registry
    from scaffold.cli.speech import line
    from scaffold.errors import BrokenPlugin, MissingExtra

    try:
        found = registry.load(family, name)
    except (BrokenPlugin, MissingExtra) as error:
        return f"broken: {line(str(error))}", False
    if family == "model":
        return line(str(getattr(found, "description", ""))), True
    return line((inspect.getdoc(found) or "").split("\n", 1)[0]), True


def _origin(entry: EntryPoint) -> str:
    from scaffold import registry

    return registry.version_of(entry)
