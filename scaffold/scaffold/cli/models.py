"""`scaffold models`: manages models that run on this machine."""

from __future__ import annotations

import sys
from typing import Any

import click

from scaffold.cli.grouping import WholeSentences

_name_argument = click.argument("name", metavar="NAME")


@click.group(cls=WholeSentences)
def models() -> None:
    """Local models."""


@models.command("list")
def list_() -> None:
    """List the available models, and which are downloaded."""
    from scaffold import registry

    for name, model in registry.load_all("model").items():
        here = "here" if model.present() else "not here"
        click.echo(f"{name:<12} {here:<9} {model.description}")


@models.command()
@_name_argument
def pull(name: str) -> None:
    """Download a model unless it is here, and check its SHA-256."""
    model = _model(name)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            shown = bar.add_task(name, total=1.0)
            path = model.pull(lambda what, done: bar.update(shown, description=what, completed=done))
    else:
        said: list[str] = []

        def say(what: str, _done: float) -> None:
            if what not in said:
                said.append(what)
                click.echo(what, err=True)

        path = model.pull(say)
    click.echo(str(path))


@models.command()
@_name_argument
def path(name: str) -> None:
    """Print where a model's file is."""
    from scaffold.errors import BadInput

    model = _model(name)
    if not model.present():
        raise BadInput(f"the model {name} is not downloaded: get it with `scaffold models pull {name}`")
    click.echo(str(model.path()))


@models.command()
@_name_argument
def verify(name: str) -> None:
    """Check the SHA-256 of a model's file."""
    model = _model(name)
    model.verify()
    click.echo(f"{name} is intact: SHA-256 {model.sha256}")


@models.command()
@_name_argument
def remove(name: str) -> None:
    """Delete a model's file."""
    click.echo(f"removed {name}" if _model(name).remove() else f"{name} was not downloaded")


def _model(name: str) -> Any:
    from scaffold import registry

    return registry.load("model", name)
