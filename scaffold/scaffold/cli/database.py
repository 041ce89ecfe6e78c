"""`scaffold database`."""

from __future__ import annotations

import asyncio

import click

from scaffold.cli.grouping import WholeSentences


@click.group(cls=WholeSentences)
def database() -> None:
    """The PostgreSQL tables that runs are kept in."""


@database.command()
@click.argument("url", metavar="URL")
def migrate(url: str) -> None:
    """Create or upgrade the tables in the database at URL, as a role with the right to do so."""
    asyncio.run(_check(url, migrating=True))


@database.command()
@click.argument("url", metavar="URL")
def check(url: str) -> None:
    """Check that the tables in the database at URL are those that this version needs."""
    asyncio.run(_check(url, migrating=False))


async def _check(url: str, *, migrating: bool) -> None:
    from scaffold.errors import BadInput
    from scaffold.trace.places import is_database

    if not is_database(url):
        raise BadInput(f"{url!r} is not the address of a database: write postgresql://USER@HOST/DATABASE")
    from scaffold.trace.postgres import schema
    from scaffold.trace.postgres.database import Postgres

    there = Postgres(url)
    async with there.alone() as connection:
        await schema.check(connection, there.where, migrate=migrating)
    click.echo(f"{there.where}: the tables have version {schema.migrations()[-1].version}")
